"""Question 3: train a generator of house numbers as a WGAN-LP, and measure it as training goes."""

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

import q3_samplers
from experiments import exploration, figures, measures, weights
from experiments.augmentation import augment
from experiments.download import DownloadError, fetch
from experiments.run import (
    Parser,
    RunDirectory,
    UserError,
    check_options,
    choose_device,
    command,
    file_path,
    fraction,
    kinds_of,
    learning_rate_at,
    new_options,
    positive_integer,
    positive_number,
    random_state,
    set_random_state,
)
from model import DigitClassifier, Generator, ImageCritic
from q2_solution import gradient_norm
from q3_solution import critic_loss, generator_loss

HANDOUT = dict(
    generator_steps=50_000,
    critic_updates=5,
    batch_size=64,
    learning_rate=1e-4,
    critic_learning_rate=1e-4,
    schedule="constant",
    beta1=0.5,
    beta2=0.9,
    lipschitz_weight=10.0,
    average_decay=0.0,
    z_dim=100,
    h_dim=64,
    augment=False,
    lazy_penalty=False,
    precision="float32",
)
TUNED = dict(  # for an hour or two on a CPU; where it differs from the handout
    generator_steps=8_000,
    learning_rate=4e-4,
    critic_learning_rate=4e-4,
    schedule="cosine",
    average_decay=0.999,
    augment=True,
)
PRESETS = {"handout": HANDOUT, "tuned": HANDOUT | TUNED}
GENERATOR = "generator.pt"  # what a run has to share
KINDS = {  # of what options.json holds
    "dataset": str,
    "dataset_digest": str,
    "data_file": (str, type(None)),
    "initial_weights": (str, type(None)),
    **kinds_of(HANDOUT),
}
CHECKPOINT_SAMPLES = 2000
SHOWN = 49  # images in a picture of samples, and the least that is compared with
MEASURED = ("wasserstein_estimate", "lipschitz_penalty", "generator_loss")


