"""The graded functions against torch.distributions and closed forms, and wrong variants that the checks reject."""

import ast
import itertools
import math
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

import q1_solution
import q2_solution
from q1_solution import (
    kl_gaussian_gaussian_analytic,
    kl_gaussian_gaussian_mc,
    log_likelihood_bernoulli,
    log_likelihood_normal,
    log_mean_exp,
)

SHAPES = [(1, 3), (4, 1), (5, 7), (3, 1, 4, 4), (6,)]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gaussians(*shape, dtype=torch.float64):
    """mu_q, logvar_q, mu_p, logvar_p."""
    return [randn(*shape, seed=seed, dtype=dtype) for seed in range(4)]


def normal(mu, logvar):
    rows = mu.reshape(len(mu), -1), torch.exp(logvar / 2).reshape(len(mu), -1)
    return Independent(Normal(*rows), 1)


def check_bernoulli(function):
    for shape in SHAPES:
        mu, target = torch.sigmoid(3 * randn(*shape)), (randn(*shape, seed=1) > 0).double()
        expected = Bernoulli(mu).log_prob(target).reshape(len(mu), -1).sum(1)
        torch.testing.assert_close(function(mu, target), expected)
        torch.testing.assert_close(function(mu.float(), target.float()), expected.float())
    mu = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]], requires_grad=True)
    value = function(mu, torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(value, torch.tensor([0.0, -100.0, -200.0]))
    value.sum().backward()
    assert mu.grad.isfinite().all()


def check_normal(function):
    for shape in SHAPES:
        mu, logvar, z, _ = gaussians(*shape)
        expected = normal(mu, logvar).log_prob(z.reshape(len(z), -1))
        torch.testing.assert_close(function(mu, logvar, z), expected)
        torch.testing.assert_close(function(mu.float(), logvar.float(), z.float()), expected.float())
    tight = torch.full((1, 2), -100.0)
    torch.testing.assert_close(function(tight, tight, tight), torch.tensor([100 - math.log(2 * math.pi)]))


def check_log_mean_exp(function):
    y = 3 * randn(5, 50)
    torch.testing.assert_close(function(y), torch.exp(y).mean(1).log())
    for shift in (1000.0, -1000.0):
        torch.testing.assert_close(
            function(y.float() + shift), y.exp().mean(1).log().float() + shift, rtol=1e-6, atol=0
        )
    torch.testing.assert_close(function(torch.tensor([[2.5]])), torch.tensor([2.5]))
    rows = torch.tensor([[-math.inf, -math.inf], [-math.inf, 0.0]])
    torch.testing.assert_close(function(rows), torch.tensor([-math.inf, -math.log(2)]))


def check_analytic_kl(function):
    for shape in SHAPES:
        arguments = gaussians(*shape)
        expected = kl_divergence(normal(*arguments[:2]), normal(*arguments[2:]))
        torch.testing.assert_close(function(*arguments), expected)
        torch.testing.assert_close(function(*(a.float() for a in arguments)), expected.float())
    zero = torch.zeros(1, 1)
    for level in (-100.0, 100.0):  # q and p both tight, or both wide: only the ratio of variances matters
        value = function(zero, torch.tensor([[level]]), zero, torch.tensor([[level - 1]]))
        torch.testing.assert_close(value, torch.tensor([(math.e - 2) / 2]))
    mu, logvar = randn(4, 1000, dtype=torch.float32), randn(4, 1000, seed=1, dtype=torch.float32)
    assert (function(mu, logvar, mu, logvar) == 0).all()
    near = logvar + 1e-3 * randn(4, 1000, seed=2, dtype=torch.float32)
    value, expected = function(mu, near, mu, logvar), exact_kl(near.double() - logvar.double())
    torch.testing.assert_close(value.double(), expected, rtol=2e-3, atol=0)
    for scale in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8):
        d = scale * randn(1000, 100, seed=3, dtype=torch.float32)
        assert (function(0 * d, d, 0 * d, 0 * d) >= 0).all()


def exact_kl(d):
    """1/2 sum (exp d - 1 - d) by its power series, for small d in float64."""
    return 0.5 * sum(d**n / math.factorial(n) for n in range(2, 8)).sum(1)


