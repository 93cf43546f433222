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
from experiments.wgan.classifier import load_classifier
from experiments.wgan.evaluate import main
from experiments.wgan.options import PRESETS
from model import Generator
from tests.conftest import NoCanvas

FEW = ("--samples", 100, "--latents", 20)
HUE, LUMINANCE, STROKE, NOTHING = range(4)


class Known(torch.nn.Module):
    """A generator of which each dimension changes one thing: red against blue, all pixels, a stroke, nothing."""

    z_dim = 4

    def __init__(self, change=lambda z: z):
        super().__init__()
        self.change = change
        weight = torch.zeros(4, 3, 32, 32)
        weight[HUE, 0], weight[HUE, 2] = 0.1, -0.1
        weight[LUMINANCE] = 0.1
        weight[STROKE] = -0.01
        weight[STROKE, :, :, :2] = 0.15  # 2 of 32 columns: the mean is 0
        self.weight = torch.nn.Parameter(weight)

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
        return 100 * features * (torch.arange(10) == 1) - 100 * (torch.arange(10) > 1)


def effects(generator, z, epsilon=2.0):
    return explore.effects(explore.changes(generator, Brightness(), z, epsilon * torch.eye(4)))


def test_each_measure_sees_the_dimension_that_changes_it_and_no_other():
    z = explore.latents(Known(), 400, use="directions")
    found = effects(Known(), z)
    assert found["luminance"]["value"] == pytest.approx([0, 0.2, 0, 0], abs=1e-5)
    assert found["chroma"]["value"] == pytest.approx([0.2 * 2**0.5, 0, 0, 0], abs=1e-5)
    flipped = ((z[:, STROKE] <= 0) & (z[:, STROKE] > -2)).float().mean().item()  # the stroke alone is skewed
    assert found["polarity"]["value"] == pytest.approx([0, 0, flipped, 0], abs=0.01)
    changed = (z[:, LUMINANCE] <= 0) & (z[:, LUMINANCE] > -2)
    assert found["digit"]["value"] == pytest.approx([0, changed.float().mean().item(), 0, 0], abs=0.01)
    sure = torch.sigmoid(10 * z[:, LUMINANCE].abs()) > 0.9  # the confidence of a classifier of two digits
    assert found["digit_of_legible"]["value"][1] == pytest.approx(changed[sure].float().mean().item(), abs=0.01)
    assert found["digit"]["mean"]["value"] == pytest.approx(sum(found["digit"]["value"]) / 4)


def test_errors_of_effects_are_their_spread():
    """100 sets know their standard deviation to 7%. Colours change by z^2, so otherwise from latent to latent."""
    draws = torch.randn(100, 50, 4, generator=torch.Generator().manual_seed(0))
    found = [effects(Known(torch.square), z, 0.5) for z in draws]
    for name, row in (("luminance", LUMINANCE), ("chroma", HUE)):
        one = torch.tensor([[effect[name][key][row] for key in ("value", "stderr")] for effect in found])
        average = torch.tensor([[*effect[name]["mean"].values()] for effect in found])
        for values, errors in (one.T, average.T):
            assert 0.75 < errors.mean() / values.std() < 1.3


def test_share_of_pixel_change_in_ten():
    """1 if ten moves or fewer change anything, 10 / m if all change the same."""
    pixels = torch.zeros(40, 60)
    pixels[5:9] = 1 + torch.rand(60)
    changed = {name: torch.zeros(40, 60) for name in explore.MEASURES}
    one = explore.effects(changed | {"pixels": pixels})["share_of_pixel_change_in_ten"]
    assert one == pytest.approx({"value": 1, "stderr": 0}, abs=1e-6)
    same = explore.effects(changed | {"pixels": torch.rand(1, 60).expand(40, -1)})["share_of_pixel_change_in_ten"]
    assert same == pytest.approx({"value": 0.25, "stderr": 0}, abs=1e-6)


def test_dials_are_named_by_what_they_change_most():
    dials = evaluate.choose_dials(Known(), Brightness(), 2.0 * torch.eye(4))
    assert (dials[HUE], dials[LUMINANCE] in ("luminance", "digit")) == ("hue", True)
    both = evaluate.choose_dials(Known(), Brightness(), torch.tensor([[1.0, 2, 0, 0], [0, 0, 0, 1]]))
    assert both[0] != "hue"  # more luminance than chroma
    many = torch.cat([0.2 * torch.eye(4)[[NOTHING]].expand(9, -1), torch.eye(4)[[HUE]]])
    assert 9 in evaluate.choose_dials(Known(), Brightness(), many) and len(dials) == 4


