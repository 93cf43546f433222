"""Question 2.5: estimate the squared Hellinger and the Wasserstein distance of two distributions as they move apart."""

import contextlib
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments import figures
from experiments.files import read, write_atomically
from experiments.options import Options, command, new_options, option, parse
from experiments.run import RunDirectory
from experiments.training import choose_device, fit, learning_rate_at, set_learning_rate
from model import Critic, CriticBank
from q2_samplers import FAMILIES, stream
from q2_solution import gradient_norm, lp_reg, vf_squared_hellinger, vf_wasserstein_distance


# The penalty leaves a bias: on the segments its optimum is a critic of slope 1 + theta / (2 lambda), not 1, which
# overstates the distance by that factor. A lambda large enough to hide that makes the problem too stiff for as few
# iterations. So lambda stays where training is easy, and the estimate is divided by the slope that the critic is
# measured to have.
@dataclass(frozen=True)
class DivergenceOptions(Options):
    """What question 2 can be asked for; the defaults are the tuned preset for segments."""

    question = "q2"

    run_dir: Path = option(Path("runs/q2"), "where the run is recorded", scope="command")
    family: str = option("segments", "of distributions", choices=FAMILIES)
    thetas: tuple[float, ...] = option(FAMILIES["segments"].thetas, "distances, separated by commas")
    iterations: int = option(400, "of training", scope="length")
    batch_size: int = option(16, "samples of each distribution")
    optimizer: str = option("adam", "of the critics", choices=("adam", "sgd"))
    learning_rate: float = option(3e-3, "of the optimizer")
    lipschitz_weight: float = option(50.0, "lambda of the penalty")
    correction: str = option("slope", "slope: divide W1 by the critic's mean slope", choices=("slope", "none"))


TUNED = DivergenceOptions()
SGD: dict[str, Any] = dict(optimizer="sgd", learning_rate=1e-3, schedule="constant")
HANDOUT = replace(TUNED, preset="handout", iterations=2500, batch_size=512, correction="none", **SGD)
GAUSSIAN: dict[str, Any] = dict(family="gaussian", thetas=FAMILIES["gaussian"].thetas)
PRESETS = {
    "segments": {"tuned": TUNED, "handout": HANDOUT},
    "gaussian": {  # overlapping distributions need larger batches: here it is chance that blurs the answer, not the critic
        "tuned": replace(TUNED, **GAUSSIAN, iterations=300, batch_size=256, learning_rate=2e-3, lipschitz_weight=10.0),
        "handout": replace(HANDOUT, **GAUSSIAN),
    },
}
OBJECTIVES = {"squared_hellinger": vf_squared_hellinger, "wasserstein": vf_wasserstein_distance}
FIRST = "first_objective.pt"  # the checkpoint at the end of the first of them
SLOPES = 2**12  # points at which a critic's slope is measured


def objective_loss(
    objective: str, x: torch.Tensor, y: torch.Tensor, critic: Callable[[torch.Tensor], torch.Tensor], lipschitz_weight: float
) -> torch.Tensor:
    """What a critic minimises to measure `objective` between the samples x of P and y of Q. A scalar tensor."""
    loss = -OBJECTIVES[objective](x, y, critic)
    return loss + lipschitz_weight * lp_reg(x, y, critic) if objective == "wasserstein" else loss


