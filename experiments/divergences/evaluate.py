"""The answer to question 2.5 for one run: what the trained critics measure, curves.csv, metrics.json, the figures."""

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
from experiments.harness.options import label
from experiments.harness.run import RunDirectory, runs_in_figure
from model import Critic
from q2_samplers import FAMILIES
from q2_solution import CriticFunction, gradient_norm

SLOPES = 2**12  # points at which slopes and gradients are measured
PICTURED = (0.1, 1.0)  # the figure of critics has those that were trained nearest to these thetas


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


def gradients(
    objective: Objective, critic: CriticFunction, x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """n d objective / d y at each of the n points y of Q, and the critic's own gradient there: both (n, 2).

    A generator of the points y would move them against the first, which is -exp(v) grad v for squared Hellinger and
    -grad f for Wasserstein. Where training has taken v below -17, float32 has 0 for it, however steep v is.
    """
    y = y.detach().requires_grad_()
    (of_objective,) = torch.autograd.grad(len(y) * objective.function(x, y, critic), y)
    (of_critic,) = torch.autograd.grad(critic(y).sum(), y)
    return of_objective, of_critic


def trained(run: RunDirectory, name: str, options: DivergenceOptions) -> tuple[CriticBank, float]:
    """The critics of one objective, on the CPU, and training's seconds."""
    state = RunDirectory(run.folder / name).load() or {}  # training has just saved one
    bank = CriticBank([Critic() for _ in options.thetas])
    bank.load_state_dict(state["learner"]["bank"])
    return bank, state["train_seconds"]


def measure(objective: Objective, bank: CriticBank, options: DivergenceOptions) -> list[list[float]]:
    """On fresh samples for each theta: estimates, lower bounds, and mean lengths of both gradients at Q."""
    family, rows = FAMILIES[options.family], []
    torch.manual_seed(EVALUATION_SEED)
    for k, theta in enumerate(options.thetas):
        x, y = (
            torch.from_numpy(next(family.sampler(place, family.fresh_samples))).to(bank.weights[0].device)
            for place in (0.0, theta)
        )
        critic = bank.critic(k)
        both = gradients(objective, critic, x[:SLOPES], y[:SLOPES])
        lengths = [gradient.norm(dim=1).mean().item() for gradient in both]
        rows.append((*estimate(objective, critic, x, y, options.correction), *lengths))
    return [list(column) for column in zip(*rows)]


def evaluate(run: RunDirectory, _: None, options: DivergenceOptions, device: torch.device) -> None:
    """curves.csv, metrics.json and the figures. Prints the largest errors.

    metrics.json has lists by theta: `<objective>_lower_bound`, see estimate, and two mean lengths over the points y of
    Q, see gradients: `<objective>_gradient` of n d objective / d y, `<objective>_slope` of the critic's own gradient.
    """
    family, thetas = FAMILIES[options.family], options.thetas
    columns: dict[str, Sequence[float]] = {"theta": thetas}
    metrics: dict[str, Any] = {name: getattr(options, name) for name in ("family", "preset", "seed")}
    banks = {}
    for name, objective in OBJECTIVES.items():
        banks[name], seconds = trained(run, name, options)
        values, bounds, lengths, slopes = measure(objective, banks[name].to(device), options)
        exact = [family.exact[name](theta) for theta in thetas]
        columns |= {name: values, f"{name}_exact": exact}
        errors = [abs(value - truth) for value, truth in zip(values, exact)]
        worst = max(range(len(thetas)), key=errors.__getitem__)
        metrics[f"{name}_largest_error"] = errors[worst]
        metrics |= {f"{name}_lower_bound": bounds, f"{name}_gradient": lengths, f"{name}_slope": slopes}
        metrics[f"{name}_seconds"] = round(seconds, 1)
        say(f"{name:18s} largest error {errors[worst]:.5f}, at theta = {thetas[worst]:g}")
    table = "".join(",".join(map(str, row)) + "\n" for row in (columns, *zip(*columns.values())))
    write_atomically(run.folder / "curves.csv", table.encode())
    run.write_json("metrics.json", metrics)
    draw_curves(run, options)
    draw_critics(run, banks, options, metrics)
    say(f"written to {run.folder}: curves.csv, metrics.json, figures/")


def draw_curves(run: RunDirectory, options: DivergenceOptions) -> None:
    """A figure for each objective: the estimates of this run, and of those of --beside, with the exact curve."""
    family = FAMILIES[options.family]
    curves: dict[str, dict] = {name: {} for name in OBJECTIVES}
    for name_of_run, shown in runs_in_figure(run, options, PRESETS):
        path = shown.folder / "curves.csv"
        with user_error_if_unreadable(path, "resume that run first"):
            rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
            if not rows:
                raise ValueError("no theta in it")
            for name in OBJECTIVES:
                columns = ("theta", name, f"{name}_exact")
                curves[name][name_of_run] = [tuple(float(row[column]) for column in columns) for row in rows]
    low, high = min(0.0, *options.thetas), max(0.0, *options.thetas)
    fine = [low + (high - low) * step / 400 for step in range(401)]
    for name, objective in OBJECTIVES.items():
        exact = [(theta, family.exact[name](theta)) for theta in sorted({*fine, 0.0})]
        path = run.figures / f"{name}.png"
        figures.divergence_curve(exact, curves[name], path, objective.title, family.description)


def draw_critics(
    run: RunDirectory, banks: dict[str, CriticBank], options: DivergenceOptions, metrics: dict[str, Any]
) -> None:
    """Critics of two thetas in the plane, and at Q where following the gradient of each objective down leads."""
    family, thetas = FAMILIES[options.family], options.thetas
    rows: dict[str, list[figures.Panel]] = {}
    nearest = {min((theta == 0, abs(theta - near), k) for k, theta in enumerate(thetas))[-1] for near in PICTURED}
    for name, objective in OBJECTIVES.items():
        bank = banks[name].cpu()
        rows[objective.title] = panels = []
        for k in sorted(nearest):
            x, y = (next(family.sampler(place, 400)) for place in (0.0, thetas[k]))
            upwards, _ = gradients(objective, bank.critic(k), torch.from_numpy(x), torch.from_numpy(y))
            lengths = (metrics[f"{name}_gradient"][k], metrics[f"{name}_slope"][k])
            panels.append(figures.Panel(thetas[k], bank.critic(k), x, y, -upwards.numpy(), *lengths))
    figures.critics(rows, run.figures / "critics.png", f"{family.description}; {label(options, PRESETS)}")


def main(argv: list[str] | None = None) -> int:
    """The command `python q2_solution.py`. Returns its exit code."""
    about = "Estimate both divergences over their distance."
    return exit_code(run_experiment, argv, about=about, presets=PRESETS, load=load, train=train, evaluate=evaluate)
