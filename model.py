"""The networks of the assignment, and nothing but networks.

Parameter names are those of the handout's classes, so weights saved from the handout's notebook load here.
"""

import torch
from torch import nn

PIXELS = 28 * 28
HIDDEN = 300


class Encoder(nn.Module):
    """q(z | x): an image to the mean and log-variance of a diagonal Gaussian over its latents."""

    def __init__(self, latent_size: int = 100) -> None:
        super().__init__()
        self.mlp = _mlp(PIXELS, 2 * latent_size)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x: (batch, ...) of 784 pixels. Returns mean and log-variance, each (batch, latent_size)."""
        return self.mlp(x.flatten(1)).chunk(2, dim=-1)


class Decoder(nn.Module):
    """p(x | z): latents to the logits of 784 independent Bernoulli pixels."""

    def __init__(self, latent_size: int = 100) -> None:
        super().__init__()
        self.mlp = _mlp(latent_size, PIXELS)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """z: (..., latent_size). Returns logits (..., 784), shifted by -5: training starts from means of 0.7%."""
        return self.mlp(z) - 5.0


class VAE(nn.Module):
    """Variational autoencoder of Kingma & Welling 2014 (arXiv 1312.6114) with prior N(0, I) over the latents."""

    def __init__(self, latent_size: int = 100) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.encode = Encoder(latent_size)
        self.decode = Decoder(latent_size)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One reparameterised sample: x (batch, 784) to z_mean, z_logvar (batch, latent_size), logits (batch, 784)."""
        z_mean, z_logvar = self.encode(x)
        z = z_mean + torch.exp(z_logvar / 2) * torch.randn_like(z_mean)
        return z_mean, z_logvar, self.decode(z)


class Critic(nn.Module):
    """A real number for each point of the plane (or of in_size dimensions): the critic of question 2."""

    def __init__(self, in_size: int = 2) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Linear(in_size, 256),
            nn.LeakyReLU(),
            nn.Linear(256, 256),
            nn.LeakyReLU(),
            nn.Linear(256, 256),
            nn.LeakyReLU(),
            nn.Linear(256, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, in_size). Returns (batch,), for a batch of one too."""
        return self.main(x).squeeze(-1)


class ImageCritic(nn.Module):
    """A real number for each 32x32 colour image: the critic of question 3.

    Nothing in it mixes the images of a batch, so the gradient at an image is that image's own, as the Lipschitz penalty
    takes for granted; batch normalisation would break this.
    """

    def __init__(self, h_dim: int = 64) -> None:
        super().__init__()
        self.x = nn.Sequential(
            nn.Conv2d(3, h_dim, 4, stride=2, padding=1),  # 16 x 16
            nn.LeakyReLU(0.2),
            nn.Conv2d(h_dim, 2 * h_dim, 4, stride=2, padding=1),  # 8 x 8
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * h_dim, 4 * h_dim, 4, stride=2, padding=1),  # 4 x 4
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * h_dim, 1, 4),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, 32, 32). Returns (batch,), for a batch of one too."""
        return self.x(x).flatten()


class Generator(nn.Module):
    """Latents from N(0, I) to 32x32 colour images: the generator of DCGAN (Radford et al. 2016, arXiv 1511.06434)."""

    def __init__(self, z_dim: int = 100, h_dim: int = 64) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.h_dim = h_dim
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(z_dim, 4 * h_dim, 4),  # 4 x 4
            nn.BatchNorm2d(4 * h_dim),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * h_dim, 2 * h_dim, 4, stride=2, padding=1),  # 8 x 8
            nn.BatchNorm2d(2 * h_dim),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * h_dim, h_dim, 4, stride=2, padding=1),  # 16 x 16
            nn.BatchNorm2d(h_dim),
            nn.ReLU(),
            nn.ConvTranspose2d(h_dim, 3, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """z: (batch, z_dim). Returns (batch, 3, 32, 32), in [-1, 1]."""
        return self.decoder(z.view(len(z), self.z_dim, 1, 1))


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN),
        nn.ELU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ELU(),
        nn.Linear(HIDDEN, outputs),
    )
