"""The answer to question 2.5 for one run: what the trained critics measure, curves.csv, metrics.json, two figures."""

import csv
from collections.abc import Sequence
from typing import Any

import torch

from experiments import EVALUATION_SEED
from experiments.divergences import figures
from experiments.divergences.bank import CriticBank
from experiments.divergences.train import OBJECTIVES, PRESETS, DivergenceOptions, Objective, load, train
from experiments.harness.command import exit_code, run_experiment
from experiments.harness.files import say, user_error_if_unreadable, write_atomically
from experiments.harness.run import RunDirectory, runs_in_figure
from model import Critic
from q2_samplers import FAMILIES
from q2_solution import CriticFunction, gradient_norm

SLOPES = 2**12  # points at which a critic's slope is measured


def estimate(
    objective: Objective, critic: CriticFunction, x: torch.Tensor, y: torch.Tensor, correction: str
) -> tuple[float, float]:
    """The divergence that a trained critic measures between samples x of P and y of Q that training did not use.

    Returns the estimate and a lower bound. An objective without penalty is a lower bound in expectation, whatever the
    critic. One with it is divided for the bound by the largest slope found at SLOPES points, since f over its Lipschitz
    constant is 1-Lipschitz: a lower bound only as far as no steeper place was missed.

    correction "slope": a penalised estimate is divided by the critic's mean slope between x and y, which the penalty
    leaves above 1. That is right where Q is P translated, as in both families, and not where half of the mass stays.
    """
    with torch.no_grad():
        value = objective.function(x, y, critic).item()
        if not objective.penalised:
            return value, value
        slopes = gradient_norm(x[:SLOPES], y[:SLOPES], critic)
    corrected = value / max(1.0, slopes.mean().item()) if correction == "slope" else value
    return corrected, value / max(1.0, slopes.max().item())


def estimates(
    run: RunDirectory, name: str, options: DivergenceOptions, device: torch.device
) -> tuple[list[list[float]], float]:
    """Estimates and lower bounds for each theta, on fresh samples by trained critics, and training's seconds."""
    family, objective = FAMILIES[options.family], OBJECTIVES[name]
    state = RunDirectory(run.folder / name).load() or {}  # training has just saved one
    bank = CriticBank([Critic() for _ in options.thetas]).to(device)
    bank.load_state_dict(state["learner"]["bank"])
    torch.manual_seed(EVALUATION_SEED)
    pairs = []
    for k, theta in enumerate(options.thetas):
        x, y = (
            torch.from_numpy(next(family.sampler(place, family.fresh_samples))).to(device) for place in (0.0, theta)
        )
        pairs.append(estimate(objective, bank.critic(k), x, y, options.correction))
    return [list(column) for column in zip(*pairs)], state["train_seconds"]


def evaluate(run: RunDirectory, _: None, options: DivergenceOptions, device: torch.device) -> None:
    """curves.csv, metrics.json and a figure for each objective. Prints the largest errors."""
    family, thetas = FAMILIES[options.family], options.thetas
    columns: dict[str, Sequence[float]] = {"theta": thetas}
    metrics: dict[str, Any] = {name: getattr(options, name) for name in ("family", "preset", "seed")}
    for name in OBJECTIVES:
        (values, bounds), seconds = estimates(run, name, options, device)
        exact = [family.exact[name](theta) for theta in thetas]
        columns |= {name: values, f"{name}_exact": exact}
        errors = [abs(value - truth) for value, truth in zip(values, exact)]
        worst = max(range(len(thetas)), key=errors.__getitem__)
        metrics[f"{name}_largest_error"] = errors[worst]
        metrics[f"{name}_lower_bound"] = bounds
        metrics[f"{name}_seconds"] = round(seconds, 1)
        say(f"{name:18s} largest error {errors[worst]:.5f}, at theta = {thetas[worst]:g}")
    table = "".join(",".join(map(str, row)) + "\n" for row in (columns, *zip(*columns.values())))
    write_atomically(run.folder / "curves.csv", table.encode())
    run.write_json("metrics.json", metrics)
    draw(run, options)
    say(f"written to {run.folder}: curves.csv, metrics.json, figures/")


def draw(run: RunDirectory, options: DivergenceOptions) -> None:
    """A figure for each objective: the estimates of this run, and of those of --beside, with the exact curve."""
    family = FAMILIES[options.family]
    curves: dict[str, dict] = {name: {} for name in OBJECTIVES}
    for label, shown in runs_in_figure(run, options, PRESETS):
        path = shown.folder / "curves.csv"
        with user_error_if_unreadable(path, "resume that run first"):
            rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
            if not rows:
                raise ValueError("no theta in it")
            for name in OBJECTIVES:
                columns = ("theta", name, f"{name}_exact")
                curves[name][label] = [tuple(float(row[column]) for column in columns) for row in rows]
    low, high = min(0.0, *options.thetas), max(0.0, *options.thetas)
    fine = [low + (high - low) * step / 400 for step in range(401)]
    for name, objective in OBJECTIVES.items():
        exact = [(theta, family.exact[name](theta)) for theta in sorted({*fine, 0.0})]
        path = run.figures / f"{name}.png"
        figures.divergence_curve(exact, curves[name], path, objective.title, family.description)


def main(argv: list[str] | None = None) -> int:
    """The command `python q2_solution.py`. Returns its exit code."""
    about = "Estimate both divergences over their distance."
    return exit_code(run_experiment, argv, about=about, presets=PRESETS, load=load, train=train, evaluate=evaluate)
