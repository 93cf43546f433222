"""The five graded functions of question 1: likelihoods, log-mean-exp, and the divergence of two Gaussians.

Each graded function maps a batch (batch, ...) to one number per row, (batch,), in nats, in the dtype and on the device
that its arguments share. All dimensions after the first are flattened, so images (64, 1, 28, 28) go with means
(64, 784). Arguments that then differ in rows or in features raise ValueError, and so does one of shape ().
"""

import math

import torch
import torch.nn.functional as F


def log_likelihood_bernoulli(mu: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """log p(x) = sum_i x_i log mu_i + (1 - x_i) log(1 - mu_i) for independent Bernoulli variables with means mu.

    mu: (batch, ...) means in [0, 1], 0 and 1 included. target: (batch, ...) in {0, 1}, of integer, bool or float type.
    Returns (batch,), in nats, at most 0. A mean outside [0, 1] is a RuntimeError, on CUDA a device-side assertion.

    A pixel that contradicts a mean of exactly 0 or 1 costs 100 nats, with a finite gradient, as in torch.nn.BCELoss. In
    float32 a sigmoid is exactly 1 from a logit of 17 on: compute a likelihood that is to be reported from logits.
    """
    mu, target = _rows(mu=mu, target=target)
    return -F.binary_cross_entropy(mu, target.to(mu.dtype), reduction="none").sum(1)


def log_likelihood_normal(mu: torch.Tensor, logvar: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """log N(z; mu, diag(exp(logvar))) = -1/2 sum_i [log(2 pi) + logvar_i + ((z_i - mu_i) / sigma_i)^2].

    mu, logvar, z: (batch, ...), logvar the logarithm of the variance sigma^2. Returns (batch,), in nats. Where z = mu,
    it is finite down to logvar = -177 in float32 (-22 in float16); below that 1 / sigma overflows and it is NaN.
    """
    mu, logvar, z = _rows(mu=mu, logvar=logvar, z=z)
    standardised = (z - mu) * torch.exp(-logvar / 2)
    return -0.5 * (math.log(2 * math.pi) + logvar + standardised**2).sum(1)


def log_mean_exp(y: torch.Tensor) -> torch.Tensor:
    """log (1/K sum_k exp y_k), the logarithm of a mean whose K terms are known by their logarithms.

    y: (batch, K). Returns (batch,), between the row's mean and its maximum. ValueError if K = 0. The row's maximum is
    subtracted before exp, so rows near 1000 or -1000 are exact. A row of only -inf gives -inf, with a gradient of NaN.
    """
    (y,) = _rows(y=y)
    return torch.logsumexp(y, dim=1) - math.log(y.shape[1])


def kl_gaussian_gaussian_analytic(
    mu_q: torch.Tensor, logvar_q: torch.Tensor, mu_p: torch.Tensor, logvar_p: torch.Tensor
) -> torch.Tensor:
    """KL(q || p) = 1/2 sum_i [exp(d_i) - 1 - d_i + ((mu_q_i - mu_p_i) / sigma_p_i)^2], with d = logvar_q - logvar_p.

    All arguments: (batch, ...), the means and log-variances of two diagonal Gaussians. Returns (batch,), in nats, at
    least 0, exactly 0 where q is p, down to log-variances of -177 in float32 (-22 in float16), below which it is NaN.
    Kingma & Welling 2014 (arXiv 1312.6114), appendix B, for any p. A quotient of two exp is 0 / 0 where both are
    tight. expm1 keeps the digits that exp(d) - 1 loses if q is nearly p, clamp removes what rounding leaves below 0.
    """
    mu_q, logvar_q, mu_p, logvar_p = _rows(mu_q=mu_q, logvar_q=logvar_q, mu_p=mu_p, logvar_p=logvar_p)
    d = logvar_q - logvar_p
    shift = (mu_q - mu_p) * torch.exp(-logvar_p / 2)
    return 0.5 * ((torch.expm1(d) - d).clamp(min=0) + shift**2).sum(1)


def kl_gaussian_gaussian_mc(
    mu_q: torch.Tensor, logvar_q: torch.Tensor, mu_p: torch.Tensor, logvar_p: torch.Tensor, num_samples: int = 1
) -> torch.Tensor:
    """KL(q || p) ~ 1/S sum_s [log q(z_s) - log p(z_s)], with z_s = mu_q + sigma_q eps_s and eps_s ~ N(0, I).

    mu_q to logvar_p: (batch, ...). num_samples: S, ValueError if below 1; memory grows with S. Returns (batch,), in
    nats: unbiased, so possibly below 0, with a standard error that falls as 1 / sqrt(S). Differentiable with respect to
    all four (reparameterised), repeatable under torch.manual_seed.

    z standardised by q is eps, and by p it is u = (z - mu_p) / sigma_p, so that log q(z) - log p(z) =
    1/2 sum_i [u_i^2 - eps_i^2 - d_i], with d = logvar_q - logvar_p: z is not formed, nothing cancels when q is tight.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, not {num_samples}")
    mu_q, logvar_q, mu_p, logvar_p = _rows(mu_q=mu_q, logvar_q=logvar_q, mu_p=mu_p, logvar_p=logvar_p)
    batch, features = mu_q.shape
    eps = torch.randn(num_samples, batch, features, dtype=mu_q.dtype, device=mu_q.device)
    d = logvar_q - logvar_p
    u = (mu_q - mu_p) * torch.exp(-logvar_p / 2) + torch.exp(d / 2) * eps  # (num_samples, batch, features)
    return 0.5 * (u**2 - eps**2 - d).sum(2).mean(0)


def _rows(**tensors: torch.Tensor) -> list[torch.Tensor]:
    """The tensors, each flattened to (batch, features). ValueError if those differ, or if one is 0-d."""
    for name, tensor in tensors.items():
        if tensor.dim() == 0:
            raise ValueError(f"{name} must have a batch dimension, but its shape is ()")
    rows = [tensor.unsqueeze(-1).flatten(1) for tensor in tensors.values()]  # (batch,) is read as (batch, 1)
    first = next(iter(tensors))
    for name, row in zip(tensors, rows):
        if row.shape != rows[0].shape:
            raise ValueError(
                f"{first} has shape {tuple(tensors[first].shape)} but {name} has shape {tuple(tensors[name].shape)}: "
                "their numbers of rows and of features must agree"
            )
    return rows


if __name__ == "__main__":
    from experiments.vae.evaluate import main

    raise SystemExit(main())
