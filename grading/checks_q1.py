"""The log-likelihoods and log_mean_exp of question 1, on inputs that keep away from where right and wrong agree."""

import math
from functools import partial

import torch
from torch.distributions import Bernoulli, Independent, Normal

from .judge import Check, Lost, compare, gradient, normal, number, rows

COMMON = "the mean over the pixels instead of the sum", "the sign: this is the loss, not the log-likelihood"


def bernoulli_inputs(rng, batch, size):
    """Means well inside (0, 1), so that a small number added inside the logarithm does no harm, and binary targets."""
    mu = 0.1 + 0.8 * torch.sigmoid(normal(rng, batch, size))
    return mu, (normal(rng, batch, size) > 0).float()


def bernoulli_compare(ask, rng, tried, batch, size):
    mu, target = bernoulli_inputs(rng, batch, size)
    exact = Independent(Bernoulli(mu.double()), 1)
    expected = exact.log_prob(target.double())
    only_ones = (target * mu.log()).double().sum(1)
    mistakes = {
        **dict(zip(COMMON, (expected / size, -expected))),
        "target and 1 - target exchanged": exact.log_prob(1 - target.double()),
        "a missing term (1 - x) log(1 - mu)": only_ones,
        "base 2 logarithms": expected / math.log(2),
        "the probability, without the logarithm": expected.exp(),
    }
    compare(tried, ask(mu, target), expected, mistakes=mistakes)


def bernoulli_gradient(ask, rng):
    mu, target = bernoulli_inputs(rng, 4, 6)
    tried = "the gradient with respect to mu, 4 rows of 6"
    got = gradient(tried, ask(mu, target, gradients=[0]), [mu], "mu")
    expected = (target / mu - (1 - target) / (1 - mu)).double()
    compare(tried, got, expected, mistakes=dict(zip(COMMON, (expected / 6, -expected))))


def gaussians(rng, batch, size):
    """mu_q, logvar_q, mu_p, logvar_p; standard deviations from 0.4 to 2.7."""
    return [normal(rng, batch, size).clamp(-2, 2) for _ in range(4)]


def diagonal(mu, logvar):
    """Not validated: where a mistake makes the deviation NaN, so does this."""
    return Independent(Normal(mu.double(), torch.exp(logvar.double() / 2), validate_args=False), 1, validate_args=False)


def normal_compare(ask, rng, tried, size, width):
    """Log-variances up to 2 `width`; in two rows none below 0, where a log-variance read as the variance would be NaN."""
    mu, logvar, z, _ = gaussians(rng, 5, size)
    logvar = width * torch.cat([logvar[:2].abs(), logvar[2:]])
    expected = diagonal(mu, logvar).log_prob(z.double())
    mistakes = {
        "a missing 2 pi": expected + size / 2 * math.log(2 * math.pi),
        "a missing 2 pi for all dimensions but one": expected + (size - 1) / 2 * math.log(2 * math.pi),
        "a standard deviation where the variance belongs": diagonal(mu, 2 * logvar).log_prob(z.double()),
        "the square root of the standard deviation": diagonal(mu, logvar / 2).log_prob(z.double()),
        "a log-variance read as the variance": diagonal(mu, logvar.double().log()).log_prob(z.double()),
        "the mean over the dimensions instead of the sum": expected / size,
        "the sign": -expected,
        "a missing log-variance term": expected + logvar.double().sum(1) / 2,
    }
    compare(tried, ask(mu, logvar, z), expected, mistakes=mistakes)


