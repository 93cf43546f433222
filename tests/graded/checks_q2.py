"""What the three objectives of question 2 are asked: critics are small networks whose answers are known.

A critic lives where the function is called, so the worker builds it from a description, and the judge an equal one of its own.
"""

import math

import torch

from .critics import Critic
from .judge import Check, Lost, compare, exact_gradient, gradient, normal, number, numbers


class Pair:
    """Two batches of points on either side of a critic's slope, so that x and y are not to be exchanged, and that critic."""

    def __init__(self, rng, form, slope, batch=12, features=(2,)):
        size = math.prod(features)
        angle = number(rng, 0.2, 1.4) if size == 2 else 0.0
        direction = torch.tensor([math.cos(angle), -math.sin(angle)]) if size == 2 else torch.full((size,), size**-0.5)
        self.weight, self.critic = slope * direction, (form, 0.0)
        shift = 0.7 * direction.reshape(features)
        self.x, self.y = normal(rng, batch, *features) + shift, normal(rng, batch, *features) - shift

    def ask(self, ask, **options):
        return ask(self.x, self.y, self.weight, critic=self.critic, **options)

    def outputs(self):
        """The critic's outputs for both batches in float64, and its weight, to differentiate them by."""
        critic = Critic(self.critic[0], self.weight).double()
        return critic(self.x.double()), critic(self.y.double()), critic.weight


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


def hellinger_values(ask, rng):
    pair = Pair(rng, "tanh", number(rng, 0.8, 1.2))
    v_x, v_y, _ = pair.outputs()
    tried = "12 points each, the critic tanh(w . x)"
    compare(tried, pair.ask(ask), hellinger(v_x, v_y).detach(), mistakes=hellinger_mistakes(v_x.detach(), v_y.detach()))


def hellinger_gaussians(ask, rng):
    """The optimal critic of two unit Gaussians a distance d apart is (log p - log q) / 2, which is affine.

    Its outputs go to where literal forms of the objective are steep; these points give about H2 = 2 (1 - exp(-d^2 / 8)).
    """
    size, distance = 1000, number(rng, 1.7, 2.3)
    weight, bias = torch.tensor([-distance / 2, 0.0]), distance**2 / 4
    x, y = normal(rng, size, 2), normal(rng, size, 2) + torch.tensor([distance, 0.0])
    v_x, v_y = (x @ weight + bias).double(), (y @ weight + bias).double()
    tried = f"the best critic of two Gaussians a distance {distance:g} apart, {size:,} points each"
    compare(tried, ask(x, y, weight, critic=("linear", bias)), hellinger(v_x, v_y), mistakes=hellinger_mistakes(v_x, v_y))


def critic_gradient(tried, ask, objective, pair):
    """The gradient with respect to the critic's parameters is that of the objective, which is given as a formula of outputs."""
    got = gradient(tried, pair.ask(ask, gradients="critic"), [pair.weight], "the critic's parameters")
    v_x, v_y, weight = pair.outputs()
    expected = exact_gradient(objective(v_x, v_y), [weight])
    compare(tried, got, expected, mistakes={"the sign": -expected, "half of it": expected / 2})


def hellinger_gradient(ask, rng):
    tried = "the gradient with respect to the critic's 2 parameters"
    critic_gradient(tried, ask, hellinger, Pair(rng, "tanh", number(rng, 0.8, 1.2)))


def one_number(ask, rng):
    for batch in (12, 1):
        numbers(f"{batch} points each", Pair(rng, "tanh", 1.0, batch).ask(ask), 1)


def wasserstein(v_x, v_y):
    return v_x.mean() - v_y.mean()


def wasserstein_values(ask, rng):
    pair = Pair(rng, "linear", number(rng, 1.5, 3))
    v_x, v_y = (v.detach() for v in pair.outputs()[:2])
    right = wasserstein(v_x, v_y)
    mistakes = {
        "x and y exchanged": -right,
        "the sum of both means": v_x.mean() + v_y.mean(),
        "the sum instead of the mean": 12 * right,
        "a sigmoid in front": wasserstein(torch.sigmoid(v_x), torch.sigmoid(v_y)),
        "half of it": right / 2,
    }
    compare("12 points each, a linear critic", pair.ask(ask), right, mistakes=mistakes)


def wasserstein_gradient(ask, rng):
    tried = "the gradient with respect to the critic's 2 parameters"
    critic_gradient(tried, ask, wasserstein, Pair(rng, "linear", number(rng, 1.5, 3)))


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


