"""The graded objectives of question 2: what a critic maximises to measure a divergence, and its Lipschitz penalty.

x are samples of P and y of Q, both (batch, ...): points (batch, 2), images (batch, 3, 32, 32), or any other shape. The
critic maps them to one real number per sample, (batch,) or (batch, 1). Every objective is a scalar tensor that can be
differentiated with respect to the critic's parameters.
"""

from collections.abc import Callable

import torch

CriticFunction = Callable[[torch.Tensor], torch.Tensor]


def vf_squared_hellinger(x: torch.Tensor, y: torch.Tensor, critic: CriticFunction) -> torch.Tensor:
    """E_P[1 - exp(-v)] + E_Q[1 - exp(v)], v the critic's output: at most H2 = integral (sqrt p - sqrt q)^2, in [0, 2].

    The variational bound of f-GAN (Nowozin et al. 2016, arXiv 1606.00709, table 2), with output activation g(v) = 1 -
    exp(-v) and conjugate f*(t) = t / (1 - t). Tight for v = (log p - log q) / 2. Returns a scalar.

    -f*(g(v)) is written as it simplifies, -expm1(v): composed literally it is infinite at v = 20, NaN at v = -100 in
    float32.
    """
    return -torch.expm1(-critic(x)).mean() - torch.expm1(critic(y)).mean()


def vf_wasserstein_distance(x: torch.Tensor, y: torch.Tensor, critic: CriticFunction) -> torch.Tensor:
    """E_P[f] - E_Q[f], f the critic's output: at most the Wasserstein-1 distance W1(P, Q) if f is 1-Lipschitz.

    The dual of Kantorovich and Rubinstein (Arjovsky et al. 2017, arXiv 1701.07875, equation 2). Returns a scalar, in
    the units of x.
    """
    return critic(x).mean() - critic(y).mean()


def lp_reg(x: torch.Tensor, y: torch.Tensor, critic: CriticFunction) -> torch.Tensor:
    """E[max(0, ||grad f(x~)||_2 - 1)^2] at random points x~ between x and y: see gradient_norm.

    The one-sided gradient penalty of WGAN-LP (Petzka et al. 2018, arXiv 1709.08894): only slopes above 1 cost. Takes
    what gradient_norm takes. Returns a scalar, at least 0.
    """
    return torch.relu(gradient_norm(x, y, critic) - 1).square().mean()


def gradient_norm(x: torch.Tensor, y: torch.Tensor, critic: CriticFunction) -> torch.Tensor:
    """||grad f(x~)||_2 over all features of a sample, at x~ = t x + (1 - t) y with t ~ U[0, 1], one t for each sample.

    x, y: of one floating-point type, with at least one dimension after the batch. Returns (batch,), at least 0.
    ValueError if x and y differ in shape. The inputs count as constants: nothing flows back into them. Under
    torch.no_grad() the norms are values alone; torch.inference_mode() cannot be used, since it has no gradients.

    Where the critic is flat the gradient of the norm is 0: linalg.vector_norm makes it so, while the square root of a
    sum of squares would give NaN.
    """
    if x.shape != y.shape:
        raise ValueError(f"x has shape {tuple(x.shape)} but y has shape {tuple(y.shape)}")
    t = torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device)  # (batch, 1, ..., 1)
    x_tilde = (t * x + (1 - t) * y).detach().requires_grad_()
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        value = critic(x_tilde).sum() + 0 * x_tilde.sum()  # so that a critic that ignores x has a gradient too: 0
        (gradient,) = torch.autograd.grad(value, x_tilde, create_graph=differentiable)
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1)


if __name__ == "__main__":
    from experiments.divergences.evaluate import main

    raise SystemExit(main())
