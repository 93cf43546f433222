"""The answers to questions 3.1 to 3.3 for one generator: its figures and metrics.json.

metrics.json is nested. An estimate is {"value", "stderr"}, its standard error; many estimates are lists of both.

    dataset, trained_on, preset, seed, generator_step, generator_steps, train_seconds, long (--latents is at least LONG)
    samples     generated and unseen_photographs (validation split), each against the test split: number, legible,
                kernel_distance, kernel_distance_null (95% quantile and p_value by permutation), coverage, two_sample
                (if long); beside: the same of other generators at the same latents, by label; test_photographs,
                judge_accuracy, coverage_generated_minus_photographs, digit_shares_chi_squared (whether generated and
                unseen images show the ten digits equally often)
    memory      pixels and features: RMS distance to the nearest training image, by quantile
    directions  epsilon, latents, dials; axes, random, singular: explore.effects, p_value against random (Kolmogorov-
                Smirnov, over the directions of both sets)
    paths       pairs, alpha; straight, arc, pixels: legible by alpha, length_half_way; straight_minus_arc and
                straight_minus_pixels: differences of the same pairs' legible shares, half way and over 0.3 to 0.7
"""

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import scipy.stats
import torch

from experiments.harness.command import exit_code, run_experiment
from experiments.harness.files import UserError, say
from experiments.harness.run import RunDirectory, runs_in_figure
from experiments.wgan import explore, figures, measures, weights
from experiments.wgan.classifier import DigitClassifier, load_classifier
from experiments.wgan.data import Splits, evenly_spaced, load, splits_at_hand
from experiments.wgan.measures import Classified
from experiments.wgan.options import PRESETS, WGANOptions
from experiments.wgan.train import train
from model import Generator
from q3_samplers import scale
from q3_solution import interpolate, interpolate_spherical

DOWN, ACROSS = 7, 5  # samples of each generator in a figure
LONG = 1000  # latents from which on the two-sample test, which trains four classifiers, is made too
QUANTILES = (0.0, 0.001, 0.01)  # of the distance to the nearest training image
DIALS_BY = {"digit_of_legible": "digit", "luminance": "luminance", "chroma": "hue"}  # measure: what a dial is called
WAYS = ("straight", "arc", "pixels")  # between two images: see paths
ORIGIN = ("preset", "seed", "generator_step", "generator_steps", "train_seconds")  # copied from a generator's file


def evaluate_run(run: RunDirectory, splits: Splits, options: WGANOptions, device: torch.device) -> None:
    """Explore the run's own generator, beside those of the runs named."""
    if options.generator is not None:
        raise UserError(f"{run.folder} holds a run, whose figures --generator would replace; name another --run-dir")
    explore_generators(run, generators(runs_in_figure(run, options, PRESETS)), splits, options, device)


def evaluate_without_run(run: RunDirectory, options: WGANOptions, device: torch.device) -> None:
    """Explore the generator of --generator, else the bundled one, beside the handout preset's if no other is named."""
    if options.generator is not None:
        others = generators(runs_in_figure(run, options, PRESETS)[1:])
        files = {options.generator.name: options.generator, **others}
    else:
        bundled = RunDirectory(weights.BUNDLED["tuned"])
        asked = replace(options, beside=options.beside or (weights.BUNDLED["handout"],))
        files = generators(runs_in_figure(bundled, bundled.read_options(asked, PRESETS) or asked, PRESETS))
    explore_generators(run, files, splits_at_hand(options), options, device)


def generators(runs: list[tuple[str, RunDirectory]]) -> dict[str, Path]:
    """The runs' files of weights, by label."""
    return {name: run.folder / weights.GENERATOR_FILE for name, run in runs}


def training_images(dataset: str | None, images: list[int] | None) -> str:
    """Which images of which file, as a reader knows them."""
    if dataset is None or images is None:
        return "images that it does not name"
    file = "SVHN's test file" if dataset.startswith("SVHN test_32x32") else dataset
    return f"images {images[0]:,} to {images[1]:,} of {file}"


