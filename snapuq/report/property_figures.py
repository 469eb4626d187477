"""Figures of the property section: one for each family, and a general one for all other properties."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snapuq.analysis.calibration import finite
from snapuq.core.result import PropertyResult, PropertySummary
from snapuq.report.barrier_figure import barrier_drawings
from snapuq.report.family_figures import (
    defect_drawings,
    elastic_drawings,
    phase_drawings,
    surface_drawings,
)
from snapuq.report.figures import Drawing
from snapuq.report.labels import FAMILIES, property_name
from snapuq.report.line_figures import gamma_drawings, path_drawings
from snapuq.report.phonon_figures import phonon_drawings
from snapuq.report.spreads import Spreads
from snapuq.report.style import BLUE, LIGHT, RED, add_legend, new_figure, plain
from snapuq.report.tables import is_curve_point
from snapuq.report.text import decimals, display_unit, fixed
from snapuq.report.volume_figure import volume_drawings

#: Rows of one interval figure.
PANEL_ROWS = 30
# Beyond so many std the axis ends and an arrow stands for the value.
_AXIS_STD = 8.0


@dataclass(frozen=True)
class _Interval:
    """One quantity in units of its std, measured from the MLE; the reference is NaN when unknown."""

    name: str
    value: str
    low: float
    high: float
    mean: float
    reference: float
    inside: bool


def property_drawings(
    summaries: Sequence[PropertySummary], results: Sequence[PropertyResult] = ()
) -> Iterator[Drawing]:
    """Draw all figures of the properties: one for each family, in the order of the paper, and the rest.

    Parameters
    ----------
    summaries : sequence of PropertySummary
        One per quantity, curve points among them.
    results : sequence of PropertyResult
        One per property and member, of which the flagged are marked.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`.
    """
    spreads = Spreads(summaries, results)
    yield from phase_drawings(spreads)
    yield from volume_drawings(summaries, spreads)
    yield from elastic_drawings(spreads)
    yield from path_drawings(summaries, spreads)
    yield from phonon_drawings(summaries, spreads)
    yield from defect_drawings(spreads)
    yield from surface_drawings(spreads)
    yield from gamma_drawings(summaries, spreads)
    yield from barrier_drawings(spreads)
    other = [s for s in summaries if not is_curve_point(s) and property_name(s.label) not in FAMILIES]
    rows = [row for row in map(_interval, other) if row is not None]
    panels = math.ceil(len(rows) / PANEL_ROWS)
    losses = spreads.losses(s.label for s in other)
    for i, part in enumerate(np.array_split(np.arange(len(rows)), panels) if panels else []):
        yield _interval_drawing([rows[k] for k in part], i + 1, panels, losses)


def _interval(s: PropertySummary) -> _Interval | None:
    numbers = (finite(v) for v in (s.mle, s.mean, s.std, s.minimum, s.maximum))
    known = [v for v in numbers if v is not None]
    if len(known) < 5 or known[2] == 0:
        return None
    mle, mean, std, low, high = known
    reference = finite(s.reference)
    places = decimals(std)
    return _Interval(
        name=plain(f"{s.label}: {s.quantity}"),
        value=plain(f"{fixed(mle, places)} ± {fixed(std, places)} {display_unit(s.unit)}"),
        low=(low - mle) / std,
        high=(high - mle) / std,
        mean=(mean - mle) / std,
        reference=math.nan if reference is None else (reference - mle) / std,
        inside=reference is None or bool(s.inside),
    )


def _interval_drawing(rows: Sequence[_Interval], number: int, panels: int, losses: str) -> Drawing:
    figure, axes = new_figure(1.15 + 0.21 * len(rows))
    ax = axes[0, 0]
    y = np.arange(len(rows))
    ax.axvline(0.0, color="black", linewidth=0.9, zorder=1)
    ax.barh(y, [2.0] * len(rows), left=[r.mean - 1.0 for r in rows], height=0.56, color=LIGHT, zorder=2,
            label="members: mean ± std")  # fmt: skip
    ax.hlines(y, [r.low for r in rows], [r.high for r in rows], color=BLUE, linewidth=1.4, zorder=3,
              label="members: minimum to maximum")  # fmt: skip
    reach = np.abs([(r.low, r.high, r.reference) for r in rows])
    limit = min(_AXIS_STD, 0.6 + float(np.nanmax(reach)))
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
    add_legend(figure)
    part = f" ({number} of {panels})" if panels > 1 else ""
    return Drawing(
        f"properties_{number}" if panels > 1 else "properties",
        f"Other properties{part}",
        "Each row is one quantity, measured from the MLE (vertical line) in units of the members' std. A "
        "reference lies inside the envelope (filled circle) or outside (orange diamond; an arrow marks one "
        f"beyond the axis). On the right: MLE ± std. {losses}",
        figure,
    )


def _markers(ax: Any, rows: Sequence[_Interval], y: NDArray[np.int64], limit: float) -> None:
    x = np.array([r.reference for r in rows])
    known = np.isfinite(x)
    inside = np.array([r.inside for r in rows])
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5, "zorder": 4, "linestyle": ""}
    near = known & (np.abs(x) <= limit)
    far = known & ~near
    if (inside & near).any():
        pick = inside & near
        ax.plot(x[pick], y[pick], "o", color="black", markersize=5, label="reference, inside", **edge)
    if (~inside).any():
        pick = ~inside & near
        ax.plot(x[pick], y[pick], "D", color=RED, markersize=5, label="reference, outside", **edge)
    for value, row in zip(x[far], y[far], strict=True):
        sign = 1 if value > 0 else -1
        ax.plot(sign * limit * 0.985, row, ">" if sign > 0 else "<", color=RED, markersize=6, **edge)
        ax.annotate(fixed(value, 0), (sign * limit * 0.95, row), ha="right" if sign > 0 else "left",
                    va="center", fontsize=6.5, color=RED)  # fmt: skip
