"""The toy distributions of question 2, as endless streams of batches.

Batches are NumPy arrays, as the handout's are, so that programs written for the handout's sampler run on this one; an objective
takes torch.from_numpy(batch). They are float32, the critics' own type, and come from torch's generator: torch.manual_seed makes
them repeatable.
"""

from collections.abc import Iterator

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
