"""A data set for an experiment: its published files, fetched and verified, or an offline stand-in, said aloud."""

import contextlib
import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import filelock
import pooch
import requests

from experiments.errors import UserError, words_of

T = TypeVar("T")
PARTIAL = ".download"  # the folder of files on their way, beside where they go
PATIENCE = 12.0  # seconds in which a server must send something worth waiting for
LEAST = 250_000  # bytes: at this speed the largest file would take three hours
CHUNK = 2**14
SLOW = "the server does not answer, or too slowly"


class DownloadError(UserError):
    """A file could not be had from any of its addresses."""


def published_or_stand_in(
    dataset: str, published: Callable[[], T], stand_in: Callable[[], T], stand_in_name: str, description: str
) -> T:
    """What `published` reads, or the stand-in where it is asked for or, with a warning, where "auto" leaves no choice.

    UserError if the files are damaged, or cannot be had though they were asked for by name.
    """
    try:
        if dataset != stand_in_name:
            return published()
    except DownloadError as error:
        if dataset != "auto":
            raise
        print(f"WARNING: {error}", file=sys.stderr)
        print(f"WARNING: going on with {stand_in_name} instead, {description}", file=sys.stderr, flush=True)
    except (OSError, ValueError) as error:
        raise UserError(words_of(error)) from error
    try:
        return stand_in()
    except ModuleNotFoundError as error:
        raise UserError(f"{stand_in_name} needs {error.name}: pip install --no-deps -r requirements-offline.txt") from error


def fetch(folder: Path, hashes: Mapping[str, str], addresses: Sequence[str]) -> None:
    """Have the files of these names in `folder`, each from the first address, of a folder, that serves the right one.

    hashes: name to "sha256:..." or "md5:...", what makes a file the right one. An address that has failed is asked last
    from then on, and one that sends nothing worth waiting for is given up after PATIENCE seconds. What arrives is
    verified and then renamed, so that a name never stands for half a file. DownloadError if no address serves a file.
    """
    partial, order = folder / PARTIAL, list(addresses)
    if not hashes and not partial.exists():
        return  # without a lock, which a read-only folder would not hold
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_name(f"{PARTIAL}-{folder.name}.lock")):  # another process may be at it, too
            shutil.rmtree(partial, ignore_errors=True)  # what a process that was killed has left
            try:
                for name, known_hash in hashes.items():
                    if (folder / name).exists() and not (folder / name).is_file():
                        raise UserError(f"{folder / name} is not a regular file; move it away")
                    if not (folder / name).exists():
                        _fetch_one(name, known_hash, order, partial).replace(folder / name)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}; name another --data-dir") from error


def _fetch_one(name: str, known_hash: str, order: list[str], partial: Path) -> Path:
    """A file from the first address of `order` that serves it; those that fail go to its end. Returns where it lies."""
    reasons: dict[str, str] = {}
    for pause in (0, 1):  # each address is tried twice, unless it is slow
        time.sleep(pause)
        for address in [address for address in order if reasons.get(address) != SLOW]:
            print(f"{'trying again:' if pause else 'downloading'} {address}{name}", flush=True)
            try:
                path = _within_patience(address + name, known_hash, partial, name)
            except (requests.RequestException, ValueError) as error:
                reasons[address] = _reason(error)
                print(f"  {reasons[address]}", flush=True)
                order.append(order.pop(order.index(address)))
            else:
                print(f"  {name} served by {address}", flush=True)
                return path
    failures = ", ".join(f"{address}{name} ({reason})" for address, reason in reasons.items())
    raise DownloadError(f"could not download {failures}; put the file at {partial.parent / name} by hand, or try again later")


def _within_patience(url: str, known_hash: str, partial: Path, name: str) -> Path:
    """Download url and verify it, unless it takes PATIENCE seconds to send LEAST bytes: then requests.Timeout.

    The time-outs of a connection count from byte to byte, which a server that drips never exceeds. So a thread is at
    work, and is left alone once it is too slow; it has a folder to itself.
    """
    partial.mkdir(exist_ok=True)
    folder, failures = Path(tempfile.mkdtemp(dir=partial)), []
    pooch.get_logger().setLevel(logging.WARNING)
    # This thread is sooner to give up than the connection, whose time-out would read as if there were none.
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=CHUNK, timeout=3 * PATIENCE)

    def work() -> None:
        try:
            pooch.retrieve(url, known_hash, name, folder, downloader=download)
        except Exception as error:  # for the thread that waits
            failures.append(error)

    thread, arrived = threading.Thread(target=work, daemon=True), 0
    thread.start()
    thread.join(PATIENCE)
    while thread.is_alive():
        size = _bytes_in(folder)
        if size < arrived + LEAST:
            raise requests.Timeout
        arrived = size
        thread.join(PATIENCE)
    if failures:
        raise failures[0]
    return folder / name


def _bytes_in(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # a file may be renamed between two looks
        return sum(path.stat().st_size for path in folder.iterdir())
    return sys.maxsize


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return SLOW
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    if isinstance(error, requests.RequestException):
        return "the connection broke off"
    return "what it sends is not the published file"  # the hash, or a length that is not the announced one
