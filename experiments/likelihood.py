"""How well a VAE explains digits: bounds on log p(x), and log p(x) itself by the same noise at every call on a device.

Where x is (n, 784), any (n, ...) of 784 pixels does: it is flattened first.
"""

from collections.abc import Callable

import torch
from tqdm import tqdm

from model import VAE
from q1_solution import (
    elbo,
    elbo_by_path,
    importance_weighted_bound,
    importance_weighted_bound_by_path,
    log_importance_weights,
    log_likelihood_bernoulli_logits,
    log_mean_exp,
)

DECODED_AT_ONCE = 2000  # rows of 784 logits, 6 MB; more is no faster on two cores
# what can be trained, by the name of --objective
BOUNDS: dict[str, Callable[..., torch.Tensor]] = {
    "elbo": elbo,
    "elbo-by-path": elbo_by_path,
    "iwae": importance_weighted_bound,
    "iwae-by-path": importance_weighted_bound_by_path,
}
EVALUATION_SEED = 2**31  # evaluation noise is the same for every run, and apart from the seeds people train with


def bound_of(model: VAE, x: torch.Tensor, eps: torch.Tensor, bound: Callable[..., torch.Tensor] = elbo) -> torch.Tensor:
    """One of BOUNDS on log p(x) of digits x (batch, 784), by noise eps (S, batch, latent_size).

    Returns (batch,), in nats.
    """
    x = x.flatten(1)
    z_mean, z_logvar = model.encode(x)
    return bound(lambda z: log_likelihood_bernoulli_logits(model.decode(z), x), z_mean, z_logvar, eps)


@torch.no_grad()
def evaluate_elbo(model: VAE, x: torch.Tensor, batch_size: int = 1000) -> torch.Tensor:
    """The ELBO of each row of x (n, 784), by one sample, under the same noise at every call. Returns (n,), in nats."""
    generator = torch.Generator(x.device).manual_seed(EVALUATION_SEED)
    eps = torch.randn(1, len(x), model.latent_size, generator=generator, device=x.device)
    return torch.cat([bound_of(model, *rows) for rows in zip(x.split(batch_size), eps.split(batch_size, dim=1))])


@torch.no_grad()
def evaluate_log_likelihood(
    model: VAE, x: torch.Tensor, num_samples: int | list[int], batch_size: int | None = None
) -> torch.Tensor:
    """log p(x) of each row of x (n, 784), by importance sampling with K = num_samples. Returns (n,), in nats.

    Every image draws from a generator of its own, so the result does not depend on batch_size, the number of images
    taken at once. The default takes as many as make DECODED_AT_ONCE samples. num_samples may be a list: returns (n,
    len(num_samples)), each K taking the first of the same samples.
    """
    several = num_samples if isinstance(num_samples, list) else [num_samples]
    batches = torch.arange(len(x)).split(batch_size or max(1, DECODED_AT_ONCE // max(several)))
    parts = []
    for rows in tqdm(batches, desc="log p(x)", leave=False, disable=None):
        generators = [torch.Generator(x.device).manual_seed(EVALUATION_SEED + row) for row in rows.tolist()]
        log_w = _log_weights_of_batch(model, x[rows.to(x.device)], max(several), generators)
        parts.append(torch.stack([log_mean_exp(log_w[:, :K]) for K in several], dim=1))
    log_p = torch.cat(parts)
    return log_p if isinstance(num_samples, list) else log_p.squeeze(1)


def _log_weights_of_batch(model: VAE, x: torch.Tensor, num_samples: int, generators: list[torch.Generator]) -> torch.Tensor:
    """log w_k of x (batch, 784), (batch, K), taken a part at a time, so that memory does not grow with K."""
    x = x.flatten(1)
    z_mean, z_logvar = model.encode(x)

    def log_likelihood(z: torch.Tensor) -> torch.Tensor:
        return log_likelihood_bernoulli_logits(model.decode(z), x)

    log_w = []
    for start in range(0, num_samples, DECODED_AT_ONCE):
        shape = (min(DECODED_AT_ONCE, num_samples - start), model.latent_size)
        eps = [torch.randn(shape, generator=generator, device=x.device) for generator in generators]
        log_w.append(log_importance_weights(log_likelihood, z_mean, z_logvar, torch.stack(eps, dim=1)))
    return torch.cat(log_w).t()


def mean_and_stderr(values: torch.Tensor) -> tuple[float, float]:
    """The mean of (n,) values and its standard error over the n images, the standard deviation over sqrt(n)."""
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()