class Learner:
    """One critic for each theta, trained as a bank to maximise one objective, and the optimizer."""

    def __init__(self, objective: str, options: DivergenceOptions, device: torch.device | str) -> None:
        self.objective, self.options = objective, options
        self.bank = CriticBank([Critic() for _ in options.thetas]).to(device)
        optimizer = torch.optim.SGD if options.optimizer == "sgd" else partial(torch.optim.Adam, fused=True)
        self.optimizer: torch.optim.Optimizer = optimizer(self.bank.parameters(), lr=options.learning_rate)
        sampler = FAMILIES[options.family].sampler
        self.p = stream(sampler, [0.0] * len(options.thetas), options.batch_size, device)
        self.q = stream(sampler, options.thetas, options.batch_size, device)

    def advance(self, iteration: int) -> dict[str, torch.Tensor]:
        """One step on fresh samples. Returns the loss, the mean over the critics."""
        options = self.options
        rate = learning_rate_at(iteration - 1, options.iterations, options.learning_rate, options.schedule)
        set_learning_rate(self.optimizer, rate)
        return {"loss": self.step(next(self.p), next(self.q))}

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = objective_loss(self.objective, x, y, self.bank, self.options.lipschitz_weight)
        self.optimizer.zero_grad()
        (loss * len(self.bank)).backward()  # the bank's loss is the mean over the critics; each is to follow its own
        self.optimizer.step()
        return loss.detach()

    def first_not_finite(self) -> str | None:
        finite = [parameter.isfinite().flatten(1).all(1) for parameter in self.bank.parameters()]  # each (critics,)
        for theta, fine in zip(self.options.thetas, torch.stack(finite).all(0).tolist()):
            if not fine:
                return f"{self.objective} critic for theta = {theta:g}"
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"bank": self.bank.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.bank.load_state_dict(state["bank"])
        self.optimizer.load_state_dict(state["optimizer"])


