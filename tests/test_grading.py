"""The graded suite: classic mistakes cost what they should, right answers nothing, and no submission breaks it."""

import collections
import itertools
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
from graded import grading
from graded.checks import CHECKS
from graded.conftest import pytest_configure
from graded.report import table, write_gradescope
from wrong_submissions import WRONG

HERE = Path(__file__).parent
RIGHT = {file: (HERE / "submissions" / "vectorised" / file).read_text() for file in grading.FILES}
WORTH = collections.Counter()
for check in CHECKS:
    WORTH[check.function] += check.marks


@pytest.fixture(scope="module")
def grader():
    """One worker for all of these tests: starting one takes as long as importing torch."""
    with grading.Grader() as grader:
        yield grader


@pytest.fixture
def submit(grader, tmp_path):
    """Grade files given by their text; a file that is not given is the right one."""

    def grade(time_limit=5.0, **texts):
        for file in grading.FILES:
            (tmp_path / file).write_text(texts.get(file.removesuffix(".py"), RIGHT[file]))
        return grader.grade(tmp_path, time_limit)

    return grade


def with_function(name, body):
    """The right file with another function of that name at its end, which counts."""
    file = "q1_solution" if f"def {name}(" in RIGHT["q1_solution.py"] else "q2_solution"
    return {file: RIGHT[f"{file}.py"] + f"\n\ndef {name}(*arguments, **options):\n    {body}\n"}


def costs(grades):
    """Function to marks lost, without those that lost none."""
    lost = collections.Counter()
    for check in CHECKS:
        lost[check.function] += check.marks - grades.marks(check)
    return {name: marks for name, marks in lost.items() if marks}


