"""Question 3.2: what a generator draws, and what directions in its latent space change."""

import torch
from torch import nn

from experiments import EVALUATION_SEED
from experiments.wgan.classifier import DigitClassifier
from experiments.wgan.measures import classify, mean
from model import Generator
from q3_solution import singular_directions

USES = ("training", "samples", "directions", "dials", "pairs", "basis")  # of random numbers, each with its own seed
MEASURES = ("digit", "digit_of_legible", "luminance", "chroma", "polarity")  # of a move's effect: see changes


@torch.no_grad()
def images_of(generator: Generator, z: torch.Tensor) -> torch.Tensor:
    """What the generator makes of latents z (..., z_dim), each by itself: (..., 3, 32, 32) in [-1, 1]."""
    was_training = generator.training
    generator.eval()  # batch normalisation by its running statistics
    device = next(generator.parameters()).device
    images = torch.cat([generator(part.to(device)) for part in z.flatten(0, -2).split(50)])
    generator.train(was_training)
    return images.view(*z.shape[:-1], *images.shape[1:])


def latents(generator: Generator, *shape: int, use: str) -> torch.Tensor:
    """Draws from the prior, (*shape, z_dim), the same for one of USES and one shape in every run, on every device."""
    seed = EVALUATION_SEED + USES.index(use)
    return torch.randn(*shape, generator.z_dim, generator=torch.Generator().manual_seed(seed))


def draw(generator: Generator, n: int, use: str = "training") -> torch.Tensor:
    """n images from the prior, (n, 3, 32, 32), the same for the same weights and use."""
    return images_of(generator, latents(generator, n, use=use))


@torch.no_grad()
def directions(generator: Generator) -> torch.Tensor:
    """The singular directions of the generator's first layer and the batch normalisation behind it, (z_dim, z_dim)."""
    convolution, norm = generator.decoder[0], generator.decoder[1]
    assert isinstance(convolution, nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    return singular_directions(convolution.weight, norm.weight / (norm.running_var + norm.eps).sqrt()).cpu()


def changes(generator: Generator, judge: DigitClassifier, z: torch.Tensor, moves: torch.Tensor) -> dict:
    """What each of moves (m, z_dim) changes in the images of latents z (n, z_dim): measure to (m, n).

    digit: whether the digit changes, as classified; digit_of_legible: the same, (m, of them), where the image is
    legible before the move (zeros if fewer than two are). luminance: of the mean grey; chroma: of the mean colour less
    its grey; pixels: squared change, summed over colours and pixels. polarity: whether the skewness of the grey values
    changes its sign, as it does when light strokes become dark ones, since strokes are the minority of pixels.
    """

    def appearance(z: torch.Tensor) -> dict[str, torch.Tensor]:
        images = images_of(generator, z)
        colour, grey = images.mean((2, 3)), images.mean(1).flatten(1)
        luminance = colour.mean(1, keepdim=True)
        polarity = (grey - luminance).pow(3).mean(1) > 0
        squared = {"luminance": luminance, "chroma": colour - luminance, "pixels": images.flatten(1)}
        return squared | {"digit": classify(judge, images).digits, "polarity": polarity}

    before, rows = appearance(z), []
    for move in moves:
        pairs = {name: (value, before[name]) for name, value in appearance(z + move).items()}
        rows.append({name: (a - b).square().sum(1) if a.dim() > 1 else a != b for name, (a, b) in pairs.items()})
    found = {name: torch.stack([row[name] for row in rows]).float().cpu() for name in rows[0]}
    legible = classify(judge, images_of(generator, z)).legible.cpu()
    return found | {"digit_of_legible": found["digit"][:, legible] if legible.sum() > 1 else torch.zeros(len(moves), 2)}


def effects(changed: dict[str, torch.Tensor]) -> dict[str, dict]:
    """Of `changes`, by move, shares of images and root mean squares of luminance and chroma, and their mean over moves.

    Standard errors are over latents. share_of_pixel_change_in_ten: the share of all squared change of pixels that the
    ten moves with most of it have, 10 / m if all have the same.
    """
    found: dict[str, dict] = {}
    for name in MEASURES:
        values = changed[name]
        by_move = values.mean(1, keepdim=True)
        if name in ("luminance", "chroma"):
            by_move = by_move.sqrt()
            values = values / (2 * by_move).clamp(min=1e-9)  # to first order sqrt(s) varies by ds / (2 sqrt(s))
        stderr = values.std(1) / values.shape[1] ** 0.5
        found[name] = {"value": by_move.flatten().tolist(), "stderr": stderr.tolist()}
        found[name]["mean"] = {**mean(values.mean(0)), "value": by_move.mean().item()}
    pixels, total = changed["pixels"], changed["pixels"].sum(0)
    most = pixels[pixels.mean(1).topk(min(10, len(pixels))).indices].sum(0)
    share = (most.sum() / total.sum()).item()
    stderr_of_ratio = mean((most - share * total) / total.mean())["stderr"]  # to first order
    return found | {"share_of_pixel_change_in_ten": {"value": share, "stderr": stderr_of_ratio}}
