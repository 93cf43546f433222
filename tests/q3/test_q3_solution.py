"""The functions of question 3 against linear critics and exact geometry, and wrong variants that must be rejected."""

import pytest
import torch
import torch.nn.functional as F

from model import Generator, ImageCritic
from q2_solution import lp_reg, vf_wasserstein_distance
from q3_solution import critic_loss, generator_loss, interpolate, interpolate_spherical, perturb, singular_directions


class Linear(torch.nn.Module):
    """f(x) = slope * (the first feature of x): a critic whose slope is known."""

    def __init__(self, slope):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(slope))

    def forward(self, x):
        return self.slope * x.flatten(1)[:, 0]


def check_losses(critic_loss, generator_loss):
    """On a critic of slope 3 and sets 2 apart: W = 6, penalty = (3 - 1)^2 = 4."""
    x, y = torch.zeros(5, 3, 32, 32), torch.zeros(5, 3, 32, 32)
    x[:, 0, 0, 0], y[:, 0, 0, 0] = 2.5, 0.5
    critic = Linear(3.0)
    loss = critic_loss(x, y, critic, 10.0)
    torch.testing.assert_close(torch.stack(loss), torch.tensor([10 * 4.0 - 6.0, 6.0, 4.0]))
    torch.testing.assert_close(critic_loss(x, y, critic).total, loss.total)  # lambda is 10 unless it is named
    torch.testing.assert_close(torch.stack(critic_loss(x, y, critic, 0.0)), torch.tensor([-6.0, 6.0, 0.0]))
    torch.testing.assert_close(generator_loss(y, critic), torch.tensor(-1.5))
    (slope,) = torch.autograd.grad(loss.total, critic.slope)  # d/ds [10 (s - 1)^2 - 2 s] at s = 3
    torch.testing.assert_close(slope, torch.tensor(38.0))
    gentle = critic_loss(x, y, Linear(0.5), 10.0)
    torch.testing.assert_close(torch.stack(gentle), torch.tensor([-1.0, 1.0, 0.0]))


def test_losses_of_critics_of_known_slope():
    check_losses(critic_loss, generator_loss)
    with pytest.raises(AssertionError):
        check_losses(critic_loss, lambda y, critic: critic(y).mean())


