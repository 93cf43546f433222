"""One function per figure of question 3: tensors and a path in, a file out, as wide as a page of 1080 pixels."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.harness.plotting import ACCENT, FAINT, INK, new_figure, plain_axes, points, save
from experiments.wgan.explore import Along, Effects
from experiments.wgan.measures import Estimate

WIDTH, DPI = 10.8, 100
PATHS = {  # name, colour, line and shift along alpha of each way between two images
    "latent": ("latents, straight", ACCENT, "-", -0.01),
    "spherical": ("latents, arc", INK, "-", 0.0),
    "data": ("pixels, straight", FAINT, "--", 0.01),
}


def image_grid(images: torch.Tensor, path: Path) -> None:
    """Colour images in a square, nothing else. images: (n, 3, 32, 32) in [-1, 1], shown as far as they fill it."""
    figure, side = Figure(figsize=(6, 6)), int(len(images) ** 0.5)
    _tiles(figure.add_axes((0, 0, 1, 1)), images[: side**2].unflatten(0, (side, side)))
    save(figure, path)


def samples(images: torch.Tensor, real: torch.Tensor | None, path: Path, trained_on: str, dataset: str | None) -> None:
    """Generated images in seven rows, beside them photographs if there are any. Both (7 k, 3, 32, 32)."""
    sets = [(images, f"Generated, the first {len(images)} draws, none chosen\n{trained_on}")]
    if real is not None:
        sets.append((real, f"Unseen photographs, evenly spaced, none chosen\n{dataset}"))
    figure = Figure(figsize=(WIDTH, 6.1), layout="constrained")
    for axes, (shown, title) in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets):
        axes.set_title(title, fontsize=11)
        _tiles(axes, shown.unflatten(0, (7, -1)))
    save(figure, path, dpi=DPI)


def nearest(groups: dict[str, torch.Tensor], path: Path, trained_on: str) -> None:
    """Images above their nearest training images. groups: title to (3, columns, 3, 32, 32)."""
    figure = new_figure(WIDTH, 7.2, f"Is a training image copied? The ten nearest to one by features\n{trained_on}")
    for axes, (title, images) in zip(figure.subplots(len(groups), 1), groups.items()):
        axes.set_title(title, fontsize=10)
        _tiles(axes, images, ("", "nearest by\nfeatures", "nearest by\npixels"))
    save(figure, path, dpi=DPI)


def walks(
    images: torch.Tensor, digits: list, labels: Sequence[str], steps: Sequence[float], path: Path, title: str
) -> None:
    """Moves of latents, one a row, panels side by side. images (panels, rows, steps, 3, 32, 32), digits alike."""
    panels, rows = images.shape[:2]
    figure = new_figure(WIDTH, 0.69 * rows + 0.95, title)
    for axes, panel, read in zip(figure.subplots(1, panels, sharey=True), images, digits):
        _tiles(axes, panel, labels, [f"{step:+.2g}" if step else "0" for step in steps])
        for row, column in itertools.product(range(rows), range(len(steps))):
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
            axes.text(column + 0.07, row + 0.09, read[row][column], fontsize=8, va="top", bbox=box)
    figure.supxlabel(
        f"moved by, at {panels} latents; in the corner the digit that the judge classifier reads", fontsize=10
    )
    save(figure, path, dpi=DPI)


def effects(found: dict[str, tuple[str, str, Effects]], epsilon: float, path: Path, trained_on: str) -> None:
    """How much every move changes the digit and the colour. found: label to symbol, colour and effects of its moves."""
    figure = new_figure(WIDTH, 5, f"What a move by {epsilon:g} changes, and standard errors\n{trained_on}")
    axes = figure.add_subplot(xscale="log")
    axes.set(xlabel="root mean square change of the mean colour", ylabel="share of images that change their digit")
    for label, (symbol, colour, moved) in found.items():
        x, y, errors = moved.colour, moved.digit, (moved.digit_stderr, moved.colour_stderr)
        axes.errorbar(x, y, *errors, fmt="o", label=label, color=colour, elinewidth=0.8, markersize=4)
        for i in {*y.topk(min(9, len(y))).indices.tolist(), *x.topk(min(4, len(x))).indices.tolist()}:
            name = f"${symbol}_{{{i}}}$"
            axes.annotate(name, (x[i], y[i]), (6, 4), textcoords="offset points", color=colour, fontsize=9)
    axes.legend(frameon=False, loc="upper left")
    plain_axes(axes)
    save(figure, path, dpi=DPI)


def digit_shares(sets: dict[str, list[Estimate]], path: Path, dataset: str) -> None:
    """How images spread over the ten digits. sets: label to the share of each digit, the first emphasised."""
    figure = new_figure(WIDTH, 3.6, f"Digits that the judge classifier reads, and standard errors\n{dataset}")
    axes = figure.add_subplot(xlabel="digit", ylabel="share of images")
    for shift, (label, shares), colour in zip((-0.2, 0.2), sets.items(), (ACCENT, FAINT)):
        values, errors = zip(*shares)
        axes.bar([digit + shift for digit in range(10)], values, 0.4, yerr=errors, color=colour, label=label, capsize=2)
    axes.set_xticks(range(10))
    plain_axes(axes)
    axes.legend(frameon=False)
    save(figure, path, dpi=DPI)


def interpolation(images: dict[str, torch.Tensor], alphas: Sequence[float], path: Path, trained_on: str) -> None:
    """Ways between pairs of images, the three of a pair below each other. images: way to (alphas, pairs, 3, 32, 32)."""
    pairs = next(iter(images.values())).shape[1]
    figure = new_figure(WIDTH, 2.75 * pairs + 1, f"From $g(z_1)$ to $g(z_0)$, {pairs} pairs, none chosen\n{trained_on}")
    for pair, axes in enumerate(figure.subplots(pairs, 1)):
        rows = torch.stack([images[name][:, pair] for name in PATHS])
        _tiles(
            axes, rows, [PATHS[name][0].replace(", ", ",\n") for name in PATHS], [f"{alpha:.1f}" for alpha in alphas]
        )
    axes.set_xlabel(r"$\alpha$: $z_1$ at 0, $z_0$ at 1")
    save(figure, path, dpi=DPI)


def along_paths(along: Along, alphas: Sequence[float], z_dim: int, path: Path, trained_on: str) -> None:
    """What each way between two images costs in legibility, and how far from the origin the two in latents run."""
    pairs = along.lengths["latent"].shape[1]
    figure = new_figure(WIDTH, 4, f"Means of {pairs:,} pairs, and standard errors\n{trained_on}")
    left, right = figure.subplots(1, 2)
    for kind, (name, colour, line, shift) in PATHS.items():
        shares, errors = zip(*along.legible[kind])
        places, style = (
            [alpha + shift for alpha in alphas],
            {"linestyle": line, "marker": "o", "markersize": 3, "capsize": 2},
        )
        left.errorbar(places, shares, errors, color=colour, label=name, **style)
    left.set(xlabel=r"$\alpha$", ylabel="legible share", title="Images that show a digit")
    middle, spread = (z_dim - 0.5) ** 0.5, 1.96 * 0.5**0.5  # the length is nearly normal, of variance 1/2
    right.axhspan(
        middle - spread, middle + spread, color=FAINT, alpha=0.3, label="95% of draws from N(0, I)", linewidth=0
    )
    for kind, lengths in along.lengths.items():
        right.plot(alphas, lengths.mean(1), color=PATHS[kind][1], linewidth=2, label=PATHS[kind][0])
    right.set(xlabel=r"$\alpha$", ylabel=r"length $\Vert z \Vert_2$", ylim=(0, None), title="Length of the latents")
    for axes in (left, right):
        axes.legend(loc="lower left", frameon=False)
        plain_axes(axes)
    save(figure, path, dpi=DPI)


def training_curves(logs: dict[str, list[dict]], path: Path, dataset: str) -> None:
    """What was measured at the checkpoints of runs. logs: name to entries of log.jsonl, three are shown."""
    figure = new_figure(WIDTH, 4, f"WGAN-LP on {dataset}, measured on the validation block, and standard errors")
    panels = {"legible": "legible share", "kernel_distance": "KID (x 1000)", "overfitting": "overfitting score $r_v$"}
    for axes, (name, label) in zip(figure.subplots(1, 3), panels.items()):
        for (run, log), colour in zip(logs.items(), (ACCENT, INK, FAINT)):
            steps, values = points(log, "generator_step", name)
            errors = points(log, "generator_step", f"{name}_stderr")[1]
            error = errors if len(errors) == len(values) else None  # records from before it was measured have none
            axes.errorbar(steps, values, error, color=colour, marker="o", markersize=3, elinewidth=0.7, label=run)
        axes.set(xlabel="generator steps", title=label)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        plain_axes(axes)
    figure.axes[1].set(yscale="log", ylim=(1, 500))
    figure.axes[2].set_ylim(-0.1, 0.6)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower left", frameon=False, fontsize=9)
    save(figure, path, dpi=DPI)


def _tiles(axes: Axes, images: torch.Tensor, rows: Sequence[str] = (), columns: Sequence[str] = ()) -> None:
    """Images (rows, columns, 3, 32, 32) in [-1, 1] as one picture, lines of white between them, labelled."""
    tiles = torch.nn.functional.pad(images.detach().cpu() / 2 + 0.5, (1, 1, 1, 1), value=1.0)
    picture = tiles.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (rows * 34, columns * 34, 3)
    axes.imshow(picture.clamp(0, 1).numpy(), interpolation="nearest", extent=(0, images.shape[1], images.shape[0], 0))
    axes.set_xticks([place + 0.5 for place in range(len(columns))], columns)
    axes.set_yticks([place + 0.5 for place in range(len(rows))], rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
