"""`python -m experiments.wgan.classifier`: train the digit classifier that judges question 3's images, or its guide."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import q3_samplers
from experiments.harness import main as harness
from experiments.harness import training
from experiments.harness.files import UserError
from experiments.harness.options import Options, file_path, option, to_record
from experiments.harness.run import RunDirectory
from experiments.wgan import measures, weights
from experiments.wgan.data import read_photos
from model import DigitClassifier

SHIFT = 2  # pixels, at most, by which training images are moved


@dataclass(frozen=True)
class ClassifierOptions(Options):
    """What the classifier can be asked for."""

    question = "classifier"

    run_dir: Path = option(Path("runs/classifier"), "where the run is recorded", scope="command")
    data_file: Path | None = option(None, "an SVHN .mat file, the first 80% of which are trained on", file_path, scope="place")
    dataset_digest: str = option("", "SHA-256 of the images", scope="record")
    epochs: int = option(14, "passes over the training images", scope="length")
    batch_size: int = option(64, "images per update")
    learning_rate: float = option(2e-3, "Adam's learning rate")


class Learner(training.Learner):
    """What training changes: the classifier, and its optimizer."""

    parts = ("classifier", "optimizer")

    def __init__(self, options: ClassifierOptions, photos: q3_samplers.Photos, device: torch.device) -> None:
        self.options = options
        self.images, self.labels = photos.images.to(device), photos.labels.to(device)
        layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}
        self.classifier = DigitClassifier().to(**layout)
        self.optimizer = torch.optim.Adam(self.classifier.parameters(), fused=True)

    def advance(self, epoch: int) -> dict[str, float]:
        """One pass over the images in a new order, each shifted anew. Returns the mean cross-entropy, in nats."""
        self.classifier.train()
        options, total = self.options, torch.zeros((), device=self.images.device)
        batches = torch.randperm(len(self.images)).to(self.images.device).split(options.batch_size)
        for step, rows in enumerate(batches, start=(epoch - 1) * len(batches)):
            steps = options.epochs * len(batches)
            training.set_learning_rate(self.optimizer, options.learning_rate, step, steps, options.schedule)
            x = shift(q3_samplers.scale(self.images[rows])).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(self.classifier(x), self.labels[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(rows)
        self.classifier.eval()
        return {"cross_entropy": total.item() / len(self.images)}


def shift(x: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to SHIFT pixels in both directions, its edge repeated."""
    padded = F.pad(x, [SHIFT] * 4, mode="replicate")
    corners = torch.randint(2 * SHIFT + 1, (len(x), 2)).tolist()
    return torch.stack([image[:, top : top + 32, left : left + 32] for image, (top, left) in zip(padded, corners)])


@torch.no_grad()
def set_unit(classifier: DigitClassifier, images: torch.Tensor) -> None:
    """Scale the penultimate features to a mean square of 1 over these images; the layer after them makes up for it.

    So the unit of a kernel distance is a property of the classifier, not of the images compared. ReLU lets a factor
    through.
    """
    features = torch.cat([classifier.features(q3_samplers.scale(part)) for part in images.split(500)])
    unit = features.square().mean().sqrt()
    for parameter in classifier.penultimate.parameters():
        parameter.div_(unit)
    classifier.digit.weight.mul_(unit)


def train(run: RunDirectory, blocks: q3_samplers.Blocks, options: ClassifierOptions, device: torch.device) -> None:
    """Train as `options` say, from run's checkpoint if there is one; then write classifier.pt."""
    torch.manual_seed(options.seed)
    learner, name = Learner(options, blocks.train, device), blocks.train.name

    def measure(epoch: int) -> dict[str, float]:
        return {"accuracy": measures.accuracy(learner.classifier, blocks.valid)}

    training.fit(learner, run, options, device, run.resume(options), {"dataset": name}, measure=measure)
    set_unit(learner.classifier.eval(), learner.images)
    origin = {**to_record(options), "dataset": name, "images": [0, len(blocks.train.images) - 1]}
    origin["seen"] = weights.seen(blocks.train.images, [])
    del origin["data_file"]  # where it lay says nothing about the weights
    weights.save(run.folder / weights.CLASSIFIER.name, {"classifier": learner.classifier}, origin)


def evaluate(run: RunDirectory, blocks: q3_samplers.Blocks, _: ClassifierOptions, device: torch.device) -> None:
    """Print the accuracy of classifier.pt on what it was not trained on."""
    path = run.folder / weights.CLASSIFIER.name
    valid, test = (measures.accuracy(weights.load_classifier(path)[0], block) for block in (blocks.valid, blocks.test))
    print(f"accuracy on the validation block {valid:.3f}, on the test block {test:.3f}; written to {path}")


def load(options: ClassifierOptions) -> harness.Data:
    """The images of --data-file, in blocks."""
    if options.data_file is None:
        raise UserError("name the images to train on by --data-file, an SVHN .mat file")
    blocks = q3_samplers.in_blocks(read_photos(options.data_file))
    return harness.Data(blocks, blocks.train.name, {"dataset_digest": blocks.train.digest})


DESCRIPTION = "Train a classifier of digits: the judge of question 3's images, or with another seed the guide."
EXPERIMENT = harness.Experiment(DESCRIPTION, {"tuned": ClassifierOptions()}, load, train, evaluate)

if __name__ == "__main__":
    raise SystemExit(harness.main(EXPERIMENT))
