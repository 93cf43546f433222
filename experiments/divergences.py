"""Question 2.5: estimate the squared Hellinger and the Wasserstein distance of two distributions as they move apart."""

import argparse
import contextlib
import csv
import io
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

import q2_samplers
from experiments import figures
from experiments.run import (
    Parser,
    RunDirectory,
    UserError,
    check_options,
    choose_device,
    command,
    kinds_of,
    learning_rate_at,
    new_options,
    positive_integer,
    positive_number,
    random_state,
    set_random_state,
    write_atomically,
)
from model import Critic, CriticBank
from q2_solution import gradient_norm, lp_reg, vf_squared_hellinger, vf_wasserstein_distance


class Family(NamedTuple):
    """Distributions P = sampler(0) and Q = sampler(theta), and what their divergences are exactly."""

    sampler: Callable[..., Iterator[np.ndarray]]
    squared_hellinger: Callable[[float], float]
    wasserstein: Callable[[float], float]
    thetas: list[float]
    fresh_samples: int  # of P and of Q, for an estimate; for the Gaussians' W1 they leave a standard error of 0.004
    description: str


FAMILIES = {
    "segments": Family(
        q2_samplers.distribution1,
        lambda theta: 0.0 if theta == 0 else 2.0,  # disjoint as soon as they part
        abs,
        [step / 10 for step in range(21)],
        2**12,
        "two parallel segments, theta apart",
    ),
    "gaussian": Family(
        q2_samplers.gaussian,
        lambda theta: 2 - 2 * math.exp(-(theta**2) / 8),
        abs,
        [step / 4 for step in range(9)],
        2**17,
        "two unit Gaussians, theta apart",
    ),
}

# The penalty leaves a bias: on the segments its optimum is a critic of slope 1 + theta / (2 lambda), not 1, which overstates
# the distance by that factor. A lambda large enough to hide that makes the problem too stiff for as few iterations. So lambda
# stays where training is easy, and the estimate is divided by the slope that the critic is measured to have.
HANDOUT = dict(
    iterations=2500,
    batch_size=512,
    optimizer="sgd",
    learning_rate=1e-3,
    schedule="constant",
    lipschitz_weight=50.0,
    correction="none",
)
SHARED = dict(optimizer="adam", schedule="cosine", correction="slope")
PRESETS = {
    "segments": {
        "handout": HANDOUT,
        "tuned": dict(iterations=400, batch_size=16, learning_rate=3e-3, lipschitz_weight=50.0, **SHARED),
    },
    "gaussian": {  # overlapping distributions need larger batches: here it is chance that blurs the answer, not the critic
        "handout": HANDOUT,
        "tuned": dict(iterations=300, batch_size=256, learning_rate=2e-3, lipschitz_weight=10.0, **SHARED),
    },
}
KINDS = {"family": str, "thetas": list, **kinds_of(HANDOUT)}  # of what options.json holds
OBJECTIVES = ("squared_hellinger", "wasserstein")
SLOPES = 2**12  # points at which a critic's slope is measured


def critic_loss(
    objective: str, x: torch.Tensor, y: torch.Tensor, critic: Callable[[torch.Tensor], torch.Tensor], lipschitz_weight: float
) -> torch.Tensor:
    """What a critic minimises to measure `objective` between the samples x of P and y of Q. A scalar tensor."""
    if objective == "squared_hellinger":
        return -vf_squared_hellinger(x, y, critic)
    return -vf_wasserstein_distance(x, y, critic) + lipschitz_weight * lp_reg(x, y, critic)


def stream(
    sampler: Callable[..., Iterator[np.ndarray]], thetas: list[float], batch_size: int, device: torch.device | str
) -> Iterator[torch.Tensor]:
    """Batches for a bank of critics, endlessly: batch_size samples for each theta, one block after another."""
    streams = [sampler(theta, batch_size) for theta in thetas]
    while True:
        yield torch.from_numpy(np.concatenate([next(samples) for samples in streams])).to(device)


def make_optimizer(bank: CriticBank, options: dict) -> torch.optim.Optimizer:
    if options["optimizer"] == "sgd":
        return torch.optim.SGD(bank.parameters(), lr=options["learning_rate"])
    return torch.optim.Adam(bank.parameters(), lr=options["learning_rate"], fused=True)


