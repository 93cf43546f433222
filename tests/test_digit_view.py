"""What question 3's second critic sees: principal channels of known features, each in its place."""

import pytest
import torch

from experiments.digit_view import FLOOR, DigitView, principal_channels
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


def test_each_channel_lies_in_its_place_and_all_are_as_large_as_the_images():
    view, classifier, images = view_and_images()
    seen, h = view(images), classifier.blocks[:14](images)
    assert seen.shape == images.shape
    torch.testing.assert_close(seen.square().sum(), images.square().sum(), rtol=1e-4, atol=0)
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    centred = h - h.mean((0, 2, 3), keepdim=True)
    for channel, down, across in ((0, 0, 0), (1, 3, 7), (7, 2, 1), (47, 5, 5)):
        colour, row, column = channel // 16, channel % 16 // 4, channel % 4
        expected = centred[:, :, down, across] @ view.channels[:, channel]
        torch.testing.assert_close(seen[:, colour, 4 * down + row, 4 * across + column], expected, rtol=1e-3, atol=1e-4)


def test_gradients_flow_to_the_image_and_none_to_the_classifier():
    view, classifier, images = view_and_images()
    x = images[:2].requires_grad_()
    view(x).square().sum().backward()
    assert x.grad.abs().amax((1, 2, 3)).min() > 0
    assert all(parameter.grad is None for parameter in classifier.parameters())
