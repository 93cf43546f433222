"""The answers to questions 3.1 to 3.3 for one generator: its figures and metrics.json."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from experiments.harness.command import exit_code, run_experiment
from experiments.harness.files import UserError
from experiments.harness.plotting import ACCENT, INK
from experiments.harness.run import RunDirectory, runs_in_figure
from experiments.wgan import explore, figures, measures, weights
from experiments.wgan.classifier import DigitClassifier, load_classifier
from experiments.wgan.data import Splits, evenly_spaced, load, splits_at_hand
from experiments.wgan.options import PRESETS, WGANOptions
from experiments.wgan.train import train
from model import Generator
from q3_samplers import scale
from q3_solution import perturb

SHOWN = 49  # samples in a figure
TAIL = (0.0, 0.001, 0.01)  # quantiles of the distance to the nearest training image
DESCRIBED = ("preset", "seed", "generator_step", "generator_steps", "train_seconds")  # of a generator's origin


def evaluate_run(run: RunDirectory, splits: Splits, options: WGANOptions, device: torch.device) -> None:
    """Explore the run's own generator, and show how its training went, and that of runs beside it on these images."""
    if options.generator is not None:
        raise UserError(f"{run.folder} holds a run, whose figures --generator would replace; name another --run-dir")
    logs = {name: shown.read_log() for name, shown in runs_in_figure(run, options, PRESETS)}
    figures.training_curves(logs, run.figures / "training.png", splits.train.name)
    explore_generator(run, run.folder / weights.GENERATOR_FILE, splits, options, device)


def evaluate_without_run(run: RunDirectory, options: WGANOptions, device: torch.device) -> None:
    """Explore the generator of --generator, else the bundled one."""
    explore_generator(run, options.generator or weights.BUNDLED_GENERATOR, splits_at_hand(options), options, device)


