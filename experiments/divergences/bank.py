"""Many critics of question 2 trained at once, one for each theta, by batched matrix products; their samples."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from model import Critic


class CriticBank(nn.Module):
    """Many critics trained at once by batched matrix products: block k of the batch goes to critic k, and to it alone.

    So a bank is itself a critic, which any function of (x, y, critic) takes, and what it computes is the mean over the
    critics.
    """

    def __init__(self, critics: Sequence[Critic]) -> None:
        super().__init__()
        layers = [[layer for layer in critic.main if isinstance(layer, nn.Linear)] for critic in critics]
        self.weights = nn.ParameterList(
            torch.stack([layer.weight.detach().t() for layer in same]) for same in zip(*layers)
        )
        self.biases = nn.ParameterList(
            torch.stack([layer.bias.detach()[None] for layer in same]) for same in zip(*layers)
        )

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


def stream(
    sampler: Callable[..., Iterator[np.ndarray]], thetas: Sequence[float], batch_size: int, device: torch.device | str
) -> Iterator[torch.Tensor]:
    """Batches for a bank of critics, endlessly: batch_size samples for each theta, one block after another."""
    streams = [sampler(theta, batch_size) for theta in thetas]
    while True:
        yield torch.from_numpy(np.concatenate([next(samples) for samples in streams])).to(device)
