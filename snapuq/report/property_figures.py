"""Figures of the property section: reference values in their envelopes, and energy-volume curves."""

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
from snapuq.report.line_figures import curve_panel, line_drawings
from snapuq.report.phonon_figures import phonon_drawings
from snapuq.report.style import BLUE, LIGHT, RED, new_figure, plain
from snapuq.report.tables import curve_ratio, is_curve_point
from snapuq.report.text import decimals, display_unit, fixed

#: Rows of one interval figure.
PANEL_ROWS = 30
# Beyond so many std the axis ends and an arrow stands for the value.
_AXIS_STD = 8.0
_MILLI = 1.0e3


@dataclass(frozen=True)
class _Interval:
    """One quantity in units of its std, measured from the MLE."""

    name: str
    value: str
    low: float
    high: float
    mean: float
    reference: float
    inside: bool


def property_drawings(summaries: Sequence[PropertySummary]) -> Iterator[Drawing]:
    """Draw all figures of the properties.

    Parameters
    ----------
    summaries : sequence of PropertySummary
        One per quantity, curve points among them.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`.
    """
    own = [s for s in summaries if not is_curve_point(s)]
    rows = [row for row in map(_interval, own) if row is not None]
    panels = math.ceil(len(rows) / PANEL_ROWS)
    for i, part in enumerate(np.array_split(np.arange(len(rows)), panels) if panels else []):
        yield _interval_drawing([rows[k] for k in part], i + 1, panels)
    volumes = [s for s in summaries if curve_ratio(s.quantity) is not None]
    for i, label in enumerate(dict.fromkeys(s.label for s in volumes)):
        drawing = _curve_drawing(label, [s for s in volumes if s.label == label], i + 1)
        if drawing is not None:
            yield drawing
    yield from line_drawings(summaries)
    yield from phonon_drawings(summaries)


def _interval(s: PropertySummary) -> _Interval | None:
    numbers = (finite(v) for v in (s.mle, s.mean, s.std, s.minimum, s.maximum, s.reference))
    known = [v for v in numbers if v is not None]
    if len(known) < 6 or known[2] == 0:
        return None
    mle, mean, std, low, high, reference = known
    places = decimals(std)
    return _Interval(
        name=plain(f"{s.label}: {s.quantity}"),
        value=plain(f"{fixed(mle, places)} ± {fixed(std, places)} {display_unit(s.unit)}"),
        low=(low - mle) / std,
        high=(high - mle) / std,
        mean=(mean - mle) / std,
        reference=(reference - mle) / std,
        inside=bool(s.inside),
    )


def _interval_drawing(rows: Sequence[_Interval], number: int, panels: int) -> Drawing:
    figure, axes = new_figure(1.15 + 0.21 * len(rows))
    ax = axes[0, 0]
    y = np.arange(len(rows))
    ax.axvline(0.0, color="black", linewidth=0.9, zorder=1)
    ax.barh(y, [2.0] * len(rows), left=[r.mean - 1.0 for r in rows], height=0.56, color=LIGHT, zorder=2,
            label="members: mean ± std")  # fmt: skip
    ax.hlines(y, [r.low for r in rows], [r.high for r in rows], color=BLUE, linewidth=1.4, zorder=3,
              label="members: minimum to maximum")  # fmt: skip
    limit = min(_AXIS_STD, 0.6 + max(max(abs(r.low), abs(r.high), abs(r.reference)) for r in rows))
    _markers(ax, rows, y, limit)
    ax.set_xlim(-limit, limit)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_yticks(y, [r.name for r in rows])
    for label, row in zip(ax.get_yticklabels(), rows, strict=True):
        label.set_color("black" if row.inside else RED)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#E6E6E6", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_xlabel("(value − MLE) / std")
    values = ax.secondary_yaxis("right")
    values.set_yticks(y, [r.value for r in rows])
    values.tick_params(axis="y", length=0)
    values.spines["right"].set_visible(False)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4, columnspacing=1.2)
    part = f" ({number} of {panels})" if panels > 1 else ""
    return Drawing(
        f"properties_{number}" if panels > 1 else "properties",
        f"Reference values in their envelopes{part}",
        "Each row is one quantity, measured from the MLE (vertical line) in units of the members' std. The "
        "reference lies inside the envelope (filled circle) or outside (orange diamond; an arrow marks one "
        "beyond the axis). On the right: MLE ± std.",
        figure,
    )


def _markers(ax: Any, rows: Sequence[_Interval], y: NDArray[np.int64], limit: float) -> None:
    x = np.array([r.reference for r in rows])
    inside = np.array([r.inside for r in rows])
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5, "zorder": 4, "linestyle": ""}
    near = np.abs(x) <= limit
    if (inside & near).any():
        pick = inside & near
        ax.plot(x[pick], y[pick], "o", color="black", markersize=5, label="reference, inside", **edge)
    if (~inside).any():
        pick = ~inside & near
        ax.plot(x[pick], y[pick], "D", color=RED, markersize=5, label="reference, outside", **edge)
    for value, row in zip(x[~near], y[~near], strict=True):
        sign = 1 if value > 0 else -1
        ax.plot(sign * limit * 0.985, row, ">" if sign > 0 else "<", color=RED, markersize=6, **edge)
        ax.annotate(fixed(value, 0), (sign * limit * 0.95, row), ha="right" if sign > 0 else "left",
                    va="center", fontsize=6.5, color=RED)  # fmt: skip


def _curve_drawing(label: str, points: Sequence[PropertySummary], number: int) -> Drawing | None:
    found = []
    for point in points:
        numbers = (finite(v) for v in (curve_ratio(point.quantity), point.mle, point.minimum, point.maximum))
        row = [v for v in numbers if v is not None]
        reference_value = finite(point.reference)
        if len(row) == 4:
            found.append([*row, math.nan if reference_value is None else reference_value])
    if len(found) < 2:
        return None
    # The minimum itself, which is zero by definition and no quantity of its own.
    found.append([1.0, 0.0, 0.0, 0.0, math.nan])
    x, mle, low, high, reference = np.array(sorted(found)).T
    figure, axes = new_figure(2.9, 1, 2)
    curve_panel(axes[0, 0], x, 0.0 * mle, mle, low, high, reference, 1.0)
    axes[0, 0].set(xlabel="V / V₀", ylabel="energy above minimum (eV/atom)")
    curve_panel(axes[0, 1], x, mle, mle, low, high, reference, _MILLI)
    axes[0, 1].set(xlabel="V / V₀", ylabel="difference from the MLE (meV/atom)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return Drawing(
        f"curve_{number}",
        f"Energy and volume: {label}",
        "Energy above the minimum, each potential at its own equilibrium volume V₀. The envelope runs from "
        "the members' minimum to their maximum at each volume; the right panel shows it minus the MLE.",
        figure,
    )
