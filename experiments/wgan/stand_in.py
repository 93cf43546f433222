"""Synthetic house numbers: what question 3 runs on where there is neither an SVHN file nor a network."""

from itertools import pairwise

import torch
import torch.nn.functional as F

from q3_samplers import STAND_IN, Photos, with_digest

HEIGHT, WIDTH = 64, 44  # pixels of a digit before it is placed in an image
# Each digit as strokes through points (x, y): x in [0, 1] to the right, y in [0, 1.5] downwards.
STROKES: dict[int, list[list[tuple[float, float]]]] = {
    0: [[(0.5, 0), (0.1, 0.3), (0.05, 0.75), (0.1, 1.2), (0.5, 1.5), (0.9, 1.2), (0.95, 0.75), (0.9, 0.3), (0.5, 0)]],
    1: [[(0.2, 0.35), (0.55, 0), (0.55, 1.5)], [(0.2, 1.5), (0.9, 1.5)]],
    2: [[(0.05, 0.35), (0.25, 0.05), (0.6, 0), (0.9, 0.2), (0.9, 0.5), (0.05, 1.5), (0.95, 1.5)]],
    3: [[(0.05, 0.1), (0.5, 0), (0.9, 0.3), (0.5, 0.7), (0.95, 1.1), (0.5, 1.5), (0.05, 1.35)]],
    4: [[(0.7, 1.5), (0.7, 0), (0.05, 1.05), (0.95, 1.05)]],
    5: [[(0.9, 0), (0.15, 0), (0.1, 0.65), (0.55, 0.55), (0.95, 0.95), (0.6, 1.5), (0.05, 1.4)]],
    6: [[(0.8, 0), (0.3, 0.4), (0.05, 1), (0.5, 1.5), (0.95, 1.1), (0.5, 0.75), (0.08, 1.05)]],
    7: [[(0.05, 0), (0.95, 0), (0.4, 1.5)]],
    8: [[(0.5, 0.7), (0.1, 0.35), (0.5, 0), (0.9, 0.35), (0.5, 0.7), (0.05, 1.1), (0.5, 1.5), (0.95, 1.1), (0.5, 0.7)]],
    9: [[(0.92, 0.45), (0.5, 0.75), (0.05, 0.4), (0.5, 0), (0.95, 0.5), (0.7, 1.1), (0.2, 1.5)]],
}
WIDTHS = (0.07, 0.11, 0.15)  # half of a stroke's width
SLANTS = (0.0, 0.2)  # to the right, per unit of height


def glyphs() -> torch.Tensor:
    """The ten digits in every width and slant, white on black: float32 (styles, 10, HEIGHT, WIDTH) in [0, 1]."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    size = 26.0  # pixels per unit
    y = (rows - HEIGHT / 2) / size + 0.75
    drawn = []
    for slant in SLANTS:
        x = (columns - WIDTH / 2) / size + 0.5 + slant * (y - 0.75)
        distance = torch.stack([_distance(STROKES[digit], x, y) for digit in range(10)])
        drawn += [((width - distance) * size + 0.5).clamp(0, 1) for width in WIDTHS]
    return torch.stack(drawn)


def _distance(strokes: list[list[tuple[float, float]]], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The distance of each point (x, y) from the nearest of the strokes' line segments."""
    nearest = torch.full_like(x, torch.inf)
    for stroke in strokes:
        for (x0, y0), (x1, y1) in pairwise(stroke):
            dx, dy = x1 - x0, y1 - y0
            t = (((x - x0) * dx + (y - y0) * dy) / (dx**2 + dy**2)).clamp(0, 1)
            nearest = torch.minimum(nearest, torch.hypot(x - x0 - t * dx, y - y0 - t * dy))
    return nearest


def stand_in(size: int = 4000, seed: int = 0) -> Photos:
    """`size` synthetic house numbers, the same bytes at every call with the same seed. Not SVHN.

    Each is a digit turned, shifted and scaled, with neighbours cut off at both edges, in two random colours under a
    slope of light, blurred, with noise.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(size, *shape, generator=generator)

    shapes = glyphs()
    styles = torch.randint(len(shapes), (size,), generator=generator)
    digits = torch.randint(10, (size, 3), generator=generator)  # left neighbour, the one to read, right neighbour
    strip = torch.cat([shapes[styles, digits[:, place]] for place in range(3)], dim=-1).unsqueeze(1)

    angle, zoom = uniform(-0.15, 0.15), uniform(0.9, 1.5)
    across = HEIGHT / strip.shape[-1]
    rows = torch.stack([angle.cos() * zoom * across, -angle.sin() * zoom * across, uniform(-0.08, 0.08)], dim=1)
    columns = torch.stack([angle.sin() * zoom, angle.cos() * zoom, uniform(-0.15, 0.15)], dim=1)
    grid = F.affine_grid(torch.stack([rows, columns], dim=1), [size, 1, 32, 32], align_corners=False)
    ink = F.grid_sample(strip, grid, align_corners=False)  # (size, 1, 32, 32)
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    blurred = F.conv2d(ink, (kernel.unsqueeze(1) * kernel)[None, None], padding=1)
    ink = torch.lerp(ink, blurred, uniform(0, 1, 1, 1, 1))

    paper, contrast = uniform(0.1, 0.9, 1, 1, 1) + uniform(-0.1, 0.1, 3, 1, 1), uniform(0.2, 0.6, 1, 1, 1)
    colour = paper + torch.where(paper.mean(1, keepdim=True) > 0.5, -contrast, contrast) + uniform(-0.1, 0.1, 3, 1, 1)
    slope = torch.linspace(-1, 1, 32).view(1, 1, 1, 32) * uniform(-0.15, 0.15, 1, 1, 1)
    pictures = torch.lerp(paper, colour, ink) + slope + 0.02 * torch.randn(size, 3, 32, 32, generator=generator)
    return with_digest(STAND_IN, (255 * pictures.clamp(0, 1)).round().byte(), digits[:, 1])
