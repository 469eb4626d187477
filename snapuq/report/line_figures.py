"""Figures of energies along lines: gamma lines and transformation paths, with the ensemble's envelope."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snapuq.analysis.calibration import finite
from snapuq.core.result import PropertySummary
from snapuq.report.figures import Drawing
from snapuq.report.labels import line_name
from snapuq.report.spreads import Spreads
from snapuq.report.style import BLUE, LIGHT, RED, add_legend, new_figure, plain
from snapuq.report.text import display_unit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Family:
    """Lines that are drawn together: how points are named, and where the energy is zero by definition."""

    prefix: str
    name: str
    title: str
    x_label: str
    y_label: str
    zero: float
    caption: str


_GAMMA = _Family(
    "curve_gamma_",
    "gamma_lines",
    "Gamma lines",
    "displacement / length of the line",
    "energy",
    0.0,
    "Energy of the fault along the displacement of one half of the crystal against the other.",
)
_PATH = _Family(
    "curve_path_",
    "paths",
    "Transformation paths",
    "p",
    "energy above bcc",
    1.0,
    "Energy above bcc along transformation paths at the volume of bcc (p = 1), nothing relaxed. "
    "Tetragonal: p = c/a, fcc at √2. Trigonal: simple cubic at 2, fcc at 4. "
    "Orthorhombic: bcc again at √2. Hexagonal: hcp at √2.",
)
_ENVELOPE = " The envelope runs from the members' minimum to their maximum at each point."


def gamma_drawings(summaries: Sequence[PropertySummary], spreads: Spreads) -> Iterator[Drawing]:
    """Draw the gamma lines.

    Parameters
    ----------
    summaries : sequence of PropertySummary
        One per quantity; those of other properties are passed over.
    spreads : Spreads
        The same.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`; one at most.
    """
    yield from _drawings(_GAMMA, summaries, spreads)


def path_drawings(summaries: Sequence[PropertySummary], spreads: Spreads) -> Iterator[Drawing]:
    """Draw the transformation paths.

    Parameters
    ----------
    summaries : sequence of PropertySummary
        One per quantity; those of other properties are passed over.
    spreads : Spreads
        The same.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`; one at most.
    """
    yield from _drawings(_PATH, summaries, spreads)


def _drawings(family: _Family, summaries: Sequence[PropertySummary], spreads: Spreads) -> Iterator[Drawing]:
    lines: dict[str, list[tuple[float, ...]]] = {}
    units = set()
    for summary in summaries:
        point = _point(summary, family.prefix)
        if point is not None:
            lines.setdefault(summary.label, []).append(point)
            units.add(display_unit(summary.unit))
    if lines:
        yield _drawing(family, lines, units.pop(), spreads.losses(lines))


def _point(s: PropertySummary, prefix: str) -> tuple[float, ...] | None:
    if not s.quantity.startswith(prefix):
        return None
    mle, low, high, reference = (finite(v) for v in (s.mle, s.minimum, s.maximum, s.reference))
    if mle is None or low is None or high is None:
        return None
    x = float(s.quantity.removeprefix(prefix))
    return x, mle, low, high, math.nan if reference is None else reference


def _drawing(family: _Family, lines: dict[str, list[tuple[float, ...]]], unit: str, losses: str) -> Drawing:
    rows = math.ceil(len(lines) / 2)
    figure, axes = new_figure(0.5 + 2.3 * rows, rows, 2)
    for ax, (label, points) in zip(axes.flat, lines.items(), strict=False):
        ends = [(family.zero, 0.0, 0.0, 0.0, math.nan)]
        if family.zero == 0.0 and max(points)[0] < 1.0:
            # A line that ends at a lattice vector has no quantity there.
            ends.append((1.0, 0.0, 0.0, 0.0, math.nan))
        x, mle, low, high, reference = np.array(sorted([*points, *ends])).T
        curve_panel(ax, x, 0.0 * mle, mle, low, high, reference, 1.0)
        ax.set_title(plain(line_name(label)), fontsize="medium")
        ax.set(xlabel=family.x_label, ylabel=f"{family.y_label} ({unit})")
    for ax in axes.flat[len(lines) :]:
        ax.set_visible(False)
    add_legend(figure)
    return Drawing(family.name, family.title, f"{family.caption}{_ENVELOPE} {losses}", figure)


def curve_panel(
    ax: Any,
    x: Array,
    origin: Array,
    mle: Array,
    low: Array,
    high: Array,
    reference: Array,
    scale: float,
) -> None:
    """Draw a curve with its envelope and its reference.

    Parameters
    ----------
    ax : Axes
        Where to.
    x : ndarray, shape (n,)
        Where the points are, in increasing order.
    origin : ndarray, shape (n,)
        What is taken off each of the others.
    mle, low, high : ndarray, shape (n,)
        The MLE and the envelope.
    reference : ndarray, shape (n,)
        True values; NaN where unknown.
    scale : float
        Factor on all of them.
    """
    ax.fill_between(
        x, scale * (low - origin), scale * (high - origin), color=LIGHT, linewidth=0, label="envelope"
    )
    ax.plot(x, scale * (mle - origin), color=BLUE, label="MLE")
    known = np.isfinite(reference)
    inside = known & (reference >= low) & (reference <= high)
    y = scale * (reference - origin)
    if inside.any():
        ax.plot(x[inside], y[inside], "o", color="black", markersize=3.5, label="reference, inside")
    if (known & ~inside).any():
        outside = known & ~inside
        ax.plot(x[outside], y[outside], "D", color=RED, markersize=3.5, label="reference, outside")
