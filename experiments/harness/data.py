"""A data set for an experiment: its published files, downloaded and verified, or an offline stand-in, said aloud."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pooch
import requests

from experiments.harness.files import UserError

T = TypeVar("T")
TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of what is sent


class DownloadError(UserError):
    """A file could not be had from any of its addresses."""


def published_or_stand_in(
    dataset: str, published: Callable[[], T], stand_in: Callable[[], T], stand_in_name: str, description: str
) -> T:
    """What `published` reads, or the stand-in where it is asked for or, with a warning, where "auto" has no choice."""
    try:
        if dataset != stand_in_name:
            return published()
    except DownloadError as error:
        if dataset != "auto":
            raise
        print(f"WARNING: {error}", file=sys.stderr)
        print(f"WARNING: using {stand_in_name} instead, {description}", file=sys.stderr, flush=True)
    except ValueError as error:  # the samplers', for a file that is not the published one
        raise UserError(str(error)) from error
    try:
        return stand_in()
    except ModuleNotFoundError as error:
        raise UserError(f"{stand_in_name} needs {error.name}: pip install --no-deps -r requirements-offline.txt") from error


def fetch(folder: Path, hashes: Mapping[str, str], addresses: Sequence[str]) -> None:
    """Download files into `folder`, each from the first address that serves it, and name them once they are verified.

    hashes: name to "sha256:..." or "md5:...". DownloadError if no address serves a file.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**16, timeout=TIMEOUT)
    for name, known_hash in hashes.items():
        failures = []
        for address in addresses:
            print(f"downloading {address}{name}", flush=True)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                pooch.retrieve(address + name, known_hash, name, folder, downloader=download)
                break
            except requests.RequestException as error:
                failures.append(f"{address} does not serve it: {type(error).__name__}")
            except ValueError:  # the hash
                failures.append(f"what {address} sends is not the published file")
            except OSError as error:
                raise UserError(f"cannot write to {folder}: {error.strerror}; name another --data-dir") from error
        else:
            reasons, place = "; ".join(failures), folder / name
            raise DownloadError(f"could not download {name}: {reasons}; put it at {place} by hand, or try again later")