def explore_generators(
    run: RunDirectory, files: dict[str, Path], splits: Splits | None, options: WGANOptions, device: torch.device
) -> None:
    """Explore the first generator of the `files`, by label: figures and metrics.json; of the others samples only.

    All draw at the same latents, beside photographs if there are any. Logs beside the files show how training went.
    """
    networks = {name: weights.load_generator(path) for name, path in files.items()}
    generator, origin = next(iter(networks.values()))
    judge = load_classifier()[0].to(device)
    trained_on = training_images(origin.get("dataset"), origin.get("images"))
    say(f"exploring {next(iter(files))}, trained on {trained_on}")
    layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}
    drawn = {}  # uint8, as coarse as photographs are stored
    for name, (network, _) in networks.items():
        images = explore.draw(network.to(**layout), options.samples, use="samples")
        if not images.isfinite().all():
            raise UserError(f"the images of {files[name]} are not finite; name another generator")
        drawn[name] = ((images + 1) * 127.5).round().byte()
    for old in run.figures.glob("*.png"):
        if not old.name.startswith("samples_"):  # those are training's
            old.unlink()
    title, n, figure = f"generator trained on {trained_on}", options.latents, run.figures
    metrics: dict[str, Any] = {"dataset": splits and splits.test.name, "trained_on": origin.get("dataset")}
    metrics |= {name: origin.get(name) for name in ORIGIN} | {"long": n >= LONG}
    draw_samples(drawn, splits, figure / "samples.png", title)
    metrics["samples"] = samples(judge, drawn, splits, metrics["long"])
    if splits is not None and origin.get("dataset_digest") == splits.train.digest:
        few = next(iter(drawn.values()))[: 2 * options.samples // 5]
        metrics["memory"] = memory(judge, few, splits, figure / "nearest.png", title)
    elif splits is not None:
        say("memory is not searched: the images that this generator was trained on are not at hand")
    metrics["directions"] = directions(generator, judge, n, options.epsilon, figure, title)
    metrics["paths"] = paths(generator, judge, 2 * n, figure / "interpolation.png", title)
    run.write_json("metrics.json", metrics)
    logs = {name: RunDirectory(path.parent).read_log() for name, path in files.items()}
    if all(logs.values()):
        figures.training_curves(logs, figure / "training.png", trained_on)
    print_metrics(metrics)
    say(f"written to {run.folder}: metrics.json, figures/")


def samples(
    judge: DigitClassifier, drawn: dict[str, torch.Tensor], splits: Splits | None, long: bool
) -> dict[str, Any]:
    """3.1: uint8 images of generators, by label, and unseen photographs (validation split) against the test split."""
    images = next(iter(drawn.values()))
    classified = [measures.classify(judge, part) for part in drawn.values()]
    if splits is None:
        found: list[dict] = [{"number": len(images), "legible": measures.mean(part.legible)} for part in classified]
        return {"generated": found[0], "beside": dict(zip([*drawn][1:], found[1:]))}
    few = min(len(images) // 5, len(splits.valid.images))  # coverage is averaged over as many draws of them
    test, labels = (evenly_spaced(part, few) for part in (splits.test.images, splits.test.labels))
    reference = measures.classify(judge, test)
    unseen = measures.classify(judge, evenly_spaced(splits.valid.images, len(images)))
    found = [compare(reference, part) for part in (*classified, unseen)]
    if long:
        n = min(1000, len(splits.valid.images), len(splits.test.images), len(images) // 2)
        real = torch.cat([splits.valid.images[:n], splits.test.images[:n]]).to(images.device)
        for part, others in zip(found, (*drawn.values(), splits.train.images.flip(0))):
            part["two_sample"] = measures.two_sample(others[: 2 * n].to(images.device), real)
    counts = torch.stack([part.digits.cpu().bincount(minlength=10) for part in (classified[0], unseen)])
    digits = scipy.stats.chi2_contingency(counts[:, counts.sum(0) > 0])
    return {
        "generated": found[0],
        "unseen_photographs": found[-1],
        "beside": dict(zip([*drawn][1:], found[1:-1])),
        "test_photographs": {"number": few, "legible": measures.mean(reference.legible)},
        "judge_accuracy": measures.mean(reference.digits.cpu() == labels),
        "coverage_generated_minus_photographs": measures.coverage(
            reference.features, classified[0].features, unseen.features
        ),
        "digit_shares_chi_squared": {"value": digits.statistic, "p_value": digits.pvalue},
    }


def draw_samples(drawn: dict[str, torch.Tensor], splits: Splits | None, path: Path, title: str) -> None:
    """The first images of each generator, and photographs if there are any."""
    shown = {textwrap.fill(name, 44): images[: DOWN * ACROSS] for name, images in drawn.items()}
    if splits is not None:
        shown["unseen photographs, evenly spaced"] = evenly_spaced(splits.valid.images, DOWN * ACROSS)
    panels = {name: scale(part).unflatten(0, (DOWN, ACROSS)) for name, part in shown.items()}
    figures.pictures(panels, path, f"The first draws, none chosen, at the same latents\n{title}")


def compare(reference: Classified, images: Classified) -> dict[str, Any]:
    """Measures of images, where there are two sets against those of `reference`."""
    sets = reference.features, images.features
    distance, null = measures.kernel_distance(*sets), measures.kernel_distance_null(*sets)
    p_value = ((null >= distance["value"]).sum().item() + 1) / (len(null) + 1)
    found = {"number": len(images.features), "legible": measures.mean(images.legible), "kernel_distance": distance}
    found["kernel_distance_null"] = {"95%": null.quantile(0.95).item(), "p_value": p_value}
    return found | {"coverage": measures.coverage(*sets)}


def memory(judge: DigitClassifier, images: torch.Tensor, splits: Splits, path: Path, title: str) -> dict[str, Any]:
    """Whether uint8 images are nearer to training images than as many unseen photographs are.

    Distances are root mean squares, over pixels in [-1, 1] and over the judge's features. A copy that is shifted,
    mirrored, cropped or recoloured may be far in pixels, and the features tell digits apart rather than photographs, so
    such copies, and copied parts, would be missed.
    """
    unseen = evenly_spaced(torch.cat([splits.valid.images, splits.test.images]), len(images)).to(images.device)
    x, shown, found = torch.cat([images[: len(unseen)], unseen]), {}, dict[str, Any]()
    views = {"pixels": scale, "features": lambda part: measures.classify(judge, part).features}
    for kind, view in views.items():
        train = (view(part.to(x.device)) for part in splits.train.images.split(2000))
        searches = (part.chunk(2) for part in measures.nearest(view(x), train))
        found[kind] = {}
        for name, part, distances, rows in zip(("generated", "unseen_photographs"), x.chunk(2), *searches):
            found[kind][name] = {str(q): distances.quantile(q).item() for q in QUANTILES}
            ten = distances.argsort()[:10].cpu()
            pair = torch.stack([part.cpu()[ten], splits.train.images[rows.cpu()[ten]]])
            shown[f"{name.replace('_', ' ')}, nearest by {kind}"] = scale(pair)
    above = "Is a training image copied? The ten images nearest to a training image, which is below\n"
    figures.pictures(shown, path, above + title)
    return found


def directions(
    generator: Generator, judge: DigitClassifier, n: int, epsilon: float, folder: Path, title: str
) -> dict[str, Any]:
    """3.2: what moves along latent axes, a random basis and singular directions change, at n latents."""
    random = torch.linalg.qr(explore.latents(generator, generator.z_dim, use="basis")).Q  # orthonormal, the control
    axes, singular = torch.ones(generator.z_dim).diag(), explore.directions(generator)
    z, found = explore.latents(generator, n, use="directions"), dict[str, Any]()
    for kind, basis in {"random": random, "axes": axes, "singular": singular}.items():
        found[kind] = explore.effects(explore.changes(generator, judge, z, epsilon * basis))
        for measure in explore.MEASURES if kind != "random" else ():
            values = (found[of][measure]["value"] for of in (kind, "random"))
            found[kind][measure]["p_value"] = scipy.stats.ks_2samp(*values, method="asymp").pvalue
    dials = choose_dials(generator, judge, epsilon * singular[:20])
    figures.effects(found, dials, epsilon, folder / "effects.png", title)
    pixels = explore.changes(generator, judge, explore.latents(generator, 10, use="dials"), epsilon * axes)["pixels"]
    strongest = pixels.mean(1).topk(min(8, len(axes))).indices.sort().values.tolist()
    legible = measures.classify(judge, explore.images_of(generator, z)).legible.cpu()
    start = z[legible.long().argsort(descending=True, stable=True)[:2]]
    steps = epsilon * torch.arange(-2, 3)
    columns = [f"{step:+g}" if step else "0" for step in steps.tolist()]
    below = "displacement; in corners the digit read; at the left digits changed, RMS changes of luminance and chroma"
    for name, kind, symbol, basis, which, what in (
        ("perturbations", "axes", "z", axes, strongest, "latent dimensions that change pixels most"),
        ("directions", "singular", "u", singular, [*dials], "singular directions that are dials of the page"),
    ):
        moves = steps.view(-1, 1) * basis[which].unsqueeze(1)  # (rows, steps, z_dim)
        images = explore.images_of(generator, start.view(len(start), 1, 1, -1) + moves)
        digits = measures.classify(judge, images.flatten(0, 2)).digits.view(images.shape[:3]).tolist()
        digit, luminance, chroma = (found[kind][measure]["value"] for measure in DIALS_BY)
        rows = [f"digit {digit[i]:.0%}, lum. {luminance[i]:.3f},\nchroma {chroma[i]:.3f}" for i in which]
        rows = [f"${symbol}_{{{i}}}$ by {epsilon:+g}: {effect}" for i, effect in zip(which, rows)]
        panels = {f"latent {k + 1}": panel for k, panel in enumerate(images)}
        heading = f"The {len(which)} {what}, moved from the first legible latents\n{title}"
        figures.pictures(panels, folder / f"{name}.png", heading, rows, columns, below, digits)
    return {"epsilon": epsilon, "latents": n, "dials": dials, **found}


def choose_dials(generator: Generator, judge: DigitClassifier, moves: torch.Tensor) -> dict[int, str]:
    """Eight of moves (m, z_dim), the dials of the page: number to what it changes, of DIALS_BY.

    Effects count in units of the greatest among all moves, chroma only where it exceeds luminance. A move is named by
    its greatest, and the eight with the greatest are chosen, on latents of their own.
    """
    found = explore.effects(explore.changes(generator, judge, explore.latents(generator, 100, use="dials"), moves))
    effects = torch.tensor([found[measure]["value"] for measure in DIALS_BY])
    relative = effects / effects.amax(1, keepdim=True).clamp(min=1e-9)
    relative[2] *= effects[2] > effects[1]
    greatest, kinds = relative.max(0)
    chosen = greatest.topk(min(8, len(moves))).indices.sort().values
    return {number: [*DIALS_BY.values()][kinds[number]] for number in chosen.tolist()}


def paths(generator: Generator, judge: DigitClassifier, n: int, path: Path, title: str) -> dict[str, Any]:
    """3.3: n pairs of latents z0, z1 joined in three ways, and what each way costs in legibility.

    straight: g(alpha z0 + (1 - alpha) z1). arc: g of the arc. pixels: alpha g(z0) + (1 - alpha) g(z1).
    """
    alpha, (z0, z1) = torch.linspace(0, 1, 11), explore.latents(generator, 2, n, use="pairs")
    x0, x1 = (explore.images_of(generator, z) for z in (z0, z1))
    latents = {"straight": interpolate(z0, z1, alpha), "arc": interpolate_spherical(z0, z1, alpha)}
    both_legible = measures.classify(judge, x0).legible & measures.classify(judge, x1).legible
    shown = both_legible.long().argsort(descending=True, stable=True)[:3]
    found: dict[str, Any] = {"pairs": n, "alpha": alpha.tolist()}
    legible, pictures = {}, []
    for way in WAYS:
        if way in latents:
            line = (explore.images_of(generator, z) for z in latents[way])
        else:
            line = (interpolate(x0, x1, fraction)[0] for fraction in alpha.to(x0.device))
        pairs = [(x[shown].cpu(), measures.classify(judge, x).legible.cpu()) for x in line]
        pictures.append(torch.stack([x for x, _ in pairs], 1))  # (shown, alphas, 3, 32, 32)
        legible[way] = torch.stack([read for _, read in pairs]).float()  # (alphas, pairs)
        shares = [measures.mean(at) for at in legible[way]]
        found[way] = {"legible": {key: [share[key] for share in shares] for key in ("value", "stderr")}}
        if way in latents:
            found[way]["length_half_way"] = measures.mean(latents[way][5].norm(dim=1))
    for other in ("arc", "pixels"):
        difference = legible["straight"] - legible[other]
        parts = {"half_way": difference[5], "0.3_to_0.7": difference[3:8].mean(0)}
        found[f"straight_minus_{other}"] = {name: measures.mean(part) for name, part in parts.items()}
    panels = {f"pair {k + 1}": rows for k, rows in enumerate(torch.stack(pictures, 1))}
    heading = f"From $g(z_1)$ to $g(z_0)$: the first {len(shown)} pairs of which both ends are legible\n{title}"
    columns = [f"{fraction:.1f}" for fraction in alpha]
    rows = ("latents,\nstraight", "latents,\narc", "pixels,\nstraight")
    figures.pictures(panels, path, heading, rows, columns, r"$\alpha$: $z_1$ at 0, $z_0$ at 1")
    return found


def print_metrics(metrics: dict) -> None:
    """Print what was measured, standard errors in brackets."""
    names = dict(
        legible="legible share", kernel_distance="KID x 1000", coverage="coverage", two_sample="two-sample accuracy"
    )
    for kind, found in (metrics["samples"] | metrics["samples"]["beside"]).items():
        there = [(name, found[key]) for key, name in names.items() if key in found]
        cells = [f"{name} {one['value']:.3f} ({one['stderr']:.3f})" for name, one in there]
        if cells:
            say(f"{kind.replace('_', ' ')}: {', '.join(cells)}")
    half_way = ", ".join(f"{way} {metrics['paths'][way]['legible']['value'][5]:.3f}" for way in WAYS)
    say(f"legible half way between two images: {half_way}")


def main(argv: list[str] | None = None) -> int:
    """The command `python q3_solution.py`. Returns its exit code."""
    about = "Train a WGAN-LP on house numbers, then explore what it has learnt."
    ours = {"presets": PRESETS, "load": load, "train": train, "evaluate": evaluate_run}
    return exit_code(run_experiment, argv, about=about, evaluate_without_run=evaluate_without_run, **ours)
