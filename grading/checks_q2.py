"""The three objectives of question 2, with critics that judge and worker each build from the same description."""

import math
from functools import partial

import torch

from .calling import Critic
from .judge import Check, Lost, compare, exact_gradient, gradient, normal, number, numbers


class Pair:
    """A critic, and two batches of points on either side of its slope, so that x and y are not to be exchanged."""

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
    right, t_x, t_y = hellinger(v_x, v_y), 1 - torch.exp(-v_x), 1 - torch.exp(-v_y)
    return {
        "x and y exchanged": hellinger(v_y, v_x),
        "half of it": right / 2,
        "the sign": -right,
        "the conjugate of Jensen-Shannon": t_x.mean() + torch.log(2 - torch.exp(t_y)).mean(),
        "a sigmoid in front": hellinger(torch.sigmoid(v_x), torch.sigmoid(v_y)),
        "a missing output activation 1 - exp(-v)": v_x.mean() - (v_y / (1 - v_y)).mean(),
        "the activation where the conjugate belongs": t_x.mean() - t_y.mean(),
        "the Wasserstein objective": v_x.mean() - v_y.mean(),
    }


def critic_values(ask, rng, form, low, high, objective, mistakes):
    pair = Pair(rng, form, number(rng, low, high))
    v_x, v_y = (v.detach() for v in pair.outputs()[:2])
    tried = f"12 points each, a {form} critic"
    compare(tried, pair.ask(ask), objective(v_x, v_y), mistakes=mistakes(v_x, v_y))


def hellinger_gaussians(ask, rng):
    """The optimal critic of two unit Gaussians a distance d apart is (log p - log q) / 2, which is affine.

    Its outputs go to where literal forms of the objective are steep; these points give about 2 (1 - exp(-d^2 / 8)).
    """
    size, distance = 1000, number(rng, 1.7, 2.3)
    weight, bias = torch.tensor([-distance / 2, 0.0]), distance**2 / 4
    x, y = normal(rng, size, 2), normal(rng, size, 2) + torch.tensor([distance, 0.0])
    v_x, v_y = (x @ weight + bias).double(), (y @ weight + bias).double()
    tried = f"the best critic of two Gaussians a distance {distance:g} apart, {size:,} points each"
    answer = ask(x, y, weight, critic=("linear", bias))
    compare(tried, answer, hellinger(v_x, v_y), mistakes=hellinger_mistakes(v_x, v_y))


def critic_gradient(ask, rng, form, objective, mistakes):
    """The gradient with respect to the critic's parameters is the objective's, a formula of the outputs."""
    tried, pair = "the gradient with respect to the critic's 2 parameters", Pair(rng, form, number(rng, 0.8, 1.2))
    got = gradient(tried, pair.ask(ask, gradients="critic"), [pair.weight], "the critic's parameters")
    v_x, v_y, weight = pair.outputs()
    wrong = {name: exact_gradient(value, [weight]) for name, value in mistakes(v_x, v_y).items()}
    compare(tried, got, exact_gradient(objective(v_x, v_y), [weight]), mistakes=wrong)


def one_number(ask, rng):
    for batch in (12, 1):
        numbers(f"{batch} points each", Pair(rng, "tanh", 1.0, batch).ask(ask), 1)


def wasserstein(v_x, v_y):
    return v_x.mean() - v_y.mean()


def wasserstein_mistakes(v_x, v_y):
    right = wasserstein(v_x, v_y)
    return {
        "x and y exchanged": -right,
        "the sum of both means": v_x.mean() + v_y.mean(),
        "the sum instead of the mean": len(v_x) * right,
        "a sigmoid in front": wasserstein(torch.sigmoid(v_x), torch.sigmoid(v_y)),
        "half of it": right / 2,
    }


def multiples(right, batch):
    return {
        "the sum over the batch instead of the mean": batch * right,
        "lambda = 10 included": 10 * right,
        "half of it": right / 2,
        "the sign": -right,
    }


def penalty_mistakes(slopes):
    """What the penalty would be for a critic of these slopes, one for each sample."""
    steep, norm = (slopes - 1).clamp(min=0), (slopes.norm() - 1).clamp(min=0)
    return {
        "the norm taken over the batch": norm**2,
        "the squared norm instead of the norm": (slopes**2 - 1).clamp(min=0).square().mean(),
        "a two-sided penalty": (slopes - 1).square().mean(),
        "a two-sided penalty, lambda = 10 included": 10 * (slopes - 1).square().mean(),
        "a two-sided penalty, summed over the batch": (slopes - 1).square().sum(),
        "a penalty that is not squared": steep.mean(),
        "a penalty on the mean slope": (slopes.mean() - 1).clamp(min=0) ** 2,
        "the square of the norm, 1 not subtracted": slopes.square().mean(),
        "only slopes below 1 cost": (1 - slopes).clamp(min=0).square().mean(),
        **multiples(steep.square().mean(), len(slopes)),
    }


def constant_slope(ask, rng, low, high, features=(2,)):
    slope, batch = number(rng, low, high), 8
    what = f"{batch} points each" if features == (2,) else f"x and y of shape {(batch, *features)}"
    mistakes = penalty_mistakes(torch.full((batch,), slope, dtype=torch.float64))
    del mistakes["a penalty on the mean slope"]  # which is each sample's
    if len(features) == 3:
        mistakes["the norm taken over the channels alone"] = max(slope * features[1] ** -1 - 1, 0) ** 2
    pair, expected = Pair(rng, "linear", slope, batch, features), max(slope - 1, 0) ** 2
    compare(f"{what}, a critic of slope {slope:g} everywhere", pair.ask(ask), expected, mistakes=mistakes)


