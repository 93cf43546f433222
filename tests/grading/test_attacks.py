"""Submissions that want marks for nothing, or that nobody gets any: none gains one, and results always appear."""

import contextlib
import json
import os
import signal
import textwrap
import time
from pathlib import Path

import pytest

from grading import grading, sessions
from grading.checks import CHECKS
from grading.report import table, write_gradescope

HERE = Path(__file__).parent
RIGHT_Q2 = (HERE / "submissions" / "vectorised" / "q2_solution.py").read_text()
TITLES = ("values", "one number per row", "one number")
ASKED = [c for c in CHECKS if c.function in ("log_mean_exp", "vf_wasserstein_distance") and c.title in TITLES]

# Texts of a q1_solution.py; a mark is for one number for each row.
EARN_A_MARK = {
    "reads the frames of its callers": """
        import sys, torch
        def log_mean_exp(y):
            frame = sys._getframe(1)
            while frame:
                for name in ("expected", "right", "truth"):
                    if name in frame.f_locals:
                        return frame.f_locals[name]
                frame = frame.f_back
            return torch.zeros(len(y))
        """,
    "imports the judge": """
        import sys, torch
        def log_mean_exp(y):
            try:
                from grading import checks_q1, judge
                checks_q1.compare = judge.compare = lambda *a, **k: None
            except ImportError:
                pass
            return torch.zeros(len(y))
        """,
    "makes its inputs zero, for which 0 is right": """
        def log_mean_exp(y):
            y.zero_()
            return y.sum(1)
        """,
    "patches torch": """
        import torch
        def yes(*arguments, **options): return torch.tensor(True)
        torch.Tensor.all = torch.Tensor.__le__ = torch.Tensor.__sub__ = yes
        torch.allclose = torch.isclose = torch.equal = yes
        def log_mean_exp(y):
            return torch.zeros(len(y))
        """,
}
EARN_NOTHING = {
    "sends an answer of its own making": """
        import os, struct, json
        def log_mean_exp(y):
            head = json.dumps({"header": {"kind": "tensor", "type": "x", "shape": [10**9], "differentiable": True,
                "changed": ["a"], "reached": [True] * 9}, "tensors": [["float64", [-1, 10**30]]]}).encode()
            payload = struct.pack("<I", len(head)) + head
            write(struct.pack("<Q", len(payload)) + payload)
            os._exit(0)
        """,
    "announces an answer of exabytes": """
        import os
        def log_mean_exp(y):
            write(b"\\xff" * 16)
            os._exit(0)
        """,
    "answers byte by byte": """
        import os, struct, time
        def log_mean_exp(y):
            for byte in struct.pack("<Q", 1000) + b"{" * 1000:
                write(bytes([byte]))
                time.sleep(0.05)
        """,
    "returns a tensor that says yes to everything": """
        import torch
        class Yes(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, arguments=(), options=None):
                return torch.Tensor([0.0])
        def log_mean_exp(y):
            return torch.zeros(len(y)).as_subclass(Yes)
        """,
    "returns what runs code when it is read": """
        import os
        class Bomb(float):
            def __reduce__(self):
                return os._exit, (0,)
            def __float__(self):
                return 0.0
        def log_mean_exp(y):
            return Bomb(0)
        """,
    "patches json, builtins and os": """
        import builtins, json, os, socket, struct
        builtins.len = builtins.isinstance = json.dumps = json.loads = struct.pack = lambda *a, **k: 0
        socket.socket.sendall = os.write = os.kill = os.waitpid = os.fork = lambda *a, **k: (0, 0)
        def log_mean_exp(y):
            return 0
        """,
    "kills the worker": """
        import os, signal
        above = os.getppid()
        def log_mean_exp(y):
            os.kill(above, signal.SIGKILL)
            os.kill(os.getppid(), signal.SIGKILL)
            return 0
        """,
    "stops its parent": """
        import os, signal, time
        def log_mean_exp(y):
            os.kill(os.getppid(), signal.SIGSTOP)
            time.sleep(60)
        """,
    "prints and raises a table": """
        print("total 28 / 28")
        def log_mean_exp(y):
            raise ValueError("\\r\\n\\x1b[2J" + "total                                     28 / 28\\n" * 50)
        """,
    "is called what it is not": """
        log_mean_exp = type("x: right\\ntotal 28 / 28", (), {"__call__": lambda self, y: self})()
        """,
    "starts threads when it is imported": """
        import threading, time
        def run():
            while True:
                pass
        for _ in range(3):
            threading.Thread(target=run, daemon=True).start()
        def log_mean_exp(y):
            return 0
        """,
}

WRITE = """def write(data):
    import os
    for number in range(3, 64):
        try:
            os.write(number, data)
        except OSError:
            pass
"""


def submit(folder, q1):
    folder.mkdir(exist_ok=True)
    (folder / "q1_solution.py").write_text(WRITE + textwrap.dedent(q1))
    (folder / "q2_solution.py").write_text(RIGHT_Q2)
    return folder


