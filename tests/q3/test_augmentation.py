"""Augmentation: each image by itself, gradients through, and nothing that stays behind in what a generator learns."""

import pytest
import torch
from experiments.augmentation import BRIGHTNESS, SHIFT, augment, translate

from experiments import augmentation
from q3_samplers import scale, stand_in


@pytest.fixture(scope="module")
def images():
    return scale(stand_in(500).images)


def test_translation_moves_whole_images_by_whole_pixels():
    torch.manual_seed(0)
    x = torch.rand(200, 3, 12, 10) + 1  # nowhere 0
    moved = translate(x, 2)
    assert moved.shape == x.shape
    padded = torch.nn.functional.pad(x, [2] * 4)
    places = set()
    for image, source in zip(moved, padded):
        fits = [(i, j) for i in range(5) for j in range(5) if torch.equal(image, source[:, i : i + 12, j : j + 10])]
        assert len(fits) == 1
        places.add(fits[0])
    assert len(places) == 25


def test_every_image_has_draws_of_its_own_and_every_call_fresh_ones():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 32, 32).expand(8, -1, -1, -1)
    first, second = augment(x), augment(x)
    assert all(not torch.equal(first[i], first[j]) for i in range(8) for j in range(i))
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    again = augment(x)
    torch.manual_seed(1)
    assert torch.equal(augment(x), again)


def test_gradients_flow_through():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)

    def fixed(x):
        torch.manual_seed(3)
        return augment(x)

    assert torch.autograd.gradcheck(fixed, x)


def test_colours_change_by_uniform_draws_around_none(images, monkeypatch):
    """Undone for one image that stays where it is: what was added, and the two factors, each as often up as down."""
    monkeypatch.setattr(augmentation, "translate", lambda x, most: x)
    torch.manual_seed(0)
    image = images[:1, :, 8:24, 8:24]
    seen = augment(image.expand(4000, -1, -1, -1))

    def levels(x):
        grey = x.mean(1, keepdim=True)
        return x.mean((1, 2, 3)), grey.std((1, 2, 3)), (x - grey).std((1, 2, 3))

    (mean, contrast, colour), (mean_before, contrast_before, colour_before) = levels(seen), levels(image)
    stretched = contrast / contrast_before
    for most, values in [(0.25, mean - mean_before), (0.25, stretched - 1), (0.5, colour / colour_before / stretched - 1)]:
        assert values.mean().abs() < 5 * most / (3 * 4000) ** 0.5
        assert -most - 1e-5 <= values.min() < -0.99 * most and 0.99 * most < values.max() <= most + 1e-5


def check_nothing_stays_behind(change, images):
    """What a critic sees has the images' mean place, brightness and contrast: no reason to change them."""
    torch.manual_seed(0)
    seen = torch.cat([change(images) for _ in range(10)])
    inner = slice(SHIFT, 32 - SHIFT)  # away from the zeros that come in

    def statistics(x):
        x = x[..., inner, inner]
        deviation = (x - x.mean((1, 2, 3), keepdim=True)).square().sum(1)
        weight = deviation / deviation.sum((1, 2), keepdim=True)
        place = torch.arange(x.shape[-1], dtype=x.dtype)
        rows, columns = (weight.sum(2) * place).sum(1), (weight.sum(1) * place).sum(1)
        return {"brightness": x.mean((1, 2, 3)), "contrast": x.std((1, 2, 3)), "row": rows, "column": columns}

    before, after = statistics(images), statistics(seen)
    for name, values in before.items():
        error = (values.var() / len(values) + after[name].var() / len(after[name])) ** 0.5
        assert (after[name].mean() - values.mean()).abs() < 4 * error, name


def test_nothing_stays_behind(images):
    check_nothing_stays_behind(augment, images)


LEAKS = {
    "brighter": lambda x: augment(x) + BRIGHTNESS / 2,
    "flatter": lambda x: 0.8 * augment(x),
    "aside": lambda x: augment(x).roll(4, -1),
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_leaks_are_noticed(images, leak):
    with pytest.raises(AssertionError):
        check_nothing_stays_behind(leak, images)
