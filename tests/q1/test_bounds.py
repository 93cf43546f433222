"""The bounds on log p(x) and their gradients against exact answers, and wrong variants that the checks reject."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from experiments.vae.bounds import (
    elbo,
    elbo_by_path,
    importance_weighted_bound,
    importance_weighted_bound_by_path,
    log_importance_weights,
    log_likelihood_bernoulli_logits,
)
from q1_solution import log_mean_exp


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(W z, s^2 I), columns of W orthogonal: evidence and (diagonal) posterior are known."""

    s = 0.7

    def __init__(self):
        self.W = torch.linalg.qr(randn(6, 3)).Q * torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
        self.x = randn(4, 6, seed=1)
        self.evidence = MultivariateNormal(
            torch.zeros(6, dtype=torch.float64), self.W @ self.W.T + self.s**2 * torch.eye(6, dtype=torch.float64)
        ).log_prob(self.x)
        precision = 1 + (self.W**2).sum(0) / self.s**2
        self.z_mean = self.x @ self.W / self.s**2 / precision
        self.z_logvar = -precision.log().expand_as(self.z_mean)

    def log_likelihood(self, z):
        return Independent(Normal(z @ self.W.T, self.s), 1).log_prob(self.x)


def swapped(log_likelihood, z_mean, z_logvar, eps):
    """Prior and posterior exchanged: the classic slip."""
    right = log_importance_weights(log_likelihood, z_mean, z_logvar, eps)
    return 2 * log_likelihood(z_mean + torch.exp(z_logvar / 2) * eps) - right


def check_weights(log_importance_weights):
    case = LinearGaussian()
    # With the exact posterior every weight is the evidence; with a wider one their mean is, to its standard error.
    exact = log_importance_weights(case.log_likelihood, case.z_mean, case.z_logvar, randn(50, 4, 3, seed=2))
    torch.testing.assert_close(exact, case.evidence.expand(50, 4))
    log_w = log_importance_weights(
        case.log_likelihood, case.z_mean + 0.1, case.z_logvar + 0.5, randn(20_000, 4, 3, seed=3)
    )
    weights = torch.exp(log_w - case.evidence)
    assert ((weights.mean(0) - 1).abs() <= 5 * weights.std(0) / 20_000**0.5).all()
    assert (log_mean_exp(log_w.t()) >= log_w.mean(0)).all()


def test_importance_weights_give_the_evidence_of_a_linear_gaussian_model():
    check_weights(log_importance_weights)


def test_importance_weights_swapped_are_rejected():
    with pytest.raises(AssertionError):
        check_weights(swapped)


class OneLatent:
    """z ~ N(0, 1), x | z ~ N(a z, 1) in one dimension, and a q that is not the posterior."""

    a, x, z_mean, z_logvar = 1.5, 1.2, -0.2, -0.5

    def bound_by_quadrature(self, S):
        """E[L_S], and its gradient by the mean and the log-variance of q: an integral over eps_1 ... eps_S, S <= 2."""
        nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(80))
        z_mean, z_logvar = (
            torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (self.z_mean, self.z_logvar)
        )
        z, sigma = z_mean + (z_logvar / 2).exp() * nodes, (z_logvar / 2).exp()
        log_w = Normal(self.a * z, 1.0).log_prob(torch.tensor(self.x)) + Normal(0.0, 1.0).log_prob(z)
        log_w = log_w - Normal(z_mean, sigma).log_prob(z)
        mass = mass / mass.sum()
        if S == 2:
            log_w, mass = torch.logaddexp(log_w[:, None], log_w) - math.log(2), mass[:, None] * mass
        value = (mass * log_w).sum()
        return value.detach(), torch.stack(torch.autograd.grad(value, (z_mean, z_logvar)))

    def bounds(self, bound, S, rows=40_000):
        """The bound of every row, and its gradients by each row's mean and log-variance, (rows,) and (rows, 2)."""
        x = torch.full((rows, 1), self.x, dtype=torch.float64)
        z_mean, z_logvar = (torch.full_like(x, value).requires_grad_() for value in (self.z_mean, self.z_logvar))
        values = bound(
            lambda z: Normal(self.a * z, 1.0).log_prob(x).sum(-1), z_mean, z_logvar, randn(S, rows, 1, seed=S)
        )
        return values.detach(), torch.cat(torch.autograd.grad(values.sum(), (z_mean, z_logvar)), dim=1)


def check_bound(bound, S_of_bound=lambda S: S):
    """Right on average, value and gradient."""
    case = OneLatent()
    for S in (1, 2):
        for found, expected in zip(case.bounds(bound, S), case.bound_by_quadrature(S_of_bound(S))):
            assert ((found.mean(0) - expected).abs() <= 5 * found.std(0) / len(found) ** 0.5).all()


