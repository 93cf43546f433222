"""Lay a submission out in a folder, without links, ways out and bombs, and find the questions' files in it."""

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
from .source import FUNCTIONS, SubmissionError, functions_of, is_notebook, needed_lines, read

MOST = 50 * 2**20, 5000  # bytes and files of a submission
CODE = re.compile(r"\.(py|py\.txt|ipynb|zip|tar|tar\.\w+|tgz|7z|rar)$", re.IGNORECASE)


class Piece(NamedTuple):
    """A file, folder or archive of a submission; most submissions have one piece."""

    path: Path
    name: str = ""  # in the submission, without what an export has put around it
    order: tuple = ((), ())  # attempt and upload: of two, the larger is the later


class Found(NamedTuple):
    path: Path | None = None
    needed: list | None = None  # lines of the statements its functions need; -1 first where no others are to run
    problem: str | None = None
    status: str = "graded"


def collect(pieces, target, files=FILES):
    """Lay the pieces out in the folder `target`; what was Found for each of the files, and notes."""
    remove(target)
    target.mkdir()
    room, notes, origin = list(MOST), [], {}
    if len(pieces) == 1 and pieces[0].path.is_file() and not CODE.search(pieces[0].path.name):
        kinds = "neither a folder, nor a .zip, .tar or .tar.gz, nor a .ipynb or .py"
        raise SubmissionError(f"{pieces[0].path.name} is {kinds}")
    for piece in sorted(pieces, key=lambda piece: piece.order, reverse=True):
        name = piece.name or piece.path.name
        while (target / name).exists():  # the latest has the name that it is imported by
            name = f"_{name}"
        origin[name] = piece
        notes += lay_out(piece.path, target / name, room).values()
    there = candidates(target, origin)
    if not any(one.means(file) for one in there for file in FILES):
        for archive in list(filter(is_archive, files_below(target))):
            notes += lay_out(archive, archive.with_name(f"{archive.name} (unpacked)"), room).values()
        there = candidates(target, origin)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    found = {}
    for file in files:
        found[file], more = choose(file, there)
        notes += more
    return found, list(dict.fromkeys(notes))


def lay_out(path, place, room):
    """Copy or unpack a file, folder or archive while there is room, bytes and files; the members left out, and why."""
    if is_archive(path) and path.suffix.lower() in (".7z", ".rar"):
        other = f"a .zip, .tar or .tar.gz, not a {path.suffix} file"
        raise SubmissionError(f"{path.name} cannot be unpacked here, but {other}")
    if not path.exists():
        raise SubmissionError(f"there is no {path}")
    left_out, large, bound = {}, [], f"{room[0] >> 20} MB or {room[1]} files"
    try:
        for member, size, is_link, open_member in members(path):
            name = PurePosixPath(member.replace("\\", "/"))
            if size > room[0] or not room[1]:
                if is_archive(path):
                    raise SubmissionError(f"{path.name} would unpack to more than {bound}")
                large.append((path / name).name)
                continue
            room[:] = room[0] - size, room[1] - 1
            try:
                if is_link or name.is_absolute() or ".." in name.parts:
                    raise OSError
                folder = (place / name).parent if open_member else place / name
                folder.mkdir(parents=True, exist_ok=True)
                if not open_member:
                    continue
                file = open(place / name, "wb")  # noqa: SIM115
            except OSError:
                left_out[member] = f"{path.name} has a member that leads out of it, which was left out: {member!r}"
                continue
            with file, open_member() as packed:
                shutil.copyfileobj(packed, file)
    except SubmissionError:
        raise
    except Exception as problem:  # zipfile raises a dozen kinds, from struct.error on, at a damaged archive
        said = f"{'unpacked' if is_archive(path) else 'read'}: {type(problem).__name__}: {problem}".splitlines()[0]
        raise SubmissionError(f"{path.name} cannot be {said}") from problem
    if large:
        left_out[large[0]] = f"left out for their size or number: {', '.join(large[:3])}"
    return left_out


