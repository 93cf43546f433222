"""A norm for images in which brightness does not count most: the one that question 3's critic is held to slope 1 in.

Of what tells two photographs of SVHN apart in pixels, two thirds is brightness. A critic of slope 1 spreads its values
most along it, even where samples and photographs no longer differ in it, and its gradient drowns in the noise of small
batches. A Wasserstein distance may be had in any norm (Adler & Lunz 2018, arXiv 1806.06621); this one evens out what
the frequencies of an image contribute.
"""

import torch

FLOOR = 2.0  # keeps far smaller coefficients, of noise and of the finest detail, from being blown up to the size of all


class Whitening:
    """T x, linear: every cosine coefficient c of x divided by its size sqrt(E[c^2]) + FLOOR, and back to an image.

    A coefficient belongs to a frequency down, one across, and one of the three principal axes of colour. T is scaled
    such that E[||T x||^2] = E[||x||^2]; expectations are over the images it is made from.
    """

    def __init__(self, images: torch.Tensor) -> None:
        """images: (n, 3, size, size)."""
        self.cosines = cosines(images.shape[-1]).to(images)
        self.colours = torch.linalg.eigh(torch.einsum("nchw,ndhw->cd", images, images)).eigenvectors
        energy = self.coefficients(images).square().mean(0)  # (3, size, size)
        gain = 1 / (energy.sqrt() + FLOOR)
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
