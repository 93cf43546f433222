"""What a classifier of digits sees in an image, laid out as an image: by it question 3's second critic tells apart.

A critic of slope 1 in pixels, whitened or not, may value a sample highly that shows no digit: most of what tells it
from a photograph is something else. On the features of a trained network, what makes a digit is what counts first
(Sauer et al. 2021, arXiv 2111.01007, whose discriminators see nothing else).
"""

import torch
import torch.nn.functional as F

from model import DigitClassifier

BLOCKS = 14  # layers of the classifier's first two blocks: from (3, 32, 32) to (64, 8, 8)
FLOOR = 0.2  # of the largest principal channel's size; keeps far smaller ones from being blown up to the size of all


class DigitView(torch.nn.Module):
    """U x = s shuffle(V^T (h(x) - E[h])): 48 principal channels of 8 x 8, each 16 of them as one channel of 32 x 32.

    h(x) are the features (64, 8, 8); expectations are over places and the images U is made from. A column of V is an
    eigenvector of the channels' covariance divided by sqrt(its eigenvalue) + FLOOR sqrt(the largest); s is such that
    E[||U x||^2] = E[||x||^2]. Its state dict is all of it, so a run keeps the view it began with.
    """

    mean: torch.Tensor
    channels: torch.Tensor

    def __init__(self, classifier: DigitClassifier, images: torch.Tensor) -> None:
        """classifier: in evaluation mode, on the images' device. images: (n, 3, 32, 32) in [-1, 1]."""
        super().__init__()
        self.features = classifier.blocks[:BLOCKS].requires_grad_(False)
        h = torch.cat([self.features(part) for part in images.split(500)])  # (n, 64, 8, 8)
        self.factor = images.shape[-1] // h.shape[-1]
        self.register_buffer("mean", h.mean((0, 2, 3)).view(-1, 1, 1))
        channels = principal_channels((h - self.mean).movedim(1, -1).flatten(0, -2), 3 * self.factor**2)
        self.register_buffer("channels", channels)
        energy = torch.cat([self(part).square().sum((1, 2, 3)) for part in images.split(500)]).mean()
        self.channels *= (images.square().sum((1, 2, 3)).mean() / energy).sqrt()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, 32, 32) in [-1, 1]. Returns U x, of the same shape; gradients flow through."""
        u = torch.einsum("nchw,ck->nkhw", self.features(x) - self.mean, self.channels)
        return F.pixel_shuffle(u, self.factor).contiguous(memory_format=torch.channels_last)


def principal_channels(h: torch.Tensor, count: int) -> torch.Tensor:
    """The first `count` columns of V above, largest first: (c, count), from centred features h (n, c).

    The same on every machine but for rounding: an eigenvector has its largest entry above 0.
    """
    exact = h.double().cpu()
    values, vectors = (part.flip(-1)[..., :count] for part in torch.linalg.eigh(exact.T @ exact / len(h)))
    sizes = values.clamp_min(0).sqrt()
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    return (signs * vectors / (sizes + FLOOR * sizes[0])).to(h)
