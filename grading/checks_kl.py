"""What the two divergences of question 1 are asked: exact values and gradients, and what honest Monte Carlo estimates do."""

import math
from functools import partial

import torch
from torch.distributions import kl_divergence

from .checks_q1 import LAYOUT, SHAPE, accepts_images, diagonal, gaussians, one_number_per_row
from .judge import Check, Lost, compare, exact_gradient, gradient, normal, numbers, uniform

DRAWS = 1000  # of the judge's own, for what a mistake gives


def wide_and_tight(rng, batch, size, low=0.3, high=1.2):
    """The same four, q wider than p in every dimension, so that no two mistakes in a Monte Carlo estimate cancel."""
    logvar_q, logvar_p = uniform(rng, low, high, batch, size), -uniform(rng, 0.3, 1.2, batch, size)
    return [normal(rng, batch, size).clamp(-2, 2), logvar_q, normal(rng, batch, size).clamp(-2, 2), logvar_p]


def kl_compare(ask, rng, tried, equal=False):
    mu_q, logvar_q, mu_p, logvar_p = arguments = gaussians(rng, 5, 7)
    if equal:
        logvar_p = arguments[3] = logvar_q
    expected, size = exact_kl(*arguments), mu_q.shape[1]
    mistakes = {
        "KL reversed, p and q exchanged": exact_kl(mu_p, logvar_p, mu_q, logvar_q),
        "the mean over the dimensions instead of the sum": expected / size,
        "the sign": -expected,
        "a missing factor 1/2": 2 * expected,
        "a missing -1": expected + size / 2,
        "a standard deviation where the variance belongs": exact_kl(mu_q, 2 * logvar_q, mu_p, 2 * logvar_p),
        "a prior of N(0, I), mu_p and logvar_p ignored": exact_kl(mu_q, logvar_q, 0 * mu_p, 0 * logvar_p),
        "a difference of means that is not squared": expected
        + ((mu_q - mu_p) * (1 - (mu_q - mu_p)) * torch.exp(-logvar_p)).double().sum(1) / 2,
    }
    compare(tried, ask(*arguments), expected, mistakes=mistakes)


def exact_kl(mu_q, logvar_q, mu_p, logvar_p):
    return kl_divergence(diagonal(mu_q, logvar_q), diagonal(mu_p, logvar_p))


def kl_gradient(ask, rng):
    arguments = gaussians(rng, 3, 4)
    tried = "the gradient with respect to mu_q and logvar_q, 3 rows of 4"
    got = gradient(tried, ask(*arguments, gradients=[0, 1]), arguments[:2], "mu_q and logvar_q")
    exact = [argument.double().requires_grad_() for argument in arguments]
    expected = exact_gradient(exact_kl(*exact), exact[:2])
    exchanged = exact_gradient(exact_kl(*exact[2:], *exact[:2]), exact[:2])
    compare(tried, got, expected, mistakes={"KL reversed, p and q exchanged": exchanged, "the sign": -expected})


def mc_stderr(mu_q, logvar_q, mu_p, logvar_p):
    """The standard deviation of log q(z) - log p(z) under q: in each dimension 1/2 [(a + b eps)^2 - eps^2] + constant."""
    a = ((mu_q - mu_p) * torch.exp(-logvar_p / 2)).double()
    b = torch.exp((logvar_q - logvar_p) / 2).double()
    return (a**2 * b**2 + (b**2 - 1) ** 2 / 2).sum(1).sqrt()


