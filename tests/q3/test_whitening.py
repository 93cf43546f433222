"""The norm of question 3's critic: on images of known coefficients, as large as they were, and linear."""

import math

import pytest
import torch
from experiments.whitening import FLOOR, Whitening, cosines

from q3_samplers import scale, stand_in

SIZE = 4
COLOURS = torch.tensor([[1, 1, 1], [1, -1, 0], [1, 1, -2]], dtype=torch.float64)  # an axis a row
COLOURS = COLOURS / COLOURS.norm(dim=1, keepdim=True)


def test_cosines_are_the_modes_of_a_free_string():
    """The orthonormal eigenvectors of second differences with free ends, whose eigenvalues are 2 - 2 cos(pi k / n)."""
    differences = torch.diff(torch.eye(8, dtype=torch.float64), dim=0)
    basis = cosines(8)
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


def check_each_pattern_is_divided_by_its_size(make):
    whiten = make(images_of_known_sizes())
    patterns = torch.stack([pattern(*k) for k in SIZES])
    sizes = torch.tensor([*SIZES.values()], dtype=torch.float64)
    gain = 1 / (sizes + FLOOR)
    gain *= (sizes.square().sum() / (gain * sizes).square().sum()).sqrt()
    torch.testing.assert_close(whiten(patterns), gain.view(-1, 1, 1, 1) * patterns)


def test_each_pattern_is_divided_by_its_size():
    check_each_pattern_is_divided_by_its_size(Whitening)


WRONG = {
    "multiplied": ("gain", lambda gain: 1 / gain),
    "unscaled": ("gain", lambda gain: 2 * gain),
    "of the basis transposed": ("cosines", lambda cosines: cosines.T),
    "of other colours": ("colours", lambda colours: colours.T),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_norms_are_rejected(kind):
    name, change = WRONG[kind]

    def make(images):
        whitening = Whitening(images)
        setattr(whitening, name, change(getattr(whitening, name)))
        return whitening

    with pytest.raises(AssertionError):
        check_each_pattern_is_divided_by_its_size(make)


def test_images_stay_as_large_as_they_were_and_brightness_counts_less():
    images = scale(stand_in(300).images)
    whiten = Whitening(images)
    seen = whiten(images)
    torch.testing.assert_close(seen.square().sum(), images.square().sum(), rtol=1e-4, atol=0)
    assert seen.mean((1, 2, 3)).std() < images.mean((1, 2, 3)).std() / 3


def test_it_is_linear_and_symmetric_and_gradients_flow_through():
    torch.manual_seed(0)
    whiten = Whitening(images_of_known_sizes())
    x, y = torch.randn(2, 3, 3, SIZE, SIZE, dtype=torch.float64)
    torch.testing.assert_close(whiten(2 * x - y), 2 * whiten(x) - whiten(y))
    torch.testing.assert_close((whiten(x) * y).sum(), (x * whiten(y)).sum())
    assert torch.autograd.gradcheck(whiten, x.requires_grad_())
