"""Submissions as a class hands them in: read whatever they came as, graded side by side, reported safely."""

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from grading import course, loading, pages, submission
from grading.__main__ import main
from grading.checks import chosen

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
RIGHT = HERE / "submissions" / "vectorised"
ONE = chosen("1.1")
DEFINES = "def log_likelihood_bernoulli(mu, target):\n    return 0\n"


def zipped(path, members):
    """An archive of names and texts or files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content.read_bytes() if isinstance(content, Path) else content)
    return path


def notebook(path, *cells):
    book = {"cells": [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]}
    path.write_text(json.dumps(book))
    return path


RIGHT_FILES = {path.name: path for path in RIGHT.glob("*.py")}


def copied(folder):
    """A folder with the right files."""
    folder.mkdir()
    for name, path in RIGHT_FILES.items():
        (folder / name).write_bytes(path.read_bytes())
    return folder


WAYS = {
    "folder": lambda folder: RIGHT,
    "folder one level down": lambda folder: copied(folder / "only").parent,
    "archive": lambda folder: zipped(folder / "a.zip", RIGHT_FILES),
    "archive with a folder": lambda folder: zipped(folder / "a.zip", {f"hw3/{n}": RIGHT_FILES[n] for n in RIGHT_FILES}),
    "archive in a folder": lambda folder: zipped(folder / "a.zip", RIGHT_FILES).parent,
    "archive of macOS": lambda folder: zipped(folder / "a.zip", RIGHT_FILES | {"__MACOSX/._q1_solution.py": "\0"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_files_are_found_however_they_came(way, tmp_path):
    (tmp_path / "given").mkdir()
    assert submission.collect(WAYS[way](tmp_path / "given"), tmp_path / "target") == []
    for name, path in RIGHT_FILES.items():
        assert (tmp_path / "target" / name).read_bytes() == path.read_bytes()


def test_notebook_gives_its_definitions_without_its_experiments(tmp_path):
    cells = ["%matplotlib inline\nraise SystemExit", DEFINES, "%%html\n<b>", "loader = load()", "this is no Python"]
    notes = submission.collect(notebook(tmp_path / "solution.ipynb", *cells), tmp_path / "target", ["q1_solution.py"])
    assert (tmp_path / "target" / "q1_solution.py").read_text() == DEFINES
    assert notes == [
        "q1_solution.py was made of what its functions use in solution.ipynb",
        "code cell 3 of solution.ipynb is %%html and was left out",
        "code cell 5 of solution.ipynb is not Python and was left out",
    ]


def two(folder):
    for name in ("ann", "bob"):
        (folder / name).mkdir()
        (folder / name / "q1_solution.py").touch()
    return folder


def link(folder):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        member = zipfile.ZipInfo("q1_solution.py")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    return folder / "a.zip"


def cut(folder):
    path = zipped(folder / "a.zip", RIGHT_FILES)
    data = bytearray(path.read_bytes())
    data[40:80] = bytes(40)
    path.write_bytes(data)
    return path


REFUSED = {
    "nothing there": (lambda folder: folder / "nowhere", "there is no"),
    "two submissions": (two, "holds 2 submissions (ann, bob): give one of them, or all with --out"),
    "a path that leads out": (lambda folder: zipped(folder / "a.zip", {"../out.py": ""}), "leads out of it"),
    "an absolute path": (lambda folder: zipped(folder / "a.zip", {"/tmp/out.py": ""}), "leads out of it"),
    "a path of Windows": (lambda folder: zipped(folder / "a.zip", {"..\\out.py": ""}), "leads out of it"),
    "a link": (link, "leads out of it"),
    "a bomb": (lambda folder: zipped(folder / "a.zip", {"q1_solution.py": "0" * (60 * 2**20)}), "more than 50 MB"),
    "many files": (lambda folder: zipped(folder / "a.zip", dict.fromkeys(map(str, range(5001)), "")), "or 5000 files"),
    "damage": (cut, "cannot be unpacked"),
    "another kind of file": (lambda folder: HERE.parent / "conftest.py", "is neither a folder"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_submission_is_refused_in_a_line(kind, tmp_path, capsys):
    make, message = REFUSED[kind]
    (tmp_path / "given").mkdir()
    results = tmp_path / "results.json"
    assert main([str(make(tmp_path / "given")), "--gradescope", str(results)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("error: ") and message in printed.err
    assert json.loads(results.read_text())["score"] == 0
    assert not (tmp_path / "out.py").exists()


def test_links_and_hidden_files_are_not_copied(tmp_path):
    folder = copied(tmp_path / "theirs")
    (folder / "secret").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")
    (folder / ".git").mkdir()
    submission.collect(folder, tmp_path / "target")
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == sorted(RIGHT_FILES)


@pytest.fixture
def handed_in(tmp_path):
    """Six students in an export of Gradescope's."""
    folder = tmp_path / "in" / "assignment_7_export"
    right = (RIGHT / "q1_solution.py").read_text()
    texts = {
        "submission_1": right,
        "submission_2": right.replace("1e-7)).sum(1)", "1e-7)).mean(1)"),
        "submission_3": "import no\nraise RuntimeError('<script>alert(1)</script>')",
        "=submission <b>": "def log_likelihood_bernoulli(mu, target):\n    while True: pass",
    }
    for name, text in texts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "q1_solution.py").write_text(text)
    (folder / "submission_metadata.yml").touch()
    (folder / "empty").mkdir()
    (folder / "broken.zip").write_bytes(b"PK\3\4")
    return tmp_path / "in"


