"""The answers to questions 1.6 and 1.7 for one run: ELBO, log p(x) by importance sampling, metrics.json, figures."""

import json
import math
import re
from collections import defaultdict

import torch

import q1_samplers
from experiments import EVALUATION_SEED
from experiments.harness.command import exit_code, run_experiment
from experiments.harness.files import UserError, restore, say, user_error_if_unreadable
from experiments.harness.plotting import points
from experiments.harness.run import START_ANEW, RunDirectory, runs_in_figure
from experiments.vae import figures
from experiments.vae.bounds import evaluate_elbo, evaluate_log_likelihood, mean_and_stderr
from experiments.vae.train import PRESETS, VAEOptions, load, train
from model import VAE
from q1_solution import kl_gaussian_gaussian_analytic

REQUIRED_ELBO = -102.0  # nats, what the assignment asks for on the validation set
ACTIVE = 0.01  # nats of KL from which on a latent counts as active
FEWER_SAMPLES = (1, 10, 50, 200, 1000)  # K at which log p(x) is measured beside the K asked for
CHOOSING_DIGITS, CHOOSING_SAMPLES = 2000, 200  # validation digits and K of the log p(x) by which settings are chosen


@torch.no_grad()
def kl_by_latent(model: VAE, x: torch.Tensor) -> torch.Tensor:
    """KL(q(z_i|x) || p(z_i)) of each latent, averaged over the rows of x (n, 784): (latent_size,), in nats."""
    mean, logvar = (part.flatten().unsqueeze(1) for part in model.encode(x))
    prior = torch.zeros_like(mean)  # both its mean and its log-variance
    return kl_gaussian_gaussian_analytic(mean, logvar, prior, prior).view(len(x), -1).mean(0)


def load_model(run: RunDirectory) -> tuple[VAE, dict]:
    """The average model of the run's last checkpoint, on the CPU, and the checkpoint's state."""
    state = run.load()
    if state is None:
        raise UserError(f"{run.folder} holds no trained model; train one first: python q1_solution.py train")
    model = VAE()
    with user_error_if_unreadable(run.checkpoint, START_ANEW):
        restore(model, state["learner"]["average"])
    return model, state


def evaluate(run: RunDirectory, digits: q1_samplers.Digits, options: VAEOptions, device: torch.device) -> None:
    """Measure the run's last checkpoint, write metrics.json and the figures, print the two numbers asked for.

    In nats: train_elbo (the first training digits, as many as there are validation digits), valid_elbo, test_elbo and
    test_log_likelihood_by_num_samples (K to log p(x)) are means over images; NAME_stderr holds their standard errors.
    kl_by_latent holds KL(q(z_i|x) || p(z_i)) of each latent, a mean over the validation digits, in descending order.
    """
    model, state = load_model(run)
    model, valid = model.to(device), digits.valid.to(device)
    splits = {"train": digits.train[: len(valid)], "valid": valid, "test": digits.test}
    elbos = {split: mean_and_stderr(evaluate_elbo(model, x.to(device))) for split, x in splits.items()}
    elbo, elbo_stderr = elbos["valid"]
    choosing = mean_and_stderr(evaluate_log_likelihood(model, valid[:CHOOSING_DIGITS], CHOOSING_SAMPLES))
    several = [K for K in FEWER_SAMPLES if options.num_samples > K] + [options.num_samples]
    log_p = evaluate_log_likelihood(model, digits.test.to(device), several)  # (images, K)
    by_K = {str(K): mean_and_stderr(values) for K, values in zip(several, log_p.T)}
    test, test_stderr = by_K[str(options.num_samples)]
    kl = kl_by_latent(model, valid)
    active = int((kl > ACTIVE).sum())
    metrics = {
        "dataset": digits.name,
        "preset": options.preset,
        "seed": options.seed,
        "epochs": state["epoch"],
        **{f"{split}_elbo": value for split, (value, _) in elbos.items()},
        **{f"{split}_elbo_stderr": stderr for split, (_, stderr) in elbos.items()},
        "valid_log_likelihood": choosing[0],
        "valid_log_likelihood_stderr": choosing[1],
        "valid_log_likelihood_num_images": len(valid[:CHOOSING_DIGITS]),
        "valid_log_likelihood_num_samples": CHOOSING_SAMPLES,
        "test_log_likelihood": test,
        "test_log_likelihood_stderr": test_stderr,
        "num_samples": options.num_samples,
        "test_log_likelihood_by_num_samples": {K: value for K, (value, _) in by_K.items()},
        "test_log_likelihood_by_num_samples_stderr": {K: stderr for K, (_, stderr) in by_K.items()},
        "valid_reconstruction": elbo + kl.sum().item(),
        "valid_kl": kl.sum().item(),
        "kl_by_latent": kl.sort(descending=True).values.tolist(),
        "active_latents": active,
        "train_seconds": round(state["train_seconds"], 1),
    }
    run.write_json("metrics.json", metrics)
    draw_curves(run, options, digits.name)
    draw_digits(run, model, digits, kl)
    say(f"validation ELBO  {elbo:8.2f} +- {elbo_stderr:.2f} nats")
    say(f"test log p(x)    {test:8.2f} +- {test_stderr:.2f} nats, K = {options.num_samples}")
    say(f"KL to the prior  {metrics['valid_kl']:8.2f} nats, carried by {active} active latents")
    say(f"written to {run.folder}: metrics.json, log.jsonl, figures/")


