"""Lay a submission out in a folder of plain files and find the questions' files in it.

It is somebody else's: links, paths that lead out and bombs are refused.
"""

import os
import re
import shutil
import stat
import tarfile
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .checks import FILES
from .processes import remove
from .source import FUNCTIONS, Unreadable, functions_of, is_notebook, lines_needed, read

MOST_BYTES = 50 * 2**20  # of all files of a submission together
MOST_FILES = 5000
CODE = re.compile(r"\.(py|py\.txt|ipynb|zip|tar|tar\.\w+|tgz|7z|rar)$", re.IGNORECASE)


class SubmissionError(Exception):
    """There is nothing to grade; the message says what and where, in one line."""


class Piece(NamedTuple):
    """A file, folder or archive of a submission; most submissions have one piece."""

    path: Path
    name: str = ""  # in the submission, without what an export has put around it
    order: tuple = ((), ())  # attempt and upload: of two, the larger is the later


class Found(NamedTuple):
    """What there is to load for a question's file, or why nothing is."""

    path: Path | None = None
    needed: list | None = (
        None  # the lines of the statements that its functions need; -1 first where no others are to run
    )
    problem: str | None = None
    status: str = "graded"


class Room:
    """How much may still be unpacked or copied."""

    def __init__(self, most_bytes=MOST_BYTES, most_files=MOST_FILES):
        self.bytes, self.files = most_bytes, most_files
        self.bound = f"{most_bytes >> 20} MB or {most_files} files"

    def takes(self, size):
        if size > self.bytes or not self.files:
            return False
        self.bytes, self.files = self.bytes - size, self.files - 1
        return True


def collect(pieces, target, files=FILES):
    """Lay the pieces out in the folder `target`; what was Found for each of the files, and notes."""
    remove(target)
    target.mkdir()
    room, notes, origin = Room(), [], {}
    if len(pieces) == 1 and pieces[0].path.is_file() and not CODE.search(pieces[0].path.name):
        raise SubmissionError(
            f"{pieces[0].path.name} is neither a folder, nor a .zip, .tar or .tar.gz, nor a .ipynb or .py"
        )
    for piece in sorted(
        pieces, key=lambda piece: piece.order, reverse=True
    ):  # the latest has the name that it is imported by
        name = piece.name if piece.name and not (target / piece.name).exists() else piece.path.name
        whole = len(pieces) == 1 and (piece.path.is_dir() or is_archive(piece.path))
        origin[name] = piece
        notes += lay_out(piece.path, target if whole else target / name, room)
    there = candidates(target, origin)
    if not any(one.means(file) for one in there for file in FILES):
        for archive in list(filter(is_archive, files_below(target))):
            notes += lay_out(archive, archive.with_name(f"{archive.name} (unpacked)"), room)
        there = candidates(target, origin)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    found = {}
    for file in files:
        found[file], more = choose(file, there)
        notes += more
    return found, list(dict.fromkeys(notes))


def lay_out(path, place, room):
    """Copy or unpack one piece, without links, hidden files and environments, as far as they fit; notes on those left out."""
    if is_archive(path):
        refused = unpack(path, place, room)
        return [f"{path.name} has a member that leads out of it, which was left out: {member!r}" for member in refused]
    if not path.exists():
        raise SubmissionError(f"there is no {path}")
    left_out = []
    for file in files_below(path) if path.is_dir() else [path]:
        if not room.takes(file.stat().st_size):
            left_out.append(file.name)
            continue
        copy = place / file.relative_to(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(file, copy)
        except PermissionError as problem:
            raise SubmissionError(f"{file.name} cannot be read: {problem.strerror}") from None
    return [f"left out for their size or number: {', '.join(left_out[:3])}"] if left_out else []


def files_below(folder):
    """The files of a folder at any depth, code first, without links, hidden ones and environments."""
    found = []
    for place, folders, files in os.walk(folder):
        kept = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in kept if not os.path.exists(os.path.join(place, name, "pyvenv.cfg"))]
        found += [Path(place, name) for name in files if not name.startswith(".")]
    plain = [path for path in found if path.is_file() and not path.is_symlink()]
    return sorted(plain, key=lambda path: (not CODE.search(path.name), len(path.parts), path))


def file_meant(path):
    """Which of FILES a name means: q1_solution.py itself, Q1_Solution.py, "q1_solution (1).py", ann_q1_solution.py.txt."""
    found = re.search(r"(q\d)[-_ ]?solution[^.]*\.py(\.txt)?$", path.name.lower())
    return found and f"{found[1]}_solution.py" in FILES and f"{found[1]}_solution.py"


def is_source(path):
    return is_notebook(path) or path.name.lower().endswith((".py", ".py.txt"))


def is_archive(path):
    return path.is_file() and bool(CODE.search(path.name)) and not is_source(path)


