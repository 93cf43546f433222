"""Synthetic house numbers: what question 3 runs on where there is neither an SVHN file nor a network."""

from itertools import pairwise

import torch

from q3_samplers import Photos, with_digest

STAND_IN = "svhn-stand-in"

# Each digit as a stroke through points (x, y), x from -0.5 to 0.5 to the right, y from -0.75 to 0.75 downwards.
STROKES = (
    ((0, -0.75), (-0.4, -0.4), (-0.45, 0), (-0.4, 0.4), (0, 0.75), (0.4, 0.4), (0.45, 0), (0.4, -0.4), (0, -0.75)),
    ((-0.3, -0.4), (0.05, -0.75), (0.05, 0.75), (-0.3, 0.75), (0.4, 0.75)),
    ((-0.45, -0.4), (-0.25, -0.7), (0.1, -0.75), (0.4, -0.5), (0.4, -0.25), (-0.45, 0.75), (0.45, 0.75)),
    ((-0.45, -0.65), (0, -0.75), (0.4, -0.45), (0, -0.05), (0.45, 0.35), (0, 0.75), (-0.45, 0.6)),
    ((0.2, 0.75), (0.2, -0.75), (-0.45, 0.3), (0.45, 0.3)),
    ((0.4, -0.75), (-0.35, -0.75), (-0.4, -0.1), (0.05, -0.2), (0.45, 0.2), (0.1, 0.75), (-0.45, 0.65)),
    ((0.3, -0.75), (-0.2, -0.35), (-0.45, 0.25), (0, 0.75), (0.45, 0.35), (0, 0), (-0.4, 0.3)),
    ((-0.45, -0.75), (0.45, -0.75), (-0.1, 0.75)),
    ((0, -0.05), (-0.4, -0.4), (0, -0.75), (0.4, -0.4), (0, -0.05), (-0.45, 0.35), (0, 0.75), (0.45, 0.35), (0, -0.05)),
    ((0.4, -0.3), (0, 0), (-0.45, -0.35), (0, -0.75), (0.45, -0.25), (0.2, 0.35), (-0.3, 0.75)),
)


def stand_in(size: int = 4000, seed: int = 0) -> Photos:
    """Synthetic house numbers: digits turned, slanted, shifted and scaled, with neighbours, in two random colours."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, channels: int = 1) -> torch.Tensor:
        return low + (high - low) * torch.rand(size, channels, 1, 1, generator=generator)

    digits = torch.randint(10, (size, 3), generator=generator)  # left neighbour, the one to read, right neighbour
    down, across = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    angle, zoom, slant = uniform(-0.15, 0.15), uniform(0.9, 1.5), uniform(-0.1, 0.3)
    y = zoom * (down * angle.cos() - across * angle.sin()) + uniform(-0.15, 0.15)
    x = zoom * (across * angle.cos() + down * angle.sin()) + uniform(-0.1, 0.1) + slant * y
    distance = torch.full_like(x, torch.inf)  # of each pixel from the nearest stroke, (size, 1, 32, 32)
    for place, left in enumerate((-1.15, 0.0, 1.15)):
        for digit, stroke in enumerate(STROKES):
            rows = digits[:, place] == digit
            for start, end in pairwise(stroke):
                distance[rows] = torch.minimum(distance[rows], _distance(start, end, x[rows] - left, y[rows]))
    ink = ((uniform(0.07, 0.16) - distance) / uniform(0.06, 0.2) + 0.5).clamp(0, 1)

    paper, contrast = uniform(0.1, 0.9) + uniform(-0.1, 0.1, 3), uniform(0.2, 0.6)
    colour = paper + torch.where(paper.mean(1, keepdim=True) > 0.5, -contrast, contrast) + uniform(-0.1, 0.1, 3)
    noise = 0.02 * torch.randn(size, 3, 32, 32, generator=generator)
    pictures = torch.lerp(paper, colour, ink) + across * uniform(-0.15, 0.15) + noise
    return with_digest(STAND_IN, (255 * pictures.clamp(0, 1)).round().byte(), digits[:, 1])


def _distance(start: tuple[float, float], end: tuple[float, float], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The distance of points (x, y) from the line segment between start and end."""
    (x0, y0), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    t = (((x - x0) * dx + (y - y0) * dy) / (dx**2 + dy**2)).clamp(0, 1)
    return torch.hypot(x - x0 - t * dx, y - y0 - t * dy)
