"""Question 3's training: the networks of WGAN-LP, and the loop from a batch to the steps of critics and generator."""

import copy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from experiments.harness.options import to_record
from experiments.harness.run import RunDirectory
from experiments.harness.training import Training, set_learning_rate, update_average
from experiments.wgan import weights
from experiments.wgan.classifier import load_classifier
from experiments.wgan.data import Splits, evenly_spaced
from experiments.wgan.monitor import Monitor
from experiments.wgan.options import WGANOptions
from experiments.wgan.views import DigitView, Whitened, augmented
from model import Generator, ImageCritic
from q2_solution import CriticFunction
from q3_samplers import scale
from q3_solution import CriticLoss, critic_loss, generator_loss

VIEW_IMAGES = 8000  # images, at most, from which the whitened norm and the digit view are computed
GUIDE_CRITIC_WEIGHT = 6.0  # of the second critic's loss in the generator's


class Opponent(NamedTuple):
    """A critic, its optimizer, what it receives of an image, and its weight in the generator's loss."""

    critic: torch.nn.Module
    optimizer: torch.optim.Optimizer
    view: CriticFunction
    weight: float


class Networks:
    """All networks that training on uint8 images changes, their optimizers, and what options make of images."""

    def __init__(self, options: WGANOptions, images: torch.Tensor) -> None:
        layout: Any = {"device": images.device, "memory_format": torch.channels_last}  # convolutions are fastest on it
        adam = partial(torch.optim.Adam, betas=(options.beta1, options.beta2), fused=True)
        self.generator = Generator(options.z_dim, options.h_dim).to(**layout)
        self.critic = ImageCritic(options.h_dim).to(**layout)
        self.average = copy.deepcopy(self.generator) if options.average_decay else self.generator  # what draws
        self.generator_optimizer, critic_optimizer = (adam(net.parameters()) for net in (self.generator, self.critic))
        self.bfloat16 = options.precision == "bfloat16"
        self.augmented = augmented if options.augment else unchanged
        view_images = scale(evenly_spaced(images, VIEW_IMAGES))
        self.view: CriticFunction = Whitened(view_images) if options.whiten else unchanged
        self.opponents = [Opponent(self.critic, critic_optimizer, self.view, 1.0)]
        self.parts: dict[str, Any] = {"generator": self.generator, "critic": self.critic, "average": self.average}
        self.parts |= {"generator_optimizer": self.generator_optimizer, "critic_optimizer": critic_optimizer}
        if options.guide:
            view = DigitView(load_classifier(weights.GUIDE)[0].to(images.device), view_images)
            critic = ImageCritic(options.h_dim).to(**layout)
            optimizer = adam(critic.parameters())
            self.opponents.append(Opponent(critic, optimizer, view, GUIDE_CRITIC_WEIGHT))
            self.parts |= {"guide_view": view, "guide_critic": critic, "guide_critic_optimizer": optimizer}

    def output(self, network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """network(x) by products of the precision asked for. Weights, and the result, are float32."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
            return network(x).float()


def unchanged(x: torch.Tensor) -> torch.Tensor:
    """x, in place of what an option leaves out."""
    return x


def train(run: RunDirectory, splits: Splits, options: WGANOptions, device: torch.device) -> None:
    """Train as `options` say, from run's checkpoint if there is one; a checkpoint brings measures and generator.pt."""
    torch.manual_seed(options.seed)
    images = splits.train.images.to(device)
    networks = Networks(options, images)
    steps, every = options.generator_steps, options.critic_updates if options.lazy_penalty else 1
    training = Training(run, options, device, "generator_step", steps, **networks.parts)
    training.log_every, training.checkpoint_minutes = options.log_every, options.checkpoint_minutes
    monitor = Monitor(run.figures, splits, 2 * options.samples // 5, device)
    for step in training:
        set_learning_rate(networks.generator_optimizer, options.learning_rate, step - 1, steps, options.schedule)
        for opponent in networks.opponents:
            set_learning_rate(opponent.optimizer, options.critic_learning_rate, step - 1, steps, options.schedule)

        losses = []
        for update in range(options.critic_updates):
            # With --lazy-penalty the first update has the penalty of all, and the others have none.
            weight = 0.0 if update % every else every * options.lipschitz_weight
            x, z = batch(images, options.batch_size), noise(options, device)
            losses.append(update_critics(networks, x, z, weight))
        loss = update_generator(networks, noise(options, device))
        update_average(networks.average, networks.generator, step - 1, options.average_decay)

        estimates = [torch.stack([loss.wasserstein_estimate for loss in critic]).mean() for critic in zip(*losses)]
        training.log(
            **dict(zip(("wasserstein_estimate", "guide_wasserstein_estimate"), estimates)),
            lipschitz_penalty=torch.stack([own.lipschitz_penalty for own, *_ in losses[::every]]).mean(),
            generator_loss=loss,
        )
        if training.checkpoint_due:
            training.log(**monitor.measure(step, networks.average, lambda x: networks.critic(networks.view(x))))
            save_generator(
                run.folder / weights.GENERATOR_FILE, networks.average, splits, options, step, training.seconds
            )


def batch(images: torch.Tensor, size: int) -> torch.Tensor:
    """Training images drawn at random, (size, 3, 32, 32) in [-1, 1]."""
    rows = torch.randint(len(images), (size,), device=images.device)
    return scale(images.index_select(0, rows)).contiguous(memory_format=torch.channels_last)


def noise(options: WGANOptions, device: torch.device) -> torch.Tensor:
    """Latents from the prior, (batch_size, z_dim)."""
    return torch.randn(options.batch_size, options.z_dim, device=device)


def update_critics(networks: Networks, x: torch.Tensor, z: torch.Tensor, lipschitz_weight: float) -> list[CriticLoss]:
    """One step of each critic by Adam, down its loss between its views of images x and of g(z). Returns the losses."""
    with torch.no_grad():
        x, y = networks.augmented(x), networks.augmented(networks.output(networks.generator, z))
    losses = []
    for critic, optimizer, view, _ in networks.opponents:
        loss = critic_loss(view(x), view(y), partial(networks.output, critic), lipschitz_weight)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(CriticLoss(*(part.detach() for part in loss)))
    return losses


def update_generator(networks: Networks, z: torch.Tensor) -> torch.Tensor:
    """One step of the generator by Adam, down the weighted sum of its losses at z. Returns that sum, a scalar."""
    y = networks.augmented(networks.output(networks.generator, z))
    losses = [
        weight * generator_loss(view(y), partial(networks.output, critic))
        for critic, _, view, weight in networks.opponents
    ]
    loss = torch.stack(losses).sum()
    networks.generator_optimizer.zero_grad()
    loss.backward(inputs=list(networks.generator.parameters()))
    networks.generator_optimizer.step()
    return loss.detach()


def save_generator(
    path: Path, generator: Generator, splits: Splits, options: WGANOptions, step: int, seconds: float
) -> None:
    """Write the generator with its origin; where the data lay says nothing about the weights, and is left out."""
    data = {
        "dataset": splits.train.name,
        "dataset_digest": splits.train.digest,
        "images": [0, len(splits.train.images) - 1],
    }
    origin = {**to_record(options), **data, "generator_step": step, "train_seconds": round(seconds, 1)}
    del origin["data_file"]
    weights.save(path, {"generator": generator}, origin)
