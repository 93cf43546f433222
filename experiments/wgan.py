"""Question 3: train a generator of house numbers as a WGAN-LP, and measure it as training goes."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

import q3_samplers
from experiments import exploration, measures, weights, wgan_data, wgan_figures
from experiments.figures import literal
from experiments.options import UserError, command, described, fields, flag, new_options, parse, to_record
from experiments.run import RunDirectory
from experiments.training import choose_device, fit
from experiments.wgan_data import blocks_at_hand, blocks_of_run, load_blocks
from experiments.wgan_evaluation import SHOWN, evaluate
from experiments.wgan_learner import Learner
from experiments.wgan_options import PRESETS, WGANOptions, check
from q2_solution import gradient_norm

GENERATOR = "generator.pt"  # what a run has to share: to draw from, and to train further by --initial-weights


def train(run: RunDirectory, blocks: q3_samplers.Blocks, options: WGANOptions, device: torch.device) -> None:
    """Train as `options` say, from run's checkpoint if it holds one; with a checkpoint, samples and measures of it."""
    check_precision(options, device)
    torch.manual_seed(options.seed)
    learner = Learner(options, blocks.train.images.to(device))
    monitor = Monitor(run, learner, blocks, 2 * options.samples // 5)
    if (state := run.resume(options)) is None and options.initial_weights is not None:
        learner.start_from(options.initial_weights)
    others = (weights.GUIDE if options.guide else None, options.initial_weights)
    seen = (state or {}).get("seen") or weights.seen(blocks.train.images, others)
    for network, images in (("what is to be trained", seen), (str(weights.CLASSIFIER), weights.seen_by(weights.CLASSIFIER))):
        wgan_data.check_unseen(blocks, images, network)

    def save_generator(step: int, seconds: float) -> None:
        name = blocks.train.name
        origin = {**to_record(options), "dataset": name, "generator_step": step, "train_seconds": round(seconds, 1)}
        origin |= {"images": [0, len(blocks.train.images) - 1], "seen": seen}
        del origin["data_file"]  # where it lay says nothing about the weights
        # with its critic: one that begins anew needs thousands of updates to see what is wrong with a good generator
        weights.save(run.folder / GENERATOR, {"generator": learner.average, "critic": learner.critic}, origin)

    fit(
        learner,
        run,
        options,
        device,
        state=state,
        label={"dataset": blocks.train.name},
        kept={"seen": seen},
        log_every=options.log_every,
        checkpoint_minutes=options.checkpoint_minutes,
        measure=monitor.measure,
        export=save_generator,
    )


def check_precision(options: WGANOptions, device: torch.device) -> None:
    """UserError if the GPU has no products of the precision asked for, and would compute them by a slow detour."""
    asked = options.precision == "bfloat16" and device.type == "cuda"
    if asked and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise UserError(f"--precision bfloat16: {name} has no bfloat16 products; use --precision float32")


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
        """Legible share and KID of samples, the critic's mean slope, its overfitting score: see overfitting_score."""
        images = exploration.draw(self.learner.average, self.samples)
        wgan_figures.image_grid(images[:SHOWN], self.run.figures / f"samples_{step:06d}.png")
        drawn = measures.classify(self.judge, images)
        distance = measures.kernel_distance(self.real_features, drawn.features)
        critic, size = self.learner.critic, min(self.learner.options.batch_size, len(self.seen))
        shown = [self.learner.shown(part) for part in (self.seen, self.real, images[: len(self.real)])]
        estimates = {
            "legible": measures.legible(drawn),
            "kernel_distance": distance,
            "overfitting": overfitting_score(*(critic(part) for part in shown)),
        }
        return {
            "gradient_norm": gradient_norm_between(critic, shown[0][:size], shown[2][:size]),
            **{name: estimate.value for name, estimate in estimates.items()},
            **{f"{name}_stderr": estimate.stderr for name, estimate in estimates.items()},
        }


def overfitting_score(train: torch.Tensor, valid: torch.Tensor, fake: torch.Tensor) -> measures.Estimate:
    """r_v = (E_train[f] - E_valid[f]) / (E_train[f] - E_Q[f]) from values of the critic f, (n,) each.

    0 for a critic that values training images as it does unknown ones, 1 for one that values unknown photographs as it
    does generated images (Karras et al. 2020, arXiv 2006.06676, equation 1). The standard error is to first order, by
    blocks of neighbouring photographs.
    """
    (a, da), (b, db) = (measures.mean(values, measures.CROPS) for values in (train, valid))
    c, dc = measures.mean(fake)
    score = (a - b) / (a - c)
    return measures.Estimate(score, (((1 - score) * da) ** 2 + db**2 + (score * dc) ** 2) ** 0.5 / abs(a - c))


def gradient_norm_between(critic: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> float:
    """The critic's mean gradient norm between x and y, at points drawn by a generator that training does not use."""
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        torch.manual_seed(0)
        return gradient_norm(x, y, critic).mean().item()


def main(argv: list[str] | None = None) -> int:
    """The command `python q3_solution.py`. Returns its exit code."""
    return command(_main, argv)


def _main(argv: list[str] | None) -> None:
    named = parse(argv, "Train a WGAN-LP on house numbers, then explore what it has learnt.", PRESETS)
    asked = new_options(named, PRESETS)
    device = choose_device(asked.device)
    with RunDirectory(asked.run_dir) as run:
        if asked.action == "evaluate":
            evaluate_only(run, asked, named, device)
            return
        options = run.resumed(asked, named, device, lengthen=True) if asked.resume else None
        if options is None:
            blocks = load_blocks(asked)
            check(asked)
            dataset = q3_samplers.STAND_IN if blocks.train.name == q3_samplers.STAND_IN else "svhn"
            options = replace(asked, dataset=dataset, dataset_digest=blocks.train.digest)
            run.begin(options, device)
        else:
            blocks = blocks_of_run(options)
        print(
            f"{blocks.train.name} ({len(blocks.train.images):,} images to train on), preset {options.preset}, "
            f"seed {options.seed}, on {device}, recorded in {run.folder}",
            flush=True,
        )
        train(run, blocks, options, device)
        if options.action != "train":
            evaluate_own(run, options, blocks, device)


def evaluate_own(run: RunDirectory, options: WGANOptions, blocks: q3_samplers.Blocks, device: torch.device) -> None:
    """Explore the run's own generator, and show how its training went, and that of runs beside it on these images."""
    logs: dict[str, list[dict[str, Any]]] = {}
    for neighbour, other in run.beside(options, "dataset_digest"):
        with contextlib.suppress(UserError):  # of a log that cannot be read
            logs.setdefault(literal(described(other, PRESETS)), neighbour.read_log())
    wgan_figures.training_curves(logs, run.figures / "training.png", literal(blocks.train.name))
    evaluate(run, run.folder / GENERATOR, blocks, options, device)


def evaluate_only(run: RunDirectory, asked: WGANOptions, named: dict[str, Any], device: torch.device) -> None:
    """Explore the generator of --generator, else of the run that is there, else the bundled one.

    A generator that is not the run's goes into a folder of its own, so that the run keeps its figures and metrics.
    """
    options = run.resumed(asked, named, device, lengthen=False) if asked.generator is None else None
    if options is not None:
        if not (run.folder / GENERATOR).exists():
            raise UserError(f"{run.folder} has no {GENERATOR} yet; go on with train --resume, or name one by --generator")
        evaluate_own(run, options, blocks_of_run(options), device)
        return
    for field in fields(asked, "run", "length"):
        if field.name in named and field.name != "dataset":
            raise UserError(f"{run.folder} holds no run; leave out {flag(field.name)} to evaluate a generator that is trained")
    path = asked.generator or weights.GENERATOR
    if run.checkpoint.exists():
        with RunDirectory(run.folder / f"of-{path.stem}") as aside:
            evaluate(aside, path, blocks_at_hand(asked), asked, device)
    else:
        evaluate(run, path, blocks_at_hand(asked), asked, device)
