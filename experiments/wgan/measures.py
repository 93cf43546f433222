"""Images in, numbers out: how good generated images are beside photographs, each number with its standard error.

All but `nearest` rest on a classifier of digits (DigitClassifier): its confidence and its penultimate features.
They compare with each other, not with numbers measured through another network.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch

from experiments.wgan.classifier import DigitClassifier
from q3_samplers import scale

CONFIDENT = 0.9  # probability of a digit from which on an image counts as legible
NEIGHBOURS = 5  # k of coverage
CROPS = 10  # successive photographs that a standard error treats as one: they may be crops of one photograph
HALVES = 50  # random halves, from which coverage has its standard error


class Estimate(NamedTuple):
    """A number measured on a sample, and its standard error."""

    value: float
    stderr: float


class Classified(NamedTuple):
    """What the classifier makes of n images: penultimate features (n, 128) and probabilities of the digits (n, 10)."""

    features: torch.Tensor
    probabilities: torch.Tensor

    @property
    def digits(self) -> torch.Tensor:
        """The likeliest digit of each image, (n,)."""
        return self.probabilities.argmax(1)


@torch.no_grad()
def classify(classifier: DigitClassifier, images: torch.Tensor) -> Classified:
    """Classify images (n, 3, 32, 32), float in [-1, 1] or uint8 from 0 to 255, a part at a time."""
    device = next(classifier.parameters()).device
    parts = (
        scale(part) if part.dtype == torch.uint8 else part for part in images.split(50)
    )  # larger ones cost page faults
    layout = torch.channels_last  # in which convolutions are fastest
    features = torch.cat([classifier.features(part.to(device).contiguous(memory_format=layout)) for part in parts])
    return Classified(features, classifier.digit(features).softmax(1))


def mean(values: torch.Tensor, block: int = 1) -> Estimate:
    """The mean of values (n,), and its standard error from the means of successive blocks of so many values.

    A block larger than 1 is for photographs in the order of their file, whose neighbours are not independent.
    """
    blocks = values[: len(values) // block * block].float().view(-1, block).mean(1)
    return Estimate(values.float().mean().item(), (blocks.std() / len(blocks) ** 0.5).item())


def legible(images: Classified, block: int = 1) -> Estimate:
    """The share of images that show one digit with a probability above CONFIDENT. block: see mean."""
    return mean(images.probabilities.amax(1) > CONFIDENT, block)


def digit_shares(images: Classified, block: int = 1) -> list[Estimate]:
    """The share of each of the ten digits, by the likeliest digit of each image. block: see mean."""
    return [mean(images.digits == digit, block) for digit in range(10)]


def kernel_distance(real: torch.Tensor, fake: torch.Tensor) -> Estimate:
    """1000 MMD^2(P, Q) = 1000 (E k(x, x') + E k(y, y') - 2 E k(x, y)), k(x, y) = (x . y / d + 1)^3: KID (x 1000).

    real, fake: features x of P (n, d) and y of Q (m, d), n, m >= 2. Returns the unbiased U-statistic, possibly below 0
    (Binkowski et al. 2018, arXiv 1801.01401, section 4), and its standard error to first order, from what each sample
    contributes (Hoeffding's projection); where P is Q that is at least 1.4 times too large.
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
    many there are. About 0.97 for equal distributions (Naeem et al. 2020, arXiv 2002.09797, section 3).

    Images share radii and generated sets. So the standard error is the deviation over random halves of both, which vary
    about the whole as the whole does about the truth (delete-d jackknife with d = n / 2, Shao & Wu 1989).
    """
    n = len(real)
    within = torch.cdist(real, real)
    across = torch.stack([torch.cdist(real, part) for part in fake[: len(fake) // n * n].split(n)])  # (sets, n, n)

    def share(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        radius = (
            within[rows][:, rows].topk(NEIGHBOURS + 1, largest=False).values[:, -1]
        )  # the nearest is the image itself
        return (across[:, rows][:, :, columns].amin(2) < radius).float().mean()

    generator, everything = torch.Generator().manual_seed(0), torch.arange(n, device=real.device)

    def half() -> torch.Tensor:
        return torch.randperm(n, generator=generator)[: n // 2].to(real.device)

    halves = torch.stack([share(half(), half()) for _ in range(HALVES)])
    return Estimate(share(everything, everything).item(), halves.std().item())


def nearest(x: torch.Tensor, parts: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """For each of x (n, ...) the nearest of all images in `parts`: its root-mean-square difference and row, each (n,).

    parts: tensors (any number, ...), of pixels or of features as x is, so that a large set need not be there at once.
    """
    x, rows, before = x.flatten(1), torch.zeros(len(x), dtype=torch.long, device=x.device), 0
    distances = torch.full((len(x),), torch.inf, device=x.device)
    for part in parts:
        found, places = torch.cdist(x, part.flatten(1)).min(1)
        rows = torch.where(found < distances, places + before, rows)
        distances, before = torch.minimum(distances, found), before + len(part)
    return distances / x.shape[1] ** 0.5, rows
