"""What the critics of question 3 receive of an image: augmented, whitened, or as the features of a classifier."""

import math

import torch
import torch.nn.functional as F

from experiments.wgan.classifier import DigitClassifier

SHIFT = 4  # largest change of place by augmentation, in pixels; zeros come in at the edge
BRIGHTNESS, SATURATION, CONTRAST = 0.25, 0.5, 0.25  # largest changes: added, and relative to grey and to the mean


def augmented(x: torch.Tensor) -> torch.Tensor:
    """Brightness, saturation, contrast and place of each image changed by its own draws, anew at every call.

    A critic that receives all images so memorises less (Zhao et al. 2020, arXiv 2006.10738; milder: changes are 0 on
    average, none mirrors or cuts a digit). x: (batch, 3, height, width). Gradients flow through.
    """

    def uniform(most: float) -> torch.Tensor:
        return most * (2 * torch.rand(len(x), 1, 1, 1, device=x.device) - 1)

    x = x + uniform(BRIGHTNESS)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (1 + uniform(SATURATION))
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + uniform(CONTRAST))
    return translate(x, SHIFT)


def translate(x: torch.Tensor, most: int) -> torch.Tensor:
    """Each image of x (batch, channels, height, width) moved by up to `most` pixels along both axes, with zeros."""
    batch, _, height, width = x.shape
    padded = F.pad(x, [most] * 4)
    top, left = torch.randint(2 * most + 1, (2, batch, 1), device=x.device)
    rows, columns = (top + torch.arange(height, device=x.device), left + torch.arange(width, device=x.device))
    image = torch.arange(batch, device=x.device).view(-1, 1, 1)
    return padded[image, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)  # channels last in memory


WHITENING_FLOOR = 2.0  # added to a coefficient's size, so that noise and the finest detail are not blown up


class Whitened:
    """T x, linear: every cosine coefficient c of x divided by its size sqrt(E[c^2]) + WHITENING_FLOOR, and back.

    In pixels, two thirds of what tells two photographs apart is their mean colour, and a critic of slope 1 spends most
    of its slope there. A Wasserstein distance may be measured in any norm (Adler & Lunz 2018, arXiv 1806.06621).

    A coefficient belongs to a frequency down, one across, and one of the three principal axes of colour. T is scaled
    such that E[||T x||^2] = E[||x||^2]; expectations are over the images it is made from.
    """

    def __init__(self, images: torch.Tensor) -> None:
        """images: (n, 3, size, size)."""
        self.cosines = cosines(images.shape[-1]).to(images)
        self.colours = torch.linalg.eigh(torch.einsum("nchw,ndhw->cd", images, images)).eigenvectors
        energy = self.coefficients(images).square().mean(0)  # (3, size, size)
        gain = 1 / (energy.sqrt() + WHITENING_FLOOR)
        self.gain = gain * (energy.sum() / (gain.square() * energy).sum()).sqrt()

    def coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, size, size). Returns (batch, axes of colour, frequencies down, frequencies across)."""
        return self.cosines @ torch.einsum("nchw,ca->nahw", x, self.colours) @ self.cosines.T

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, size, size). Returns T x, of the same shape; gradients flow through."""
        y = self.cosines.T @ (self.gain * self.coefficients(x)) @ self.cosines
        return torch.einsum("nahw,ca->nhwc", y, self.colours).permute(0, 3, 1, 2)  # channels last in memory


def cosines(size: int) -> torch.Tensor:
    """The orthonormal basis of the discrete cosine transform (DCT-II): (size, size), a row for each frequency."""
    k = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(torch.pi / size * torch.outer(k, k + 0.5))
    return waves / waves.norm(dim=1, keepdim=True)


STAGE_END = 14  # layers of the classifier in the first two of its three blocks, where the first stage ends
STAGE_CHANNELS = (16, 64, 64)  # principal channels kept of each stage: two blocks, all three, the layer after them
STAGE_SHARES = (1 / 7, 3 / 7, 3 / 7)  # what each stage contributes to E[||U x||^2]
STAGE_FLOOR = 0.2  # of the largest principal channel's size, added to each, so that the smallest are not blown up


class DigitView(torch.nn.Module):
    """U x: features of x at three stages of a digit classifier, each stage laid out as one channel of an image.

    In a classifier's features, what makes a digit counts first (Sauer et al. 2021, arXiv 2111.01007, whose
    discriminators receive nothing else). U is scaled such that E[||U x||^2] = E[||x||^2], with STAGE_SHARES of it from
    each stage. Its state dict is all of it, so a run keeps the view it began with.
    """

    def __init__(self, classifier: DigitClassifier, images: torch.Tensor) -> None:
        """classifier: in evaluation mode, on the images' device. images: (n, 3, 32, 32) in [-1, 1]."""
        super().__init__()
        last = torch.nn.Sequential(classifier.penultimate, torch.nn.Unflatten(1, (-1, 1, 1)))
        self.stages = torch.nn.ModuleList(
            [classifier.blocks[:STAGE_END], classifier.blocks[STAGE_END:], last]
        ).requires_grad_(False)
        self.channels = torch.nn.ModuleList()
        energy = images.square().sum((1, 2, 3)).mean()
        h = images
        for stage, count, share in zip(self.stages, STAGE_CHANNELS, STAGE_SHARES):
            h = torch.cat([stage(part) for part in h.split(500)])
            self.channels.append(Channel(h, count, images.shape[-1], share * energy))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, 32, 32) in [-1, 1]. Returns U x, of the same shape; gradients flow through."""
        views, h = [], x
        for stage, channel in zip(self.stages, self.channels):
            h = stage(h)
            views.append(channel(h))
        return torch.cat(views, 1).contiguous(memory_format=torch.channels_last)


class Channel(torch.nn.Module):
    """s shuffle(V^T (h - E[h])): principal channels of features h, (c, height, width), as one channel of an image.

    A column of V is an eigenvector of the channels' covariance over places and images, divided by sqrt(its eigenvalue)
    + STAGE_FLOOR sqrt(the largest). Numbers of one place lie side by side in that place, repeated to fill it.
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
    """The first `count` columns of V, (c, count), from centred h (n, c); the largest entry of each is positive."""
    exact = h.double().cpu()
    values, vectors = (part.flip(-1)[..., :count] for part in torch.linalg.eigh(exact.T @ exact / len(h)))
    sizes = values.clamp_min(0).sqrt()
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    return (signs * vectors / (sizes + STAGE_FLOOR * sizes[0])).to(h)
