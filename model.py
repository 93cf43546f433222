"""The networks of the assignment, and nothing but networks.

Parameter names are those of the handout's own classes, so weights saved from the handout's notebook load here.
"""

import torch
from torch import nn

PIXELS = 28 * 28
HIDDEN = 300


class Encoder(nn.Module):
    """q(z | x): an image to the mean and log-variance of a diagonal Gaussian over its latents."""

    def __init__(self, latent_size=100):
        super().__init__()
        self.mlp = _mlp(PIXELS, 2 * latent_size)

    def forward(self, x):
        """x: (batch, 784), or any (batch, ...) of 784 pixels. Returns mean and log-variance, each (batch, latent_size)."""
        return self.mlp(x.flatten(1)).chunk(2, dim=-1)


class Decoder(nn.Module):
    """p(x | z): latents to the logits of 784 independent Bernoulli pixels."""

    def __init__(self, latent_size=100):
        super().__init__()
        self.mlp = _mlp(latent_size, PIXELS)

    def forward(self, z):
        """z: (..., latent_size). Returns logits (..., 784), shifted by -5 so that training starts from dark pixels."""
        return self.mlp(z) - 5.0


class VAE(nn.Module):
    """Variational autoencoder of Kingma & Welling 2014 (arXiv 1312.6114) with prior N(0, I) over the latents."""

    def __init__(self, latent_size=100):
        super().__init__()
        self.latent_size = latent_size
        self.encode = Encoder(latent_size)
        self.decode = Decoder(latent_size)

    def forward(self, x):
        """One reparameterised sample: x (batch, 784) to z_mean, z_logvar (batch, latent_size) and logits (batch, 784)."""
        z_mean, z_logvar = self.encode(x)
        z = z_mean + torch.exp(z_logvar / 2) * torch.randn_like(z_mean)
        return z_mean, z_logvar, self.decode(z)


def _mlp(inputs, outputs):
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN),
        nn.ELU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ELU(),
        nn.Linear(HIDDEN, outputs),
    )