def train(run: RunDirectory, options: DivergenceOptions, device: torch.device) -> dict[str, dict[str, Any]]:
    """Train for one objective after another, from run's checkpoint if there is one. Returns objective to estimates.

    The draws of the second objective follow those of the first. So a run that is made longer than it was when the first
    was done goes on with the first, from a checkpoint kept for that, and does the second anew.
    """
    torch.manual_seed(options.seed)
    state, done = read_checkpoint(run, options)
    if any(curve["iterations"] < options.iterations for curve in done.values()):
        state, done = read_checkpoint(run, options, FIRST)
    for objective in [objective for objective in OBJECTIVES if objective not in done]:
        learner = Learner(objective, options, device)
        its_own = state if state and state["objective"] == objective else None
        label, log_every = {"objective": objective}, max(1, options.iterations // 10)
        seconds = fit(learner, run, options, device, its_own, label, kept={"curves": done}, log_every=log_every)
        if objective == "squared_hellinger":
            write_atomically(run.folder / FIRST, run.checkpoint.read_bytes())
        values, bounds = estimate_all(objective, learner.bank, options, device)
        measured = {"estimate": values, "lower_bound": bounds, "seconds": seconds, "iterations": options.iterations}
        done = {**done, objective: measured}
    return done


def read_checkpoint(run: RunDirectory, options: DivergenceOptions, *name: str) -> tuple[dict | None, dict[str, dict[str, Any]]]:
    """A checkpoint, if there is one, and the estimates of the objectives that were done by then."""
    state = run.resume(options, *name)
    with run.understood():
        done = state["curves"] if state else {}
        for curve in done.values():
            sizes = {len(curve["estimate"]), len(curve["lower_bound"])}
            if sizes != {len(options.thetas)} or not curve["iterations"] + curve["seconds"] > 0:
                raise ValueError("its estimates are not one for each theta")
        if state and state["objective"] not in OBJECTIVES:
            raise ValueError("it is of no objective")
    return state, done


def estimate(
    objective: str, critic: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, y: torch.Tensor, correction: str
) -> tuple[float, float]:
    """The divergence that a trained critic measures between samples x of P and y of Q that it never saw.

    correction "slope": the Wasserstein estimate over the critic's mean slope between the two, as the penalty leaves it
    above 1. Returns the estimate and a lower bound. The bound on W1 is E_P[f] - E_Q[f] over the largest slope found,
    since f over its Lipschitz constant is 1-Lipschitz; the squared-Hellinger objective is a lower bound whatever the
    critic.
    """
    with torch.no_grad():
        value = OBJECTIVES[objective](x, y, critic).item()
        if objective == "squared_hellinger":
            return value, value
        slopes = gradient_norm(x[:SLOPES], y[:SLOPES], critic)
    corrected = value / max(1.0, slopes.mean().item()) if correction == "slope" else value
    return corrected, value / max(1.0, slopes.max().item())


def estimate_all(objective: str, bank: CriticBank, options: DivergenceOptions, device: torch.device) -> list[list[float]]:
    """Theta by theta, on fresh samples. Returns the estimates and their lower bounds, two lists."""
    family = FAMILIES[options.family]
    pairs = []
    for k, theta in enumerate(options.thetas):
        x, y = (torch.from_numpy(next(family.sampler(place, family.fresh_samples))).to(device) for place in (0.0, theta))
        pairs.append(estimate(objective, bank.critic(k), x, y, options.correction))
    return [list(column) for column in zip(*pairs)]


def write_results(run: RunDirectory, curves: dict[str, dict], options: DivergenceOptions) -> None:
    """curves.csv, metrics.json and the two figures. Prints the largest errors."""
    family, thetas = FAMILIES[options.family], options.thetas
    exact = {objective: [getattr(family, objective)(theta) for theta in thetas] for objective in OBJECTIVES}
    columns: dict[str, Sequence[float]] = {"theta": thetas}
    metrics: dict[str, Any] = {name: getattr(options, name) for name in ("family", "preset", "seed")}
    for objective in OBJECTIVES:
        measured = curves[objective]
        columns |= {objective: measured["estimate"], f"{objective}_exact": exact[objective]}
        errors = [abs(value - truth) for value, truth in zip(measured["estimate"], exact[objective])]
        worst = max(range(len(thetas)), key=errors.__getitem__)
        metrics[f"{objective}_largest_error"] = errors[worst]
        metrics[f"{objective}_lower_bound"] = measured["lower_bound"]
        metrics[f"{objective}_seconds"] = round(measured["seconds"], 1)
        print(f"{objective:18s} largest error {errors[worst]:.5f}, at theta = {thetas[worst]:g}", flush=True)
    table = "".join(",".join(map(str, row)) + "\n" for row in (columns, *zip(*columns.values())))
    write_atomically(run.folder / "curves.csv", table.encode())
    run.write_json("metrics.json", metrics)
    for objective in OBJECTIVES:
        draw_figure(run, objective, options)
    print(f"written to {run.folder}: curves.csv, metrics.json, figures/")


def draw_figure(run: RunDirectory, objective: str, options: DivergenceOptions) -> None:
    """The estimates of this run, and of runs of other presets beside it, over the exact curve."""
    family = FAMILIES[options.family]
    low, high = min(0.0, *options.thetas), max(0.0, *options.thetas)
    fine = [low + (high - low) * step / 400 for step in range(401)]
    estimates: dict[str, tuple[list[float], list[float]]] = {}
    for neighbour, other in run.beside(options, "family"):
        if other.preset in estimates:
            continue
        with contextlib.suppress(OSError, KeyError, ValueError, TypeError, csv.Error):
            rows = list(csv.DictReader(read(neighbour.folder / "curves.csv").decode().splitlines()))
            estimates[other.preset] = [float(row["theta"]) for row in rows], [float(row[objective]) for row in rows]
    exact = [getattr(family, objective)(theta) for theta in fine]
    path = run.figures / f"{objective}.png"
    figures.divergence_curve((fine, exact), estimates, path, objective, family.description)


def main(argv: list[str] | None = None) -> int:
    """The command `python q2_solution.py`. Returns its exit code."""
    return command(_main, argv)


def _main(argv: list[str] | None) -> None:
    shown = {**PRESETS["segments"], "tuned for gaussian": PRESETS["gaussian"]["tuned"]}
    named = parse(argv, "Estimate both divergences as two distributions move apart.", shown)
    asked = new_options(named, PRESETS[named.get("family", "segments")])
    device = choose_device(asked.device)
    with RunDirectory(asked.run_dir) as run:
        if (options := run.resumed(asked, named, device, lengthen=True) if asked.resume else None) is None:
            run.begin(options := asked, device)
        what = f"{FAMILIES[options.family].description}: {len(options.thetas)} values of theta, preset {options.preset}"
        print(f"{what}, seed {options.seed}, on {device}, recorded in {run.folder}", flush=True)
        write_results(run, train(run, options, device), options)