def test_the_ways_join_the_same_pairs_and_the_paired_error_is_the_smaller(tmp_path):
    """Between two legible ends a path through dark and light is grey at about the same place on each way."""
    found = evaluate.paths(Known(), Brightness(), 400, tmp_path / "a.png", "")
    ends = [[found[way]["legible"]["value"][end] for way in ("straight", "arc", "pixels")] for end in (0, -1)]
    assert all(len(set(values)) == 1 for values in ends)
    straight, arc = ({key: found[way]["legible"][key][5] for key in ("value", "stderr")} for way in ("straight", "arc"))
    difference = found["straight_minus_arc"]["half_way"]
    assert difference["value"] == pytest.approx(straight["value"] - arc["value"])
    assert difference["stderr"] < 0.7 * math.hypot(straight["stderr"], arc["stderr"])
    assert found["straight_minus_pixels"]["0.3_to_0.7"] == pytest.approx({"value": 0, "stderr": 0})  # it is linear
    lengths = [found[way]["length_half_way"]["value"] for way in ("straight", "arc")]
    assert lengths[0] < 0.85 * lengths[1]


def test_an_image_does_not_depend_on_the_others():
    torch.manual_seed(0)
    generator, z = Generator(6, 4), torch.randn(5, 6)
    together = explore.images_of(generator, z)
    torch.testing.assert_close(together[3:4], explore.images_of(generator, z[3:4]))
    assert generator.training


@pytest.mark.parametrize(
    ("dataset", "images", "words"),
    [
        ("SVHN test_32x32_first10000", [0, 7999], "images 0 to 7,999 of SVHN's test file"),
        ("SVHN mine", [0, 99], "images 0 to 99 of SVHN mine"),
        (None, None, "images that it does not name"),
    ],
)
def test_titles_say_which_images_a_generator_was_trained_on(dataset, images, words):
    assert evaluate.training_images(dataset, images) == words


# The commands


def read(path):
    """A JSON file that every reader of JSON takes: without NaN."""

    def refuse(text):
        raise ValueError(text)

    return json.loads(path.read_text(), parse_constant=refuse)


def estimates(found):
    """All {"value", "stderr"} of a nested dictionary."""
    if not isinstance(found, dict):
        return []
    return (
        [found] if {"value", "stderr"} <= found.keys() else [one for part in found.values() for one in estimates(part)]
    )


def test_run_writes_its_whole_record_and_evaluation_replaces_every_figure_but_trainings(
    q3, figures_drawn, tmp_path, monkeypatch
):
    figures = tmp_path / "run" / "figures"
    code, out, err = q3("--run-dir", tmp_path / "run")
    assert (code, err) == (0, "")
    assert [entry["generator_step"] for entry in RunDirectory(tmp_path / "run").read_log()] == [2, 4, 6, 8]
    found = read(tmp_path / "run" / "metrics.json")
    assert [found[name] for name in ("dataset", "trained_on", "generator_step")] == ["SVHN small", "SVHN small", 8]
    generated, photographs = (found["samples"][kind] for kind in ("generated", "unseen_photographs"))
    for name, sign in (("legible", 1), ("kernel_distance", -1), ("coverage", 1)):  # photographs come out better
        assert sign * generated[name]["value"] < sign * photographs[name]["value"]
    assert generated["kernel_distance_null"]["p_value"] < 0.01 < photographs["kernel_distance_null"]["p_value"]
    assert (found["long"], "two_sample" in generated, generated["number"]) == (False, False, 100)
    assert (found["directions"]["latents"], found["paths"]["pairs"], len(found["directions"]["dials"])) == (20, 40, 5)
    assert len(estimates(found)) > 20
    drawn = {"samples", "nearest", "training", "perturbations", "directions", "effects", "interpolation"}
    written = {path.stem for path in figures.iterdir()}
    assert written == drawn | {"samples_000008"}
    assert "unseen photographs: legible share" in out and "half way between two images" in out

    (figures / "of_an_earlier_version.png").write_bytes(b"")
    code, _, err = q3("evaluate", "--run-dir", tmp_path / "run", "--generator", tmp_path / "run" / "generator.pt")
    assert (code, err.count("\n")) == (2, 1)
    assert "holds a run, whose figures --generator would replace; name another --run-dir" in err
    assert (figures / "of_an_earlier_version.png").exists()
    monkeypatch.setattr("experiments.harness.plotting.FigureCanvasAgg", NoCanvas)  # one drawing is enough
    assert q3("evaluate", "--run-dir", tmp_path / "run")[0] == 0
    assert {path.stem for path in figures.iterdir()} == written
    assert read(tmp_path / "run" / "metrics.json") == found


