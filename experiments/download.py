"""Fetch one published data file, verified before it gets its name."""

import logging
import sys
from pathlib import Path

import pooch
import requests

from experiments.run import UserError

TIMEOUT = 20  # seconds without a byte


class DownloadError(UserError):
    """A file could not be had from its published address."""


def fetch(url: str, path: Path, known_hash: str) -> None:
    """Download url to path. known_hash: "sha256:..." or "md5:...", what makes the file the right one.

    The bytes arrive under a temporary name beside path, are verified and then renamed; a file that is not the right one is
    deleted. Three tries, each with a time-out. DownloadError if none succeeds.
    """
    print(f"downloading {url}", flush=True)
    pooch.get_logger().setLevel(logging.WARNING)
    files = pooch.create(
        path=path.parent, base_url="", urls={path.name: url}, registry={path.name: known_hash}, retry_if_failed=2
    )
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**20, timeout=TIMEOUT)
    advice = f"put the file at {path} by hand, or try again later"
    try:
        files.fetch(path.name, downloader=download)
    except requests.RequestException as error:
        raise DownloadError(f"could not download {url} ({_reason(error)}); {advice}") from error
    except ValueError as error:  # the hash, or a length that is not the announced one
        raise DownloadError(f"what {url} sends is not the published file ({known_hash[:19]}... expected); {advice}") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; name another --data-dir") from error


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "the server does not answer"
    if isinstance(error, requests.HTTPError):
        return f"the server answers {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return "the connection broke off"
