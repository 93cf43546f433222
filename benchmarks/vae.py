"""How much sooner the VAE reaches the ELBO asked for, and how much faster an epoch is, than by the plain loop.

Where JAX is installed, an epoch is also compared with one that JAX compiles as a whole.
"""

import argparse
import copy
import importlib.util
import math
import time
from collections.abc import Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from benchmarks.comparison import Comparison
from experiments.harness.training import set_learning_rate, update_average
from experiments.vae.bounds import BOUNDS, evaluate_elbo
from experiments.vae.evaluate import REQUIRED_ELBO
from experiments.vae.train import PRESETS, VAEOptions, load, update
from model import VAE
from q1_samplers import Digits, batches


class Training(Protocol):
    def epoch(self) -> float:
        """Train for one epoch; returns the validation ELBO."""


def log_likelihood_bernoulli(mu: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """As a student writes it."""
    return -F.binary_cross_entropy(mu, target, reduction="none").sum(1)


def kl_gaussian_gaussian_analytic(
    mu_q: torch.Tensor, logvar_q: torch.Tensor, mu_p: torch.Tensor, logvar_p: torch.Tensor
) -> torch.Tensor:
    """As a student writes it."""
    return 0.5 * (logvar_p - logvar_q + (logvar_q.exp() + (mu_q - mu_p) ** 2) / logvar_p.exp() - 1).sum(1)


class Plain:
    """The handout's notebook, filled in: eager PyTorch, DataLoaders over arrays of images (1, 28, 28), Adam 3e-4."""

    def __init__(self, digits: Digits) -> None:
        self.train = DataLoader(digits.train.view(-1, 1, 28, 28).numpy(), batch_size=64, shuffle=True)
        self.valid = DataLoader(digits.valid.view(-1, 1, 28, 28).numpy(), batch_size=64)
        self.model = VAE(100)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=3e-4)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        z_mean, z_logvar, logits = self.model(x)
        zero = torch.zeros(z_mean.size())
        kl = kl_gaussian_gaussian_analytic(z_mean, z_logvar, zero, zero).mean()
        mu = torch.sigmoid(logits.view(x.size(0), -1))
        return kl - log_likelihood_bernoulli(mu, x.view(x.size(0), -1)).mean()

    def epoch(self) -> float:
        for x in self.train:
            self.optimizer.zero_grad()
            loss = self.loss(x)
            loss.backward()
            self.optimizer.step()
        with torch.no_grad():
            total = sum(self.loss(x).item() * len(x) for x in self.valid)
        return -total / len(self.valid.dataset)


class Ours:
    """The loop of experiments/vae/train.py under a preset."""

    def __init__(self, digits: Digits, preset: str) -> None:
        self.digits, self.options, self.step, self.model = digits, PRESETS[preset], 0, VAE()
        self.average = copy.deepcopy(self.model) if self.options.average_decay else self.model
        betas = (self.options.beta1, self.options.beta2)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), betas=betas, weight_decay=0.0, fused=True)
        self.steps = self.options.epochs * math.ceil(len(digits.train) / self.options.batch_size)

    def epoch(self) -> float:
        options = self.options
        for batch in batches(self.digits.train, options.batch_size):
            set_learning_rate(self.optimizer, options.learning_rate, self.step, self.steps, options.schedule)
            eps = torch.randn(options.elbo_samples, len(batch), self.model.latent_size)
            update(self.model, self.optimizer, batch, eps, BOUNDS[options.objective])
            update_average(self.average, self.model, self.step, options.average_decay)
            self.step += 1
        return evaluate_elbo(self.average, self.digits.valid).mean().item()


def matrix_products(images: int, batch_size: int = 64) -> float:
    """Seconds that the matrix products of one epoch take by themselves, the least an epoch can take."""
    layers = [layer for layer in VAE(100).modules() if isinstance(layer, torch.nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in layers]
    operands = [(torch.randn(batch_size, i), torch.randn(i, o), torch.randn(batch_size, o)) for i, o in shapes]
    began = time.perf_counter()
    for _ in range(images // batch_size):
        for number, (x, weight, gradient) in enumerate(operands):
            x @ weight
            x.t() @ gradient
            if number > 0:  # nothing needs the gradient of the image
                gradient @ weight.t()
    return time.perf_counter() - began


def timed_epoch(training: Training) -> tuple[float, float]:
    """Returns seconds, and the validation ELBO."""
    began = time.perf_counter()
    elbo = training.epoch()
    return time.perf_counter() - began, elbo


def epochs_to_required(contenders: list[Training]) -> list[list[float]]:
    """Let the contenders take turns, an epoch each, until each has passed the ELBO asked for. Returns their seconds."""
    seconds, passed = [[] for _ in contenders], [False for _ in contenders]
    while not all(passed):
        for k in [k for k, done in enumerate(passed) if not done]:
            lasted, elbo = timed_epoch(contenders[k])
            seconds[k].append(lasted)
            passed[k] = elbo >= REQUIRED_ELBO
    return seconds


def compare(arguments: argparse.Namespace) -> Iterator[Comparison]:
    """An epoch at the handout's hyperparameters, against several; the time to the ELBO asked for, against plain."""
    digits = load(VAEOptions(dataset="binarized-mnist", data_dir=arguments.data_dir)).content
    rounds, ours, others = arguments.rounds, Ours(digits, "handout"), {"plain loop": Plain(digits)}
    if importlib.util.find_spec("jax"):
        from benchmarks.jax_vae import Compiled  # imports a package that is no dependency

        others["JAX, a whole epoch compiled"] = Compiled(digits)
        others["JAX, a whole epoch compiled"].epoch()  # compiles
    turns = [[timed_epoch(training)[0] for training in (ours, *others.values())] for _ in range(rounds)]
    own, *theirs = map(list, zip(*turns))
    what = "an epoch of question 1 at the handout's hyperparameters"
    for against, seconds in zip(others, theirs):
        yield Comparison(what, against, seconds, own)
    products = [matrix_products(len(digits.train)) for _ in range(rounds)]
    yield Comparison(what, "its matrix products alone", products, own)

    plain, tuned = epochs_to_required([Plain(digits), Ours(digits, "tuned")])
    what = f"a validation ELBO of {REQUIRED_ELBO:.0f}, tuned: {len(tuned)} epochs"
    yield Comparison(what, f"plain loop: {len(plain)} epochs", [sum(plain)], [sum(tuned)])
