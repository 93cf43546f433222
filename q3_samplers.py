"""SVHN as tensors: 32x32 colour photographs of house numbers, read from MATLAB files, or a drawn stand-in.

Street View House Numbers (Netzer et al. 2011). Neighbouring images of a file are often crops of one photograph, so a
part to hold out is always a contiguous block: a shuffled one would share photographs with the rest.
"""

import hashlib
import math
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import scipy.io
import torch
import torch.nn.functional as F
from matplotlib import ft2font, get_data_path
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler

ADDRESSES = ("http://ufldl.stanford.edu/housenumbers/",)
FOLDER = "svhn"
MD5 = {  # of the published files; extra_32x32.mat has none here and is taken as it is
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
STAND_IN = "svhn-stand-in"
LARGEST = 531_131  # images in a file: as many as the published extra_32x32.mat has
USED = 10_000  # images at the start of the test file by which the bundled networks were trained, chosen or measured


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
    if (size := path.stat().st_size) > 2 * 32 * 32 * 3 * LARGEST:
        raise ValueError(f"{path} is no file of SVHN's form: it has {size:,} bytes; get it anew from {ADDRESSES[0]}")
    with open(path, "rb") as file:
        if path.name in MD5 and (found := _md5(file)) != MD5[path.name]:
            raise ValueError(
                f"{path} is not the published file: its contents ({size:,} bytes) have MD5 {found[:12]}..., expected "
                f"{MD5[path.name][:12]}...; delete it to have it downloaded anew, or put the published file in its place"
            )
        variables, arrays = _variables(path, file)
    X: Any = arrays.get("X")
    y: Any = arrays.get("y")
    numeric = X is not None and y is not None and y.dtype.kind in "uif" and X.dtype == np.uint8
    if not numeric or X.shape != (32, 32, 3, y.size) or not np.isin(y, range(1, 11)).all():
        held = ", ".join(f"{name} {kind} {shape}" for name, shape, kind in variables) or "nothing"
        digits = f" from {y.min():g} to {y.max():g}" if numeric and y.size else ""
        raise ValueError(
            f"{path} is not of SVHN's form, variables X uint8 (32, 32, 3, n) and y (n, 1) from 1 to 10 (10 for the digit 0), "
            f"but holds {held}{digits}"
        )
    images = torch.from_numpy(np.ascontiguousarray(X.transpose(3, 2, 0, 1)))
    labels = torch.from_numpy(y.astype(np.int64).ravel() % 10)
    return _photos(f"SVHN {path.stem}", images, labels)


def _md5(file: BinaryIO) -> str:
    digest = hashlib.md5()
    while part := file.read(2**24):
        digest.update(part)
    return digest.hexdigest()


def _variables(path: Path, file: BinaryIO) -> tuple[list[tuple[str, tuple[int, ...], str]], dict[str, Any]]:
    """Name, shape and kind of each variable of a MATLAB file, and the arrays X and y. ValueError if it is damaged."""
    try:
        variables = scipy.io.whosmat(file)
        shapes = {name: shape for name, shape, _ in variables}
        for name, largest in (("X", 32 * 32 * 3 * LARGEST), ("y", LARGEST)):
            if math.prod(shapes.get(name, ())) > largest:  # before it is unpacked
                raise ValueError(f"{name} is {shapes[name]}")
        return variables, scipy.io.loadmat(file, variable_names=("X", "y"))
    except MemoryError:
        raise
    except NotImplementedError as error:  # which SciPy raises for version 7.3, an HDF5 file
        raise ValueError(f"{path} is a MATLAB file of version 7.3; save it as version 7: save(..., '-v7')") from error
    except Exception as error:  # whatever SciPy meets in a damaged or foreign file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is damaged or no MATLAB file ({reason}); get it anew from {ADDRESSES[0]}") from error


def scale(images: torch.Tensor) -> torch.Tensor:
    """uint8 0 to 255 to float32 -1 to 1."""
    return images.float() / 127.5 - 1


class Blocks(NamedTuple):
    """The images to train on, to choose settings by (validation) and to report on (test)."""

    train: Photos
    valid: Photos
    test: Photos


def in_blocks(photos: Photos, test: Photos | None = None) -> Blocks:
    """Contiguous blocks of one file's images: 80% training, 10% validation, 10% test.

    Beside a test file: 90% training, 10% validation, and for the test that file from image USED on.
    """
    tenth = len(photos.images) // 10
    sizes = [len(photos.images) - 2 * tenth, tenth, tenth] if test is None else [len(photos.images) - tenth, tenth]
    parts = [_photos(photos.name, *part) for part in zip(photos.images.split(sizes), photos.labels.split(sizes))]
    return Blocks(*parts, *([] if test is None else [_photos(test.name, test.images[USED:], test.labels[USED:])]))


def fingerprints(images: torch.Tensor) -> list[int]:
    """48 bits of each image's hash, by which a network's file says which images the network has seen."""
    return [int.from_bytes(hashlib.blake2b(image, digest_size=6).digest(), "big") for image in images.cpu().numpy()]


def spread(images: torch.Tensor, n: int) -> torch.Tensor:
    """At most n of the images, evenly spread over them."""
    n = min(n, len(images))
    return images[torch.arange(n) * len(images) // n]


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
    """Loaders of training, validation and test images, of the published files below `root`. Batches are lists [x, y].

    x: float32 (batch, 3, 32, 32) in [-1, 1]. y: int64 (batch,), 0 to 9. The fraction valid_split at the start of the
    training file is for validation; the rest is for training, in batches of train_batch_size exactly: what is left over
    at the end of an epoch is dropped. Validation has batches of train_batch_size too, test of test_batch_size, the last
    smaller. Training and validation are shuffled at every epoch by torch's global generator, test keeps the file's
    order.

    FileNotFoundError if a file is missing, ValueError if valid_split is outside [0, 1), or a file is not right: see
    svhn.
    """
    if not 0 <= valid_split < 1:
        raise ValueError(f"valid_split is a fraction of the training file, at least 0 and below 1, not {valid_split}")
    if absent := missing(root):
        addresses = " and ".join(ADDRESSES[0] + name for name in absent)
        raise FileNotFoundError(f"{Path(root) / FOLDER} has no {' and no '.join(absent)}; get {addresses} and put it there")
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


def stand_in(size: int = 4000, seed: int = 0) -> Photos:
    """`size` drawn house numbers: what the whole path runs on where there is neither file nor network. Not SVHN.

    Each is a digit in one of matplotlib's fonts, turned, shifted and scaled, a neighbour cut off at either edge, in two
    random colours under a slope of light, blurred, with noise. The same bytes at every call with the same seed.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(size, *shape, generator=generator)

    glyphs = _glyphs()  # (fonts, 10, 64, 44)
    fonts = torch.randint(len(glyphs), (size,), generator=generator)
    digits = torch.randint(10, (size, 3), generator=generator)  # left neighbour, the one to read, right neighbour
    strip = torch.cat([glyphs[fonts, digits[:, place]] for place in range(3)], dim=-1).unsqueeze(1)  # (size, 1, 64, 3 * 44)

    angle, zoom = uniform(-0.15, 0.15), uniform(0.9, 1.5)
    across = 64 / strip.shape[-1]
    rows = torch.stack([angle.cos() * zoom * across, -angle.sin() * zoom * across, uniform(-0.08, 0.08)], dim=1)
    columns = torch.stack([angle.sin() * zoom, angle.cos() * zoom, uniform(-0.15, 0.15)], dim=1)
    grid = F.affine_grid(torch.stack([rows, columns], dim=1), [size, 1, 32, 32], align_corners=False)
    ink = F.grid_sample(strip, grid, align_corners=False)  # (size, 1, 32, 32)
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    blurred = F.conv2d(ink, (kernel.unsqueeze(1) * kernel)[None, None], padding=1)
    ink = torch.lerp(ink, blurred, uniform(0, 1, 1, 1, 1))

    paper, contrast = uniform(0.1, 0.9, 1, 1, 1) + uniform(-0.1, 0.1, 3, 1, 1), uniform(0.2, 0.6, 1, 1, 1)
    colour = paper + torch.where(paper.mean(1, keepdim=True) > 0.5, -contrast, contrast) + uniform(-0.1, 0.1, 3, 1, 1)
    slope = torch.linspace(-1, 1, 32).view(1, 1, 1, 32) * uniform(-0.15, 0.15, 1, 1, 1)
    pictures = torch.lerp(paper, colour, ink) + slope + 0.02 * torch.randn(size, 3, 32, 32, generator=generator)
    return _photos(STAND_IN, (255 * pictures.clamp(0, 1)).round().byte(), digits[:, 1])


def _glyphs() -> torch.Tensor:
    """The ten digits in every font, white on black and centred: float32 (fonts, 10, 64, 44) in [0, 1]."""
    names = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "STIXGeneral", "cmb10")
    glyphs = torch.zeros(len(names), 10, 64, 44)
    for font_glyphs, name in zip(glyphs, names):
        font = ft2font.FT2Font(f"{get_data_path()}/fonts/ttf/{name}.ttf")
        font.set_size(56, 72)
        for digit, glyph in enumerate(font_glyphs):
            font.set_text(str(digit))
            font.draw_glyphs_to_bitmap()
            drawn = torch.from_numpy(np.array(font.get_image())).float() / 255
            height, width = drawn.shape
            top, left = (64 - height) // 2, (44 - width) // 2
            glyph[top : top + height, left : left + width] = drawn
    return glyphs


def _photos(name: str, images: torch.Tensor, labels: torch.Tensor) -> Photos:
    digest = hashlib.sha256(images.contiguous().numpy().data)  # contiguous bytes are read where they are
    digest.update(labels.contiguous().numpy().data)
    return Photos(name, digest.hexdigest(), images, labels)