def train(
    run: RunDirectory, objective: str, state: dict | None, curves: dict[str, dict], options: dict, device: torch.device
) -> tuple[CriticBank, float]:
    """Train one critic for each theta, all of them as a bank, from the checkpoint `state` if that is at this objective.

    curves: the estimates of the objectives done before, kept in the checkpoint. Returns the bank and the seconds it took.
    """
    thetas, iterations = options["thetas"], options["iterations"]
    sampler = FAMILIES[options["family"]].sampler
    bank = CriticBank([Critic() for _ in thetas]).to(device)
    optimizer = make_optimizer(bank, options)
    done, seconds = 0, 0.0
    if state is not None and state["objective"] == objective:
        bank.load_state_dict(state["bank"])
        optimizer.load_state_dict(state["optimizer"])
        set_random_state(state["random_state"], device)
        done, seconds = state["iteration"], state["seconds"]
    p = stream(sampler, [0.0] * len(thetas), options["batch_size"], device)
    q = stream(sampler, thetas, options["batch_size"], device)

    began = time.perf_counter() - seconds
    part = max(1, iterations // 10)  # a line of log and a checkpoint
    for iteration in tqdm(range(done, iterations), objective, iterations, initial=done, leave=False, disable=None):
        x, y = next(p), next(q)
        loss = critic_loss(objective, x, y, bank, options["lipschitz_weight"])
        optimizer.zero_grad()
        (loss * len(bank)).backward()  # the bank's loss is the mean over the critics; each is to follow its own
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(iteration, iterations, options["learning_rate"], options["schedule"])
        optimizer.step()
        if (iteration + 1) % part == 0 or iteration + 1 == iterations:
            check_finite(objective, bank, x, y, thetas, iteration + 1)
            seconds = time.perf_counter() - began
            entry = {"objective": objective, "iteration": iteration + 1, "loss": loss.item(), "seconds": round(seconds, 2)}
            run.log(entry)
            progress = {**entry, "seconds": seconds, "curves": curves, "random_state": random_state(device)}
            run.save({"options": options, **progress, "bank": bank.state_dict(), "optimizer": optimizer.state_dict()})
    return bank, seconds


def check_finite(
    objective: str, bank: CriticBank, x: torch.Tensor, y: torch.Tensor, thetas: list[float], iteration: int
) -> None:
    """UserError that names the first theta whose critic has exploded."""
    with torch.no_grad():
        finite = torch.isfinite(bank(x) + bank(y)).view(len(thetas), -1).all(1).tolist()
    if not all(finite):
        raise UserError(
            f"the {objective} critic for theta = {thetas[finite.index(False)]:g} is no longer finite at iteration {iteration}; "
            "start again with a smaller --learning-rate"
        )


def estimate(
    objective: str, critic: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, y: torch.Tensor, correction: str
) -> tuple[float, float]:
    """The divergence that a trained critic measures between samples x of P and y of Q that it never saw.

    correction "slope": the Wasserstein estimate over the critic's mean slope between the two, as the penalty leaves it above 1.
    Returns the estimate and a lower bound. The bound on W1 is E_P[f] - E_Q[f] over the largest slope found, since f over its
    Lipschitz constant is 1-Lipschitz; the squared-Hellinger objective is a lower bound whatever the critic.
    """
    with torch.no_grad():
        if objective == "squared_hellinger":
            value = vf_squared_hellinger(x, y, critic).item()
            return value, value
        value = vf_wasserstein_distance(x, y, critic).item()
        slopes = gradient_norm(x[:SLOPES], y[:SLOPES], critic)
    corrected = value / max(1.0, slopes.mean().item()) if correction == "slope" else value
    return corrected, value / max(1.0, slopes.max().item())


def estimate_all(objective: str, bank: CriticBank, options: dict, device: torch.device) -> list[list[float]]:
    """Theta by theta, on fresh samples. Returns the estimates and their lower bounds, two lists."""
    family = FAMILIES[options["family"]]
    pairs = []
    for k, theta in enumerate(options["thetas"]):
        x, y = (torch.from_numpy(next(family.sampler(place, family.fresh_samples))).to(device) for place in (0.0, theta))
        pairs.append(estimate(objective, bank.critic(k), x, y, options["correction"]))
    return [list(column) for column in zip(*pairs)]


def write_results(run: RunDirectory, curves: dict[str, dict], options: dict) -> None:
    """curves.csv, metrics.json and the two figures. Prints the largest errors."""
    family, thetas = FAMILIES[options["family"]], options["thetas"]
    exact = {objective: [getattr(family, objective)(theta) for theta in thetas] for objective in OBJECTIVES}
    columns = {"theta": thetas}
    metrics = {name: options[name] for name in ("family", "preset", "seed")}
    for objective in OBJECTIVES:
        measured = curves[objective]
        columns |= {objective: measured["estimate"], f"{objective}_exact": exact[objective]}
        errors = [abs(value - truth) for value, truth in zip(measured["estimate"], exact[objective])]
        worst = max(range(len(thetas)), key=errors.__getitem__)
        metrics[f"{objective}_largest_error"] = errors[worst]
        metrics[f"{objective}_lower_bound"] = measured["lower_bound"]
        metrics[f"{objective}_seconds"] = round(measured["seconds"], 1)
        print(
            f"{objective:18s} largest error {errors[worst]:.5f}, at theta = {thetas[worst]:g};  {measured['seconds']:.0f} s",
            flush=True,
        )
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(zip(*columns.values()))
    write_atomically(run.folder / "curves.csv", text.getvalue().encode())
    run.write_json("metrics.json", metrics)
    for objective in OBJECTIVES:
        draw_figure(run, objective, options)
    print(f"written to {run.folder}: curves.csv, metrics.json, figures/")


def draw_figure(run: RunDirectory, objective: str, options: dict) -> None:
    """The estimates of this run, and of runs of other presets beside it, over the exact curve."""
    family = FAMILIES[options["family"]]
    low, high = min(0.0, *options["thetas"]), max(0.0, *options["thetas"])
    fine = [low + (high - low) * step / 400 for step in range(401)]
    estimates = {}
    for neighbour, preset in run.presets_beside(options, ("family",)):
        with contextlib.suppress(OSError, KeyError, ValueError), open(neighbour.folder / "curves.csv") as file:
            rows = list(csv.DictReader(file))
            estimates[preset] = [float(row["theta"]) for row in rows], [float(row[objective]) for row in rows]
    figures.divergence_curve(
        (fine, [getattr(family, objective)(theta) for theta in fine]),
        estimates,
        run.figures / f"{objective}.png",
        objective,
        family.description,
    )


def thetas_list(text: str) -> list[float]:
    """A command-line value that must be numbers from -1000 to 1000, separated by commas."""
    try:
        thetas = [float(number) for number in text.split(",")]
    except ValueError:
        thetas = [math.nan]
    if not all(abs(theta) <= 1000 for theta in thetas):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers from -1000 to 1000 such as 0,0.5,1")
    return thetas


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, dict]:
    """The command line of q2_solution.py: how to run, and the options that were named, apart."""
    parser = Parser("Estimate both divergences as two distributions move apart.", "runs/q2", ("tuned", "handout"))
    parser.add_argument("--family", choices=FAMILIES, help="of distributions (segments)")
    parser.add_argument(
        "--thetas", type=thetas_list, help="distances, separated by commas (0,0.1,...,2; Gaussians: 0,0.25,...,2)"
    )
    parser.add_argument("--iterations", type=positive_integer, help="of training (tuned: 400, Gaussians 300; handout: 2500)")
    parser.add_argument("--batch-size", type=positive_integer, help="samples of each distribution (16, Gaussians 256; 512)")
    parser.add_argument("--optimizer", choices=("adam", "sgd"), help="(tuned: adam, handout: sgd)")
    parser.add_argument("--learning-rate", type=positive_number, help="(3e-3, Gaussians 2e-3; 1e-3)")
    parser.add_argument("--schedule", choices=("constant", "cosine"), help="of the learning rate (cosine; constant)")
    parser.add_argument("--lipschitz-weight", type=positive_number, help="lambda of the penalty (50, Gaussians 10; 50)")
    parser.add_argument("--correction", choices=("slope", "none"), help="divide W1 by the critic's mean slope (slope; none)")
    return parser.split(argv)


