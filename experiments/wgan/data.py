"""The images of question 3: a file, the published files or synthetic ones, and their splits."""

from pathlib import Path
from typing import NamedTuple

import torch

import q3_samplers
from experiments.harness.command import Data
from experiments.harness.data import DownloadError, fetch
from experiments.harness.files import UserError, say
from experiments.wgan.options import WGANOptions
from experiments.wgan.stand_in import STAND_IN, stand_in
from q3_samplers import Photos, with_digest

FIRST_TEST_IMAGE = 10_000  # of the published test file; by those before it the bundled networks were trained and chosen
FEWEST_IMAGES = 49  # of a split: as many as are shown in a figure


class Splits(NamedTuple):
    """The images to train on, to choose settings by (validation) and to report on (test)."""

    train: Photos
    valid: Photos
    test: Photos


def split(photos: Photos, test: Photos | None = None) -> Splits:
    """Contiguous splits of one file's images: 80% training, 10% validation, 10% test.

    Beside a test file: 90% training, 10% validation, and for the test that file from FIRST_TEST_IMAGE on.
    """
    tenth = len(photos.images) // 10
    sizes = [len(photos.images) - 2 * tenth, tenth, tenth] if test is None else [len(photos.images) - tenth, tenth]
    parts = [with_digest(photos.name, *part) for part in zip(photos.images.split(sizes), photos.labels.split(sizes))]
    if test is not None:
        parts.append(with_digest(test.name, test.images[FIRST_TEST_IMAGE:], test.labels[FIRST_TEST_IMAGE:]))
    return Splits(*parts)


def evenly_spaced(images: torch.Tensor, n: int) -> torch.Tensor:
    """At most n of the images, evenly spaced over them."""
    n = min(n, len(images))
    return images[torch.arange(n) * len(images) // n]


def read_photos(path: Path) -> Photos:
    """An SVHN file. UserError if it is missing, damaged or of another form."""
    try:
        return q3_samplers.svhn(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        ) from error


def read_splits(options: WGANOptions) -> Splits:
    """The images of --data-file if named, else of SVHN's two files, downloaded if need be, or synthetic ones."""
    if options.data_file is not None:
        splits = split(read_photos(options.data_file))
    elif options.dataset == STAND_IN:
        splits = split(stand_in())
    else:
        folder, missing = options.data_dir / q3_samplers.FOLDER, q3_samplers.missing(options.data_dir)
        try:
            fetch(folder, {name: f"md5:{digest}" for name, digest in missing.items()}, q3_samplers.ADDRESSES)
        except DownloadError as error:
            others = f"name an SVHN .mat file by --data-file, or take synthetic house numbers by --dataset {STAND_IN}"
            raise UserError(f"{error}; or {others}") from error
        splits = split(
            *(read_photos(q3_samplers.find(options.data_dir, name) or folder / name) for name in q3_samplers.MD5)
        )
    if (fewest := min(len(part.images) for part in splits)) < FEWEST_IMAGES:
        too_small = f"the smallest split of {splits.train.name} has {fewest} images, fewer than {FEWEST_IMAGES}"
        raise UserError(f"{too_small}; name a larger --data-file")
    return splits


def load(options: WGANOptions) -> Data:
    """The images of read_splits for the command."""
    splits = read_splits(options)
    return Data(splits, splits.train.name, splits.train.digest)


def splits_at_hand(options: WGANOptions) -> Splits | None:
    """Images to compare a generator with that is not of this run, if it takes no download, or None."""
    if options.data_file is None and options.dataset != STAND_IN and q3_samplers.missing(options.data_dir):
        say(f"no SVHN files in {options.data_dir}: shown without photographs; --data-file names a file of them")
        return None
    return read_splits(options)
