"""The graded objectives against optimal critics with known answers, and wrong variants that the checks reject."""

import math
from functools import partial

import pytest
import torch

from experiments.divergences.bank import CriticBank
from model import Critic
from q2_solution import gradient_norm, lp_reg, vf_squared_hellinger, vf_wasserstein_distance


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(slope, features=2):
    """A critic of that slope, in a direction that no axis has."""
    direction = torch.ones(features, dtype=torch.float64) / features**0.5
    return lambda x: slope * (x.flatten(1) @ direction.to(x.dtype))


def check_hellinger(function):
    # Two unit Gaussians a distance 1 apart: the optimal critic is (log p - log q) / 2, the answer 2 (1 - exp(-1/8)).
    shift, size = torch.tensor([1.0, 0.0], dtype=torch.float64), 200_000
    x, y = randn(size, 2), randn(size, 2, seed=1) + shift

    def optimal(points):
        return ((points - shift).square().sum(1) - points.square().sum(1)) / 4

    truth = 2 - 2 * math.exp(-1 / 8)
    stderr = ((torch.expm1(-optimal(x)).var() + torch.expm1(optimal(y)).var()) / size).sqrt()
    assert (function(x, y, optimal) - truth).abs() <= 5 * stderr
    assert function(x, y, lambda points: 0.8 * optimal(points)) < truth - 5 * stderr  # a lower bound
    assert function(x, y, lambda points: 0 * points[:, 0]) == 0
    unequal = function(x[:7], y[:3], optimal)  # a mean over each of the two
    torch.testing.assert_close(unequal, 2 - torch.exp(-optimal(x[:7])).mean() - torch.exp(optimal(y[:3])).mean())
    for level in (20.0, -100.0):  # where the conjugate written literally is infinite or NaN
        value = function(x[:3].float(), y[:3].float(), lambda points, level=level: torch.full((len(points),), level))
        torch.testing.assert_close(value, torch.tensor(2 - math.exp(-level) - math.exp(level)))


def check_wasserstein(function):
    x, y = randn(100, 2), randn(100, 2, seed=1)

    def first(points):
        return points[:, 0]

    torch.testing.assert_close(function(x + 3, x, first), torch.tensor(3.0, dtype=torch.float64))
    value = function(x, y, first)
    torch.testing.assert_close(value, x[:, 0].mean() - y[:, 0].mean())
    torch.testing.assert_close(function(y, x, first), -value)
    torch.testing.assert_close(function(x + 7, y + 7, first), value)
    torch.testing.assert_close(function(10 * x, 10 * y, first), 10 * value)
    torch.testing.assert_close(function(x[:7], y[:3], first), x[:7, 0].mean() - y[:3, 0].mean())  # of each its own mean


def check_penalty(function):
    for shape in ((8, 2), (1, 2), (4, 3, 8, 8)):
        x, y = randn(*shape), randn(*shape, seed=1)
        for slope, penalty in ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (3.0, 4.0)):
            value = function(x, y, linear(slope, x[0].numel()))
            torch.testing.assert_close(value, torch.tensor(penalty, dtype=torch.float64), atol=1e-12, rtol=1e-9)
    # The points lie on the lines between x and y, uniformly. The critic's slope at (a, a) is a, its penalty (a - 1)^2
    # from 1 on; between (0, 0) and (3, 3) that is 8 / 9 on average. Off the lines it would be steeper.
    x, y = torch.zeros(50_000, 2, dtype=torch.float64), torch.full((50_000, 2), 3.0, dtype=torch.float64)

    def quadratic(points):
        return (points[:, 0] ** 2 + 100 * (points[:, 0] - points[:, 1]) ** 2) / 2

    torch.manual_seed(0)
    stderr = math.sqrt((32 / 15 - (8 / 9) ** 2) / 50_000)
    assert abs(function(x, y, quadratic).item() - 8 / 9) <= 5 * stderr
    # One steep sample among many counts by itself.
    steep = torch.tensor([5.0] + [0.0] * 9, dtype=torch.float64)
    value = function(
        torch.zeros(10, 1, dtype=torch.float64), torch.ones(10, 1, dtype=torch.float64), lambda z: steep * z[:, 0]
    )
    torch.testing.assert_close(value, torch.tensor(1.6, dtype=torch.float64))
    # The penalty depends on the critic's parameters, through the gradient.
    slope = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(randn(5, 2), randn(5, 2, seed=1), lambda z: slope * z[:, 0]), slope)
    torch.testing.assert_close(gradient, torch.tensor(4.0, dtype=torch.float64))
    slope = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(randn(5, 2), randn(5, 2, seed=1), lambda z: slope * z[:, 0]), slope)
    assert gradient == 0


