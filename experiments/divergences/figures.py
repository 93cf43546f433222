"""The figure of question 2: a divergence over theta, estimated and exact."""

from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure

from experiments.harness.plotting import COLOURS, FAINT, plain_axes, save


def divergence_curve(
    exact: list[tuple[float, float]],
    curves: dict[str, list[tuple[float, float, float]]],
    path: Path,
    title: str,
    description: str,
) -> None:
    """A divergence over theta, and below it how far the estimates are from the exact values.

    exact: (theta, value) on a fine grid with 0 in it; the value there, apart from its neighbours on either side, is
    drawn as a point. curves: label of a run to (theta, estimate, exact value), the first emphasised.
    """
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.set_title(f"{title}\n{description}", fontsize=11)
    sides = ([pair for pair in exact if pair[0] < 0], [pair for pair in exact if pair[0] > 0])
    for label, side in zip(("exact", None), filter(None, reversed(sides))):
        upper.plot(*zip(*side), color=FAINT, linewidth=5, solid_capstyle="butt", label=label, zorder=1)
    upper.plot(0, dict(exact)[0.0], "o", color=FAINT, markersize=10, zorder=1)
    for (label, rows), colour, marker in zip(curves.items(), cycle(COLOURS), cycle("os^vDP")):
        thetas, values, truths = zip(*rows)
        style = dict(color=colour, marker=marker, markersize=4, linestyle="none", zorder=2)
        upper.plot(thetas, values, label=f"estimated by critics, {label}", **style)
        lower.plot(thetas, [value - truth for value, truth in zip(values, truths)], **style)
    lower.axhline(0, color=FAINT)
    upper.set_ylabel("divergence")
    lower.set(xlabel=r"distance $\theta$", ylabel="estimate - exact")
    for axes in (upper, lower):
        plain_axes(axes)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower left", frameon=False, fontsize=8)
    save(figure, path)
