"""The two networks of WGAN-LP, the step that trains them, and the options that shape it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import q3_samplers
from experiments import weights
from experiments.augmentation import augment
from experiments.cuda_graph import cuda_graph, recorded
from experiments.errors import UserError, understood
from experiments.options import Options, file_path, fraction, option, whole_number
from experiments.training import (
    adam,
    average_decay_at,
    first_not_finite,
    fit_to_device,
    learning_rate_at,
    set_learning_rate,
    update_average,
)
from experiments.whitening import Whitening
from model import Generator, ImageCritic
from q3_solution import critic_loss, generator_loss

WHITENED = 8000  # images, at most, from which the norm of --whiten is learnt


@dataclass(frozen=True)
class WGANOptions(Options):
    """What question 3 can be asked for; the defaults are the tuned preset, 90 minutes of a CPU core in bfloat16."""

    question = "q3"

    action: str = option("", "one of the two (both)", choices=("train", "evaluate"), scope="command")
    run_dir: Path = option(Path("runs/q3"), "where the run is recorded", scope="command")
    dataset: str = option(
        "auto", "auto draws a stand-in where SVHN cannot be had", choices=("auto", "svhn", q3_samplers.STAND_IN)
    )
    dataset_digest: str = option("", "SHA-256 of the images", scope="record")
    data_file: Path | None = option(None, "an SVHN .mat file instead of --data-dir's", file_path, scope="place")
    generator: Path | None = option(None, "weights to evaluate, of a run or of the handout's", file_path, scope="command")
    epsilon: float = option(2.0, "how far evaluate moves a latent dimension", scope="command")
    checkpoint_minutes: float = option(5.0, "of training between checkpoints", scope="command")
    log_every: int = option(50, "generator steps between lines of log.jsonl", scope="command")
    generator_steps: int = option(20_000, "of training", scope="length")
    critic_updates: int = option(2, "before each generator step")
    batch_size: int = option(32, "images an update")
    learning_rate: float = option(2e-4, "of the generator")
    critic_learning_rate: float = option(5e-4, "of the critic")
    beta1: float = option(0.5, "of Adam", fraction)
    beta2: float = option(0.9, "of Adam", fraction)
    lipschitz_weight: float = option(10.0, "lambda of the penalty")
    average_decay: float = option(0.999, "of the running average of the generator's weights, 0 for none", fraction)
    z_dim: int = option(100, "latent dimensions")
    h_dim: int = option(64, "channels of the widest layer of 16 x 16, in both networks")
    precision: str = option("float32", "of the networks' products in training", choices=("float32", "bfloat16"))
    augment: bool = option(True, "show the critic shifted and recoloured images")
    whiten: bool = option(True, "measure slopes in a norm in which brightness does not count most")
    lazy_penalty: bool = option(True, "at one critic update a step, at the weight of them all")
    initial_weights: Path | None = option(None, "generator.pt or a checkpoint to start from", file_path)
    cooldown: int = option(0, "last generator steps, over which the rates go down to 0 in a straight line", whole_number)

    def bound_to_length(self, done: int, length: int) -> bool:
        return super().bound_to_length(done, length) or length - (done - 1) < self.cooldown


HANDOUT = WGANOptions(
    preset="handout",
    generator_steps=50_000,
    critic_updates=5,
    batch_size=64,
    learning_rate=1e-4,
    critic_learning_rate=1e-4,
    schedule="constant",
    average_decay=0.0,
    augment=False,
    whiten=False,
    lazy_penalty=False,
)
PRESETS = {"tuned": WGANOptions(), "handout": HANDOUT}


def check_initial_weights(options: WGANOptions) -> None:
    """UserError if the weights to start from cannot be read, or are of the run that a new one would move aside."""
    if (path := options.initial_weights) is not None:
        weights.load(path)
        if path.resolve().parent == options.run_dir.resolve():
            raise UserError(f"{path} is of the run in {options.run_dir}, which a new one there moves; name another --run-dir")


class Learner:
    """What training on uint8 images changes: generator, critic, optimizers, and the average generator, which draws."""

    PARTS = ("generator", "critic", "average", "generator_optimizer", "critic_optimizer")

    def __init__(self, options: WGANOptions, images: torch.Tensor) -> None:
        self.options, self.images, device = options, images, images.device
        layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}  # what convolutions are fastest on
        self.generator = Generator(options.z_dim, options.h_dim).to(**layout)
        self.critic = ImageCritic(options.h_dim).to(**layout)
        self.average = copy.deepcopy(self.generator) if options.average_decay else self.generator
        self.generator_optimizer = adam(self.generator, options.beta1, options.beta2)
        self.critic_optimizer = adam(self.critic, options.beta1, options.beta2)
        self.whitening = Whitening(q3_samplers.scale(q3_samplers.spread(images, WHITENED))) if options.whiten else None
        self.decay = torch.zeros((), device=device, dtype=torch.float64)
        self._step: Callable[[], dict[str, torch.Tensor]] | None = None

    def noise(self) -> torch.Tensor:
        """One batch of latents from the prior, (batch_size, z_dim)."""
        return torch.randn(self.options.batch_size, self.options.z_dim, device=self.decay.device)

    def output(self, network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """network(x) by products of the precision asked for. Weights, and the result, are float32."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            return network(x).float()

    def advance(self, number: int) -> dict[str, torch.Tensor]:
        """Generator step `number`, on a GPU recorded at the first, then replayed. Returns what step returns."""
        self.set_rates(number - 1)
        if self._step is None:
            record = self.images.device.type == "cuda" and self.options.graph == "auto"
            self._step = recorded(self.step, self.state_dict, self.images.device, cuda_graph) if record else self.step
        return self._step()

    def set_rates(self, step: int) -> None:
        """Put the learning rates and the average's decay where step >= 0 wants them."""
        options = self.options
        cooled = min(1.0, (options.generator_steps - step) / options.cooldown) if options.cooldown else 1.0
        for optimizer, rate in (
            (self.generator_optimizer, options.learning_rate),
            (self.critic_optimizer, options.critic_learning_rate),
        ):
            scheduled = learning_rate_at(step, options.generator_steps, rate, options.schedule)
            set_learning_rate(optimizer, cooled * scheduled)
        self.decay.fill_(average_decay_at(step, options.average_decay))

    def step(self) -> dict[str, torch.Tensor]:
        """Critic steps, each on fresh images and fresh noise, then one generator step. Returns scalars, name to value.

        The critic's are averaged over its steps.
        """
        updates = self.options.critic_updates
        every = updates if self.options.lazy_penalty else 1
        estimates, penalties = [], []
        for update in range(updates):
            rows = torch.randint(len(self.images), (self.options.batch_size,), device=self.images.device)
            x = q3_samplers.scale(self.images.index_select(0, rows)).contiguous(memory_format=torch.channels_last)
            weight = 0.0 if update % every else every * self.options.lipschitz_weight
            estimate, penalty = self.critic_step(x, self.noise(), weight)
            estimates.append(estimate)
            if weight:
                penalties.append(penalty)
        loss = self.generator_step(self.noise())
        update_average(self.average, self.generator, self.decay)
        return {
            "wasserstein_estimate": torch.stack(estimates).mean(),
            "lipschitz_penalty": torch.stack(penalties).mean(),
            "generator_loss": loss,
        }

    def critic_step(self, x: torch.Tensor, z: torch.Tensor, lipschitz_weight: float) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of Adam down the critic's loss on images x and g(z). Returns the loss's two parts, scalars.

        The critic is held to slope 1 between what it sees: with augmentation, x and g(z) through changes of their own.
        """
        with torch.no_grad():
            y = self.output(self.generator, z)
        loss = critic_loss(self.seen(x), self.seen(y), partial(self.output, self.critic), lipschitz_weight)
        self.critic_optimizer.zero_grad()
        loss.total.backward()
        self.critic_optimizer.step()
        return loss.wasserstein_estimate.detach(), loss.lipschitz_penalty.detach()

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """The images as the critic gets to see them in training."""
        return self.shown(augment(images) if self.options.augment else images)

    def shown(self, images: torch.Tensor) -> torch.Tensor:
        """The images as the critic gets to see them where they are not augmented."""
        return images if self.whitening is None else self.whitening(images)

    def generator_step(self, z: torch.Tensor) -> torch.Tensor:
        """One step of Adam down the generator's loss at z; the critic passes gradients on. Returns the loss."""
        loss = generator_loss(self.seen(self.output(self.generator, z)), partial(self.output, self.critic))
        self.generator_optimizer.zero_grad()
        loss.backward(inputs=list(self.generator.parameters()))
        self.generator_optimizer.step()
        return loss.detach()

    def first_not_finite(self) -> str | None:
        return first_not_finite({"generator": self.generator, "critic": self.critic, "average": self.average})

    def start_from(self, path: Path) -> None:
        """Begin with a generator.pt or checkpoint: its generator, and its critic if one of the same norm is in it.

        Otherwise a line says that the critic begins anew. UserError if a network does not fit.
        """
        content = weights.load(path)
        made_with = content.get("options", content.get("origin", {}))  # of a checkpoint; of a generator.pt
        content = content.get("learner", content)
        with understood(path, "no generator of these sizes", "name another by --initial-weights"):
            generator = content.get("average", content.get("generator"))
            weights.put_into(self.generator, generator)
            weights.put_into(self.average, generator)
            if "critic" not in content:
                print(f"{path} holds no critic: a new one begins")
            elif made_with.get("whiten", False) != self.options.whiten:
                print(f"the critic in {path} is of another norm (see --whiten): a new one begins")
            else:
                weights.put_into(self.critic, content["critic"])

    def state_dict(self) -> dict[str, Any]:
        return {part: getattr(self, part).state_dict() for part in self.PARTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part in self.PARTS:
            getattr(self, part).load_state_dict(state[part])
        for optimizer in (self.generator_optimizer, self.critic_optimizer):
            fit_to_device(optimizer)