def explore_generator(
    run: RunDirectory, path: Path, splits: Splits | None, options: WGANOptions, device: torch.device
) -> None:
    """Explore the generator in the file `path`, beside photographs if there are any: figures and metrics.json."""
    generator, origin = weights.load_generator(path)
    judge, _ = load_classifier()
    trained_on = origin.get("dataset", "images it does not name")
    print(f"exploring {path}, trained on {trained_on}", flush=True)
    metrics = {"trained_on": origin.get("dataset"), **{name: origin.get(name) for name in DESCRIBED}}
    metrics["dataset"] = splits and splits.test.name
    layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}
    exploration = Exploration(
        run, generator.to(**layout), judge.to(device), options, f"generator trained on {trained_on}"
    )
    images = explore.draw(exploration.generator, options.samples)
    if not images.isfinite().all():
        raise UserError("the generator's images are not finite; name another by --generator")
    metrics |= exploration.samples(images, splits)
    if splits is not None and origin.get("dataset_digest") == splits.train.digest:
        metrics |= exploration.memory(images[: 2 * options.samples // 5], splits)
    elif splits is not None:
        print("memory is not searched: the images that this generator was trained on are not at hand", flush=True)
    metrics |= exploration.dimensions(options.latents)
    metrics |= exploration.paths(2 * options.latents)
    run.write_json("metrics.json", metrics)
    print_metrics(metrics)
    print(f"written to {run.folder}: metrics.json, figures/")


def with_stderr(estimates: dict[str, tuple[float, float]], suffix: str = "") -> dict[str, float]:
    """Values and standard errors by name."""
    values = {f"{name}{suffix}": value for name, (value, _) in estimates.items()}
    return values | {f"{name}_stderr{suffix}": stderr for name, (_, stderr) in estimates.items()}


class Exploration(NamedTuple):
    """What the answers have in common. Each method draws figures and returns what it measured for metrics.json."""

    run: RunDirectory
    generator: Generator
    judge: DigitClassifier
    options: WGANOptions
    trained_on: str

    def samples(self, images: torch.Tensor, splits: Splits | None) -> dict:
        """3.1: samples beside unseen photographs, the validation block; both measured against the test block."""
        generated, path = measures.classify(self.judge, images), self.run.figures / "samples.png"
        if splits is None:
            figures.samples(images[: 2 * SHOWN], None, path, self.trained_on, None)
            return with_stderr({"legible": measures.legible(generated)}) | {"num_images": len(images)}
        valid, name = splits.valid.images, f"validation block of {splits.valid.name}"
        shown = scale(evenly_spaced(valid, SHOWN))
        figures.samples(images[:SHOWN], shown, path, self.trained_on, name)
        few = min(len(images) // 5, len(valid))  # of the test block: coverage is averaged over as many draws of them
        test, labels = (evenly_spaced(part, few) for part in (splits.test.images, splits.test.labels))
        photographs = measures.classify(self.judge, evenly_spaced(valid, len(images)))
        reference, crops = measures.classify(self.judge, test), measures.CROPS
        shares = {"generated": measures.digit_shares(generated)}
        shares["unseen photographs"] = measures.digit_shares(photographs, crops)
        figures.digit_shares(shares, self.run.figures / "digits.png", f"{self.trained_on}; {name}")
        return {
            **with_stderr(explore.compare(reference, generated)),
            **with_stderr(explore.compare(reference, photographs, crops), "_of_validation_images"),
            **with_stderr({"legible": measures.legible(reference, crops)}, "_of_test_images"),
            **with_stderr({"classifier_accuracy": measures.mean(reference.digits.cpu() == labels, crops)}),
            "num_images": len(images),
            "num_validation_images": len(photographs.features),
            "num_test_images": few,
        }

    def memory(self, images: torch.Tensor, splits: Splits) -> dict:
        """Whether generated images are nearer to training images than as many unseen photographs are: quantiles TAIL.

        Distances are root mean squares, over pixels in [-1, 1] and over the judge's features. A copy that is shifted,
        mirrored, cropped or recoloured may be far in pixels, and the features tell digits apart rather than
        photographs, so such copies, and copied parts, would be missed.
        """
        photographs = torch.cat([splits.valid.images, splits.test.images])
        unseen = scale(evenly_spaced(photographs, len(images))).to(images.device)
        x, parts = torch.cat([images[: len(unseen)], unseen]), splits.train.images.split(2000)
        features = measures.classify(self.judge, x).features
        searches = {
            "features": measures.nearest(features, (measures.classify(self.judge, part).features for part in parts)),
            "pixels": measures.nearest(x, (scale(part.to(x.device)) for part in parts)),
        }
        found, groups = {}, {}
        for number, (group, name) in enumerate((("Generated", ""), ("Unseen photographs", "_of_unseen_photographs"))):
            columns = searches["features"][0].chunk(2)[number].argsort()[:10] + number * len(unseen)
            rows = [scale(splits.train.images[rows[columns].cpu()]) for _, rows in searches.values()]
            groups[group] = torch.stack([x[columns].cpu(), *rows])
            for kind, (distances, _) in searches.items():
                tail = distances.chunk(2)[number].quantile(torch.tensor(TAIL, device=x.device))
                found[f"nearest_by_{kind}{name}"] = tail.tolist()
        figures.nearest(groups, self.run.figures / "nearest.png", self.trained_on)
        return found

    def dimensions(self, n: int) -> dict:
        """3.2: what latent dimensions change, and what singular directions of the first layer change, at n latents."""
        generator, judge, epsilon = self.generator, self.judge, self.options.epsilon
        z, steps = explore.latents(generator, n), torch.arange(-3, 4) * 4 / 3
        axes, singular = torch.ones(generator.z_dim).diag(), explore.directions(generator)
        of_axes = explore.effects(generator, judge, z, perturb(z, epsilon))
        of_singular = explore.effects(generator, judge, z, z + epsilon * singular.unsqueeze(1))
        strongest, first = of_axes.digit.topk(min(4, len(axes))).indices.tolist(), [*range(min(10, len(singular)))]
        at = explore.typical(generator, judge, z)
        for name, title, symbol, moves, which, found in (
            ("perturbations", "The latent dimensions that change the digit most", "z", axes, strongest, of_axes),
            ("directions", "The first singular directions", "u", singular, first, of_singular),
        ):
            images = explore.walk(generator, at, moves[which], steps)
            digits = measures.classify(judge, images.flatten(0, 2)).digits.view(images.shape[:3]).tolist()
            labels = [f"${symbol}_{{{i}}}$\ndigit {found.digit[i]:.2f}\ncolour {found.colour[i]:.2f}" for i in which]
            path = self.run.figures / f"{name}.png"
            figures.walks(images, digits, labels, steps.tolist(), path, f"{title}, moved\n{self.trained_on}")
        legend = {"latent dimensions": ("z", INK, of_axes), "singular directions": ("u", ACCENT, of_singular)}
        figures.effects(legend, epsilon, self.run.figures / "effects.png", self.trained_on)
        both = {"dimension": of_axes, "direction": of_singular}
        effects = {
            f"{kind}_{name}": part.tolist() for kind, all in both.items() for name, part in all._asdict().items()
        }
        return {"epsilon": epsilon, "num_latents": n, **effects}

    def paths(self, pairs: int) -> dict:
        """3.3: the same pairs of images joined in three ways, and what each way costs in legibility."""
        alpha, folder = torch.linspace(0, 1, 11), self.run.figures
        along = explore.along_paths(self.generator, self.judge, alpha, pairs, shown=5)
        figures.interpolation(along.images, alpha.tolist(), folder / "interpolation.png", self.trained_on)
        path = folder / "interpolation_legible.png"
        figures.along_paths(along, alpha.tolist(), self.generator.z_dim, path, self.trained_on)
        shares = {f"legible_along_{name}": zip(*estimates) for name, estimates in along.legible.items()}
        return {
            "alpha": alpha.tolist(),
            "num_pairs": pairs,
            **{f"{name}{of}": values for name, pair in shares.items() for of, values in zip(("", "_stderr"), pair)},
            **{f"midpoint_norm_{name}": lengths[5].mean().item() for name, lengths in along.lengths.items()},
        }


def print_metrics(metrics: dict) -> None:
    """Print what was measured, standard errors in brackets."""
    if metrics["dataset"]:
        accuracy = f"whose digits the judge classifier names with an accuracy of {metrics['classifier_accuracy']:.3f}"
        print(f"against the test block of {metrics['dataset']}, {accuracy}; in the second column unseen photographs:")
    for key, name in (("legible", "legible share"), ("kernel_distance", "KID (x 1000)"), ("coverage", "coverage")):
        if ofs := [of for of in ("", "_of_validation_images") if f"{key}{of}" in metrics]:
            print(f"  {name:14s}", *(f"{metrics[key + of]:8.3f} ({metrics[f'{key}_stderr{of}']:.3f})" for of in ofs))
    half_way = ", ".join(f"{name} {metrics[f'legible_along_{name}'][5]:.3f}" for name in explore.PATHS)
    print(f"legible half way between two images: {half_way}")


def main(argv: list[str] | None = None) -> int:
    """The command `python q3_solution.py`. Returns its exit code."""
    return exit_code(
        run_experiment,
        argv,
        about="Train a WGAN-LP on house numbers, then explore what it has learnt.",
        presets=PRESETS,
        load=load,
        train=train,
        evaluate=evaluate_run,
        evaluate_without_run=evaluate_without_run,
    )
