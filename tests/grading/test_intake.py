"""Who handed in what, and what is found in it: nobody merged, split or lost, whatever files are called."""

import io
import json
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from grading.__main__ import main
from grading.loading import load
from grading.submission import Piece, collect

RIGHT = Path(__file__).parent / "submissions" / "vectorised"
RIGHT_FILES = {path.name: path.read_bytes() for path in RIGHT.glob("*.py")}
TRIPLE = "def log_mean_exp(y):\n    return 3 * y\n"
FOURFOLD, USES_K = TRIPLE.replace("3", "4"), TRIPLE.replace("3", "K")


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def notebook(*cells):
    return json.dumps({"cells": [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]})


def build(folder, files):
    """A folder with these files, given by their path and content."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


CLASSES = {  # what --list makes of the files in it, where a name without a suffix is a folder with code
    "Canvas": """\
one: one_12_801_q1_solution.py, one_12_802_q2_solution.py
two: two_13_9_vae.ipynb, two_LATE_13_803_q1_solution-1.py
2 students""",
    "Canvas, two of one name": """\
lee_12: lee_12_801_q1_solution.py
lee_13: lee_13_802_q1_solution.py
2 students, 1 file left out: lee_14_803_report.pdf""",
    "Canvas, anonymous": """\
anon_Ab1: anon_Ab1_8_q1_solution.py
anon_Cd2: LATE_anon_Cd2_9_q1_solution.py
2 students""",
    "Moodle's folders": """\
Ann Lee: Ann Lee_5_assignsubmission_file_, Ann Lee_5_assignsubmission_onlinetext_
1 student""",
    "Moodle's files": """\
Ann: Ann_5_assignsubmission_file_q1_solution.py, Ann_5_assignsubmission_file_q2_solution.py
1 student""",
    "Blackboard": """\
a_lee: HW_3_a_lee_attempt_2026-01-02-03-04-05_q1_solution.py
b_lee: HW_3_b_lee_attempt_2026-01-02-03-04-05_q1_solution.py
2 students""",
    "Google Forms": """\
Student One: q1_solution - Student One.py, q2_solution - Student One.py
Student Two: q1_solution - Student Two.py
2 students""",
    "by name": """\
Ann Lee: Ann Lee - Q1_solution.py
bob: bob.zip
cem: cem.7z
jq2301: jq2301_q1_solution.py
jq5118: jq5118_q1_solution.py
é: e\u0301, é.IPYNB
6 students""",
    "a name that looks like another's with its number": """\
