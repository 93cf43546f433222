"""What the three objectives of question 2 are asked: critics are small networks whose answers are known.

Every critic is an nn.Module that maps a batch to (batch,) and treats each sample alone, so that a loop over the samples is as
right as a batch.
"""

import math

import torch
from torch import nn

from .judge import Check, compare, gradient, normal, numbers


class Linear(nn.Module):
    """f(x) = weight . x over all features: its slope is the norm of the weight, everywhere."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(weight))

    def forward(self, x):
        return x.flatten(1) @ self.weight


class Bent(Linear):
    """f(x) = tanh(weight . x), so that its outputs lie where every form of the objectives is finite."""

    def forward(self, x):
        return torch.tanh(super().forward(x))


class Formula(nn.Module):
    """A critic without parameters."""

    def __init__(self, formula):
        super().__init__()
        self.forward = formula


def points(seed, batch=12):
    """Two features; the second batch of a pair lies elsewhere, so that x and y are not to be exchanged."""
    return normal(batch, 2, seed=seed) + torch.tensor([0.5 * (seed % 2), -0.3])


def hellinger(v_x, v_y):
    return (1 - torch.exp(-v_x)).mean() + (1 - torch.exp(v_y)).mean()


def hellinger_mistakes(v_x, v_y):
    def activation(v):
        return 1 - torch.exp(-v)

    right = hellinger(v_x, v_y)
    return {
        "x and y exchanged": hellinger(v_y, v_x),
        "half of it": right / 2,
        "the sign": -right,
        "the conjugate of Jensen-Shannon": activation(v_x).mean() + torch.log(2 - torch.exp(activation(v_y))).mean(),
        "a sigmoid in front": hellinger(torch.sigmoid(v_x), torch.sigmoid(v_y)),
        "a missing output activation 1 - exp(-v)": v_x.mean() - (v_y / (1 - v_y)).mean(),
        "the activation where the conjugate belongs": activation(v_x).mean() - activation(v_y).mean(),
        "the Wasserstein objective": v_x.mean() - v_y.mean(),
    }


def hellinger_values(function):
    x, y, critic = points(1), points(2), Bent([0.9, -0.7])
    v_x, v_y = critic(x).detach().double(), critic(y).detach().double()
    tried = "12 points each, the critic tanh(w . x)"
    compare(tried, function(x, y, critic), hellinger(v_x, v_y), mistakes=hellinger_mistakes(v_x, v_y))


def hellinger_gaussians(function):
    """The optimal critic of two unit Gaussians a distance 2 apart is (log p - log q) / 2, the answer 2 (1 - exp(-1/2))."""
    size = 5000
    x, y = normal(size, 2, seed=11), normal(size, 2, seed=12) + torch.tensor([2.0, 0.0])

    def optimal(z):
        return 1 - z[:, 0]

    v_x, v_y = optimal(x).double(), optimal(y).double()
    stderr = ((torch.exp(-v_x).var() + torch.exp(v_y).var()) / size).sqrt()
    tried = f"the best critic of two Gaussians a distance 2 apart, {size:,} points each"
    truth = torch.tensor(2 - 2 * math.exp(-1 / 2))
    compare(tried, function(x, y, Formula(optimal)), truth, 5 * stderr, hellinger_mistakes(v_x, v_y))


def critic_gradient(tried, function, objective, x, y, critic):
    """The gradient with respect to the critic's parameters is that of the objective, which is given as a formula of outputs."""
    got = gradient(tried, function(x, y, critic), list(critic.parameters()), "the critic's parameters")
    exact = critic.double()
    right = objective(exact(x.double()), exact(y.double()))
    expected = gradient(tried, right, list(exact.parameters()), "the critic's parameters")
    compare(tried, got, expected, mistakes={"the sign": -expected, "half of it": expected / 2})


def hellinger_gradient(function):
    tried = "the gradient with respect to the critic's 2 parameters"
    critic_gradient(tried, function, hellinger, points(1), points(2), Bent([0.9, -0.7]))


def one_number(function):
    for batch in (12, 1):
        numbers(f"{batch} points each", function(points(1, batch), points(2, batch), Bent([0.9, -0.7])), 1)


def wasserstein(v_x, v_y):
    return v_x.mean() - v_y.mean()


def wasserstein_values(function):
    x, y, critic = points(1), points(2), Linear([1.5, -2.0])
    v_x, v_y = critic(x).detach().double(), critic(y).detach().double()
    right = wasserstein(v_x, v_y)
    mistakes = {
        "x and y exchanged": -right,
        "the sum of both means": v_x.mean() + v_y.mean(),
        "the sum instead of the mean": 12 * right,
        "a sigmoid in front": wasserstein(torch.sigmoid(v_x), torch.sigmoid(v_y)),
        "half of it": right / 2,
    }
    compare("12 points each, a linear critic", function(x, y, critic), right, mistakes=mistakes)


def wasserstein_gradient(function):
    tried = "the gradient with respect to the critic's 2 parameters"
    critic_gradient(tried, function, wasserstein, points(1), points(2), Linear([1.5, -2.0]))


