"""Read a submission into a folder of plain files. It is somebody else's: links, paths that lead out and bombs are refused."""

import contextlib
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath

from .checks import FILES
from .notebook import FUNCTIONS, Unreadable, functions_of, sources, statements
from .processes import remove

MOST_BYTES = 50 * 2**20  # of all files of a submission together
MOST_FILES = 5000


class SubmissionError(Exception):
    """There is nothing to grade; the message says what and where, in one line."""


def collect(source, target, files=FILES):
    """Copy the submission to the folder `target`, the files at its top; notes on what was taken for them and what left out."""
    source = Path(source)
    remove(target)
    with tempfile.TemporaryDirectory(prefix="graded-") as scratch:
        if source.is_dir():
            folder = locate(source, Path(scratch))
        elif source.is_file():
            folder = locate(opened(source, Path(scratch, "opened")), Path(scratch))
        else:
            raise SubmissionError(f"there is no {source}")
        notes = copy(folder, target)
        return list(dict.fromkeys(notes + [note for file in files for note in put_in_place(file, folder, target)]))


def opened(path, folder):
    """A folder with what the file holds."""
    folder.mkdir(parents=True)
    if is_archive(path):
        unpack(path, folder)
    elif is_notebook(path) or file_meant(path):
        shutil.copyfile(path, folder / path.name)
    else:
        kinds = f"neither a folder, nor a .zip, .tar or .tar.gz, nor a .ipynb, nor one of {', '.join(FILES)}"
        raise SubmissionError(f"{path.name} is {kinds}" + (f", but a {path.suffix} file" if path.suffix else ""))
    return folder


def file_meant(path):
    """Which of FILES a name means: q1_solution.py itself, Q1_Solution.py, "q1_solution (1).py", ann_q1_solution.py.txt."""
    found = re.search(r"(q\d)[-_ ]?solution[^.]*\.py(\.txt)?$", path.name.lower())
    return found and f"{found[1]}_solution.py" in FILES and f"{found[1]}_solution.py"


def is_notebook(path):
    return path.suffix.lower() == ".ipynb"


def is_archive(path):
    return path.is_file() and re.search(r"\.(zip|tar|tar\.\w+|tgz)$", path.name.lower()) is not None


