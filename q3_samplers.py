"""SVHN as tensors: 32x32 colour photographs of house numbers, read from MATLAB files.

Street View House Numbers (Netzer et al. 2011). Neighbouring images of a file are often crops of one photograph, so a
split to hold out is always contiguous: a shuffled one would share photographs with the rest.
"""

import hashlib
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
import torch
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler

ADDRESSES = ("http://ufldl.stanford.edu/housenumbers/",)
FOLDER = "svhn"
MD5 = {  # of the published files; extra_32x32.mat has none here and is taken as it is
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
# What SciPy raises for a damaged file, or one that is no MATLAB file.
UNREADABLE = (ValueError, TypeError, OSError, IndexError, KeyError, zlib.error, scipy.io.matlab.MatReadError)


class Photos(NamedTuple):
    """A data set of colour images: name, SHA-256 of its bytes, uint8 (n, 3, 32, 32) and digits int64 (n,), 0 to 9."""

    name: str
    digest: str
    images: torch.Tensor
    labels: torch.Tensor


def find(data_dir: str | Path, name: str) -> Path | None:
    """The file `name` of the published data set below data_dir, or None."""
    places = (Path(data_dir) / FOLDER / name, Path(data_dir) / name)
    return next((path for path in places if path.is_file()), None)


def missing(data_dir: str | Path) -> dict[str, str]:
    """The published files that `find` does not find, name to MD5."""
    return {name: digest for name, digest in MD5.items() if find(data_dir, name) is None}


def svhn(path: str | Path) -> Photos:
    """The images and digits of a MATLAB file of the published form: X uint8 (32, 32, 3, n), y (n, 1), 10 for digit 0.

    FileNotFoundError if there is none, ValueError if it is damaged, of another form, or goes by a published name
    without being the published file. No code that a file may hold is executed.
    """
    path = Path(path)
    if path.name in MD5 and (found := hashlib.md5(path.read_bytes()).hexdigest()) != MD5[path.name]:
        raise ValueError(
            f"{path} is not the published file: its contents have MD5 {found[:12]}..., expected "
            f"{MD5[path.name][:12]}...; delete it to have it downloaded anew, or put the published file in its place"
        )
    try:
        with open(path, "rb") as file:  # SciPy opens a Path without saying that it is missing
            variables = scipy.io.whosmat(file)
            arrays = scipy.io.loadmat(file, variable_names=("X", "y"))
    except (FileNotFoundError, PermissionError):
        raise
    except NotImplementedError as error:  # which SciPy raises for version 7.3, an HDF5 file
        raise ValueError(f"{path} is a MATLAB file of version 7.3; save it as version 7: save(..., '-v7')") from error
    except UNREADABLE as error:
        raise ValueError(f"{path} is damaged or no MATLAB file ({error}); get it anew from {ADDRESSES[0]}") from error
    X: Any = arrays.get("X")
    y: Any = arrays.get("y")
    numeric = X is not None and y is not None and y.dtype.kind in "uif" and X.dtype == np.uint8
    if not numeric or X.shape != (32, 32, 3, y.size) or not np.isin(y, range(1, 11)).all():
        held = ", ".join(f"{name} {kind} {shape}" for name, shape, kind in variables) or "nothing"
        digits = f" from {y.min():g} to {y.max():g}" if numeric and y.size else ""
        raise ValueError(
            f"{path} is not of SVHN's form, variables X uint8 (32, 32, 3, n) and y (n, 1) from 1 to 10 (10 for the "
            f"digit 0), but holds {held}{digits}"
        )
    images = torch.from_numpy(np.ascontiguousarray(X.transpose(3, 2, 0, 1)))
    labels = torch.from_numpy(y.astype(np.int64).ravel() % 10)
    return with_digest(f"SVHN {path.stem}", images, labels)


def scale(images: torch.Tensor) -> torch.Tensor:
    """uint8 0 to 255 to float32 -1 to 1."""
    return images.float() / 127.5 - 1


class ScaledPhotos(Dataset[tuple[torch.Tensor, int]]):
    """Images kept as bytes, and their digits: item i is (x, y), x float32 (3, 32, 32) in [-1, 1], y an int, 0 to 9."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return scale(self.images[index]), int(self.labels[index])


def svhn_sampler(
    root: str | Path, train_batch_size: int, test_batch_size: int, valid_split: float = 0
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Loaders of training, validation and test images, for the handout's programs; training here reads whole blocks.

    The published files lie below `root`. Batches are lists [x, y], x float32 (batch, 3, 32, 32) in [-1, 1], y int64
    (batch,), 0 to 9. The fraction valid_split at the start of the training file is for validation; the rest is for
    training, in batches of train_batch_size exactly: what is left over at the end of an epoch is dropped. Validation
    has batches of train_batch_size too, test of test_batch_size, the last smaller. Training and validation are shuffled
    at every epoch by torch's global generator, test keeps the file's order.

    FileNotFoundError if a file is missing, ValueError if valid_split is outside [0, 1), or a file is not right: see
    svhn.
    """
    if not 0 <= valid_split < 1:
        raise ValueError(f"valid_split is a fraction of the training file, at least 0 and below 1, not {valid_split}")
    if absent := missing(root):
        addresses = " and ".join(ADDRESSES[0] + name for name in absent)
        raise FileNotFoundError(
            f"{Path(root) / FOLDER} has no {' and no '.join(absent)}; get {addresses} and put it there"
        )
    train, test = (svhn(path) for path in (find(root, name) for name in MD5) if path is not None)
    size = int(valid_split * len(train.images))

    def shuffled(photos: ScaledPhotos, drop_last: bool) -> DataLoader:
        order = SubsetRandomSampler(range(len(photos)))  # unlike shuffle=True it may be empty
        return DataLoader(photos, train_batch_size, sampler=order, drop_last=drop_last)

    return (
        shuffled(ScaledPhotos(train.images[size:], train.labels[size:]), drop_last=True),
        shuffled(ScaledPhotos(train.images[:size], train.labels[:size]), drop_last=False),
        DataLoader(ScaledPhotos(test.images, test.labels), test_batch_size),
    )


def with_digest(name: str, images: torch.Tensor, labels: torch.Tensor) -> Photos:
    digest = hashlib.sha256(images.contiguous().numpy().data)  # contiguous bytes are read where they are
    digest.update(labels.contiguous().numpy().data)
    return Photos(name, digest.hexdigest(), images, labels)
