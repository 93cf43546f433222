"""`python -m experiments.classifier`: train the classifier of digits that judges question 3's images."""

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from tqdm import tqdm

import q3_samplers
from experiments import measures, weights
from experiments.options import UserError, command, file_path, positive_integer
from model import DigitClassifier

BATCH_SIZE = 64
LEARNING_RATE = 2e-3
SHIFT = 2  # pixels, at most


def train(images: torch.Tensor, digits: torch.Tensor, epochs: int, seed: int) -> DigitClassifier:
    """Adam on the cross-entropy, its rate along half a cosine down to 0; each image shifted anew at every epoch.

    images: uint8 (n, 3, 32, 32). digits: (n,), 0 to 9. Returns the classifier, in evaluation mode.
    """
    torch.manual_seed(seed)
    layout: dict[str, Any] = {"memory_format": torch.channels_last}
    classifier = DigitClassifier().to(**layout)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=LEARNING_RATE, fused=True)
    steps = epochs * -(-len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with tqdm(total=steps, desc="classifier", leave=False, disable=None) as progress:
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(BATCH_SIZE):
                x = shift(q3_samplers.scale(images[rows])).contiguous(memory_format=torch.channels_last)
                loss = F.cross_entropy(classifier(x), digits[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update()
    set_unit(classifier.eval(), images)
    return classifier


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


def shift(x: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to SHIFT pixels in both directions, its edge repeated."""
    padded = F.pad(x, [SHIFT] * 4, mode="replicate")
    corners = torch.randint(2 * SHIFT + 1, (len(x), 2)).tolist()
    return torch.stack([image[:, top : top + 32, left : left + 32] for image, (top, left) in zip(padded, corners)])


def _main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(description="Train the classifier that judges question 3's images.")
    parser.add_argument("--data-file", type=file_path, required=True, help="an SVHN .mat file; its first 80%% are trained on")
    parser.add_argument("--epochs", type=positive_integer, default=14, help="passes over the training images (14)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and shifts (0)")
    parser.add_argument("--out", type=file_path, default=weights.CLASSIFIER, help=f"where it goes ({weights.CLASSIFIER.name})")
    how = parser.parse_args(argv)
    try:
        photos = q3_samplers.svhn(how.data_file)
    except (OSError, ValueError) as error:
        raise UserError(error) from error
    blocks = q3_samplers.in_blocks(photos)
    classifier = train(blocks.train.images, blocks.train.labels, how.epochs, how.seed)
    origin = {"dataset": photos.name, "dataset_digest": photos.digest, "epochs": how.epochs, "seed": how.seed}
    weights.save(how.out, "classifier", classifier, origin, torch.float16)  # half the size; it names the same digits
    classifier, _ = weights.load_classifier(how.out)
    valid, test = (measures.accuracy(classifier, block) for block in blocks[1:])
    print(f"accuracy on valid {valid:.3f}, on test {test:.3f}; written to {how.out}")


if __name__ == "__main__":
    raise SystemExit(command(_main))
