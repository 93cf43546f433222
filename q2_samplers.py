"""The toy distributions of question 2, as endless streams of batches, and the divergences between them.

Batches are NumPy arrays, as the handout's are, so that programs written for the handout's sampler run on this one; an
objective takes torch.from_numpy(batch). They are float32, the critics' own type, and come from torch's generator:
torch.manual_seed makes them repeatable.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch


def distribution1(x: float, batch_size: int = 512, generator: torch.Generator | None = None) -> Iterator[np.ndarray]:
    """Points (x, u), u ~ U[0, 1]: a vertical line segment. Yields float32 arrays (batch_size, 2), endlessly.

    generator: the torch.Generator on the CPU to draw from; without one, the global one.
    """
    while True:
        u = torch.rand(batch_size, generator=generator)
        yield torch.stack([torch.full_like(u, x), u], dim=1).numpy()


def gaussian(x: float, batch_size: int = 512, generator: torch.Generator | None = None) -> Iterator[np.ndarray]:
    """Points of the unit Gaussian N((x, 0), I) of the plane. Yields float32 arrays (batch_size, 2), endlessly.

    generator: as for distribution1.
    """
    mean = torch.tensor([float(x), 0.0])
    while True:
        yield (mean + torch.randn(batch_size, 2, generator=generator)).numpy()


class Family(NamedTuple):
    """Distributions P = sampler(0) and Q = sampler(theta), and their exact divergences as functions of theta."""

    sampler: Callable[..., Iterator[np.ndarray]]
    exact: dict[str, Callable[[float], float]]
    thetas: tuple[float, ...]
    fresh_samples: int  # of P and of Q, for an estimate; for the Gaussians' W1 they leave a standard error of 0.004
    description: str


FAMILIES = {
    "segments": Family(
        distribution1,
        {"squared_hellinger": lambda theta: 2.0 if theta else 0.0, "wasserstein": abs},  # disjoint as soon as they part
        tuple(step / 10 for step in range(21)),
        2**12,
        "two parallel segments, theta apart",
    ),
    "gaussian": Family(
        gaussian,
        {"squared_hellinger": lambda theta: 2 - 2 * math.exp(-(theta**2) / 8), "wasserstein": abs},
        tuple(step / 4 for step in range(9)),
        2**17,
        "two unit Gaussians, theta apart",
    ),
}