def members(path):
    """Name, size, whether it is a link, and what opens it if it is no folder, for each file or member."""
    if not is_archive(path):
        for file in files_below(path) if path.is_dir() else [path]:
            yield str(file.relative_to(path)), file.stat().st_size, False, partial(open, file, "rb")
    elif path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                is_link, is_folder = stat.S_ISLNK(member.external_attr >> 16), member.filename.endswith(("/", "\\"))
                yield member.filename, member.file_size, is_link, not is_folder and partial(archive.open, member)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                is_link, opener = not (member.isfile() or member.isdir()), partial(archive.extractfile, member)
                yield member.name, member.size, is_link, member.isfile() and opener


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
    """Which of FILES a name means: q1_solution.py, Q1_Solution.py, "q1_solution (1).py", ann_q1_solution.py.txt."""
    found = re.search(r"(q\d)[-_ ]?solution[^.]*\.py(\.txt)?$", path.name.lower())
    return found and f"{found[1]}_solution.py" in FILES and f"{found[1]}_solution.py"


def is_source(path):
    return is_notebook(path) or path.name.lower().endswith((".py", ".py.txt"))


def is_archive(path):
    return path.is_file() and bool(CODE.search(path.name)) and not is_source(path)


class Candidate(NamedTuple):
    path: Path
    shown: str  # where it was handed in
    order: tuple
    depth: int
    defined: dict  # graded function to whether it returns something, which the one of a template does not
    problems: list

    def means(self, file):
        return file_meant(self.path) == file or any(FUNCTIONS[name] == file for name in self.defined)

    def count(self, file):
        return sum(FUNCTIONS[name] == file and written for name, written in self.defined.items())

    def rank(self, file):
        """The larger, the better: the later attempt, most functions, nearest to the top, called as it should be."""
        count = self.count(file)
        return count > 0, self.order[0], count, -self.depth, file_meant(self.path) == file, self.order[1]


def candidates(target, origin):
    """A Candidate for each file; origin has the Piece that an entry at the top comes from."""
    found = []
    for path in files_below(target):
        first, *within = path.relative_to(target).parts
        piece, defined, problems = origin[first], {}, []
        shown = str(PurePosixPath(*within) if within and len(origin) == 1 else PurePosixPath(piece.path.name, *within))
        try:
            defined = functions_of(path) if is_source(path) else {}
        except SubmissionError as problem:
            problems = [f"{shown} cannot be read: it {problem}"]
        if is_notebook(path) and not defined and not problems:
            problems = [f"{shown} defines no graded function", *read(path)[1]]
        found.append(Candidate(path, shown, piece.order, len(within) - piece.path.is_dir(), defined, problems))
    return found


def choose(file, there):
    """What was Found for a question, and notes on what was taken; two that rank alike and differ are ambiguous."""
    meant = [one for one in there if one.means(file) and not one.problems]
    if not meant:
        notes = [note for one in there for note in one.problems]
        listed = [one.shown for one in there if not one.problems and not any(map(one.means, FILES))]
        notes += [f"for {file} there is {', '.join(listed[:5])}"] if listed else []
        return Found(problem=f"{file} is not there", status="no such file"), notes
    best, *others = sorted(meant, key=lambda one: one.rank(file), reverse=True)
    others = [one for one in others if one.count(file) and one.path.read_bytes() != best.path.read_bytes()]
    equals = [one.shown for one in others if one.rank(file) == best.rank(file)]
    if equals:
        which = " or ".join([best.shown, *equals])
        return Found(problem=f"it cannot be told which is {file}: {which}; none was graded", status="ambiguous"), []
    notes = [f"{best.shown} was taken for {file}"] if best.shown != file else []
    (text, more), place = read(best.path), best.path.with_name(file)
    needed = needed_lines(text)
    if more or is_notebook(best.path):
        notes, needed = [f"{file} was made of what its functions use in {best.shown}", *more], [-1, *needed]
    place.write_bytes(text.encode() if needed[:1] == [-1] else best.path.read_bytes())
    place.chmod(0o644)
    if others:
        listed = ", ".join(f"{one.shown} ({one.count(file)})" for one in others[:5])
        notes.append(f"{best.shown} defines {best.count(file)} functions of {file} and was taken, not {listed}")
    return Found(place, needed), notes
