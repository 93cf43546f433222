"""The answers to questions 1.6 and 1.7 for one run: ELBO, log p(x) by importance sampling, metrics.json, figures."""

import json
from functools import partial

import torch
from tqdm import tqdm

import q1_samplers
from experiments.harness import main as harness
from experiments.harness.files import UserError, restore, user_error_if_unreadable
from experiments.harness.plotting import points
from experiments.harness.run import START_ANEW, RunDirectory, with_stderr
from experiments.vae import figures
from experiments.vae.train import EVALUATION_SEED, PRESETS, VAEOptions, evaluate_elbo, load, train
from model import VAE
from q1_solution import kl_gaussian_gaussian_analytic, log_importance_weights, log_likelihood_bernoulli_logits, log_mean_exp

DECODED_AT_ONCE = 2000  # rows of 784 logits, 6 MB; more is no faster on two cores
REQUIRED_ELBO = -102.0  # nats, what the assignment asks for on the validation set
ACTIVE = 0.01  # nats of KL from which on a latent counts as active
FEWER_SAMPLES = (1, 10, 50, 200, 1000)  # K at which log p(x) is measured beside the K asked for
CHOOSING_DIGITS, CHOOSING_SAMPLES = 2000, 200  # validation digits and K of the log p(x) by which settings are chosen


