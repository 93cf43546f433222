"""The networks of WGAN-LP and the step that trains them."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

import q3_samplers
from experiments import weights
from experiments.augmentation import augment
from experiments.cuda_graph import cuda_graph, recorded
from experiments.digit_view import DigitView
from experiments.errors import understood
from experiments.training import (
    adam,
    average_decay_at,
    first_not_finite,
    fit_to_device,
    learning_rate_at,
    set_learning_rate,
    update_average,
)
from experiments.wgan_options import WGANOptions, load_guide
from experiments.whitening import Whitening
from model import Generator, ImageCritic
from q3_solution import CriticLoss, critic_loss, generator_loss

MEASURED = 8000  # images, at most, from which the norm of --whiten and the view of --guide are learnt
DIGITS = 6.0  # weight of the second critic's loss in the generator's; REPORT.md, A.4 has others


class Opponent(NamedTuple):
    """A critic, what it sees of an image, and what its value counts for the generator."""

    critic: torch.nn.Module
    optimizer: torch.optim.Optimizer
    view: Callable[[torch.Tensor], torch.Tensor]
    weight: float


class Learner:
    """What training on uint8 images changes: generator, critics, optimizers, and the average generator, which draws."""

    def __init__(self, options: WGANOptions, images: torch.Tensor) -> None:
        self.options, self.images, device = options, images, images.device
        layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}  # what convolutions are fastest on
        self.generator = Generator(options.z_dim, options.h_dim).to(**layout)
        self.critic = ImageCritic(options.h_dim).to(**layout)
        self.average = copy.deepcopy(self.generator) if options.average_decay else self.generator
        self.generator_optimizer = adam(self.generator, options.beta1, options.beta2)
        self.critic_optimizer = adam(self.critic, options.beta1, options.beta2)
        self.parts = ["generator", "critic", "average", "generator_optimizer", "critic_optimizer"]
        self.whitening = Whitening(q3_samplers.scale(q3_samplers.spread(images, MEASURED))) if options.whiten else None
        if options.guide:
            self.digit_view = DigitView(load_guide().to(device), q3_samplers.scale(q3_samplers.spread(images, MEASURED)))
            self.digit_critic = ImageCritic(options.h_dim).to(**layout)
            self.digit_critic_optimizer = adam(self.digit_critic, options.beta1, options.beta2)
            self.parts += ["digit_view", "digit_critic", "digit_critic_optimizer"]
        self.decay = torch.zeros((), device=device, dtype=torch.float64)
        self._step: Callable[[], dict[str, torch.Tensor]] | None = None

    def opponents(self) -> Iterator[Opponent]:
        """The critic, and with --guide the one that sees digits; the generator faces the sum of what they find."""
        yield Opponent(self.critic, self.critic_optimizer, self.shown, 1.0)
        if self.options.guide:
            yield Opponent(self.digit_critic, self.digit_critic_optimizer, self.digit_view, DIGITS)

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
        rates = [(opponent.optimizer, options.critic_learning_rate) for opponent in self.opponents()]
        for optimizer, rate in [(self.generator_optimizer, options.learning_rate), *rates]:
            scheduled = learning_rate_at(step, options.generator_steps, rate, options.schedule)
            set_learning_rate(optimizer, cooled * scheduled)
        self.decay.fill_(average_decay_at(step, options.average_decay))

    def step(self) -> dict[str, torch.Tensor]:
        """Critic steps, each on fresh images and fresh noise, then one generator step. Returns scalars, name to value.

        The critic's are averaged over its steps; of the one that sees digits there is the estimate alone.
        """
        updates = self.options.critic_updates
        every = updates if self.options.lazy_penalty else 1
        estimates, penalties, digit_estimates = [], [], []
        for update in range(updates):
            rows = torch.randint(len(self.images), (self.options.batch_size,), device=self.images.device)
            x = q3_samplers.scale(self.images.index_select(0, rows)).contiguous(memory_format=torch.channels_last)
            weight = 0.0 if update % every else every * self.options.lipschitz_weight
            loss, *others = self.critic_step(x, self.noise(), weight)
            estimates.append(loss.wasserstein_estimate)
            if weight:
                penalties.append(loss.lipschitz_penalty)
            digit_estimates += [other.wasserstein_estimate for other in others]
        measured = {
            "wasserstein_estimate": torch.stack(estimates).mean(),
            "lipschitz_penalty": torch.stack(penalties).mean(),
            "generator_loss": self.generator_step(self.noise()),
        }
        update_average(self.average, self.generator, self.decay)
        if digit_estimates:
            measured["digit_wasserstein_estimate"] = torch.stack(digit_estimates).mean()
        return measured

    def critic_step(self, x: torch.Tensor, z: torch.Tensor, lipschitz_weight: float) -> list[CriticLoss]:
        """One step of Adam down each critic's loss on images x and g(z). Returns the losses.

        A critic is held to slope 1 between what it sees: with augmentation, x and g(z) through changes of their own.
        """
        with torch.no_grad():
            x, y = self.changed(x), self.changed(self.output(self.generator, z))
        losses = []
        for critic, optimizer, view, _ in self.opponents():
            loss = critic_loss(view(x), view(y), partial(self.output, critic), lipschitz_weight)
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            losses.append(CriticLoss(*(part.detach() for part in loss)))
        return losses

    def changed(self, images: torch.Tensor) -> torch.Tensor:
        """The images as they are in training before critics see them."""
        return augment(images) if self.options.augment else images

    def shown(self, images: torch.Tensor) -> torch.Tensor:
        """What the first critic sees of images."""
        return images if self.whitening is None else self.whitening(images)

    def generator_step(self, z: torch.Tensor) -> torch.Tensor:
        """One step of Adam down the generator's loss at z; critics pass gradients on. Returns the loss."""
        y = self.changed(self.output(self.generator, z))
        losses = [
            weight * generator_loss(view(y), partial(self.output, critic)) for critic, _, view, weight in self.opponents()
        ]
        loss = torch.stack(losses).sum()
        self.generator_optimizer.zero_grad()
        loss.backward(inputs=list(self.generator.parameters()))
        self.generator_optimizer.step()
        return loss.detach()

    def first_not_finite(self) -> str | None:
        networks = {part: getattr(self, part) for part in self.parts if not part.endswith("optimizer")}
        return first_not_finite(networks)

    def start_from(self, path: Path) -> None:
        """Begin with a generator.pt or checkpoint: its generator, and its critic if one of the same norm is in it.

        Otherwise a line says that the critic begins anew, as one that sees digits always does. UserError if a network
        does not fit.
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
        return {part: getattr(self, part).state_dict() for part in self.parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part in self.parts:
            getattr(self, part).load_state_dict(state[part])
        for optimizer in (self.generator_optimizer, *(opponent.optimizer for opponent in self.opponents())):
            fit_to_device(optimizer)
