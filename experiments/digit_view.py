"""What a classifier of digits sees in an image, laid out as an image: by it question 3's second critic tells apart.

A critic of slope 1 in pixels, whitened or not, may value a sample highly that shows no digit: most of what tells it
from a photograph is something else. On the features of a trained network, what makes a digit is what counts first
(Sauer et al. 2021, arXiv 2111.01007, whose discriminators see nothing else).
"""

import math

import torch
import torch.nn.functional as F

from model import DigitClassifier

TWO = 14  # layers of the classifier in the first two of its three blocks
COUNTS = (16, 64, 64)  # of principal channels: of what two blocks make of an image, three, and the layer after them
SHARES = (1 / 7, 3 / 7, 3 / 7)  # of the three in E[||U x||^2]
FLOOR = 0.2  # of the largest principal channel's size; keeps far smaller ones from being blown up to the size of all


class DigitView(torch.nn.Module):
    """U x: the features of x after two blocks, three, and the layer that follows, each as one channel of an image.

    They are scaled such that E[||U x||^2] = E[||x||^2], of which SHARES say how much each contributes; expectations are
    over the images U is made from. Its state dict is all of it, so a run keeps the view it began with.
    """

    def __init__(self, classifier: DigitClassifier, images: torch.Tensor) -> None:
        """classifier: in evaluation mode, on the images' device. images: (n, 3, 32, 32) in [-1, 1]."""
        super().__init__()
        last = torch.nn.Sequential(classifier.penultimate, torch.nn.Unflatten(1, (-1, 1, 1)))
        self.stages = torch.nn.ModuleList([classifier.blocks[:TWO], classifier.blocks[TWO:], last]).requires_grad_(False)
        self.channels = torch.nn.ModuleList()
        energy = images.square().sum((1, 2, 3)).mean()
        h = images
        for stage, count, share in zip(self.stages, COUNTS, SHARES):
            h = torch.cat([stage(part) for part in h.split(500)])
            self.channels.append(Channel(h, count, images.shape[-1], share * energy))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, 32, 32) in [-1, 1]. Returns U x, of the same shape; gradients flow through."""
        seen, h = [], x
        for stage, channel in zip(self.stages, self.channels):
            h = stage(h)
            seen.append(channel(h))
        return torch.cat(seen, 1).contiguous(memory_format=torch.channels_last)


class Channel(torch.nn.Module):
    """s shuffle(V^T (h - E[h])): principal channels of features h, (c, height, width), as one channel of an image.

    A column of V is an eigenvector of the channels' covariance over places and images, divided by sqrt(its eigenvalue)
    + FLOOR sqrt(the largest). Numbers of one place lie side by side in that place, as often as it takes to fill it.
    """

    mean: torch.Tensor
    principal: torch.Tensor

    def __init__(self, h: torch.Tensor, count: int, size: int, energy: torch.Tensor) -> None:
        """h: (n, c, height, width) to learn from. size: of the image. energy: what s makes of E[||channel||^2]."""
        super().__init__()
        self.size = size
        self.register_buffer("mean", h.mean((0, 2, 3)).view(-1, 1, 1))
        self.register_buffer("principal", principal_channels((h - self.mean).movedim(1, -1).flatten(0, -2), count))
        self.principal *= (energy / self(h).square().sum((1, 2, 3)).mean()).sqrt()

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """h: (batch, c, height, width). Returns (batch, 1, size, size)."""
        u = torch.einsum("nchw,ck->nkhw", h - self.mean, self.principal)
        return F.interpolate(F.pixel_shuffle(u, math.isqrt(u.shape[1])), self.size)


def principal_channels(h: torch.Tensor, count: int) -> torch.Tensor:
    """The first `count` columns of V above, largest first: (c, count), from centred features h (n, c).

    The same on every machine but for rounding: an eigenvector has its largest entry above 0.
    """
    exact = h.double().cpu()
    values, vectors = (part.flip(-1)[..., :count] for part in torch.linalg.eigh(exact.T @ exact / len(h)))
    sizes = values.clamp_min(0).sqrt()
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    return (signs * vectors / (sizes + FLOOR * sizes[0])).to(h)
