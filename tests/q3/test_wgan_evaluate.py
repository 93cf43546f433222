"""What is measured of a generator: right for known generators, on images that no network at hand was trained on."""

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import torch

import q3_samplers
from experiments.harness.run import RunDirectory
from experiments.wgan import data, evaluate, explore, weights
from experiments.wgan.evaluate import main
from experiments.wgan.options import PRESETS
from experiments.wgan.stand_in import stand_in
from model import DigitClassifier, Generator
from q3_solution import perturb

FEW = ("--samples", 100, "--latents", 20)


class Known(torch.nn.Module):
    """A generator whose dimensions, once changed, are known: 2 moves every pixel, 0 half of them as much, 1 none."""

    z_dim = 3

    def __init__(self, change=lambda z: z):
        super().__init__()
        self.change = change
        self.weight = torch.nn.Parameter(torch.zeros(3, 3, 32, 32))
        with torch.no_grad():
            self.weight[2] = 0.1
            self.weight[0, :, :16] = 0.1

    def forward(self, z):
        return torch.einsum("bz,zcij->bcij", self.change(z), self.weight)


class Brightness(torch.nn.Module):
    """A classifier that takes bright images for a 1, dark ones for a 0, and is sure of it far from grey."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def features(self, x):
        return x.mean((1, 2, 3)).unsqueeze(1)

    def digit(self, features):
        return 100 * features * (torch.arange(10) == 1)


def check_effects(effects):
    generator, epsilon = Known(), 2.0
    z = explore.latents(generator, 64)
    found = effects(generator, Brightness(), z, perturb(z, epsilon))
    assert found.colour.tolist() == pytest.approx([0.1, 0, 0.2], abs=1e-6)
    assert found.colour_stderr.tolist() == pytest.approx([0, 0, 0], abs=1e-6)  # the same at every latent
    brightness = 0.05 * z[:, 0] + 0.1 * z[:, 2]
    expected = [((brightness <= 0) & (brightness + step > 0)).float() for step in (0.1, 0, 0.2)]
    assert found.digit.tolist() == pytest.approx([changed.mean().item() for changed in expected])
    assert found.digit_stderr.tolist() == pytest.approx([changed.std().item() / 8 for changed in expected])


WRONG_EFFECTS = {
    "moved back": lambda g, c, z, moved: explore.effects(g, c, z, 2 * z - moved),
    "other latents": lambda g, c, z, moved: explore.effects(g, c, z.flip(0), moved),
    "colour and digit exchanged": lambda *given: explore.Effects(*(explore.effects(*given)[i] for i in (2, 3, 0, 1))),
}


def test_effects_of_known_dimensions():
    check_effects(explore.effects)
    for wrong in WRONG_EFFECTS.values():
        with pytest.raises(AssertionError):
            check_effects(wrong)


def test_error_of_the_change_of_colour_is_its_spread():
    """100 sets know their standard deviation to 7%. The colour changes by z^2, so otherwise from latent to latent."""
    generator = Known(torch.square)
    sets = (explore.latents(generator, 50, seed=seed) for seed in range(100))
    found = [explore.effects(generator, Brightness(), z, perturb(z, 0.5)) for z in sets]
    colours, errors = (torch.stack([getattr(one, name)[2] for one in found]) for name in ("colour", "colour_stderr"))
    assert 0.75 < errors.mean() / colours.std() < 1.3


def test_a_walk_leads_from_each_latent_along_each_direction():
    generator, z = Known(), explore.latents(Known(), 64)
    images = explore.walk(generator, z[:4], torch.eye(3)[[2, 1]], torch.tensor([-1.0, 0.0, 1.0]))
    assert images.shape == (4, 2, 3, 3, 32, 32)
    torch.testing.assert_close(images[:, 0, 2] - images[:, 0, 0], torch.full((4, 3, 32, 32), 0.2))
    for row, column in ((1, 0), (0, 1), (1, 2)):
        torch.testing.assert_close(images[:, row, column], explore.images_of(generator, z[:4]))
    brightness = (0.05 * z[:, 0] + 0.1 * z[:, 2]).unsqueeze(1)
    confidence = torch.softmax(100 * brightness * (torch.arange(10) == 1), 1).amax(1)
    quartiles = confidence.argsort(descending=True)[[16, 32]]
    assert torch.equal(explore.typical(generator, Brightness(), z), z[quartiles])


def test_all_three_paths_join_the_same_images():
    torch.manual_seed(0)
    along = explore.along_paths(generator := Generator(50, 4), Brightness(), torch.linspace(0, 1, 11), 8, shown=3)
    z0, z1 = explore.latents(generator, 2, 8, seed=explore.EVALUATION_SEED + 1)
    latent, arc, pixels = (along.images[name] for name in ("latent", "spherical", "data"))
    for images in (latent, arc, pixels):
        assert images.shape == (11, 3, 3, 32, 32)
        torch.testing.assert_close(images[0], explore.images_of(generator, z1[:3]))  # alpha z0 + (1 - alpha) z1
        torch.testing.assert_close(images[-1], explore.images_of(generator, z0[:3]))
    torch.testing.assert_close(pixels[5], (pixels[0] + pixels[-1]) / 2)
    torch.testing.assert_close(latent[5], explore.images_of(generator, (z0 + z1)[:3] / 2))
    assert along.lengths["latent"][5].mean() < 0.85 * along.lengths["spherical"][5].mean()
    assert torch.equal(along.lengths["latent"][-1], z0.norm(dim=1))
    assert all(len(along.legible[name]) == 11 for name in explore.PATHS)
    assert along.legible["data"][0] == along.legible["latent"][0] == along.legible["spherical"][0]


def test_an_image_does_not_depend_on_the_others():
    torch.manual_seed(0)
    generator, z = Generator(6, 4), torch.randn(5, 6)
    together = explore.images_of(generator, z)
    torch.testing.assert_close(together[3:4], explore.images_of(generator, z[3:4]))
    assert generator.training


# The commands


def test_run_writes_its_whole_record_and_keeps_it(q3, figures_drawn, tmp_path):
    code, out, err = q3("--run-dir", tmp_path / "run")
    assert (code, err) == (0, "")
    log = RunDirectory(tmp_path / "run").read_log()
    assert [entry["generator_step"] for entry in log] == [2, 4, 6, 8]
    named = {
        "wasserstein_estimate",
        "lipschitz_penalty",
        "generator_loss",
        "steps_per_second",
        "digit_wasserstein_estimate",
    }
    assert all(named <= entry.keys() for entry in log) and log[-1].keys() >= {
        "legible",
        "kernel_distance",
        "overfitting",
    }
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [metrics[name] for name in ("dataset", "trained_on", "generator_step")] == ["SVHN small", "SVHN small", 8]
    for name, sign in (("legible", 1), ("kernel_distance", -1), ("coverage", 1)):  # photographs come out better
        assert sign * metrics[name] < sign * metrics[f"{name}_of_validation_images"]
        assert all(math.isfinite(metrics[f"{name}_stderr{of}"]) for of in ("", "_of_validation_images"))
    kinds = ("dimension_digit", "dimension_colour", "direction_digit", "direction_colour")
    assert all(len(metrics[f"{kind}{of}"]) == 5 for kind in kinds for of in ("", "_stderr"))
    assert [metrics[f"num_{name}"] for name in ("images", "test_images", "latents", "pairs")] == [100, 20, 20, 40]
    written = {path.name: path.read_bytes() for path in (tmp_path / "run" / "figures").iterdir()}
    own = {"samples", "nearest", "digits", "training", "samples_000008"}
    latent = {"perturbations", "directions", "effects", "interpolation", "interpolation_legible"}
    assert written.keys() == {f"{name}.png" for name in own | latent}
    assert all(content.startswith(b"\x89PNG") for content in written.values())
    assert "against the test block of SVHN small" in out and "half way between two images" in out
    code, _, err = q3("evaluate", "--run-dir", tmp_path / "run", "--generator", tmp_path / "run" / "generator.pt")
    assert (code, err.count("\n")) == (2, 1)
    assert "holds a run, whose figures --generator would replace; name another --run-dir" in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "run" / "figures").iterdir()} == written


def test_without_data_and_network_the_stand_in_is_named_everywhere(q3, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "stand_in", lambda: stand_in(500))
    monkeypatch.setattr(q3_samplers, "ADDRESSES", ["http://127.0.0.1:9/"])
    where = ["--data-dir", str(tmp_path / "data"), "--run-dir", str(tmp_path / "run")]
    assert main(["--dataset", "svhn", *where]) == 2
    assert "could not download" in capsys.readouterr().err
    tiny = "--no-guide --generator-steps 2 --h-dim 2 --z-dim 5 --batch-size 4 --samples 100 --latents 20"
    assert main([*tiny.split(), *where]) == 0
    out, err = capsys.readouterr()
    assert err.count("using svhn-stand-in instead, synthetic house numbers") == 1
    assert "svhn-stand-in" in out
    for name in ("options.json", "metrics.json", "log.jsonl"):
        assert '"dataset": "svhn-stand-in"' in (tmp_path / "run" / name).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data-file", "none.mat"], "none.mat cannot be read: No such file or directory"),
        (["evaluate", "--generator", "none.pt"], "none.pt is missing"),
        (["evaluate", "--samples", "99"], "'99' is not a whole number of at least 100"),
    ],
)
def test_bad_commands_are_one_line(q3, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = q3("--run-dir", "run", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


# Who has seen what


def mat(path, images, labels):
    digits = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    scipy.io.savemat(path, {"X": images.permute(2, 3, 1, 0).numpy(), "y": digits})
    return path


@pytest.fixture
def published(data_file, tmp_path, monkeypatch):
    """A folder with both published files, small: the test file's first 100 of 500 images are used up."""
    photos = q3_samplers.svhn(data_file)
    for name, images in (("train_32x32.mat", 255 - photos.images), ("test_32x32.mat", photos.images)):
        content = mat(tmp_path / name, images, photos.labels).read_bytes()
        monkeypatch.setitem(q3_samplers.MD5, name, hashlib.md5(content).hexdigest())
    monkeypatch.setattr(q3_samplers, "USED", 100)
    return tmp_path


