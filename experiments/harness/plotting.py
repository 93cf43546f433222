"""What the figures of all questions share: their own settings, colours, the curve of a log, plain axes, PNG files."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.harness.files import write_atomically

INK, ACCENT, FAINT = "#1f2933", "#c2410c", "#9aa5b1"
COLOURS = (ACCENT, INK, "#2563eb", "#15803d", "#7c3aed", FAINT)  # of curves, the emphasised one first


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Within it, figures have matplotlib's default settings, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def points(log: list[dict], x: str, y: str) -> tuple[list[float], list[float]]:
    """The x and y of those entries of a log that have both, two lists."""
    kept = [entry for entry in log if x in entry and y in entry]
    return [entry[x] for entry in kept], [entry[y] for entry in kept]


def new_figure(width: float, height: float, title: str) -> Figure:
    """A figure of this size in inches under a title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure


def plain_axes(axes: Axes) -> None:
    """Only the lines that are read: no frame at the top and at the right, a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)


def save(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Write the figure as PNG, by Agg whatever backend the environment names."""
    buffer = io.BytesIO()
    figure.set_dpi(dpi)
    FigureCanvasAgg(figure).print_png(buffer)
    write_atomically(path, buffer.getvalue())
