"""Who handed in what. Every entry of a class folder is one student's, or is named as left out.

A submission is code: a .py, a notebook, an archive, or a folder that holds one. A folder, an archive and a notebook
are a student each. ONE pattern for the whole class says whose the loose files are: the first of EXPORTS that explains
them all. Among folders of students, one without code is a student's, too, unless all that it holds is hidden.
"""

import contextlib
import os
import re
import unicodedata
from collections import defaultdict

from .source import functions_of, is_notebook
from .submission import CODE, Piece, SubmissionError, file_meant, files_below, is_archive, lay_out

SUFFIX = r"(?P<suffix>(?:\.tar)?\.\w+)$"
EXPORTS = {  # attempt and upload: numbers that grow, upload of one file and attempt of all files of a student
    "Moodle": r"^(?P<student>.+?)(?:_(?P<id>\d+))?_assignsubmission_[a-z]+_?(?P<file>.*)$",
    "Blackboard": r"^(?P<student>.+)_attempt_(?P<attempt>\d{4}(?:-\d\d){5})(?:_(?P<file>.+)|\.txt)$",
    "Canvas": r"^(?:LATE_)?(?P<student>.+?)(?:_LATE)?_(?P<id>\d+|(?<=anon_)\w+?)_(?P<upload>\d+)_"
    r"(?P<file>.+?)(?:-\d+)?" + SUFFIX,
    "Google Forms": r"^(?P<file>.+) - (?!q\d)(?P<student>.+?)(?: ?\(\d+\))?" + SUFFIX,
    "<student>_q1_solution.py": r"^(?P<student>.+?)[-_ ]+(?P<file>q\d[-_ ]?solution.*)$",
}


def assign(source, scratch, regex=None):
    """Name to Pieces for each student of a folder or an archive of submissions, and the names of what was left out."""
    if is_archive(source):
        folder = scratch / source.stem
        folder.mkdir()
        refused = lay_out(source, folder, [20 * 2**30, 200_000])
        students, left_out = assign(folder, scratch, regex)
        return students, [*left_out, *refused]
    if not source.is_dir():
        raise SubmissionError(f"there is no folder or archive {source}")
    entries = sorted(source.iterdir())
    code = [path for path in entries if is_code(path)]
    if len(code) == 1 and code[0].is_dir():
        inside = [path for path in code[0].iterdir() if is_code(path)]
        if len(inside) > 1 and not pattern_for(inside)[1]:  # an export is one folder with all of them
            students, left_out = assign(code[0], scratch, regex)
            return students, left_out + [path.name for path in entries if path != code[0]]
    if any(path.is_dir() for path in code):
        code += [path for path in entries if path not in code and is_empty_submission(path)]
    pattern, unknown = (regex, []) if regex else pattern_for(code)
    if unknown:
        raise SubmissionError(
            f"whose are {', '.join(unknown)}? No export ({', '.join(EXPORTS)}) explains every loose file: say it by "
            "--student REGEX with a group (?P<student>...); a single submission is graded without --out"
        )
    groups, left_out = defaultdict(list), []
    for path in entries:
        found = pattern.search(path.name)
        if found or (path in code and not is_loose(path)):
            student, piece = read_name(path, found.groupdict("") if found else {})
            groups[student].append(piece)
        else:
            left_out.append(path.name)
    for student, pieces in list(groups.items()):
        if not any(piece.path in code for piece in pieces):
            left_out += [piece.path.name for piece in groups.pop(student)]
    if not groups:
        raise SubmissionError(f"{source} holds no folder, archive or file with code: no submissions")
    return named(groups), left_out


def is_code(path):
    """Whether it is a submission or a part of one; a loose .py is by its name or a function that is asked for."""
    if path.is_dir():
        return any(CODE.search(file.name) for file in files_below(path))
    if is_archive(path) or is_notebook(path) or file_meant(path) or path.suffix.lower() != ".py":
        return bool(CODE.search(path.name))
    with contextlib.suppress(OSError):
        return bool(functions_of(path))
    return False


def is_empty_submission(path):
    """A folder, but not lost+found or __MACOSX, where all files are hidden, nor the marks of an earlier grading."""
    if not path.is_dir() or not os.access(path, os.R_OK | os.X_OK) or (path / "marks.csv").exists():
        return False
    return bool(files_below(path) or not os.listdir(path))


def is_loose(path):
    return path.is_file() and not is_archive(path) and not is_notebook(path)


def pattern_for(code):
    """The pattern that explains most loose files, and of several most names; the loose files that it does not."""
    loose, names = [path.name for path in code if is_loose(path)], [path.name for path in code]
    patterns = [re.compile(text, re.IGNORECASE) for text in EXPORTS.values()]
    best = max(patterns, key=lambda pattern: [sum(map(bool, map(pattern.search, part))) for part in (loose, names)])
    return best, [name for name in loose if not best.search(name)]


def read_name(path, about):
    """Whose it is, the same for all entries of a student however an export has encoded the name, and the Piece."""
    stem = path.name if path.is_dir() else re.sub(r"(\.tar)?\.\w+$", "", path.name)
    student = about["student"].strip() if about else stem, about.get("id", "")
    order = tuple(tuple(map(int, re.findall(r"\d+", about.get(group, "")))) for group in ("attempt", "upload"))
    name = about["file"] + about.get("suffix", "") if about.get("file") else path.name
    return tuple(unicodedata.normalize("NFC", text) for text in student), Piece(path, name, order)


def named(groups):
    """Name to Pieces. The export's number is in the name only where two have the same; no two names are the same."""
    same, students = [student for student, _ in groups], {}
    attempts = any(piece.order[0] for pieces in groups.values() for piece in pieces)
    start = os.path.commonprefix(same).rfind("_") + 1 if attempts else 0  # Blackboard's assignment  # noqa: RUF071
    for (student, number), pieces in groups.items():
        name = (f"{student}_{number}" if number and same.count(student) > 1 else student)[start:]
        while name in students:
            name += f" ({pieces[0].path.name})"
        students[name] = pieces
    return dict(sorted(students.items()))