def log_mean_exp_compare(ask, rng, level, others):
    """Rows of 50 around the given levels, the first one drawn; the spacing of float32 at 1000 is 6e-5, so 0.01 is kind."""
    levels = [number(rng, *level), *others]
    tried = f"{len(levels)} rows of 50 around {', '.join(f'{level:g}' for level in levels)}"
    y = normal(rng, len(levels), 50) + torch.tensor(levels)[:, None]
    expected = torch.logsumexp(y.double(), 1) - math.log(50)
    mistakes = {
        "log-sum-exp, without the division by K": expected + math.log(50),
        "exponentials taken before the maximum is subtracted": y.exp().mean(1).log(),
        "the maximum of the whole batch instead of each row's": (y - y.max()).exp().mean(1).log() + y.max(),
        "the maximum subtracted and not added again": expected - y.double().max(1).values,
        "the mean of y": y.double().mean(1),
        "the mean of exp(y), without the logarithm": y.double().exp().mean(1),
        "the sign of the division by K": expected + 2 * math.log(50),
    }
    compare(tried, ask(y), expected, 0.01 if max(map(abs, levels)) > 1 else None, mistakes)


def one_number_per_row(ask, rng, draw, **options):
    """The shape of what comes out for batches of 3 and 1 rows."""
    asked = "".join(f", {name}={value}" for name, value in options.items())
    for batch in (3, 1):
        rows(f"arguments of shape ({batch}, 6){asked}", ask(*draw(rng, batch, 6), **options), batch)


def accepts_images(ask, rng, names, draw, size=16):
    """The handout flattens each argument by itself, so the first may come as images and the others in rows. A remark."""
    first, *others = draw(rng, 3, size)
    image = first.reshape(3, 1, math.isqrt(size), math.isqrt(size))
    tried = f"{names[0]} of shape {tuple(image.shape)}" + "".join(f", {name} of (3, {size})" for name in names[1:])
    try:
        rows(tried, ask(image, *others), 3)
    except Lost as reason:
        raise Lost(str(reason) if str(reason).startswith(tried) else f"{tried}: {reason}") from None


def three(rng, batch, size):
    return gaussians(rng, batch, size)[:3]


def one(rng, batch, size):
    return [normal(rng, batch, size)]


SHAPE, LAYOUT = "one number per row", "images"
BERNOULLI, NORMAL, MEAN = (
    ("Q1.1", "log_likelihood_bernoulli"),
    ("Q1.2", "log_likelihood_normal"),
    ("Q1.3", "log_mean_exp"),
)
CHECKS = [
    Check(*BERNOULLI, "values", 1, partial(bernoulli_compare, tried="a batch of 5 rows of 7", batch=5, size=7)),
    Check(*BERNOULLI, "784 pixels", 1, partial(bernoulli_compare, tried="3 images of 784 pixels", batch=3, size=784)),
    Check(*BERNOULLI, "gradient", 1, bernoulli_gradient),
    Check(*BERNOULLI, SHAPE, 1, partial(one_number_per_row, draw=bernoulli_inputs)),
    Check(*BERNOULLI, LAYOUT, 0, partial(accepts_images, names=["mu", "target"], draw=bernoulli_inputs, size=784)),
    Check(*NORMAL, "unit variances", 1, partial(normal_compare, tried="5 rows of 7, all variances 1", size=7, width=0)),
    Check(
        *NORMAL,
        "all variances",
        1,
        partial(normal_compare, tried="5 rows of 7, variances of all sizes", size=7, width=1),
    ),
    Check(
        *NORMAL,
        "100 dimensions",
        1,
        partial(normal_compare, tried="5 rows of 100, variances up to 50", size=100, width=2),
    ),
    Check(*NORMAL, SHAPE, 1, partial(one_number_per_row, draw=three)),
    Check(*NORMAL, LAYOUT, 0, partial(accepts_images, names=["mu", "logvar", "z"], draw=three)),
    Check(*MEAN, "values", 1, partial(log_mean_exp_compare, level=(-1, 1), others=[0.0, 1.0, -1.0])),
    Check(*MEAN, "around +1000", 1, partial(log_mean_exp_compare, level=(990, 1010), others=[1000.0])),
    # without a shift only the first row is lost, with the maximum of the batch the second one, too
    Check(*MEAN, "around -1000", 1, partial(log_mean_exp_compare, level=(-1100, -900), others=[-50.0, 75.0])),
    Check(*MEAN, SHAPE, 1, partial(one_number_per_row, draw=one)),
]
