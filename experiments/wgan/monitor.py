"""What is followed while question 3 trains, always on the same noise and images: measures, samples, overfitting."""

from pathlib import Path

import torch

from experiments.wgan import explore, figures, measures
from experiments.wgan.classifier import load_classifier
from experiments.wgan.data import Splits, evenly_spaced
from model import Generator
from q2_solution import CriticFunction
from q3_samplers import scale


class Monitor:
    """What a generator and its critic are measured by at each checkpoint, on validation images."""

    def __init__(self, folder: Path, splits: Splits, samples: int, device: torch.device) -> None:
        """folder: of the figures. samples: generated images to measure."""
        self.folder, self.samples = folder, samples
        self.judge = load_classifier()[0].to(device)
        self.train, self.valid = (scale(evenly_spaced(part.images, 1000)).to(device) for part in splits[:2])
        self.features = measures.classify(self.judge, self.valid).features

    @torch.no_grad()
    def measure(self, step: int, generator: Generator, critic: CriticFunction) -> dict[str, float]:
        """Legible share and KID of samples, the critic's overfitting score, and their standard errors, by name."""
        images = explore.draw(generator, self.samples)
        path, title = self.folder / f"samples_{step:06d}.png", f"Generated images after {step:,} generator steps"
        figures.pictures({"": images[:36].unflatten(0, (6, 6))}, path, title)
        generated = measures.classify(self.judge, images)
        found = {
            "legible": measures.mean(generated.legible),
            "kernel_distance": measures.kernel_distance(self.features, generated.features),
            "overfitting": overfitting_score(*map(critic, (self.train, self.valid, images[: len(self.valid)]))),
        }
        errors = {f"{name}_stderr": estimate["stderr"] for name, estimate in found.items()}
        return {name: estimate["value"] for name, estimate in found.items()} | errors


def overfitting_score(train: torch.Tensor, valid: torch.Tensor, fake: torch.Tensor) -> measures.Estimate:
    """r_v = (E_train[f] - E_valid[f]) / (E_train[f] - E_Q[f]) from values of the critic f, (n,) each.

    0 for a critic that values unknown photographs as training images, 1 for one that values them as generated images
    (Karras et al. 2020, arXiv 2006.06676, equation 1). Standard error to first order.
    """
    (a, da), (b, db), (c, dc) = (measures.mean(values).values() for values in (train, valid, fake))
    score = (a - b) / (a - c)
    return {"value": score, "stderr": (((1 - score) * da) ** 2 + db**2 + (score * dc) ** 2) ** 0.5 / abs(a - c)}
