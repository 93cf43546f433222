"""The answers to questions 1.6 and 1.7 for one run: its figures and metrics.json."""

import contextlib
import json

import torch

import q1_samplers
from experiments import figures
from experiments.files import read
from experiments.likelihood import EVALUATION_SEED, evaluate_elbo, evaluate_log_likelihood, mean_and_stderr
from experiments.options import UserError, described
from experiments.run import RunDirectory
from experiments.vae_learner import PRESETS, VAEOptions
from experiments.weights import put_into
from model import VAE

PRIOR_TITLE = "Digits from the prior: E[x | z], z ~ N(0, I)\nVAE trained on {}"
REQUIRED_ELBO = -102.0  # nats, what the assignment asks for on the validation set
FEWER_SAMPLES = (1, 10, 50, 200, 1000)  # K at which log p(x) is measured beside the K asked for
# settings are chosen by log p(x) of so many validation digits, at this K: the better ELBO may be of the worse run
CHOOSING_DIGITS, CHOOSING_SAMPLES = 2000, 200


def evaluate(run: RunDirectory, digits: q1_samplers.Digits, options: VAEOptions, device: torch.device) -> None:
    """Measure the run's last checkpoint, write metrics.json and the figures, print the two numbers asked for."""
    state = run.load(options)
    if state is None:
        raise UserError(f"{run.folder} holds no trained model; train one first: python q1_solution.py train")
    model = VAE().to(device)
    with run.understood():
        put_into(model, state["learner"]["average"])
        epochs, train_seconds = int(state["epoch"]), round(float(state["train_seconds"]), 1)
    valid = digits.valid.to(device)
    valid_elbo, valid_elbo_stderr = mean_and_stderr(evaluate_elbo(model, valid))
    choosing = mean_and_stderr(evaluate_log_likelihood(model, valid[:CHOOSING_DIGITS], CHOOSING_SAMPLES))
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
        "valid_log_likelihood": choosing[0],
        "valid_log_likelihood_stderr": choosing[1],
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
    """The five figures of question 1."""
    required = REQUIRED_ELBO if digits.name == "binarized-mnist" else None
    figures.elbo_curves(elbo_by_epoch(run, options), run.figures / "elbo.png", digits.name, required)
    figures.log_likelihood(log_p_by_num_samples(run, options), run.figures / "log_likelihood.png", digits.name)

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


def elbo_by_epoch(run: RunDirectory, options: VAEOptions) -> dict[str, tuple[list[float], list[float]]]:
    """The validation ELBO by epoch of this run, and of a run beside it for each other preset on the same data.

    Returns preset to (epochs, ELBOs), this run's own first.
    """
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for neighbour, other in run.beside(options, "dataset_digest"):
        with contextlib.suppress(UserError):  # of a log that cannot be read
            epochs, elbos = figures.points(neighbour.read_log(), "epoch", "valid_elbo")
            if epochs and other.preset not in curves:
                curves[other.preset] = epochs, elbos
    return curves


def log_p_by_num_samples(run: RunDirectory, options: VAEOptions) -> dict[str, tuple[list[int], list[float]]]:
    """The test set's log p(x) by K of this run, and of all runs beside it on the same data that have been evaluated.

    Returns what was asked of a run to (K, nats), this run's own first.
    """
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for neighbour, other in run.beside(options, "dataset_digest"):
        with contextlib.suppress(OSError, UserError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            measured = json.loads(read(neighbour.folder / "metrics.json"))["test_log_likelihood_by_num_samples"]
            several = {int(K): float(nats) for K, nats in measured.items()}
            curves.setdefault(described(other, PRESETS), (list(several), list(several.values())))
    return curves
