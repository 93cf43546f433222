"""The images of question 3: a file, the published files or synthetic ones, and what no network has seen of them."""

from collections.abc import Collection
from pathlib import Path

import q3_samplers
from experiments.harness.data import fetch, published_or_stand_in
from experiments.harness.files import UserError
from experiments.harness.main import Data
from experiments.wgan.options import WGANOptions
from experiments.wgan.stand_in import stand_in

FEWEST = 49  # images of a block: as many as are shown in a figure
TWICE = 0.001  # share of a block that may be equal to seen images, since a data set may hold an image twice


def read_photos(path: Path) -> q3_samplers.Photos:
    """An SVHN file. UserError if it is missing, damaged or of another form."""
    try:
        return q3_samplers.svhn(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)) from error


def load_blocks(options: WGANOptions) -> q3_samplers.Blocks:
    """The images of --data-file if named, of SVHN's two files (`auto`, `svhn`), or synthetic ones, in blocks."""

    def published() -> q3_samplers.Blocks:
        folder, missing = options.data_dir / q3_samplers.FOLDER, q3_samplers.missing(options.data_dir)
        fetch(folder, {name: f"md5:{digest}" for name, digest in missing.items()}, q3_samplers.ADDRESSES)
        files = (q3_samplers.find(options.data_dir, name) or folder / name for name in q3_samplers.MD5)
        return q3_samplers.in_blocks(*(read_photos(path) for path in files))

    if options.data_file is not None:
        blocks = q3_samplers.in_blocks(read_photos(options.data_file))
    else:
        what = "synthetic house numbers; pictures and numbers are not those of SVHN"
        blocks = published_or_stand_in(
            options.dataset, published, lambda: q3_samplers.in_blocks(stand_in()), q3_samplers.STAND_IN, what
        )
    check_size(blocks)
    return blocks


def load(options: WGANOptions) -> Data:
    """The images of load_blocks, and what a run on them records."""
    blocks = load_blocks(options)
    name = blocks.train.name
    dataset = q3_samplers.STAND_IN if name == q3_samplers.STAND_IN else "svhn"
    return Data(blocks, name, {"dataset": dataset, "dataset_digest": blocks.train.digest})


def blocks_at_hand(asked: WGANOptions) -> q3_samplers.Blocks | None:
    """Images to compare a generator with that is not of this run, if it takes no download: Blocks or None."""
    if asked.data_file is None and q3_samplers.missing(asked.data_dir) and asked.dataset != q3_samplers.STAND_IN:
        print(f"no SVHN files in {asked.data_dir}: shown without photographs; --data-file names a file of them", flush=True)
        return None
    return load_blocks(asked)


def check_size(blocks: q3_samplers.Blocks) -> None:
    """UserError if there are too few images to train on, or to compare with."""
    if (fewest := min(len(block.images) for block in blocks)) < FEWEST:
        name = blocks.train.name
        raise UserError(f"the smallest block of {name} has {fewest} images, fewer than {FEWEST}; name a larger --data-file")


def check_unseen(blocks: q3_samplers.Blocks, seen: Collection[int], network: str) -> None:
    """UserError if a network was trained on images that it would be measured on. seen: its fingerprints of images."""
    for name, block in (("validation", blocks.valid), ("test", blocks.test)):
        if (count := len(set(seen).intersection(q3_samplers.fingerprints(block.images)))) > TWICE * len(block.images):
            raise UserError(
                f"{network} was trained on {count:,} of the {len(block.images):,} images of {block.name}'s {name} block, so "
                "nothing measured on them would be true; name another --data-file"
            )
