"""How much faster the critics of both curves train as a bank than one after another, at equal batch and optimizer."""

import argparse
import random
import time
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.comparison import Comparison
from experiments.divergences.train import OBJECTIVES, PRESETS, DivergenceOptions, Learner, critic_loss
from model import Critic
from q2_samplers import FAMILIES

THETAS = FAMILIES["segments"].thetas


def plain_sampler(x: float, batch_size: int) -> Iterator[np.ndarray]:
    """Batches as the handout makes them: float64 arrays, a Python call for each row."""
    while True:
        yield np.array([(x, random.uniform(0, 1)) for _ in range(batch_size)])


def plain(recipe: DivergenceOptions, iterations: int) -> float:
    """Seconds per critic and iteration of the handout's loop, one critic for each objective."""
    seconds = 0.0
    for objective in OBJECTIVES.values():
        critic = Critic()
        optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[recipe.optimizer](critic.parameters(), lr=1e-4)
        p, q = plain_sampler(0, recipe.batch_size), plain_sampler(1, recipe.batch_size)
        began = time.perf_counter()
        for _ in range(iterations):
            x, y = torch.tensor(next(p), dtype=torch.float32), torch.tensor(next(q), dtype=torch.float32)
            optimizer.zero_grad()
            critic_loss(objective, x, y, critic, 50.0).backward()
            optimizer.step()
        seconds += time.perf_counter() - began
    return seconds / iterations


def ours(recipe: DivergenceOptions, iterations: int) -> float:
    """The same for a bank of 21 critics, batches from our samplers."""
    seconds = 0.0
    for objective in OBJECTIVES.values():
        learner = Learner(objective, recipe, "cpu")
        began = time.perf_counter()
        for iteration in range(1, iterations + 1):
            learner.advance(iteration)
        seconds += time.perf_counter() - began
    return seconds / iterations / len(THETAS)


def compare(arguments: argparse.Namespace) -> Iterator[Comparison]:
    """An iteration of both objectives for one critic, under either recipe."""
    for recipe in (PRESETS["tuned"], PRESETS["handout"]):
        batch_size, optimizer = recipe.batch_size, recipe.optimizer
        turns = [(plain(recipe, 40), ours(recipe, max(2, 160 // batch_size))) for _ in range(arguments.rounds)]
        what = f"an iteration of a critic of question 2, batch {batch_size}, {optimizer}, in a bank of {len(THETAS)}"
        yield Comparison(what, "plain loop", *map(list, zip(*turns)))
