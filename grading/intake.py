"""Who handed in what. Every entry of a class folder is one student's, or is named as left out.

A submission is code: a .py, a notebook, an archive, or a folder that holds one. A folder, an archive and a notebook are a
student each. ONE pattern for the whole class says whose the loose files are: of EXPORTS, the first that explains them all.
"""

import contextlib
import re
import unicodedata
from collections import defaultdict

from .source import Unreadable, functions_of, is_notebook
from .submission import CODE, Piece, Room, SubmissionError, file_meant, files_below, is_archive, unpack

CLASS_BYTES, CLASS_FILES = 20 * 2**30, 200_000  # of an archive with all submissions
SUFFIX = r"(?P<suffix>(?:\.tar)?\.\w+)$"
EXPORTS = {  # attempt and upload: numbers that grow, upload that of one file and attempt that of all files of a student
    "Moodle": r"^(?P<student>.+?)(?:_(?P<id>\d+))?_assignsubmission_[a-z]+_?(?P<file>.*)$",
    "Blackboard": r"^(?P<student>.+)_attempt_(?P<attempt>\d{4}(?:-\d\d){5})(?:_(?P<file>.+)|\.txt)$",
    "Canvas": r"^(?:LATE_)?(?P<student>.+?)(?:_LATE)?_(?P<id>\d+|(?<=anon_)\w+?)_(?P<upload>\d+)_"
    r"(?P<file>.+?)(?:-\d+)?" + SUFFIX,
    "Google Forms": r"^(?P<file>.+) - (?!q\d)(?P<student>.+?)(?: ?\(\d+\))?" + SUFFIX,
    "<student>_q1_solution.py": r"^(?P<student>.+?)[-_ ]+(?P<file>q\d[-_ ]?solution.*)$",
}


def assign(source, scratch, out=None, regex=None):
    """Name to Pieces for each student of a folder or an archive of submissions, and the names of what was left out."""
    if source.is_file():
        folder = scratch / source.stem
        refused = unpack(source, folder, Room(CLASS_BYTES, CLASS_FILES))
        students, left_out = assign(folder, scratch, out, regex)
        return students, left_out + refused
    if not source.is_dir():
        raise SubmissionError(f"there is no {source}")
    if out and source.resolve() == out.resolve():
        raise SubmissionError(f"--out: {out} is the class's own folder")
    entries = sorted(source.iterdir())
    code = [path for path in entries if is_code(path)]
    if len(code) == 1 and code[0].is_dir() and is_class(code[0]):  # an export is one folder with all of them
        students, left_out = assign(code[0], scratch, out, regex)
        return students, left_out + [path.name for path in entries if path != code[0]]
    pattern = re.compile(regex) if regex else pattern_for(code)
    groups, left_out = defaultdict(list), []
    for path in entries:
        found = pattern.search(path.name)
        if found or (path in code and (path.is_dir() or is_archive(path) or is_notebook(path))):
            groups[owner(path, found)].append((path, found))
        else:
            left_out.append(path.name)
    for key in [key for key, group in groups.items() if not {path for path, _ in group} & set(code)]:
        left_out += [path.name for path, _ in groups.pop(key)]
    if not groups:
        raise SubmissionError(f"{source} holds no folder, archive or file with code: no submissions")
    return dict(
        sorted((name, [piece(*entry) for entry in groups[key]]) for key, name in names(groups).items())
    ), left_out


def is_class(folder):
    """Whether a folder holds several submissions rather than one."""
    code = [path for path in folder.iterdir() if is_code(path)]
    try:
        return len(code) > 1 and bool(pattern_for(code))
    except SubmissionError:
        return False


def is_code(path):
    """Whether it is a submission or a part of one; a loose .py is where it has the name or a function that is asked for."""
    if path.is_dir():
        return any(CODE.search(file.name) for file in files_below(path))
    if is_archive(path) or is_notebook(path) or file_meant(path) or path.suffix.lower() != ".py":
        return bool(CODE.search(path.name))
    with contextlib.suppress(Unreadable, OSError):
        return any(functions_of(path))
    return False


def pattern_for(code):
    """The pattern that explains every loose file, and of several the one that explains most archives and notebooks."""
    names = [path.name for path in code]
    loose = [path.name for path in code if path.is_file() and not is_archive(path) and not is_notebook(path)]
    patterns = [re.compile(text, re.IGNORECASE) for text in EXPORTS.values()]
    explained = [sum(bool(pattern.search(name)) for name in loose) for pattern in patterns]
    best = max(
        range(len(patterns)), key=lambda i: (explained[i], sum(bool(patterns[i].search(name)) for name in names))
    )
    if explained[best] == len(loose):
        return patterns[best]
    unknown = ", ".join(name for name in loose if not patterns[best].search(name))
    raise SubmissionError(
        f"whose are {unknown}? No export ({', '.join(EXPORTS)}) explains every loose file: say it by "
        "--student REGEX with a group (?P<student>...); a single submission is graded without --out"
    )


def part(found, group):
    return (found and found.groupdict().get(group)) or ""


def owner(path, found):
    """What is the same for all entries of a student, however an export has encoded the name."""
    stem = path.name if path.is_dir() else re.sub(r"(\.tar)?\.\w+$", "", path.name)
    parts = (part(found, "student").strip(), part(found, "id")) if found else (stem, "")
    return tuple(unicodedata.normalize("NFC", text) for text in parts)


def names(groups):
    """The students' names, with the export's number only where two have the same, without what all have in front."""
    same = [student for student, _ in groups]
    attempts = any(part(found, "attempt") for group in groups.values() for _, found in group)
    first, last = min(same), max(same)
    common = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    start = first.rfind("_", 0, common) + 1 if attempts else 0  # Blackboard: the name of the assignment
    return {key: "_".join(key if same.count(key[0]) > 1 and key[1] else key[:1])[start:] for key in groups}


def piece(path, found):
    order = tuple(tuple(map(int, re.findall(r"\d+", part(found, group)))) for group in ("attempt", "upload"))
    file = part(found, "file")
    return Piece(path, file + part(found, "suffix") if file else path.name, order)


def in_a_line(students, left_out):
    """The assignment as a grading begins with it."""
    line = f"{len(students)} student{'s' * (len(students) != 1)}"
    return line + (
        f", {len(left_out)} file{'s' * (len(left_out) != 1)} left out: {', '.join(left_out)}" if left_out else ""
    )