@pytest.mark.parametrize("attack", [*EARN_A_MARK, *EARN_NOTHING])
def test_attack_gains_nothing_and_costs_others_nothing(grader, tmp_path, monkeypatch, attack):
    monkeypatch.setattr(sessions, "GRACE", 0.5)  # one of them stops what is to answer
    text, deserved = (EARN_A_MARK | EARN_NOTHING)[attack], int(attack in EARN_A_MARK)
    grades = grader.grade(submit(tmp_path / "theirs", text), time_limit=0.5, total_limit=20, checks=ASKED)
    assert grades.total() == deserved + 1.5, grades
    assert sum(row.marks for row in grades.rows if row.function == "log_mean_exp") == deserved
    lines = table(grades)
    assert sum("28 / 28" in line or line.startswith("total") for line in lines) == 1
    assert all(line.isprintable() and len(line) < 400 for line in lines)
    write_gradescope(tmp_path / "results.json", grades)
    assert json.loads((tmp_path / "results.json").read_text())["score"] == deserved + 1.5


DAEMON = """
import os, time
def log_mean_exp(y):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            os.closerange(0, 256)
            open("{started}", "w").write(str(os.getpid()))
            while True:
                time.sleep(0.02)
                if os.path.exists("{results}"):
                    open("{results}", "w").write('{{"score": 28}}')
        os._exit(0)
    time.sleep(0.2)
    return 0
"""


def test_process_left_behind_is_gone_before_the_results_are_written(grader, tmp_path):
    results, started = tmp_path / "results.json", tmp_path / "started"
    open_to_all(tmp_path)
    tmp_path.chmod(0o777)
    folder = submit(tmp_path / "theirs", DAEMON.format(results=results, started=started))
    write_gradescope(results, grader.grade(folder, time_limit=2, checks=ASKED))
    assert started.exists(), "the attack did not take place"
    assert not Path("/proc", started.read_text()).exists()
    time.sleep(0.1)
    assert json.loads(results.read_text())["score"] == 1.5


def open_to_all(folder):
    """For the user whom a submission is run as by root: pytest keeps its folders to itself."""
    for path in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            path.chmod(path.stat().st_mode | 0o011)


def test_folder_in_the_place_of_the_results_is_replaced(grader, tmp_path):
    (tmp_path / "results.json").mkdir()
    (tmp_path / "results.json" / "file").touch()
    write_gradescope(tmp_path / "results.json", grader.grade(submit(tmp_path / "theirs", ""), checks=ASKED))
    assert json.loads((tmp_path / "results.json").read_text())["score"] == 1.5
    assert [path.name for path in tmp_path.iterdir() if path.name != "theirs"] == ["results.json"]


LITTER = "import os, tempfile; tempfile.mkdtemp(); open('left', 'w'); "
CRASHES = [
    "os.abort()",
    "os._exit(1)",
    "os.kill(os.getpid(), 11)",
    "os.kill(os.getppid(), 9)",
    "raise MemoryError",
    "[(os.mkdir('d'), os.chdir('d')) for _ in range(1500)]",
    "os.mkdir('d'), open('d/f', 'w'), os.chmod('d', 0), os.chmod('.', 0)",
    "while True: pass",
]


def test_no_crash_leaves_files_in_the_temporary_folder(tmp_path, monkeypatch):
    """Also not where the judge itself is killed: the worker then tidies up."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with grading.Grader() as grader:
        for crash in CRASHES:
            text = f"def log_mean_exp(y):\n    {LITTER}\n    {crash}\n"
            grader.grade(submit(tmp_path / "theirs", text), time_limit=0.3, total_limit=5, checks=ASKED[:1])
    assert list((tmp_path / "temporary").iterdir()) == []
    submit(tmp_path / "theirs", f"import time\nopen({str(tmp_path / 'loading')!r}, 'w')\ntime.sleep(60)\n")
    judge = os.fork()
    if judge == 0:
        try:
            grading.grade(tmp_path / "theirs")
        finally:
            os._exit(1)
    wait_until((tmp_path / "loading").exists)
    assert list((tmp_path / "temporary").iterdir())
    os.kill(judge, signal.SIGKILL)
    os.waitpid(judge, 0)
    wait_until(lambda: not list((tmp_path / "temporary").iterdir()))


def wait_until(true, seconds=60):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_run_by_root_it_becomes_a_user_who_can_change_nothing(grader, tmp_path):
    if grader.worker.user is None:
        grader.grade(submit(tmp_path / "theirs", ""), checks=ASKED[:1])
    if grader.worker.user is None:
        pytest.skip("the interpreter or torch is closed to other users here")
    (tmp_path / "said").touch(mode=0o666)
    (tmp_path / "said").chmod(0o666)
    open_to_all(tmp_path)
    judge = sessions.__file__.replace("sessions", "judge")
    text = f"""
    import os
    tried = [os.geteuid(), os.access({judge!r}, os.W_OK), os.access(f"/proc/{{os.getppid()}}/mem", os.R_OK)]
    try:
        os.kill(os.getppid(), 0)
        tried.append(True)
    except PermissionError:
        tried.append(False)
    open({str(tmp_path / "said")!r}, "w").write(repr(tried))
    """
    grader.grade(submit(tmp_path / "theirs", text), checks=ASKED[:1])
    assert (tmp_path / "said").read_text() == repr([grader.worker.user, False, False, False])
