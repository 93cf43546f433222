"""The published files of a data set, downloaded and verified."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pooch
import requests

from experiments.harness.files import UserError, say

TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of what is sent


class DownloadError(UserError):
    """A file could not be had from any of its addresses."""


def fetch(folder: Path, hashes: Mapping[str, str], addresses: Sequence[str]) -> None:
    """Download files into `folder`, each from the first address that serves it, and name them once they are verified.

    hashes: name to "sha256:..." or "md5:...". DownloadError if no address serves a file.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**16, timeout=TIMEOUT)
    for name, known_hash in hashes.items():
        failures = []
        for address in addresses:
            say(f"downloading {address}{name}")
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