def unpack(path, folder, most_bytes=MOST_BYTES, most_files=MOST_FILES):
    """Unpack an archive whose members stay inside the folder and within bounds."""
    count, size = 0, 0
    try:
        for member, bytes_of_member, link, open_member in members(path):
            count, size = count + 1, size + bytes_of_member
            if count > most_files or size > most_bytes:
                raise SubmissionError(f"{path.name} would unpack to more than {most_bytes >> 20} MB or {most_files} files")
            name = PurePosixPath(member.replace("\\", "/"))
            if name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or link:
                raise SubmissionError(f"{path.name} has a member that leads out of it: {member!r}")
            if "__MACOSX" in name.parts:
                continue
            place = folder.joinpath(*name.parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            with open_member() as packed, open(place, "wb") as file:
                shutil.copyfileobj(packed, file)
    except SubmissionError:
        raise
    except Exception as problem:  # zipfile raises a dozen kinds, from struct.error on, at a damaged archive
        said = f"{type(problem).__name__}: {problem}".splitlines()[0]
        raise SubmissionError(f"{path.name} cannot be unpacked: {said}") from problem


def members(path):
    """Name, size, whether it is a link, and what opens it, for each file in an archive."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    link = stat.S_ISLNK(member.external_attr >> 16)
                    yield member.filename, member.file_size, link, partial(archive.open, member)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isdir():
                    yield member.name, member.size, not member.isfile(), partial(archive.extractfile, member)


def locate(folder, scratch):
    """The folder that holds the files: this one, the only one below it, or what the only archive in it holds."""
    if holds(folder):
        return folder
    below, archives = [path for path in submissions_below(folder) if holds(path)], sorted(filter(is_archive, folder.iterdir()))
    if len(below) == 1:
        return below[0]
    if len(archives) == 1 and not below and not scratch.joinpath("nested").exists():
        return locate(opened(archives[0], scratch / "nested"), scratch)
    for what, found in (("submissions", below), ("archives", archives)):
        if found:
            names = ", ".join(str(path.relative_to(folder)) for path in found[:5]) + (", ..." if len(found) > 5 else "")
            raise SubmissionError(f"{folder} holds {len(found)} {what} ({names}): give one of them, or all with --out")
    return folder


def submissions_below(folder):
    """Folders one or two levels down, without hidden ones."""
    found = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_dir() and not path.is_symlink()]
    return sorted(path for path in found if not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts))


def holds(folder):
    """Whether a folder has one of the files, or a notebook that defines their functions."""
    return any(candidates(file, folder) for file in FILES)


def candidates(file, folder):
    """What may be that file, to how many of its functions it defines: the file itself, one named like it, or a notebook."""
    found = {}
    for path in sorted(folder.iterdir(), key=lambda path: (path.name != file, is_notebook(path), path.name)):
        hidden = path.name.startswith(".") or path.is_symlink() or not path.is_file()
        if not hidden and (file_meant(path) == file or is_notebook(path)):
            with contextlib.suppress(Unreadable):
                counts = [sum(FUNCTIONS[name] == file for name in functions_of(path, all)) for all in (False, True)]
                found |= {path: counts[0]} if counts[1] or file_meant(path) else {}
    return found


def copy(folder, target):
    """Copy plain files, without links, hidden folders and environments, as far as they fit; a note on those that do not."""
    target.mkdir(parents=True)
    size, count, left_out = 0, 0, []
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir(), key=lambda path: (path.is_dir(), path.suffix != ".py", path.name)):
            place = target / path.relative_to(folder)
            if path.is_symlink() or path.name.startswith(".") or path.name in ("__pycache__", "__MACOSX"):
                continue
            if path.is_dir() and not (path / "pyvenv.cfg").exists():
                waiting.append(path)
            elif path.is_file():
                size, count = size + path.stat().st_size, count + 1
                if size > MOST_BYTES or count > MOST_FILES:
                    left_out.append(path.name)
                    size -= path.stat().st_size
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return [f"left out for their size or number: {', '.join(left_out[:3])}"] if left_out else []


def put_in_place(file, folder, target):
    """Have the file there that defines most of its functions; notes on what was taken, or why nothing was."""
    found = candidates(file, folder)
    if not found:
        return what_is_there(file, folder)
    best, notes = max(found, key=found.get), []
    if best.name != file:
        notes.append(f"{best.name} was taken for {file}")
        text, place = best.read_bytes(), target / file
        if is_notebook(best):
            text, skipped = sources(best)
            text, notes = text.encode(), [f"{file} was made of what its functions use in {best.name}", *skipped]
        place.write_bytes(text)
        place.chmod(0o644)
    others = ", ".join(f"{path.name} {count}" for path, count in found.items() if path != best)
    return notes + ([f"{best.name} defines {found[best]} functions of {file}, {others}: it was taken"] if others else [])


def what_is_there(file, folder):
    """Notes on what there is where a file is missing, and why it was not taken."""
    notes, others = [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not file_meant(path)):
        name, is_code = path.relative_to(folder).as_posix(), is_notebook(path) or path.suffix.lower() == ".py"
        try:
            defined = functions_of(path) if is_code else set()
            if wanted := sorted(function for function in defined if FUNCTIONS[function] == file):
                notes.append(f"{name} defines {', '.join(wanted)}, but is not {file}")
            elif is_notebook(path) and not defined:
                notes += [f"{name} defines no graded function", *statements(path)[1]]
            elif not defined:
                others.append(name)
        except Unreadable as problem:
            notes.append(f"{name} cannot be read: it {problem}")
    return notes + [f"for {file} there is {', '.join(others[:5])}" for _ in others[:1]]
