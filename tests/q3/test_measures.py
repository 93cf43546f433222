"""Measures of images: right where the answer is known, errors that say how far they vary, wrong variants that fail."""

import pytest
import torch

from experiments.wgan import measures, weights
from experiments.wgan.measures import Seen, coverage, kernel_distance, laplacian_pyramid, legible, patches, sliced_wasserstein
from q3_samplers import scale, stand_in


@pytest.fixture(scope="module")
def images():
    return scale(stand_in(600).images)


def mean(real, fake):
    return sum(sliced_wasserstein(real, fake)) / len(measures.SCALES)


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
    shift = (0.25 / coarse.std((0, 2, 3))).repeat_interleave(measures.PATCH**2)
    generator = torch.Generator().manual_seed(0)
    for x in laplacian_pyramid(real):  # the draws that precede the last directions
        torch.randint(x.shape[-1] - measures.PATCH + 1, (2, 50, measures.PATCHES), generator=generator)
        directions = torch.randn(3 * measures.PATCH**2, measures.DIRECTIONS, generator=generator)
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


def test_patches_reach_the_last_row_and_column_and_are_the_same_ones_in_both_sets(monkeypatch):
    seen = []
    monkeypatch.setattr(measures, "patches", lambda images, corners: seen.append((images, corners)) or patches(images, corners))
    x = torch.randn(50, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    sliced_wasserstein(x, x + 1)
    assert [images.shape[-1] for images, _ in seen] == [32, 32, 16, 16, 8, 8]
    for (images, corners), (_, again) in zip(seen[::2], seen[1::2]):
        assert torch.equal(corners, again)
        assert (corners.amin((1, 2)) == 0).all()
        assert (corners.amax((1, 2)) + measures.PATCH == images.shape[-1]).all()


def test_sets_of_different_size_are_refused(images):
    with pytest.raises(ValueError, match=r"real has shape \(600, .* but fake has shape \(599,"):
        sliced_wasserstein(images, images[:-1])


# Through the eyes of a classifier


def test_legible_is_the_share_of_the_confident():
    probabilities = torch.full((100, 10), 0.01)
    probabilities[:30, 3], probabilities[30:, 4] = 0.91, 0.9  # exactly 0.9 is not more than 0.9
    value, stderr = legible(Seen(torch.zeros(100, 2), probabilities))
    assert value == pytest.approx(0.3)
    assert stderr == pytest.approx((0.3 * 0.7 / 100) ** 0.5)
    shares = measures.digit_shares(Seen(torch.zeros(100, 2), probabilities))
    assert shares == pytest.approx([0, 0, 0, 0.3, 0.7, 0, 0, 0, 0, 0])


def gaussian_features(shift, n, seed, d=8):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def literal_kernel_distance(real, fake, biased=False):
    """The definition, pair by pair."""
    x, y = real.double(), fake.double()

    def k(a, b):
        return ((a * b).mean() + 1) ** 3

    within = [
        sum(k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if biased or i != j)
        / (len(s) ** 2 if biased else len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    return 1000 * float(sum(within) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y)))


def test_kernel_distance_is_the_unbiased_statistic():
    real, fake = gaussian_features(1, 12, 0), gaussian_features(1.5, 9, 1)
    measured = kernel_distance(real, fake).value
    assert measured == pytest.approx(literal_kernel_distance(real, fake), rel=1e-9)
    assert measured != pytest.approx(literal_kernel_distance(real, fake, biased=True), rel=0.01)


def test_kernel_distance_is_0_on_average_between_equal_distributions_and_its_error_is_its_spread():
    for shift, mean_is_0 in ((0.0, True), (0.5, False)):
        estimates = [
            kernel_distance(gaussian_features(1, 150, s), gaussian_features(1 + shift, 300, 1000 + s)) for s in range(60)
        ]
        values = torch.tensor([estimate.value for estimate in estimates])
        stderr = torch.tensor([estimate.stderr for estimate in estimates]).mean()
        assert (values.mean().abs() < 4 * values.std() / 60**0.5) == mean_is_0
        # The standard deviation of 60 values is known to 9%; to first order nothing is left between equal
        # distributions.
        assert (0.6 if mean_is_0 else 0.7) < values.std() / stderr < (1.4 if mean_is_0 else 1.3)


def test_coverage_finds_what_is_missing():
    real = gaussian_features(0, 500, 0)
    same = coverage(real, gaussian_features(0, 1500, 1))
    assert same.value == pytest.approx(1 - 0.5**5, abs=4 * same.stderr)  # 0.969, Naeem et al. 2020, lemma 2 for many images
    one_sided = gaussian_features(0, 500, 1)
    one_sided[:, 0] = one_sided[:, 0].abs()
    assert coverage(real, one_sided).value < 0.8
    assert coverage(real, real[:1].expand(500, -1)).value < 0.05
    assert coverage(real, gaussian_features(0, 1500, 1)) == same


def test_coverage_does_not_grow_with_the_number_of_images():
    real = gaussian_features(0, 300, 0)
    few, many = (coverage(real, gaussian_features(0.5, n, 1)) for n in (300, 3000))
    assert few.value == pytest.approx(many.value, abs=4 * few.stderr)


def test_nearest_is_the_image_itself_if_it_was_learnt_by_heart(images):
    distances, rows = measures.nearest(images[:5], images[2:])
    assert rows[2:].tolist() == [0, 1, 2]
    assert distances[2:].max() < 1e-3 < distances[:2].min()
    white = torch.ones(1, 3, 32, 32)
    assert measures.nearest(white, white - 0.5)[0].item() == pytest.approx(0.5)


def test_bundled_classifier_reads_digits_it_has_never_seen(images):
    """Drawn digits are not of its kind: it reads most, each by itself, and is sure of fewer where there is none."""
    classifier, origin = weights.load_classifier()
    photos = stand_in(600)
    assert measures.accuracy(classifier, photos) > 0.7
    assert origin["dataset"].startswith("SVHN")
    seen, alone = measures.look(classifier, images), measures.look(classifier, images[3:4])
    torch.testing.assert_close(seen.features[3:4], alone.features, rtol=1e-3, atol=1e-4)
    noise = 0.3 * torch.randn(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert legible(measures.look(classifier, noise)).value < legible(seen).value / 2
    assert sum(p.numel() for p in classifier.parameters()) * 2 < 600_000
    assert weights.CLASSIFIER.stat().st_size < 600_000
