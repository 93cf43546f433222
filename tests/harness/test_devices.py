"""A GPU's rule, kept without one: no operation takes tensors of two devices.

Training and evaluation run on PyTorch's "meta" device, where tensors have shapes and no numbers. So neither a branch
that depends on numbers is covered, nor autocast, fused Adam and the GPU's own generator.
"""

import contextlib
import random
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from experiments.divergences import train as divergences
from experiments.harness.run import RunDirectory
from experiments.vae import evaluate as vae_evaluation
from experiments.vae import train as vae
from experiments.wgan import classifier, weights
from experiments.wgan import evaluate as wgan_evaluation
from experiments.wgan import train as wgan
from experiments.wgan.options import PRESETS as WGAN_PRESETS
from q1_samplers import Digits
from q3_samplers import Photos, in_blocks

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


def wgan_learner(preset="tuned"):
    options = replace(WGAN_PRESETS[preset], h_dim=8, z_dim=8, batch_size=4)
    return wgan.Learner(options, photos(60).images.to(META))


X = torch.zeros(100, 784, device=META)
LEARNERS = {
    **{f"vae, {name}": partial(vae.Learner, options, X) for name, options in vae.PRESETS.items()},
    **{
        f"{title}, {name}": partial(divergences.Learner, objective, options, META)
        for title, objective in divergences.OBJECTIVES.items()
        for name, options in divergences.PRESETS.items()
    },
    **{f"wgan, {preset}": partial(wgan_learner, preset) for preset in WGAN_PRESETS},
    "classifier": partial(classifier.Learner, classifier.ClassifierOptions(), photos(40), META),
}


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
def test_training_computes_on_one_device(learner):
    with OneDevice():
        assert learner().advance(1)


LEFT = {
    "noise": lambda learner: vars(learner).update(noise=lambda: torch.zeros(4, 8)),
    "cosines": lambda learner: vars(learner.whitened).update(cosines=torch.eye(32)),
}


@pytest.mark.parametrize("leave", LEFT.values(), ids=LEFT)
def test_what_is_left_on_the_cpu_is_caught(leave):
    with OneDevice(), pytest.raises(RuntimeError, match="takes tensors of"):
        leave(learner := wgan_learner())
        learner.advance(1)


def evaluate_vae(run, monkeypatch):
    monkeypatch.setattr(vae_evaluation, "load_model", lambda *_: (vae.VAE(), {"epoch": 1, "train_seconds": 1.0}))
    monkeypatch.setattr(vae_evaluation, "elbo_by_epoch", lambda *_: {"tuned": ([1, 2], [-100.0, -99.0])})
    digits = Digits("digits", "digest", *torch.zeros(3, 60, 784))
    vae_evaluation.evaluate(run, digits, replace(vae.PRESETS["tuned"], num_samples=2), META)


def evaluate_divergences(run, monkeypatch):
    for title, objective in divergences.OBJECTIVES.items():
        critic = LEARNERS[f"{title}, tuned"]().bank.critic(0)
        divergences.estimate(objective, critic, *torch.zeros(2, 64, 2, device=META), "slope")


def evaluate_wgan(run, monkeypatch):
    blocks, learner = in_blocks(photos(600)), LEARNERS["classifier"]()
    classifier.set_unit(learner.classifier, learner.images)
    wgan.Monitor(run, wgan_learner(), blocks, 100).measure(1)
    origin = {"dataset": "photos", "dataset_digest": blocks.train.digest}
    monkeypatch.setattr(weights, "load_generator", lambda path: (wgan.Generator(8, 8), origin))
    monkeypatch.setattr(wgan_evaluation, "figures", mock.MagicMock())
    options = replace(WGAN_PRESETS["tuned"], samples=100, latents=4)
    wgan_evaluation.explore_generator(run, weights.GENERATOR, blocks, options, META)


@pytest.mark.filterwarnings("ignore::UserWarning:experiments")
@pytest.mark.parametrize("evaluate", [evaluate_vae, evaluate_divergences, evaluate_wgan])
def test_evaluation_computes_on_one_device(evaluate, tmp_path, monkeypatch):
    with RunDirectory(tmp_path) as run, OneDevice():
        evaluate(run, monkeypatch)
