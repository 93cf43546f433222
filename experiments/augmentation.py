"""Differentiable changes of images: a critic that sees all images through them learns none by heart.

Zhao et al. 2020 (arXiv 2006.10738), milder: every change undoes itself on average, none mirrors a digit or leaves a
hole in it.
"""

import torch
import torch.nn.functional as F

SHIFT = 4  # pixels, at most, in both directions; zeros come in at the edge
BRIGHTNESS = 0.25  # added, at most; images are in [-1, 1]
SATURATION = 0.5  # at most so much more or less of the distance from grey, relatively
CONTRAST = 0.25  # the same of the distance from the image's mean


def augment(x: torch.Tensor) -> torch.Tensor:
    """Brightness, saturation, contrast and place of each image changed by draws of its own, afresh at every call.

    x: (batch, 3, height, width). Returns the same shape; gradients flow through.
    """
    x = x + uniform(x, BRIGHTNESS)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (1 + uniform(x, SATURATION))
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + uniform(x, CONTRAST))
    return translate(x, SHIFT)


def uniform(x: torch.Tensor, most: float) -> torch.Tensor:
    """A draw from U[-most, most] for each image of x, (batch, 1, 1, 1)."""
    return most * (2 * torch.rand(len(x), 1, 1, 1, device=x.device) - 1)


def translate(x: torch.Tensor, most: int) -> torch.Tensor:
    """Each image of x (batch, channels, height, width) moved by up to `most` pixels along both axes, with zeros."""
    batch, _, height, width = x.shape
    padded = F.pad(x, [most] * 4)
    top, left = torch.randint(2 * most + 1, (2, batch, 1), device=x.device)
    rows, columns = (top + torch.arange(height, device=x.device), left + torch.arange(width, device=x.device))
    image = torch.arange(batch, device=x.device).view(-1, 1, 1)
    return padded[image, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)  # channels last in memory
