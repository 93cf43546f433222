"""One function per figure of questions 1 and 2: tensors and a path in, a file out."""

import functools
import inspect
import io
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.errors import UserError, out_of_memory, reason
from experiments.files import write_atomically

Draw = TypeVar("Draw", bound=Callable[..., None])
INK, ACCENT, FAINT = "#1f2933", "#c2410c", "#9aa5b1"


def drawn(draw: Draw) -> Draw:
    """A function that draws a figure to its `path`, made to say in a line if it cannot: measures are worth more."""

    @functools.wraps(draw)
    def attempt(*arguments: Any, **named: Any) -> None:
        try:
            draw(*arguments, **named)
        except UserError:  # of writing, and that goes for all files
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            path = inspect.signature(draw).bind(*arguments, **named).arguments["path"]
            print(f"WARNING: {path} could not be drawn ({reason(error)})", file=sys.stderr, flush=True)

    return cast(Draw, attempt)


def literal(words: str) -> str:
    """Words for a figure as they are: matplotlib takes what is between two dollar signs for mathematics."""
    return words.replace("$", r"\$")


def points(log: list[dict], x: str, y: str) -> tuple[list[float], list[float]]:
    """The x and y of those entries of a log that hold a finite number for both, two lists."""
    pairs = [(entry.get(x), entry.get(y)) for entry in log]
    kept: list[Any] = [(a, b) for a, b in pairs if all(isinstance(c, (int, float)) and abs(c) < math.inf for c in (a, b))]
    return [pair[0] for pair in kept], [pair[1] for pair in kept]


@drawn
def elbo_curves(
    curves: dict[str, tuple[list[float], list[float]]], path: Path, dataset: str, required: float | None = None
) -> None:
    """Validation ELBO by epoch. curves: name to (epochs, ELBOs), the first emphasised. required: a level, or None."""
    if not curves:
        raise ValueError("log.jsonl holds no epoch that can be read")
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="validation ELBO (nats per image)", title=f"VAE on {dataset}")
    styles: list[dict[str, Any]] = [
        dict(color=ACCENT, linewidth=2),
        dict(color=INK, linewidth=1.5),
        dict(color=FAINT, linewidth=1.5),
    ]
    for (name, (epochs, elbos)), style in zip(curves.items(), styles):
        axes.plot(epochs, elbos, marker="o", markersize=3, label=f"{name}: {elbos[-1]:.2f} at the end", **style)
    if required is not None:
        axes.axhline(required, color=FAINT, linestyle="--", label=f"required: {required:g}")
    best = max(max(elbos) for _, elbos in curves.values())
    axes.set_ylim(bottom=best - 30, top=best + 1)  # the first epochs rise from far below, and would flatten the rest
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    save(figure, path)


@drawn
def log_likelihood(curves: dict[str, tuple[list[int], list[float]]], path: Path, dataset: str) -> None:
    """log p(x) by the number of importance samples. curves: name to (K, nats), the first emphasised."""
    figure = Figure(figsize=(6.4, 4 + 0.2 * len(curves)), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="K, importance samples an image", ylabel="log p(x) (nats per image)")
    axes.set_title(f"Test digits under VAEs on {dataset}: K = 1 is the ELBO")
    styles: Iterator[dict[str, Any]] = itertools.chain(
        [dict(color=ACCENT, linewidth=2)], itertools.cycle(dict(color=INK, linestyle=line) for line in ("-", "--", ":", "-."))
    )
    for (name, (several, nats)), style in zip(curves.items(), styles):
        axes.plot(several, nats, marker="o", markersize=3, label=f"{name}: {nats[-1]:.2f} at K = {several[-1]:,}", **style)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    save(figure, path)


@drawn
def digits(probabilities: torch.Tensor, path: Path, title: str) -> None:
    """Digits in a square, of the data or decoded. probabilities: (n, 784), the mean of each pixel."""
    columns = int(len(probabilities) ** 0.5)
    figure = Figure(figsize=(6, 6.3), layout="constrained")
    figure.suptitle(title, fontsize=11)
    _show(figure.add_subplot(), _grid(probabilities, columns))
    save(figure, path)


@drawn
def reconstructions(originals: torch.Tensor, probabilities: torch.Tensor, path: Path, dataset: str) -> None:
    """Validation digits above what the VAE makes of them. originals, probabilities: (n, 784), n a multiple of 10."""
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    figure.suptitle(
        f"Validation digits (odd rows) and their reconstructions (even rows)\nVAE trained on {dataset}", fontsize=11
    )
    pairs = torch.stack([originals.view(-1, 10, 784), probabilities.view(-1, 10, 784)], dim=1)
    _show(figure.add_subplot(), _grid(pairs.view(-1, 784), 10))
    save(figure, path)


@drawn
def latent_walk(
    probabilities: torch.Tensor, path: Path, dataset: str, dimensions: tuple[int, int], values: list[float]
) -> None:
    """What two latents do to one digit. probabilities: (n, n, 784), the first of `dimensions` varied downwards."""
    half_step = (values[1] - values[0]) / 2
    low, high = values[0] - half_step, values[-1] + half_step
    figure = Figure(figsize=(6, 6.5), layout="constrained")
    figure.suptitle(f"Two of the latents moved, the others held at one digit's code\nVAE trained on {dataset}", fontsize=11)
    axes = figure.add_subplot()
    _show(axes, _grid(probabilities.view(-1, 784), len(values)), extent=(low, high, high, low))
    axes.set_axis_on()
    down, right = dimensions
    axes.set(xlabel=f"$z_{{{right}}}$ (prior standard deviations)", ylabel=f"$z_{{{down}}}$ (prior standard deviations)")
    save(figure, path)


DIVERGENCES = {
    "squared_hellinger": r"squared Hellinger distance $H^2(P, Q)$",
    "wasserstein": r"Wasserstein distance $W_1(P, Q)$",
}


@drawn
def divergence_curve(
    exact: tuple[list[float], list[float]],
    estimates: dict[str, tuple[list[float], list[float]]],
    path: Path,
    divergence: str,
    description: str,
) -> None:
    """A divergence over theta. exact: (thetas, values) on a fine grid. estimates: preset to (thetas, values)."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot(xlabel=r"distance $\theta$", ylabel=DIVERGENCES[divergence], title=description)
    away = [(theta, value) for theta, value in zip(*exact) if theta != 0]
    axes.plot(*zip(*away), color=FAINT, linewidth=5, solid_capstyle="butt", label="exact", zorder=1)
    at_zero = [value for theta, value in zip(*exact) if theta == 0]
    axes.plot([0] * len(at_zero), at_zero, "o", color=FAINT, markersize=10, zorder=1)
    styles: list[dict[str, Any]] = [dict(color=ACCENT, marker="o"), dict(color=INK, marker="s", linestyle=":", linewidth=1)]
    for (preset, (thetas, values)), style in zip(estimates.items(), styles):
        axes.plot(thetas, values, markersize=4, label=f"estimate by critics, {preset}", zorder=2, **style)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    save(figure, path)


def _grid(images: torch.Tensor, columns: int) -> torch.Tensor:
    """(n, 784) images as one picture of n / columns rows, a line of white between them."""
    tiles = torch.nn.functional.pad(images.cpu().view(-1, columns, 28, 28), (1, 1, 1, 1), value=0.5)
    return tiles.transpose(1, 2).flatten(2).flatten(0, 1)


def _show(axes: Axes, picture: torch.Tensor, **options: Any) -> None:
    axes.imshow(picture.numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", **options)
    axes.set_axis_off()


def save(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Write the figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    write_atomically(path, buffer.getvalue())
