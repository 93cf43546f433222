"""The figures of question 3: tensors and a path in, a file out, as wide as a page of 1080 pixels."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.ticker import MaxNLocator, NullFormatter

from experiments.harness.plotting import ACCENT, COLOURS, INK, new_figure, plain_axes, points, save

WIDTH, DPI = 10.8, 100
R_V = r"overfitting score $r_v = (E_{train}f - E_{valid}f)\,/\,(E_{train}f - E_{fake}f)$"


def pictures(
    panels: dict,
    path: Path,
    title: str,
    rows: Sequence = (),
    columns: Sequence = (),
    below: str = "",
    digits: Sequence = (),
) -> None:
    """Images in panels, side by side, or stacked if they are wide. panels: title to (rows, columns, 3, 32, 32).

    rows, columns: their labels. digits: by panel, row and column, for the corner of each image.
    """
    height, width = next(iter(panels.values())).shape[:2]
    down, across = (len(panels), 1) if width > 9 else (1, len(panels))
    tile = min((WIDTH - bool(rows) * 1.8) / (across * width), 5.4 / (down * height))
    figure = new_figure(WIDTH, down * (height * tile + 0.3 + 0.3 * bool(columns)) + 0.8, title)
    for k, (axes, (name, images)) in enumerate(zip(figure.subplots(down, across, squeeze=False).flat, panels.items())):
        axes.set_title(name, fontsize=10)
        tiles = torch.nn.functional.pad(images.detach().cpu() / 2 + 0.5, (1, 1, 1, 1), value=1.0)
        picture = tiles.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (rows * 34, columns * 34, 3)
        axes.imshow(picture.clamp(0, 1).numpy(), interpolation="nearest", extent=(0, width, height, 0))
        axes.set_xticks([place + 0.5 for place in range(len(columns))], columns)
        axes.set_yticks([place + 0.5 for place in range(len(rows))], rows if down > 1 or k == 0 else [""] * len(rows))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for row, column in itertools.product(range(height), range(width)) if digits else ():
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
            axes.text(column + 0.07, row + 0.09, digits[k][row][column], fontsize=8, va="top", bbox=box)
    figure.supxlabel(below, fontsize=10)
    save(figure, path, dpi=DPI)


def effects(found: dict, dials: dict[int, str], epsilon: float, path: Path, title: str) -> None:
    """What every move changes. found: set of moves to explore.effects. dials: singular directions to name."""
    figure = new_figure(WIDTH, 5.4, f"What a move by {epsilon:g} changes, and standard errors\n{title}")
    hue = ", ".join(f"$u_{{{i}}}$" for i, change in dials.items() if change == "hue")
    sets = {"axes": "latent dimensions", "random": "random directions, a control"}
    sets["singular"] = f"singular directions{f' (hue: {hue})' if hue else ''}"
    left = ("luminance", "luminance: RMS change of mean grey")
    right = ("digit_of_legible", "share of legible images whose digit changes")
    for axes, (measure, label) in zip(figure.subplots(1, 2), (left, right)):
        axes.set(xlabel="chroma: RMS change of mean colour less its grey", ylabel=label, xscale="log")
        for (kind, name), colour in zip(sets.items(), (INK, COLOURS[2], ACCENT)):
            (x, dx), (y, dy) = ([found[kind][of][key] for key in ("value", "stderr")] for of in ("chroma", measure))
            axes.errorbar(x, y, dy, dx, fmt="o", label=name, color=colour, elinewidth=0.6, markersize=3.5)
        for i in dials:
            axes.annotate(f"$u_{{{i}}}$", (x[i], y[i]), (5, 4), textcoords="offset points", color=ACCENT, fontsize=9)
        plain_axes(axes)
    figure.axes[0].set_yscale("log")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    save(figure, path, dpi=DPI)


def training_curves(logs: dict[str, list[dict]], path: Path, title: str) -> None:
    """What was measured while runs trained. logs: label of the run to entries of log.jsonl."""
    figure = new_figure(WIDTH, 7, f"WGAN-LP trained on {title}: the validation split, and standard errors")
    panels = {"legible": "legible share", "kernel_distance": "KID (x 1000)"}
    panels |= {
        "wasserstein_estimate": "critic's estimate $E_{train}f - E_{fake}f$, each in its own norm",
        "overfitting": R_V,
    }
    for axes, (name, label) in zip(figure.subplots(2, 2).flat, panels.items()):
        for (run, log), colour in zip(logs.items(), COLOURS):
            steps, values = points(log, "generator_step", name)
            errors = points(log, "generator_step", f"{name}_stderr")[1]
            error = errors if len(errors) == len(values) else None  # losses have none, nor have old records
            marker = "" if name == "wasserstein_estimate" else "o"
            axes.errorbar(steps, values, error, color=colour, marker=marker, markersize=3, elinewidth=0.7, label=run)
        axes.set(xlabel="generator steps", title=label)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        plain_axes(axes)
    figure.axes[1].set_yscale("symlog", linthresh=10)  # an unbiased estimate near 0 may be below it
    figure.axes[2].set_yscale("log")
    for axes, ticks in zip(figure.axes[1:3], ((0, 10, 100), (2, 5, 10, 20, 50))):
        axes.set_yticks(ticks, map(str, ticks))
        axes.yaxis.set_minor_formatter(NullFormatter())
    figure.axes[3].set(ylim=(-0.2, 0.6), ylabel="0 if the critic f does not overfit")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", frameon=False, fontsize=9)
    save(figure, path, dpi=DPI)