def test_marks_are_those_of_the_assignment():
    assert list(WORTH.values()) == [4, 4, 4, 4, 4, 4, 2, 2]
    assert len({check.name for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("style", ["loops", "distributions", "vectorised"])
def test_right_submission_gets_all_marks(grader, style):
    grades = grader.grade(HERE / "submissions" / style)
    assert (grades.total(), costs(grades), grades.notes) == (28, {}, [])


def with_mistake(files, wrong):
    """The files with one function changed."""
    (file,) = [file for file, text in files.items() if f"def {wrong.function}(" in text]
    head, name, tail = files[file].partition(f"def {wrong.function}(")
    body, end, rest = tail.partition("\n\n\n")
    assert body.count(wrong.right) == 1, wrong
    return {**files, file: head + name + body.replace(wrong.right, wrong.wrong) + end + rest}


ROUNDS = list(itertools.zip_longest(*([w for w in WRONG if w.function == name] for name in WORTH)))


@pytest.mark.parametrize("number", range(len(ROUNDS)))
def test_every_mistake_costs_its_own_marks_and_no_others(submit, number):
    """One mistake in each function at a time, since a grading costs more than a mistake."""
    files, mistakes = RIGHT, [wrong for wrong in ROUNDS[number] if wrong]
    for wrong in mistakes:
        files = with_mistake(files, wrong)
    grades = submit(**{file.removesuffix(".py"): text for file, text in files.items()})
    assert costs(grades) == {wrong.function: wrong.costs for wrong in mistakes}, [wrong.mistake for wrong in mistakes]


def test_there_are_enough_mistakes():
    assert len(WRONG) >= 20
    assert {wrong.function for wrong in WRONG} == WORTH.keys()


FAULTS = [
    {
        "log_likelihood_bernoulli": ("pass", "returned None"),
        "log_likelihood_normal": ("raise ValueError('not done')", "raised ValueError: not done"),
        "log_mean_exp": ("import sys; sys.exit(0)", "called sys.exit"),
        "kl_gaussian_gaussian_analytic": ("import os; os._exit(3)", "ended the whole process, exit code 3"),
        "vf_squared_hellinger": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        "vf_wasserstein_distance": ("while True: pass", "gave no answer within 2 seconds"),
    },
    {
        "log_likelihood_bernoulli": ("input()", "raised EOFError"),
        "log_likelihood_normal": ("return 'nan'", "returned an object of type str"),
        "log_mean_exp": ("return torch.empty(2**34)", "asked for more memory"),
        "kl_gaussian_gaussian_analytic": ("return 1.0", "expected"),
        "vf_squared_hellinger": ("return float('nan')", "expected"),
        "vf_wasserstein_distance": ("kept = []\n    while True: kept.append(torch.empty(2**27))", "asked for more memory"),
    },
]


@pytest.mark.parametrize("faults", FAULTS)
def test_fault_costs_its_own_function(submit, faults):
    texts = dict(RIGHT)
    for name, (body, _) in faults.items():
        (file,) = [file for file, text in RIGHT.items() if f"def {name}(" in text]
        texts[file] += f"\n\ndef {name}(*arguments, **options):\n    {body}\n"
    grades = submit(time_limit=2.0, **{file.removesuffix(".py"): text for file, text in texts.items()})
    assert costs(grades).keys() == faults.keys()
    for check in CHECKS:
        if grades.lost[check.name]:
            assert faults[check.function][1] in grades.lost[check.name]


def test_missing_function_and_missing_file(grader, tmp_path):
    (tmp_path / "q2_solution.py").write_text(RIGHT["q2_solution.py"].replace("def lp_reg", "def my_lp_reg"))
    grades = grader.grade(tmp_path)
    assert (grades.total(), grades.notes) == (6, ["q1_solution.py is not there"])
    assert {sentence for sentence in grades.lost.values() if sentence} == {"the function is missing"}


def test_noise_costs_nothing(submit):
    noise = (
        "import os, random, matplotlib.pyplot as plt; print('x' * 10**6); plt.plot([1]); plt.show(); os.chdir('/');"
        "open('/dev/stdout', 'w').write('{}'); random.seed(5); torch.manual_seed(5); torch.set_grad_enabled(False);"
        "torch.set_default_dtype(torch.float64); os.environ.clear()"
    )
    text = RIGHT["q1_solution.py"].replace("    top = y.max(1", f"    {noise}\n    top = y.max(1")
    grades = submit(q1_solution=text + "\nprint('loaded')\n", q2_solution=RIGHT["q2_solution.py"])
    assert (costs(grades), grades.notes) == ({}, [])
    assert Path.cwd() != Path("/")


def test_processes_and_files_of_a_check_are_gone_after_it(submit, tmp_path):
    body = f"import os, time; os.fork(); open('left', 'w'); open(f'{tmp_path}/{{os.getpid()}}.pid', 'w'); time.sleep(60)"
    grades = submit(time_limit=1.0, **with_function("vf_wasserstein_distance", body))
    assert costs(grades) == {"vf_wasserstein_distance": 2}
    assert not Path("left").exists()
    processes = [path.stem for path in tmp_path.glob("*.pid")]
    assert len(processes) == 6
    assert not any(running(process) for process in processes)


def running(process):
    """Whether a process of that number is there, and not merely waiting to be collected."""
    try:
        return Path("/proc", process, "stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


HANDOUT = """
import q2_sampler
import q2_model, q2_samplers, model
import torchvision.transforms as transforms
from torchvision.datasets.mnist import MNIST
from matplotlib_of_tomorrow import pyplot as plt
try:
    import faster_torch
except ImportError:
    faster_torch = None
assert faster_torch is None
class Net(q2_model.Critic):
    pass
"""


def test_modules_that_are_missing_get_stand_ins(submit):
    grades = submit(q2_solution=HANDOUT + RIGHT["q2_solution.py"] + "\ndef lp_reg(x, y, critic):\n    return plt.mean(x)\n")
    assert costs(grades) == {"lp_reg": 2}
    assert "returned an object of type MagicMock" in grades.lost["Q2.4 lp_reg: images"]
    missing = ["q2_sampler", "q2_model", "q2_samplers", "model", "torchvision", "matplotlib_of_tomorrow"]
    assert grades.notes == [f"q2_solution.py imports {name}, which is not installed and not in the folder" for name in missing]


def test_the_submissions_own_modules_come_first(submit, tmp_path):
    for name in ("model", "q2_samplers", "checks", "graded", "judge", "worker"):
        (tmp_path / f"{name}.py").write_text(f"mine = {name!r}\n")
    imports = "import model, q2_samplers, checks, graded, judge, worker\n"
    proof = "assert [m.mine for m in (model, checks, graded)] == ['model', 'checks', 'graded']\n"
    grades = submit(q2_solution=imports + proof + RIGHT["q2_solution.py"])
    assert (costs(grades), grades.notes) == ({}, [])


@pytest.mark.parametrize(
    ("stop", "note"),
    [
        ("raise RuntimeError('no data')", "raised RuntimeError: no data while it was imported"),
        ("import sys; sys.exit(1)", "called sys.exit while it was imported"),
        ("while True:\n    pass", "was stopped after 1 seconds of importing"),
    ],
)
def test_file_that_stops_half_way_is_graded_as_far_as_it_got(submit, stop, note):
    text = RIGHT["q2_solution.py"].replace("def lp_reg", f"{stop}\n\n\ndef lp_reg")
    grades = submit(time_limit=1.0, q2_solution=text)
    assert costs(grades) == {"lp_reg": 2}
    assert grades.notes == [f"q2_solution.py {note}: graded as far as it got"]


def test_file_that_cannot_be_loaded_costs_its_own_functions(submit):
    grades = submit(q1_solution="def lp_reg(:", q2_solution="import os; os._exit(0)")
    assert grades.total() == 0
    assert "q1_solution.py raised SyntaxError" in grades.notes[0]
    assert grades.notes[1:] == ["q2_solution.py ended the whole process, exit code 0"]
    assert grades.lost["Q2.4 lp_reg: images"] == "q2_solution.py could not be loaded"


def test_without_fork_each_check_has_its_own_interpreter(monkeypatch, tmp_path):
    (tmp_path / "q2_solution.py").write_text("def lp_reg(x, y, critic):\n    print('noise')\n    return 4.0\n")
    chosen = [check for check in CHECKS if check.function == "lp_reg" and check.title in ("steep critic", "gentle critic")]
    monkeypatch.setattr(grading, "CHECKS", chosen)
    monkeypatch.setattr(grading, "FILES", ["q2_solution.py"])
    monkeypatch.delattr("os.fork")
    grades = grading.grade(tmp_path)
    assert [bool(grades.lost[check.name]) for check in chosen] == [False, True]


LOST = {check.name: "returned None" if check.function == "lp_reg" else None for check in CHECKS}
WITHOUT_PENALTY = grading.Grades(LOST, ["a note"], 1.5)


def test_gradescope_file(tmp_path):
    path = tmp_path / "results.json"
    write_gradescope(path, WITHOUT_PENALTY)
    results = json.loads(path.read_text())
    assert (results["score"], results["execution_time"], results["output"]) == (26, 1.5, "a note")
    assert len(results["tests"]) == len(CHECKS)
    assert sum(test["score"] for test in results["tests"]) == 26
    assert sum(test["max_score"] for test in results["tests"]) == 28
    assert all(test.keys() == {"name", "score", "max_score", "output", "visibility"} for test in results["tests"])
    assert {test["output"] for test in results["tests"]} == {"right", "returned None"}
    assert list(tmp_path.iterdir()) == [path]


def test_table_tells_a_reason_once_with_its_marks():
    titles = ", ".join(check.title for check in CHECKS if check.function == "lp_reg")
    assert table(WITHOUT_PENALTY)[-3:-1] == [f"      -2  {titles}: returned None", "note: a note"]


def run_pytest(*arguments, **options):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(HERE / "graded"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_command_prints_the_table_and_fails_on_a_lost_mark(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for file, text in RIGHT.items():
        (folder / file).write_text(text.replace("log_q - log_p", "log_q + log_p"))
    result = run_pytest("--submission", "theirs", "--gradescope", "results.json", "--time-limit", "8", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    assert "marks of theirs" in result.stdout
    assert "Q1.5  kl_gaussian_gaussian_mc              2 / 4" in result.stdout
    assert "26 / 28" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if "many samples: " in line]
    assert "2 rows of 100 dimensions, 1,000 samples" in line and "looks like the sign of log p" in line
    assert "Traceback" not in result.stdout and "FAILURES" not in result.stdout
    assert json.loads((tmp_path / "results.json").read_text())["score"] == 26


def test_folder_that_is_not_there_is_one_line(tmp_path):
    result = run_pytest("--submission", "nowhere", cwd=tmp_path)
    assert result.returncode == 4
    assert result.stderr.strip() == f"ERROR: --submission: there is no folder {tmp_path / 'nowhere'}"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("--gradescope", "nowhere/results.json", "--gradescope: there is no folder"),
        ("--time-limit", 0.0, "--time-limit: must be"),
    ],
)
def test_other_usage_errors(tmp_path, name, value, message):
    config = types.SimpleNamespace(
        getoption=lambda asked, default: value if asked == name else default,
        invocation_params=types.SimpleNamespace(dir=tmp_path),
    )
    with pytest.raises(pytest.UsageError, match=message):
        pytest_configure(config)
