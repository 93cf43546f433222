"""`python -m experiments.wgan.classifier`: the digit classifier of question 3, its weights, and its training.

The judge measures generated images. The guide, trained with another seed, gives the second critic its features.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from experiments.harness.command import Data, exit_code, run_experiment
from experiments.harness.files import UserError, load_plain, restore, say, user_error_if_unreadable
from experiments.harness.options import Options, file_path, option, to_record
from experiments.harness.run import RunDirectory
from experiments.harness.training import Training, set_learning_rate
from experiments.wgan import weights
from experiments.wgan.data import Splits, read_photos, split
from q3_samplers import Photos, scale

SHIFT = 2  # pixels, at most, by which training images are moved


class DigitClassifier(nn.Module):
    """Which digit a 32x32 colour image shows: three blocks of two 3x3 convolutions. It judges generated images."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*_convolutions(3, 32), *_convolutions(32, 64), *_convolutions(64, 64))  # 4 x 4
        self.penultimate = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 4 * 4, 128), nn.ReLU())
        self.digit = nn.Linear(128, 10)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, 32, 32) in [-1, 1]. Returns the penultimate layer, (batch, 128), at least 0."""
        return self.penultimate(self.blocks(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, 32, 32) in [-1, 1]. Returns the logits of the digits 0 to 9, (batch, 10)."""
        return self.digit(self.features(x))


def _convolutions(inputs: int, outputs: int) -> list[nn.Module]:
    """Two 3x3 convolutions, the second followed by halving height and width."""
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]


def load_classifier(path: Path = weights.JUDGE) -> tuple[DigitClassifier, dict]:
    """A classifier, in evaluation mode, and its origin. UserError says by which seed a missing file is made anew."""
    remedy = f"python -m experiments.wgan.classifier --seed {1 if path == weights.GUIDE else 0} makes it anew"
    content = load_plain(path, remedy)
    with user_error_if_unreadable(path, remedy), torch.random.fork_rng(devices=[]):  # training's random numbers stay
        restore(classifier := DigitClassifier(), content["classifier"])
        origin = content["origin"]
    layout: Any = {"memory_format": torch.channels_last}
    return classifier.to(**layout).eval(), origin


@dataclass(frozen=True)
class ClassifierOptions(Options):
    """What the classifier can be asked for."""

    question = "classifier"

    run_dir: Path = option(Path("runs/classifier"), "where the run is recorded", scope="command")
    data_file: Path | None = option(
        None, "an SVHN .mat file, the first 80% of which are trained on", file_path, scope="place"
    )
    epochs: int = option(14, "passes over the training images", scope="length")
    batch_size: int = option(64, "images per update")
    learning_rate: float = option(2e-3, "Adam's learning rate")


def train(run: RunDirectory, splits: Splits, options: ClassifierOptions, device: torch.device) -> None:
    """Train as `options` say, from run's checkpoint if there is one; then write classifier.pt."""
    torch.manual_seed(options.seed)
    images, labels = splits.train.images.to(device), splits.train.labels.to(device)
    layout: Any = {"device": device, "memory_format": torch.channels_last}
    classifier = DigitClassifier().to(**layout)
    optimizer = torch.optim.Adam(classifier.parameters(), fused=True)

    training = Training(run, options, device, "epoch", options.epochs, classifier=classifier, optimizer=optimizer)
    for epoch in training:
        total = torch.zeros((), device=device)
        batches = torch.randperm(len(images)).to(device).split(options.batch_size)
        for step, rows in enumerate(batches, start=(epoch - 1) * len(batches)):
            steps = options.epochs * len(batches)
            set_learning_rate(optimizer, options.learning_rate, step, steps, options.schedule)
            x = shift(scale(images[rows])).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(classifier.train()(x), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        training.log(cross_entropy=total.item() / len(images), accuracy=accuracy(classifier.eval(), splits.valid))
    set_unit(classifier.eval(), images)
    data = {"dataset": splits.train.name, "dataset_digest": splits.train.digest, "images": [0, len(images) - 1]}
    origin = {**to_record(options), **data}
    del origin["data_file"]  # where it lay says nothing about the weights
    weights.save(run.folder / weights.JUDGE.name, {"classifier": classifier}, origin)


def shift(x: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to SHIFT pixels in both directions, its edge repeated."""
    padded = F.pad(x, [SHIFT] * 4, mode="replicate")
    corners = torch.randint(2 * SHIFT + 1, (len(x), 2)).tolist()
    return torch.stack([image[:, top : top + 32, left : left + 32] for image, (top, left) in zip(padded, corners)])


@torch.no_grad()
def accuracy(classifier: DigitClassifier, photos: Photos) -> float:
    """The share of photographs whose digit the classifier names."""
    device = next(classifier.parameters()).device
    digits = torch.cat([classifier(scale(part.to(device))).argmax(1).cpu() for part in photos.images.split(500)])
    return (digits == photos.labels).float().mean().item()


@torch.no_grad()
def set_unit(classifier: DigitClassifier, images: torch.Tensor) -> None:
    """Scale penultimate features to a mean square of 1 over these images, and the layer after them back: KID's unit."""
    features = torch.cat([classifier.features(scale(part)) for part in images.split(500)])
    unit = features.square().mean().sqrt()
    for parameter in classifier.penultimate.parameters():
        parameter.div_(unit)
    classifier.digit.weight.mul_(unit)


def evaluate(run: RunDirectory, splits: Splits, _: ClassifierOptions, device: torch.device) -> None:
    """Print the accuracy of classifier.pt on what it was not trained on."""
    path = run.folder / weights.JUDGE.name
    valid, test = (accuracy(load_classifier(path)[0], part) for part in (splits.valid, splits.test))
    say(f"accuracy on the validation split {valid:.3f}, on the test split {test:.3f}; written to {path}")


def load(options: ClassifierOptions) -> Data:
    """The images of --data-file, in splits."""
    if options.data_file is None:
        raise UserError("name the images to train on by --data-file, an SVHN .mat file")
    splits = split(read_photos(options.data_file))
    return Data(splits, splits.train.name, splits.train.digest)


def main(argv: list[str] | None = None) -> int:
    """The command `python -m experiments.wgan.classifier`. Returns its exit code."""
    about = "Train a classifier of digits: the judge of question 3's images, or with another seed the guide."
    presets = {"tuned": ClassifierOptions()}
    return exit_code(run_experiment, argv, about=about, presets=presets, load=load, train=train, evaluate=evaluate)


if __name__ == "__main__":
    raise SystemExit(main())