def main(argv: list[str] | None = None) -> int:
    """The command `python q2_solution.py`. Returns its exit code."""
    return command(_main, argv)


def _main(argv: list[str] | None) -> None:
    how, given = parse(argv)
    device = choose_device(how.device)
    with RunDirectory(how.run_dir) as run:
        options = run.read_options("q2", KINDS) if how.resume else None
        if options is None:
            family = given.get("family", "segments")
            identity = {"question": "q2", "family": family, "thetas": FAMILIES[family].thetas}
            options = {**identity, **new_options(given, PRESETS[family])}
            run.set_aside()
            run.write_options(options, device)
        check_options(given, options, run.folder)
        state = run.resume(options)
        print(
            f"{FAMILIES[options['family']].description}: {len(options['thetas'])} values of theta, preset {options['preset']}, "
            f"seed {options['seed']}, on {device}, recorded in {run.folder}",
            flush=True,
        )
        torch.manual_seed(options["seed"])
        curves = state["curves"] if state else {}
        for objective in OBJECTIVES:
            if objective not in curves:
                bank, seconds = train(run, objective, state, curves, options, device)
                values, bounds = estimate_all(objective, bank, options, device)
                curves[objective] = {"estimate": values, "lower_bound": bounds, "seconds": seconds}
        write_results(run, curves, options)