def unpack(path, folder, room):
    """Unpack an archive as far as there is room; the members that would leave the folder, which were not."""
    refused = []
    if path.suffix.lower() in (".7z", ".rar"):
        raise SubmissionError(
            f"{path.name} cannot be unpacked here, but a .zip, .tar or .tar.gz, not a {path.suffix} file"
        )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for member, size, is_link, open_member in members(path):
            if not room.takes(size):
                raise SubmissionError(f"{path.name} would unpack to more than {room.bound}")
            name = PurePosixPath(member.replace("\\", "/"))
            try:
                if is_link or name.is_absolute() or ".." in name.parts:
                    raise OSError
                place = folder / name
                place.parent.mkdir(parents=True, exist_ok=True)
                file = open(place, "wb")  # noqa: SIM115
            except OSError:
                refused.append(member)
                continue
            with open_member() as packed, file:
                shutil.copyfileobj(packed, file)
    except SubmissionError:
        raise
    except Exception as problem:  # zipfile raises a dozen kinds, from struct.error on, at a damaged archive
        said = f"{type(problem).__name__}: {problem}".splitlines()[0]
        raise SubmissionError(f"{path.name} cannot be unpacked: {said}") from problem
    return refused


def members(path):
    """Name, size, whether it is a link, and what opens it, for each file in an archive."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    is_link = stat.S_ISLNK(member.external_attr >> 16)
                    yield member.filename, member.file_size, is_link, partial(archive.open, member)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isdir():
                    yield member.name, member.size, not member.isfile(), partial(archive.extractfile, member)


class Candidate(NamedTuple):
    """A file of a submission: what it may be taken for."""

    path: Path
    shown: str  # where it was handed in
    order: tuple
    depth: int
    defined: set  # graded functions
    templates: set  # those that return nothing
    problem: str | None

    @classmethod
    def read(cls, path, target, origin):
        """What a file defines; origin tells which piece the entries at the top come from."""
        parts = path.relative_to(target).parts
        piece = origin.get(parts[0], Piece(Path(parts[0])))
        shown = str(PurePosixPath(piece.path.name, *parts[1:]))
        about = path, shown, piece.order, len(parts) - (len(origin) > 1 and not piece.path.is_file())
        try:
            return cls(*about, *(functions_of(path) if is_source(path) else (set(), set())), None)
        except Unreadable as problem:
            return cls(*about, set(), set(), f"{shown} cannot be read: it {problem}")

    def means(self, file):
        return file_meant(self.path) == file or any(FUNCTIONS[name] == file for name in self.defined | self.templates)

    def count(self, file):
        return sum(FUNCTIONS[name] == file for name in self.defined)

    def rank(self, file):
        """The larger, the better: the later attempt, most of the functions, nearest to the top, called as it should be."""
        count = self.count(file)
        return count > 0, self.order[0], count, -self.depth, file_meant(self.path) == file, self.order[1]


def candidates(target, origin):
    return [Candidate.read(path, target, origin) for path in files_below(target)]


def choose(file, there):
    """What was Found for a question, and notes on what was taken for it; two that rank alike and differ are ambiguous."""
    meant = sorted(
        (one for one in there if one.means(file) and not one.problem), key=lambda one: one.rank(file), reverse=True
    )
    if not meant:
        return Found(problem=f"{file} is not there", status="no such file"), what_is_there(file, there)
    best = meant[0]
    others = [one for one in meant[1:] if one.count(file) and one.path.read_bytes() != best.path.read_bytes()]
    equals = [one.shown for one in others if one.rank(file) == best.rank(file)]
    if equals:
        which = " or ".join([best.shown, *equals])
        return Found(problem=f"it cannot be told which is {file}: {which}; none was graded", status="ambiguous"), []
    notes = [f"{best.shown} was taken for {file}"] if best.shown != file else []
    (text, more), place = read(best.path), best.path.with_name(file)
    needed = lines_needed(text)
    if more or is_notebook(best.path):
        notes, needed = [f"{file} was made of what its functions use in {best.shown}", *more], [-1, *needed]
    place.write_bytes(text.encode() if needed[:1] == [-1] else best.path.read_bytes())
    place.chmod(0o644)
    listed = ", ".join(f"{one.shown} ({one.count(file)})" for one in others[:5])
    chosen = f"{best.shown} defines {best.count(file)} functions of {file} and was taken, not {listed}"
    return Found(place, needed), notes + ([chosen] if others else [])


def what_is_there(file, there):
    """Notes on what there is where a file is missing, and why it was not taken."""
    notes = [one.problem for one in there if one.problem]
    others = [one for one in there if not one.problem and not any(one.means(other) for other in FILES)]
    for one in others:
        if is_notebook(one.path):
            notes += [f"{one.shown} defines no graded function", *read(one.path)[1]]
    listed = [one.shown for one in others if not is_notebook(one.path)]
    return notes + [f"for {file} there is {', '.join(listed[:5])}" for _ in listed[:1]]
