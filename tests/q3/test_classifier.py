"""The classifier of digits: it learns, its features have a unit of their own, and its command writes a classifier."""

import re

import pytest
import scipy.io
import torch

from experiments.wgan.classifier import DigitClassifier, load_classifier, main, set_unit, shift
from experiments.wgan.stand_in import stand_in
from q3_samplers import scale


def test_shifts_stay_within_two_pixels_and_repeat_the_edge():
    torch.manual_seed(0)
    x = torch.arange(32.0).expand(64, 3, 32, 32)
    moved = shift(x)
    offsets = moved[:, 0, 16, 16] - 16
    assert set(offsets.tolist()) == {-2, -1, 0, 1, 2}
    assert (moved.min(), moved.max()) == (0, 31)


def test_unit_is_that_of_the_training_images_and_no_digit_changes():
    torch.manual_seed(0)
    network, images = DigitClassifier().eval(), stand_in(100).images
    before = network(scale(images))
    set_unit(network, images)
    assert network.features(scale(images)).square().mean().item() == pytest.approx(1, rel=1e-5)
    torch.testing.assert_close(network(scale(images)), before, rtol=1e-4, atol=1e-5)


def test_command_trains_a_classifier_that_names_most_digits_and_says_what_it_was_trained_on(tmp_path, capsys):
    """Upright strokes are 1, level ones 7."""
    torch.manual_seed(0)
    images = torch.randint(60, (600, 3, 32, 32), dtype=torch.uint8)
    upright = torch.rand(600) < 0.5
    images[upright, :, :, 12:20] += 150
    images[~upright, :, 12:20] += 150
    path, run = tmp_path / "strokes.mat", ["--run-dir", str(tmp_path / "run")]
    digits = torch.where(upright, 1, 7).byte().numpy()[:, None]
    scipy.io.savemat(path, {"X": images.permute(2, 3, 1, 0).numpy(), "y": digits})
    assert main(run) == 2
    assert "name the images to train on by --data-file" in capsys.readouterr().err
    assert main([*run, "--data-file", str(path), "--epochs", "2", "--batch-size", "8"]) == 0
    accuracy = re.search(r"validation split (\d\.\d+), on the test split (\d\.\d+)", capsys.readouterr().out)
    assert min(map(float, accuracy.groups())) > 0.9
    _, origin = load_classifier(tmp_path / "run" / "classifier.pt")
    assert (origin["dataset"], origin["images"]) == ("SVHN strokes", [0, 479])
    assert '"epoch": 1' in (tmp_path / "run" / "log.jsonl").read_text()
