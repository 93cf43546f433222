"""Questions 3.1 to 3.3: what a trained generator draws, what its latent dimensions do, the ways between its images."""

from typing import NamedTuple

import torch

from experiments import measures
from experiments.measures import Estimate
from model import DigitClassifier, Generator
from q3_solution import interpolate, interpolate_spherical, perturb, singular_directions

EVALUATION_SEED = 2**31  # apart from the seeds people train with
SAMPLES = 5000  # generated images that are measured
REPEATS = 10  # of the sliced Wasserstein distance, with other images, places of patches and directions
LATENTS = 64  # at which the effect of a dimension is averaged
PAIRS = 200  # of latents, between which legibility is followed along a path


@torch.no_grad()
def images_of(generator: Generator, z: torch.Tensor) -> torch.Tensor:
    """What the generator makes of latents z (..., z_dim), each by itself: (..., 3, 32, 32) in [-1, 1]."""
    was_training = generator.training
    generator.eval()  # batch normalisation by its running statistics
    device = next(generator.parameters()).device
    images = torch.cat([generator(part.to(device)) for part in z.flatten(0, -2).split(250)])
    generator.train(was_training)
    return images.view(*z.shape[:-1], *images.shape[1:])


def latents(generator: Generator, *shape: int, seed: int = EVALUATION_SEED) -> torch.Tensor:
    """Draws from the prior, (*shape, z_dim), the same ones for the same seed and shape on every device."""
    return torch.randn(*shape, generator.z_dim, generator=torch.Generator().manual_seed(seed))


def draw(generator: Generator, n: int) -> torch.Tensor:
    """n images from the prior, the same ones for the same weights."""
    return images_of(generator, latents(generator, n))


def compare(real: torch.Tensor, images: torch.Tensor, classifier: DigitClassifier) -> dict:
    """Measures of `images` against `real`, both (n, 3, 32, 32) in [-1, 1]: name to value, name_stderr to its error.

    The sliced Wasserstein distance is averaged over REPEATS draws of as many of `images` as there are real ones; its
    `_spread` is the standard deviation over these.
    """
    seen_real, seen = (measures.look(classifier, part) for part in (real, images))
    estimates = {
        "legible": measures.legible(seen),
        "kernel_distance": measures.kernel_distance(seen_real.features, seen.features),
        "coverage": measures.coverage(seen_real.features, seen.features),
    }
    distances = torch.tensor([_sliced_wasserstein(real, images, repeat) for repeat in range(REPEATS)])  # (REPEATS, SCALES)
    return {
        **{name: estimate.value for name, estimate in estimates.items()},
        **{f"{name}_stderr": estimate.stderr for name, estimate in estimates.items()},
        "digit_shares": measures.digit_shares(seen),
        "sliced_wasserstein": distances.mean().item(),
        "sliced_wasserstein_spread": distances.mean(1).std().item(),
        "sliced_wasserstein_by_scale": dict(zip(map(str, measures.SCALES), distances.mean(0).tolist())),
        "num_images": len(images),
    }


def _sliced_wasserstein(real: torch.Tensor, images: torch.Tensor, seed: int) -> list[float]:
    """The distance scale by scale between equally many of both, drawn anew for each seed where there are more."""
    n = min(len(real), len(images))
    generator = torch.Generator().manual_seed(seed)
    x, y = (part[torch.randperm(len(part), generator=generator)[:n].to(part.device)] for part in (real, images))
    return measures.sliced_wasserstein(x, y, seed)


class Dimensions(NamedTuple):
    """What moving each latent dimension by epsilon does to an image, (z_dim,): averages over LATENTS images.

    change: root mean square over pixels. colour: the same of the image's mean colour. digit: the share of images that
    the classifier takes for another digit than before. agreement: the mean cosine between the changes of two images, 1
    for a dimension that does the same everywhere.
    """

    change: torch.Tensor
    colour: torch.Tensor
    digit: torch.Tensor
    agreement: torch.Tensor


def dimensions(generator: Generator, epsilon: float, classifier: DigitClassifier) -> Dimensions:
    """Move each latent dimension by itself, at LATENTS draws from the prior."""
    z = latents(generator, LATENTS)
    before, after = images_of(generator, z), images_of(generator, perturb(z, epsilon))  # (z_dim, LATENTS, 3, 32, 32)
    digits_before, digits_after = (
        measures.look(classifier, images.flatten(0, -4)).probabilities.argmax(1).view(images.shape[:-3])
        for images in (before, after)
    )
    change = after - before
    direction = torch.nn.functional.normalize(change.flatten(2), dim=-1)
    return Dimensions(
        change=change.square().mean((1, 2, 3, 4)).sqrt(),
        colour=change.mean((3, 4)).square().mean((1, 2)).sqrt(),
        digit=(digits_after != digits_before).float().mean(1),
        agreement=(direction.sum(1).square().sum(-1) - LATENTS) / (LATENTS * (LATENTS - 1)),
    )


@torch.no_grad()
def directions(generator: Generator) -> torch.Tensor:
    """The singular directions of the generator's first layer and the batch normalisation behind it, (z_dim, z_dim)."""
    convolution, norm = generator.decoder[:2]
    return singular_directions(convolution.weight, norm.weight / (norm.running_var + norm.eps).sqrt())


def typical(generator: Generator, classifier: DigitClassifier) -> torch.Tensor:
    """Of LATENTS draws, those at the quartiles of the classifier's confidence, the surest first, (3, z_dim)."""
    z = latents(generator, LATENTS)
    confidence = measures.look(classifier, images_of(generator, z)).probabilities.amax(1)
    return z[confidence.argsort(descending=True)[[LATENTS // 4, LATENTS // 2, 3 * LATENTS // 4]]]


def walk(generator: Generator, z: torch.Tensor, which: list[int], steps: torch.Tensor) -> torch.Tensor:
    """Images of z (n, z_dim), each dimension of `which` moved by each of `steps`: (which, n, steps, 3, 32, 32)."""
    return images_of(generator, torch.stack([perturb(z, step)[which] for step in steps], dim=2))


class Paths(NamedTuple):
    """The ways between images g(z0) and g(z1), at each alpha: images (alphas, pairs, 3, 32, 32), and latents.

    latent: g of the straight line between the latents. data: the straight line between the images. spherical: g of the
    arc.
    """

    latent: torch.Tensor
    data: torch.Tensor
    spherical: torch.Tensor
    straight_latents: torch.Tensor
    arc_latents: torch.Tensor


def paths(generator: Generator, alpha: torch.Tensor, pairs: int) -> Paths:
    """Join `pairs` pairs of draws from the prior, the same ones for the same weights, in three ways."""
    z0, z1 = latents(generator, 2, pairs, seed=EVALUATION_SEED + 1)
    straight, arc = interpolate(z0, z1, alpha), interpolate_spherical(z0, z1, alpha)  # (alphas, pairs, z_dim)
    ends = images_of(generator, z0), images_of(generator, z1)
    return Paths(
        latent=images_of(generator, straight),
        data=interpolate(*ends, alpha.to(ends[0].device)),
        spherical=images_of(generator, arc),
        straight_latents=straight,
        arc_latents=arc,
    )


def legible_along(classifier: DigitClassifier, images: torch.Tensor) -> list[Estimate]:
    """The legible share at each alpha of a path's images (alphas, pairs, 3, 32, 32)."""
    return [measures.legible(measures.look(classifier, part)) for part in images]
