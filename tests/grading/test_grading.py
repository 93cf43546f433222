"""The graded suite: classic mistakes cost what they should, right answers nothing, and no submission breaks it."""

import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from wrong_submissions import WRONG

from grading import grading, report, sessions, wire
from grading.calling import answer
from grading.checks import CHECKS, FILES, chosen
from grading.judge import Answer, Lost
from grading.report import table, write_gradescope

HERE = Path(__file__).parent
SUITE, PROJECT = HERE.parent / "graded", HERE.parent.parent
RIGHT = {file: (HERE / "submissions" / "vectorised" / file).read_text() for file in FILES}
WORTH = collections.Counter()
for check in CHECKS:
    WORTH[check.function] += check.marks


@pytest.fixture
def submit(grader, tmp_path):
    """Grade files given by their text; a file that is not given is the right one."""

    def grade(time_limit=5.0, total_limit=60.0, checks=CHECKS, **texts):
        for file in FILES:
            (tmp_path / file).write_text(texts.get(file.removesuffix(".py"), RIGHT[file]))
        return grader.grade(tmp_path, time_limit, total_limit, checks)

    return grade


QUICK = [check for check in CHECKS if check.title not in ("one sample", "many samples", "spread", "random points")]


def of(*functions):
    """The checks of these functions alone: a grading takes as long as what it asks."""
    return [check for check in CHECKS if check.function in functions]


def costs(grades):
    """Function to marks lost, without those that lost none."""
    lost = collections.Counter()
    for row in grades.rows:
        lost[row.function] += row.worth - row.marks
    return {name: marks for name, marks in lost.items() if marks}


def sentences(grades, function):
    return {row.sentence for row in grades.rows if row.function == function}