@torch.no_grad()
def evaluate_log_likelihood(
    model: VAE, x: torch.Tensor, num_samples: int | list[int], batch_size: int | None = None
) -> torch.Tensor:
    """log p(x) of each row of x (n, 784), by importance sampling with K = num_samples. Returns (n,), in nats.

    Every image draws from a generator of its own, so batch_size, the number of images at once, does not matter.
    num_samples may be a list: returns (n, len(num_samples)), each K taking the first of the same samples.
    """
    several = num_samples if isinstance(num_samples, list) else [num_samples]
    batches = torch.arange(len(x)).split(batch_size or max(1, DECODED_AT_ONCE // max(several)))
    parts = []
    for rows in tqdm(batches, desc="log p(x)", leave=False, disable=None):
        generators = [torch.Generator(x.device).manual_seed(EVALUATION_SEED + row) for row in rows.tolist()]
        log_w = _log_weights_of_batch(model, x[rows.to(x.device)], max(several), generators)
        parts.append(torch.stack([log_mean_exp(log_w[:, :K]) for K in several], dim=1))
    log_p = torch.cat(parts)
    return log_p if isinstance(num_samples, list) else log_p.squeeze(1)


def _log_weights_of_batch(model: VAE, x: torch.Tensor, num_samples: int, generators: list[torch.Generator]) -> torch.Tensor:
    """log w_k of x (batch, 784), (batch, K), taken a part at a time, so that memory does not grow with K."""
    x = x.flatten(1)
    z_mean, z_logvar = model.encode(x)

    def log_likelihood(z: torch.Tensor) -> torch.Tensor:
        return log_likelihood_bernoulli_logits(model.decode(z), x)

    log_w = []
    for start in range(0, num_samples, DECODED_AT_ONCE):
        shape = (min(DECODED_AT_ONCE, num_samples - start), model.latent_size)
        eps = [torch.randn(shape, generator=generator, device=x.device) for generator in generators]
        log_w.append(log_importance_weights(log_likelihood, z_mean, z_logvar, torch.stack(eps, dim=1)))
    return torch.cat(log_w).t()


def mean_and_stderr(values: torch.Tensor) -> tuple[float, float]:
    """The mean of (n,) values and its standard error over the n images, the standard deviation over sqrt(n)."""
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


@torch.no_grad()
def kl_by_latent(model: VAE, x: torch.Tensor) -> torch.Tensor:
    """KL(q(z_i|x) || p(z_i)) of each latent, averaged over the rows of x (n, 784): (latent_size,), in nats."""
    mean, logvar = (part.flatten().unsqueeze(1) for part in model.encode(x))
    prior = torch.zeros_like(mean)  # both its mean and its log-variance
    return kl_gaussian_gaussian_analytic(mean, logvar, prior, prior).view(len(x), -1).mean(0)


def load_model(run: RunDirectory, options: VAEOptions) -> tuple[VAE, dict]:
    """The average model of the run's last checkpoint, on the CPU, and the checkpoint's state."""
    state = run.load(options)
    if state is None:
        raise UserError(f"{run.folder} holds no trained model; train one first: python q1_solution.py train")
    model = VAE()
    with user_error_if_unreadable(run.checkpoint, START_ANEW):
        restore(model, state["learner"]["average"])
    return model, state


def evaluate(run: RunDirectory, digits: q1_samplers.Digits, options: VAEOptions, device: torch.device) -> None:
    """Measure the run's last checkpoint, write metrics.json and the figures, print the two numbers asked for."""
    model, state = load_model(run, options)
    model, valid = model.to(device), digits.valid.to(device)
    elbo = mean_and_stderr(evaluate_elbo(model, valid))
    choosing = mean_and_stderr(evaluate_log_likelihood(model, valid[:CHOOSING_DIGITS], CHOOSING_SAMPLES))
    several = [K for K in FEWER_SAMPLES if options.num_samples > K] + [options.num_samples]
    log_p = evaluate_log_likelihood(model, digits.test.to(device), several)  # (images, K)
    test = mean_and_stderr(log_p[:, -1])
    kl = kl_by_latent(model, valid)
    metrics = {"dataset": digits.name, "preset": options.preset, "seed": options.seed, "epochs": state["epoch"]}
    metrics |= with_stderr({"valid_elbo": elbo, "valid_log_likelihood": choosing, "test_log_likelihood": test})
    metrics |= {
        "valid_reconstruction": elbo[0] + kl.sum().item(),
        "valid_kl": kl.sum().item(),
        "active_latents": int((kl > ACTIVE).sum()),
        "num_samples": options.num_samples,
        "test_log_likelihood_by_num_samples": dict(zip(map(str, several), log_p.mean(0).tolist())),
        "train_seconds": round(state["train_seconds"], 1),
    }
    run.write_json("metrics.json", metrics)
    draw(run, model, digits, options)
    print(f"validation ELBO  {elbo[0]:8.2f} +- {elbo[1]:.2f} nats")
    print(f"test log p(x)    {test[0]:8.2f} +- {test[1]:.2f} nats, K = {options.num_samples}")
    print(f"KL to the prior  {metrics['valid_kl']:8.2f} nats, carried by {metrics['active_latents']} active latents")
    print(f"written to {run.folder}: metrics.json, log.jsonl, figures/")


@torch.no_grad()
def draw(run: RunDirectory, model: VAE, digits: q1_samplers.Digits, options: VAEOptions) -> None:
    """The five figures of question 1."""
    required = REQUIRED_ELBO if digits.name == "binarized-mnist" else None
    figures.elbo_curves(elbo_by_epoch(run, options), run.figures / "elbo.png", digits.name, required)
    figures.log_likelihood(log_p_by_num_samples(run, options), run.figures / "log_likelihood.png", digits.name)

    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    z = torch.randn(100, model.latent_size, generator=generator).to(device)
    figures.samples(torch.sigmoid(model.decode(z)), run.figures / "samples.png", digits.name)

    valid = digits.valid.to(device)
    z_mean, _ = model.encode(valid)
    means = torch.sigmoid(model.decode(z_mean[:50]))
    figures.reconstructions(valid[:50], means, run.figures / "reconstructions.png", digits.name)

    first, second = kl_by_latent(model, valid).topk(2).indices.tolist()
    values = torch.linspace(-2.5, 2.5, 11, device=device)
    z = z_mean[0].repeat(11, 11, 1)
    z[:, :, first], z[:, :, second] = values.unsqueeze(1), values
    path = run.figures / "latent_walk.png"
    figures.latent_walk(torch.sigmoid(model.decode(z)), path, digits.name, (first, second), values.tolist())


def elbo_by_epoch(run: RunDirectory, options: VAEOptions) -> dict[str, tuple[list[float], list[float]]]:
    """Preset to (epochs, validation ELBOs): this run, and one of the other preset beside it on the same data."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for neighbour, other in run.comparable_runs(options, "dataset_digest"):
        curve = points(neighbour.read_log(), "epoch", "valid_elbo")
        if curve[0]:
            curves.setdefault(other.preset, curve)
    return curves


def log_p_by_num_samples(run: RunDirectory, options: VAEOptions) -> list[tuple[str, list[int], list[float]]]:
    """(name, K, log p(x) of the test set) of this run, and of all evaluated runs beside it on the same data."""
    curves = []
    for neighbour, other in run.comparable_runs(options, "dataset_digest"):
        if (path := neighbour.folder / "metrics.json").exists():
            nats_by_K = json.loads(path.read_bytes())["test_log_likelihood_by_num_samples"]
            bound = f"{other.objective.split('-')[0].upper()} with S = {other.elbo_samples}"
            name = f"{other.preset}: {bound}, {other.epochs} epochs, seed {other.seed}"
            curves.append((name, list(map(int, nats_by_K)), list(nats_by_K.values())))
    return curves


EXPERIMENT = harness.Experiment("Train the VAE, then measure its ELBO and log p(x).", PRESETS, load, train, evaluate)
main = partial(harness.main, EXPERIMENT)  # the command `python q1_solution.py`; returns its exit code