def read_csv(folder):
    return {row["submission"]: row for row in csv.DictReader(io.StringIO((folder / "marks.csv").read_text()))}


def test_class_is_graded_whatever_a_submission_does(grader, handed_in, tmp_path, monkeypatch, capsys):
    out = tmp_path / "marks"
    command = [str(handed_in), "--out", str(out), "--questions", "1.1", "--time-limit", "0.5", "--jobs", "2"]
    assert main(command) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 8 and all("of 6" in line and "left" in line for line in printed[:-2])
    assert printed[-2] == "note: submission_metadata.yml was left out: nobody's"
    rows = read_csv(out)
    assert {name: (row["status"], row["total"], row["Q1.1"]) for name, row in rows.items()} == {
        "submission_1": ("graded", "4", "4"),
        "submission_2": ("graded", "1", "1"),
        "submission_3": ("does not import", "0", "0"),
        "'=submission <b>": ("timed out", "0", "0"),
        "empty": ("no such file", "0", "0"),
        "broken": ("not readable", "0", "0"),
    }
    page = (out / "submission_3.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "<script>" not in page
    summary = (out / "index.html").read_text()
    assert "the mean over the pixels instead of the sum" in summary and "6 submissions" in summary
    assert "=submission &lt;b&gt;" in summary and "submission <b>" not in summary
    (handed_in / "assignment_7_export" / "submission_2" / "q1_solution.py").write_text((RIGHT / "q1_solution.py").read_text())
    monkeypatch.setattr(course.Course, "grader", lambda self: grader)
    assert main(command) == 0
    again = capsys.readouterr().out.splitlines()
    assert again[0] == "5 of 6 have been graded before" and len(again) == 4
    assert read_csv(out)["submission_2"]["total"] == "4"


def test_archive_of_archives_and_two_submissions_of_one_name(tmp_path):
    inner = zipped(tmp_path / "ann.zip", RIGHT_FILES)
    outer = zipped(tmp_path / "all.zip", {"ann.zip": inner, "ann/q1_solution.py": "", "bob.ipynb": "{}", "readme.txt": ""})
    (tmp_path / "scratch").mkdir()
    found, notes = course.find(outer, tmp_path / "scratch", tmp_path)
    assert (sorted(found), notes) == (["ann", "ann.zip", "bob"], ["readme.txt was left out: nobody's"])


def test_every_entry_of_a_class_is_a_student_or_named(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    copied(folder / "ann")
    for name in ("bob.ipynb", "cem.IPYNB"):
        notebook(folder / name, DEFINES)
    zipped(folder / "dee.ZIP", RIGHT_FILES)
    with tarfile.open(folder / "eve.tar.gz", "w:gz") as archive:
        archive.add(RIGHT, "eve")
    for name in ("fay.7z", "gil_q1_solution.py", "gil_q2_solution.py", "q1_solution.py", "utils.py"):
        (folder / name).write_text("def log_mean_exp(y): return 0" if "solution" in name else "")
    (folder / "marks").mkdir()
    found, notes = course.find(folder, tmp_path, folder / "marks")
    assert sorted(found) == ["ann", "bob", "cem", "dee", "eve", "fay", "gil"]
    assert [note.split(" was left out")[0] for note in notes] == ["marks", "q1_solution.py", "utils.py"]
    with pytest.raises(submission.SubmissionError, match=r"but a \.7z file"):
        submission.collect(found.pop("fay"), tmp_path / "target")
    for path in found.values():
        submission.collect(path, tmp_path / "target")
        assert (tmp_path / "target" / "q1_solution.py").exists()


TRIPLE = "def log_mean_exp(y):\n    return K * y"
IN_IPYTHON = {
    "%%time": ["%%time\nK = 3\n" + TRIPLE],
    "nested magics": ["%%capture out\n%%time\n%matplotlib inline\n" + TRIPLE, "%time K = 3"],
    "a command's output": ["cores = !nproc\nK = 3\n" + TRIPLE],
    "an indented cell": ["    K = 3\n    def log_mean_exp(y):\n        return K * y"],
    "a line that begins with %": ["K = (9\n % 6)", TRIPLE],
    "a command in a block": ["import sys\nif 'google.colab' in sys.modules:\n    !pip install x\nK = 3", TRIPLE],
    "a lambda": ["K: int = 3", "log_mean_exp = lambda y: K * y"],
    "an imported name": ["from math import log, exp as E\nfrom math import *", "K = L = round(E(log(3)) + cos(0) - 1)", TRIPLE],
    "imports in try": ["try:\n    from no_such import K\nexcept ImportError:\n    K = 3", TRIPLE],
    "a table that is filled": ["K = [0]\nfor i in range(2):\n    K[0] += 1.5", TRIPLE.replace("K", "K[0]")],
    "in a notebook": ["if __name__ == '__main__':\n    K = 3", TRIPLE],
    "decorators": ["def id(f):\n    return f\nK, (L, M) = 3, (4, 5)", "@id\n" + TRIPLE, "from __future__ import annotations"],
    "training": [
        "K = 3\ndef train():\n    loss.backward()\n    1 / 0",
        TRIPLE,
        "K = train()",
        "for K in loader:\n    K.backward()",
    ],
    "an experiment below": ["K = 3", TRIPLE, "K = no_such_thing()"],
}


@pytest.mark.parametrize("kind", IN_IPYTHON)
def test_notebook_gives_what_its_functions_use_whatever_binds_it(kind, tmp_path):
    submission.collect(notebook(tmp_path / "a.ipynb", *IN_IPYTHON[kind]), tmp_path / "target")
    module, _, problem = loading.load(tmp_path / "target", "q1_solution.py", 5)
    assert (module.log_mean_exp(2), problem) == (6, None)


def test_notebook_of_magics_says_what_is_missing_without_ipython(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.core.inputtransformer2", None)
    notes = submission.collect(notebook(tmp_path / "a.ipynb", DEFINES, "%%time\nx = 1"), tmp_path / "target")
    assert notes[1].startswith("code cell 2 of a.ipynb needs IPython to be read, which is not installed")


def test_file_that_defines_the_functions_is_taken_and_named(tmp_path):
    (tmp_path / "q1_solution.py").write_text("def log_likelihood_bernoulli(mu, target):\n    return")
    notebook(tmp_path / "experiments.ipynb", "from q1_solution import log_likelihood_bernoulli")
    notebook(tmp_path / "vae.ipynb", DEFINES)
    notes = submission.collect(tmp_path, tmp_path / "target", ["q1_solution.py"])
    assert (tmp_path / "target" / "q1_solution.py").read_text() == DEFINES
    assert notes[1:] == ["vae.ipynb defines 1 functions of q1_solution.py, q1_solution.py 0: it was taken"]


FORMAT_3 = json.dumps({"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": [DEFINES]}]}]})
FOUND = {
    "Q1_Solution.py": (DEFINES, "Q1_Solution.py was taken for q1_solution.py"),
    "q1_solution (1).py": (DEFINES, "q1_solution (1).py was taken for q1_solution.py"),
    "q1_solution.py.txt": (DEFINES, "q1_solution.py.txt was taken for q1_solution.py"),
    "format 3.ipynb": (FORMAT_3, "q1_solution.py was made of what its functions use in format 3.ipynb"),
    "a.ipynb": ('{"cells":\n<<<<<<< HEAD\n[]\n=======\n1\n>>>>>>> x\n}', "cannot be read: it holds a merge conflict"),
    "b.ipynb": ("", "cannot be read: it is empty"),
    "c.ipynb": ('{"cells": []}', "defines no graded function"),
    "vae.py": (DEFINES, "defines log_likelihood_bernoulli, but is not q1_solution.py"),
    "report.pdf": ("", "for q1_solution.py there is report.pdf"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_taken_and_why_nothing_was_is_said(name, tmp_path):
    text, message = FOUND[name]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text(text)
    (note,) = submission.collect(tmp_path / "in", tmp_path / "target", ["q1_solution.py"])
    assert message in note
    assert (tmp_path / "target" / "q1_solution.py").exists() == ("taken" in message or "made" in message)


def test_accents_are_read_and_escaped_where_nothing_is_utf_8(tmp_path):
    folder = tmp_path / "提交"
    folder.mkdir()
    notebook(folder / "é.ipynb", "def log_mean_exp(y):\n    raise ValueError('尺寸 é')")
    ascii_only = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "grading", folder, "--questions", "1.3"]
    done = subprocess.run(command, cwd=PROJECT, env=os.environ | ascii_only, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "\\u5c3a\\u5bf8 \\xe9" in done.stdout


def test_names_are_shown_whole_and_can_be_read_back():
    names = ["x" * 200 + "1", "x" * 200 + "2", "\udcff", "\udcfe", "a\\n", "a\n", "提交"]
    shown = [pages.shown(name) for name in names]
    assert len(set(shown)) == len({course.file_name(name) for name in names}) == len(names)
    assert [s.encode("latin-1", "backslashreplace").decode("unicode_escape") for s in shown] == names


def test_changed_suite_or_limits_grade_again(tmp_path, monkeypatch):
    marks = {course.fingerprint(RIGHT, [[], [["seed", seed]]]) for seed in (1, 2)}
    monkeypatch.setattr(course, "__file__", str(tmp_path / "course.py"))
    assert len(marks | {course.fingerprint(RIGHT, [[], [["seed", 1]]])}) == 3


def test_grading_that_fails_is_said_and_does_not_stop_the_rest(handed_in, tmp_path, monkeypatch):
    found, _ = course.find(handed_in, tmp_path, tmp_path / "marks")
    taken = course.Course(found, tmp_path / "marks", ONE, {})
    monkeypatch.setattr(taken, "grader", lambda: 1 / 0)
    assert {record["status"] for record in taken.grade_all(2)} == {course.AGAIN}
    assert not any(taken.already_graded(name) for name in found)


def test_interruption_keeps_what_is_done(grader, handed_in, tmp_path, monkeypatch):
    found, _ = course.find(handed_in, tmp_path, tmp_path / "marks")
    limits = {"time_limit": 0.5}
    taken = course.Course(found, tmp_path / "marks", ONE, limits)
    monkeypatch.setattr(taken, "grader", lambda: grader)
    monkeypatch.setattr(taken, "progress", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        taken.grade_all(1)
    done = len(read_csv(tmp_path / "marks"))
    assert 1 <= done < len(found)
    assert sum(course.Course(found, tmp_path / "marks", ONE, limits).already_graded(name) for name in found) >= done
    assert not any(course.Course(found, tmp_path / "marks", ONE, {"time_limit": 9}).already_graded(name) for name in found)


def test_mistakes_are_counted_by_what_they_look_like():
    assert pages.mistake("5 rows, number 3: 1.5, expected 2: looks like the sign") == "the sign"
    assert pages.mistake("5 rows: 1.5, expected -2e-3") == pages.mistake("6 rows: 1.25, expected 7")


def test_file_names_are_safe_and_differ():
    names = ["ann", "../ann", "a/b", "a\\b", "é", "x" * 200, "con:", ""]
    files = [course.file_name(name) for name in names]
    assert len(set(files)) == len(files)
    assert all("/" not in file and "\\" not in file and ".." not in file.split("-")[0] for file in files)


def test_autograder_runs_in_gradescopes_folders(tmp_path):
    """make's archive, unpacked as Gradescope does, grades a submission there without the rest of this project."""
    subprocess.run([sys.executable, "-m", "grading.gradescope.pack", tmp_path / "a.zip"], cwd=PROJECT, check=True)
    source = tmp_path / "source"
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(source)
    (tmp_path / "results").mkdir()
    (tmp_path / "submission").symlink_to(RIGHT)
    environment = {**os.environ, "AUTOGRADER": str(tmp_path), "AUTOGRADER_PYTHON": sys.executable}
    subprocess.run(["bash", source / "run_autograder"], env=environment, check=True, capture_output=True)
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["score"] == sum(test["max_score"] for test in results["tests"]) == 28
    assert source.stat().st_mode & 0o077 == 0, "others may read the answers"
    assert "whl/cpu" in (source / "setup.sh").read_text()