def check_by_path(bound, S_of_bound=lambda S: S):
    """Right on average, and without any noise in the gradient where q is the posterior."""
    check_bound(bound, S_of_bound)
    exact = LinearGaussian()
    z_mean, z_logvar = (t.clone().requires_grad_() for t in (exact.z_mean, exact.z_logvar))
    values = bound(exact.log_likelihood, z_mean, z_logvar, randn(2, 4, 3))
    torch.testing.assert_close(values.detach(), exact.evidence)
    for gradient in torch.autograd.grad(values.sum(), (z_mean, z_logvar)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


check_elbo_by_path = partial(check_by_path, S_of_bound=lambda S: 1)
RIGHT = [
    (importance_weighted_bound, check_bound),
    (elbo_by_path, check_elbo_by_path),
    (importance_weighted_bound_by_path, check_by_path),
]


@pytest.mark.parametrize(("bound", "check"), RIGHT)
def test_bounds_and_their_gradients_are_those_of_quadrature_by_path_with_less_noise(bound, check):
    check(bound)


def test_importance_weighted_bound_by_path_has_the_same_gradient_by_what_the_likelihood_depends_on():
    a, z_mean, z_logvar = (torch.full((7, 1), value, requires_grad=True) for value in (1.5, -0.2, -0.5))
    gradients = []
    for bound in (importance_weighted_bound, importance_weighted_bound_by_path):
        values = bound(
            lambda z: Normal(a * z, 1.0).log_prob(torch.ones(7, 1)).sum(-1), z_mean, z_logvar, randn(3, 7, 1)
        )
        gradients += torch.autograd.grad(values.sum(), a)
    torch.testing.assert_close(*gradients)


def q_held_fixed(log_likelihood, z_mean, z_logvar, eps):
    """The path cut instead of the density."""
    sample = (z_mean + (z_logvar / 2).exp() * eps).detach()
    log_q = Normal(z_mean, (z_logvar / 2).exp()).log_prob(sample).sum(-1)
    return (log_likelihood(sample) + Normal(0.0, 1.0).log_prob(sample).sum(-1) - log_q).mean(0)


def spread_held_fixed(log_likelihood, z_mean, z_logvar, eps):
    """Right in value, but its gradient leaves the variance of q out."""
    return importance_weighted_bound(log_likelihood, z_mean, z_logvar.detach() + 0 * z_logvar, eps)


def weighted_once(*arguments):
    """The density of q left out, as if that alone made the path's gradient the bound's, as it does the ELBO's."""
    return log_mean_exp(log_importance_weights(*arguments, path_only=True).t())


def density_kept(*arguments):
    """The noise of q's density kept."""
    return log_importance_weights(*arguments).mean(0)


def weights_summed(*arguments):
    return importance_weighted_bound(*arguments) + math.log(len(arguments[-1]))


WRONG = [
    (elbo, check_elbo_by_path),
    (density_kept, check_elbo_by_path),
    (q_held_fixed, check_elbo_by_path),
    (importance_weighted_bound, check_by_path),
    (weighted_once, check_by_path),
    (elbo_by_path, check_by_path),
    (elbo, check_bound),
    (weights_summed, check_bound),
    (spread_held_fixed, check_bound),
]


@pytest.mark.parametrize(("bound", "check"), WRONG)
def test_wrong_bounds_and_gradients_are_rejected(bound, check):
    with pytest.raises(AssertionError):
        check(bound)


def test_bounds_are_ordered_and_below_the_evidence():
    """ELBO = L_1 < L_5 < L_50 < log p(x), and L_S is the evidence itself where q is the posterior."""
    case, rows = LinearGaussian(), 2000
    x, z_mean, z_logvar = (t.repeat(rows, 1) for t in (case.x, case.z_mean + 0.3, case.z_logvar + 0.5))

    def log_likelihood(z):
        return Independent(Normal(z @ case.W.T, case.s), 1).log_prob(x)

    values = [
        importance_weighted_bound(log_likelihood, z_mean, z_logvar, randn(S, len(x), 3, seed=S)) for S in (1, 5, 50)
    ]
    values = [elbo(log_likelihood, z_mean, z_logvar, randn(1, len(x), 3, seed=4)), *values]
    means, stderrs = zip(*((v.mean(), v.std() / len(v) ** 0.5) for v in (v.view(rows, 4).mean(1) for v in values)))
    assert (means[0] - means[1]).abs() <= 5 * (stderrs[0] ** 2 + stderrs[1] ** 2) ** 0.5
    assert means[1] < means[2] < means[3] < case.evidence.mean()
    exact = importance_weighted_bound(
        log_likelihood, *(t.repeat(rows, 1) for t in (case.z_mean, case.z_logvar)), randn(5, len(x), 3)
    )
    torch.testing.assert_close(exact, case.evidence.repeat(rows))


def test_saturated_pixel_costs_its_logit():
    logits = torch.tensor([[40.0, -200.0]])
    found = log_likelihood_bernoulli_logits(logits, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([-240.0]))
