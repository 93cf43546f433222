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


class Critic(nn.Module):
    """A real number for each point of the plane (or of in_size dimensions): the critic of question 2."""

    def __init__(self, in_size=2):
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

    def forward(self, x):
        """x: (batch, in_size). Returns (batch,), for a batch of one too."""
        return self.main(x).squeeze(-1)


class CriticBank(nn.Module):
    """Many critics trained at once by batched matrix products: block k of the batch goes to critic k, and to it alone.

    So a bank is itself a critic, which any function of (x, y, critic) takes, and what it computes is the mean over the critics.
    """

    def __init__(self, critics):
        super().__init__()
        layers = [[layer for layer in critic.main if isinstance(layer, nn.Linear)] for critic in critics]
        self.weights = nn.ParameterList(torch.stack([layer.weight.detach().t() for layer in same]) for same in zip(*layers))
        self.biases = nn.ParameterList(torch.stack([layer.bias.detach()[None] for layer in same]) for same in zip(*layers))

    def __len__(self):
        return len(self.weights[0])

    def forward(self, x):
        """x: (critics * batch, in_size). Returns (critics * batch,)."""
        h = x.view(len(self), -1, x.shape[-1])  # (critics, batch, in_size)
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            h = torch.baddbmm(bias, nn.functional.leaky_relu(h) if depth else h, weight)
        return h.flatten()

    def critic(self, k):
        """Critic number k by itself, with the weights it has now."""
        critic = Critic(self.weights[0].shape[1]).to(self.weights[0].device)
        layers = [layer for layer in critic.main if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, weight, bias in zip(layers, self.weights, self.biases):
                layer.weight.copy_(weight[k].t())
                layer.bias.copy_(bias[k, 0])
        return critic


def _mlp(inputs, outputs):
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN),
        nn.ELU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ELU(),
        nn.Linear(HIDDEN, outputs),
    )
