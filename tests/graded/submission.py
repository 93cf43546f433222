"""Read a submission, whatever it came as, into a folder of plain files: a folder, an archive, or a notebook.

Archives and folders are somebody else's: links, paths that lead out, and bombs are refused or left out.
"""

import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from .checks import FILES
from .notebook import functions_of, sources
from .processes import remove

MOST_BYTES = 50 * 2**20  # of all files of a submission together
MOST_FILES = 5000


class SubmissionError(Exception):
    """There is nothing to grade; the message says what and where, in one line."""


def collect(source, target):
    """Copy the submission to the folder `target`, q1_solution.py and q2_solution.py at its top; notes on what was left out."""
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
        return notes + from_notebooks(folder, target)


def opened(path, folder):
    """A folder with what the file holds."""
    folder.mkdir(parents=True)
    if path.suffix == ".ipynb":
        shutil.copyfile(path, folder / path.name)
    elif zipfile.is_zipfile(path):
        unzip(path, folder)
    elif path.name in FILES:
        shutil.copyfile(path, folder / path.name)
    else:
        raise SubmissionError(f"{path.name} is neither a folder, nor a .zip, nor a .ipynb, nor one of {', '.join(FILES)}")
    return folder


def unzip(path, folder, most_bytes=MOST_BYTES, most_files=MOST_FILES):
    """Unpack an archive whose members stay inside the folder and within bounds."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > most_files or sum(member.file_size for member in members) > most_bytes:
                raise SubmissionError(f"{path.name} would unpack to more than {most_bytes >> 20} MB or {most_files} files")
            for member in members:
                name = PurePosixPath(member.filename.replace("\\", "/"))
                if name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or stat.S_ISLNK(member.external_attr >> 16):
                    raise SubmissionError(f"{path.name} has a member that leads out of it: {member.filename!r}")
                if "__MACOSX" in name.parts:
                    continue
                place = folder.joinpath(*name.parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed, open(place, "wb") as file:
                    shutil.copyfileobj(packed, file)
    except SubmissionError:
        raise
    except Exception as problem:  # zipfile raises a dozen kinds, from struct.error on, at a damaged archive
        raise SubmissionError(f"{path.name} cannot be unpacked: {type(problem).__name__}: {problem}") from problem


def locate(folder, scratch):
    """The folder that holds the files: this one, the only one below it, or what the only archive in it holds."""
    if holds(folder):
        return folder
    below = [path for path in submissions_below(folder) if holds(path)]
    if len(below) == 1:
        return below[0]
    if below:
        names = ", ".join(str(path.relative_to(folder)) for path in below[:5]) + (", ..." if len(below) > 5 else "")
        raise SubmissionError(f"{folder} holds {len(below)} submissions ({names}): give one of them, or all with --out")
    archives = sorted(folder.glob("*.zip"))
    if len(archives) == 1 and not scratch.joinpath("nested").exists():
        return locate(opened(archives[0], scratch / "nested"), scratch)
    if archives:
        names = ", ".join(path.name for path in archives[:5])
        raise SubmissionError(f"{folder} holds {len(archives)} archives ({names}): give one of them, or all with --out")
    return folder


def submissions_below(folder):
    """Folders one or two levels down, without hidden ones."""
    found = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_dir() and not path.is_symlink()]
    return sorted(path for path in found if not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts))


def holds(folder):
    """Whether a folder has one of the files, or a notebook that defines their functions."""
    return any((folder / file).is_file() for file in FILES) or any(map(functions_of, sorted(folder.glob("*.ipynb"))))


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


def from_notebooks(folder, target):
    """Write the files that are not there from notebooks that define their functions."""
    notes = []
    for path in sorted(folder.glob("*.ipynb")):
        for file in functions_of(path):
            if not (target / file).exists():
                text, skipped = sources(path)
                (target / file).write_text(text)
                (target / file).chmod(0o644)
                notes += [f"{file} was made of the imports and definitions in {path.name}", *skipped]
    return list(dict.fromkeys(notes))