CHECKS = {vf_squared_hellinger: check_hellinger, vf_wasserstein_distance: check_wasserstein, lp_reg: check_penalty}


def penalty(x, y, critic, one_t=True, fixed=None, dim=None, norm=torch.linalg.vector_norm, penalise=None):
    """The penalty written in another style, with one thing at a time to be done wrong."""
    t = torch.rand(len(x), *[1] * (x.dim() - 1)).to(x) if one_t else torch.rand_like(x)
    points = (x + (t if fixed is None else fixed) * (y - x)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    slope = norm(gradient, dim=dim or tuple(range(1, x.dim())))
    return (penalise or (lambda slope: (slope - 1).clamp(min=0) ** 2))(slope).mean()


def jensen_shannon_conjugate(x, y, critic):
    return -torch.expm1(-critic(x)).mean() + torch.log(2 - torch.exp(-torch.expm1(-critic(y)))).mean()


def literal_hellinger(x, y, critic):
    t = 1 - torch.exp(-critic(y))
    return (1 - torch.exp(-critic(x))).mean() - (t / (1 - t)).mean()


WRONG = {
    check_hellinger: {
        "swapped": lambda x, y, critic: vf_squared_hellinger(y, x, critic),
        "literal": literal_hellinger,
        "halved": lambda x, y, critic: vf_squared_hellinger(x, y, critic) / 2,
        "conjugate of Jensen-Shannon": jensen_shannon_conjugate,
    },
    check_wasserstein: {
        "swapped": lambda x, y, critic: vf_wasserstein_distance(y, x, critic),
        "absolute": lambda x, y, critic: vf_wasserstein_distance(x, y, critic).abs(),
        "summed together": lambda x, y, critic: (critic(x).sum() - critic(y).sum()) / len(x),
        "squashed": lambda x, y, critic: vf_wasserstein_distance(x, y, lambda points: torch.sigmoid(critic(points))),
    },
    check_penalty: {
        "two-sided": partial(penalty, penalise=lambda slope: (slope - 1) ** 2),
        "norm over one axis": partial(penalty, dim=1),
        "norm over the batch": lambda x, y, critic: penalty(x, y, critic, dim=tuple(range(x.dim()))),
        "t for each coordinate": partial(penalty, one_t=False),
        "at the middle": partial(penalty, fixed=0.5),
        "at an end": partial(penalty, fixed=1.0),
        "of the mean norm": partial(penalty, penalise=lambda slope: (slope.mean() - 1).clamp(min=0) ** 2),
        "norm squared": partial(penalty, penalise=lambda slope: (slope**2 - 1).clamp(min=0) ** 2),
        "not squared": partial(penalty, penalise=lambda slope: (slope - 1).clamp(min=0)),
        "NaN where flat": partial(penalty, norm=lambda gradient, dim: (gradient**2).sum(dim).sqrt()),
    },
}


@pytest.mark.parametrize(("check", "name"), [(check, name) for check, variants in WRONG.items() for name in variants])
def test_wrong_variant_is_rejected(check, name):
    with pytest.raises(AssertionError):
        check(WRONG[check][name])


@pytest.mark.parametrize("function, check", [*CHECKS.items(), (penalty, check_penalty)])  # also in another style
def test_function_passes_its_check(function, check):
    check(function)


@pytest.mark.parametrize("function", CHECKS)
@pytest.mark.parametrize("shape", [(1, 2), (6, 2), (4, 3, 8, 8)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_every_shape_gives_a_scalar_that_reaches_the_critics_parameters(function, shape, keepdim):
    weight = randn(math.prod(shape[1:]), seed=2).requires_grad_()

    def critic(points):
        value = torch.tanh(points.flatten(1) @ weight)
        return value.unsqueeze(1) if keepdim else value

    value = function(randn(*shape), randn(*shape, seed=1), critic)
    assert value.shape == ()
    assert torch.autograd.grad(value, weight)[0].isfinite().all()


@pytest.mark.parametrize("function", CHECKS)
def test_gradients_match_finite_differences(function):
    x, y = randn(4, 2), randn(4, 2, seed=1)

    def objective(weight):
        torch.manual_seed(0)
        return function(x, y, lambda points: torch.tanh(points @ weight[:2]) @ weight[2:].sum(0))

    assert torch.autograd.gradcheck(objective, (3 * randn(4, 2, seed=2)).requires_grad_())


def test_penalty_leaves_no_trace_and_nothing_flows_into_x_and_y():
    """On a critic that is curved, so that another point has another slope."""
    x, y, weight = (randn(*shape, seed=seed).requires_grad_() for seed, shape in enumerate([(5, 2), (5, 2), (2,)]))
    with torch.no_grad():
        assert not lp_reg(x, y, lambda points: 9 * torch.tanh(points @ weight)).requires_grad
    value = lp_reg(x, y, lambda points: 9 * torch.tanh(points @ weight))
    assert weight.grad is None and x.requires_grad and y.requires_grad
    value.backward()
    assert weight.grad.abs().max() > 0 and x.grad is None and y.grad is None


def test_penalty_under_inference_mode_is_an_error_and_not_a_number():
    with torch.inference_mode(), pytest.raises(RuntimeError, match="does not require grad"):
        lp_reg(randn(5, 2), randn(5, 2, seed=1), Critic().double())


def test_shapes_that_differ_are_both_named():
    with pytest.raises(ValueError, match=r"\(4, 2\).*\(3, 2\)"):
        lp_reg(randn(4, 2), randn(3, 2), linear(1.0))


def test_critic_has_the_handouts_names_and_one_number_for_each_sample():
    critic = Critic()
    assert [name for name, _ in critic.named_parameters()] == [
        f"main.{i}.{kind}" for i in (0, 2, 4, 6) for kind in ("weight", "bias")
    ]
    x = torch.randn(7, 2)
    h = x
    for layer in (critic.main[i] for i in (0, 2, 4)):
        h = h @ layer.weight.T + layer.bias
        h = torch.where(h > 0, h, 0.01 * h)
    torch.testing.assert_close(critic(x), (h @ critic.main[6].weight.T + critic.main[6].bias)[:, 0])
    assert critic(torch.randn(1, 2)).shape == (1,)
    assert critic(torch.randn(7, 2)).shape == (7,)


def test_bank_is_its_critics_side_by_side():
    torch.manual_seed(0)
    critics = [Critic() for _ in range(3)]
    bank, x, y = CriticBank(critics), torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    alone = torch.stack([critic(points) for critic, points in zip(critics, x)])
    torch.testing.assert_close(bank(x.flatten(0, 1)).view(3, 5), alone)
    for k in range(3):
        torch.testing.assert_close(bank.critic(k)(x[k]), critics[k](x[k]))
    for function in CHECKS:
        bank.zero_grad()
        torch.manual_seed(1)
        together = function(x.flatten(0, 1), y.flatten(0, 1), bank)
        torch.manual_seed(1)  # the bank draws t for all blocks at once: the same numbers in the same order
        apart = [function(a, b, critic) for critic, a, b in zip(critics, x, y)]
        torch.testing.assert_close(together, torch.stack(apart).mean())
        (3 * together).backward()
        for k, critic in enumerate(critics):
            expected = torch.autograd.grad(apart[k], critic.main[2].weight)[0]
            torch.testing.assert_close(bank.weights[1].grad[k].t(), expected)


def test_gradient_norm_of_a_linear_critic_is_its_slope_and_0_if_it_ignores_its_input():
    x, y, weight = randn(4, 3, 2), randn(4, 3, 2, seed=1), torch.ones((), requires_grad=True)
    torch.testing.assert_close(gradient_norm(x, y, linear(2.5, 6)), torch.full((4,), 2.5).double())
    for critic in (lambda x: torch.ones(len(x)), lambda x: weight.expand(len(x)), lambda x: 0 * x[:, 0, 0]):
        assert gradient_norm(x, y, critic).tolist() == [0] * 4
        assert lp_reg(x, y, critic) == 0
