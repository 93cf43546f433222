"""The classifier of digits: it learns, its features have a unit of their own, and its command writes a classifier."""

import pytest
import torch
from experiments.harness.main import main

from experiments.wgan import measures, weights
from experiments.wgan.classifier import EXPERIMENT, ClassifierOptions, Learner, set_unit, shift
from experiments.wgan.stand_in import stand_in
from model import DigitClassifier
from q3_samplers import fingerprints, scale, svhn, with_digest


def test_it_learns_two_digits():
    """Upright strokes are 1, level ones 7: after 24 steps it names most."""
    torch.manual_seed(0)
    images = torch.randint(60, (32, 3, 32, 32), dtype=torch.uint8)
    images[:16, :, :, 12:20] += 150
    images[16:, :, 12:20] += 150
    photos = with_digest("strokes", images, torch.tensor([1] * 16 + [7] * 16))
    learner = Learner(ClassifierOptions(epochs=6, batch_size=8), photos, torch.device("cpu"))
    losses = [learner.advance(epoch)["cross_entropy"] for epoch in range(1, 7)]
    assert losses[0] > 2 * losses[-1]
    assert measures.accuracy(learner.classifier, photos) > 0.9


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


def test_command_writes_a_classifier_that_says_what_it_has_seen(data_file, tmp_path, capsys):
    run = ["--run-dir", str(tmp_path / "run")]
    assert main(EXPERIMENT, run) == 2
    assert "name the images to train on by --data-file" in capsys.readouterr().err
    assert main(EXPERIMENT, [*run, "--data-file", str(data_file), "--epochs", "1"]) == 0
    assert "accuracy on the validation block" in capsys.readouterr().out
    origin = weights.load_classifier(tmp_path / "run" / "classifier.pt")[1]
    assert set(origin["seen"]) == {*fingerprints(svhn(data_file).images[:400])}
    assert '"epoch": 1' in (tmp_path / "run" / "log.jsonl").read_text()
