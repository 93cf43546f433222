"""One function per figure of question 1: tensors and a path in, a file out."""

from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.harness.plotting import COLOURS, FAINT, new_figure, plain_axes, save

Curve = tuple[list[float], list[float]]  # x and y
Seeds = dict[str, list[Curve]]  # what sets runs apart, to a curve for each seed; the first is emphasised


def elbo_curves(valid: Seeds, train: Seeds, path: Path, dataset: str, required: float | None = None) -> None:
    """ELBO in nats by epoch: all of it, and where the runs end. required: a level, or None."""
    title = "The evidence lower bound of the VAE: validation digits (solid), training batches (dashed)"
    figure = new_figure(9.6, 4 + 0.2 * len(valid), f"{title}\n{dataset}")
    whole, close = figure.subplots(1, 2)
    for axes in (whole, close):
        _curves(axes, train, linestyle="--")
        _curves(axes, valid, where="at epoch")
        axes.set(xlabel="epoch", ylabel="ELBO (nats per image)")
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        if required is not None:
            axes.axhline(required, color=FAINT, linestyle=":", label=f"required by the assignment: {required:g}")
    elbos = [y for curves in (*valid.values(), *train.values()) for _, y in curves]
    close.set_ylim(min(y[-1] for y in elbos) - 3, max(map(max, elbos)) + 1)
    figure.legend(*close.get_legend_handles_labels(), loc="outside lower left", frameon=False, fontsize=8)
    save(figure, path)


def log_likelihood(curves: Seeds, errors: Seeds, path: Path, dataset: str) -> None:
    """log p(x) in nats by the number of importance samples. errors: its standard errors over images."""
    title = "More importance samples tighten the bound on log p(x); K = 1 is the ELBO"
    figure = new_figure(6.4, 4 + 0.2 * len(curves), f"{title}\n{dataset}; bars: standard error over images")
    axes = figure.add_subplot()
    _curves(axes, curves, where="at K =")
    for (name, seeds), colour in zip(curves.items(), cycle(COLOURS)):
        (x, y), (_, stderr) = _common(seeds), _common(errors[name])
        axes.errorbar(x, y.mean(0), stderr.mean(0), fmt="none", ecolor=colour, capsize=3)
    axes.set(xscale="log", xlabel="K, importance samples per image", ylabel="log p(x) of test digits (nats)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    save(figure, path)


def _curves(axes: Axes, runs: Seeds, where: str = "", **style: Any) -> None:
    """For each entry the mean of its seeds and a band of their deviation; the last value in the legend, if `where`."""
    for (name, curves), colour in zip(runs.items(), cycle(COLOURS)):
        if curves:
            x, y = _common(curves)
            deviation = y.std(0, correction=min(1, len(y) - 1))
            seeds = f", mean of {len(y)} seeds (band: deviation {deviation[-1]:.2f})" if len(y) > 1 else ""
            label = f"{name}: {y.mean(0)[-1]:.2f} {where} {x[-1]:g}{seeds}" if where else "_"
            axes.plot(x, y.mean(0), color=colour, marker="o", markersize=3, label=label, **style)
            axes.fill_between(x, y.mean(0) - deviation, y.mean(0) + deviation, color=colour, alpha=0.25, linewidth=0)
    plain_axes(axes)


def _common(curves: list[Curve]) -> tuple[list[float], torch.Tensor]:
    """The x that all curves have, ascending, and each curve's y there, (curves, len(x))."""
    values = [dict(zip(x, y)) for x, y in curves]
    x = sorted(set.intersection(*map(set, values)))
    return x, torch.tensor([[y[at] for at in x] for y in values])


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
    probabilities: torch.Tensor,
    kl: torch.Tensor,
    active: int,
    path: Path,
    dataset: str,
    dimensions: tuple[int, int],
    values: list[float],
) -> None:
    """What two latents do to one digit, and how much each latent carries.

    probabilities: (n, n, 784), the first of `dimensions` varied downwards. kl: (latent_size,), in nats, descending; the
    first `active` of them count as active.
    """
    half_step = (values[1] - values[0]) / 2
    low, high = values[0] - half_step, values[-1] + half_step
    figure = new_figure(10, 5.6, f"VAE trained on {dataset}")
    walk, bars = figure.subplots(1, 2, width_ratios=(5, 4))
    _show(walk, _grid(probabilities.view(-1, 784), len(values)), extent=(low, high, high, low))
    walk.set_axis_on()
    down, right = dimensions
    walk.set(
        title="The two latents that carry most, varied; the others kept",
        xlabel=f"$z_{{{right}}}$ (prior standard deviations)",
        ylabel=f"$z_{{{down}}}$ (prior standard deviations)",
    )
    bars.bar(range(1, len(kl) + 1), kl.tolist(), width=0.8, color=COLOURS[0])
    title = f"{active} of {len(kl)} latents carry {kl[:active].sum().item():.1f} of {kl.sum().item():.1f} nats"
    bars.set(title=title, xlabel="latents, sorted", ylabel="KL(q(z|x) || p(z)) by latent (nats)")
    plain_axes(bars)
    save(figure, path)


def _grid(images: torch.Tensor, columns: int) -> torch.Tensor:
    """(n, 784) images as one picture of n / columns rows, a line of grey between them."""
    tiles = torch.nn.functional.pad(images.cpu().view(-1, columns, 28, 28), (1, 1, 1, 1), value=0.5)
    return tiles.transpose(1, 2).flatten(2).flatten(0, 1)


def _show(axes: Axes, picture: torch.Tensor, **options: Any) -> None:
    axes.imshow(picture.numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", **options)
    axes.set_axis_off()
