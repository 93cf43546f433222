"""Measures of images: right where the answer is known, errors that say how far they vary, wrong variants that fail."""

import pytest
import torch

from experiments.wgan import measures, weights
from experiments.wgan.measures import Classified, coverage, kernel_distance, legible
from experiments.wgan.stand_in import stand_in
from q3_samplers import scale


def test_legible_is_the_share_of_the_confident():
    probabilities = torch.full((100, 10), 0.01)
    probabilities[:30, 3], probabilities[30:, 4] = 0.91, 0.9  # exactly 0.9 is not more than 0.9
    stderr = (0.3 * 0.7 / 99) ** 0.5
    assert legible(Classified(torch.zeros(100, 2), probabilities)) == pytest.approx((0.3, stderr))
    shares = measures.digit_shares(Classified(torch.zeros(100, 2), probabilities))
    assert [share for share, _ in shares] == pytest.approx([0, 0, 0, 0.3, 0.7, 0, 0, 0, 0, 0])
    assert [error for _, error in shares] == pytest.approx([0, 0, 0, stderr, stderr, 0, 0, 0, 0, 0])


def neighbours(seed, n=500, crops=3):
    """Values of n images, of which successive ones are crops of one photograph."""
    return torch.randn(n // crops + 1, generator=torch.Generator().manual_seed(seed)).repeat_interleave(crops)[:n]


def error_over_spread(estimates):
    """The mean standard error that was given, over the standard deviation of the values: 1 where it is right."""
    values, errors = (torch.tensor(part) for part in zip(*estimates))
    return (errors.mean() / values.std()).item()


def test_error_of_neighbours_is_that_of_blocks():
    """200 values know their standard deviation to 5%; blocks of 10 cut through one photograph in three."""
    assert 0.8 < error_over_spread([measures.mean(neighbours(seed), 10) for seed in range(200)]) < 1.15
    assert error_over_spread([measures.mean(neighbours(seed)) for seed in range(200)]) < 0.7  # taken for independent
    assert measures.mean(torch.tensor([1.0, 3, 5, 7, 100]), 2) == pytest.approx((23.2, 2 * 2**0.5 / 2**0.5))


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


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.7, 1.65), (0.5, 0.75, 1.4)])
def test_kernel_distance_is_0_on_average_for_equal_distributions_and_its_error_is_its_spread(shift, low, high):
    """60 values know their standard deviation to 9%; to first order nothing is left between equal distributions."""
    pairs = [(gaussian_features(1, 150, s), gaussian_features(1 + shift, 300, 1000 + s)) for s in range(60)]
    estimates = [kernel_distance(*pair) for pair in pairs]
    values = torch.tensor([estimate.value for estimate in estimates])
    assert (values.mean().abs() < 4 * values.std() / 60**0.5) == (shift == 0)
    assert low < error_over_spread(estimates) < high


def test_coverage_finds_what_is_missing():
    real = gaussian_features(0, 500, 0)
    same = coverage(real, gaussian_features(0, 1500, 1))
    assert same.value == pytest.approx(
        1 - 0.5**5, abs=4 * same.stderr
    )  # 0.969, Naeem et al. 2020, lemma 2 for many images
    one_sided = gaussian_features(0, 500, 1)
    one_sided[:, 0] = one_sided[:, 0].abs()
    assert coverage(real, one_sided).value < 0.8
    assert coverage(real, real[:1].expand(500, -1)).value < 0.05
    assert coverage(real, gaussian_features(0, 1500, 1)) == same


def coverage_of_independent_images(real, fake):
    """As coverage, with the standard error of a mean over real images: as if they shared neither radii nor draws."""
    radius = torch.cdist(real, real).topk(6, largest=False).values[:, -1]
    covered = torch.stack([torch.cdist(real, part).amin(1) < radius for part in fake.split(len(real))]).float().mean(0)
    return measures.Estimate(covered.mean().item(), (covered.std() / len(real) ** 0.5).item())


def test_error_of_coverage_is_its_spread_over_replicates():
    """60 values know their standard deviation to 9%."""
    sets = [(gaussian_features(0, 150, s), gaussian_features(0.4, 750, 1000 + s)) for s in range(60)]
    assert 0.75 < error_over_spread([coverage(*pair) for pair in sets]) < 1.35
    assert error_over_spread([coverage_of_independent_images(*pair) for pair in sets]) < 0.75
    assert coverage_of_independent_images(*sets[0]).value == pytest.approx(coverage(*sets[0]).value)


def test_coverage_does_not_grow_with_the_number_of_images():
    real = gaussian_features(0, 300, 0)
    few, many = (coverage(real, gaussian_features(0.5, n, 1)) for n in (300, 3000))
    assert few.value == pytest.approx(many.value, abs=4 * few.stderr)


def check_nearest(nearest):
    x, y = (torch.randn(n, 2, 3, generator=torch.Generator().manual_seed(n)) for n in (4, 9))
    everything = ((x.unsqueeze(1) - y) ** 2).mean((2, 3)).sqrt()  # pair by pair
    distances, rows = nearest(x, y.split(4))
    torch.testing.assert_close(distances, everything.amin(1))
    assert rows.tolist() == everything.argmin(1).tolist()


WRONG_NEAREST = {
    "in the last part": lambda x, parts: measures.nearest(x, [parts[-1]]),
    "rows counted in their part": lambda x, parts: (measures.nearest(x, parts)[0], measures.nearest(x, parts)[1] % 4),
    "a sum, not a mean": lambda x, parts: (measures.nearest(x, parts)[0] * 6**0.5, measures.nearest(x, parts)[1]),
}


def test_nearest_is_the_nearest_of_all_parts():
    check_nearest(measures.nearest)
    for wrong in WRONG_NEAREST.values():
        with pytest.raises(AssertionError):
            check_nearest(wrong)


def test_bundled_classifier_classifies_each_image_by_itself_and_is_unsure_of_noise():
    classifier, _ = weights.load_classifier()
    images = scale(stand_in(600).images)
    together, alone = measures.classify(classifier, images), measures.classify(classifier, images[3:4])
    torch.testing.assert_close(together.features[3:4], alone.features, rtol=1e-3, atol=1e-4)
    noise = 0.3 * torch.randn(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert legible(measures.classify(classifier, noise)).value < legible(together).value / 2