def check_monte_carlo_kl(function):
    rows = 20_000
    arguments = [a.expand(rows, 5).clone().requires_grad_() for a in gaussians(1, 5)]
    torch.manual_seed(0)
    value = function(*arguments)
    assert value.shape == (rows,)
    exact = [a.detach()[:1].requires_grad_() for a in arguments]
    expected = kl_gaussian_gaussian_analytic(*exact)
    assert_mean(value, expected)
    torch.manual_seed(0)
    assert torch.equal(value, function(*arguments))
    gradients = torch.autograd.grad(value.sum(), arguments)
    for gradient, truth in zip(gradients, torch.autograd.grad(expected, exact)):
        assert_mean(gradient, truth)
    many = function(*(a.detach()[:500] for a in arguments), num_samples=40)
    assert_mean(many, expected)
    torch.testing.assert_close(many.var(), value.var() / 40, rtol=0.4, atol=0)


def assert_mean(values, expected):
    """The mean over the first dimension is `expected`, to five standard errors: one false alarm in two million."""
    stderr = values.std(0) / len(values) ** 0.5
    assert ((values.mean(0) - expected).abs() <= 5 * stderr).all(), (values.mean(0), expected, stderr)


CHECKS = {
    log_likelihood_bernoulli: check_bernoulli,
    log_likelihood_normal: check_normal,
    log_mean_exp: check_log_mean_exp,
    kl_gaussian_gaussian_analytic: check_analytic_kl,
    kl_gaussian_gaussian_mc: check_monte_carlo_kl,
}


def monte_carlo(
    *arguments, num_samples=1, sigma=lambda logvar: torch.exp(logvar / 2), detach=False, reduce=torch.mean, sign=1
):
    mu_q, logvar_q, mu_p, logvar_p = arguments
    eps = torch.randn(num_samples, *mu_q.shape, dtype=mu_q.dtype)
    z = mu_q + sigma(logvar_q) * eps
    if detach:
        z = z.detach()
    log_ratio = Normal(mu_q, torch.exp(logvar_q / 2)).log_prob(z) - sign * Normal(
        mu_p, torch.exp(logvar_p / 2)
    ).log_prob(z)
    return reduce(log_ratio.sum(2), dim=0)


def quotient_kl(mu_q, logvar_q, mu_p, logvar_p):
    ratio = (logvar_q.exp() + (mu_q - mu_p) ** 2) / logvar_p.exp()
    return 0.5 * (logvar_p - logvar_q + ratio - 1).reshape(len(mu_q), -1).sum(1)


def cancelling_kl(mu_q, logvar_q, mu_p, logvar_p):
    d = logvar_q - logvar_p
    return 0.5 * (d.exp() - 1 - d + (mu_q - mu_p) ** 2 * torch.exp(-logvar_p)).reshape(len(mu_q), -1).sum(1)


WRONG = {
    check_bernoulli: {
        "mean": lambda mu, target: log_likelihood_bernoulli(mu, target) / mu[0].numel(),
        "literal": lambda mu, target: (target * mu.log() + (1 - target) * (1 - mu).log()).reshape(len(mu), -1).sum(1),
        "swapped": lambda mu, target: log_likelihood_bernoulli(mu, 1 - target),
    },
    check_normal: {
        "without 2 pi": lambda mu, *rest: (
            log_likelihood_normal(mu, *rest) + 0.5 * math.log(2 * math.pi) * mu[0].numel()
        ),
        "variance as log-variance": lambda mu, logvar, z: log_likelihood_normal(mu, logvar.exp(), z),
        "variance as deviation": lambda mu, logvar, z: log_likelihood_normal(mu, 2 * logvar, z),
        "exp of the variance": lambda mu, logvar, z: (
            -0.5 * (math.log(2 * math.pi) + logvar + (z - mu) ** 2 * torch.exp(-logvar)).reshape(len(z), -1).sum(1)
        ),
    },
    check_log_mean_exp: {
        "sum": lambda y: torch.logsumexp(y, 1),
        "unshifted": lambda y: y.exp().mean(1).log(),
        "shifted by hand": lambda y: (y - y.amax(1, keepdim=True)).exp().mean(1).log() + y.amax(1),
    },
    check_analytic_kl: {
        "quotient": quotient_kl,
        "cancelling": cancelling_kl,
        "reversed": lambda *arguments: kl_gaussian_gaussian_analytic(*arguments[2:], *arguments[:2]),
        "mean": lambda *arguments: kl_gaussian_gaussian_analytic(*arguments) / arguments[0][0].numel(),
    },
    check_monte_carlo_kl: {
        "variance as deviation": partial(monte_carlo, sigma=torch.exp),
        "gradient cut": partial(monte_carlo, detach=True),
        "sum over samples": partial(monte_carlo, reduce=torch.sum),
        "sign of log p": partial(monte_carlo, sign=-1),
        "one sample": lambda *arguments, num_samples=1: monte_carlo(*arguments),
        "exact": lambda *arguments, num_samples=1: kl_gaussian_gaussian_analytic(*arguments),
    },
}


