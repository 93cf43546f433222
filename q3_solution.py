"""The functions of question 3: what WGAN-LP's two networks minimise, and two ways to move through a latent space.

Images are (batch, 3, 32, 32) in [-1, 1], latents (batch, z_dim), but nothing here depends on either shape.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from q2_solution import lp_reg, vf_wasserstein_distance


class CriticLoss(NamedTuple):
    """What a critic minimises and its parts, scalars: total = -wasserstein_estimate + lambda lipschitz_penalty."""

    total: torch.Tensor
    wasserstein_estimate: torch.Tensor
    lipschitz_penalty: torch.Tensor


def critic_loss(
    x: torch.Tensor, y: torch.Tensor, critic: Callable[[torch.Tensor], torch.Tensor], lipschitz_weight: float = 10.0
) -> CriticLoss:
    """-(E_P[f] - E_Q[f]) + lambda E[max(0, ||grad f(x~)||_2 - 1)^2], f the critic, P images, Q generated.

    x: samples of P, y: of Q, of one shape. At the minimum the estimate exceeds W1(P, Q) by the bias that a penalty of
    finite weight leaves. At lambda = 0 the penalty, half of the work, is not computed and given as 0. Returns a
    CriticLoss (WGAN-LP, Petzka et al. 2018, arXiv 1709.08894, equations 7 and 8).
    """
    wasserstein = vf_wasserstein_distance(x, y, critic)
    penalty = lp_reg(x, y, critic) if lipschitz_weight else torch.zeros_like(wasserstein)
    return CriticLoss(lipschitz_weight * penalty - wasserstein, wasserstein, penalty)


def generator_loss(y: torch.Tensor, critic: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """-E_Q[f]: the one term of the Wasserstein distance that depends on the generator, which makes y. A scalar."""
    return -critic(y).mean()


def perturb(z: torch.Tensor, epsilon: float | torch.Tensor) -> torch.Tensor:
    """z + epsilon e_i for every unit vector e_i: each latent dimension moved by itself.

    z: (batch, z_dim). Returns (z_dim, batch, z_dim), entry i with dimension i moved.
    """
    return z + epsilon * z.new_ones(z.shape[-1]).diag().unsqueeze(1)


def singular_directions(weight: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Orthonormal directions of latent space, from the one a generator's first layer A responds to most to the least.

    A = U diag(s) V^T with s falling; the directions are the columns of U (Shen & Zhou 2021, arXiv 2007.06600, with the
    batch normalisation behind the layer taken into A). A direction's sign makes its largest entry positive.

    weight: (z_dim, channels, height, width), of a transposed convolution applied to one pixel. gain: (channels,), what
    batch normalisation multiplies each channel by. Returns (z_dim, z_dim), a direction a row.
    """
    A = (weight * gain.view(-1, 1, 1)).flatten(1)  # z A is the layer's response to z
    U = torch.linalg.svd(A.double(), full_matrices=False).U
    signs = U.gather(0, U.abs().argmax(0, keepdim=True)).sign()
    return (signs * U).T.to(weight.dtype)


def interpolate(a: torch.Tensor, b: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """alpha a + (1 - alpha) b: the straight line from b to a, exactly b at alpha = 0 and a at alpha = 1.

    a, b: of one shape, latents or images. alpha: (n,), in [0, 1]. Returns (n, *a.shape).
    """
    alpha = alpha.view(-1, *[1] * a.dim())
    return alpha * a + (1 - alpha) * b


def interpolate_spherical(a: torch.Tensor, b: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """(sin(alpha w) a + sin((1 - alpha) w) b) / sin w, w the angle between a and b: from b to a round the origin.

    The straight line between two draws from N(0, I) passes points far shorter than any draw; on this arc the length
    goes gradually from that of b to that of a (Shoemake 1985; White 2016, arXiv 1609.04468). At angle 0 the arc is the
    line.

    a, b: (batch, z_dim), nowhere opposite. alpha: (n,), in [0, 1]. Returns (n, batch, z_dim).
    """
    alpha = alpha.view(-1, 1, 1)
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1)
    angle = torch.acos(cosine).unsqueeze(-1)
    arc = (torch.sin(alpha * angle) * a + torch.sin((1 - alpha) * angle) * b) / torch.sin(angle)
    return torch.where(angle > 1e-3, arc, alpha * a + (1 - alpha) * b)


if __name__ == "__main__":
    from experiments.wgan.evaluate import main

    raise SystemExit(main())
