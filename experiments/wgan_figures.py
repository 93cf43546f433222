"""One function per figure of question 3: tensors and a path in, a file out."""

import itertools
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.exploration import Dimensions
from experiments.figures import ACCENT, FAINT, INK, drawn, points, save
from experiments.measures import Estimate


@drawn
def image_grid(images: torch.Tensor, path: Path) -> None:
    """Colour images in a square, nothing else. images: (n, 3, 32, 32) in [-1, 1]."""
    figure = Figure(figsize=(6, 6))
    _show_colours(figure.add_axes((0, 0, 1, 1)), _colour_grid(images, int(len(images) ** 0.5)))
    save(figure, path)


@drawn
def samples(images: torch.Tensor, real: torch.Tensor | None, path: Path, trained_on: str, dataset: str | None) -> None:
    """Generated images in seven rows, beside them real ones if there are any; else twice as many fill the width.

    images, real: (n, 3, 32, 32) in [-1, 1], n a multiple of 7.
    """
    sets = [(images, f"Generated: g(z), z ~ N(0, I)\n{trained_on}")]
    if real is not None:
        sets.append((real, f"Real, held out\n{dataset}"))
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    for axes, (shown, title) in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets):
        axes.set_title(title, fontsize=11)
        _show_colours(axes, _colour_grid(shown, len(shown) // 7))
    save(figure, path, dpi=100)


@drawn
def nearest(images: torch.Tensor, neighbours: torch.Tensor, path: Path, trained_on: str) -> None:
    """Generated images above the training images nearest to them. Both (n, 3, 32, 32), n a multiple of 10."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    figure.suptitle(f"Generated (odd rows), the nearest training image below each (even rows)\n{trained_on}", fontsize=11)
    pairs = torch.stack([part.cpu().unflatten(0, (-1, 10)) for part in (images, neighbours)], dim=1)
    _show_colours(figure.add_subplot(), _colour_grid(pairs.flatten(0, 2), 10))
    save(figure, path)


@drawn
def perturbations(
    rows: dict[str, torch.Tensor],
    strongest: dict[str, list[int]],
    steps: list[float],
    moved: Dimensions,
    path: Path,
    trained_on: str,
) -> None:
    """The latent dimensions that change the digit most, those that change the colour most, and how all of them compare.

    rows: kind to images (dimensions, latents, steps, 3, 32, 32), what moving those of `strongest` does to the image of
    each of a few latents. steps: how far.
    """
    figure = Figure(figsize=(9.2, 8.4), layout="constrained")
    figure.suptitle(f"One latent dimension moved, the others held\n{trained_on}", fontsize=11)
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.9, 1))
    names = [dimension for which in strongest.values() for dimension in which]
    left.suptitle(f"upper {len(names) // 2} rows: change the digit most; lower: the colour", fontsize=9)
    images = torch.cat([*rows.values()]).transpose(0, 1)  # by latent first
    for axes, at_one in zip(left.subplots(1, len(images), sharey=True), images):
        _show_colours(axes, _colour_grid(at_one.flatten(0, 1), len(steps)), extent=(0, len(steps), len(names), 0))
        axes.set_axis_on()
        axes.set_xticks([column + 0.5 for column in range(len(steps))], [f"{step:+.2g}" if step else "0" for step in steps])
        axes.set_yticks([row + 0.5 for row in range(len(names))], [f"$z_{{{dimension}}}$" for dimension in names])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    left.supxlabel("moved by, at three latents", fontsize=10)
    chart = right.subplots()
    chart.scatter(moved.colour.cpu(), moved.digit.cpu(), s=14, color=FAINT, label="the other dimensions")
    for (kind, which), colour in zip(strongest.items(), (ACCENT, INK)):
        points = moved.colour[which].tolist(), moved.digit[which].tolist()
        chart.scatter(*points, s=28, color=colour, label=f"change the {kind} most")
    for rank, dimension in enumerate(sorted(set(names), key=lambda dimension: moved.colour[dimension].item())):
        place = (moved.colour[dimension].item(), moved.digit[dimension].item())
        aside = ((9, 0), (0, 8), (-9, 0), (0, -8))[rank % 4]  # so that the names of neighbours do not meet
        chart.annotate(str(dimension), place, aside, textcoords="offset points", ha="center", va="center", fontsize=8)
    chart.set(
        xlabel=f"RMS change of the mean colour\n(moved by {steps[-1]:+.2g})",
        ylabel="share of images that change their digit",
    )
    chart.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    chart.spines[["top", "right"]].set_visible(False)
    save(figure, path, dpi=85)


@drawn
def digit_shares(generated: list[float], real: list[float], path: Path, dataset: str) -> None:
    """How images spread over the ten digits, by the classifier: generated beside real training images."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot(xlabel="digit that the classifier sees", ylabel="share of images", title=dataset)
    for shift, (label, shares, colour) in enumerate((("generated", generated, ACCENT), ("real training images", real, FAINT))):
        axes.bar([digit + 0.4 * shift - 0.2 for digit in range(10)], shares, width=0.4, color=colour, label=label)
    axes.set_xticks(range(10))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save(figure, path)


@drawn
def interpolation(images: torch.Tensor, alphas: list[float], path: Path, title: str, trained_on: str) -> None:
    """Paths between pairs of pictures, one a row. images: (alphas, pairs, 3, 32, 32)."""
    columns, rows = images.shape[:2]
    figure = Figure(figsize=(7, 0.62 * rows + 1.1), layout="constrained")
    figure.suptitle(f"{title}\n{trained_on}", fontsize=11)
    axes = figure.add_subplot()
    _show_colours(axes, _colour_grid(images.transpose(0, 1).flatten(0, 1), columns), extent=(0, columns, rows, 0))
    axes.set_axis_on()
    axes.set_xticks([column + 0.5 for column in range(columns)], [f"{alpha:.1f}" for alpha in alphas])
    axes.set_yticks([])
    axes.set_xlabel(r"$\alpha$")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save(figure, path)


PATHS = {  # name, colour and line of each way between two images
    "latent": ("straight through the latents", ACCENT, "-"),
    "spherical": ("round through the latents", INK, "-"),
    "data": ("straight through the pixels", FAINT, "--"),
}


@drawn
def along_paths(
    legible: dict[str, list[Estimate]],
    norms: dict[str, torch.Tensor],
    alphas: list[float],
    z_dim: int,
    path: Path,
    trained_on: str,
) -> None:
    """What each way between two images costs in legibility, and how far from the origin the two in latents run.

    legible: kind of path to the share at each alpha. norms: "straight" and "arc" to lengths (alphas, pairs).
    """
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    figure.suptitle(trained_on, fontsize=11)
    left, right = figure.subplots(1, 2)
    for kind, (name, colour, line) in PATHS.items():
        shares, errors = zip(*legible[kind])
        left.errorbar(alphas, shares, errors, color=colour, linestyle=line, marker="o", markersize=3, capsize=2, label=name)
    left.set(xlabel=r"$\alpha$", ylabel="legible share", ylim=(0, None), title="Images on the way that show a digit")
    left.legend(loc="lower right", frameon=False)
    middle, spread = (z_dim - 0.5) ** 0.5, 1.96 * 0.5**0.5  # the length is nearly normal, of variance 1/2
    range_of_draws = f"95% of draws from N(0, I) in {z_dim} dimensions"
    right.axhspan(middle - spread, middle + spread, color=FAINT, alpha=0.3, label=range_of_draws, linewidth=0)
    for (name, values), colour in zip(norms.items(), (ACCENT, INK)):
        label = f"{name}, mean of {values.shape[1]} pairs"
        right.plot(alphas, values.mean(1).cpu(), color=colour, linewidth=2, label=label)
    right.set(
        xlabel=r"$\alpha$", ylabel=r"length $\Vert z \Vert_2$", ylim=(0, None), title="Distance of the latents from the origin"
    )
    right.legend(loc="lower right", frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


@drawn
def training_curves(logs: dict[str, list[dict]], path: Path, dataset: str) -> None:
    """How WGAN-LP runs went, by generator step: the critic's estimate, and what was measured at each checkpoint.

    logs: name of a run to the entries of its log.jsonl, the first emphasised; the first three are shown.
    """
    logs = dict(itertools.islice(logs.items(), 3))
    figure = Figure(figsize=(9.5, 6.4), layout="constrained")
    figure.suptitle(f"WGAN-LP on {dataset}", fontsize=11)
    panels = {
        "wasserstein_estimate": "critic's estimate of $W_1$",
        "legible": "legible share of samples",
        "kernel_distance": "kernel distance to validation images",
        "overfitting": "overfitting $r_v$: 0 none, 1 by heart",
    }
    for axes, (name, label) in zip(figure.subplots(2, 2).flat, panels.items()):
        for (run, log), colour in zip(logs.items(), (ACCENT, INK, FAINT)):
            marker = None if name == "wasserstein_estimate" else "o"
            axes.plot(*points(log, "generator_step", name), color=colour, marker=marker, markersize=3, label=run)
        axes.set(xlabel="generator steps", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    later = [points(log[len(log) // 10 :], "generator_step", "wasserstein_estimate")[1] for log in logs.values()]
    estimates = [abs(estimate) for part in later for estimate in part]
    if not estimates:
        raise ValueError("log.jsonl holds no generator step that can be read")
    figure.axes[0].set_ylim(top=1.5 * max(estimates))  # the first steps are far above the rest
    figure.axes[3].set_ylim(-1, 2)  # a quotient, which a critic that sees no difference makes as large as you like
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower left", frameon=False, fontsize=8)
    save(figure, path)


def _colour_grid(images: torch.Tensor, columns: int) -> torch.Tensor:
    """(n, 3, 32, 32) images in [-1, 1] as one picture (height, width, 3) in [0, 1], a line of white between them."""
    tiles = torch.nn.functional.pad(images.detach().cpu() / 2 + 0.5, (1, 1, 1, 1), value=1.0)
    rows = tiles[: len(tiles) // columns * columns].unflatten(0, (-1, columns))  # (rows, columns, 3, 34, 34)
    return rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)


def _show_colours(axes: Axes, picture: torch.Tensor, **options: Any) -> None:
    axes.imshow(picture.clamp(0, 1).numpy(), interpolation="nearest", **options)
    axes.set_axis_off()
