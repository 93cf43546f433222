"""Files written so that a reader never meets half of one, and read only where they are what they should be."""

import contextlib
import errno
import os
import pickle
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from experiments.errors import UserError


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write bytes under a temporary name, then rename: the path holds the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    with cannot(f"write {path}"):
        try:
            temporary.unlink(missing_ok=True)
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def cannot(do: str) -> Iterator[None]:
    """Turn an error of the file system into a UserError that says what cannot be done."""
    try:
        yield
    except OSError as error:
        exists = "a file, or a link that leads nowhere, is in its place"
        why = exists if isinstance(error, FileExistsError) else error.strerror or error
        where = f" ({error.filename})" if error.filename and str(error.filename) not in do else ""
        raise UserError(f"cannot {do}: {why}{where}; nothing that was there is lost") from error


def memory() -> int:
    """The machine's memory in bytes, or a number without end where Python cannot ask."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # such as on Windows
        return sys.maxsize


def check_file(path: Path) -> None:
    """OSError if path is no regular file (a pipe would block its reader), or one that the memory cannot hold."""
    size = path.stat().st_size
    if not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if size > memory():
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than the memory", str(path))


def read(path: Path) -> bytes:
    """The content of a file that passes check_file."""
    check_file(path)
    return path.read_bytes()


def _begins_with(path: Path, start: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(start)) == start


def load_plain(path: Path) -> dict[str, Any]:
    """The dictionary of plain types and tensors that torch.save wrote, on the CPU.

    Raises, and executes no code, whatever else the file may hold.
    """
    check_file(path)
    if zipfile.is_zipfile(path):  # not what PyTorch before 1.6 wrote
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > memory():
                raise ValueError("unpacked it is larger than the memory")
            if (part := archive.testzip()) is not None:  # torch.load reads past wrong checksums
                raise ValueError(f"the checksum of {part} is wrong")
    elif _begins_with(path, b"PK"):  # PyTorch reads on, to errors of many kinds
        raise ValueError("it was cut short")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):
            raise ValueError("its pickle cannot be read") from error
        raise ValueError("it holds an object, not tensors alone; save `network.state_dict()`") from error
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}")
    return content