WRONG = {
    "sign of the estimate": lambda x, y, c, w=10.0: (vf_wasserstein_distance(x, y, c) + w * lp_reg(x, y, c),) * 3,
    "sets exchanged": lambda x, y, c, w=10.0: critic_loss(y, x, c, w),
    "penalty without its weight": lambda x, y, c, w=10.0: critic_loss(x, y, c, 1.0),
    "another lambda by default": lambda x, y, c, w=50.0: critic_loss(x, y, c, w),
    "a stronger critic rewarded": lambda x, y, c, w=10.0: critic_loss(x, y, c, -w),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_critic_losses_are_rejected(wrong):
    with pytest.raises((AssertionError, AttributeError)):
        check_losses(wrong, generator_loss)


def test_perturb_moves_one_dimension_at_a_time():
    z = torch.randn(3, 5)
    moved = perturb(z, 0.5)
    assert moved.shape == (5, 3, 5)
    torch.testing.assert_close(moved - z, (0.5 * torch.eye(5)).unsqueeze(1).expand(5, 3, 5))


def check_line(line, shape=(4, 100)):
    """alpha a + (1 - alpha) b, as the handout has it: at alpha = 0 it is b."""
    a, b, alpha = torch.randn(shape), torch.randn(shape), torch.linspace(0, 1, 11)
    path = line(a, b, alpha)
    assert path.shape == (11, *shape)
    assert torch.equal(path[0], b) and torch.equal(path[-1], a)
    torch.testing.assert_close(path.diff(dim=0), ((a - b) / 10).expand(10, *shape))


@pytest.mark.parametrize("shape", [(4, 100), (2, 3, 32, 32)])
def test_interpolation_begins_and_ends_exactly_at_its_ends(shape):
    check_line(interpolate, shape)


WRONG_LINES = {
    "from a to b": lambda a, b, alpha: interpolate(b, a, alpha),
    "inexact at an end": lambda a, b, alpha: b + alpha.view(-1, 1, 1) * (a - b),
    "the arc": interpolate_spherical,
}


@pytest.mark.parametrize("wrong", WRONG_LINES.values(), ids=WRONG_LINES)
def test_wrong_lines_are_rejected(wrong):
    torch.manual_seed(0)
    with pytest.raises(AssertionError):
        check_line(wrong)


def check_arc(arc):
    """Between vectors of length 1 the arc keeps to the sphere and covers equal angles in equal steps."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(6, 9, generator=generator).double(), dim=1) for _ in range(2))
    path = arc(a, b, torch.linspace(0, 1, 11, dtype=torch.float64))
    torch.testing.assert_close(path[0], b)
    torch.testing.assert_close(path[-1], a)
    torch.testing.assert_close(path.norm(dim=-1), torch.ones(11, 6, dtype=torch.float64))
    angles = torch.acos((path[1:] * path[:-1]).sum(-1))
    torch.testing.assert_close(angles, (torch.acos((a * b).sum(-1)) / 10).expand(10, 6))


def test_arc_keeps_to_the_sphere_and_a_line_pulled_onto_it_is_none():
    check_arc(interpolate_spherical)
    with pytest.raises(AssertionError):
        check_arc(lambda a, b, alpha: torch.nn.functional.normalize(interpolate(a, b, alpha), dim=-1))


def test_arc_between_equal_or_parallel_vectors_is_the_line():
    a, alpha = torch.randn(3, 7), torch.linspace(0, 1, 5)
    torch.testing.assert_close(interpolate_spherical(a, a, alpha), a.expand(5, 3, 7))
    torch.testing.assert_close(interpolate_spherical(a, 2 * a, alpha), interpolate(a, 2 * a, alpha))


def test_networks_have_the_handouts_names_and_shapes():
    critic, generator = ImageCritic(), Generator()
    assert {"x.0.weight", "x.2.weight", "x.4.weight", "x.6.weight"} <= critic.state_dict().keys()
    assert {"decoder.0.weight", "decoder.1.running_mean", "decoder.9.weight"} <= generator.state_dict().keys()
    for batch in (1, 3):
        images = generator(torch.randn(batch, 100))
        assert images.shape == (batch, 3, 32, 32)
        assert images.abs().max() <= 1
        assert critic(images).shape == (batch,)
    torch.testing.assert_close(generator.eval()(torch.ones(2, 100, 1, 1)), generator(torch.ones(2, 100)))


def test_networks_compute_what_the_handouts_do():
    """Layer by layer from their weights; LeakyReLU lets a fifth of what is below 0 through."""
    torch.manual_seed(0)
    critic, generator = ImageCritic(3), Generator(5, 2).eval()
    h = x = torch.randn(4, 3, 32, 32)
    for layer in (critic.x[i] for i in (0, 2, 4)):
        h = F.conv2d(h, layer.weight, layer.bias, stride=2, padding=1)
        h = torch.where(h > 0, h, 0.2 * h)
    torch.testing.assert_close(critic(x), F.conv2d(h, critic.x[6].weight, critic.x[6].bias).flatten())
    z = torch.randn(4, 5)
    h = z[:, :, None, None]
    for i in (0, 3, 6, 9):
        layer, shape = generator.decoder[i], {} if i == 0 else {"stride": 2, "padding": 1}
        h = F.conv_transpose2d(h, layer.weight, layer.bias, **shape)
        if i < 9:
            h = (h / (1 + 1e-5) ** 0.5).clamp(min=0)  # batch normalisation by the statistics that it begins with
    torch.testing.assert_close(generator(z), torch.tanh(h))


def response(weight, gain, z):
    """What a transposed convolution and the gain of batch normalisation make of latents z (n, z_dim)."""
    return (torch.nn.functional.conv_transpose2d(z[:, :, None, None], weight) * gain.view(-1, 1, 1)).flatten(1)


def test_singular_directions_are_orthonormal_and_by_falling_response():
    generator = torch.Generator().manual_seed(0)
    weight, gain = torch.randn(6, 5, 4, 4, generator=generator).double(), torch.rand(5, generator=generator).double()
    directions = singular_directions(weight, gain)
    torch.testing.assert_close(directions @ directions.T, torch.eye(6).double())
    responses = response(weight, gain, directions)
    sizes = responses.norm(dim=1)
    assert (sizes.diff() < 0).all()
    torch.testing.assert_close(responses @ responses.T, torch.diag(sizes**2), rtol=1e-9, atol=1e-9)
    draws = torch.nn.functional.normalize(torch.randn(2000, 6, generator=generator).double(), dim=1)
    assert response(weight, gain, draws).norm(dim=1).max() < sizes[0]
    assert (directions.gather(1, directions.abs().argmax(1, keepdim=True)) > 0).all()
