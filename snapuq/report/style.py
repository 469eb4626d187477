"""One look for all figures, and files that come out the same every time."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from snapuq.provenance import atomic_path

# Okabe and Ito's palette, told apart by all common forms of colour vision.
BLUE, ORANGE, RED, GREEN, GREY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#666666"
LIGHT = "#BBD7EA"

#: Width of a two-column figure, inches.
WIDTH = 7.2

#: Light to dark blue, for densities under coloured lines.
DENSITY = LinearSegmentedColormap.from_list("density", ["#E3EEF6", "#8DBCDC", "#2B7BB5", "#08306B"])

_DPI = 200
_LEGEND = (
    "MLE",
    "MLE, flagged",
    "members, 5 to 95 %",
    "members, minimum to maximum",
    "envelope",
    "member, flagged",
    "reference, inside",
    "reference, outside",
)
_LEGEND_LINE = 5
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "lines.linewidth": 1.3,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "snapuq",
    "svg.fonttype": "path",
    "path.simplify": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style of the report, without touching the caller's settings.

    Yields
    ------
    None
        Figures drawn and saved inside share one look.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, NDArray[Any]]:
    """Make a figure of the report's width with a grid of axes.

    Parameters
    ----------
    height : float
        Height, inches.
    rows, columns : int
        Grid.
    **options
        For `Figure.subplots`.

    Returns
    -------
    figure : Figure
        Free of any global state.
    axes : ndarray of Axes, shape (rows, columns)
        The grid.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def add_legend(figure: Figure) -> None:
    """Name every kind of mark once, above the panels.

    Parameters
    ----------
    figure : Figure
        Of labelled axes.
    """
    shown: dict[str, Any] = {}
    for ax in figure.axes:
        for handle, text in zip(*ax.get_legend_handles_labels(), strict=True):
            shown.setdefault(text, handle)
    names = sorted(shown, key=lambda t: _LEGEND.index(t) if t in _LEGEND else len(_LEGEND))
    # More than five long names do not fit into a line.
    columns = len(names) if len(names) <= _LEGEND_LINE else 3
    handles = [shown[name] for name in names]
    figure.legend(handles, names, loc="outside upper center", ncols=columns, columnspacing=1.2)


def save_figure(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as PNG (200 dpi) and SVG, without dates or versions inside.

    Parameters
    ----------
    figure : Figure
        The figure.
    folder : Path
        Where to.
    name : str
        File name without its ending.

    Returns
    -------
    png, svg : Path
        The files.
    """
    paths = folder / f"{name}.png", folder / f"{name}.svg"
    metadata: tuple[dict[str, Any], ...] = {"Software": None}, {"Date": None, "Creator": None}
    for path, fields in zip(paths, metadata, strict=True):
        with atomic_path(path) as temporary, warnings.catch_warnings():
            # A name in a script that the font lacks is drawn as boxes; the tables still spell it.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(temporary, dpi=_DPI, metadata=fields)
    return paths


def plain(text: str, limit: int = 42) -> str:
    """Make text from data safe to draw: one line, no control characters, no math mode.

    Parameters
    ----------
    text : str
        For example a group's name.
    limit : int
        Longest text drawn in full.

    Returns
    -------
    str
        The text for matplotlib.
    """
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(clean) > limit:
        clean = clean[: limit - 1] + "…"
    return clean.replace("$", r"\$")


def density(ax: Any, x: NDArray[np.float64], y: NDArray[np.float64], bins: Any, **options: Any) -> None:
    """Draw points as a two-dimensional histogram with a logarithmic colour scale.

    Parameters
    ----------
    ax : Axes
        Where to.
    x, y : ndarray, shape (R,)
        The points.
    bins : object
        Bins of `numpy.histogram2d`.
    **options
        For `Axes.pcolormesh`.
    """
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=bins)
    shown = np.ma.masked_equal(counts.T, 0)
    norm = matplotlib.colors.LogNorm(1, max(float(counts.max()), 10.0))
    ax.pcolormesh(x_edges, y_edges, shown, cmap=DENSITY, norm=norm, rasterized=True, **options)


def binned(
    x: NDArray[np.float64], values: NDArray[np.float64], edges: NDArray[np.float64], least: int = 10
) -> NDArray[np.float64]:
    """Median of values in bins of another quantity.

    Parameters
    ----------
    x : ndarray, shape (R,)
        Quantity that is binned.
    values : ndarray, shape (R,)
        Quantity whose median is taken.
    edges : ndarray, shape (B + 1,)
        Bin edges.
    least : int
        Fewest points of a bin.

    Returns
    -------
    ndarray, shape (B,)
        Medians; NaN in bins with too few points.
    """
    order = np.argsort(x, kind="stable")
    cuts = np.searchsorted(x[order], edges)
    sorted_values = values[order]
    pairs = itertools.pairwise(cuts)
    return np.array([np.median(sorted_values[a:b]) if b - a >= least else np.nan for a, b in pairs])


def nice_log_limits(low: float, high: float) -> tuple[float, float]:
    """Round limits outward for a logarithmic axis.

    Parameters
    ----------
    low, high : float
        Positive limits.

    Returns
    -------
    low, high : float
        At half-decade steps, at least one decade apart.
    """
    start, end = math.floor(2 * math.log10(low)) / 2, math.ceil(2 * math.log10(high)) / 2
    return 10.0**start, 10.0 ** max(end, start + 1)


def label_log_axis(axis: Any, limits: tuple[float, float]) -> None:
    """Label a logarithmic axis so that labels never run into each other.

    Parameters
    ----------
    axis : Axis
        One axis of logarithmic Axes.
    limits : tuple of float
        Its limits.
    """
    low, high = math.ceil(math.log10(limits[0]) - 1e-9), math.floor(math.log10(limits[1]) + 1e-9)
    if high > low:
        axis.set_minor_formatter(NullFormatter())
        return
    # With one power of ten on the axis, 2 and 5 times a power as well; matplotlib labels all multiples there.
    ticks = [m * 10.0**k for k in range(low - 1, high + 1) for m in (1, 2, 5)]
    shown = [t for t in ticks if limits[0] <= t * (1 + 1e-9) and t <= limits[1] * (1 + 1e-9)]
    axis.set_ticks(shown, [f"{t:g}" for t in shown])
    axis.set_minor_formatter(NullFormatter())
