"""One function per figure of question 1: tensors and a path in, a file out."""

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.harness.plotting import ACCENT, COLOURS, FAINT, INK, new_figure, plain_axes, save

RECIPES = {"tuned": "tuned recipe, the best settings found", "handout": "handout recipe, the assignment's settings"}


def elbo_curves(
    curves: dict[str, tuple[list[float], list[float]]], path: Path, dataset: str, required: float | None = None
) -> None:
    """Validation ELBO by epoch. curves: preset to (epochs, ELBOs), the first emphasised. required: a level, or None."""
    figure = new_figure(6.4, 4, f"The evidence lower bound of the VAE rises with training\n{dataset}")
    axes = figure.add_subplot(xlabel="epoch", ylabel="ELBO of validation digits (nats per image)")
    for (preset, (epochs, elbos)), colour in zip(curves.items(), (ACCENT, INK)):
        axes.plot(epochs, elbos, marker="o", markersize=3, label=f"{RECIPES[preset]}: {elbos[-1]:.2f}", color=colour)
    if required is not None:
        axes.axhline(required, color=FAINT, linestyle="--", label=f"required by the assignment: {required:g}")
    best = max(max(elbos) for _, elbos in curves.values())
    axes.set_ylim(bottom=best - 30, top=best + 1)  # the first epochs rise from far below, and would flatten the rest
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    plain_axes(axes)
    axes.legend(loc="lower right", frameon=False)
    save(figure, path)


def log_likelihood(curves: list[tuple[str, list[int], list[float]]], path: Path, dataset: str) -> None:
    """log p(x) by the number of importance samples. curves: (run, K, nats), the first emphasised."""
    title = f"More importance samples tighten the bound on log p(x); K = 1 is the ELBO\n{dataset}"
    figure = new_figure(6.4, 4 + 0.2 * len(curves), title)
    axes = figure.add_subplot(xscale="log", xlabel="K, importance samples per image", ylabel="log p(x) of test digits (nats)")
    for place, (name, several, nats) in enumerate(curves):
        label = f"{name}: {nats[-1]:.2f} at K = {several[-1]:,}"
        style: dict[str, Any] = dict(color=COLOURS[place % len(COLOURS)], linewidth=2 if place == 0 else 1.2)
        axes.plot(several, nats, marker="o", markersize=3, label=label, **style)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    plain_axes(axes)
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    save(figure, path)


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
    figure = new_figure(6, 6.4, f"Validation digits (odd rows), their reconstructions (even rows)\nVAE trained on {dataset}")
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
    axes.set(xlabel=f"$z_{{{right}}}$ (prior standard deviations)", ylabel=f"$z_{{{down}}}$ (prior standard deviations)")
    save(figure, path)


def _grid(images: torch.Tensor, columns: int) -> torch.Tensor:
    """(n, 784) images as one picture of n / columns rows, a line of grey between them."""
    tiles = torch.nn.functional.pad(images.cpu().view(-1, columns, 28, 28), (1, 1, 1, 1), value=0.5)
    return tiles.transpose(1, 2).flatten(2).flatten(0, 1)


def _show(axes: Axes, picture: torch.Tensor, **options: Any) -> None:
    axes.imshow(picture.numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", **options)
    axes.set_axis_off()
