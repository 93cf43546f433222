"""What question 3's second critic sees: principal channels of known features, each in its place."""

import pytest
import torch
from experiments.digit_view import FLOOR, SHARES, DigitView, principal_channels

from model import DigitClassifier
from q3_samplers import scale, stand_in

SIZES = torch.tensor([5.0, 3.0, 2.0, 0.5], dtype=torch.float64)


def turned():
    """An orthogonal matrix, each column's largest entry above 0."""
    matrix = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    return matrix * matrix.gather(0, matrix.abs().argmax(0, keepdim=True)).sign()


def check_channels_are_those_of_known_sizes(channels):
    axes = turned()
    h = 2 * SIZES.unsqueeze(1) * axes.T
    h = torch.cat([h, -h])  # their covariance is axes diag(SIZES^2) axes^T
    torch.testing.assert_close(channels(h, 3), axes[:, :3] / (SIZES[:3] + FLOOR * SIZES[0]))


def test_channels_are_those_of_known_sizes():
    check_channels_are_those_of_known_sizes(principal_channels)


WRONG = {
    "the least first": lambda h, n: principal_channels(h, 4).flip(1)[:, :n],
    "of no floor": lambda h, n: turned()[:, :n] / SIZES[:n],
    "of either sign": lambda h, n: principal_channels(h, n) * torch.tensor([1, -1, 1]),
    "of the axes transposed": lambda h, n: principal_channels(h, 4).T[:, :n],
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_channels_are_rejected(kind):
    with pytest.raises(AssertionError):
        check_channels_are_those_of_known_sizes(WRONG[kind])


def view_and_images():
    torch.manual_seed(0)
    images = scale(stand_in(60).images)
    return DigitView(classifier := DigitClassifier().eval(), images), classifier, images


def features_of(classifier, images):
    """What the three stages make of images: (60, 64, 8, 8), (60, 64, 4, 4) and (60, 128, 1, 1), centred."""
    last = classifier.features(images)[..., None, None]
    return [h - h.mean((0, 2, 3), keepdim=True) for h in (classifier.blocks[:14](images), classifier.blocks(images), last)]


def test_each_stage_is_a_channel_of_the_size_that_it_should_have():
    view, _, images = view_and_images()
    seen = view(images)
    assert seen.shape == images.shape
    torch.testing.assert_close(seen.square().sum((0, 2, 3)), images.square().sum() * torch.tensor(SHARES), rtol=1e-3, atol=0)
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    assert sum(SHARES) == pytest.approx(1)


@pytest.mark.parametrize(
    "stage, number, down, across, rows, columns",
    [
        (0, 0, 0, 0, 0, 0),  # 8 x 8 places of 4 x 4 pixels, a number in each
        (0, 7, 2, 1, 9, 7),
        (1, 0, 0, 0, 0, 0),  # 4 x 4 places of 8 x 8 pixels
        (1, 62, 3, 2, 31, 22),
        (2, 9, 0, 0, slice(4, 8), slice(4, 8)),  # one place of 8 x 8 numbers, each in 4 x 4 pixels
    ],
)
def test_each_number_lies_in_its_place(stage, number, down, across, rows, columns):
    view, classifier, images = view_and_images()
    h = features_of(classifier, images)[stage][:, :, down, across]
    found = view(images)[:, stage, rows, columns].flatten(1) if stage == 2 else view(images)[:, stage, rows, columns, None]
    expected = (h @ view.channels[stage].principal[:, number]).unsqueeze(1).expand_as(found)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_gradients_flow_to_the_image_and_none_to_the_classifier():
    view, classifier, images = view_and_images()
    x = images[:2].requires_grad_()
    view(x).square().sum().backward()
    assert x.grad.abs().amax((1, 2, 3)).min() > 0
    assert all(parameter.grad is None for parameter in classifier.parameters())
