"""Every option of every preset, as README.md and REPORT.md have it, and the same values in --help."""

import json

import pytest

from experiments import divergences, vae, wgan
from experiments.harness.options import UserError, parse, to_record
from experiments.wgan import classifier

SEGMENTS, GAUSSIAN = [step / 10 for step in range(21)], [step / 4 for step in range(9)]
VAE = {
    "dataset": ("auto", "auto"),
    "dataset_digest": ("", ""),
    "epochs": (20, 20),
    "batch_size": (64, 64),
    "learning_rate": (3e-3, 3e-4),
    "schedule": ("cosine", "constant"),
    "objective": ("elbo-by-path", "elbo"),
    "elbo_samples": (4, 1),
    "beta1": (0.95, 0.9),
    "beta2": (0.99, 0.999),
    "weight_decay": (0.0, 0.0),
    "average_decay": (0.9995, 0.0),
}
DIVERGENCES = {
    "family": ("segments", "segments"),
    "thetas": (SEGMENTS, SEGMENTS),
    "iterations": (400, 2500),
    "batch_size": (16, 512),
    "optimizer": ("adam", "sgd"),
    "learning_rate": (3e-3, 1e-3),
    "schedule": ("cosine", "constant"),
    "lipschitz_weight": (50.0, 50.0),
    "correction": ("slope", "none"),
}
DIVERGENCES_OF_GAUSSIANS = {
    **DIVERGENCES,
    "family": ("gaussian", "gaussian"),
    "thetas": (GAUSSIAN, GAUSSIAN),
    "iterations": (300, 2500),
    "batch_size": (256, 512),
    "learning_rate": (2e-3, 1e-3),
    "lipschitz_weight": (10.0, 50.0),
}
WGAN = {
    "dataset": ("auto", "auto"),
    "dataset_digest": ("", ""),
    "data_file": (None, None),
    "generator_steps": (20_000, 50_000),
    "critic_updates": (2, 5),
    "batch_size": (32, 64),
    "learning_rate": (2e-4, 1e-4),
    "critic_learning_rate": (5e-4, 1e-4),
    "schedule": ("cosine", "constant"),
    "beta1": (0.5, 0.5),
    "beta2": (0.9, 0.9),
    "lipschitz_weight": (10.0, 10.0),
    "average_decay": (0.999, 0.0),
    "z_dim": (100, 100),
    "h_dim": (64, 64),
    "precision": ("float32", "float32"),
    "augment": (True, False),
    "whiten": (True, False),
    "lazy_penalty": (True, False),
    "initial_weights": (None, None),
    "guide": (True, False),
    "cooldown": (0, 0),
}
CLASSIFIER = {"data_file": None, "dataset_digest": "", "epochs": 14, "batch_size": 64, "learning_rate": 2e-3}
CLASSIFIER |= {"schedule": "cosine"}
TABLES = [
    ("q1", vae.PRESETS, VAE),
    ("q2", divergences.PRESETS["segments"], DIVERGENCES),
    ("q2", divergences.PRESETS["gaussian"], DIVERGENCES_OF_GAUSSIANS),
    ("q3", wgan.PRESETS, WGAN),
]


def check(options, question, preset, expected):
    """As JSON, where 50 is not 50.0 and a list is not a text."""
    found = to_record(options)
    expected = {"question": question, "preset": preset, "seed": 0, **expected}
    assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


@pytest.mark.parametrize(("question", "presets", "table"), TABLES)
@pytest.mark.parametrize(("place", "preset"), [(0, "tuned"), (1, "handout")])
def test_preset_is_what_is_written_of_it(question, presets, table, place, preset):
    check(presets[preset], question, preset, {name: values[place] for name, values in table.items()})


def test_classifier_is_trained_as_is_written_of_it():
    check(classifier.ClassifierOptions(), "classifier", "tuned", CLASSIFIER)


def in_words(value):
    return f"{value[0]:g},{value[1]:g},...,{value[-1]:g}" if isinstance(value, list) else str(value)


def shown(values):
    """What --help has behind an option's words; values: by name of the preset."""
    if len({*map(str, values.values())}) == 1:
        value = next(iter(values.values()))
        return "" if value in (None, "", False) else f" ({in_words(value)})"
    return f" ({', '.join(f'{name}: {in_words(value)}' for name, value in values.items())})"


HELP = [
    (vae, VAE, {}),
    (divergences, DIVERGENCES, {"tuned for gaussian": DIVERGENCES_OF_GAUSSIANS}),
    (wgan, WGAN, {}),
]


@pytest.mark.parametrize(("experiment", "table", "further"), HELP)
def test_help_says_what_every_preset_has(experiment, table, further, capsys):
    with pytest.raises(SystemExit):
        experiment.main(["--help"])
    entries = {entry.split()[0].rstrip(","): " ".join(entry.split()) for entry in capsys.readouterr().out.split("\n  --")}
    for name in table.keys() - {"dataset_digest"}:
        values = dict(zip(("tuned", "handout"), table[name])) | {label: other[name][0] for label, other in further.items()}
        assert entries[name.replace("_", "-")].endswith(shown(values)), name


def test_gaussians_are_measured_by_presets_of_their_own(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(divergences, "train", lambda run, options, device: trained.append(to_record(options)))
    monkeypatch.setattr(divergences, "write_results", lambda *_: None)
    for preset in ("tuned", "handout"):
        assert divergences.main(["--run-dir", str(tmp_path), "--family", "gaussian", "--preset", preset]) == 0
        assert trained[-1] == to_record(divergences.PRESETS["gaussian"][preset])


@pytest.mark.parametrize("presets", [vae.PRESETS, wgan.PRESETS])
def test_a_decay_may_be_0_and_not_1(presets):
    for name in ("beta1", "beta2", "average_decay"):
        flag = "--" + name.replace("_", "-")
        assert parse([flag, "0"], "test", presets) == {name: 0}
        with pytest.raises(UserError, match="at least 0 and below 1"):
            parse([flag, "1"], "test", presets)