def constant_slope(ask, rng, slope, batch=8, features=(2,)):
    what = f"{batch} points each" if features == (2,) else f"x and y of shape ({batch}, {', '.join(map(str, features))})"
    expected, mistakes = max(slope - 1, 0) ** 2, penalty_mistakes(slope, batch)
    if len(features) == 3:
        mistakes = {"the norm taken over the channels alone": max(slope * features[1] ** -1 - 1, 0) ** 2} | mistakes
    pair = Pair(rng, "linear", slope, batch, features)
    compare(f"{what}, a critic of slope {slope:g} everywhere", pair.ask(ask), expected, mistakes=mistakes)


def penalty_steep(ask, rng):
    constant_slope(ask, rng, number(rng, 2.5, 4))


def penalty_gentle(ask, rng):
    constant_slope(ask, rng, number(rng, 0.45, 0.8))


def penalty_uneven(ask, rng):
    """Only one pair of ten lies where the critic is steep: its slope s costs (s - 1)^2, a tenth of that on average."""
    slope, where = number(rng, 4, 6), int(number(rng, 0, 9.9))
    x, y = normal(rng, 10, 2), normal(rng, 10, 2)
    x[where], y[where] = x[where] + 100, y[where] + 100
    one = (slope - 1) ** 2
    mistakes = {
        "a penalty on the mean slope": max(slope / 10 - 1, 0) ** 2,
        "the norm taken over the batch": one,
        "a two-sided penalty": one / 10 + 0.9,
        "the sum over the batch instead of the mean": one,
    }
    answer = ask(x, y, torch.tensor([slope, 0.0]), critic=("ramp", -50.0 * slope))
    compare(f"10 points each, a critic of slope {slope:g} at one and 0 at nine", answer, one / 10, mistakes=mistakes)


def penalty_points(ask, rng):
    """The mean of many calls, whose own spread gives the standard error: one t for a sample and one for a batch are both right.

    The critic's slope at (a, a) is 1 + a, its penalty a^2: between (0, 0) and (s, s) that is s^2 / 3 on average. Off that line
    it is far steeper, so that points with a t for each coordinate show.
    """
    calls, side = 200, number(rng, 2.5, 3.5)
    x, y, weight = torch.zeros(16, 2), torch.full((16, 2), side), torch.tensor([[1.0, 1.0], [0.0, -1.0]])
    tried = f"16 points at (0, 0) and ({side:g}, {side:g}), a critic of slope 1 + a at (a, a), mean of {calls} calls"
    values = numbers(tried, ask(x, y, weight, critic=("valley", 0.0), calls=calls), 1)[:, 0]
    a, b = side * torch.cartesian_prod(*2 * [torch.linspace(0, 1, 101)]).double().T
    slope = torch.hypot(1 + a + 100 * (a - b), 100 * (a - b))
    mistakes = {
        "fixed points half-way, t = 1/2": side**2 / 4,
        "the points x alone, t not drawn": 0.0,
        "the points y alone, t not drawn": side**2,
        "a penalty that is not squared": side / 2,
        "a t for each coordinate instead of one for each sample": (slope - 1).clamp(min=0).square().mean(),
    }
    tolerance = (6 * values.std() / calls**0.5).clamp(min=1e-3)
    mistakes = {name: value for name, value in mistakes.items() if (values.mean() - value).abs() <= tolerance}
    compare(tried, values.mean(0, keepdim=True), side**2 / 3, tolerance, mistakes)


def penalty_gradient(ask, rng):
    """The penalty of a linear critic is (||w|| - 1)^2, whose gradient is 2 (||w|| - 1) w / ||w||."""
    slope = number(rng, 2.5, 4)
    pair = Pair(rng, "linear", slope)
    tried = f"the gradient with respect to the critic's 2 parameters, at slope {slope:g}"
    got = gradient(tried, pair.ask(ask, gradients="critic"), [pair.weight], "the critic's parameters")
    direction = pair.weight.double() / slope
    compare(tried, got, 2 * (slope - 1) * direction, mistakes={"a penalty that is not squared": direction})


def penalty_images(ask, rng):
    """Images, as question 3 has them: the norm of a sample's gradient goes over all features, and its t is one number."""
    try:
        constant_slope(ask, rng, 3.0, 8, (3, 4, 4))
    except Lost as reason:
        passed = "" if "(8, 3, 4, 4)" in str(reason) else "x and y of shape (8, 3, 4, 4): "
        raise Lost(f"would not work for question 3: {passed}{reason}") from None


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
    Check("Q2.4", "lp_reg", "gradient", 0.5, penalty_gradient),
    Check("Q2.4", "lp_reg", "images", 0, penalty_images),
    Check("Q2.4", "lp_reg", NUMBER, 0.25, one_number),
]
