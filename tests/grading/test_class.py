"""A class: everybody's files graded side by side, reported safely, kept when interrupted."""

import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grading import course, report
from grading.__main__ import main
from grading.checks import chosen
from grading.submission import Piece

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
RIGHT = HERE / "submissions" / "vectorised"
ONE = chosen("1.1")


@pytest.fixture
def handed_in(tmp_path):
    """Seven students in an export of Gradescope's."""
    folder = tmp_path / "in" / "assignment_7_export"
    right = (RIGHT / "q1_solution.py").read_text()
    texts = {
        "submission_1": right,
        "submission_2": right.replace("1e-7)).sum(1)", "1e-7)).mean(1)"),
        "submission_3": "import no\nraise RuntimeError('<script>alert(1)</script>')",
        "=submission e <b>": "def log_likelihood_bernoulli(mu, target):\n    while True: pass",
    }
    for name, text in texts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "q1_solution.py").write_text(text)
    (folder / "submission_metadata.yml").touch()
    for version in ("a", "b"):
        (folder / "twice" / version).mkdir(parents=True)
        (folder / "twice" / version / "q1_solution.py").write_text(right + f"\n# {version}")
    (folder / "broken.zip").write_bytes(b"PK\3\4")
    (folder / "empty").mkdir()
    return tmp_path / "in"


def read_csv(folder):
    text = (folder / "marks.csv").read_bytes()
    assert text.startswith("\N{BOM}".encode()), "Excel would take accents for something else"
    return {row["submission"]: row for row in csv.DictReader(io.StringIO(text.decode("utf-8-sig")))}


def test_class_is_graded_whatever_a_submission_does(grader, handed_in, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    out = tmp_path / "marks"
    command = [str(handed_in), "--out", "~/marks", "--questions", "1.1", "--time-limit", "0.5", "--jobs", "2"]
    assert main(command) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "7 students, 1 file left out: submission_metadata.yml"
    assert len(printed) == 9 and all("of 7" in line and "left" in line for line in printed[1:-1])
    rows = read_csv(out)
    assert {name: (row["status"], row["total"], row["Q1.1"]) for name, row in rows.items()} == {
        "submission_1": ("graded", "4", "4"),
        "submission_2": ("graded", "1", "1"),
        "submission_3": ("does not import", "0", "0"),
        "'=submission e <b>": ("timed out", "0", "0"),
        "twice": ("ambiguous", "0", "0"),
        "broken": ("not readable", "0", "0"),
        "empty": ("no such file", "0", "0"),
    }
    assert "a/q1_solution.py or b/q1_solution.py" in rows["twice"]["why"]
    page = (out / "submission_3.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "<script>" not in page
    summary = (out / "index.html").read_text()
    assert "the mean over the pixels instead of the sum" in summary and "7 submissions" in summary
    assert "=submission e &lt;b&gt;" in summary and "submission e <b>" not in summary
    shutil.copy(RIGHT / "q1_solution.py", handed_in / "assignment_7_export" / "submission_2" / "q1_solution.py")
    monkeypatch.setattr(course, "Grader", lambda: contextlib.nullcontext(grader))
    assert main(command) == 0
    assert "6 of 7 have been graded before" in capsys.readouterr().out
    assert read_csv(out)["submission_2"]["total"] == "4"


@pytest.mark.skipif(sys.getfilesystemencoding() != "utf-8", reason="such names cannot be written here")
def test_accents_are_read_and_escaped_where_nothing_is_utf_8(tmp_path):
    folder = tmp_path / "提交"
    folder.mkdir()
    (folder / "q1_solution é.py").write_text("def log_mean_exp(y):\n    raise ValueError('尺寸 é')", encoding="utf-8")
    ascii_only = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "grading", folder, "--questions", "1.3"]
    done = subprocess.run(command, cwd=PROJECT, env=os.environ | ascii_only, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "\\u5c3a\\u5bf8 \\xe9" in done.stdout


def test_names_are_shown_whole_and_their_files_are_safe_and_differ():
    names = ["x" * 200 + "1", "x" * 200 + "2", "\udcff", "\udcfe", "a\\n", "a\n", "提交", "a", "../a", "con:", ""]
    shown, files = [report.shown(name) for name in names], [course.file_name(name) for name in names]
    assert len(set(shown)) == len(set(files)) == len(names)
    assert [s.encode("latin-1", "backslashreplace").decode("unicode_escape") for s in shown] == names
    assert not any(set("/\\:") & set(file) or file.startswith(".") for file in files)


@pytest.fixture
def taken(handed_in, tmp_path):
    """Makes a Course of the submissions, with these limits."""
    folder = handed_in / "assignment_7_export"
    found = {path.name: [Piece(path)] for path in sorted(folder.iterdir()) if path.suffix != ".yml"}
    return lambda **limits: course.Course(found, tmp_path / "marks", ONE, limits)


def test_changed_suite_or_limits_grade_again(taken, tmp_path, monkeypatch):
    marks = {taken(seed=seed).fingerprint("submission_1") for seed in (1, 2)}
    monkeypatch.setattr(course, "__file__", str(tmp_path / "course.py"))
    assert len(marks | {taken(seed=1).fingerprint("submission_1")}) == 3


def test_grading_that_fails_is_said_and_does_not_stop_the_rest(taken, monkeypatch):
    monkeypatch.setattr("grading.grading.Grader.grade", lambda self, *arguments, **options: 1 / 0)
    assert {grades.status for grades in taken().grade_all(2).values()} == {course.NOT_GRADED}
    assert not any(taken().already_graded(name) for name in taken().found)


def test_interruption_keeps_what_is_done(grader, taken, tmp_path, monkeypatch):
    monkeypatch.setattr(course, "Grader", lambda: contextlib.nullcontext(grader))
    monkeypatch.setattr(course.Course, "progress", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        taken(time_limit=0.5).grade_all(1)
    done, again, other = len(read_csv(tmp_path / "marks")), taken(time_limit=0.5), taken(time_limit=9)
    assert 1 <= done < len(again.found)
    assert sum(again.already_graded(name) for name in again.found) >= done
    assert not any(other.already_graded(name) for name in other.found)


def test_autograder_runs_in_gradescopes_folders(tmp_path):
    """make's archive, unpacked as Gradescope does, grades a submission there without the rest of this project."""
    shutil.copytree(PROJECT / "grading", tmp_path / "grading")
    make = ["make", "-f", str(PROJECT / "Makefile"), "autograder.zip", f"PYTHON={sys.executable}"]
    subprocess.run(make, cwd=tmp_path, check=True)
    source = tmp_path / "source"
    shutil.unpack_archive(tmp_path / "autograder.zip", source)
    (tmp_path / "results").mkdir()
    (tmp_path / "submission").symlink_to(RIGHT)
    environment = {**os.environ, "AUTOGRADER": str(tmp_path), "AUTOGRADER_PYTHON": sys.executable}
    subprocess.run(["bash", source / "run_autograder"], env=environment, check=True, capture_output=True)
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["score"] == sum(test["max_score"] for test in results["tests"]) == 28
    assert source.stat().st_mode & 0o077 == 0, "others may read the answers"
    assert "whl/cpu" in (source / "setup.sh").read_text()
