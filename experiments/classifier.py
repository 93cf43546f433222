"""`python -m experiments.classifier`: train the classifier of digits that judges question 3's images."""

if __name__ == "__main__":
    from experiments import interrupt

    interrupt.end_at_once()  # until the command is at work

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import q3_samplers
from experiments import measures, training, weights
from experiments.errors import words_of
from experiments.files import check_file
from experiments.options import Options, UserError, command, file_path, new_options, option, parse, to_record
from experiments.run import RunDirectory
from model import DigitClassifier

SHIFT = 2  # pixels, at most


@dataclass(frozen=True)
class ClassifierOptions(Options):
    """What the classifier can be asked for."""

    question = "classifier"

    run_dir: Path = option(Path("runs/classifier"), "where the run is recorded", scope="command")
    data_file: Path | None = option(None, "an SVHN .mat file, the first 80% of which are trained on", file_path, scope="place")
    dataset_digest: str = option("", "SHA-256 of the images", scope="record")
    epochs: int = option(14, "passes over the training images", scope="length")
    batch_size: int = option(64, "images a step")
    learning_rate: float = option(2e-3, "of Adam")


class Learner:
    """What training changes: the classifier, and its optimizer."""

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
            rate = training.learning_rate_at(step, steps, options.learning_rate, options.schedule)
            training.set_learning_rate(self.optimizer, rate)
            x = shift(q3_samplers.scale(self.images[rows])).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(self.classifier(x), self.labels[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(rows)
        self.classifier.eval()
        return {"cross_entropy": total.item() / len(self.images)}

    def first_not_finite(self) -> str | None:
        return training.first_not_finite({"classifier": self.classifier})

    def state_dict(self) -> dict[str, Any]:
        return {"classifier": self.classifier.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.classifier.load_state_dict(state["classifier"])
        self.optimizer.load_state_dict(state["optimizer"])


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
    learner = Learner(options, blocks.train, device)
    classifier = learner.classifier
    training.fit(
        learner,
        run,
        options,
        device,
        state=run.resume(options),
        label={"dataset": blocks.train.name},
        measure=lambda epoch: {"accuracy": measures.accuracy(classifier, blocks.valid)},
    )
    set_unit(classifier.eval(), learner.images)
    path = run.folder / weights.CLASSIFIER.name
    origin = {**to_record(options), "dataset": blocks.train.name, "images": [0, len(blocks.train.images) - 1]}
    origin["seen"] = weights.seen(blocks.train.images, [])
    del origin["data_file"]  # where it lay says nothing about the weights
    weights.save(path, {"classifier": classifier}, origin)
    classifier, _ = weights.load_classifier(path)
    valid, test = (measures.accuracy(classifier, block) for block in (blocks.valid, blocks.test))
    print(f"accuracy on the validation block {valid:.3f}, on the test block {test:.3f}; written to {path}")


def _main(argv: list[str] | None) -> None:
    presets = {"tuned": ClassifierOptions(), "handout": ClassifierOptions(preset="handout")}
    named = parse(argv, "Train the classifier that judges question 3's images.", presets)
    asked = new_options(named, presets)
    device = training.choose_device(asked.device)
    with RunDirectory(asked.run_dir) as run:
        options = run.resumed(asked, named, device, lengthen=True) if asked.resume else None
        path = (options or asked).data_file
        if path is None:
            raise UserError("name the images to train on by --data-file, an SVHN .mat file")
        try:
            check_file(path)
            blocks = q3_samplers.in_blocks(q3_samplers.svhn(path))
        except (OSError, ValueError) as error:
            raise UserError(words_of(error)) from error
        if options is None:
            options = replace(asked, dataset_digest=blocks.train.digest)
            run.begin(options, device)
        elif blocks.train.digest != options.dataset_digest:
            raise UserError(f"{run.folder} was trained on other images than {path} holds now; name them by --data-file")
        train(run, blocks, options, device)


if __name__ == "__main__":
    raise SystemExit(command(_main))
