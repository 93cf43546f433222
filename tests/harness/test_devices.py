"""A GPU's rule, kept without one: no operation takes tensors of two devices.

Training and evaluation run on PyTorch's "meta" device, where tensors have shapes and no numbers. So neither a branch
that depends on numbers is covered, nor autocast, fused Adam and the GPU's own generator.
"""

import contextlib
import random
from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from experiments.divergences import evaluate as divergences_evaluation
from experiments.divergences import train as divergences
from experiments.harness import training
from experiments.harness.run import RunDirectory
from experiments.vae import evaluate as vae_evaluation
from experiments.vae import train as vae
from experiments.wgan import classifier, monitor, weights
from experiments.wgan import evaluate as wgan_evaluation
from experiments.wgan import train as wgan
from experiments.wgan.data import split
from experiments.wgan.options import PRESETS as WGAN_PRESETS
from model import VAE, Generator
from q1_samplers import Digits
from q3_samplers import Photos

META, aten = torch.device("meta"), torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
INDEXED = (aten.index.Tensor, aten.index_put_.default)  # their indices may be on the CPU
DRAW = random.Random(0).random


class OneDevice(TorchDispatchMode):
    """RuntimeError where an operation mixes devices, but for copies, CPU indices, CPU scalars. Numbers are made up."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if function is aten._local_scalar_dense.default and args[0].is_meta:  # item()
            return DRAW() if args[0].is_floating_point() else args[0].dtype == torch.bool
        if (
            function in COPIES
            and tensors[-1].is_meta
            and torch.device(kwargs.get("device") or args[0].device).type == "cpu"
        ):
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if function in INDEXED and args[0].is_meta:
            return args[0] if tensors[1].dtype == torch.bool else function(*args, **kwargs)
        devices = {tensor.device.type for tensor in tensors if tensor.dim() or tensor.is_meta}
        if len(devices) > 1 and function not in COPIES:
            raise RuntimeError(f"{function} takes tensors of {devices}")
        return function(*args, **kwargs)


class CPUGenerator(torch.Generator):
    def __new__(cls, device="cpu"):
        return super().__new__(cls)


@pytest.fixture(autouse=True)
def what_meta_lacks(monkeypatch):
    for name in ("Adam", "AdamW"):
        honest = getattr(torch.optim, name)
        monkeypatch.setattr(torch.optim, name, lambda *a, fused, honest=honest, **more: honest(*a, **more))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch, "Generator", CPUGenerator)


def photos(n):
    return Photos("photos", "digest", torch.zeros(n, 3, 32, 32, dtype=torch.uint8), torch.arange(n) % 10)


DIGITS = Digits("digits", "digest", *torch.zeros(3, 100, 784))
SPLITS = split(photos(600))
SMALL = dict(h_dim=8, z_dim=8, batch_size=4, generator_steps=1)


def train(module, data, options, tmp_path, monkeypatch):
    """One unit of the experiment's own loop, on meta; a checkpoint of it cannot be written."""
    monkeypatch.setattr(RunDirectory, "save", lambda *_: None)
    monkeypatch.setattr(training.Training, "_infinite", lambda *_: None)
    with RunDirectory(tmp_path) as run, OneDevice():
        module.train(run, data, options, META)


@pytest.mark.parametrize("options", vae.PRESETS.values(), ids=vae.PRESETS)
def test_training_of_question_1_computes_on_one_device(options, tmp_path, monkeypatch):
    train(vae, DIGITS, replace(options, epochs=1), tmp_path, monkeypatch)


@pytest.mark.parametrize("options", divergences.PRESETS.values(), ids=divergences.PRESETS)
def test_training_of_question_2_computes_on_one_device(options, tmp_path, monkeypatch):
    train(divergences, None, replace(options, iterations=1, thetas=(0.0, 1.0)), tmp_path, monkeypatch)


@pytest.mark.parametrize("options", WGAN_PRESETS.values(), ids=WGAN_PRESETS)
def test_training_of_question_3_computes_on_one_device(options, tmp_path, monkeypatch):
    monkeypatch.setattr(wgan, "Monitor", mock.MagicMock())
    monkeypatch.setattr(wgan, "save_generator", mock.MagicMock())
    train(wgan, SPLITS, replace(options, **SMALL), tmp_path, monkeypatch)


def test_training_of_the_classifier_computes_on_one_device(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "save", mock.MagicMock())
    train(classifier, SPLITS, classifier.ClassifierOptions(epochs=1), tmp_path, monkeypatch)


@pytest.mark.parametrize("left", ["noise", "view"])
def test_what_is_left_on_the_cpu_is_caught(left, tmp_path, monkeypatch):
    if left == "noise":
        monkeypatch.setattr(wgan, "noise", lambda *_: torch.zeros(4, 8))
    else:
        monkeypatch.setattr("experiments.wgan.views.cosines", lambda size: mock.Mock(to=lambda _: torch.eye(size)))
    with pytest.raises(RuntimeError, match="takes tensors of"):
        test_training_of_question_3_computes_on_one_device(WGAN_PRESETS["tuned"], tmp_path, monkeypatch)


def evaluate_vae(run, monkeypatch):
    monkeypatch.setattr(vae_evaluation, "load_model", lambda *_: (VAE(), {"epoch": 1, "train_seconds": 1.0}))
    run.log({"epoch": 1, "valid_elbo": -100.0})
    vae_evaluation.evaluate(run, DIGITS, replace(vae.PRESETS["tuned"], num_samples=2), META)


def evaluate_divergences(run, monkeypatch):
    for objective in divergences.OBJECTIVES.values():
        critic = divergences.CriticBank([divergences.Critic()]).to(META).critic(0)
        divergences_evaluation.estimate(objective, critic, *torch.zeros(2, 64, 2, device=META), "slope")


def evaluate_wgan(run, monkeypatch):
    network = classifier.DigitClassifier().to(META)
    classifier.set_unit(network, SPLITS.train.images.to(META))
    networks = wgan.Networks(replace(WGAN_PRESETS["tuned"], **SMALL), SPLITS.train.images.to(META))
    monitor.Monitor(run.figures, SPLITS, 100, META).measure(1, networks.average, networks.critic)
    origin = {"dataset": "photos", "dataset_digest": SPLITS.train.digest}
    monkeypatch.setattr(weights, "load_generator", lambda path: (Generator(8, 8), origin))
    monkeypatch.setattr(wgan_evaluation, "figures", mock.MagicMock())
    options = replace(WGAN_PRESETS["tuned"], samples=100, latents=4)
    wgan_evaluation.explore_generators(run, {"": weights.BUNDLED_GENERATOR}, SPLITS, options, META)


@pytest.mark.filterwarnings("ignore::UserWarning:experiments")
@pytest.mark.parametrize("evaluate", [evaluate_vae, evaluate_divergences, evaluate_wgan])
def test_evaluation_computes_on_one_device(evaluate, tmp_path, monkeypatch):
    with RunDirectory(tmp_path) as run, OneDevice():
        evaluate(run, monkeypatch)
