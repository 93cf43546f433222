"""Question 3: train a generator of house numbers as a WGAN-LP, and measure it as training goes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import q3_samplers
from experiments import exploration, figures
from experiments.data import fetch, published_or_stand_in
from experiments.options import UserError, command, fields, flag, new_options, parse, to_record
from experiments.run import RunDirectory
from experiments.training import choose_device, fit
from experiments.wgan_learner import PRESETS, Learner, WGANOptions
from q2_solution import gradient_norm

GENERATOR = "generator.pt"  # what a run has to share


def train(run: RunDirectory, photos: q3_samplers.Photos, options: WGANOptions, device: torch.device) -> None:
    """Train as `options` say, from run's checkpoint if it holds one; with a checkpoint, pictures and measurements of it."""
    torch.manual_seed(options.seed)
    training, held_out = q3_samplers.hold_out(photos.images, options.held_out)
    learner = Learner(options, training.to(device))

    def save_generator(step: int, seconds: float) -> None:
        origin = {**to_record(options), "dataset": photos.name, "generator_step": step, "train_seconds": round(seconds, 1)}
        del origin["data_file"]  # where it lay says nothing about the weights
        exploration.save_generator(run.folder / GENERATOR, learner.average, origin)

    fit(
        learner,
        run,
        options,
        device,
        state=run.resume(options),
        label={"dataset": photos.name},
        log_every=options.log_every,
        checkpoint_minutes=options.checkpoint_minutes,
        measure=lambda step: measure(run, learner, held_out, step),
        export=save_generator,
    )


@torch.no_grad()
def measure(run: RunDirectory, learner: Learner, held_out: torch.Tensor, step: int) -> dict[str, float]:
    """The slow measurements of a checkpoint, on noise and directions that are always the same, and the picture of samples.

    critic_gap: E[f] of training images less E[f] of held-out ones. The estimate of W1 less this is the critic's estimate on
    images it was not trained on, which falls behind as it learns images by heart (Gulrajani et al. 2017, arXiv 1704.00028).
    """
    seen, real = exploration.equally_many(learner.images, held_out, learner.images.device)
    images = exploration.draw(learner.average, len(real))
    figures.image_grid(images[: exploration.FEWEST], run.figures / f"samples_{step:06d}.png")
    batch_size = min(learner.options.batch_size, len(real))
    return {
        "gradient_norm": gradient_norm_between(learner.critic, seen[:batch_size], images[:batch_size]),
        "critic_gap": (learner.critic(seen).mean() - learner.critic(real).mean()).item(),
        "sliced_wasserstein": exploration.average_distance(real, images),
    }


