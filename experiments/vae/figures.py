"""One function per figure of question 1: tensors and a path in, a file out."""

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.harness.plotting import COLOURS, FAINT, new_figure, plain_axes, save

Curves = dict[str, tuple[list[float], list[float]]]  # what sets a run apart, to x and y; the first is emphasised


def elbo_curves(curves: Curves, path: Path, dataset: str, required: float | None = None) -> None:
    """Validation ELBO in nats by epoch. required: a level, or None."""
    title = f"The evidence lower bound of the VAE rises with training\n{dataset}"
    figure, axes = _curves(curves, title, "at the end")
    axes.set(xlabel="epoch", ylabel="ELBO of validation digits (nats per image)")
    if required is not None:
        axes.axhline(required, color=FAINT, linestyle="--", label=f"required by the assignment: {required:g}")
    best = max(max(elbos) for _, elbos in curves.values())
    axes.set_ylim(bottom=best - 30, top=best + 1)  # the first epochs rise from far below, and would flatten the rest
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    save(figure, path)


def log_likelihood(curves: Curves, path: Path, dataset: str) -> None:
    """log p(x) in nats by the number of importance samples."""
    title = f"More importance samples tighten the bound on log p(x); K = 1 is the ELBO\n{dataset}"
    figure, axes = _curves(curves, title, "at the largest K")
    axes.set(xscale="log", xlabel="K, importance samples per image", ylabel="log p(x) of test digits (nats)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    save(figure, path)


def _curves(curves: Curves, title: str, where: str) -> tuple[Figure, Axes]:
    """A figure of curves, each with its last value in the legend."""
    figure = new_figure(6.4, 4 + 0.2 * len(curves), title)
    axes = figure.add_subplot()
    for place, (name, (x, y)) in enumerate(curves.items()):
        style: dict[str, Any] = dict(color=COLOURS[place % len(COLOURS)], linewidth=2 if place == 0 else 1.2)
        axes.plot(x, y, marker="o", markersize=3, label=f"{name}: {y[-1]:.1f} {where}", **style)
    plain_axes(axes)
    return figure, axes


def samples(probabilities: torch.Tensor, path: Path, dataset: str) -> None:
    """Digits decoded from the prior, in a square. probabilities: (n, 784), the mean of each pixel."""
    figure = Figure(figsize=(6, 6.3), layout="constrained")
    figure.suptitle(
        f"Pixel means E[x | z] of digits decoded from the prior, z ~ N(0, I)\nVAE trained on {dataset}", fontsize=11
    )
    _show(figure.add_subplot(), _grid(probabilities, int(len(probabilities) ** 0.5)))
    save(figure, path)


def reconstructions(originals: torch.Tensor, probabilities: torch.Tensor, path: Path, dataset: str) -> None:
    """Validation digits above what the VAE makes of them. originals, probabilities: (n, 784), n a multiple of 10."""
    figure = new_figure(
        6, 6.4, f"Validation digits (odd rows), their reconstructions (even rows)\nVAE trained on {dataset}"
    )
    pairs = torch.stack([originals.view(-1, 10, 784), probabilities.view(-1, 10, 784)], dim=1)
    _show(figure.add_subplot(), _grid(pairs.view(-1, 784), 10))
    save(figure, path)


def latent_walk(
    probabilities: torch.Tensor, path: Path, dataset: str, dimensions: tuple[int, int], values: list[float]
) -> None:
    """What two latents do to one digit. probabilities: (n, n, 784), the first of `dimensions` varied downwards."""
    half_step = (values[1] - values[0]) / 2
    low, high = values[0] - half_step, values[-1] + half_step
    figure = new_figure(6, 6.5, f"Two latents of one digit varied, the other 98 kept\nVAE trained on {dataset}")
    axes = figure.add_subplot()
    _show(axes, _grid(probabilities.view(-1, 784), len(values)), extent=(low, high, high, low))
    axes.set_axis_on()
    down, right = dimensions
    axes.set(
        xlabel=f"$z_{{{right}}}$ (prior standard deviations)", ylabel=f"$z_{{{down}}}$ (prior standard deviations)"
    )
    save(figure, path)


def _grid(images: torch.Tensor, columns: int) -> torch.Tensor:
    """(n, 784) images as one picture of n / columns rows, a line of grey between them."""
    tiles = torch.nn.functional.pad(images.cpu().view(-1, columns, 28, 28), (1, 1, 1, 1), value=0.5)
    return tiles.transpose(1, 2).flatten(2).flatten(0, 1)


def _show(axes: Axes, picture: torch.Tensor, **options: Any) -> None:
    axes.imshow(picture.numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", **options)
    axes.set_axis_off()
