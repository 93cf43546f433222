"""Question 3: train a generator of house numbers as a WGAN-LP, and measure it as training goes."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import q3_samplers
from experiments import exploration, measures, weights, wgan_figures
from experiments.data import fetch, published_or_stand_in
from experiments.figures import literal
from experiments.files import check_file
from experiments.options import UserError, command, described, fields, flag, new_options, parse, to_record
from experiments.run import RunDirectory
from experiments.training import choose_device, fit
from experiments.wgan_evaluation import IMAGES_SHOWN, evaluate
from experiments.wgan_learner import Learner
from experiments.wgan_options import PRESETS, WGANOptions, check
from q2_solution import gradient_norm

GENERATOR = "generator.pt"  # what a run has to share: to draw from, and to train further by --initial-weights
CHECKPOINT_SAMPLES = 2000


def train(run: RunDirectory, blocks: q3_samplers.Blocks, options: WGANOptions, device: torch.device) -> None:
    """Train as `options` say, from run's checkpoint if it holds one; with a checkpoint, samples and measures of it."""
    check_precision(options, device)
    torch.manual_seed(options.seed)
    learner = Learner(options, blocks.train.images.to(device))
    if (state := run.resume(options)) is None and options.initial_weights is not None:
        learner.start_from(options.initial_weights)

    def save_generator(step: int, seconds: float) -> None:
        name = blocks.train.name
        origin = {**to_record(options), "dataset": name, "generator_step": step, "train_seconds": round(seconds, 1)}
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
        log_every=options.log_every,
        checkpoint_minutes=options.checkpoint_minutes,
        measure=Checkpoint(run, learner, blocks).measure,
        export=save_generator,
    )


def check_precision(options: WGANOptions, device: torch.device) -> None:
    """UserError if the GPU has no products of the precision asked for, and would compute them by a slow detour."""
    asked = options.precision == "bfloat16" and device.type == "cuda"
    if asked and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise UserError(f"--precision bfloat16: {name} has no bfloat16 products; use --precision float32")


class Checkpoint:
    """What is measured at a checkpoint, always on the same noise and validation images, and a figure of samples."""

    def __init__(self, run: RunDirectory, learner: Learner, blocks: q3_samplers.Blocks) -> None:
        device = learner.images.device
        self.run, self.learner = run, learner
        self.classifier = weights.load_classifier()[0].to(device)
        self.seen, self.real = (q3_samplers.scale(q3_samplers.spread(part.images, 1000)).to(device) for part in blocks[:2])
        self.real_features = measures.look(self.classifier, self.real).features

    @torch.no_grad()
    def measure(self, step: int) -> dict[str, float]:
        """Legible share and kernel distance of CHECKPOINT_SAMPLES samples; the critic's mean slope; its `overfitting`:

        rv = (E_train[f] - E_valid[f]) / (E_train[f] - E_Q[f]), 0 for a critic that knows no training image by heart, 1
        for one that takes an unknown photograph for a generated one (Karras et al. 2020, arXiv 2006.06676, equation 1).
        """
        images = exploration.draw(self.learner.average, CHECKPOINT_SAMPLES)
        wgan_figures.image_grid(images[:IMAGES_SHOWN], self.run.figures / f"samples_{step:06d}.png")
        drawn = measures.look(self.classifier, images)
        legible, distance = measures.legible(drawn), measures.kernel_distance(self.real_features, drawn.features)
        critic, size = self.learner.critic, min(self.learner.options.batch_size, len(self.seen))
        shown = [self.learner.shown(part) for part in (self.seen, self.real, images[: len(self.real)])]
        train, valid, fake = (critic(part).mean().item() for part in shown)
        return {
            "gradient_norm": gradient_norm_between(critic, shown[0][:size], shown[2][:size]),
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


def read_photos(path: Path) -> q3_samplers.Photos:
    check_file(path)
    return q3_samplers.svhn(path)


def load_blocks(options: WGANOptions) -> q3_samplers.Blocks:
    """The images of --data-file if named, of SVHN's two files (`auto`, `svhn`), or the drawn stand-in, in blocks."""

    def published() -> q3_samplers.Blocks:
        if options.data_file is not None:
            return q3_samplers.in_blocks(read_photos(options.data_file))
        folder, missing = options.data_dir / q3_samplers.FOLDER, q3_samplers.missing(options.data_dir)
        fetch(folder, {name: f"md5:{digest}" for name, digest in missing.items()}, q3_samplers.ADDRESSES)
        files = (q3_samplers.find(options.data_dir, name) or folder / name for name in q3_samplers.MD5)
        return q3_samplers.in_blocks(*(read_photos(path) for path in files))

    def stand_in() -> q3_samplers.Blocks:
        return q3_samplers.in_blocks(q3_samplers.stand_in())

    if options.data_file is not None and not options.data_file.exists():
        raise UserError(f"{options.data_file} is not there; name an SVHN .mat file, or leave out --data-file")
    dataset = "svhn" if options.data_file is not None else options.dataset
    what = "drawn digits; pictures and numbers are not those of SVHN"
    return published_or_stand_in(dataset, published, stand_in, q3_samplers.STAND_IN, what)


def check_size(blocks: q3_samplers.Blocks) -> None:
    """UserError if there are too few images to train on, or to compare with."""
    if (fewest := min(len(block.images) for block in blocks)) < IMAGES_SHOWN:
        raise UserError(
            f"{blocks.train.name} has {sum(len(block.images) for block in blocks)} images, of which a tenth each is kept to "
            f"choose by and to report on: {fewest} are fewer than {IMAGES_SHOWN}; name a larger --data-file"
        )


def could_be_on_published(recorded: WGANOptions, asked: WGANOptions) -> bool:
    """Whether a run is on the stand-in, while there are photographs for what is asked now."""
    there = asked.data_file is not None or not q3_samplers.missing(asked.data_dir)
    return recorded.dataset == q3_samplers.STAND_IN and there


def blocks_of_run(options: WGANOptions) -> q3_samplers.Blocks:
    """The images that the run with these options was trained on. UserError if they are not the same any more."""
    blocks = load_blocks(options)
    if blocks.train.digest != options.dataset_digest:
        name = blocks.train.name
        raise UserError(f"{options.run_dir} was trained on other images than {name} holds now; name them by --data-file")
    return blocks


def blocks_at_hand(asked: WGANOptions) -> q3_samplers.Blocks | None:
    """Images to compare a generator with that is not of this run, if it takes no download: Blocks or None."""
    if asked.data_file is None and q3_samplers.missing(asked.data_dir) and asked.dataset != q3_samplers.STAND_IN:
        print(f"no SVHN files in {asked.data_dir}: shown without real images; --data-file names one", flush=True)
        return None
    return load_blocks(asked)


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
            check_size(blocks)
            check(asked)
            dataset = q3_samplers.STAND_IN if blocks.train.name == q3_samplers.STAND_IN else "svhn"
            options = replace(asked, dataset=dataset, dataset_digest=blocks.train.digest)
            run.begin(options, device)
        else:
            blocks = blocks_of_run(options)
            if could_be_on_published(options, asked):
                print(f"{run.folder} is on {options.dataset}; SVHN is there: without --resume a run on it starts", flush=True)
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
    evaluate(run, run.folder / GENERATOR, blocks, options.epsilon, device)


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
            evaluate(aside, path, blocks_at_hand(asked), asked.epsilon, device)
    else:
        evaluate(run, path, blocks_at_hand(asked), asked.epsilon, device)
