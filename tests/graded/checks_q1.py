"""What the five functions of question 1 are asked: float32 inputs, values from torch.distributions in float64."""

import math

import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from .judge import Check, Lost, compare, gradient, normal, numbers, rows

FEW = "a batch of 5 rows of 7"


def bernoulli_inputs(batch, size):
    """Means well inside (0, 1), so that a small number added inside the logarithm does no harm, and binary targets."""
    mu = 0.1 + 0.8 * torch.sigmoid(normal(batch, size, seed=1))
    return mu, (normal(batch, size, seed=2) > 0).float()


def bernoulli_compare(tried, function, batch, size):
    mu, target = bernoulli_inputs(batch, size)
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
    compare(tried, function(mu.clone(), target), expected, mistakes=mistakes)


def bernoulli_values(function):
    bernoulli_compare(FEW, function, 5, 7)


def bernoulli_images(function):
    bernoulli_compare("3 images of 784 pixels", function, 3, 784)


def bernoulli_gradient(function):
    mu, target = bernoulli_inputs(4, 6)
    mu.requires_grad_()
    tried = "the gradient with respect to mu, 4 rows of 6"
    got = gradient(tried, function(mu.clone(), target), [mu], "mu")
    expected = (target / mu - (1 - target) / (1 - mu)).detach().double()
    compare(tried, got, expected, mistakes={"a factor of one over the pixels": expected / 6, "the sign": -expected})


def bernoulli_shape(function):
    for batch in (3, 1):
        rows(f"mu and target of shape ({batch}, 6)", function(*bernoulli_inputs(batch, 6)), batch)


def gaussians(batch, size):
    """mu_q, logvar_q, mu_p, logvar_p; standard deviations from about 0.4 to 2.7."""
    return [normal(batch, size, seed=seed).clamp(-2, 2) for seed in range(3, 7)]


def diagonal(mu, logvar):
    """Not validated: where a mistake makes the deviation NaN, so does this."""
    return Independent(Normal(mu.double(), torch.exp(logvar.double() / 2), validate_args=False), 1, validate_args=False)


def normal_compare(tried, function, mu, logvar, z):
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
    compare(tried, function(mu, logvar, z), expected, mistakes=mistakes)


def normal_unit(function):
    mu, _, z, _ = gaussians(5, 7)
    normal_compare("5 rows of 7, all variances 1", function, mu, torch.zeros(5, 7), z)


def normal_values(function):
    mu, logvar, z, _ = gaussians(5, 7)
    normal_compare("5 rows of 7, variances of all sizes", function, mu, logvar, z)


def normal_many(function):
    mu, logvar, z, _ = gaussians(3, 100)
    normal_compare("3 rows of 100, variances from 0.02 to 50", function, mu, 2 * logvar, z)


def normal_shape(function):
    for batch in (3, 1):
        rows(f"mu, logvar and z of shape ({batch}, 6)", function(*gaussians(batch, 6)[:3]), batch)


def log_mean_exp_compare(tried, function, level):
    """Rows at the given levels; the spacing of float32 at 1000 is 6e-5, so 0.01 is kind."""
    y = normal(len(level), 50, seed=7) + torch.tensor(level)[:, None]
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
    compare(tried, function(y), expected, 0.01 if max(map(abs, level)) > 1 else None, mistakes)


def log_mean_exp_values(function):
    log_mean_exp_compare("4 rows of 50 ordinary numbers", function, [0.0, 0.0, 1.0, -1.0])


def log_mean_exp_high(function):
    log_mean_exp_compare("2 rows of 50 around +1000", function, [1000.0, 1000.0])


def log_mean_exp_low(function):
    log_mean_exp_compare("a row of 50 around -1000, with one around 0 below it", function, [-1000.0, 0.0])


def log_mean_exp_shape(function):
    for batch in (3, 1):
        rows(f"y of shape ({batch}, 6)", function(normal(batch, 6, seed=8)), batch)


def kl_compare(tried, function, arguments):
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
    compare(tried, function(*arguments), expected, mistakes=mistakes)


def exact_kl(mu_q, logvar_q, mu_p, logvar_p):
    return kl_divergence(diagonal(mu_q, logvar_q), diagonal(mu_p, logvar_p))


def kl_means(function):
    mu_q, logvar, mu_p, _ = gaussians(5, 7)
    kl_compare("5 rows of 7, q and p with the same variances", function, (mu_q, logvar, mu_p, logvar))


def kl_values(function):
    kl_compare("5 rows of 7, all means and variances different", function, gaussians(5, 7))


