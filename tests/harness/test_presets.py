"""Every option of every preset, as README.md and REPORT.md have it."""

import json

import pytest

from experiments.divergences import train as divergences
from experiments.harness.options import parse, to_record
from experiments.vae import train as vae
from experiments.wgan import classifier
from experiments.wgan.options import PRESETS as WGAN_PRESETS

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
    "guide": (True, False),
}
CLASSIFIER = {"data_file": None, "dataset_digest": "", "epochs": 14, "batch_size": 64, "learning_rate": 2e-3}
TABLES = {
    "q1": ("q1", vae.PRESETS, ("tuned", "handout"), VAE),
    "q2": ("q2", divergences.PRESETS, ("tuned", "handout"), DIVERGENCES),
    "q2, gaussian": ("q2", divergences.PRESETS, ("tuned, gaussian", "handout, gaussian"), DIVERGENCES_OF_GAUSSIANS),
    "q3": ("q3", WGAN_PRESETS, ("tuned", "handout"), WGAN),
}


def check(options, expected):
    """As JSON, where 50 is not 50.0 and a list is not a text."""
    assert json.dumps(to_record(options), sort_keys=True) == json.dumps({"seed": 0, **expected}, sort_keys=True)


@pytest.mark.parametrize(("question", "presets", "labels", "table"), TABLES.values(), ids=TABLES)
@pytest.mark.parametrize(("column", "preset"), [(0, "tuned"), (1, "handout")])
def test_preset_is_what_is_written_of_it(question, presets, labels, table, column, preset):
    expected = {name: values[column] for name, values in table.items()}
    check(presets[labels[column]], {"question": question, "preset": preset, **expected})


def test_classifier_is_trained_as_is_written_of_it():
    check(classifier.ClassifierOptions(), {"question": "classifier", "schedule": "cosine", **CLASSIFIER})


@pytest.mark.parametrize("label", divergences.PRESETS)
def test_each_family_of_distributions_has_presets_of_its_own(label):
    options = divergences.PRESETS[label]
    named = parse(["--family", options.family, "--preset", options.preset], "test", divergences.PRESETS)
    assert divergences.preset(named) == label
