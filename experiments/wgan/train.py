"""Question 3's training: the networks of WGAN-LP, the step that trains them, and what is followed as training goes."""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch

import q3_samplers
from experiments.harness import training
from experiments.harness.options import to_record
from experiments.harness.run import RunDirectory, with_stderr
from experiments.wgan import explore, figures, measures, weights
from experiments.wgan.data import check_unseen
from experiments.wgan.options import WGANOptions
from experiments.wgan.views import DigitView, Whitened, augmented
from model import Generator, ImageCritic
from q2_solution import CriticFunction
from q3_solution import CriticLoss, critic_loss, generator_loss

GENERATOR = "generator.pt"  # file of the average generator in the run directory
VIEW_IMAGES = 8000  # images, at most, from which the whitened norm and the digit view are computed
SECOND_CRITIC_WEIGHT = 6.0  # of the second critic's loss in the generator's


class ViewedCritic(NamedTuple):
    """A critic, its optimizer, what it receives of an image, and its weight in the generator's loss."""

    critic: torch.nn.Module
    optimizer: torch.optim.Optimizer
    view: CriticFunction
    weight: float


class Learner(training.Learner):
    """What training on uint8 images changes: generator, critics, optimizers, and the average generator, which draws."""

    def __init__(self, options: WGANOptions, images: torch.Tensor) -> None:
        self.options, self.images, device = options, images, images.device
        layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}  # what convolutions are fastest on
        self.generator = Generator(options.z_dim, options.h_dim).to(**layout)
        self.critic = ImageCritic(options.h_dim).to(**layout)
        self.average = copy.deepcopy(self.generator) if options.average_decay else self.generator
        self.generator_optimizer, self.critic_optimizer = self.adam(self.generator), self.adam(self.critic)
        self.parts = ["generator", "critic", "average", "generator_optimizer", "critic_optimizer"]
        view_images = q3_samplers.scale(q3_samplers.spread(images, VIEW_IMAGES))
        self.whitened = Whitened(view_images) if options.whiten else None
        if options.guide:
            self.digit_view = DigitView(weights.load_classifier(weights.GUIDE, seed=1)[0].to(device), view_images)
            self.digit_critic = ImageCritic(options.h_dim).to(**layout)
            self.digit_critic_optimizer = self.adam(self.digit_critic)
            self.parts += ["digit_view", "digit_critic", "digit_critic_optimizer"]

    def adam(self, network: torch.nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), betas=(self.options.beta1, self.options.beta2), fused=True)

    def critics(self) -> Iterator[ViewedCritic]:
        """The critic, and with --guide the second critic; the generator descends the weighted sum of their losses."""
        yield ViewedCritic(self.critic, self.critic_optimizer, self.critic_view, 1.0)
        if self.options.guide:
            yield ViewedCritic(self.digit_critic, self.digit_critic_optimizer, self.digit_view, SECOND_CRITIC_WEIGHT)

    def critic_view(self, images: torch.Tensor) -> torch.Tensor:
        """What the first critic receives of images."""
        return images if self.whitened is None else self.whitened(images)

    def augmented(self, images: torch.Tensor) -> torch.Tensor:
        """The images as all critics receive them in training, before each one's view."""
        return augmented(images) if self.options.augment else images

    def batch(self) -> torch.Tensor:
        """Training images drawn at random, (batch_size, 3, 32, 32) in [-1, 1]."""
        rows = torch.randint(len(self.images), (self.options.batch_size,), device=self.images.device)
        return q3_samplers.scale(self.images.index_select(0, rows)).contiguous(memory_format=torch.channels_last)

    def noise(self) -> torch.Tensor:
        """Latents from the prior, (batch_size, z_dim)."""
        return torch.randn(self.options.batch_size, self.options.z_dim, device=self.images.device)

    def output(self, network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """network(x) by products of the precision asked for. Weights, and the result, are float32."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            return network(x).float()

    def advance(self, number: int) -> dict[str, torch.Tensor]:
        """Generator step `number`: critic updates, each on new images and new noise, then one generator update.

        Returns scalars, name to value, means over the critic updates. The penalty is computed in every update with the
        weight lambda, or with --lazy-penalty in the first alone, with lambda times the number of updates.
        """
        options = self.options
        rates = [(critic.optimizer, options.critic_learning_rate) for critic in self.critics()]
        for optimizer, rate in [(self.generator_optimizer, options.learning_rate), *rates]:
            training.set_learning_rate(optimizer, rate, number - 1, options.generator_steps, options.schedule)
        every = options.critic_updates if options.lazy_penalty else 1
        estimates, penalties, digit_estimates = [], [], []
        for update in range(options.critic_updates):
            weight = 0.0 if update % every else every * options.lipschitz_weight
            loss, *others = self.update_critics(self.batch(), self.noise(), weight)
            estimates.append(loss.wasserstein_estimate)
            if weight:
                penalties.append(loss.lipschitz_penalty)
            digit_estimates += [other.wasserstein_estimate for other in others]
        measured = {
            "wasserstein_estimate": torch.stack(estimates).mean(),
            "lipschitz_penalty": torch.stack(penalties).mean(),
            "generator_loss": self.update_generator(self.noise()),
        }
        training.update_average(self.average, self.generator, number - 1, options.average_decay)
        if digit_estimates:
            measured["digit_wasserstein_estimate"] = torch.stack(digit_estimates).mean()
        return measured

    def update_critics(self, x: torch.Tensor, z: torch.Tensor, lipschitz_weight: float) -> list[CriticLoss]:
        """One update of each critic by Adam, down its loss between its views of x and of g(z). Returns the losses."""
        with torch.no_grad():
            x, y = self.augmented(x), self.augmented(self.output(self.generator, z))
        losses = []
        for critic, optimizer, view, _ in self.critics():
            loss = critic_loss(view(x), view(y), partial(self.output, critic), lipschitz_weight)
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            losses.append(CriticLoss(*(part.detach() for part in loss)))
        return losses

    def update_generator(self, z: torch.Tensor) -> torch.Tensor:
        """One update of the generator by Adam, down the weighted sum of its losses at z alone. Returns that sum."""
        y = self.augmented(self.output(self.generator, z))
        losses = [weight * generator_loss(view(y), partial(self.output, critic)) for critic, _, view, weight in self.critics()]
        loss = torch.stack(losses).sum()
        self.generator_optimizer.zero_grad()
        loss.backward(inputs=list(self.generator.parameters()))
        self.generator_optimizer.step()
        return loss.detach()


def train(run: RunDirectory, blocks: q3_samplers.Blocks, options: WGANOptions, device: torch.device) -> None:
    """Train as `options` say, from run's checkpoint if it holds one; with a checkpoint, samples and measures of it."""
    torch.manual_seed(options.seed)
    learner, name, state = Learner(options, blocks.train.images.to(device)), blocks.train.name, run.resume(options)
    seen = (state or {}).get("seen") or weights.seen(blocks.train.images, [weights.GUIDE] if options.guide else [])
    for network, images in (("this run", seen), (str(weights.CLASSIFIER), weights.seen_by(weights.CLASSIFIER))):
        check_unseen(blocks, images, network)

    def save_generator(step: int, seconds: float) -> None:
        origin = {**to_record(options), "dataset": name, "generator_step": step, "train_seconds": round(seconds, 1)}
        origin |= {"images": [0, len(blocks.train.images) - 1], "seen": seen}
        del origin["data_file"]  # where it lay says nothing about the weights
        weights.save(run.folder / GENERATOR, {"generator": learner.average}, origin)

    measure = Monitor(run, learner, blocks, 2 * options.samples // 5).measure
    often = {"log_every": options.log_every, "checkpoint_minutes": options.checkpoint_minutes}
    hooks: dict[str, Any] = {"measure": measure, "export": save_generator, **often}
    training.fit(learner, run, options, device, state, {"dataset": name}, {"seen": seen}, **hooks)


class Monitor:
    """What is followed while training, always on the same noise and validation images, and a figure of samples."""

    def __init__(self, run: RunDirectory, learner: Learner, blocks: q3_samplers.Blocks, samples: int) -> None:
        device = learner.images.device
        self.run, self.learner, self.samples = run, learner, samples
        self.judge = weights.load_classifier()[0].to(device)
        self.seen, self.real = (q3_samplers.scale(q3_samplers.spread(part.images, 1000)).to(device) for part in blocks[:2])
        self.real_features = measures.classify(self.judge, self.real).features

    @torch.no_grad()
    def measure(self, step: int) -> dict[str, float]:
        """Legible share and KID of samples, and the critic's overfitting score: see overfitting_score."""
        images = explore.draw(self.learner.average, self.samples)
        figures.image_grid(images[:49], self.run.figures / f"samples_{step:06d}.png")
        generated = measures.classify(self.judge, images)
        distance = measures.kernel_distance(self.real_features, generated.features)
        views = [self.learner.critic_view(part) for part in (self.seen, self.real, images[: len(self.real)])]
        score = overfitting_score(*(self.learner.critic(part) for part in views))
        return with_stderr({"legible": measures.legible(generated), "kernel_distance": distance, "overfitting": score})


def overfitting_score(train: torch.Tensor, valid: torch.Tensor, fake: torch.Tensor) -> measures.Estimate:
    """r_v = (E_train[f] - E_valid[f]) / (E_train[f] - E_Q[f]) from values of the critic f, (n,) each.

    0 for a critic that values unknown photographs as training images, 1 for one that values them as generated images
    (Karras et al. 2020, arXiv 2006.06676, equation 1). Standard error to first order, by blocks of neighbours.
    """
    (a, da), (b, db) = (measures.mean(values, measures.CROPS) for values in (train, valid))
    c, dc = measures.mean(fake)
    score = (a - b) / (a - c)
    return measures.Estimate(score, (((1 - score) * da) ** 2 + db**2 + (score * dc) ** 2) ** 0.5 / abs(a - c))
