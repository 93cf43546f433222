"""What the two divergences of question 1 are asked: exact values and gradients, and what honest Monte Carlo estimates do."""

import math

import torch
from torch.distributions import kl_divergence

from .checks_q1 import LAYOUT, SHAPE, accepts_images, diagonal, gaussians
from .judge import Check, Lost, compare, exact_gradient, gradient, normal, numbers, rows, uniform


def wide_and_tight(rng, batch, size, low=0.3, high=1.2):
    """The same four, q wider than p in every dimension, so that no two mistakes in a Monte Carlo estimate cancel."""
    logvar_q, logvar_p = uniform(rng, low, high, batch, size), -uniform(rng, 0.3, 1.2, batch, size)
    return [normal(rng, batch, size).clamp(-2, 2), logvar_q, normal(rng, batch, size).clamp(-2, 2), logvar_p]


def kl_compare(tried, ask, arguments):
    mu_q, logvar_q, mu_p, logvar_p = arguments
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


def kl_means(ask, rng):
    mu_q, logvar, mu_p, _ = gaussians(rng, 5, 7)
    kl_compare("5 rows of 7, q and p with the same variances", ask, (mu_q, logvar, mu_p, logvar))


def kl_values(ask, rng):
    kl_compare("5 rows of 7, all means and variances different", ask, gaussians(rng, 5, 7))


def kl_gradient(ask, rng):
    arguments = gaussians(rng, 3, 4)
    tried = "the gradient with respect to mu_q and logvar_q, 3 rows of 4"
    got = gradient(tried, ask(*arguments, gradients=[0, 1]), arguments[:2], "mu_q and logvar_q")
    exact = [argument.double().requires_grad_() for argument in arguments]
    expected = exact_gradient(exact_kl(*exact), exact[:2])
    exchanged = exact_gradient(exact_kl(*exact[2:], *exact[:2]), exact[:2])
    compare(tried, got, expected, mistakes={"KL reversed, p and q exchanged": exchanged, "the sign": -expected})


def kl_shape(ask, rng):
    for batch in (3, 1):
        rows(f"arguments of shape ({batch}, 6)", ask(*gaussians(rng, batch, 6)), batch)


def mc_stderr(mu_q, logvar_q, mu_p, logvar_p):
    """The standard deviation of log q(z) - log p(z) under q: in each dimension 1/2 [(a + b eps)^2 - eps^2] + constant."""
    a = ((mu_q - mu_p) * torch.exp(-logvar_p / 2)).double()
    b = torch.exp((logvar_q - logvar_p) / 2).double()
    return (a**2 * b**2 + (b**2 - 1) ** 2 / 2).sum(1).sqrt()


def mc_mistakes(mu_q, logvar_q, mu_p, logvar_p, num_samples):
    """What the classic mistakes give on average: E_q log q is minus the entropy, and E_q log p is what is left of KL."""
    expected, minus_entropy = exact_kl(mu_q, logvar_q, mu_p, logvar_p), -diagonal(mu_q, logvar_q).entropy()
    return {
        "the sign of log p": 2 * minus_entropy - expected,
        "the sign of log p, with 2 pi left out": 2 * minus_entropy - expected + mu_q.shape[1] * math.log(2 * math.pi),
        "the sign": -expected,
        "log p left out": minus_entropy,
        "the sum over the samples instead of the mean": num_samples * expected,
        "the mean over the dimensions instead of the sum": expected / mu_q.shape[1],
        "KL reversed, p and q exchanged": exact_kl(mu_p, logvar_p, mu_q, logvar_q),
        "samples drawn from p instead of q": -exact_kl(mu_p, logvar_p, mu_q, logvar_q),
        "z drawn with the variance as its standard deviation": expected + too_wide(mu_q, logvar_q, mu_p, logvar_p),
    }


def too_wide(mu_q, logvar_q, mu_p, logvar_p):
    """How much E[log q - log p] changes when z has standard deviation exp(logvar_q) instead of exp(logvar_q / 2)."""
    more = torch.exp(2 * logvar_q.double()) - torch.exp(logvar_q.double())
    return 0.5 * (more * (torch.exp(-logvar_p.double()) - torch.exp(-logvar_q.double()))).sum(1)


def mc_compare(tried, result, arguments, samples, num_samples):
    """To six standard errors of an honest estimate from that many samples."""
    tolerance = 6 * mc_stderr(*arguments) / samples**0.5
    compare(tried, result, exact_kl(*arguments), tolerance, mc_mistakes(*arguments, num_samples))


def mc_values(ask, rng):
    """Eight rows, so that a seed set inside the function is not close to all of them by chance."""
    arguments, calls = wide_and_tight(rng, 8, 3), 200
    tried = f"8 rows of 3, the default of 1 sample, mean of {calls} calls"
    mc_compare(tried, numbers(tried, ask(*arguments, calls=calls), 8).mean(0), arguments, calls, 1)


def mc_many(ask, rng):
    arguments = wide_and_tight(rng, 8, 100)
    mc_compare("8 rows of 100 dimensions, 200 samples", ask(*arguments, num_samples=200), arguments, 200, 200)


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
    for batch in (3, 1):
        for num_samples in (1, 5):
            tried = f"arguments of shape ({batch}, 6), num_samples={num_samples}"
            rows(tried, ask(*gaussians(rng, batch, 6), num_samples=num_samples), batch)


def kl_layout(ask, rng):
    accepts_images(ask, ["mu_q", "logvar_q", "mu_p", "logvar_p"], gaussians(rng, 3, 16))


CHECKS = [
    Check("Q1.4", "kl_gaussian_gaussian_analytic", "equal variances", 1, kl_means),
    Check("Q1.4", "kl_gaussian_gaussian_analytic", "values", 1, kl_values),
    Check("Q1.4", "kl_gaussian_gaussian_analytic", "gradient", 1, kl_gradient),
    Check("Q1.4", "kl_gaussian_gaussian_analytic", SHAPE, 1, kl_shape),
    Check("Q1.4", "kl_gaussian_gaussian_analytic", LAYOUT, 0, kl_layout),
    Check("Q1.5", "kl_gaussian_gaussian_mc", "one sample", 1, mc_values),
    Check("Q1.5", "kl_gaussian_gaussian_mc", "many samples", 1, mc_many),
    Check("Q1.5", "kl_gaussian_gaussian_mc", "spread", 1, mc_spread),
    Check("Q1.5", "kl_gaussian_gaussian_mc", SHAPE, 1, mc_shape),
    Check("Q1.5", "kl_gaussian_gaussian_mc", LAYOUT, 0, kl_layout),
]
