"""A data set for an experiment: its published files, downloaded and verified, or an offline stand-in, said aloud."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pooch
import requests

from experiments.errors import UserError, os_errors_as_user_errors

T = TypeVar("T")
TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of what is sent


class DownloadError(UserError):
    """A file could not be had from any of its addresses."""


def published_or_stand_in(
    dataset: str, published: Callable[[], T], stand_in: Callable[[], T], stand_in_name: str, description: str
) -> T:
    """What `published` reads, or the stand-in where it is asked for or, with a warning, where "auto" leaves no choice.

    UserError if a file is not the published one (the samplers' ValueError), or cannot be had though asked for by name.
    """
    try:
        if dataset != stand_in_name:
            return published()
    except DownloadError as error:
        if dataset != "auto":
            raise
        print(f"WARNING: {error}", file=sys.stderr)
        print(f"WARNING: using {stand_in_name} instead, {description}", file=sys.stderr, flush=True)
    except ValueError as error:
        raise UserError(str(error)) from error
    try:
        return stand_in()
    except ModuleNotFoundError as error:
        raise UserError(f"{stand_in_name} needs {error.name}: pip install --no-deps -r requirements-offline.txt") from error


def fetch(folder: Path, hashes: Mapping[str, str], addresses: Sequence[str]) -> None:
    """Download the files of these names into `folder`, each from the first address that serves the right one.

    hashes: name to "sha256:..." or "md5:...". A file gets its name once it is whole and verified. DownloadError if no
    address serves it.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**16, timeout=TIMEOUT)
    for name, known_hash in hashes.items():
        failures = []
        for address in addresses:
            print(f"downloading {address}{name}", flush=True)
            with os_errors_as_user_errors(f"write to {folder}"):
                folder.mkdir(parents=True, exist_ok=True)
                failure = _retrieve(address + name, known_hash, name, folder, download)
            if failure is None:
                break
            failures.append(f"{address}{name} ({failure})")
            print(f"  {failure}", flush=True)
        else:
            where = f"put the file at {folder / name} by hand, or try again later"
            raise DownloadError(f"could not download {', '.join(failures)}; {where}")


def _retrieve(url: str, known_hash: str, name: str, folder: Path, download: pooch.HTTPDownloader) -> str | None:
    """Download and verify one file. Returns None, or why this address did not serve it."""
    try:
        pooch.retrieve(url, known_hash, name, folder, downloader=download)
    except requests.Timeout:
        return "the server does not answer"
    except requests.HTTPError as error:
        return str(error)
    except requests.RequestException:
        return "no connection to the server, or it broke off"
    except ValueError:  # the hash
        return "what it sends is not the published file"
    return None