def gradient_norm_between(critic: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> float:
    """The critic's mean gradient norm between x and y, at points drawn by a generator that training does not use."""
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        torch.manual_seed(0)
        return gradient_norm(x, y, critic).mean().item()


def load_photos(options: WGANOptions) -> q3_samplers.Photos:
    """The images of --data-file if there is one, of SVHN's training file (`auto`, `svhn`), or the drawn stand-in."""
    name = "train_32x32.mat"

    def published() -> q3_samplers.Photos:
        path = options.data_file or q3_samplers.find(options.data_dir, name)
        if path is None:
            folder = options.data_dir / q3_samplers.FOLDER
            fetch(folder, {name: f"md5:{q3_samplers.MD5[name]}"}, q3_samplers.ADDRESSES)
            path = folder / name
        return q3_samplers.svhn(path)

    if options.data_file is not None and not options.data_file.exists():
        raise UserError(f"{options.data_file} is not there; name an SVHN .mat file, or leave out --data-file")
    dataset = "svhn" if options.data_file is not None else options.dataset
    what = "drawn digits; pictures and numbers are not those of SVHN"
    return published_or_stand_in(dataset, published, q3_samplers.stand_in, q3_samplers.STAND_IN, what)


def could_be_on_published(recorded: WGANOptions, asked: WGANOptions) -> bool:
    """Whether a run is on the stand-in, while there are photographs for what is asked now."""
    found = asked.data_file or q3_samplers.find(asked.data_dir, "train_32x32.mat")
    return recorded.dataset == q3_samplers.STAND_IN and found is not None


def photos_of_run(options: WGANOptions) -> q3_samplers.Photos:
    """The images that the run with these options was trained on. UserError if they are not the same any more."""
    photos = load_photos(options)
    if photos.digest != options.dataset_digest:
        raise UserError(f"{options.run_dir} was trained on other images than {photos.name} holds now; name them by --data-file")
    return photos


def photos_at_hand(asked: WGANOptions) -> q3_samplers.Photos | None:
    """Images to compare a generator with that is not of this run, if it takes no download: Photos or None."""
    found = (q3_samplers.find(asked.data_dir, name) for name in q3_samplers.MD5)
    data_file = asked.data_file or next((path for path in found if path is not None), None)
    if data_file is None and asked.dataset != q3_samplers.STAND_IN:
        print(f"no SVHN file in {asked.data_dir}: shown without real images; --data-file names one", flush=True)
        return None
    return load_photos(replace(asked, data_file=data_file))


def evaluate(run: RunDirectory, path: Path, photos: q3_samplers.Photos | None, epsilon: float, device: torch.device) -> None:
    """Explore the generator in the file `path`, beside real images if there are any: figures and metrics.json."""
    generator, origin = exploration.load_generator(path)
    print(f"exploring {path}, trained on {origin.get('dataset', 'images it does not name')}", flush=True)
    metrics = exploration.explore(run, generator.to(device), origin, photos, epsilon)
    if photos and path == run.folder / GENERATOR:
        floor = metrics["sliced_wasserstein_floor"]
        figures.training_curves(run.read_log(), run.figures / "training.png", photos.name, floor)
    run.write_json("metrics.json", metrics)
    exploration.print_metrics(metrics)
    print(f"written to {run.folder}: metrics.json, figures/")


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
            photos = load_photos(asked)
            dataset = q3_samplers.STAND_IN if photos.name == q3_samplers.STAND_IN else "svhn"
            options = replace(asked, dataset=dataset, dataset_digest=photos.digest)
            exploration.blocks(photos, options.held_out)
            run.begin(options, device)
        else:
            photos = photos_of_run(options)
            if could_be_on_published(options, asked):
                print(f"{run.folder} is on {photos.name}; SVHN is there now: without --resume a run on it starts", flush=True)
        print(
            f"{photos.name} ({len(photos.images):,} images), preset {options.preset}, seed {options.seed}, on {device}, "
            f"recorded in {run.folder}",
            flush=True,
        )
        train(run, photos, options, device)
        if options.action != "train":
            evaluate(run, asked.generator or run.folder / GENERATOR, photos, asked.epsilon, device)


def evaluate_only(run: RunDirectory, asked: WGANOptions, named: dict[str, Any], device: torch.device) -> None:
    """Explore the generator of --generator, else of the run that is there, else the bundled one.

    A generator that is not the run's goes into a folder of its own, so that the run keeps its figures and metrics.
    """
    options = run.resumed(asked, named, device, lengthen=False) if asked.generator is None else None
    if options is not None:
        if not (run.folder / GENERATOR).exists():
            raise UserError(f"{run.folder} has no {GENERATOR} yet; go on with train --resume, or name one by --generator")
        evaluate(run, run.folder / GENERATOR, photos_of_run(options), asked.epsilon, device)
        return
    for field in fields(asked, "run", "length"):
        if field.name in named and field.name != "dataset":
            raise UserError(f"{run.folder} holds no run; leave out {flag(field.name)} to evaluate a generator that is trained")
    path = asked.generator or exploration.BUNDLED
    if run.checkpoint.exists():
        with RunDirectory(run.folder / f"of-{path.stem}") as aside:
            evaluate(aside, path, photos_at_hand(asked), asked.epsilon, device)
    else:
        evaluate(run, path, photos_at_hand(asked), asked.epsilon, device)
