"""Question 1's bounds on log p(x): the ELBO and the importance-weighted bound, their path gradients, their estimates.

Each bound takes log p(x|z) as a function of z, the q(z|x) = N(z_mean, diag(exp(z_logvar))), and noise eps; the prior
is N(0, I).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from experiments import EVALUATION_SEED
from model import VAE
from q1_solution import kl_gaussian_gaussian_analytic, log_likelihood_normal, log_mean_exp

LogLikelihood = Callable[[torch.Tensor], torch.Tensor]  # z to log p(x|z)


def log_likelihood_bernoulli_logits(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """log p(x|z) = sum_i x_i l_i - log(1 + exp l_i), pixels of mean sigmoid(l): exact where a float32 mean is 0 or 1.

    logits: (..., pixels). x: broadcastable to it, 0 or 1. Returns (...,), in nats.
    """
    return (x * logits - F.softplus(logits)).sum(-1)


def elbo(
    log_likelihood: LogLikelihood, z_mean: torch.Tensor, z_logvar: torch.Tensor, eps: torch.Tensor
) -> torch.Tensor:
    """ELBO(x) = E_q[log p(x|z)] - KL(q(z|x) || p(z)), by S samples z_s = z_mean + sigma eps_s, with p(z) = N(0, I).

    log_likelihood: maps z (S, batch, latent_size) to log p(x|z), (S, batch). z_mean, z_logvar: (batch, latent_size), of
    q. eps: (S, batch, latent_size), standard normal. Returns (batch,), in nats (Kingma & Welling 2014, arXiv 1312.6114,
    eq. 7).
    """
    z = z_mean + torch.exp(z_logvar / 2) * eps  # (S, batch, latent_size)
    prior = torch.zeros_like(z_mean)  # both its mean and its log-variance
    kl = kl_gaussian_gaussian_analytic(z_mean, z_logvar, prior, prior)
    return log_likelihood(z).mean(0) - kl


def log_importance_weights(
    log_likelihood: LogLikelihood,
    z_mean: torch.Tensor,
    z_logvar: torch.Tensor,
    eps: torch.Tensor,
    path_only: bool = False,
) -> torch.Tensor:
    """log w_k = log p(x|z_k) + log p(z_k) - log q(z_k|x), at z_k = z_mean + sigma eps_k drawn from q.

    Arguments as of `elbo`, with K for S. path_only: whether gradients reach q by the path through z alone, as if the
    density q(z|x) had parameters of its own. Returns (K, batch), in nats; log_mean_exp over K estimates log p(x), from
    below on average (Burda et al. 2016, arXiv 1509.00519, eq. 8).
    """
    z_mean, z_logvar = z_mean.expand_as(eps), z_logvar.expand_as(eps)
    z = z_mean + torch.exp(z_logvar / 2) * eps  # (K, batch, latent_size)
    if path_only:
        z_mean, z_logvar = z_mean.detach(), z_logvar.detach()
    prior = torch.zeros_like(z)  # both its mean and its log-variance
    log_prior = log_likelihood_normal(*(t.flatten(0, 1) for t in (prior, prior, z))).view(eps.shape[:2])
    log_posterior = log_likelihood_normal(*(t.flatten(0, 1) for t in (z_mean, z_logvar, z))).view(eps.shape[:2])
    return log_likelihood(z) + log_prior - log_posterior


def elbo_by_path(
    log_likelihood: LogLikelihood, z_mean: torch.Tensor, z_logvar: torch.Tensor, eps: torch.Tensor
) -> torch.Tensor:
    """ELBO(x) = E_q[log w], by S samples, with a gradient that leaves out the score term -E_q[grad log q(z|x)].

    Arguments and result as of `elbo`. The score term has mean 0, so the gradients of both are equal in the mean (Roeder
    et al. 2017, arXiv 1703.09194, section 3). In a trained encoder this one has less noise: if q(z|x) is the true
    posterior, log w is constant and the gradient has zero variance. Far from it, as before training, it has more.
    """
    return log_importance_weights(log_likelihood, z_mean, z_logvar, eps, path_only=True).mean(0)


def importance_weighted_bound(
    log_likelihood: LogLikelihood, z_mean: torch.Tensor, z_logvar: torch.Tensor, eps: torch.Tensor
) -> torch.Tensor:
    """L_S(x) = log (1/S sum_s w_s), w_s the importance weights of S samples: ELBO = L_1 <= L_S <= log p(x), on average.

    Arguments and result as of `elbo`, with which it shares its mean at S = 1 (Burda et al. 2016, arXiv 1509.00519, eq.
    8). Its gradient pulls q(z|x) less towards a narrow mode than the ELBO's does, the more so the larger S.
    """
    return log_mean_exp(log_importance_weights(log_likelihood, z_mean, z_logvar, eps).t())


def importance_weighted_bound_by_path(
    log_likelihood: LogLikelihood, z_mean: torch.Tensor, z_logvar: torch.Tensor, eps: torch.Tensor
) -> torch.Tensor:
    """L_S(x), for its gradient by q's parameters phi: sum_s v_s^2 (d log w_s / d z_s) (d z_s / d phi).

    v_s = w_s / sum_r w_r is a sample's share of the weights.
    Arguments and result as of `importance_weighted_bound`; the two gradients are equal in the mean. If q(z|x) is the
    true posterior the gradient has zero variance, and its signal-to-noise ratio does not fall as S grows (doubly
    reparameterised: Tucker et al. 2019, arXiv 1810.04152, section 3).
    """
    z_mean, z_logvar = z_mean.expand_as(eps), z_logvar.expand_as(eps)  # a gradient for each sample
    log_w = log_importance_weights(log_likelihood, z_mean, z_logvar, eps, path_only=True)
    v = torch.softmax(log_w.detach(), dim=0).unsqueeze(-1)  # (S, batch, 1)
    for parameter in (z_mean, z_logvar):
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient: v * gradient)  # log_mean_exp has multiplied it by v once
    return log_mean_exp(log_w.t())


BOUNDS: dict[str, Callable[..., torch.Tensor]] = {  # name of --objective to the bound whose gradient training follows
    "elbo": elbo,
    "elbo-by-path": elbo_by_path,
    "iwae": importance_weighted_bound,
    "iwae-by-path": importance_weighted_bound_by_path,
}


def bound_of(model: VAE, x: torch.Tensor, eps: torch.Tensor, bound: Callable[..., torch.Tensor] = elbo) -> torch.Tensor:
    """One of BOUNDS on log p(x) of x (batch, 784), by noise eps (S, batch, latent_size): (batch,), in nats."""
    x = x.flatten(1)
    z_mean, z_logvar = model.encode(x)
    return bound(lambda z: log_likelihood_bernoulli_logits(model.decode(z), x), z_mean, z_logvar, eps)


@torch.no_grad()
def evaluate_elbo(model: VAE, x: torch.Tensor, batch_size: int = 1000) -> torch.Tensor:
    """The ELBO of each row of x (n, 784), by one sample, under the same noise at every call. Returns (n,), in nats."""
    generator = torch.Generator(x.device).manual_seed(EVALUATION_SEED)
    eps = torch.randn(1, len(x), model.latent_size, generator=generator, device=x.device)
    return torch.cat([bound_of(model, *rows) for rows in zip(x.split(batch_size), eps.split(batch_size, dim=1))])


DECODED_AT_ONCE = 2000  # rows of 784 logits, 6 MB; more is no faster on two cores


@torch.no_grad()
def evaluate_log_likelihood(
    model: VAE, x: torch.Tensor, num_samples: int | list[int], batch_size: int | None = None
) -> torch.Tensor:
    """log p(x) of each row of x (n, 784), by importance sampling with K = num_samples. Returns (n,), in nats.

    Every image draws from a generator of its own, so batch_size, the number of images at once, does not matter.
    num_samples may be a list: returns (n, len(num_samples)), each K taking the first of the same samples.
    """
    several = num_samples if isinstance(num_samples, list) else [num_samples]
    parts = []
    for rows in torch.arange(len(x)).split(batch_size or max(1, DECODED_AT_ONCE // max(several))):
        generators = [torch.Generator(x.device).manual_seed(EVALUATION_SEED + row) for row in rows.tolist()]
        log_w = _log_weights_of_batch(model, x[rows.to(x.device)], max(several), generators)
        parts.append(torch.stack([log_mean_exp(log_w[:, :K]) for K in several], dim=1))
    log_p = torch.cat(parts)
    return log_p if isinstance(num_samples, list) else log_p.squeeze(1)


def _log_weights_of_batch(
    model: VAE, x: torch.Tensor, num_samples: int, generators: list[torch.Generator]
) -> torch.Tensor:
    """log w_k of x (batch, 784), (batch, K), taken a part at a time, so that memory does not grow with K."""
    log_w = []
    for start in range(0, num_samples, DECODED_AT_ONCE):
        shape = (min(DECODED_AT_ONCE, num_samples - start), model.latent_size)
        eps = torch.stack([torch.randn(shape, generator=generator, device=x.device) for generator in generators], dim=1)
        log_w.append(bound_of(model, x, eps, log_importance_weights))
    return torch.cat(log_w).t()


def mean_and_stderr(values: torch.Tensor) -> tuple[float, float]:
    """The mean of (n,) values and its standard error over the n images, the standard deviation over sqrt(n)."""
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()
