"""What the log-likelihoods and log_mean_exp of question 1 are asked, against torch.distributions in float64.

Inputs are float32 and drawn anew for each grading. Whatever is drawn, a right function passes and a classic mistake does not:
they keep away from where both agree.
"""

import math

import torch
from torch.distributions import Bernoulli, Independent, Normal

from .judge import Check, Lost, compare, gradient, normal, number, rows

FEW = "a batch of 5 rows of 7"


def bernoulli_inputs(rng, batch, size):
    """Means well inside (0, 1), so that a small number added inside the logarithm does no harm, and binary targets."""
    mu = 0.1 + 0.8 * torch.sigmoid(normal(rng, batch, size))
    return mu, (normal(rng, batch, size) > 0).float()


def bernoulli_compare(tried, ask, rng, batch, size):
    mu, target = bernoulli_inputs(rng, batch, size)
    exact = Independent(Bernoulli(mu.double()), 1)
    expected = exact.log_prob(target.double())
    only_ones = (target * mu.log()).double().sum(1)
    mistakes = {
        "the mean over the pixels instead of the sum": expected / size,
        "the sign: this is the loss, not the log-likelihood": -expected,
        "target and 1 - target exchanged": exact.log_prob(1 - target.double()),
        "a missing term (1 - x) log(1 - mu)": only_ones,
        "base 2 logarithms": expected / math.log(2),
        "the probability, without the logarithm": expected.exp(),
    }
    compare(tried, ask(mu, target), expected, mistakes=mistakes)


def bernoulli_values(ask, rng):
    bernoulli_compare(FEW, ask, rng, 5, 7)


def bernoulli_images(ask, rng):
    bernoulli_compare("3 images of 784 pixels", ask, rng, 3, 784)


def bernoulli_gradient(ask, rng):
    mu, target = bernoulli_inputs(rng, 4, 6)
    tried = "the gradient with respect to mu, 4 rows of 6"
    got = gradient(tried, ask(mu, target, gradients=[0]), [mu], "mu")
    expected = (target / mu - (1 - target) / (1 - mu)).double()
    compare(tried, got, expected, mistakes={"a factor of one over the pixels": expected / 6, "the sign": -expected})


def bernoulli_shape(ask, rng):
    for batch in (3, 1):
        rows(f"mu and target of shape ({batch}, 6)", ask(*bernoulli_inputs(rng, batch, 6)), batch)


def gaussians(rng, batch, size):
    """mu_q, logvar_q, mu_p, logvar_p; standard deviations from 0.4 to 2.7."""
    return [normal(rng, batch, size).clamp(-2, 2) for _ in range(4)]


def diagonal(mu, logvar):
    """Not validated: where a mistake makes the deviation NaN, so does this."""
    return Independent(Normal(mu.double(), torch.exp(logvar.double() / 2), validate_args=False), 1, validate_args=False)


def normal_compare(tried, ask, mu, logvar, z):
    expected, size = diagonal(mu, logvar).log_prob(z.double()), mu.shape[1]
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


def normal_unit(ask, rng):
    mu, _, z, _ = gaussians(rng, 5, 7)
    normal_compare("5 rows of 7, all variances 1", ask, mu, torch.zeros(5, 7), z)


def normal_values(ask, rng):
    mu, logvar, z, _ = gaussians(rng, 5, 7)
    normal_compare("5 rows of 7, variances of all sizes", ask, mu, logvar, z)


def normal_many(ask, rng):
    mu, logvar, z, _ = gaussians(rng, 3, 100)
    normal_compare("3 rows of 100, variances from 0.02 to 50", ask, mu, 2 * logvar, z)


def normal_shape(ask, rng):
    for batch in (3, 1):
        rows(f"mu, logvar and z of shape ({batch}, 6)", ask(*gaussians(rng, batch, 6)[:3]), batch)


def log_mean_exp_compare(tried, ask, rng, level):
    """Rows at the given levels; the spacing of float32 at 1000 is 6e-5, so 0.01 is kind."""
    y = normal(rng, len(level), 50) + torch.tensor(level)[:, None]
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
    compare(tried, ask(y), expected, 0.01 if max(map(abs, level)) > 1 else None, mistakes)


def log_mean_exp_values(ask, rng):
    log_mean_exp_compare("4 rows of 50 ordinary numbers", ask, rng, [0.0, 0.0, 1.0, -1.0])


def log_mean_exp_high(ask, rng):
    level = number(rng, 900, 1100)
    log_mean_exp_compare("2 rows of 50 around +1000", ask, rng, [level, level])


def log_mean_exp_low(ask, rng):
    log_mean_exp_compare("a row of 50 around -1000, with one around 0 below it", ask, rng, [number(rng, -1100, -900), 0.0])


def log_mean_exp_shape(ask, rng):
    for batch in (3, 1):
        rows(f"y of shape ({batch}, 6)", ask(normal(rng, batch, 6)), batch)


def accepts_images(ask, names, tensors):
    """The handout flattens each argument by itself, so the first may come as images and the others in rows. A remark."""
    image = (3, 1, 28, 28) if tensors[0].shape[1] == 784 else (3, 1, 4, 4)
    tried = f"{names[0]} of shape {image}" + "".join(f", {name} of {tuple(t.shape)}" for name, t in zip(names[1:], tensors[1:]))
    try:
        rows(tried, ask(tensors[0].reshape(image), *tensors[1:]), 3)
    except Lost as reason:
        raise Lost(str(reason) if str(reason).startswith(tried) else f"{tried}: {reason}") from None


def bernoulli_layout(ask, rng):
    accepts_images(ask, ["mu", "target"], bernoulli_inputs(rng, 3, 784))


def normal_layout(ask, rng):
    accepts_images(ask, ["mu", "logvar", "z"], gaussians(rng, 3, 16)[:3])


def log_mean_exp_layout(ask, rng):
    accepts_images(ask, ["y"], [normal(rng, 3, 16)])


SHAPE, LAYOUT = "one number per row", "images"
CHECKS = [
    Check("Q1.1", "log_likelihood_bernoulli", "values", 1, bernoulli_values),
    Check("Q1.1", "log_likelihood_bernoulli", "784 pixels", 1, bernoulli_images),
    Check("Q1.1", "log_likelihood_bernoulli", "gradient", 1, bernoulli_gradient),
    Check("Q1.1", "log_likelihood_bernoulli", SHAPE, 1, bernoulli_shape),
    Check("Q1.1", "log_likelihood_bernoulli", LAYOUT, 0, bernoulli_layout),
    Check("Q1.2", "log_likelihood_normal", "unit variances", 1, normal_unit),
    Check("Q1.2", "log_likelihood_normal", "all variances", 1, normal_values),
    Check("Q1.2", "log_likelihood_normal", "100 dimensions", 1, normal_many),
    Check("Q1.2", "log_likelihood_normal", SHAPE, 1, normal_shape),
    Check("Q1.2", "log_likelihood_normal", LAYOUT, 0, normal_layout),
    Check("Q1.3", "log_mean_exp", "values", 1, log_mean_exp_values),
    Check("Q1.3", "log_mean_exp", "around +1000", 1, log_mean_exp_high),
    Check("Q1.3", "log_mean_exp", "around -1000", 1, log_mean_exp_low),
    Check("Q1.3", "log_mean_exp", SHAPE, 1, log_mean_exp_shape),
    Check("Q1.3", "log_mean_exp", LAYOUT, 0, log_mean_exp_layout),
]