@pytest.mark.parametrize("function", CHECKS)
def test_function_passes_its_check(function):
    CHECKS[function](function)


@pytest.mark.parametrize(("check", "name"), [(check, name) for check, variants in WRONG.items() for name in variants])
def test_wrong_variant_is_rejected(check, name):
    with pytest.raises(AssertionError):
        check(WRONG[check][name])


def test_right_monte_carlo_written_differently_is_accepted():
    check_monte_carlo_kl(monte_carlo)


def probabilities(*shape):
    return torch.sigmoid(randn(*shape))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lambda mu: log_likelihood_bernoulli(mu, (randn(3, 4, seed=1) > 0)), [probabilities(3, 4)]),
        (log_likelihood_normal, gaussians(3, 2, 2)[:3]),
        (log_mean_exp, [randn(3, 4)]),
        (kl_gaussian_gaussian_analytic, gaussians(3, 2, 2)),
        (lambda *a: torch.manual_seed(0) and kl_gaussian_gaussian_mc(*a, num_samples=3), gaussians(3, 2, 2)),
    ],
)
def test_gradients_match_finite_differences(function, arguments):
    assert torch.autograd.gradcheck(function, [a.clone().requires_grad_() for a in arguments])


CALLS = [
    (log_likelihood_bernoulli, lambda shape: [probabilities(*shape), (randn(*shape, seed=1) > 0).double()]),
    (log_likelihood_normal, lambda shape: gaussians(*shape)[:3]),
    (log_mean_exp, lambda shape: gaussians(*shape)[:1]),
    (kl_gaussian_gaussian_analytic, lambda shape: gaussians(*shape)),
    (kl_gaussian_gaussian_mc, lambda shape: gaussians(*shape)),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("function", "arguments"), CALLS)
def test_result_is_one_number_per_row_in_the_inputs_dtype_and_place(function, arguments, dtype, device):
    for shape in [(1, 5), (3, 5), (2, 3, 4), (0, 5)]:
        value = function(*(a.to(device, dtype) for a in arguments(shape)))
        assert (value.shape, value.dtype, value.device.type) == ((shape[0],), dtype, device)
        assert value.isfinite().all()


LAYOUTS = [(4, 1, 3, 4), (4, 12, 1), (4, 2, 2, 3)]  # of rows (4, 12)
UNLIKE = {
    (4, 12): [(3, 12), (4, 11), (12, 4), (48,), (1, 12), (4, 1)],
    (4,): [(1, 4), (4, 4), (1,)],
    (0, 5): [(0, 4), (5, 0)],
}


def check_layouts_are_free():
    for function, arguments in CALLS:
        inputs = arguments((4, 12))
        for k, layout in itertools.product(range(len(inputs)), LAYOUTS):
            other = replaced(inputs, k, inputs[k].view(layout))
            torch.testing.assert_close(seeded(function, other), seeded(function, inputs))


def check_unlike_rows_are_refused():
    for function, arguments in CALLS:
        for shape, others in UNLIKE.items():
            inputs = arguments(shape)
            for k, other in itertools.product(range(1, len(inputs)), others):
                message = refusal(function, replaced(inputs, k, arguments(other)[k]))
                assert str(shape) in message and str(other) in message


def replaced(values, k, value):
    return [*values[:k], value, *values[k + 1 :]]


def seeded(function, arguments):
    torch.manual_seed(0)
    return function(*arguments)


def refusal(function, arguments):
    """The sentence of the ValueError; nothing if there is none, or another error."""
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    except Exception:
        return ""
    return ""


def unchecked_rows(**tensors):
    return [tensor.unsqueeze(-1).flatten(1) for tensor in tensors.values()]


def rows_equal_by(key):
    """Rows that refuse only what differs by `key` of the shapes."""

    def rows(**tensors):
        shapes = {tuple(tensor.shape) for tensor in tensors.values()}
        if len({key(shape) for shape in shapes}) > 1:
            raise ValueError(f"shapes differ: {shapes}")
        first = next(iter(tensors.values()))
        return [row.reshape(len(first), -1) for row in unchecked_rows(**tensors)]

    return rows


def rows_of_channels_last(**tensors):
    return [
        row.flip(1) if tensor.dim() > 2 else row for row, tensor in zip(unchecked_rows(**tensors), tensors.values())
    ]


WRONG_ROWS = [
    (rows_equal_by(tuple), check_layouts_are_free),
    (rows_of_channels_last, check_layouts_are_free),
    (unchecked_rows, check_unlike_rows_are_refused),  # broadcasts
    (rows_equal_by(lambda shape: shape[:1]), check_unlike_rows_are_refused),
    (rows_equal_by(math.prod), check_unlike_rows_are_refused),
]


