"""Measures of images: right where the answer is known, errors that say how far they vary, wrong variants that fail."""

import pytest
import torch

from experiments.wgan import measures
from experiments.wgan.classifier import load_classifier
from experiments.wgan.measures import Classified, coverage, kernel_distance, kernel_distance_null, two_sample
from experiments.wgan.stand_in import stand_in
from q3_samplers import scale


def test_legible_is_the_share_of_the_confident():
    probabilities = torch.full((100, 10), 0.01)
    probabilities[:30, 3], probabilities[30:, 4] = 0.91, 0.9  # exactly 0.9 is not more than 0.9
    found = Classified(torch.zeros(100, 2), probabilities)
    assert measures.mean(found.legible) == pytest.approx({"value": 0.3, "stderr": (0.3 * 0.7 / 99) ** 0.5})
    assert found.digits.tolist() == [3] * 30 + [4] * 70


def error_over_spread(estimates):
    """The mean standard error that was given, over the standard deviation of the values: 1 where it is right."""
    values, errors = (torch.tensor([one[key] for one in estimates]) for key in ("value", "stderr"))
    return (errors.mean() / values.std()).item()


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
    measured = kernel_distance(real, fake)["value"]
    assert measured == pytest.approx(literal_kernel_distance(real, fake), rel=1e-9)
    assert measured != pytest.approx(literal_kernel_distance(real, fake, biased=True), rel=0.01)


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.7, 1.65), (0.5, 0.75, 1.4)])
def test_kernel_distance_is_0_on_average_for_equal_distributions_and_its_error_is_its_spread(shift, low, high):
    """60 values know their standard deviation to 9%; to first order nothing is left between equal distributions."""
    pairs = [(gaussian_features(1, 150, s), gaussian_features(1 + shift, 300, 1000 + s)) for s in range(60)]
    estimates = [kernel_distance(*pair) for pair in pairs]
    values = torch.tensor([estimate["value"] for estimate in estimates])
    assert (values.mean().abs() < 4 * values.std() / 60**0.5) == (shift == 0)
    assert low < error_over_spread(estimates) < high


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.02, 0.98), (0.5, 0.0, 0.01)])
def test_kernel_distance_lies_among_its_permutations_if_and_only_if_distributions_are_equal(shift, low, high):
    """Of 30 p-values that are uniform the mean has a standard deviation of 0.053."""
    shares = []
    for seed in range(30):
        sets = gaussian_features(1, 60, seed), gaussian_features(1 + shift, 120, 1000 + seed)
        shares.append((kernel_distance_null(*sets) >= kernel_distance(*sets)["value"]).float().mean())
    mean = torch.stack(shares).mean().item()
    assert abs(mean - 0.5) < 4 * 0.053 if shift == 0 else mean < 0.01
    assert low <= mean <= high


def test_a_permutation_is_valued_as_kernel_distance_values_it():
    """Two sets of one image each can be divided in one way only, up to their names."""
    real, fake = gaussian_features(0, 2, 0), gaussian_features(3, 2, 1)
    pooled = torch.cat([real, fake])
    divisions = [pooled[[0, 1, 2, 3]], pooled[[0, 2, 1, 3]], pooled[[0, 3, 1, 2]]]
    expected = {round(kernel_distance(x[:2], x[2:])["value"], 6) for x in divisions}
    assert {round(value, 6) for value in kernel_distance_null(real, fake).tolist()} == expected


def test_coverage_finds_what_is_missing():
    real = gaussian_features(0, 500, 0)
    same = coverage(real, gaussian_features(0, 1500, 1))
    assert same["value"] == pytest.approx(1 - 0.5**5, abs=4 * same["stderr"])  # Naeem et al. 2020, for many images
    one_sided = gaussian_features(0, 500, 1)
    one_sided[:, 0] = one_sided[:, 0].abs()
    assert coverage(real, one_sided)["value"] < 0.8
    assert coverage(real, real[:1].expand(500, -1))["value"] < 0.05
    assert coverage(real, gaussian_features(0, 1500, 1)) == same


def test_error_of_coverage_and_of_its_difference_is_the_spread_over_replicates():
    """60 values know their standard deviation to 9%."""
    sets = [[gaussian_features(i / 5, n, 1000 * i + s) for i, n in ((0, 150), (2, 750), (1, 150))] for s in range(60)]
    alone, differences = [coverage(*three[:2]) for three in sets], [coverage(*three) for three in sets]
    assert 0.75 < error_over_spread(alone) < 1.35
    assert 0.7 < error_over_spread(differences) < 1.4
    other = coverage(sets[0][0], sets[0][2])
    assert differences[0]["value"] == pytest.approx(alone[0]["value"] - other["value"])


def test_coverage_does_not_grow_with_the_number_of_images():
    real = gaussian_features(0, 300, 0)
    few, many = (coverage(real, gaussian_features(0.5, n, 1)) for n in (300, 3000))
    assert few["value"] == pytest.approx(many["value"], abs=4 * few["stderr"])


def noise(n, seed, columns=0):
    """uint8 images (n, 3, 32, 32) of noise, with so many columns that are white."""
    images = torch.randint(256, (n, 3, 32, 32), generator=torch.Generator().manual_seed(seed)).byte()
    images[..., :columns] = 255
    return images


def test_two_sample_test_is_half_for_equal_sets_and_near_1_for_sets_that_differ():
    equal, different = two_sample(noise(120, 0), noise(120, 1), 6), two_sample(noise(120, 0), noise(120, 1, 4), 6)
    assert equal["value"] == pytest.approx(0.5, abs=4 * equal["stderr"]) and equal["stderr"] < 0.04
    assert different["value"] > 0.95


def test_two_sample_test_is_made_on_images_that_were_not_learned_from():
    """Each half has a difference of its own, which says nothing about the other half."""
    first, second = noise(120, 0), noise(120, 1)
    first[:60, ..., :4], second[60:, ..., :4] = 255, 255
    assert two_sample(first, second, 6)["value"] < 0.1


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
    classifier, _ = load_classifier()
    images = scale(stand_in(600).images)
    together, alone = measures.classify(classifier, images), measures.classify(classifier, images[3:4])
    torch.testing.assert_close(together.features[3:4], alone.features, rtol=1e-3, atol=1e-4)
    noise = 0.3 * torch.randn(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert measures.classify(classifier, noise).legible.float().mean() < together.legible.float().mean() / 2