def penalty_uneven(ask, rng):
    """Only two pairs of 12 lie where the critic is steep: its slope s costs (s - 1)^2, a sixth of that on average."""
    slope, where = number(rng, 4, 6), int(number(rng, 0, 10.9))
    x, y, slopes = normal(rng, 12, 2), normal(rng, 12, 2), torch.zeros(12, dtype=torch.float64)
    for part, value in ((x, x + 100), (y, y + 100), (slopes, slopes + slope)):
        part[where : where + 2] = value[where : where + 2]
    answer = ask(x, y, torch.tensor([slope, 0.0]), critic=("ramp", -50.0 * slope))
    tried = f"12 points each, a critic of slope {slope:g} at two and 0 at ten"
    compare(tried, answer, (slope - 1) ** 2 / 6, mistakes=penalty_mistakes(slopes))


def penalty_points(ask, rng):
    """The mean of many calls, whose own spread gives the standard error: one t for a batch is as right as one for each.

    The critic's slope at (a, a) is 1 + a, its penalty a^2: between (1, 1) and (s, s) that is (s^2 + s + 1) / 3 on
    average. Off that line it is far steeper, so that points with a t for each coordinate show.
    """
    calls, side = 200, number(rng, 3.5, 4.5)
    x, y, weight = torch.ones(16, 2), torch.full((16, 2), side), torch.tensor([[1.0, 1.0], [0.0, -1.0]])
    tried = f"16 points at (1, 1) and ({side:g}, {side:g}), a critic of slope 1 + a at (a, a), mean of {calls} calls"
    values = numbers(tried, ask(x, y, weight, critic=("valley", 0.0), calls=calls), 1)[:, 0]
    a, b = torch.cartesian_prod(*2 * [torch.linspace(1, side, 101)]).double().T
    slope, expected = torch.hypot(1 + a + 100 * (a - b), 100 * (a - b)), (side**2 + side + 1) / 3
    drawn = {
        "a penalty that is not squared": (1 + side) / 2,
        "a penalty on the mean slope": (1 + side) ** 2 / 4 + (side - 1) ** 2 / 12 / 16,
        "a t for each coordinate instead of one for each sample": (slope - 1).clamp(min=0).square().mean(),
        **multiples(expected, 16),
    }
    fixed = {"fixed points half-way, t = 1/2": (1 + side) ** 2 / 4}
    fixed |= {"the points x alone, t not drawn": 1.0, "the points y alone, t not drawn": side**2}
    mistakes = drawn if values.std() > 1e-4 * expected else fixed
    tolerance = (6 * values.std() / calls**0.5).clamp(min=1e-3)
    compare(tried, values.mean(0, keepdim=True), expected, tolerance, mistakes)


def penalty_gradient(ask, rng):
    """The penalty of a linear critic is (||w|| - 1)^2, whose gradient is 2 (||w|| - 1) w / ||w||."""
    slope = number(rng, 2.5, 4)
    pair = Pair(rng, "linear", slope)
    tried = f"the gradient with respect to the critic's 2 parameters, at slope {slope:g}"
    cause = "create_graph=True missing from torch.autograd.grad, or a detach or item"
    got = gradient(tried, pair.ask(ask, gradients="critic"), [pair.weight], "the critic's parameters", cause)
    direction = pair.weight.double() / slope
    expected = 2 * (slope - 1) * direction
    compare(tried, got, expected, mistakes={"a penalty that is not squared": direction, **multiples(expected, 12)})


def penalty_images(ask, rng):
    """Images, as question 3 has them: the norm goes over all features, and a sample's t is one number."""
    try:
        constant_slope(ask, rng, 5, 7, (3, 4, 4))
    except Lost as reason:
        passed = "" if "(8, 3, 4, 4)" in str(reason) else "x and y of shape (8, 3, 4, 4): "
        raise Lost(f"would not work for question 3: {passed}{reason}") from None


NUMBER = "one number"
HELLINGER = {"form": "tanh", "objective": hellinger, "mistakes": hellinger_mistakes}
WASSERSTEIN = {"form": "linear", "objective": wasserstein, "mistakes": wasserstein_mistakes}
CHECKS = [
    Check("Q2.2", "vf_squared_hellinger", "values", 1, partial(critic_values, low=0.8, high=1.2, **HELLINGER)),
    Check("Q2.2", "vf_squared_hellinger", "two Gaussians", 1, hellinger_gaussians),
    Check("Q2.2", "vf_squared_hellinger", "gradient", 1, partial(critic_gradient, **HELLINGER)),
    Check("Q2.2", "vf_squared_hellinger", NUMBER, 1, one_number),
    Check("Q2.4", "vf_wasserstein_distance", "values", 1, partial(critic_values, low=1.5, high=3, **WASSERSTEIN)),
    Check("Q2.4", "vf_wasserstein_distance", "gradient", 0.5, partial(critic_gradient, **WASSERSTEIN)),
    Check("Q2.4", "vf_wasserstein_distance", NUMBER, 0.5, one_number),
    Check("Q2.4", "lp_reg", "steep critic", 0.25, partial(constant_slope, low=2.5, high=4)),
    Check("Q2.4", "lp_reg", "gentle critic", 0.25, partial(constant_slope, low=0.55, high=0.8)),
    Check("Q2.4", "lp_reg", "uneven critic", 0.25, penalty_uneven),
    Check("Q2.4", "lp_reg", "random points", 0.5, penalty_points),
    Check("Q2.4", "lp_reg", "gradient", 0.5, penalty_gradient),
    Check("Q2.4", "lp_reg", "images", 0, penalty_images),
    Check("Q2.4", "lp_reg", NUMBER, 0.25, one_number),
]