a_1: a_1.zip
a_1 (a_1_801_q1_solution.py): a_1_801_q1_solution.py
a_2: a_2_802_q1_solution.py
3 students""",
}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_file_of_a_class_is_one_students_or_named(kind, tmp_path, capsys):
    if not CLASSES[kind].isascii() and sys.getfilesystemencoding() != "utf-8":
        pytest.skip("such names cannot be written here")
    lines = CLASSES[kind].splitlines()
    names = [name for line in lines for name in line.partition(": ")[2].split(", ") if name]
    build(tmp_path, {name if "." in name else f"{name}/x.py": "" for name in names})
    assert main([str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_of_folders_without_code_those_of_students_are_kept(tmp_path, capsys):
    junk = ["Thumbs.db", "~$a.xlsx", "lost+found/.keep", "__MACOSX/ann/._q1_solution.py", "marks/marks.csv", "u.py"]
    build(tmp_path, dict.fromkeys(["ann/q1_solution.py", "bob/report.pdf", *junk], ""))
    (tmp_path / "cem").mkdir()
    shutil.make_archive(str(tmp_path), "zip", tmp_path)
    assert main([f"{tmp_path}.zip", "--list"]) == 0
    left_out = "3 students, 6 files left out: Thumbs.db, __MACOSX, lost+found, marks, u.py, ~$a.xlsx"
    assert capsys.readouterr().out.splitlines() == ["ann: ann", "bob: bob", "cem: cem", left_out]


def test_class_that_no_pattern_explains_needs_one(tmp_path, capsys):
    build(tmp_path, {"hw3-ann.py": TRIPLE, "hw3-bob.py": TRIPLE, "q1_solution.py": TRIPLE})
    assert main([str(tmp_path), "--list"]) == 2
    assert "hw3-ann.py, hw3-bob.py, q1_solution.py" in capsys.readouterr().err
    assert main([str(tmp_path), "--list", "--student", r"hw3-(?P<student>\w+)\.py"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 students, 1 file left out: q1_solution.py"
    for options in (["--student", "(ann|bob)"], ["--student", "("], ["--gradescope", "."], ["--out", str(tmp_path)]):
        with pytest.raises(SystemExit, match="2"):
            main([str(tmp_path), "--list", *options])


BOARD = "HW_ann_attempt_2026-01-0{}-00-00-00_q1_solution.py"
TWICE = {  # files of one student, by what is graded of them: threefold, fourfold, or neither
    "Canvas: the later upload": ({"a_1_9_q1_solution.py": FOURFOLD, "a_1_10_q1_solution-1.py": TRIPLE}, 3),
    "Blackboard: the later attempt": ({BOARD.format(2): FOURFOLD, BOARD.format(3): TRIPLE}, 3),
    "two of one name": ({"q1_solution - A(1).py": FOURFOLD, "q1_solution - A.py": TRIPLE}, None),
    "a file and a folder": ({"a_q1_solution.py": FOURFOLD, "a/q1_solution.py": TRIPLE}, None),
    "two versions in a folder": ({"a/v1/q1_solution.py": FOURFOLD, "a/v2/q1_solution.py": TRIPLE}, None),
    "a file and an archive of one name": ({"a - a.zip": zipped({"q1_solution.py": TRIPLE}), "a.zip": zipped({})}, 3),
    "two that do not differ": ({"a/v1/q1_solution.py": TRIPLE, "a/v2/q1_solution.py": TRIPLE}, 3),
    "an old one further down": ({"a/q1_solution.py": TRIPLE, "a/old/q1_solution.py": FOURFOLD}, 3),
    "a template above": ({"a/q1_solution.py": "def log_mean_exp(y):\n    return", "a/nb/b.ipynb": notebook(TRIPLE)}, 3),
}


@pytest.mark.parametrize("kind", TWICE)
def test_of_two_files_the_later_is_graded_and_what_cannot_be_told_is_said(kind, tmp_path, monkeypatch):
    files, factor = TWICE[kind]
    handed_in = {}
    monkeypatch.setattr("grading.course.Course.__init__", lambda self, students, *others: handed_in.update(students))
    monkeypatch.setattr("grading.course.Course.grade_all", lambda self, jobs: {})
    main([str(build(tmp_path / "in", files | {"zoe.zip": ""})), "--out", str(tmp_path / "out")])
    assert handed_in.pop("zoe") and len(handed_in) == 1
    assert result(*handed_in.values(), tmp_path) == (factor and factor * 2)


def result(pieces, tmp_path):
    """What the function that was found makes of 2, or None where it is ambiguous."""
    found, notes = collect(pieces, tmp_path / "target", ["q1_solution.py"])
    path, needed, problem, status = found["q1_solution.py"]
    if status == "ambiguous":
        assert " or " in problem
        return None
    module, about = load(tmp_path / "target", path.relative_to(tmp_path / "target"), needed, 5)
    assert about["stopped"] == [], notes
    return module.log_mean_exp(2)


OUT = {"q1_solution.py": TRIPLE, "../out.py": "", "/tmp/out.py": "", "..\\out.py": ""}
OLD = {"worksheets": [{"cells": [{"cell_type": "code", "input": [TRIPLE]}]}]}
SUBMISSIONS = {
    "folders and an archive in a folder": {"a/b/hw3.zip": zipped({"hw 3/q1_solution.py": TRIPLE})},
    "an archive of macOS": {"a.zip": zipped({"a/q1_solution.py": TRIPLE, "__MACOSX/a/._q1_solution.py": "\0"})},
    "names of Windows": {"a.zip": zipped({"C:\\hw\\": "", "C:\\hw\\q1_solution.py": TRIPLE, "a 12:30.png": ""})},
    "members that lead out": {"a.zip": zipped(OUT)},
    "each question in its folder": {"Question 1/q1_solution.py": TRIPLE, "Question 2/q2_solution.py": ""},
    "a browser's copy": {"q1_solution (1).py": TRIPLE},
    "a text file": {"Q1_Solution.py.txt": TRIPLE},
    "another name": {"vae.py": TRIPLE, "main.py": "from vae import log_mean_exp"},
    "a notebook of old": {"a.ipynb": json.dumps(OLD)},
    "a notebook that imports": {"a.ipynb": notebook("from q1_solution import log_mean_exp"), "q1_solution.py": TRIPLE},
    "its own modules": {"hw/k.py": "K = 3", "hw/src/q1_solution.py": "from k import K\n" + USES_K},
}


@pytest.mark.parametrize("kind", SUBMISSIONS)
def test_files_are_found_wherever_they_are(kind, tmp_path):
    folder = build(tmp_path / "in", SUBMISSIONS[kind])
    only = next(folder.iterdir())
    assert result([Piece(only if only.suffix == ".zip" else folder)], tmp_path) == 6
    assert not list(tmp_path.rglob("out.py"))


CELLS = {
    "%%time": ["%%time\nK = 3\n" + TRIPLE],
    "magics": ["%%capture out\n%%time\n%matplotlib inline\n" + USES_K, "%time K = 3"],
    "a command's output": ["cores = !nproc\nK = 3\nlen?\n" + USES_K],
    "an indented cell": ["    K = 3\n    def log_mean_exp(y):\n        return K * y"],
    "a line that begins with %": ["K = (9\n % 6)", USES_K],
    "a command in a block": ["if 1 > 2:\n    !pip install x\nK = 3", USES_K],
    "a lambda": ["K: int = 3", "log_mean_exp = lambda y: K * y"],
    "an imported name": ["from math import log, exp as E\nfrom math import *", "K = round(E(log(3)))", USES_K],
    "imports in try": ["try:\n    from no_such import K\nexcept ImportError:\n    K = 3", USES_K],
    "a table that is filled": ["K = [0]\nfor i in range(2):\n    K[0] += 1.5", TRIPLE.replace("3", "K[0]")],
    "decorators": ["def id(f):\n    return f\nK, (L, M) = 3, (4, 5)", "@id\n" + USES_K],
    "training": ["K = 3\ndef train():\n    loss.backward()\n    1 / 0", USES_K, "K = train()"],
    "an experiment below": ["K = 3", USES_K, "K = no_such_thing()"],
    "what is no Python": ["this is no Python", TRIPLE, "print 'done'"],
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_notebook_and_a_py_of_the_same_cells_are_the_same(kind, tmp_path):
    cells = CELLS[kind]
    assert result([Piece(build(tmp_path / "nb", {"a.ipynb": notebook("%%html\n<b>", *cells)}))], tmp_path) == 6
    if kind not in ("an indented cell", "training", "an experiment below"):  # these stop the import of a .py
        assert result([Piece(build(tmp_path / "py", {"q1_solution.py": "\n".join(cells)}))], tmp_path) == 6


def test_what_was_left_out_of_a_notebook_is_said(tmp_path):
    build(tmp_path / "in", {"a.ipynb": notebook("%%html\n<b>", "%time x = 1", TRIPLE, "this is no Python")})
    _, notes = collect([Piece(tmp_path / "in")], tmp_path / "target", ["q1_solution.py"])
    assert "code cell 1 of a.ipynb is %%html and was left out" in notes and len(notes) == 3
    assert notes[2].startswith("code cell 4 of a.ipynb, line 1, is not Python")


NOT_THERE = {
    "a.ipynb": ('{"cells":\n<<<<<<< HEAD\n[]\n=======\n1\n>>>>>>> x\n}', "cannot be read: it holds a merge conflict"),
    "b.ipynb": ("", "cannot be read: it is empty"),
    "c.ipynb": ('{"cells": []}', "defines no graded function"),
    "report.pdf": ("", "for q1_solution.py there is report.pdf"),
}


@pytest.mark.parametrize("name", NOT_THERE)
def test_why_nothing_was_found_is_said(name, tmp_path):
    text, message = NOT_THERE[name]
    found, notes = collect([Piece(build(tmp_path / "in", {name: text}))], tmp_path / "target", ["q1_solution.py"])
    assert (found["q1_solution.py"].status, len(notes)) == ("no such file", 1)
    assert message in notes[0]


PACKED = zipped(RIGHT_FILES)
REFUSED = {
    "a bomb": ("a.zip", zipped({"q1_solution.py": "0" * (60 * 2**20)}), "more than 50 MB"),
    "many files": ("a.zip", zipped(dict.fromkeys(map(str, range(5001)), "")), "or 5000 files"),
    "damage": ("a.zip", PACKED[:40] + bytes(40) + PACKED[80:], "cannot be unpacked"),
    "another archive": ("a.rar", "", "not a .rar file"),
    "another kind of file": ("a.pdf", "", "is neither a folder"),
    "nothing": ("nowhere/x", "", "there is no"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_submission_is_refused_in_a_line(kind, tmp_path, capsys):
    name, content, message = REFUSED[kind]
    build(tmp_path, {name: content})
    given, results = tmp_path / name.replace("nowhere/x", "y"), tmp_path / "results.json"
    assert main([str(given), "--gradescope", str(results)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("error: ") and message in printed.err
    assert json.loads(results.read_text())["score"] == 0


def test_links_are_not_followed(tmp_path):
    folder = build(tmp_path / "in", {"q1_solution.py": TRIPLE, ".git/config": ""})
    (folder / "secret").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(folder, "hw")
    for given in (folder, tmp_path / "a.tar.gz"):
        collect([Piece(given)], tmp_path / "target")
        assert not any(path.is_symlink() for path in (tmp_path / "target").rglob("*"))
