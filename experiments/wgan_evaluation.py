"""The answers to questions 3.1 to 3.3 for one generator: its figures and metrics.json."""

from pathlib import Path

import torch

import q3_samplers
from experiments import exploration, measures, weights, wgan_data, wgan_figures
from experiments.errors import UserError
from experiments.figures import ACCENT, INK, literal
from experiments.measures import Estimate
from experiments.run import RunDirectory
from experiments.wgan_options import WGANOptions
from model import DigitClassifier, Generator
from q3_solution import perturb

SHOWN = 49  # samples in a figure
TAIL = (0.0, 0.001, 0.01)  # quantiles of the distance to the nearest training image
DESCRIBED = ("preset", "seed", "generator_step", "generator_steps", "train_seconds")  # of a generator's origin


def evaluate(
    run: RunDirectory, path: Path, blocks: q3_samplers.Blocks | None, options: WGANOptions, device: torch.device
) -> None:
    """Explore the generator in the file `path`, beside photographs if there are any: figures and metrics.json."""
    generator, origin = weights.load_generator(path)
    judge, origin_of_judge = weights.load_classifier()
    if blocks is not None:
        for network, seen in ((path, origin), (weights.CLASSIFIER, origin_of_judge)):
            wgan_data.check_unseen(blocks, seen.get("seen", ()), str(network))
    generator, judge = generator.to(device, memory_format=torch.channels_last), judge.to(device)  # type: ignore[call-overload]
    known = origin.get("dataset", "images it does not name")
    print(f"exploring {path}, trained on {known}", flush=True)
    metrics = {"trained_on": origin.get("dataset"), **{name: origin.get(name) for name in DESCRIBED}}
    metrics["dataset"] = blocks and blocks.test.name
    trained_on = literal(f"generator trained on {known}")
    learnt_here = blocks is not None and origin.get("dataset_digest") == blocks.train.digest
    metrics |= explore_samples(run, generator, judge, blocks, learnt_here, options.samples, trained_on)
    metrics |= explore_dimensions(run, generator, judge, options.epsilon, options.samples // 5, trained_on)
    metrics |= explore_paths(run, generator, judge, 2 * options.samples // 5, trained_on)
    run.write_json("metrics.json", metrics)
    print_metrics(metrics)
    print(f"written to {run.folder}: metrics.json, figures/")


def _named(estimates: dict[str, Estimate], of: str = "") -> dict[str, float]:
    values = {f"{name}{of}": estimate.value for name, estimate in estimates.items()}
    return values | {f"{name}_stderr{of}": estimate.stderr for name, estimate in estimates.items()}


def explore_samples(
    run: RunDirectory,
    generator: Generator,
    judge: DigitClassifier,
    blocks: q3_samplers.Blocks | None,
    learnt_here: bool,
    samples: int,
    trained_on: str,
) -> dict:
    """3.1: samples beside unseen photographs, the validation block; both measured against the test block.

    learnt_here: whether the generator was trained on the training block, which alone is then searched for copies.
    """
    images, path = exploration.draw(generator, samples), run.figures / "samples.png"
    if not images.isfinite().all():
        raise UserError("the generator's images are not finite; name another by --generator")
    generated = measures.classify(judge, images)
    if blocks is None:
        wgan_figures.samples(images[: 2 * SHOWN], None, path, trained_on, None)
        return _named({"legible": measures.legible(generated)}) | {"num_images": len(images)}
    valid, name = blocks.valid.images, literal(f"validation block of {blocks.valid.name}")
    shown = q3_samplers.scale(q3_samplers.spread(valid, SHOWN))
    wgan_figures.samples(images[:SHOWN], shown, path, trained_on, name)
    few = min(len(images) // 5, len(valid))  # of the test block: coverage is averaged over as many draws of them
    test, labels = (q3_samplers.spread(part, few) for part in (blocks.test.images, blocks.test.labels))
    photographs, reference = (measures.classify(judge, part) for part in (q3_samplers.spread(valid, len(images)), test))
    shares = {
        "generated": measures.digit_shares(generated),
        "unseen photographs": measures.digit_shares(photographs, measures.CROPS),
    }
    wgan_figures.digit_shares(shares, run.figures / "digits.png", f"{trained_on}; {name}")
    of_test = {
        "legible_of_test_images": measures.legible(reference, measures.CROPS),
        "classifier_accuracy": measures.mean(reference.digits.cpu() == labels, measures.CROPS),
    }
    if not learnt_here:
        print("memory is not searched: the images that this generator was trained on are not at hand", flush=True)
    return {
        **_named(exploration.compare(reference, generated)),
        **_named(exploration.compare(reference, photographs, measures.CROPS), "_of_validation_images"),
        **_named(of_test),
        "num_images": len(images),
        "num_validation_images": len(photographs.features),
        "num_test_images": few,
        **(search_memory(run, images[: 2 * samples // 5], judge, blocks, trained_on) if learnt_here else {}),
    }


def search_memory(
    run: RunDirectory, images: torch.Tensor, judge: DigitClassifier, blocks: q3_samplers.Blocks, trained_on: str
) -> dict:
    """Whether generated images are nearer to training images than as many unseen photographs are: quantiles TAIL.

    Distances are root mean squares, over pixels in [-1, 1] and over the judge's features. A copy that is shifted,
    mirrored, cropped or recoloured may be far in pixels, and the features tell digits apart rather than photographs, so
    such copies, and copied parts, would be missed.
    """
    photographs = torch.cat([blocks.valid.images, blocks.test.images])
    both = [images[: len(photographs)], q3_samplers.scale(q3_samplers.spread(photographs, len(images))).to(images.device)]
    x, parts = torch.cat(both), blocks.train.images.split(2000)
    features = measures.classify(judge, x).features
    searches = {
        "features": measures.nearest(features, (measures.classify(judge, part).features for part in parts)),
        "pixels": measures.nearest(x, (q3_samplers.scale(part.to(x.device)) for part in parts)),
    }
    found, groups = {}, {}
    for number, (group, name) in enumerate((("Generated", ""), ("Unseen photographs", "_of_unseen_photographs"))):
        columns = searches["features"][0].chunk(2)[number].argsort()[:10] + number * len(both[0])
        rows = [q3_samplers.scale(blocks.train.images[rows[columns].cpu()]) for _, rows in searches.values()]
        groups[group] = torch.stack([x[columns].cpu(), *rows])
        for kind, (distances, _) in searches.items():
            tail = distances.chunk(2)[number].quantile(torch.tensor(TAIL, device=x.device))
            found[f"nearest_by_{kind}{name}"] = tail.tolist()
    wgan_figures.nearest(groups, run.figures / "nearest.png", trained_on)
    return found


def explore_dimensions(
    run: RunDirectory, generator: Generator, judge: DigitClassifier, epsilon: float, n: int, trained_on: str
) -> dict:
    """3.2: what latent dimensions change, and what the singular directions of the generator's first layer change."""
    z, steps = exploration.latents(generator, n), torch.arange(-3, 4) * 4 / 3
    singular, axes = exploration.directions(generator), torch.eye(generator.z_dim)
    of_axes = exploration.effects(generator, judge, z, perturb(z, epsilon))
    of_singular = exploration.effects(generator, judge, z, z + epsilon * singular.unsqueeze(1))
    strongest = of_axes.digit.topk(min(4, len(axes))).indices.tolist()
    at = exploration.typical(generator, judge, z)
    for name, title, symbol, moves, which, found in (
        ("perturbations", "The latent dimensions that change the digit most", "z", axes, strongest, of_axes),
        ("directions", "The first singular directions", "u", singular, [*range(min(10, len(singular)))], of_singular),
    ):
        walked = exploration.walk(generator, judge, at, moves[which], steps)
        labels = [f"${symbol}_{{{i}}}$\ndigit {found.digit[i]:.2f}\ncolour {found.colour[i]:.2f}" for i in which]
        wgan_figures.walks(*walked, labels, steps.tolist(), run.figures / f"{name}.png", f"{title}, moved\n{trained_on}")
    legend = {"latent dimensions": ("z", INK, of_axes), "singular directions": ("u", ACCENT, of_singular)}
    wgan_figures.effects(legend, epsilon, run.figures / "effects.png", trained_on)
    both = {"dimension": of_axes, "direction": of_singular}
    effects = {f"{kind}_{name}": part.tolist() for kind, found in both.items() for name, part in found._asdict().items()}
    return {"epsilon": epsilon, "num_latents": n, **effects}


def explore_paths(run: RunDirectory, generator: Generator, judge: DigitClassifier, pairs: int, trained_on: str) -> dict:
    """3.3: the same pairs of images joined in three ways, and what each way costs in legibility."""
    alpha = torch.linspace(0, 1, 11)
    along = exploration.along_paths(generator, judge, alpha, pairs, shown=5)
    wgan_figures.interpolation(along.images, alpha.tolist(), run.figures / "interpolation.png", trained_on)
    path = run.figures / "interpolation_legible.png"
    wgan_figures.along_paths(along, alpha.tolist(), generator.z_dim, path, trained_on)
    shares = {f"legible_along_{name}": zip(*estimates) for name, estimates in along.legible.items()}
    return {
        "alpha": alpha.tolist(),
        "num_pairs": pairs,
        **{f"{name}{of}": values for name, pair in shares.items() for of, values in zip(("", "_stderr"), pair)},
        **_named({f"agreeing_half_way_{name}": estimate for name, estimate in along.agreeing.items()}),
        **{f"midpoint_norm_{name}": lengths[5].mean().item() for name, lengths in along.lengths.items()},
    }


def print_metrics(metrics: dict) -> None:
    """Print what was measured, standard errors in brackets."""
    names = {"legible": "legible share", "kernel_distance": "KID (x 1000)", "coverage": "coverage"}
    if metrics["dataset"]:
        print(f"against the test block of {metrics['dataset']}; beside it unseen photographs, the validation block:")
    for key, name in names.items():
        ofs = [of for of in ("", "_of_validation_images") if f"{key}{of}" in metrics]
        shown = [f"{metrics[key + of]:8.3f} ({metrics[f'{key}_stderr{of}']:.3f})" for of in ofs]
        if shown:
            print(f"  {name:14s}", *shown)
    if metrics["dataset"]:
        print(f"  the judge classifier names {100 * metrics['classifier_accuracy']:.1f}% of the test block right")
    for kind in ("pixels", "features") if "nearest_by_pixels" in metrics else ():
        tails = (metrics[f"nearest_by_{kind}{of}"] for of in ("", "_of_unseen_photographs"))
        shown = ["/".join(f"{value:.3f}" for value in tail) for tail in tails]
        print(f"  nearest training image by {kind}, least/0.1%/1%: {shown[0]}   unseen photographs {shown[1]}")
    for kind in ("dimension", "direction"):
        for effect in ("digit", "colour"):
            values = torch.tensor(metrics[f"{kind}_{effect}"])
            best = ", ".join(f"{i} ({values[i]:.2f})" for i in values.topk(min(4, len(values))).indices.tolist())
            print(f"{kind}s that change the {effect} most: {best}")
    half_way = ", ".join(f"{name} {metrics[f'legible_along_{name}'][5]:.3f}" for name in exploration.PATHS)
    print(f"legible half way between two images: {half_way}")
