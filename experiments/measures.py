"""Images in, numbers out: how good generated images are beside real ones, each number with its standard error.

Three of them look through the eyes of a classifier of digits (model.DigitClassifier): at its confidence and at its
penultimate features. They compare with each other, not with numbers measured through another network.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from model import DigitClassifier
from q3_samplers import Photos, scale

CONFIDENT = 0.9  # probability of a digit from which on an image counts as legible
NEIGHBOURS = 5  # k of coverage
SCALES = (32, 16, 8)  # pixels on a side, of the sliced Wasserstein distance
PATCH = 7  # pixels on a side
PATCHES = 16  # of each image
DIRECTIONS = 128


class Estimate(NamedTuple):
    """A number measured on a sample, and its standard error."""

    value: float
    stderr: float


class Seen(NamedTuple):
    """What the classifier makes of n images: penultimate features (n, 128) and probabilities of the digits (n, 10)."""

    features: torch.Tensor
    probabilities: torch.Tensor


@torch.no_grad()
def look(classifier: DigitClassifier, images: torch.Tensor) -> Seen:
    """Show the classifier images (n, 3, 32, 32) in [-1, 1], a part at a time."""
    device = next(classifier.parameters()).device
    features = torch.cat([classifier.features(part.to(device)) for part in images.split(500)])
    return Seen(features, classifier.digit(features).softmax(1))


def accuracy(classifier: DigitClassifier, photos: Photos) -> float:
    """The share of photographs whose digit the classifier names."""
    named = look(classifier, scale(photos.images)).probabilities.argmax(1).cpu()
    return (named == photos.labels).float().mean().item()


def legible(seen: Seen) -> Estimate:
    """The share of images that show one digit with a probability above CONFIDENT. Binomial standard error."""
    share = (seen.probabilities.amax(1) > CONFIDENT).float().mean().item()
    return Estimate(share, (share * (1 - share) / len(seen.probabilities)) ** 0.5)


def digit_shares(seen: Seen) -> list[float]:
    """How the images spread over the ten digits, by the likeliest digit of each."""
    return (torch.bincount(seen.probabilities.argmax(1), minlength=10) / len(seen.probabilities)).tolist()


def kernel_distance(real: torch.Tensor, fake: torch.Tensor) -> Estimate:
    """1000 MMD^2(P, Q) = 1000 (E k(x, x') + E k(y, y') - 2 E k(x, y)), k(x, y) = (x . y / d + 1)^3, the KID.

    real, fake: features x of P (n, d) and y of Q (m, d), n, m >= 2. Returns the unbiased U-statistic, around 0 and
    possibly below it for equal distributions (Binkowski et al. 2018, arXiv 1801.01401, section 4), and its standard
    error to first order: the variance over samples of what each contributes (Hoeffding's projection), 4 Var_x / n + 4
    Var_y / m.
    """
    within_real, within_fake = (_without_itself(_kernel(x, x)) for x in (real, fake))
    across = _kernel(real, fake)
    of_real, of_fake = within_real - across.mean(1), within_fake - across.mean(0)
    variance = 4 * (of_real.var() / len(real) + of_fake.var() / len(fake))
    return Estimate(1000 * (of_real.mean() + of_fake.mean()).item(), 1000 * variance.sqrt().item())


def _kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def _without_itself(kernel: torch.Tensor) -> torch.Tensor:
    """The mean of each row of a square matrix (n, n) over all but its diagonal."""
    return (kernel.sum(1) - kernel.diagonal()) / (len(kernel) - 1)


def coverage(real: torch.Tensor, fake: torch.Tensor) -> Estimate:
    """The share of real images that have a generated one nearer than their k-th nearest real one, k = NEIGHBOURS.

    real: features (n, d). fake: (m, d), taken as m // n sets of n, over which the share is averaged: it depends on how
    many there are. About 0.97 for equal distributions (Naeem et al. 2020, arXiv 2002.09797, section 3). The standard
    error is that of a mean over the real images.
    """
    n = len(real)
    radius = torch.cdist(real, real).topk(NEIGHBOURS + 1, largest=False).values[:, -1]  # the nearest is the image itself
    sets = fake[: len(fake) // n * n].split(n)
    covered = torch.stack([torch.cdist(real, part).amin(1) < radius for part in sets]).float().mean(0)  # (n,)
    return Estimate(covered.mean().item(), (covered.std() / n**0.5).item())


def nearest(images: torch.Tensor, training: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The training image nearest to each image: its root-mean-square difference over pixels and its row, each (n,)."""
    distances, rows = torch.cdist(images.flatten(1), training.flatten(1)).min(1)
    return distances / images[0].numel() ** 0.5, rows


@torch.no_grad()
def sliced_wasserstein(real: torch.Tensor, fake: torch.Tensor, seed: int = 0) -> list[float]:
    """1000 times the mean over random directions of W1 between the projected patches of two sets, scale by scale.

    Karras et al. 2018 (arXiv 1710.10196, section 5) with two changes for images of 32 x 32: a third, coarser scale of 8
    x 8, and both sets standardised by the statistics of the first, so that a difference in brightness, colour or
    contrast counts.

    real, fake: (n, 3, 32, 32), equally many. seed: of the patches' places, which are the same in both sets, and the
    directions. Returns one float for each of SCALES, at least 0, and 0 for equal sets, in thousandths of the standard
    deviation of a channel of `real` at that scale. ValueError if the shapes differ.
    """
    if real.shape != fake.shape:
        raise ValueError(f"real has shape {tuple(real.shape)} but fake has shape {tuple(fake.shape)}")
    distances = []
    generator = torch.Generator().manual_seed(seed)
    for x, y in zip(laplacian_pyramid(real), laplacian_pyramid(fake)):
        std, mean = torch.std_mean(x, dim=(0, 2, 3), keepdim=True)
        corners = torch.randint(x.shape[-1] - PATCH + 1, (2, len(x), PATCHES), generator=generator).to(x.device)
        directions = F.normalize(torch.randn(3 * PATCH**2, DIRECTIONS, generator=generator), dim=0).to(x.device)
        p, q = (patches((images - mean) / std, corners) @ directions for images in (x, y))  # (n * PATCHES, DIRECTIONS)
        u, v = (np.sort(projected.t().cpu().numpy().copy()) for projected in (p, q))  # 7 times as fast as torch.sort
        distances.append(1000 * float(np.abs(u - v).mean()))
    return distances


def laplacian_pyramid(images: torch.Tensor) -> list[torch.Tensor]:
    """Images (n, 3, 32, 32) split by frequency: a set for each of SCALES, detail first, the rest last."""
    pyramid = []
    for _ in SCALES[1:]:
        half = F.avg_pool2d(_blur(images), 2)
        pyramid.append(images - F.interpolate(half, scale_factor=2, mode="bilinear"))
        images = half
    return [*pyramid, images]


def patches(images: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """The square patches of images (n, c, s, s) at the top left corners (2, n, k). Returns (n * k, c * PATCH**2)."""
    (n, c, size, _), k = images.shape, corners.shape[-1]
    offsets = torch.arange(PATCH, device=images.device)
    rows, columns = (corner.unsqueeze(-1) + offsets for corner in corners)  # (n, k, PATCH) each
    places = (rows.unsqueeze(-1) * size + columns.unsqueeze(-2)).view(n, 1, -1).expand(n, c, -1)
    return images.flatten(2).gather(2, places).view(n, c, k, -1).transpose(1, 2).reshape(n * k, -1)


def _blur(images: torch.Tensor) -> torch.Tensor:
    binomial = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16
    kernel = (binomial.unsqueeze(1) * binomial).expand(images.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=images.shape[1])
