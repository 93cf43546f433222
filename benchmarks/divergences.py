"""How much faster the critics of both curves train as a bank than one after another, at equal batch and optimizer."""

import argparse
import random
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from benchmarks.comparison import Comparison
from experiments.divergences.bank import CriticBank, stream
from experiments.divergences.train import OBJECTIVES, PRESETS, DivergenceOptions, update
from model import Critic
from q2_samplers import FAMILIES
from q2_solution import lp_reg

SEGMENTS = FAMILIES["segments"]
THETAS = SEGMENTS.thetas


def plain_sampler(x: float, batch_size: int) -> Iterator[np.ndarray]:
    """Batches as the handout makes them: float64 arrays, a Python call for each row."""
    while True:
        yield np.array([(x, random.uniform(0, 1)) for _ in range(batch_size)])


def plain(preset: DivergenceOptions, iterations: int) -> float:
    """Seconds per critic and iteration of the handout's loop, one critic for each objective."""
    seconds = 0.0
    for objective in OBJECTIVES.values():
        critic = Critic()
        optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[preset.optimizer](critic.parameters(), lr=1e-4)
        p, q = plain_sampler(0, preset.batch_size), plain_sampler(1, preset.batch_size)
        began = time.perf_counter()
        for _ in range(iterations):
            x, y = torch.tensor(next(p), dtype=torch.float32), torch.tensor(next(q), dtype=torch.float32)
            optimizer.zero_grad()
            loss = -objective.function(x, y, critic)
            (loss + 50.0 * lp_reg(x, y, critic) if objective.penalised else loss).backward()
            optimizer.step()
        seconds += time.perf_counter() - began
    return seconds / iterations


def ours(preset: DivergenceOptions, iterations: int) -> float:
    """The same for a bank of 21 critics, batches from our samplers."""
    seconds = 0.0
    for objective in OBJECTIVES.values():
        bank = CriticBank([Critic() for _ in THETAS])
        optimizers = {"sgd": torch.optim.SGD, "adam": partial(torch.optim.Adam, fused=True)}
        optimizer = optimizers[preset.optimizer](bank.parameters(), lr=preset.learning_rate)
        p, q = (stream(SEGMENTS.sampler, thetas, preset.batch_size, "cpu") for thetas in ([0.0] * len(THETAS), THETAS))
        began = time.perf_counter()
        for _ in range(iterations):
            update(bank, optimizer, objective, next(p), next(q), preset.lipschitz_weight)
        seconds += time.perf_counter() - began
    return seconds / iterations / len(THETAS)


def compare(arguments: argparse.Namespace) -> Iterator[Comparison]:
    """An iteration of both objectives for one critic, under either preset."""
    for preset in (PRESETS["tuned"], PRESETS["handout"]):
        batch_size, optimizer = preset.batch_size, preset.optimizer
        turns = [(plain(preset, 40), ours(preset, max(2, 160 // batch_size))) for _ in range(arguments.rounds)]
        what = f"an iteration of a critic of question 2, batch {batch_size}, {optimizer}, in a bank of {len(THETAS)}"
        yield Comparison(what, "plain loop", *map(list, zip(*turns)))
