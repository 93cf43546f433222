"""What critics receive of an image, augmented, whitened or as features, each against a known answer."""

import math

import pytest
import torch

from experiments.wgan import views
from experiments.wgan.classifier import DigitClassifier
from experiments.wgan.stand_in import stand_in
from experiments.wgan.views import DigitView, Whitened, augmented, principal_channels, translate
from q3_samplers import scale


@pytest.fixture(scope="module")
def images():
    return scale(stand_in(500).images)


# Augmentation


def check_every_image_is_moved_to_one_of_25_places(translate):
    torch.manual_seed(0)
    x = torch.rand(2500, 3, 6, 5) + 1  # nowhere 0
    moved, padded = translate(x, 2), torch.nn.functional.pad(x, [2] * 4)
    places = [(i, j) for i in range(5) for j in range(5)]
    fits = torch.stack([(moved == padded[..., i : i + 6, j : j + 5]).flatten(1).all(1) for i, j in places])
    assert (fits.sum(0) == 1).all()
    assert (fits.sum(1) - 100).abs().max() < 5 * 100**0.5  # each place as often


def test_translation_moves_whole_images_by_whole_pixels_each_as_often():
    check_every_image_is_moved_to_one_of_25_places(translate)


def test_moving_round_the_edge_and_moving_less_often_are_rejected():
    for wrong in (
        lambda x, most: translate(x, most).roll(1, -1),
        lambda x, most: torch.cat([x[:500], translate(x[500:], most)]),
    ):
        with pytest.raises(AssertionError):
            check_every_image_is_moved_to_one_of_25_places(wrong)


def test_gradients_flow_through_augmentation():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)

    def fixed(x):
        torch.manual_seed(3)
        return augmented(x)

    assert torch.autograd.gradcheck(fixed, x)


def check_colours_change_by_uniform_draws_around_none(change, image):
    """Undone for one image that stays where it is: what was added, and the two factors, each as often up as down."""
    torch.manual_seed(0)

    def levels(x):
        grey = x.mean(1, keepdim=True)
        return x.mean((1, 2, 3)), grey.std((1, 2, 3)), (x - grey).std((1, 2, 3))

    (mean, contrast, colour), before = levels(change(image.expand(4000, -1, -1, -1))), levels(image)
    stretched = contrast / before[1]
    for most, values in [(0.25, mean - before[0]), (0.25, stretched - 1), (0.5, colour / before[2] / stretched - 1)]:
        assert values.mean().abs() < 5 * most / (3 * 4000) ** 0.5
        assert -most - 1e-5 <= values.min() < -0.99 * most and 0.99 * most < values.max() <= most + 1e-5


LEAKS = {
    "brighter": lambda x: augmented(x) + 0.02,
    "flatter": lambda x: 0.9 * augmented(x),
    "one draw for all": lambda x: augmented(x[:1]).expand_as(x),
}


def test_colours_change_by_uniform_draws_around_none_so_that_no_change_is_left_to_learn(images, monkeypatch):
    monkeypatch.setattr(views, "translate", lambda x, most: x)
    image = images[:1, :, 8:24, 8:24]
    check_colours_change_by_uniform_draws_around_none(augmented, image)
    for leak in LEAKS.values():
        with pytest.raises(AssertionError):
            check_colours_change_by_uniform_draws_around_none(leak, image)


# Whitening

SIZE = 4
COLOURS = torch.tensor([[1, 1, 1], [1, -1, 0], [1, 1, -2]], dtype=torch.float64)  # an axis a row
COLOURS = COLOURS / COLOURS.norm(dim=1, keepdim=True)


def test_cosines_are_the_modes_of_a_free_string():
    """The orthonormal eigenvectors of second differences with free ends, whose eigenvalues are 2 - 2 cos(pi k / n)."""
    differences = torch.diff(torch.eye(8, dtype=torch.float64), dim=0)
    basis = views.cosines(8)
    torch.testing.assert_close(basis @ basis.T, torch.eye(8, dtype=torch.float64))
    expected = torch.tensor([2 - 2 * math.cos(math.pi * k / 8) for k in range(8)], dtype=torch.float64)
    torch.testing.assert_close(basis @ (differences.T @ differences) @ basis.T, expected.diag())


def pattern(axis, down, across):
    """The image, of norm 1, that has one coefficient alone, written out by itself."""

    def wave(k):
        values = torch.tensor([math.cos(math.pi * k * (2 * place + 1) / (2 * SIZE)) for place in range(SIZE)])
        return values.double() / values.norm()

    return torch.einsum("c,h,w->chw", COLOURS[axis], wave(down), wave(across))


SIZES = {(0, 0, 0): 20.0, (0, 0, 1): 5.0, (0, 2, 1): 1.0, (1, 0, 0): 4.0, (1, 3, 0): 0.5, (2, 1, 1): 0.1}


def images_of_known_sizes():
    """Two images for each pattern, plus and minus, so that its coefficient has the size written there over all."""
    n = 2 * len(SIZES)
    return torch.stack([sign * size * (n / 2) ** 0.5 * pattern(*k) for k, size in SIZES.items() for sign in (1, -1)])


