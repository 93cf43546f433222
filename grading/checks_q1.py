"""The five functions of question 1, on inputs that keep away from where right and wrong agree."""

import math
from functools import partial

import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from .judge import Check, Lost, compare, exact_gradient, gradient, normal, number, numbers, rows, uniform

DRAWS = 1000  # of the judge's own, for what a mistake in a Monte Carlo estimate gives
COMMON = "the mean over the pixels instead of the sum", "the sign: this is the loss, not the log-likelihood"


def bernoulli_inputs(rng, batch, size):
    """Means well inside (0, 1), so that a small number added inside the logarithm does no harm, and binary targets."""
    mu = 0.1 + 0.8 * torch.sigmoid(normal(rng, batch, size))
    return mu, (normal(rng, batch, size) > 0).float()


def bernoulli_compare(ask, rng, tried, batch, size):
    mu, target = bernoulli_inputs(rng, batch, size)
    exact = Independent(Bernoulli(mu.double()), 1)
    expected = exact.log_prob(target.double())
    mistakes = {
        **dict(zip(COMMON, (expected / size, -expected))),
        "target and 1 - target exchanged": exact.log_prob(1 - target.double()),
        "a missing term (1 - x) log(1 - mu)": (target * mu.log()).double().sum(1),
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


def gaussians(rng, batch, size, count=4):
    """mu_q, logvar_q, mu_p, logvar_p; standard deviations from 0.4 to 2.7."""
    return [normal(rng, batch, size).clamp(-2, 2) for _ in range(count)]


def diagonal(mu, logvar):
    """Not validated: where a mistake makes the deviation NaN, so does this."""
    return Independent(Normal(mu.double(), torch.exp(logvar.double() / 2), validate_args=False), 1, validate_args=False)


def normal_compare(ask, rng, what, size, width):
    """Log-variances up to 2 `width`; two rows have none below 0, where a log-variance read as the variance is NaN."""
    mu, logvar, z = gaussians(rng, 5, size, 3)
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
    compare(f"5 rows of {size}, {what}", ask(mu, logvar, z), expected, mistakes=mistakes)


def log_mean_exp_compare(ask, rng, level, others):
    """Rows of 50 around these levels, the first one drawn; the spacing of float32 at 1000 is 6e-5, so 0.01 is kind."""
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
    asked = "".join(f", {name}={value}" for name, value in options.items())
    for batch in (3, 1):
        rows(f"arguments of shape ({batch}, 6){asked}", ask(*draw(rng, batch, 6), **options), batch)


def accepts_images(ask, rng, names, draw, size=16):
    """The handout flattens each argument by itself: the first may come as images and the others in rows. A remark."""
    first, *others = draw(rng, 3, size)
    image = first.reshape(3, 1, math.isqrt(size), math.isqrt(size))
    tried = f"{names[0]} of shape {tuple(image.shape)}" + "".join(f", {name} of (3, {size})" for name in names[1:])
    try:
        rows(tried, ask(image, *others), 3)
    except Lost as reason:
        raise Lost(str(reason) if str(reason).startswith(tried) else f"{tried}: {reason}") from None


def wide_and_tight(rng, batch, size, low=0.3, high=1.2):
    """The same four with q wider than p in every dimension, so that no two mistakes in an estimate cancel."""
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
    """The deviation of log q(z) - log p(z) under q: in each dimension 1/2 [(a + b eps)^2 - eps^2] + constant."""
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
    """An average of 25 samples spreads a fifth as much as one; the deviation of 100 calls is known to 7 percent."""
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


SHAPE, LAYOUT = "one number per row", "images"
BERNOULLI, NORMAL = ("Q1.1", "log_likelihood_bernoulli"), ("Q1.2", "log_likelihood_normal")
MEAN = "Q1.3", "log_mean_exp"
SAME, DIFFERENT = "5 rows of 7, q and p with the same variances", "5 rows of 7, all means and variances different"
LAYOUTS = partial(accepts_images, names=["mu_q", "logvar_q", "mu_p", "logvar_p"], draw=gaussians)
ANALYTIC, MC = ("Q1.4", "kl_gaussian_gaussian_analytic"), ("Q1.5", "kl_gaussian_gaussian_mc")
CHECKS = [
    Check(*BERNOULLI, "values", 1, partial(bernoulli_compare, tried="a batch of 5 rows of 7", batch=5, size=7)),
    Check(*BERNOULLI, "784 pixels", 1, partial(bernoulli_compare, tried="3 images of 784 pixels", batch=3, size=784)),
    Check(*BERNOULLI, "gradient", 1, bernoulli_gradient),
    Check(*BERNOULLI, SHAPE, 1, partial(one_number_per_row, draw=bernoulli_inputs)),
    Check(*BERNOULLI, LAYOUT, 0, partial(accepts_images, names=["mu", "target"], draw=bernoulli_inputs, size=784)),
    Check(*NORMAL, "unit variances", 1, partial(normal_compare, what="all variances 1", size=7, width=0)),
    Check(*NORMAL, "all variances", 1, partial(normal_compare, what="variances of all sizes", size=7, width=1)),
    Check(*NORMAL, "100 dimensions", 1, partial(normal_compare, what="variances up to 50", size=100, width=2)),
    Check(*NORMAL, SHAPE, 1, partial(one_number_per_row, draw=partial(gaussians, count=3))),
    Check(*NORMAL, LAYOUT, 0, partial(accepts_images, names=["mu", "logvar", "z"], draw=partial(gaussians, count=3))),
    Check(*MEAN, "values", 1, partial(log_mean_exp_compare, level=(-1, 1), others=[0.0, 1.0, -1.0])),
    Check(*MEAN, "around +1000", 1, partial(log_mean_exp_compare, level=(990, 1010), others=[1000.0])),
    # without a shift only the first row is lost, with the maximum of the batch the second one, too
    Check(*MEAN, "around -1000", 1, partial(log_mean_exp_compare, level=(-1100, -900), others=[-50.0, 75.0])),
    Check(*MEAN, SHAPE, 1, partial(one_number_per_row, draw=partial(gaussians, count=1))),
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