@pytest.fixture
def theirs(tmp_path):
    """Weights of the handout's class, without an origin."""
    torch.manual_seed(0)
    torch.save(Generator(7, 3).state_dict(), tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt"


def test_the_long_evaluation_adds_the_two_sample_test_also_of_generators_beside(q3, theirs, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "LONG", 20)
    beside = ("--beside", weights.BUNDLED["tuned"])
    assert q3("evaluate", "--run-dir", tmp_path / "run", "--generator", theirs, *beside)[0] == 0
    found = read(tmp_path / "run" / "metrics.json")
    (bundled,) = found["samples"]["beside"].values()
    assert found["long"] and found["samples"]["generated"]["two_sample"]["value"] > 0.6
    assert bundled["two_sample"]["value"] > 0.6 and bundled["legible"]["value"] > 0.5


def test_without_a_run_the_bundled_generators_of_both_presets_are_compared(q3, figures_drawn, tmp_path):
    code, out, err = q3("evaluate", "--run-dir", tmp_path / "run", "--latents", 2)
    assert (code, err) == (0, "")
    found = read(tmp_path / "run" / "metrics.json")["samples"]
    (label,) = found["beside"]
    assert label.startswith("handout preset") and f"{label}: legible share" in out
    assert found["beside"][label]["legible"]["value"] < found["generated"]["legible"]["value"]
    assert (tmp_path / "run" / "figures" / "training.png").exists()


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


def test_without_photographs_a_generator_of_the_handouts_class_is_shown_alone(theirs, tmp_path, capsys):
    where = ("--data-dir", tmp_path, "--run-dir", tmp_path / "run", "--generator", theirs)
    assert main(["evaluate", *map(str, (*where, *FEW))]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "shown without photographs" in out and "trained on images that it does not name" in out
    assert read(tmp_path / "run" / "metrics.json")["samples"]["generated"].keys() == {"number", "legible"}


# Who has seen what


def mat(path, images, labels):
    digits = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    scipy.io.savemat(path, {"X": images.permute(2, 3, 1, 0).numpy(), "y": digits})
    return path


def test_with_the_published_files_the_test_begins_after_what_the_bundled_networks_have_seen(
    data_file, theirs, tmp_path, monkeypatch, capsys
):
    photos = q3_samplers.svhn(data_file)
    for name, images in (("train_32x32.mat", 255 - photos.images), ("test_32x32.mat", photos.images)):
        content = mat(tmp_path / name, images, photos.labels).read_bytes()
        monkeypatch.setitem(q3_samplers.MD5, name, hashlib.md5(content).hexdigest())
    monkeypatch.setattr(data, "FIRST_TEST_IMAGE", 100)
    splits = data.read_splits(replace(PRESETS["tuned"], data_dir=tmp_path))
    assert [len(split.images) for split in splits] == [450, 50, 400]
    assert torch.equal(splits.test.images, photos.images[100:])
    where = ("--data-dir", tmp_path, "--run-dir", tmp_path / "run", "--generator", theirs)
    assert main(["evaluate", *map(str, (*where, *FEW))]) == 0
    assert "memory is not searched: the images that this generator was trained on" in capsys.readouterr().out
    found = read(tmp_path / "run" / "metrics.json")
    assert found["samples"]["test_photographs"]["number"] == 20 and "memory" not in found


def test_a_copy_is_found_by_pixels_and_by_features_and_a_lighter_one_not_by_pixels(data_file, tmp_path):
    judge, splits = load_classifier()[0], data.split(q3_samplers.svhn(data_file))
    copies = splits.train.images[torch.arange(20) * 7]
    exact, lighter = (evaluate.memory(judge, x, splits, tmp_path / "a.png", "") for x in (copies, copies // 2 + 128))
    for kind in ("pixels", "features"):
        assert max(exact[kind]["generated"].values()) < 2e-3 < exact[kind]["unseen_photographs"]["0.0"]
    assert lighter["pixels"]["generated"]["0.0"] > 0.05


def test_too_few_images_are_one_line(q3, tmp_path):
    few = mat(tmp_path / "few.mat", torch.zeros(489, 3, 32, 32, dtype=torch.uint8), torch.ones(489))
    code, _, err = q3("train", "--run-dir", tmp_path / "run", "--data-file", few)
    assert (code, err.count("\n")) == (2, 1)
    assert "has 48 images, fewer than 49; name a larger --data-file" in err