def kl_gradient(function):
    arguments = [a.requires_grad_() for a in gaussians(3, 4)]
    tried = "the gradient with respect to mu_q and logvar_q, 3 rows of 4"
    got = gradient(tried, function(*(a.clone() for a in arguments)), arguments[:2], "mu_q and logvar_q")
    expected = gradient(tried, exact_kl(*arguments), arguments[:2], "mu_q and logvar_q")
    exchanged = gradient(tried, exact_kl(*arguments[2:], *arguments[:2]), arguments[:2], "mu_q and logvar_q")
    compare(tried, got, expected.double(), mistakes={"KL reversed, p and q exchanged": exchanged, "the sign": -expected})


def kl_shape(function):
    for batch in (3, 1):
        rows(f"arguments of shape ({batch}, 6)", function(*gaussians(batch, 6)), batch)


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
    """To five standard errors of an honest estimate from that many samples."""
    tolerance = 5 * mc_stderr(*arguments) / samples**0.5
    compare(tried, result, exact_kl(*arguments), tolerance, mc_mistakes(*arguments, num_samples))


def mc_values(function):
    arguments, calls = gaussians(2, 3), 500
    tried = f"2 rows of 3, the default of 1 sample, mean of {calls} calls"
    total = sum(numbers(tried, function(*arguments), 2) for _ in range(calls))
    mc_compare(tried, total / calls, arguments, calls, 1)


def mc_many(function):
    arguments = gaussians(2, 100)
    result = function(*arguments, num_samples=1000)
    mc_compare("2 rows of 100 dimensions, 1,000 samples", result, arguments, 1000, 1000)


def mc_spread(function):
    """An average of 25 samples spreads a fifth as much as one sample; twice that is allowed, and hardly any spread is not.

    The standard deviation of 100 calls is itself known to 7 percent or so.
    """
    arguments = [a[:, :3] for a in gaussians(1, 3)]
    tried = "the spread of 100 calls with num_samples=25"
    values = torch.stack([numbers(tried, function(*arguments, num_samples=25), 1) for _ in range(100)])
    got, expected = float(values.std()), float(mc_stderr(*arguments)[0] / 5)
    if 0.1 * expected <= got <= 2 * expected:
        return
    reason = ""
    if got < 1e-5 * expected:
        reason = ": looks like no sampling at all, or a seed set inside the function"
    elif abs(got / expected - 5) < 2:
        reason = ": looks like num_samples is not used"
    elif abs(got / expected - 25) < 8:
        reason = ": looks like the sum over the samples instead of the mean"
    raise Lost(f"{tried}: {got:.3g}, expected about {expected:.3g}{reason}")


def mc_shape(function):
    for batch in (3, 1):
        for num_samples in (1, 5):
            tried = f"arguments of shape ({batch}, 6), num_samples={num_samples}"
            rows(tried, function(*gaussians(batch, 6), num_samples=num_samples), batch)


SHAPE = "one number per row"
CHECKS = [
    Check("Q1.1", "log_likelihood_bernoulli", "values", 1, bernoulli_values),
    Check("Q1.1", "log_likelihood_bernoulli", "images", 1, bernoulli_images),
    Check("Q1.1", "log_likelihood_bernoulli", "gradient", 1, bernoulli_gradient),
    Check("Q1.1", "log_likelihood_bernoulli", SHAPE, 1, bernoulli_shape),
    Check("Q1.2", "log_likelihood_normal", "unit variances", 1, normal_unit),
    Check("Q1.2", "log_likelihood_normal", "all variances", 1, normal_values),
    Check("Q1.2", "log_likelihood_normal", "100 dimensions", 1, normal_many),
    Check("Q1.2", "log_likelihood_normal", SHAPE, 1, normal_shape),
    Check("Q1.3", "log_mean_exp", "values", 1, log_mean_exp_values),
    Check("Q1.3", "log_mean_exp", "around +1000", 1, log_mean_exp_high),
    Check("Q1.3", "log_mean_exp", "around -1000", 1, log_mean_exp_low),
    Check("Q1.3", "log_mean_exp", SHAPE, 1, log_mean_exp_shape),
    Check("Q1.4", "kl_gaussian_gaussian_analytic", "equal variances", 1, kl_means),
    Check("Q1.4", "kl_gaussian_gaussian_analytic", "values", 1, kl_values),
    Check("Q1.4", "kl_gaussian_gaussian_analytic", "gradient", 1, kl_gradient),
    Check("Q1.4", "kl_gaussian_gaussian_analytic", SHAPE, 1, kl_shape),
    Check("Q1.5", "kl_gaussian_gaussian_mc", "one sample", 1, mc_values),
    Check("Q1.5", "kl_gaussian_gaussian_mc", "many samples", 1, mc_many),
    Check("Q1.5", "kl_gaussian_gaussian_mc", "spread", 1, mc_spread),
    Check("Q1.5", "kl_gaussian_gaussian_mc", SHAPE, 1, mc_shape),
]