def draw_curves(run: RunDirectory, options: VAEOptions, dataset: str) -> None:
    """Both bounds of this run and of those of --beside, of which such as differ in the seed alone are one curve."""
    by_name: dict[str, list[tuple[str, RunDirectory]]] = defaultdict(list)
    for label, shown in runs_in_figure(run, options, PRESETS):
        by_name[re.sub(r",\s+seed\s+\d+$", "", label)].append((label, shown))
    groups = {name if len(group) > 1 else group[0][0]: [run for _, run in group] for name, group in by_name.items()}
    valid, train, log_p, errors = ({name: list[figures.Curve]() for name in groups} for _ in range(4))
    for name, shown in ((name, shown) for name, group in groups.items() for shown in group):
        path = shown.folder / "metrics.json"
        with user_error_if_unreadable(path, "evaluate that run first"):
            metrics = json.loads(path.read_bytes())
            by_K = metrics["test_log_likelihood_by_num_samples"]
            stderr = metrics.get("test_log_likelihood_by_num_samples_stderr", dict.fromkeys(by_K, math.nan))
            log_p[name].append((list(map(float, by_K)), list(by_K.values())))
            errors[name].append((list(map(float, by_K)), list(stderr.values())))  # old records have none: no bars
        with user_error_if_unreadable(shown.folder / "log.jsonl", "train that run anew"):
            log = shown.read_log()
            valid[name].append(points(log, "epoch", "valid_elbo"))
            if valid[name][-1] == ([], []):
                raise ValueError("no epoch in it")
        if "train_elbo" in log[0]:  # it may train another bound
            train[name].append(points(log, "epoch", "train_elbo"))
    required = REQUIRED_ELBO if dataset == "binarized-mnist" else None
    figures.elbo_curves(valid, train, run.figures / "elbo.png", dataset, required)
    figures.log_likelihood(log_p, errors, run.figures / "log_likelihood.png", dataset)


@torch.no_grad()
def draw_digits(run: RunDirectory, model: VAE, digits: q1_samplers.Digits, kl: torch.Tensor) -> None:
    """Digits from the prior, from validation digits, and from one with the two latents varied that carry most KL."""
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    z = torch.randn(100, model.latent_size, generator=generator).to(device)
    figures.samples(torch.sigmoid(model.decode(z)), run.figures / "samples.png", digits.name)

    valid = digits.valid.to(device)
    z_mean, _ = model.encode(valid)
    means = torch.sigmoid(model.decode(z_mean[:50]))
    figures.reconstructions(valid[:50], means, run.figures / "reconstructions.png", digits.name)

    kl, order = kl.sort(descending=True)
    first, second = order[:2].tolist()
    values = torch.linspace(-2.5, 2.5, 11, device=device)
    z = z_mean[0].repeat(11, 11, 1)
    z[:, :, first], z[:, :, second] = values.unsqueeze(1), values
    path = run.figures / "latent_walk.png"
    active, means = int((kl > ACTIVE).sum()), torch.sigmoid(model.decode(z))
    figures.latent_walk(means, kl, active, path, digits.name, (first, second), values.tolist())


def main(argv: list[str] | None = None) -> int:
    """The command `python q1_solution.py`. Returns its exit code."""
    about = "Train the VAE, then measure its ELBO and log p(x)."
    return exit_code(run_experiment, argv, about=about, presets=PRESETS, load=load, train=train, evaluate=evaluate)