class Learner:
    """What training changes: generator, critic, their optimizers, and the running average of the generator, which draws.

    The average is w <- decay w + (1 - decay) generator after every step, with a shorter memory over the first ones; batch
    normalisation's running statistics are averaged with the weights. An average_decay of 0 makes it the generator itself.
    """

    PARTS = ("generator", "critic", "average", "generator_optimizer", "critic_optimizer")

    def __init__(self, options: dict, device: torch.device) -> None:
        self.options = options
        layout = {"device": device, "memory_format": torch.channels_last}  # what convolutions are fastest on
        self.generator = Generator(options["z_dim"], options["h_dim"]).to(**layout)
        self.critic = ImageCritic(options["h_dim"]).to(**layout)
        self.average = copy.deepcopy(self.generator) if options["average_decay"] else self.generator
        self.generator_optimizer = self._adam(self.generator)
        self.critic_optimizer = self._adam(self.critic)
        self.decay = torch.zeros((), device=device)

    def _adam(self, network: torch.nn.Module) -> torch.optim.Adam:
        device = next(network.parameters()).device
        return torch.optim.Adam(
            network.parameters(),
            lr=torch.zeros((), device=device),  # a tensor, so that a captured step reads the rate of the day
            betas=(self.options["beta1"], self.options["beta2"]),
            fused=True,
            capturable=device.type == "cuda",
        )

    def noise(self) -> torch.Tensor:
        """One batch of latents from the prior, (batch_size, z_dim)."""
        return torch.randn(self.options["batch_size"], self.options["z_dim"], device=self.decay.device)

    def forward(self, network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """network(x) by products of the precision asked for. Weights, the result and all that is made of it are float32."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.options["precision"] == "bfloat16"):
            return network(x).float()

    def set_rates(self, step: int) -> None:
        """Put the learning rates and the average's decay where generator step number `step` wants them."""
        for optimizer, rate in (
            (self.generator_optimizer, self.options["learning_rate"]),
            (self.critic_optimizer, self.options["critic_learning_rate"]),
        ):
            rate = learning_rate_at(step, self.options["generator_steps"], rate, self.options["schedule"])
            for group in optimizer.param_groups:
                group["lr"].fill_(rate)
        self.decay.fill_(min(self.options["average_decay"], (step + 1) / (step + 10)))

    def step(self, images: torch.Tensor) -> torch.Tensor:
        """Several critic steps, each on fresh images and fresh noise, then one generator step. images: all there are, uint8.

        Returns (3,), what MEASURED names, the critic's two averaged over its steps.
        """
        updates = self.options["critic_updates"]
        every = updates if self.options["lazy_penalty"] else 1
        estimates, penalties = [], []
        for update in range(updates):
            rows = torch.randint(len(images), (self.options["batch_size"],), device=images.device)
            x = q3_samplers.scale(images.index_select(0, rows)).contiguous(memory_format=torch.channels_last)
            weight = 0.0 if update % every else every * self.options["lipschitz_weight"]
            estimate, penalty = self.critic_step(x, self.noise(), weight)
            estimates.append(estimate)
            if weight:
                penalties.append(penalty)
        loss = self.generator_step(self.noise())
        self.update_average()
        return torch.stack([torch.stack(estimates).mean(), torch.stack(penalties).mean(), loss])

    def critic_step(self, x: torch.Tensor, z: torch.Tensor, lipschitz_weight: float) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of Adam down the critic's loss on images x and the generator's from z. Returns the loss's parts, scalars.

        With augmentation the critic sees both through changes of their own, and is held to slope 1 between what it sees.
        """
        with torch.no_grad():
            y = self.forward(self.generator, z)
        loss = critic_loss(self.seen(x), self.seen(y), partial(self.forward, self.critic), lipschitz_weight)
        self.critic_optimizer.zero_grad()
        loss.total.backward()
        self.critic_optimizer.step()
        return loss.wasserstein_estimate.detach(), loss.lipschitz_penalty.detach()

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """The images as the critic gets to see them in training."""
        return augment(images) if self.options["augment"] else images

    def generator_step(self, z: torch.Tensor) -> torch.Tensor:
        """One step of Adam down the generator's loss at z; the critic only passes gradients on. Returns the loss, a scalar."""
        loss = generator_loss(self.seen(self.forward(self.generator, z)), partial(self.forward, self.critic))
        self.generator_optimizer.zero_grad()
        loss.backward(inputs=list(self.generator.parameters()))
        self.generator_optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def update_average(self) -> None:
        if self.average is not self.generator:
            for mean, value in zip(self.average.state_dict().values(), self.generator.state_dict().values()):
                if mean.is_floating_point():  # not the count of batches
                    mean.lerp_(value, 1 - self.decay)

    def is_finite(self) -> bool:
        return all(torch.isfinite(p).all() for net in (self.generator, self.critic) for p in net.parameters())

    def start_from(self, path: Path) -> None:
        """Take the networks of a checkpoint, or a generator alone, before the first step. UserError if they do not fit."""
        content = weights.load(path)
        generator = content.get("average", content.get("generator"))
        try:
            self.generator.load_state_dict(generator)
            self.average.load_state_dict(generator)
            if "critic" in content:
                self.critic.load_state_dict(content["critic"])
        except (RuntimeError, TypeError, AttributeError) as error:
            raise UserError(f"{path} holds no generator of these sizes; name another by --initial-weights") from error

    def state_dict(self) -> dict[str, dict]:
        return {part: getattr(self, part).state_dict() for part in self.PARTS}

    def load_state_dict(self, state: dict) -> None:
        for part in self.PARTS:
            getattr(self, part).load_state_dict(state[part])
        for optimizer in (self.generator_optimizer, self.critic_optimizer):
            for group in optimizer.param_groups:  # as the device wants them, not the one that the state was saved on
                group["lr"] = group["lr"].to(self.decay.device)
                group["capturable"] = self.decay.device.type == "cuda"


def captured(step: Callable[[], torch.Tensor], learner: Learner) -> Callable[[], torch.Tensor]:
    """`step`, a function without arguments that changes `learner`, recorded as one CUDA graph: replayed without launch costs.

    Recording needs a few steps on a stream of their own first; what they change, random state included, is put back.
    """
    device = learner.decay.device
    before, randomness = copy.deepcopy(learner.state_dict()), random_state(device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    put_back(learner.state_dict(), before)
    set_random_state(randomness, device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()

    def replay() -> torch.Tensor:
        graph.replay()
        return result

    return replay


def put_back(live: dict, saved: dict) -> None:
    """Give the tensors of the state `live` their values in `saved`, in place. One that `saved` lacks is an optimizer's: zero.

    Loading `saved` would not do before a recording: it takes away what Adam sets up at its first step, which would then be set
    up anew, and so set to zero, at every replay.
    """
    for name, value in live.items():
        if isinstance(value, torch.Tensor):
            value.copy_(saved[name]) if name in saved else value.zero_()
        elif isinstance(value, dict):
            put_back(value, saved.get(name, {}))


class Interval:
    """What is measured between two lines of the log: the sums of MEASURED, and the seconds of training."""

    def __init__(self, device: torch.device) -> None:
        self.sums, self.steps, self.began = torch.zeros(len(MEASURED), device=device), 0, time.perf_counter()

    def add(self, measured: torch.Tensor) -> None:
        self.sums += measured
        self.steps += 1

    def end(self) -> tuple[dict[str, float], float]:
        """Returns MEASURED averaged over the steps, name to value, and the seconds since the interval began."""
        means = (self.sums / self.steps).tolist()  # waits for the GPU, so that the clock is read when the work is done
        return dict(zip(MEASURED, means)), time.perf_counter() - self.began


def train(
    run: RunDirectory,
    blocks: q3_samplers.Blocks,
    options: dict,
    device: torch.device,
    checkpoint_minutes: float,
    log_every: int,
) -> None:
    """Train as `options` say, from run's checkpoint if it holds one.

    A line of log every `log_every` generator steps; with the first of them that comes `checkpoint_minutes` of training after
    the last, and at the end, a checkpoint, a picture of samples and what `measure` measures.
    """
    torch.manual_seed(options["seed"])
    learner = Learner(options, device)
    done, seconds, steps = 0, 0.0, options["generator_steps"]
    if (state := run.resume(options)) is not None:
        learner.load_state_dict(state)
        set_random_state(state["random_state"], device)
        done, seconds = state["generator_step"], state["train_seconds"]
        print(f"resuming after step {done} of {steps}", flush=True)
    elif options["initial_weights"] is not None:
        learner.start_from(Path(options["initial_weights"]))
    training = blocks.train.images.to(device)
    checkpoint = Checkpoint(run, learner, blocks)

    def step() -> torch.Tensor:
        return learner.step(training)

    if device.type == "cuda" and done < steps:
        learner.set_rates(done)
        step = captured(step, learner)
    saved_at, interval = seconds, Interval(device)
    for number in tqdm(range(done, steps), "generator steps", steps, initial=done, leave=False, disable=None):
        learner.set_rates(number)
        interval.add(step())
        if (number + 1) % log_every and number + 1 != steps:
            continue
        means, lasted = interval.end()
        seconds += lasted
        entry = {"dataset": blocks.train.name, "generator_step": number + 1, **means, "seconds": round(seconds, 2)}
        entry["steps_per_second"] = interval.steps / lasted
        check_finite(learner, entry)
        if seconds - saved_at >= 60 * checkpoint_minutes or number + 1 == steps:
            entry |= checkpoint.measure(number + 1)
            run.log(entry)
            progress = {"generator_step": number + 1, "train_seconds": seconds, "random_state": random_state(device)}
            run.save({"options": options, **progress, **learner.state_dict()})
            save_generator(run, learner.average, options, number + 1, seconds)
            saved_at = seconds
            report(entry, steps)
        else:
            run.log(entry)
        interval = Interval(device)


def save_generator(run: RunDirectory, generator: Generator, options: dict, step: int, seconds: float) -> None:
    """Write GENERATOR: weights, and the options and steps that made them."""
    origin = {**options, "generator_step": step, "train_seconds": round(seconds, 1)}
    del origin["data_file"]  # where it lay says nothing about the weights
    weights.save(run.folder / GENERATOR, "generator", generator, origin)


def check_finite(learner: Learner, entry: dict) -> None:
    """UserError if training has exploded."""
    if not (math.isfinite(sum(entry[name] for name in MEASURED)) and learner.is_finite()):
        raise UserError(
            f"the networks are no longer finite by generator step {entry['generator_step']}; the last checkpoint is kept; "
            "start again with a smaller --learning-rate and --critic-learning-rate"
        )


class Checkpoint:
    """What is measured at a checkpoint, on noise and validation images that are always the same, and the picture of samples."""

    def __init__(self, run: RunDirectory, learner: Learner, blocks: q3_samplers.Blocks) -> None:
        device = learner.decay.device
        self.run, self.learner = run, learner
        self.classifier = weights.load_classifier()[0].to(device)
        self.seen, self.real = (q3_samplers.scale(q3_samplers.spread(part.images, 1000)).to(device) for part in blocks[:2])
        self.real_features = measures.look(self.classifier, self.real).features

    @torch.no_grad()
    def measure(self, step: int) -> dict[str, float]:
        """Legible share and kernel distance of CHECKPOINT_SAMPLES samples; the critic's mean slope; its `overfitting`:

        rv = (E_train[f] - E_valid[f]) / (E_train[f] - E_Q[f]), 0 for a critic that knows no training image by heart, 1 for one
        that takes an unknown photograph for a generated one (Karras et al. 2020, arXiv 2006.06676, equation 1).
        """
        images = exploration.draw(self.learner.average, CHECKPOINT_SAMPLES)
        figures.image_grid(images[:SHOWN], self.run.figures / f"samples_{step:06d}.png")
        drawn = measures.look(self.classifier, images)
        legible, distance = measures.legible(drawn), measures.kernel_distance(self.real_features, drawn.features)
        critic, size = self.learner.critic, min(self.learner.options["batch_size"], len(self.seen))
        train, valid, fake = (critic(part).mean().item() for part in (self.seen, self.real, images[: len(self.real)]))
        return {
            "gradient_norm": gradient_norm_between(critic, self.seen[:size], images[:size]),
            "legible": legible.value,
            "legible_stderr": legible.stderr,
            "kernel_distance": distance.value,
            "kernel_distance_stderr": distance.stderr,
            "overfitting": (train - valid) / (train - fake),
        }


def gradient_norm_between(critic: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> float:
    """The critic's mean gradient norm between x and y, at points drawn by a generator that training does not use."""
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        torch.manual_seed(0)
        return gradient_norm(x, y, critic).mean().item()


def report(entry: dict, steps: int) -> None:
    left = entry["seconds"] / entry["generator_step"] * (steps - entry["generator_step"])
    print(
        f"step {entry['generator_step']:6d}/{steps}  W1 estimate {entry['wasserstein_estimate']:6.2f}"
        f"  penalty {entry['lipschitz_penalty']:.3f}  legible {entry['legible']:.3f}"
        f"  kernel distance {entry['kernel_distance']:6.1f}  {entry['steps_per_second']:.2f} steps/s, {left / 60:.0f} min left",
        flush=True,
    )


def load_blocks(dataset: str, data_file: str | Path | None, data_dir: Path) -> q3_samplers.Blocks:
    """The images of data_file if there is one, of SVHN's two files (`auto`, `svhn`), or the drawn stand-in, in blocks."""
    try:
        if data_file is not None:
            return q3_samplers.in_blocks(q3_samplers.svhn(data_file))
        if dataset != q3_samplers.STAND_IN:
            for name, md5 in q3_samplers.MD5.items():
                if q3_samplers.find(data_dir, name) is None:
                    fetch(q3_samplers.URL + name, data_dir / q3_samplers.FOLDER / name, f"md5:{md5}")
            return q3_samplers.in_blocks(*(q3_samplers.svhn(q3_samplers.find(data_dir, name)) for name in q3_samplers.MD5))
    except DownloadError as error:
        if dataset != "auto":
            raise
        print(f"WARNING: {error}", file=sys.stderr)
        print(
            "WARNING: going on with drawn digits instead, svhn-stand-in; pictures and numbers are not those of SVHN",
            file=sys.stderr,
            flush=True,
        )
    except FileNotFoundError as error:
        raise UserError(f"{data_file} is not there; name an SVHN .mat file, or leave out --data-file") from error
    except (OSError, ValueError) as error:
        raise UserError(error) from error
    return q3_samplers.in_blocks(q3_samplers.stand_in())


def check_size(blocks: q3_samplers.Blocks) -> None:
    """UserError if there are too few images to train on, or to compare with."""
    if (fewest := min(len(block.images) for block in blocks)) < SHOWN:
        raise UserError(
            f"{blocks.train.name} has {sum(len(block.images) for block in blocks)} images, of which a tenth each is kept to "
            f"choose by and to report on: {fewest} are fewer than {SHOWN}; name a larger --data-file"
        )


def blocks_of_run(options: dict, how: argparse.Namespace) -> q3_samplers.Blocks:
    """The images that the run with these options was trained on. UserError if they are not the same any more."""
    dataset = q3_samplers.STAND_IN if options["dataset"] == q3_samplers.STAND_IN else "svhn"
    blocks = load_blocks(dataset, how.data_file or options["data_file"], how.data_dir)
    if blocks.train.digest != options["dataset_digest"]:
        raise UserError(
            f"{how.run_dir} was trained on other images than {blocks.train.name} holds now; name them by --data-file"
        )
    return blocks


def blocks_at_hand(how: argparse.Namespace) -> q3_samplers.Blocks | None:
    """Images to compare a generator with that is not of this run, if it takes no download: Blocks or None."""
    here = all(q3_samplers.find(how.data_dir, name) for name in q3_samplers.MD5)
    if how.data_file is None and not here and how.dataset != q3_samplers.STAND_IN:
        print(f"no SVHN files in {how.data_dir}: shown without real images; --data-file names one", flush=True)
        return None
    return load_blocks(how.dataset, how.data_file, how.data_dir)


def evaluate(run: RunDirectory, how: argparse.Namespace, options: dict | None, device: torch.device) -> None:
    """Explore the generator of --generator, else of this run as of its last checkpoint, else the bundled one."""
    own = how.generator is None and options is not None and (run.folder / GENERATOR).exists()
    path = run.folder / GENERATOR if own else how.generator or weights.GENERATOR
    generator, origin = weights.load_generator(path)
    generator, classifier = generator.to(device), weights.load_classifier()[0].to(device)
    print(f"exploring {path}, trained on {origin.get('dataset', 'images it does not name')}", flush=True)
    blocks = blocks_of_run(options, how) if own else blocks_at_hand(how)
    metrics = {
        "trained_on": origin.get("dataset"),
        **{name: origin.get(name) for name in ("preset", "seed", "generator_step", "generator_steps", "train_seconds")},
        "dataset": blocks and blocks.test.name,
    }
    trained_on = f"generator trained on {metrics['trained_on'] or 'images it does not name'}"
    metrics |= explore_samples(run, generator, classifier, blocks, trained_on)
    metrics |= explore_dimensions(run, generator, classifier, how.epsilon, trained_on)
    metrics |= explore_paths(run, generator, classifier, trained_on)
    if own:
        figures.training_curves({options["preset"]: run.read_log()}, run.figures / "training.png", blocks.train.name)
    run.write_json("metrics.json", metrics)
    report_metrics(metrics)
    print(f"written to {run.folder}: metrics.json, figures/")


def explore_samples(
    run: RunDirectory,
    generator: Generator,
    classifier: DigitClassifier,
    blocks: q3_samplers.Blocks | None,
    trained_on: str,
) -> dict:
    """3.1: samples beside real images of the test block, both measured against these; is any training image learnt by heart?"""
    images = exploration.draw(generator, exploration.SAMPLES)
    if blocks is None:
        figures.samples(images[: 2 * SHOWN], None, run.figures / "samples.png", trained_on, None)
        legible = measures.legible(measures.look(classifier, images))
        return {"legible": legible.value, "legible_stderr": legible.stderr}
    most = exploration.SAMPLES // 5  # coverage is averaged over as many draws of them
    real = q3_samplers.scale(q3_samplers.spread(blocks.test.images, most)).to(images.device)
    training = q3_samplers.scale(q3_samplers.spread(blocks.train.images, exploration.SAMPLES)).to(images.device)
    shown = q3_samplers.scale(q3_samplers.spread(blocks.test.images, SHOWN))
    figures.samples(images[:SHOWN], shown, run.figures / "samples.png", trained_on, blocks.test.name)
    metrics = exploration.compare(real, images, classifier)
    floor = exploration.compare(real, training, classifier)
    of_real = measures.legible(measures.look(classifier, real))
    figures.digit_shares(metrics["digit_shares"], floor["digit_shares"], run.figures / "digits.png", blocks.test.name)
    every = q3_samplers.scale(blocks.train.images).to(images.device)
    (distances, rows), (of_test, _) = (measures.nearest(part, every) for part in (images[: len(real)], real))
    figures.nearest(images[:20], every[rows[:20]], run.figures / "nearest.png", trained_on)
    return {
        **metrics,
        **{f"{name}_of_training_images": value for name, value in floor.items()},
        "legible_of_test_images": of_real.value,
        "legible_of_test_images_stderr": of_real.stderr,
        "classifier_accuracy": measures.accuracy(classifier, blocks.test),
        "nearest_training_image": distances.median().item(),
        "nearest_training_image_of_test_images": of_test.median().item(),
    }


def explore_dimensions(
    run: RunDirectory, generator: Generator, classifier: DigitClassifier, epsilon: float, trained_on: str
) -> dict:
    """3.2: which latent dimensions change the digit, and which the colour."""
    moved = exploration.dimensions(generator, epsilon, classifier)
    count = min(6, generator.z_dim)
    strongest = {kind: getattr(moved, kind).topk(count).indices.tolist() for kind in ("digit", "colour")}
    steps = torch.linspace(-epsilon, epsilon, 7)
    rows = {kind: exploration.walk(generator, which, steps) for kind, which in strongest.items()}
    figures.perturbations(rows, strongest, steps.tolist(), moved, run.figures / "perturbations.png", trained_on)
    effects = {f"dimension_{name}": values.tolist() for name, values in moved._asdict().items()}
    return {"epsilon": epsilon, **{f"strongest_by_{kind}": which for kind, which in strongest.items()}, **effects}


def explore_paths(run: RunDirectory, generator: Generator, classifier: DigitClassifier, trained_on: str) -> dict:
    """3.3: the same pairs of images joined in three ways, and what each way costs in legibility."""
    alpha = torch.linspace(0, 1, 11)
    joined = exploration.paths(generator, alpha, exploration.PAIRS)
    for kind, title in (
        ("latent", r"$g((1 - \alpha) z_0 + \alpha z_1)$, straight through the latents"),
        ("data", r"$(1 - \alpha) g(z_0) + \alpha g(z_1)$, straight through the pixels"),
        ("spherical", r"$g$ of the arc from $z_0$ to $z_1$, round through the latents"),
    ):
        path = run.figures / f"interpolation_{kind}.png"
        figures.interpolation(getattr(joined, kind)[:, :8], alpha.tolist(), path, title, trained_on)
    legible = {kind: exploration.legible_along(classifier, getattr(joined, kind)) for kind in ("latent", "data", "spherical")}
    norms = {"straight": joined.straight_latents.norm(dim=-1), "arc": joined.arc_latents.norm(dim=-1)}
    path = run.figures / "interpolation_legible.png"
    figures.along_paths(legible, norms, alpha.tolist(), generator.z_dim, path, trained_on)
    return {
        "alpha": alpha.tolist(),
        **{f"legible_along_{kind}": [estimate.value for estimate in along] for kind, along in legible.items()},
        **{f"midpoint_norm_{kind}": norm[5].mean().item() for kind, norm in norms.items()},
    }


def report_metrics(metrics: dict) -> None:
    """Print what was measured."""
    if metrics["dataset"]:
        print(
            f"beside real training images, on {metrics['num_images']:,} of each against the test block of {metrics['dataset']}:"
        )
    for name, error in (
        ("legible", "stderr"),
        ("kernel_distance", "stderr"),
        ("coverage", "stderr"),
        ("sliced_wasserstein", "spread"),
    ):
        if name in metrics:
            pairs = [(metrics.get(f"{name}{of}"), metrics.get(f"{name}_{error}{of}")) for of in ("", "_of_training_images")]
            shown = [f"{value:8.3f} ({spread:.3f})" for value, spread in pairs if value is not None]
            print(f"  {name.replace('_', ' '):18s} {shown[0]}", *(f"   real {real}" for real in shown[1:]))
    if metrics["dataset"]:
        print(f"  by a classifier that names {100 * metrics['classifier_accuracy']:.1f}% of the test block right")
        print(
            f"  nearest training image, RMS of pixels in [-1, 1]: {metrics['nearest_training_image']:.3f}   "
            f"real test images {metrics['nearest_training_image_of_test_images']:.3f}"
        )
    for kind in ("digit", "colour"):
        print(f"dimensions that change the {kind} most: {', '.join(map(str, metrics[f'strongest_by_{kind}']))}")
    half_way = ", ".join(f"{kind} {metrics[f'legible_along_{kind}'][5]:.2f}" for kind in ("latent", "data", "spherical"))
    print(f"legible half way between two images: {half_way}")


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, dict]:
    """The command line of q3_solution.py: how to run, and the options that were named, apart."""
    parser = Parser("Train a WGAN-LP on house numbers, then explore what it has learnt.", "runs/q3", PRESETS)
    add = parser.add_argument
    add("action", nargs="?", choices=("train", "evaluate"), default=None, help="one of the two (both)")
    add(
        "--dataset",
        choices=("auto", "svhn", "svhn-stand-in"),
        default="auto",
        help="auto draws a stand-in where SVHN cannot be had",
    )
    add(
        "--data-file",
        type=file_path,
        default=None,
        help="an SVHN .mat file to take instead of --data-dir's train_32x32.mat",
    )
    add("--generator", type=file_path, default=None, help="weights to evaluate, of a run or of the handout's Generator")
    add("--epsilon", type=positive_number, default=2.0, help="how far evaluate moves a latent dimension (2)")
    add("--checkpoint-minutes", type=positive_number, default=5.0, help="of training between checkpoints (5)")
    add("--log-every", type=positive_integer, default=50, help="generator steps between lines of log.jsonl (50)")
    add("--generator-steps", type=positive_integer, help="of training")
    add("--critic-updates", type=positive_integer, help="before each generator step")
    add("--batch-size", type=positive_integer, help="images an update")
    add("--learning-rate", type=positive_number, help="of the generator")
    add("--critic-learning-rate", type=positive_number, help="of the critic")
    add("--schedule", choices=("constant", "cosine"), help="of both learning rates")
    add("--beta1", type=fraction, help="of Adam")
    add("--beta2", type=fraction, help="of Adam")
    add("--lipschitz-weight", type=positive_number, help="lambda of the penalty")
    add("--average-decay", type=fraction, help="of the running average of the generator's weights")
    add("--z-dim", type=positive_integer, help="latent dimensions")
    add("--h-dim", type=positive_integer, help="channels of the widest layer of 16 x 16, in both networks")
    add("--precision", choices=("float32", "bfloat16"), help="of the networks' products in training")
    add("--augment", action=argparse.BooleanOptionalAction, help="show the critic shifted and recoloured images")
    add("--lazy-penalty", action=argparse.BooleanOptionalAction, help="at one critic update a step, at the weight of them all")
    add("--initial-weights", type=file_path, default=None, help="a checkpoint or generator to start from")
    hows = ("action", "dataset", "data_file", "initial_weights", "generator", "epsilon", "checkpoint_minutes", "log_every")
    return parser.split(argv, *hows)


def main(argv: list[str] | None = None) -> int:
    """The command `python q3_solution.py`. Returns its exit code."""
    return command(_main, argv)


def _main(argv: list[str] | None) -> None:
    how, given = parse(argv)
    device = choose_device(how.device)
    with RunDirectory(how.run_dir) as run:
        goes_on = how.resume or how.action == "evaluate"
        options = run.read_options("q3", KINDS) if goes_on else None
        if options is not None:
            check_options(given, options, run.folder)
        elif how.action == "evaluate" and given:
            option = "--" + next(iter(given)).replace("_", "-")
            raise UserError(f"{run.folder} holds no run; leave out {option} to evaluate the bundled generator")
        if how.action != "evaluate":
            if options is None:
                blocks = load_blocks(how.dataset, how.data_file, how.data_dir)
                options = new_run_options(blocks, how, given)
                run.set_aside()
                run.write_options(options, device)
            else:
                blocks = blocks_of_run(options, how)
            print(
                f"{blocks.train.name} ({len(blocks.train.images):,} images to train on), preset {options['preset']}, "
                f"seed {options['seed']}, on {device}, recorded in {run.folder}",
                flush=True,
            )
            train(run, blocks, options, device, how.checkpoint_minutes, how.log_every)
        if how.action != "train":
            evaluate(run, how, options, device)


def new_run_options(blocks: q3_samplers.Blocks, how: argparse.Namespace, given: dict) -> dict:
    """The options of a new run on these images. UserError if there are too few of them."""
    check_size(blocks)
    paths = {name: None if getattr(how, name) is None else str(getattr(how, name)) for name in ("data_file", "initial_weights")}
    identity = {"question": "q3", "dataset": blocks.train.name, "dataset_digest": blocks.train.digest, **paths}
    return {**identity, **new_options(given, PRESETS)}
