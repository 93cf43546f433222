"""Images in, numbers out: how good generated images are beside photographs, each number with its standard error.

All but `nearest` and `two_sample` rest on a digit classifier (DigitClassifier): its confidence and its penultimate
features. Such numbers compare with each other, not with numbers measured through another network.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from experiments.wgan.classifier import DigitClassifier
from q3_samplers import scale

CONFIDENT = 0.9  # probability of a digit above which an image counts as legible
NEIGHBOURS = 5  # k of coverage
HALVES = 50  # random halves that give coverage its standard error
PERMUTATIONS = 400  # of two sets, that give the kernel distance between equal distributions

Estimate = dict[str, float]  # value: a number measured on a sample; stderr: its standard error


class Classified(NamedTuple):
    """What the classifier makes of n images: penultimate features (n, 128) and probabilities of the digits (n, 10)."""

    features: torch.Tensor
    probabilities: torch.Tensor

    @property
    def digits(self) -> torch.Tensor:
        """The likeliest digit of each image, (n,)."""
        return self.probabilities.argmax(1)

    @property
    def legible(self) -> torch.Tensor:
        """Whether an image shows one digit with a probability above CONFIDENT, (n,)."""
        return self.probabilities.amax(1) > CONFIDENT


@torch.no_grad()
def classify(classifier: DigitClassifier, images: torch.Tensor) -> Classified:
    """Classify images (n, 3, 32, 32), float in [-1, 1] or uint8 from 0 to 255, a part at a time."""
    device, layout = next(classifier.parameters()).device, torch.channels_last  # in which convolutions are fastest
    features = []
    for part in images.split(50):  # larger ones cost page faults
        x = scale(part) if part.dtype == torch.uint8 else part
        features.append(classifier.features(x.to(device).contiguous(memory_format=layout)))
    together = torch.cat(features)
    return Classified(together, classifier.digit(together).softmax(1))


def mean(values: torch.Tensor) -> Estimate:
    """The mean of values (n,), and its standard error."""
    values = values.float()
    return {"value": values.mean().item(), "stderr": (values.std() / len(values) ** 0.5).item()}


def kernel_distance(real: torch.Tensor, fake: torch.Tensor) -> Estimate:
    """1000 MMD^2(P, Q) = 1000 (E k(x, x') + E k(y, y') - 2 E k(x, y)), k(x, y) = (x . y / d + 1)^3: KID (x 1000).

    real, fake: features x of P (n, d) and y of Q (m, d), n, m >= 2. Returns the unbiased U-statistic, possibly below 0
    (Binkowski et al. 2018, arXiv 1801.01401, section 4), and its standard error to first order, from what each sample
    contributes (Hoeffding's projection); where P is Q that is at least 1.4 times too large: see kernel_distance_null.
    """
    across = _kernel(real, fake)
    within_real, within_fake = (_kernel(x, x).fill_diagonal_(0).sum(1) / (len(x) - 1) for x in (real, fake))
    of_real, of_fake = within_real - across.mean(1), within_fake - across.mean(0)
    variance = 4 * (of_real.var() / len(real) + of_fake.var() / len(fake))
    return {"value": 1000 * (of_real.mean() + of_fake.mean()).item(), "stderr": 1000 * variance.sqrt().item()}


def kernel_distance_null(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """KID (x 1000) between random divisions of all features into sets of the same sizes, (PERMUTATIONS,).

    Where P is Q, kernel_distance is one more draw of these (Gretton et al. 2012, JMLR 13, section 5).
    """
    n, m, features = len(real), len(fake), torch.cat([real, fake])
    kernel = _kernel(features, features).fill_diagonal_(0)
    ranks = torch.rand(PERMUTATIONS, n + m, generator=torch.Generator().manual_seed(0)).argsort(1).to(real.device)
    first = (ranks < n).T.double()  # (n + m, PERMUTATIONS), 1 for those that are taken as real
    rows = kernel @ first
    within_first, across = (first * rows).sum(0), ((1 - first) * rows).sum(0)
    within_second = kernel.sum() - within_first - 2 * across
    return 1000 * (within_first / (n * (n - 1)) + within_second / (m * (m - 1)) - 2 * across / (n * m))


def _kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x.double() @ y.double().T / x.shape[1] + 1).pow_(3)


def coverage(real: torch.Tensor, fake: torch.Tensor, other: torch.Tensor | None = None) -> Estimate:
    """The share of real images that have a generated one nearer than their k-th nearest real one, k = NEIGHBOURS.

    real: features (n, d). fake: (m, d), taken as m // n sets of n, over which the share is averaged: it depends on how
    many there are. 1 - (1/2)^k = 0.97 for equal distributions (Naeem et al. 2020, arXiv 2002.09797, section 3).
    other: (l, d), as fake; its share is subtracted, for the standard error of a difference.

    Images share radii and generated sets. So the standard error is the deviation over random halves of both, which vary
    about the whole as the whole does about the truth (delete-d jackknife with d = n / 2, Shao & Wu 1989).
    """
    n, within, generator = len(real), torch.cdist(real, real), torch.Generator().manual_seed(0)
    distances, found = [], []
    for images in (fake,) if other is None else (fake, other):
        sets = images[: len(images) // n * n].split(n)
        distances.append(torch.stack([torch.cdist(real, part) for part in sets]))  # (sets, n, n)
    for size in (n, *[n // 2] * HALVES):
        rows, columns = (torch.randperm(n, generator=generator)[:size].to(real.device) for _ in range(2))
        radius = within[rows][:, rows].topk(NEIGHBOURS + 1, largest=False).values[:, -1]  # the nearest is itself
        shares = [(across[:, rows][:, :, columns].amin(2) < radius).float().mean() for across in distances]
        found.append(shares[0] - sum(shares[1:]))
    return {"value": found[0].item(), "stderr": torch.stack(found[1:]).std().item()}


def two_sample(first: torch.Tensor, second: torch.Tensor, epochs: int = 15) -> Estimate:
    """The share of images that a small classifier, trained anew, assigns to the right one of two sets.

    0.5 if the sets have one distribution (Lopez-Paz & Oquab 2017, arXiv 1610.06545). first, second: (2 n, 3, 32, 32)
    uint8; trained on the first half of each, tested on the second, and the other way round. The standard error is over
    images, not over trainings.
    """
    images = scale(torch.stack([first, second])).unflatten(1, (2, -1))  # (set, half, n, 3, 32, 32)
    halves, right = images.transpose(0, 1).flatten(1, 2), []
    labels = torch.arange(2, device=images.device).repeat_interleave(images.shape[2]).float()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        for train, test in (halves, halves.flip(0)):
            layers = [part for a, b in ((3, 32), (32, 64), (64, 128)) for part in (nn.Conv2d(a, b, 4, 2, 1), nn.ReLU())]
            network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4 * 4, 1), nn.Flatten(0)).to(images.device)
            optimizer = torch.optim.Adam(network.parameters())
            for _ in range(epochs):
                for rows in torch.randperm(len(train)).split(50):
                    optimizer.zero_grad()
                    nn.functional.binary_cross_entropy_with_logits(network(train[rows]), labels[rows]).backward()
                    optimizer.step()
            right.append((network(test) > 0) == labels.bool())
    return mean(torch.cat(right))


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