def check_each_pattern_is_divided_by_its_size(whitened):
    patterns = torch.stack([pattern(*k) for k in SIZES])
    sizes = torch.tensor([*SIZES.values()], dtype=torch.float64)
    gain = 1 / (sizes + views.WHITENING_FLOOR)
    gain *= (sizes.square().sum() / (gain * sizes).square().sum()).sqrt()
    torch.testing.assert_close(whitened(patterns), gain.view(-1, 1, 1, 1) * patterns)


WRONG_NORMS = {
    "multiplied": ("gain", lambda gain: 1 / gain),
    "unscaled": ("gain", lambda gain: 2 * gain),
    "the basis transposed": ("cosines", lambda cosines: cosines.T),
    "other colours": ("colours", lambda colours: colours.T),
}


def test_each_pattern_is_divided_by_its_size():
    check_each_pattern_is_divided_by_its_size(Whitened(images_of_known_sizes()))
    for name, change in WRONG_NORMS.values():
        wrong = Whitened(images_of_known_sizes())
        setattr(wrong, name, change(getattr(wrong, name)))
        with pytest.raises(AssertionError):
            check_each_pattern_is_divided_by_its_size(wrong)


def test_whitening_is_linear_and_symmetric_and_gradients_flow_through():
    torch.manual_seed(0)
    whitened = Whitened(images_of_known_sizes())
    x, y = torch.randn(2, 3, 3, SIZE, SIZE, dtype=torch.float64)
    torch.testing.assert_close(whitened(2 * x - y), 2 * whitened(x) - whitened(y))
    torch.testing.assert_close((whitened(x) * y).sum(), (x * whitened(y)).sum())
    assert torch.autograd.gradcheck(whitened, x.requires_grad_())


# The digit view

CHANNEL_SIZES = torch.tensor([5.0, 3.0, 2.0, 0.5], dtype=torch.float64)


def turned():
    """An orthogonal matrix, each column's largest entry above 0."""
    matrix = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    return matrix * matrix.gather(0, matrix.abs().argmax(0, keepdim=True)).sign()


def check_channels_are_those_of_known_sizes(channels):
    axes = turned()
    h = 2 * CHANNEL_SIZES.unsqueeze(1) * axes.T
    h = torch.cat([h, -h])  # their covariance is axes diag(CHANNEL_SIZES^2) axes^T
    expected = axes[:, :3] / (CHANNEL_SIZES[:3] + views.STAGE_FLOOR * CHANNEL_SIZES[0])
    torch.testing.assert_close(channels(h, 3), expected)


WRONG_CHANNELS = {
    "the least first": lambda h, n: principal_channels(h, 4).flip(1)[:, :n],
    "no floor": lambda h, n: turned()[:, :n] / CHANNEL_SIZES[:n],
    "either sign": lambda h, n: principal_channels(h, n) * torch.tensor([1, -1, 1]),
    "the axes transposed": lambda h, n: principal_channels(h, 4).T[:, :n],
}


def test_principal_channels_are_those_of_known_sizes():
    check_channels_are_those_of_known_sizes(principal_channels)
    for wrong in WRONG_CHANNELS.values():
        with pytest.raises(AssertionError):
            check_channels_are_those_of_known_sizes(wrong)


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return DigitClassifier().eval()


@pytest.fixture(scope="module")
def view(classifier, images):
    return DigitView(classifier, images[:60])


def test_each_stage_is_a_channel_of_the_size_that_it_should_have(view, images):
    x, seen = images[:60], view(images[:60])
    assert seen.shape == x.shape
    expected = x.square().sum() * torch.tensor(views.STAGE_SHARES)
    torch.testing.assert_close(seen.square().sum((0, 2, 3)), expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    assert sum(views.STAGE_SHARES) == pytest.approx(1)


def test_each_number_lies_in_its_place(view, classifier, images):
    """A stage of p x p places and s x s numbers for each: a number is a square of 32 / (p s) pixels in its place."""
    x = images[:60]
    stages = (classifier.blocks[:14](x), classifier.blocks(x), classifier.features(x)[..., None, None])
    for stage, (h, p, s) in enumerate(zip(stages, (8, 4, 1), (4, 8, 8))):
        h = h - h.mean((0, 2, 3), keepdim=True)
        numbers = torch.einsum("ncij,ck->nijk", h, view.channels[stage].principal).unflatten(-1, (s, s))
        found = view(x)[:, stage].reshape(60, p, s, 32 // (p * s), p, s, 32 // (p * s))
        expected = numbers.transpose(2, 3)[:, :, :, None, :, :, None].expand_as(found)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_gradients_flow_to_the_image_and_none_to_the_classifier(view, classifier, images):
    x = images[:2].clone().requires_grad_()
    view(x).square().sum().backward()
    assert x.grad.abs().amax((1, 2, 3)).min() > 0
    assert all(parameter.grad is None for parameter in classifier.parameters())