def mc_mistakes(rng, arguments, samples, num_samples):
    """What the classic mistakes give on average and 4.5 standard errors of that, from draws of the judge's own."""
    mu_q, logvar_q, mu_p, logvar_p = [argument.double() for argument in arguments]
    eps, size = torch.randn((DRAWS, *mu_q.shape), generator=rng, dtype=torch.float64), mu_q.shape[1]

    def densities(z):
        return diagonal(mu_q, logvar_q).log_prob(z), diagonal(mu_p, logvar_p).log_prob(z)

    log_q, log_p = densities(mu_q + (logvar_q / 2).exp() * eps)
    log_q_at_p, log_p_at_p = densities(mu_p + (logvar_p / 2).exp() * eps)
    log_q_wide, log_p_wide = densities(mu_q + logvar_q.exp() * eps)
    log_prior = diagonal(0 * mu_p, 0 * logvar_p).log_prob(mu_q + (logvar_q / 2).exp() * eps)
    values = {
        "the sign of log p": log_q + log_p,
        "the sign of log p, with 2 pi left out": log_q + log_p + size * math.log(2 * math.pi),
        "the sign": log_p - log_q,
        "log p left out": log_q,
        "log q left out": -log_p,
        "the mean over the dimensions instead of the sum": (log_q - log_p) / size,
        "KL reversed, p and q exchanged": log_p_at_p - log_q_at_p,
        "samples drawn from p instead of q": log_q_at_p - log_p_at_p,
        "z drawn with the variance as its standard deviation": log_q_wide - log_p_wide,
        "a prior of N(0, I), mu_p and logvar_p ignored": log_q - log_prior,
    }
    if num_samples > 1:
        values["the sum over the samples instead of the mean"] = num_samples * (log_q - log_p)
    errors = 4.5 * (samples**-0.5 + DRAWS**-0.5)
    return {name: (value.mean(0), errors * value.std(0)) for name, value in values.items()}


def mc_compare(rng, tried, result, arguments, samples, num_samples):
    """To six standard errors of an honest estimate from that many samples."""
    tolerance = 6 * mc_stderr(*arguments) / samples**0.5
    compare(tried, result, exact_kl(*arguments), tolerance, mc_mistakes(rng, arguments, samples, num_samples))


def mc_values(ask, rng):
    """Eight rows, so that a seed set inside the function is not close to all of them by chance."""
    arguments, calls = wide_and_tight(rng, 8, 3), 200
    tried = f"8 rows of 3, the default of 1 sample, mean of {calls} calls"
    mc_compare(rng, tried, numbers(tried, ask(*arguments, calls=calls), 8).mean(0), arguments, calls, 1)


def mc_many(ask, rng):
    arguments = wide_and_tight(rng, 8, 100)
    mc_compare(rng, "8 rows of 100 dimensions, 200 samples", ask(*arguments, num_samples=200), arguments, 200, 200)


def mc_spread(ask, rng):
    """An average of 25 samples spreads a fifth as much as one sample; twice that is allowed, and hardly any spread is not.

    The standard deviation of 100 calls is itself known to 7 percent or so, and a z drawn too wide spreads three times as much.
    """
    arguments = wide_and_tight(rng, 1, 3, 1.2, 1.4)
    tried = "the spread of 100 calls with num_samples=25"
    got = float(numbers(tried, ask(*arguments, calls=100, num_samples=25), 1).std())
    expected = float(mc_stderr(*arguments)[0] / 5)
    if 0.1 * expected <= got <= 2 * expected:
        return
    reason = ""
    if got < 1e-5 * expected:
        reason = ": looks like no sampling at all, or a seed set inside the function"
    elif abs(got / expected - 5) < 0.9:
        reason = ": looks like num_samples is not used"
    elif abs(got / expected - 25) < 8:
        reason = ": looks like the sum over the samples instead of the mean"
    raise Lost(f"{tried}: {got:.3g}, expected about {expected:.3g}{reason}")


def mc_shape(ask, rng):
    for num_samples in (1, 5):
        one_number_per_row(ask, rng, gaussians, num_samples=num_samples)


SAME, DIFFERENT = "5 rows of 7, q and p with the same variances", "5 rows of 7, all means and variances different"
LAYOUTS = partial(accepts_images, names=["mu_q", "logvar_q", "mu_p", "logvar_p"], draw=gaussians)
ANALYTIC, MC = ("Q1.4", "kl_gaussian_gaussian_analytic"), ("Q1.5", "kl_gaussian_gaussian_mc")
CHECKS = [
    Check(*ANALYTIC, "equal variances", 1, partial(kl_compare, tried=SAME, equal=True)),
    Check(*ANALYTIC, "values", 1, partial(kl_compare, tried=DIFFERENT)),
    Check(*ANALYTIC, "gradient", 1, kl_gradient),
    Check(*ANALYTIC, SHAPE, 1, partial(one_number_per_row, draw=gaussians)),
    Check(*ANALYTIC, LAYOUT, 0, LAYOUTS),
    Check(*MC, "one sample", 1, mc_values),
    Check(*MC, "many samples", 1, mc_many),
    Check(*MC, "spread", 1, mc_spread),
    Check(*MC, SHAPE, 1, mc_shape),
    Check(*MC, LAYOUT, 0, LAYOUTS),
]