def test_marks_are_those_of_the_assignment():
    assert list(WORTH.values()) == [4, 4, 4, 4, 4, 4, 2, 2]
    assert len({check.name for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("style", ["loops", "distributions", "vectorised"])
def test_right_submission_gets_all_marks(grader, style):
    grades = grader.grade(HERE / "submissions" / style)
    assert (grades.total(), costs(grades), grades.notes, grades.status) == (28, {}, [], "graded")


def judged_here(text, function, seed):
    """Check to the sentence that it ends in, the function called in this very process: a hundred times faster."""
    module, lost = {}, {}
    exec(text, module)
    for check in of(function):

        def ask(*tensors, check=check, **asked):
            tensors = [tensor.clone() for tensor in tensors]
            reply = answer(module[function], grading.request(check, seed, **asked), tensors)
            return Answer.read(*wire.unpack(wire.pack(*reply)))

        try:
            check.run(ask, grading.inputs(check, seed))
        except Lost as reason:
            lost[check] = str(reason)
    return lost


def with_mistake(wrong):
    """The right file with one thing in one function changed."""
    (text,) = [text for text in RIGHT.values() if f"def {wrong.function}(" in text]
    head, name, tail = text.partition(f"def {wrong.function}(")
    body, end, rest = tail.partition("\n\n\n")
    assert body.count(wrong.right) == 1, wrong
    return head + name + body.replace(wrong.right, wrong.wrong) + end + rest


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.function}: {wrong.mistake}")
def test_mistake_costs_what_it_should_whatever_is_drawn(wrong):
    lost = judged_here(with_mistake(wrong), wrong.function, int.from_bytes(os.urandom(4), "big"))
    assert sum(check.marks for check in lost) == wrong.costs, lost
    assert lost, "not even a remark"
    reasons = {sentence.partition(": looks like ")[2] for sentence in lost.values()} - {""}
    sometimes = wrong.mistake.startswith("(") or wrong.mistake == "num_samples is not used"
    assert reasons == {wrong.mistake} or (sometimes and not reasons), lost


def test_spread_that_does_not_fall_with_the_number_of_samples_is_named():
    """Not for every seed: the spread of 100 calls is itself a draw."""
    (wrong,) = [wrong for wrong in WRONG if wrong.mistake == "num_samples is not used"]
    for seed in (1, 2, 3):
        sentences = judged_here(with_mistake(wrong), wrong.function, seed).values()
        assert any(sentence.endswith(": looks like num_samples is not used") for sentence in sentences)


@pytest.mark.parametrize("function", WORTH)
def test_right_function_loses_nothing_whatever_is_drawn(function):
    (text,) = [text for text in RIGHT.values() if f"def {function}(" in text]
    for seed in range(1000, 1005):
        assert {check.title for check in judged_here(text, function, seed)} <= {"images"}


def test_inputs_are_drawn_anew_and_again_from_the_same_seed():
    """And from nothing else: the generator that everybody uses is elsewhere each time."""
    for check in CHECKS:
        seen = []

        def ask(*tensors, seen=seen, **asked):
            seen.append(torch.cat([tensor.flatten() for tensor in tensors]))
            raise Lost("seen")

        for seed in (1, 1, 2):
            with pytest.raises(Lost):
                check.run(ask, grading.inputs(check, seed))
        assert seen[0].equal(seen[1]) and not seen[0].equal(seen[2]), check.name


DIES = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
FILLS = "kept = []\n    while True: kept.append(torch.empty(2**27))"
FAULTS = [
    {
        "log_likelihood_bernoulli": ("pass", "returned None"),
        "log_likelihood_normal": ("raise ValueError('not done')", "raised ValueError: not done"),
        "log_mean_exp": ("import sys; sys.exit(0)", "called sys.exit"),
        "kl_gaussian_gaussian_analytic": ("import os; os._exit(3)", "ended the whole process, exit code 3"),
        "vf_squared_hellinger": (DIES, "was killed by SIGSEGV"),
        "vf_wasserstein_distance": ("while True: pass", "gave no answer within 0."),
    },
    {
        "log_likelihood_bernoulli": ("input()", "raised EOFError"),
        "log_likelihood_normal": ("return 'nan'", "returned an object of type str"),
        "log_mean_exp": ("return torch.empty(2**34)", "asked for more memory"),
        "kl_gaussian_gaussian_analytic": ("return 1.0", "expected"),
        "vf_squared_hellinger": ("return float('nan')", "expected"),
        "vf_wasserstein_distance": (FILLS, "asked for more memory"),
    },
]


@pytest.mark.parametrize("faults", FAULTS)
def test_fault_costs_its_own_function(submit, faults):
    texts = {file.removesuffix(".py"): text for file, text in RIGHT.items()}
    for name, (body, _) in faults.items():
        (file,) = [file for file, text in texts.items() if f"def {name}(" in text]
        texts[file] += f"\n\ndef {name}(*arguments, **options):\n    {body}\n"
    grades = submit(time_limit=0.5, checks=QUICK, **texts)
    assert costs(grades).keys() == faults.keys()
    for row in grades.rows:
        assert row.marks == row.worth or faults[row.function][1] in row.sentence


def test_missing_function_and_missing_file(grader, tmp_path):
    (tmp_path / "q2_solution.py").write_text(RIGHT["q2_solution.py"].replace("def lp_reg", "def my_lp_reg"))
    grades = grader.grade(tmp_path)
    assert (grades.total(), grades.notes) == (6, ["q1_solution.py is not there"])
    assert sentences(grades, "lp_reg") == {"the function is missing"}
    assert sentences(grades, "log_mean_exp") == {"q1_solution.py is not there"}
    assert grades.status == "no such file"


def test_noise_costs_nothing(submit):
    noise = (
        "import os, random, matplotlib.pyplot as plt; print('x' * 10**6); plt.plot([1]); plt.show(); os.chdir('/');"
        "open('/dev/stdout', 'w').write('{}'); random.seed(5); torch.manual_seed(5); torch.set_grad_enabled(False);"
        "torch.set_default_dtype(torch.float64); os.environ.clear()"
    )
    text = RIGHT["q1_solution.py"].replace("    top = y.max(1", f"    {noise}\n    top = y.max(1")
    grades = submit(q1_solution=text + "\nprint('loaded')\n", q2_solution=RIGHT["q2_solution.py"])
    assert (costs(grades), grades.notes) == ({}, [])


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
    text = HANDOUT + RIGHT["q2_solution.py"] + "\ndef lp_reg(x, y, critic):\n    return plt.mean(x)\n"
    grades = submit(q2_solution=text, checks=of("lp_reg", "vf_wasserstein_distance"))
    assert costs(grades) == {"lp_reg": 2}
    assert "returned an object of type Nothing" in " ".join(sentences(grades, "lp_reg"))
    missing = ["q2_sampler", "q2_model", "q2_samplers", "model", "torchvision", "matplotlib_of_tomorrow"]
    said = "which is not installed and not in the folder"
    assert grades.notes == [f"q2_solution.py imports {name}, {said}" for name in missing]


def test_the_submissions_own_modules_come_first(submit, tmp_path):
    for name in ("model", "q2_samplers", "checks", "grading", "judge", "worker"):
        (tmp_path / f"{name}.py").write_text(f"mine = {name!r}\n")
    imports = "import model, q2_samplers, checks, grading, judge, worker\n"
    proof = "assert [m.mine for m in (model, checks, grading)] == ['model', 'checks', 'grading']\n"
    grades = submit(q2_solution=imports + proof + RIGHT["q2_solution.py"], checks=of("lp_reg"))
    assert (costs(grades), grades.notes) == ({}, [])


STOPS = {
    "raise RuntimeError('no data')": "raised RuntimeError: no data",
    "import sys; sys.exit(1)": "called sys.exit",
    "while True:\n    pass": "was stopped after 0.5 seconds of importing",
    "K = int(input())": "raised EOFError",
    "import os; os._exit(3)": "ended the whole process, exit code 3",
    "%matplotlib inline": "is not Python",
    "def later[T](x: T):\n    type X = T\n    return x": "is not Python",
}


@pytest.mark.parametrize("stop", STOPS)
def test_file_that_stops_is_graded_on_its_functions_and_what_they_use(submit, stop):
    head, middle, tail = RIGHT["q2_solution.py"].partition("def lp_reg")
    middle += tail.replace("- 1)", "- ONE)")
    text = f"{head}{stop}\nONE = 1\nraise ValueError('an experiment')\n\n\n{middle}"
    grades = submit(time_limit=0.5, checks=of("lp_reg", "vf_wasserstein_distance"), q2_solution=text)
    if "later" not in stop or sys.version_info < (3, 12):
        assert any(STOPS[stop] in note for note in grades.notes), grades.notes
    assert (costs(grades), grades.status) == ({}, "graded")


def test_file_that_cannot_be_loaded_costs_its_own_functions(submit):
    broken = "import os; os._exit(0)\ndef lp_reg(x, y, critic):\n    os.abort()"
    grades = submit(q1_solution="def lp_reg(:", q2_solution=broken)
    assert grades.total() == 0
    assert "q1_solution.py, line 1, is not Python" in " ".join(grades.notes)
    assert "q2_solution.py ended the whole process, exit code 0" in " ".join(grades.notes)


MISSING_TOOLS = """
from beartype_of_tomorrow import beartype
from numba_of_tomorrow import njit
from tqdm_of_tomorrow import tqdm, trange
import torch
torch.set_default_device("cuda")
torch.set_default_dtype(torch.float64)

@njit(cache=True)
def id(x):
    return x

"""


def test_missing_decorators_compilers_and_devices_cost_nothing(submit):
    loop = "for _ in trange(1): y = torch.stack([id(row) for row in tqdm(y, desc='rows')])"
    decorated = f"@torch.compile(dynamic=True)\n@beartype\ndef log_mean_exp(y):\n    {loop}\n"
    text = RIGHT["q1_solution.py"].replace("def log_mean_exp(y):\n", decorated)
    grades = submit(q1_solution=MISSING_TOOLS + text, checks=of("log_mean_exp"))
    assert (costs(grades), grades.notes[-1]) == ({}, "torch.compile is off while grading")


def test_a_file_that_was_handed_in_is_found_and_may_be_changed(submit, tmp_path):
    (tmp_path / "k.txt").write_text("3")
    text = "K = open('k.txt').read(); open('k.txt', 'w').write('4'); open('new', 'w').close()\n"
    grades = submit(q1_solution=text + RIGHT["q1_solution.py"], checks=of("log_mean_exp"))
    assert (costs(grades), grades.notes, (tmp_path / "k.txt").read_text()) == ({}, [], "3")


def test_gradescope_file_table_and_page(tmp_path):
    lost = {"Q2.4 lp_reg: images": "no images", "Q2.4 lp_reg: gradient": "returned None"}
    marks = {check: 0 if check.name in lost else check.marks for check in CHECKS}
    rows = [grading.Row(*check[:4], marks[check], lost.get(check.name)) for check in CHECKS]
    grades, path = grading.Grades(rows, ["a note"], 1.5), tmp_path / "results.json"
    write_gradescope(path, grades)
    results = json.loads(path.read_text())
    assert [results[key] for key in ("score", "execution_time", "output")] == [27.5, 1.5, "a note\nlp_reg: no images"]
    assert [sum(test[key] for test in results["tests"]) for key in ("score", "max_score")] == [27.5, 28]
    assert all(test.keys() == {"name", "score", "max_score", "output", "visibility"} for test in results["tests"])
    assert {test["output"] for test in results["tests"]} == {"right", "returned None"}
    assert {"      -0.5  gradient: returned None", "      remark  images: no images"} < set(table(grades))
    assert "<b>remark</b> images: no images" in report.feedback("ann", grades)


def test_questions_are_chosen_by_number():
    assert {check.question for check in chosen("1,2.4")} == {"Q1.1", "Q1.2", "Q1.3", "Q1.4", "Q1.5", "Q2.4"}
    with pytest.raises(ValueError, match="no question '3'"):
        chosen("1,3")


def test_all_functions_looping_ends_soon_and_leaves_other_files_their_time(submit):
    functions = [function for function in WORTH if f"def {function}(" in RIGHT["q1_solution.py"]]
    loops = "\n".join(f"def {function}(*arguments):\n    while True: pass" for function in functions)
    two_of_each = [check for function in WORTH for check in [c for c in QUICK if c.function == function][:2]]
    grades = submit(time_limit=0.5, q1_solution=loops, checks=two_of_each)
    assert list(costs(grades)) == functions
    assert (grades.total(), grades.status) == (4, "timed out")


def test_limit_on_the_whole(submit):
    text = RIGHT["q1_solution.py"].replace("    top = y.max(1", "    import time; time.sleep(1)\n    top = y.max(1")
    grades = submit(total_limit=0.8, q1_solution=text, checks=of("log_mean_exp"))
    assert costs(grades) == {"log_mean_exp": 4}
    assert grades.seconds < 5
    assert "not tried: a whole grading may take 0.8 seconds" in sentences(grades, "log_mean_exp")


def test_argument_changed_in_place_is_a_note(submit):
    change = "    y -= 0\n    y += 1; y -= 1 - 1e-5\n    top = y.max(1"
    text = RIGHT["q1_solution.py"].replace("    top = y.max(1", change)
    grades = submit(q1_solution=text, checks=of("log_mean_exp"))
    assert grades.notes == ["log_mean_exp changes its argument number 1 in place"]


SETTINGS = ["-p", "no:cacheprovider", "-c", str(PROJECT / "pyproject.toml")]


def test_pytest_prints_the_table_and_loads_none_of_a_submissions_tests(grader, tmp_path, monkeypatch, capsys):
    """In two words and in one; the submission would stop pytest if pytest looked at it."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for file, text in RIGHT.items():
        (folder / file).write_text(text.replace("log_q - log_p", "log_q + log_p"))
    for name in ("conftest.py", "test_theirs.py", "sitecustomize.py"):
        (folder / name).write_text("raise SystemExit('loaded')")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", SUITE, "--submission", "theirs"]
    how = {"cwd": tmp_path, "capture_output": True, "encoding": "utf-8", "errors": "replace"}
    result = subprocess.run([*command, "--time-limit", "8"], **how)
    assert (result.returncode, result.stderr) == (1, "")
    assert "marks of theirs" in result.stdout
    assert "Q1.5  kl_gaussian_gaussian_mc              2 / 4" in result.stdout
    assert "26 / 28" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if "many samples: " in line]
    assert "8 rows of 100 dimensions, 200 samples" in line and "looks like the sign of log p" in line
    assert "Traceback" not in result.stdout and "FAILURES" not in result.stdout
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.graded.conftest.grade", grader.grade)
    assert pytest.main([str(SUITE), *SETTINGS, "--submission=theirs", "-k", "1.5"]) == 1
    printed = capsys.readouterr().out
    assert "Q1.5" in printed and "Q1.1" not in printed and "2 / 4" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--submission", "nowhere"], "--submission: there is no {}/nowhere"),
        (["--time-limit", "0"], "--time-limit: must be above 0"),
        (["--seed", "99999999999999999999"], "--seed: must be between 0 and 2^63"),
        (["--questions", "3"], "--questions: there is no question '3', only"),
    ],
)
def test_usage_errors_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PY_COLORS", "0")
    assert pytest.main([str(SUITE), *SETTINGS, *arguments]) == 4
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("ERROR: " + message.format(tmp_path))


def test_grader_that_cannot_start_says_why_in_one_line(tmp_path, monkeypatch):
    """As where torch is found by a setting that is lost on the way to the worker."""
    broken = tmp_path / "worker.py"
    broken.write_text("import no_such_package")
    monkeypatch.setattr("grading.sessions.WORKER", broken)
    with pytest.raises(sessions.GraderError, match="No module named 'no_such_package'"):
        grading.grade(HERE / "submissions" / "vectorised")
