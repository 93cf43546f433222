"""Who handed in what, and what is found in it: nobody merged, split or lost, whatever files are called."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from grading.__main__ import main
from grading.loading import load
from grading.submission import Piece, SubmissionError, collect

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


CLASSES = {  # files of a class, and what --list makes of them
    "Canvas": (
        [
            "one_12_801_q1_solution.py",
            "one_12_802_q2_solution.py",
            "two_LATE_13_803_q1_solution-1.py",
            "two_13_9_vae.ipynb",
        ],
        "one: one_12_801_q1_solution.py, one_12_802_q2_solution.py\n"
        "two: two_13_9_vae.ipynb, two_LATE_13_803_q1_solution-1.py\n2 students",
    ),
    "Canvas, two of one name": (
        ["lee_12_801_q1_solution.py", "lee_13_802_q1_solution.py", "lee_14_803_report.pdf"],
        "lee_12: lee_12_801_q1_solution.py\nlee_13: lee_13_802_q1_solution.py\n"
        "2 students, 1 file left out: lee_14_803_report.pdf",
    ),
    "Canvas, anonymous": (
        ["anon_Ab1_8_q1_solution.py", "LATE_anon_Cd2_9_q1_solution.py"],
        "anon_Ab1: anon_Ab1_8_q1_solution.py\nanon_Cd2: LATE_anon_Cd2_9_q1_solution.py\n2 students",
    ),
    "Moodle's folders": (
        ["Ann Lee_5_assignsubmission_file_/q1_solution.py", "Ann Lee_5_assignsubmission_onlinetext_/onlinetext.html"],
        "Ann Lee: Ann Lee_5_assignsubmission_file_, Ann Lee_5_assignsubmission_onlinetext_\n1 student",
    ),
    "Moodle's files": (
        ["Ann_5_assignsubmission_file_q1_solution.py", "Ann_5_assignsubmission_file_q2_solution.py"],
        "Ann: Ann_5_assignsubmission_file_q1_solution.py, Ann_5_assignsubmission_file_q2_solution.py\n1 student",
    ),
    "Blackboard": (
        [
            "HW_3_a_lee_attempt_2026-01-02-03-04-05_q1_solution.py",
            "HW_3_b_lee_attempt_2026-01-02-03-04-05_q1_solution.py",
        ],
        "a_lee: HW_3_a_lee_attempt_2026-01-02-03-04-05_q1_solution.py\n"
        "b_lee: HW_3_b_lee_attempt_2026-01-02-03-04-05_q1_solution.py\n2 students",
    ),
    "Google Forms": (
        ["q1_solution - Student One.py", "q2_solution - Student One.py", "q1_solution - Student Two.py"],
        "Student One: q1_solution - Student One.py, q2_solution - Student One.py\n"
        "Student Two: q1_solution - Student Two.py\n2 students",
    ),
    "by name": (
        [
            "jq2301_q1_solution.py",
            "jq5118_q1_solution.py",
            "Ann Lee - Q1_solution.py",
            "bob.zip",
            "cem.7z",
            "e\u0301/x.py",
            "é.IPYNB",
        ],
        "Ann Lee: Ann Lee - Q1_solution.py\nbob: bob.zip\ncem: cem.7z\njq2301: jq2301_q1_solution.py\n"
        "jq5118: jq5118_q1_solution.py\né: é, é.IPYNB\n6 students",
    ),
    "what is no submission": (
        [
            "one/q1_solution.py",
            "Thumbs.db",
            "~$a.xlsx",
            "lost+found/.keep",
            "__MACOSX/one/._q1_solution.py",
            "marks/marks.csv",
            "u.py",
        ],
        "one: one\n1 student, 6 files left out: Thumbs.db, __MACOSX, lost+found, marks, u.py, ~$a.xlsx",
    ),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_file_of_a_class_is_one_students_or_named(kind, tmp_path, capsys):
    names, printed = CLASSES[kind]
    build(tmp_path, dict.fromkeys(names, ""))
    assert main([str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().out.replace("e\u0301", "é") == printed + "\n"


def test_class_that_no_pattern_explains_needs_one(tmp_path, capsys):
    build(tmp_path, {"hw3-ann.py": TRIPLE, "hw3-bob.py": TRIPLE, "q1_solution.py": TRIPLE})
    assert main([str(tmp_path), "--list"]) == 2
    assert "hw3-ann.py, hw3-bob.py, q1_solution.py" in capsys.readouterr().err
    assert main([str(tmp_path), "--list", "--student", r"hw3-(?P<student>\w+)\.py"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 students, 1 file left out: q1_solution.py"
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--list", "--student", "(ann|bob)"])


BOARD = "HW_ann_attempt_2026-01-0{}-00-00-00_q1_solution.py"
TWICE = {  # files of one student, by what is graded of them: threefold, fourfold, or neither
    "Canvas: the later upload": ({"a_1_9_q1_solution.py": FOURFOLD, "a_1_10_q1_solution-1.py": TRIPLE}, 3),
    "Blackboard: the later attempt": ({BOARD.format(2): FOURFOLD, BOARD.format(3): TRIPLE}, 3),
    "two of one name": ({"q1_solution - A(1).py": FOURFOLD, "q1_solution - A.py": TRIPLE}, None),
    "a file and a folder": ({"a_q1_solution.py": FOURFOLD, "a/q1_solution.py": TRIPLE}, None),
    "two versions in a folder": ({"a/v1/q1_solution.py": FOURFOLD, "a/v2/q1_solution.py": TRIPLE}, None),
    "two that do not differ": ({"a/v1/q1_solution.py": TRIPLE, "a/v2/q1_solution.py": TRIPLE}, 3),
    "an old one further down": ({"a/q1_solution.py": TRIPLE, "a/old/q1_solution.py": FOURFOLD}, 3),
    "a template above": ({"a/q1_solution.py": "def log_mean_exp(y):\n    return", "a/nb/b.ipynb": notebook(TRIPLE)}, 3),
}


@pytest.mark.parametrize("kind", TWICE)
def test_of_two_files_the_later_is_graded_and_what_cannot_be_told_is_said(kind, tmp_path, monkeypatch):
    files, factor = TWICE[kind]
    handed_in = {}
    monkeypatch.setattr("grading.course.Course.__init__", lambda self, students, *others: handed_in.update(students))
    monkeypatch.setattr("grading.course.Course.grade_all", lambda self, jobs: [])
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


SUBMISSIONS = {
    "folders and an archive in a folder": {"a/b/hw3.zip": zipped({"hw 3/q1_solution.py": TRIPLE})},
    "an archive of macOS": {"a.zip": zipped({"a/q1_solution.py": TRIPLE, "__MACOSX/a/._q1_solution.py": "\0"})},
    "names of Windows": {"a.zip": zipped({"C:\\hw\\q1_solution.py": TRIPLE, "a 12:30.png": ""})},
    "members that lead out": {
        "a.zip": zipped({"q1_solution.py": TRIPLE, "../out.py": "", "/tmp/out.py": "", "..\\out.py": ""})
    },
    "each question in its folder": {"Question 1/q1_solution.py": TRIPLE, "Question 2/q2_solution.py": ""},
    "a browser's copy": {"q1_solution (1).py": TRIPLE},
    "a text file": {"Q1_Solution.py.txt": TRIPLE},
    "another name": {"vae.py": TRIPLE, "main.py": "from vae import log_mean_exp"},
    "a notebook of old": {
        "a.ipynb": json.dumps({"worksheets": [{"cells": [{"cell_type": "code", "input": [TRIPLE]}]}]})
    },
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
    "a command in a block": [
        "import sys\nif 'google.colab' in sys.modules:\n    !pip install x\nK = 3",
        USES_K,
    ],
    "a lambda": ["K: int = 3", "log_mean_exp = lambda y: K * y"],
    "an imported name": [
        "from math import log, exp as E\nfrom math import *",
        "K = round(E(log(3)) + cos(0) - 1)",
        USES_K,
    ],
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
    assert notes[:2] == [
        "q1_solution.py was made of what its functions use in a.ipynb",
        "code cell 1 of a.ipynb is %%html and was left out",
    ]
    assert len(notes) == 3 and notes[2].startswith("code cell 4 of a.ipynb, line 1, is not Python")


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


def cut(data):
    return data[:40] + bytes(40) + data[80:]


REFUSED = {
    "a bomb": ("a.zip", zipped({"q1_solution.py": "0" * (60 * 2**20)}), "more than 50 MB"),
    "many files": ("a.zip", zipped(dict.fromkeys(map(str, range(5001)), "")), "or 5000 files"),
    "damage": ("a.zip", cut(zipped(RIGHT_FILES)), "cannot be unpacked"),
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
    with pytest.raises(SubmissionError, match="there is no"):
        collect([Piece(tmp_path / "nowhere")], tmp_path / "target")
