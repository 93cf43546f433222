"""How much faster a generator step of WGAN-LP is than in the plain loop, and how much of it is arithmetic.

At the handout's hyperparameters. Speed does not depend on what the images show, so they are random.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.comparison import Comparison
from experiments.harness.training import update_average
from experiments.wgan.options import PRESETS
from experiments.wgan.train import Networks, batch, noise, update_critics, update_generator
from model import Generator, ImageCritic
from q3_solution import critic_loss, generator_loss

HANDOUT = PRESETS["handout"]
IMAGES = 10_000
STEPS = {"cpu": 3, "cuda": 200}  # of the generator, in one turn


def endless(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    while True:
        yield from loader


class Plain:
    """The handout's assignment, as a student fills it in: eager PyTorch, a DataLoader over scaled images, Adam."""

    def __init__(self, images: torch.Tensor, device: torch.device) -> None:
        self.device = device
        self.batches = endless(DataLoader(TensorDataset(images.float() / 127.5 - 1), 64, shuffle=True, drop_last=True))
        self.generator, self.critic = Generator().to(device), ImageCritic().to(device)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), lr=1e-4, betas=(0.5, 0.9))
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=1e-4, betas=(0.5, 0.9))

    def penalty(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        t = torch.rand(len(x), 1, 1, 1, device=self.device)
        middle = (t * x + (1 - t) * y).requires_grad_()
        value = self.critic(middle)
        (gradient,) = torch.autograd.grad(value, middle, torch.ones_like(value), create_graph=True)
        return torch.clamp(gradient.view(len(x), -1).norm(dim=1) - 1, min=0).pow(2).mean()

    def step(self) -> None:
        for _ in range(HANDOUT.critic_updates):
            x = next(self.batches)[0].to(self.device)
            y = self.generator(torch.randn(len(x), 100, device=self.device)).detach()
            loss = self.critic(y).mean() - self.critic(x).mean() + 10 * self.penalty(x, y)
            self.critic_optimizer.zero_grad()
            loss.backward()
            self.critic_optimizer.step()
        loss = -self.critic(self.generator(torch.randn(64, 100, device=self.device))).mean()
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()


class Ours:
    """A step of experiments/wgan/train.py, with the running average of the weights that the tuned preset keeps."""

    def __init__(self, images: torch.Tensor, device: torch.device, precision: str = "float32") -> None:
        self.options = replace(HANDOUT, average_decay=0.999, precision=precision)
        self.images, self.networks, self.number = images.to(device), Networks(self.options, images.to(device)), 0

    def step(self) -> None:
        device = self.images.device
        for _ in range(HANDOUT.critic_updates):
            x, z = batch(self.images, HANDOUT.batch_size), noise(HANDOUT, device)
            update_critics(self.networks, x, z, HANDOUT.lipschitz_weight)
        update_generator(self.networks, noise(HANDOUT, device))
        update_average(self.networks.average, self.networks.generator, self.number, self.options.average_decay)
        self.number += 1


class Arithmetic:
    """Forward and backward of both networks as often as a step needs them: no draws, no optimizer."""

    def __init__(self, images: torch.Tensor, device: torch.device) -> None:
        self.networks, self.z = Networks(HANDOUT, images[:64].to(device)), noise(HANDOUT, device)
        self.x = batch(images[:64].to(device), 64)

    def step(self) -> None:
        critic, generator = self.networks.critic, self.networks.generator
        for _ in range(HANDOUT.critic_updates):
            with torch.no_grad():
                y = generator(self.z)
            critic.zero_grad()
            critic_loss(self.x, y, critic).total.backward()
        generator.zero_grad()
        generator_loss(generator(self.z), critic).backward(inputs=list(generator.parameters()))


def seconds_per_step(contender: Plain | Ours | Arithmetic, device: torch.device) -> float:
    steps = STEPS[device.type]
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        contender.step()
    synchronize()
    return (time.perf_counter() - began) / steps


def compare(arguments: argparse.Namespace) -> Iterator[Comparison]:
    """A generator step against the plain loop's, and against the arithmetic that nothing can spare."""
    device = arguments.device
    images = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    contenders = [
        Plain(images, device),
        Ours(images, device),
        Ours(images, device, "bfloat16"),
        Arithmetic(images, device),
    ]
    for contender in contenders:
        contender.step()
    turns = [[seconds_per_step(contender, device) for contender in contenders] for _ in range(arguments.rounds)]
    plain, ours, in_bfloat16, arithmetic = map(list, zip(*turns))
    what = f"a generator step of question 3, {HANDOUT.critic_updates} critic updates, batch {HANDOUT.batch_size}"
    yield Comparison(what, "plain loop", plain, ours)
    yield Comparison(what, "the networks alone", arithmetic, ours)
    yield Comparison(f"{what}, in bfloat16", "ours in float32", ours, in_bfloat16)
    whole, steps = f"all {HANDOUT.generator_steps:,} generator steps, extrapolated", HANDOUT.generator_steps
    yield Comparison(whole, "plain loop", [steps * seconds for seconds in plain], [steps * seconds for seconds in ours])