def penalty_mistakes(slope, batch):
    """What the penalty would be for a critic of that slope everywhere."""
    over_batch = slope * batch**0.5
    mistakes = {
        "the norm taken over the batch": max(over_batch - 1, 0) ** 2,
        "the squared norm instead of the norm": max(slope**2 - 1, 0) ** 2,
        "a two-sided penalty": (slope - 1) ** 2,
        "a penalty that is not squared": max(slope - 1, 0),
        "a penalty that is not squared, and two-sided": slope - 1,
        "the square of the norm, 1 not subtracted": slope**2,
        "the sum over the batch instead of the mean": batch * max(slope - 1, 0) ** 2,
        "half of it": max(slope - 1, 0) ** 2 / 2,
        "only slopes below 1 cost": max(1 - slope, 0) ** 2,
        "the sign": -(max(slope - 1, 0) ** 2),
    }
    right = max(slope - 1, 0) ** 2
    return {name: value for name, value in mistakes.items() if abs(value - right) > 1e-3}


def constant_slope(function, slope):
    x, y, critic = points(1, 8), points(2, 8), Linear([0.6 * slope, -0.8 * slope])
    tried = f"8 points each, a critic of slope {slope:g} everywhere"
    compare(tried, function(x, y, critic), max(slope - 1, 0) ** 2, mistakes=penalty_mistakes(slope, 8))


def penalty_steep(function):
    constant_slope(function, 3.0)


def penalty_gentle(function):
    constant_slope(function, 0.5)


def penalty_uneven(function):
    """Only the tenth pair of points lies where the critic is steep: its slope of 5 costs 16, a tenth of that on average."""
    x, y = points(1, 10), points(2, 10)
    x[9], y[9] = x[9] + 100, y[9] + 100
    critic = Formula(lambda z: 5 * torch.relu(z[:, 0] - 50))
    mistakes = {
        "a penalty on the mean slope": 0.0,
        "the norm taken over the batch": 16.0,
        "a two-sided penalty": 2.5,
        "the sum over the batch instead of the mean": 16.0,
    }
    compare("10 points each, a critic of slope 5 at one and 0 at nine", function(x, y, critic), 1.6, mistakes=mistakes)


def penalty_points(function):
    """The mean of many calls, whose own spread gives the standard error: one t for a sample and one for a batch are both right.

    The critic's slope at (a, a) is 1 + a, its penalty a^2: between (0, 0) and (3, 3) that is 3 on average. Off that line it is
    far steeper, so that points with a t for each coordinate show.
    """
    calls, x, y = 200, torch.zeros(16, 2), torch.full((16, 2), 3.0)
    critic = Formula(lambda z: ((1 + z[:, 0]) ** 2 + 100 * (z[:, 0] - z[:, 1]) ** 2) / 2)
    tried = f"16 points at (0, 0) and (3, 3), a critic of slope 1 + a at (a, a), mean of {calls} calls"
    values = torch.cat([numbers(tried, function(x, y, critic), 1) for _ in range(calls)])
    mistakes = {
        "fixed points half-way, t = 1/2": 2.25,
        "the points x alone, t not drawn": 0.0,
        "the points y alone, t not drawn": 9.0,
        "a penalty that is not squared": 1.5,
    }
    compare(tried, values.mean(), 3.0, (5 * values.std() / calls**0.5).clamp(min=1e-3), mistakes)


def penalty_gradient(function):
    """The penalty of a linear critic is (||w|| - 1)^2, whose gradient is 2 (||w|| - 1) w / ||w||."""
    weight = torch.tensor([1.8, -2.4])
    critic = Linear(weight.clone())
    tried = "the gradient with respect to the critic's 2 parameters, at slope 3"
    got = gradient(tried, function(points(1), points(2), critic), [critic.weight], "the critic's parameters")
    compare(tried, got, 4 * weight.double() / 3, mistakes={"a penalty that is not squared": weight / 3})


def penalty_images(function):
    """Images too: the norm of a sample's gradient goes over all of its features, and its t is one number."""
    size = 3 * 8 * 8
    x, y = normal(4, 3, 8, 8, seed=13), normal(4, 3, 8, 8, seed=14)
    critic = Linear(torch.full((size,), 3 / size**0.5))
    mistakes = {"the norm taken over the channels alone": max(3 / 8 - 1, 0) ** 2} | penalty_mistakes(3.0, 4)
    compare("4 images of shape (3, 8, 8), a critic of slope 3 everywhere", function(x, y, critic), 4.0, mistakes=mistakes)


NUMBER = "one number"
CHECKS = [
    Check("Q2.2", "vf_squared_hellinger", "values", 1, hellinger_values),
    Check("Q2.2", "vf_squared_hellinger", "two Gaussians", 1, hellinger_gaussians),
    Check("Q2.2", "vf_squared_hellinger", "gradient", 1, hellinger_gradient),
    Check("Q2.2", "vf_squared_hellinger", NUMBER, 1, one_number),
    Check("Q2.4", "vf_wasserstein_distance", "values", 1, wasserstein_values),
    Check("Q2.4", "vf_wasserstein_distance", "gradient", 0.5, wasserstein_gradient),
    Check("Q2.4", "vf_wasserstein_distance", NUMBER, 0.5, one_number),
    Check("Q2.4", "lp_reg", "steep critic", 0.25, penalty_steep),
    Check("Q2.4", "lp_reg", "gentle critic", 0.25, penalty_gentle),
    Check("Q2.4", "lp_reg", "uneven critic", 0.25, penalty_uneven),
    Check("Q2.4", "lp_reg", "random points", 0.5, penalty_points),
    Check("Q2.4", "lp_reg", "gradient", 0.25, penalty_gradient),
    Check("Q2.4", "lp_reg", "images", 0.25, penalty_images),
    Check("Q2.4", "lp_reg", NUMBER, 0.25, one_number),
]
