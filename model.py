"""The networks of the assignment, and nothing but networks.

Parameter names are those of the handout's classes, so weights saved from the handout's notebook load here.
"""

from collections.abc import Sequence

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


class CriticBank(nn.Module):
    """Many critics trained at once by batched matrix products: block k of the batch goes to critic k, and to it alone.

    So a bank is itself a critic, which any function of (x, y, critic) takes, and what it computes is the mean over the
    critics.
    """

    def __init__(self, critics: Sequence[Critic]) -> None:
        super().__init__()
        layers = [[layer for layer in critic.main if isinstance(layer, nn.Linear)] for critic in critics]
        self.weights = nn.ParameterList(torch.stack([layer.weight.detach().t() for layer in same]) for same in zip(*layers))
        self.biases = nn.ParameterList(torch.stack([layer.bias.detach()[None] for layer in same]) for same in zip(*layers))

    def __len__(self) -> int:
        return len(self.weights[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (critics * batch, in_size). Returns (critics * batch,)."""
        h = x.view(len(self), -1, x.shape[-1])  # (critics, batch, in_size)
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            h = torch.baddbmm(bias, nn.functional.leaky_relu(h) if depth else h, weight)
        return h.flatten()

    def critic(self, k: int) -> Critic:
        """Critic number k by itself, with the weights it has now."""
        critic = Critic(self.weights[0].shape[1]).to(self.weights[0].device)
        layers = [layer for layer in critic.main if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, weight, bias in zip(layers, self.weights, self.biases):
                layer.weight.copy_(weight[k].t())
                layer.bias.copy_(bias[k, 0])
        return critic


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


class DigitClassifier(nn.Module):
    """Which digit a 32x32 colour image shows: three blocks of two 3x3 convolutions. It judges generated images."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*_convolutions(3, 32), *_convolutions(32, 64), *_convolutions(64, 64))  # 4 x 4
        self.penultimate = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 4 * 4, 128), nn.ReLU())
        self.digit = nn.Linear(128, 10)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, 32, 32) in [-1, 1]. Returns the penultimate layer, (batch, 128), at least 0."""
        return self.penultimate(self.blocks(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, 32, 32) in [-1, 1]. Returns the logits of the digits 0 to 9, (batch, 10)."""
        return self.digit(self.features(x))


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN),
        nn.ELU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ELU(),
        nn.Linear(HIDDEN, outputs),
    )


def _convolutions(inputs: int, outputs: int) -> list[nn.Module]:
    """Two 3x3 convolutions, the second followed by halving height and width."""
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
