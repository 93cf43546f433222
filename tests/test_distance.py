"""The sliced Wasserstein distance: 0 where it must be, exact in one dimension, growing with what is wrong with the images."""

import pytest
import torch

from experiments import distance
from experiments.distance import laplacian_pyramid, patches, sliced_wasserstein
from q3_samplers import scale, stand_in


@pytest.fixture(scope="module")
def images():
    return scale(stand_in(600).images)


def mean(real, fake):
    return sum(sliced_wasserstein(real, fake)) / len(distance.SCALES)


def test_equal_sets_are_at_distance_0_in_any_order(images):
    assert sliced_wasserstein(images, images) == [0.0, 0.0, 0.0]


def test_floor_is_far_below_what_is_wrong(images):
    """Two halves of one set differ by chance alone; blur, noise, another brightness or contrast stand out from that."""
    real, other = images[:300], images[300:]
    floor = mean(real, other)
    blurred = torch.nn.functional.avg_pool2d(other, 3, 1, 1)
    assert 0 < floor < 120
    for worse in (blurred, other + 0.5, 0.5 * other, other + 0.2 * torch.randn_like(other), other[:1].expand_as(other)):
        assert mean(real, worse) > 1.5 * floor


def test_distance_grows_with_the_fault(images):
    for fault in (lambda x, s: x + 0.2 * s, lambda x, s: torch.lerp(x, torch.nn.functional.avg_pool2d(x, 3, 1, 1), s / 3)):
        distances = [mean(images, fault(images, s)) for s in (0, 1, 2, 3)]
        assert distances == sorted(distances)
        assert distances[1] > 0


def test_repeats_spread_less_than_what_they_measure(images):
    real, other = images[:300], images[300:] + 0.3
    values = torch.tensor([sum(sliced_wasserstein(real, other, seed)) for seed in range(4)])
    assert 0 < values.std() < 0.1 * values.mean()


def test_constant_shift_at_the_coarsest_scale_is_exact():
    """A shift of every patch by the same vector moves each projection by a constant, whose size is W1 exactly."""
    real = torch.randn(50, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    measured = sliced_wasserstein(real, real + 0.25)[-1]
    coarse = laplacian_pyramid(real)[-1]
    shift = (0.25 / coarse.std((0, 2, 3))).repeat_interleave(distance.PATCH**2)
    generator = torch.Generator().manual_seed(0)
    for x in laplacian_pyramid(real):  # the draws that precede the last directions
        torch.randint(x.shape[-1] - distance.PATCH + 1, (2, 50, distance.PATCHES), generator=generator)
        directions = torch.randn(3 * distance.PATCH**2, distance.DIRECTIONS, generator=generator)
    expected = 1000 * (shift @ torch.nn.functional.normalize(directions, dim=0)).abs().mean()
    assert measured == pytest.approx(expected.item(), rel=1e-4)


def test_patches_are_cut_where_they_should_be():
    images = torch.arange(2 * 3 * 10 * 10.0).view(2, 3, 10, 10)
    corners = torch.tensor([[[0, 3], [1, 2]], [[2, 0], [3, 1]]])  # rows, columns
    found = patches(images, corners).view(2, 2, 3, 7, 7)
    for n in range(2):
        for k in range(2):
            row, column = corners[:, n, k]
            assert torch.equal(found[n, k], images[n, :, row : row + 7, column : column + 7])


def test_sets_of_different_size_are_refused(images):
    with pytest.raises(ValueError, match=r"real has shape \(600, .* but fake has shape \(599,"):
        sliced_wasserstein(images, images[:-1])
