"""The figures of question 2: a divergence over theta, estimated and exact, and trained critics in the plane."""

from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from experiments.harness.plotting import ACCENT, COLOURS, FAINT, INK, new_figure, plain_axes, save
from model import Critic

ARROW, MARGIN = 0.35, 0.4  # lengths in the plane: of an arrow for a gradient of 1, and of what is shown around P and Q


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


class Panel(NamedTuple):
    """A critic trained at theta; points x of P, y of Q and the negative gradients at y, (n, 2); mean lengths at Q."""

    theta: float
    critic: Critic
    x: np.ndarray
    y: np.ndarray
    steps: np.ndarray
    gradient: float
    slope: float


def critics(rows: dict[str, list[Panel]], path: Path, description: str) -> None:
    """Critics' values as colours, P and Q as points, and arrows of one scale at Q. rows: objective to its panels."""
    title = "Which way each objective moves Q to lower the distance: its negative gradient (arrows)"
    figure = new_figure(9, 0.6 + 3.6 * len(rows), f"{title}\n{description}")
    panels = [(name, panel) for name, of_name in rows.items() for panel in of_name]
    points = np.concatenate([points for _, panel in panels for points in (panel.x, panel.y)])
    across, up = np.linspace(points.min(0) - MARGIN, points.max(0) + MARGIN, 200, dtype=np.float32).T
    grid = torch.from_numpy(np.stack(np.meshgrid(across, up), axis=-1))  # (up, across, 2)
    all_axes = figure.subplots(len(rows), len(next(iter(rows.values()))), squeeze=False, sharex=True, sharey=True)
    for (name, panel), axes in zip(panels, all_axes.flat):
        with torch.no_grad():
            values = panel.critic(grid.view(-1, 2)).view(len(up), len(across)).numpy()
        colours = axes.pcolormesh(across, up, values, cmap="PuOr", alpha=0.6, rasterized=True)
        figure.colorbar(colours, ax=axes, label="critic's value", shrink=0.9)
        for points, colour, label in ((panel.x, INK, "P"), (panel.y, ACCENT, "Q")):
            axes.scatter(*points.T, s=2, color=colour)
            axes.annotate(label, points[points[:, 1].argmax()], (0, 4), textcoords="offset points", color=colour)
        few = panel.y[:, 1].argsort()[len(panel.y) // 16 :: len(panel.y) // 8]
        arrows = axes.quiver(
            *panel.y[few].T, *panel.steps[few].T, angles="xy", scale_units="xy", scale=1 / ARROW, color=ACCENT, zorder=3
        )
        axes.quiverkey(arrows, 0.8, 0.06, 1, "gradient of length 1", labelpos="W", fontproperties={"size": 8})
        length = f"{panel.gradient:.3g}" if panel.gradient >= 1e-4 else "below 0.0001"
        subtitle = f"mean gradient at Q: {length} (critic's slope: {panel.slope:.3g})"
        axes.set_title(f"{name}, $\\theta$ = {panel.theta:g}\n{subtitle}", fontsize=9)
        axes.set(xlabel="first coordinate", ylabel="second coordinate", aspect="equal")
        axes.label_outer()
    save(figure, path)
