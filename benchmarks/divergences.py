"""How much faster the critics of both curves train as a bank than one after another, at equal batch and optimizer.

    python -m benchmarks.divergences [--rounds 7]

In every round the plain loop and ours take turns at each recipe. Printed are the medians, per critic and iteration of both
objectives, and what they make for a whole figure of 21 critics.
"""

import argparse
import random
import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch

from experiments import divergences
from experiments.run import versions
from model import Critic, CriticBank

THETAS = divergences.FAMILIES["segments"].thetas


def plain_sampler(x: float, batch_size: int) -> Iterator[np.ndarray]:
    """Batches as the handout makes them: float64 arrays, a Python call for each row."""
    while True:
        yield np.array([(x, random.uniform(0, 1)) for _ in range(batch_size)])


def plain(recipe: dict, iterations: int) -> float:
    """Seconds per critic and iteration of the handout's loop, one critic for each objective."""
    seconds = 0.0
    for objective in divergences.OBJECTIVES:
        critic = Critic()
        optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[recipe["optimizer"]](critic.parameters(), lr=1e-4)
        p, q = plain_sampler(0, recipe["batch_size"]), plain_sampler(1, recipe["batch_size"])
        began = time.perf_counter()
        for _ in range(iterations):
            x, y = torch.tensor(next(p), dtype=torch.float32), torch.tensor(next(q), dtype=torch.float32)
            optimizer.zero_grad()
            divergences.critic_loss(objective, x, y, critic, 50.0).backward()
            optimizer.step()
        seconds += time.perf_counter() - began
    return seconds / iterations


def ours(recipe: dict, iterations: int) -> float:
    """The same for a bank of 21 critics, batches from our samplers."""
    seconds = 0.0
    for objective in divergences.OBJECTIVES:
        bank = CriticBank([Critic() for _ in THETAS])
        optimizer = divergences.make_optimizer(bank, {**recipe, "learning_rate": 1e-4})
        sampler, batch_size = divergences.q2_samplers.distribution1, recipe["batch_size"]
        p = divergences.stream(sampler, [0.0] * len(THETAS), batch_size, "cpu")
        q = divergences.stream(sampler, THETAS, batch_size, "cpu")
        began = time.perf_counter()
        for _ in range(iterations):
            optimizer.zero_grad()
            divergences.critic_loss(objective, next(p), next(q), bank, 50.0).backward()
            optimizer.step()
        seconds += time.perf_counter() - began
    return seconds / iterations / len(THETAS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds

    print(versions(torch.device("cpu")))
    print("| recipe | plain loop | bank | plain / bank | figure by the plain loop | by the bank |\n|---|---|---|---|---|---|")
    for preset, recipe in divergences.PRESETS["segments"].items():
        measured = [(plain(recipe, 40), ours(recipe, max(2, 160 // recipe["batch_size"]))) for _ in range(rounds)]
        slow, fast = (statistics.median(column) for column in zip(*measured))
        ratio = statistics.median(one / other for one, other in measured)
        whole = recipe["iterations"] * len(THETAS)
        print(
            f"| {preset}: batch {recipe['batch_size']}, {recipe['optimizer']} | {1000 * slow:.2f} ms | {1000 * fast:.2f} ms "
            f"| {ratio:.2f} | {slow * whole:.0f} s | {fast * whole:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
