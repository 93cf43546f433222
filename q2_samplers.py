"""The toy distributions of question 2, as endless streams of batches."""

from collections.abc import Iterator

import torch


def distribution1(x: float, batch_size: int = 512, generator: torch.Generator | None = None) -> Iterator[torch.Tensor]:
    """Points (x, u), u ~ U[0, 1]: a vertical line segment. Yields float32 tensors (batch_size, 2), endlessly.

    generator: the torch.Generator to draw from, on the device it belongs to; without one, the global one on the CPU.
    """
    device = generator.device if generator else "cpu"
    while True:
        u = torch.rand(batch_size, generator=generator, device=device)
        yield torch.stack([torch.full_like(u, x), u], dim=1)


def gaussian(x: float, batch_size: int = 512, generator: torch.Generator | None = None) -> Iterator[torch.Tensor]:
    """Points of the unit Gaussian N((x, 0), I) of the plane. Yields float32 tensors (batch_size, 2), endlessly."""
    device = generator.device if generator else "cpu"
    mean = torch.tensor([float(x), 0.0], device=device)
    while True:
        yield mean + torch.randn(batch_size, 2, generator=generator, device=device)