def seen_by(path, images, network):
    """Write a file of weights whose network was trained on these images."""
    torch.manual_seed(0)
    weights.save(path, network, {"dataset": "some", "seen": weights.seen(images, [])})
    return path


def test_with_the_published_files_the_test_begins_after_what_is_used_up(published, capsys):
    test = q3_samplers.svhn(published / "test_32x32.mat")
    blocks = data.load_blocks(replace(PRESETS["tuned"], data_dir=published))
    assert [len(block.images) for block in blocks] == [450, 50, 400]
    assert torch.equal(blocks.test.images, test.images[100:])
    generator = seen_by(published / "theirs.pt", test.images[:100], {"generator": Generator(5, 2)})
    asked = (
        "--data-dir",
        published,
        "--run-dir",
        published / "run",
        "--generator",
        generator,
        "--samples",
        100,
        "--latents",
        20,
    )
    assert main(["evaluate", *map(str, asked)]) == 0
    out = capsys.readouterr().out
    assert "memory is not searched: the images that this generator was trained on are not at hand" in out
    metrics = json.loads((published / "run" / "metrics.json").read_text())
    assert metrics["num_test_images"] == 20 and "nearest_by_pixels" not in metrics


@pytest.mark.parametrize("kind", ["generator", "classifier", "guide"])
def test_what_has_seen_an_image_is_not_measured_on_it(published, monkeypatch, capsys, kind):
    """Nor is a run begun that could not be measured."""
    images = q3_samplers.svhn(published / "test_32x32.mat").images
    network = {"generator": Generator(5, 2)} if kind == "generator" else {"classifier": DigitClassifier()}
    path = seen_by(published / "theirs.pt", images[:101], network)
    if kind != "generator":
        monkeypatch.setattr(weights, kind.upper(), path)
    asked = ("evaluate", "--generator", path) if kind == "generator" else ("train", "--guide", "--h-dim", 2)
    assert main([*map(str, asked), "--data-dir", str(published), "--run-dir", str(published / "run")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "trained on 1 of the 400 images of SVHN test_32x32's test block" in err


def test_a_generator_says_what_it_and_its_guide_have_seen(q3, data_file, tmp_path):
    train = q3_samplers.in_blocks(q3_samplers.svhn(data_file)).train.images
    assert q3("train", "--run-dir", tmp_path / "run", "--generator-steps", 1)[0] == 0
    origin = weights.load_generator(tmp_path / "run" / "generator.pt")[1]
    marks = {*q3_samplers.fingerprints(train), *weights.seen_by(weights.GUIDE)}
    assert (set(origin["seen"]), origin["images"]) == (marks, [0, 399])


def test_bundled_networks_say_that_they_have_seen_8000_images_of_the_test_file():
    for load, path in ((weights.load_generator, weights.GENERATOR), (weights.load_classifier, weights.GUIDE)):
        origin = load(path)[1]
        assert (origin["dataset"], origin["images"]) == ("SVHN test_32x32_first10000", [0, 7999])
        assert len(set(origin["seen"])) == 8000
    assert weights.seen_by(weights.CLASSIFIER) == origin["seen"]


def test_a_copy_is_found_by_pixels_and_by_features_and_a_lighter_one_not_by_pixels(data_file, tmp_path):
    judge, blocks = weights.load_classifier()[0], q3_samplers.in_blocks(q3_samplers.svhn(data_file))
    copies = q3_samplers.scale(blocks.train.images[torch.arange(20) * 7])

    def exploration(run):
        return evaluate.Exploration(run, Generator(6, 4), judge, PRESETS["tuned"], "")

    with RunDirectory(tmp_path / "run") as run:
        exact, lighter = (exploration(run).memory(x, blocks) for x in (copies, 0.5 * copies + 0.5))
    assert max(exact["nearest_by_pixels"]) < 2e-3 < exact["nearest_by_pixels_of_unseen_photographs"][0]
    assert max(exact["nearest_by_features"]) < 2e-3 < exact["nearest_by_features_of_unseen_photographs"][0]
    assert lighter["nearest_by_pixels"][0] > 0.05


def test_too_few_images_are_one_line(q3, tmp_path):
    few = mat(tmp_path / "few.mat", torch.zeros(489, 3, 32, 32, dtype=torch.uint8), torch.ones(489))
    code, _, err = q3("train", "--run-dir", tmp_path / "run", "--data-file", few)
    assert (code, err.count("\n")) == (2, 1)
    assert "has 48 images, fewer than 49; name a larger --data-file" in err


def test_without_photographs_a_generator_of_the_handouts_class_is_shown_alone(tmp_path, capsys):
    torch.save(Generator(7, 3).state_dict(), tmp_path / "theirs.pt")
    asked = (
        "--data-dir",
        tmp_path,
        "--run-dir",
        tmp_path / "run",
        "--generator",
        tmp_path / "theirs.pt",
        "--samples",
        100,
        "--latents",
        20,
    )
    assert main(["evaluate", *map(str, asked)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "shown without photographs" in out and "trained on images it does not name" in out
    assert "kernel_distance" not in json.loads((tmp_path / "run" / "metrics.json").read_text())