@pytest.mark.parametrize("check", [check_layouts_are_free, check_unlike_rows_are_refused])
def test_rows(check):
    check()


@pytest.mark.parametrize(("variant", "check"), WRONG_ROWS)
def test_wrong_rows_are_rejected(variant, check, monkeypatch):
    monkeypatch.setattr(q1_solution, "_rows", variant)
    with pytest.raises((AssertionError, ValueError)):
        check()


@pytest.mark.parametrize(("function", "arguments"), CALLS)
def test_a_scalar_is_refused(function, arguments):
    with pytest.raises(ValueError, match=r"must have a batch dimension, but its shape is \(\)"):
        function(*(argument[0, 0] for argument in arguments((1, 1))))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float32])
def test_bernoulli_takes_targets_of_any_type(dtype):
    mu, target = probabilities(3, 4).float(), (randn(3, 4, seed=1) > 0).to(dtype)
    torch.testing.assert_close(log_likelihood_bernoulli(mu, target), log_likelihood_bernoulli(mu, target.float()))


def test_bernoulli_agrees_with_the_logits_form_away_from_saturation():
    logits, target = 3 * randn(5, 784), (randn(5, 784, seed=1) > 0).double()
    expected = -F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1)
    torch.testing.assert_close(log_likelihood_bernoulli(torch.sigmoid(logits), target), expected)


@pytest.mark.parametrize("outside", [-0.1, 1.1, math.nan])
def test_bernoulli_refuses_a_mean_outside_0_and_1(outside):
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        log_likelihood_bernoulli(torch.tensor([[0.5, outside]]), torch.ones(1, 2))


def test_log_mean_exp_of_no_terms_is_refused_and_of_none_but_minus_infinities_has_no_gradient():
    with pytest.raises(ValueError):
        log_mean_exp(torch.zeros(3, 0))
    y = torch.tensor([[-math.inf, -math.inf], [-math.inf, 0.0]], requires_grad=True)
    log_mean_exp(y).sum().backward()
    assert y.grad[0].isnan().all() and y.grad[1].tolist() == [0, 1]


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, -177), (torch.float16, -22)])
def test_tight_gaussians_are_exact_until_1_over_sigma_overflows(dtype, least):
    mu, logvar = torch.ones(1, 2, dtype=dtype), torch.full((1, 2), least, dtype=dtype)
    assert kl_gaussian_gaussian_analytic(mu, logvar, mu, logvar) == 0
    expected = torch.tensor([-math.log(2 * math.pi) - least], dtype=dtype)
    torch.testing.assert_close(log_likelihood_normal(mu, logvar, mu), expected)
    assert kl_gaussian_gaussian_analytic(mu, logvar - 1, mu, logvar - 1).isnan()
    assert log_likelihood_normal(mu, logvar - 1, mu).isnan()


@pytest.mark.parametrize("num_samples", [0, -3])
def test_monte_carlo_needs_a_sample(num_samples):
    with pytest.raises(ValueError, match="num_samples"):
        kl_gaussian_gaussian_mc(*gaussians(2, 3), num_samples=num_samples)


def test_monte_carlo_of_equal_gaussians_is_exactly_zero():
    mu, logvar, _, _ = gaussians(3, 4, dtype=torch.float32)
    assert (kl_gaussian_gaussian_mc(mu, logvar, mu, logvar, num_samples=10) == 0).all()


@pytest.mark.parametrize("module", [q1_solution, q2_solution])
def test_file_works_alone(module):
    """Only torch and the standard library at import time, so that the file can be copied out and graded elsewhere."""
    tree = ast.parse(Path(module.__file__).read_text())
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {
        node.module if isinstance(node, ast.ImportFrom) else name.name for node in imports for name in node.names
    }
    assert {module.split(".")[0] for module in modules} - sys.stdlib_module_names == {"torch"}


def test_kl_does_not_depend_on_origin_and_unit():
    """x -> a x + b for both distributions, another a and b for each feature."""
    mu_q, logvar_q, mu_p, logvar_p = gaussians(6, 4)
    a, b = torch.tensor([0.1, 1, -3, 20]).double(), torch.tensor([5, -2, 0, 100]).double()
    unit = 2 * a.abs().log()
    moved = (a * mu_q + b, logvar_q + unit, a * mu_p + b, logvar_p + unit)
    torch.testing.assert_close(kl_gaussian_gaussian_analytic(*moved), kl_gaussian_gaussian_analytic(*gaussians(6, 4)))
