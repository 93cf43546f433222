"""Questions 3.1 to 3.3: what a trained generator draws, what directions in its latent space do, ways between images."""

from typing import NamedTuple

import torch
from torch import nn

from experiments import EVALUATION_SEED
from experiments.wgan import measures
from experiments.wgan.classifier import DigitClassifier
from experiments.wgan.measures import Classified, Estimate
from model import Generator
from q3_solution import interpolate, interpolate_spherical, singular_directions

PATHS = ("latent", "spherical", "data")  # ways between two images: see along_paths


@torch.no_grad()
def images_of(generator: Generator, z: torch.Tensor) -> torch.Tensor:
    """What the generator makes of latents z (..., z_dim), each by itself: (..., 3, 32, 32) in [-1, 1]."""
    was_training = generator.training
    generator.eval()  # batch normalisation by its running statistics
    device = next(generator.parameters()).device
    images = torch.cat([generator(part.to(device)) for part in z.flatten(0, -2).split(50)])
    generator.train(was_training)
    return images.view(*z.shape[:-1], *images.shape[1:])


def latents(generator: Generator, *shape: int, seed: int = EVALUATION_SEED) -> torch.Tensor:
    """Draws from the prior, (*shape, z_dim), the same ones for the same seed and shape on every device."""
    return torch.randn(*shape, generator.z_dim, generator=torch.Generator().manual_seed(seed))


def draw(generator: Generator, n: int) -> torch.Tensor:
    """n images from the prior, the same ones for the same weights."""
    return images_of(generator, latents(generator, n))


def compare(reference: Classified, images: Classified, block: int = 1) -> dict[str, Estimate]:
    """Measures of images against those of `reference`: name to estimate. block: see measures.mean."""
    return {
        "legible": measures.legible(images, block),
        "kernel_distance": measures.kernel_distance(reference.features, images.features),
        "coverage": measures.coverage(reference.features, images.features),
    }


class Effects(NamedTuple):
    """What each of m moves of latents does to images: averages over latents, and their standard errors, (m,) each.

    digit: the share of images whose digit, as classified, changes. colour: RMS change of the mean colour, in [0, 2].
    """

    digit: torch.Tensor
    digit_stderr: torch.Tensor
    colour: torch.Tensor
    colour_stderr: torch.Tensor


def effects(generator: Generator, classifier: DigitClassifier, z: torch.Tensor, moved: torch.Tensor) -> Effects:
    """Compare the images of latents z (n, z_dim) with those of the same latents moved in m ways, (m, n, z_dim)."""

    def described(latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = images_of(generator, latents)
        return measures.classify(classifier, images).digits, images.mean((2, 3))

    digits, colours = described(z)
    rows = []
    for latents in moved:
        digits_after, colours_after = described(latents)
        digit = measures.mean(digits_after != digits)
        square = measures.mean((colours_after - colours).square().mean(1))
        colour = square.value**0.5
        rows.append((*digit, colour, square.stderr / (2 * colour) if colour else 0.0))  # d sqrt(s) = ds / (2 sqrt(s))
    return Effects(*torch.tensor(rows).T)


@torch.no_grad()
def directions(generator: Generator) -> torch.Tensor:
    """The singular directions of the generator's first layer and the batch normalisation behind it, (z_dim, z_dim)."""
    convolution, norm = generator.decoder[0], generator.decoder[1]
    assert (
        isinstance(convolution, nn.ConvTranspose2d)
        and isinstance(norm, nn.BatchNorm2d)
        and norm.running_var is not None
    )
    return singular_directions(convolution.weight, norm.weight / (norm.running_var + norm.eps).sqrt()).cpu()


def typical(generator: Generator, classifier: DigitClassifier, z: torch.Tensor) -> torch.Tensor:
    """Of latents z (n, z_dim) those at the upper quartile and the median of the classifier's confidence, (2, z_dim)."""
    confidence = measures.classify(classifier, images_of(generator, z)).probabilities.amax(1).cpu()
    return z[confidence.argsort(descending=True)[[len(z) // 4, len(z) // 2]]]


def walk(generator: Generator, z: torch.Tensor, directions: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Move latents z (n, z_dim) along each of directions (m, z_dim) by each of steps: (n, m, steps, 3, 32, 32)."""
    moves = steps.view(-1, 1) * directions.unsqueeze(1)  # (m, steps, z_dim)
    return images_of(generator, z.view(len(z), 1, 1, -1) + moves)


class Along(NamedTuple):
    """What lies on ways between images, by name of the way: see along_paths.

    images: of the first pairs, (alphas, shown, 3, 32, 32). legible: by alpha. lengths: of latents, (alphas, pairs).
    """

    images: dict[str, torch.Tensor]
    legible: dict[str, list[Estimate]]
    lengths: dict[str, torch.Tensor]


def along_paths(
    generator: Generator, classifier: DigitClassifier, alpha: torch.Tensor, pairs: int, shown: int
) -> Along:
    """Join pairs of draws z0, z1 from the prior in three ways, the same draws for the same weights.

    latent: g(alpha z0 + (1 - alpha) z1). spherical: g of the arc. data: alpha g(z0) + (1 - alpha) g(z1).
    """
    z0, z1 = latents(generator, 2, pairs, seed=EVALUATION_SEED + 1)
    x0, x1 = images_of(generator, z0), images_of(generator, z1)
    lines = {"latent": interpolate(z0, z1, alpha), "spherical": interpolate_spherical(z0, z1, alpha)}
    images: dict[str, list[torch.Tensor]] = {name: [] for name in PATHS}
    legible: dict[str, list[Estimate]] = {name: [] for name in PATHS}
    for step, fraction in enumerate(alpha):
        for name in PATHS:
            x = (
                images_of(generator, lines[name][step])
                if name in lines
                else interpolate(x0, x1, fraction.to(x0.device))[0]
            )
            images[name].append(x[:shown].clone())  # not the rest with it
            legible[name].append(measures.legible(measures.classify(classifier, x)))
    lengths = {name: line.norm(dim=-1) for name, line in lines.items()}
    return Along({name: torch.stack(parts) for name, parts in images.items()}, legible, lengths)
