"""Panels of rows: one quantity a row, its members as a bar and a line, the MLE and the reference as marks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from snapuq.report.spreads import Spread
from snapuq.report.style import BLUE, LIGHT, ORANGE, RED, new_figure, plain

#: What a value is drawn as: itself, or its difference from the MLE.
ABSOLUTE, DIFFERENCE, PERCENT = "absolute", "difference", "percent"
#: How to read the panels, for captions.
KEY = (
    "Pale bars hold the members from 5 to 95 %, lines run from the smallest to the largest; an arrow marks "
    "one that goes on beyond the axis."
)
KEY_LOG = " Between dotted lines an axis is linear, beyond them logarithmic."
KEY_FLAGGED = " Orange strokes: members that were reconfigured or did not converge, which are counted too."
# Whiskers longer than so many interquartile ranges end in an arrow, and do not set the axis.
_REACH = 5.0
# Where some rows spread so much more than the others, differences are drawn on a logarithmic axis.
_UNEVEN = 6.0
_ROW_HEIGHT, _BAR_HEIGHT = 0.225, 0.125
_LINE_HEIGHT, _REMARK_SIZE = 0.108, 6.2
_EDGE: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5, "linestyle": ""}


@dataclass(frozen=True)
class Column:
    """One panel.

    Parameters
    ----------
    key : str
        Which of a row's values it shows.
    label : str
        Of its axis, with the unit.
    form : {'absolute', 'difference', 'percent'}
        What is drawn.
    scale : float
        Factor on the values of the first two.
    """

    key: str
    label: str
    form: str = ABSOLUTE
    scale: float = 1.0


@dataclass(frozen=True)
class Row:
    """One line of all panels.

    Parameters
    ----------
    name : str
        Beside it.
    spreads : Mapping
        Key of a column to what is drawn; a column without one is left empty.
    remark : str
        At the right of it, may have several lines.
    """

    name: str
    spreads: Mapping[str, Spread]
    remark: str = ""


@dataclass(frozen=True)
class Group:
    """Rows under one heading.

    Parameters
    ----------
    name : str
        The heading; left out where there is one group only.
    rows : tuple of Row
        The rows.
    remark : str
        Beside the heading, or the first row where there is none.
    """

    name: str
    rows: tuple[Row, ...]
    remark: str = ""


def split_groups(groups: Sequence[Group], most: int = 36) -> list[list[Group]]:
    """Spread groups over figures that can be read.

    Parameters
    ----------
    groups : sequence of Group
        All of them.
    most : int
        Rows of a figure, headings included.

    Returns
    -------
    list of list of Group
        One for each figure; a group that is too long for one is continued in the next.
    """
    parts: list[list[Group]] = []
    room = 0
    for group in groups:
        rows = group.rows
        while rows:
            if room < min(len(rows), 3) + 1:
                parts.append([])
                room = most
            taken = rows[: room - 1]
            parts[-1].append(replace(group, rows=taken))
            rows, room = rows[len(taken) :], room - len(taken) - 1
    return parts


def rows_figure(
    groups: Sequence[Group], columns: Sequence[Column], aside: int = 0
) -> tuple[Figure, list[Any]]:
    """Draw rows in panels side by side.

    Parameters
    ----------
    groups : sequence of Group
        What to draw.
    columns : sequence of Column
        One panel each.
    aside : int
        1 to keep an empty panel at the right.

    Returns
    -------
    figure : Figure
        Without a legend; see `add_legend`.
    axes : list of Axes
        One for each column, then the empty one.
    """
    lines = _lines(groups)
    # Inches from the top, so that rows with long remarks are higher and all bars alike.
    heights = [max(_ROW_HEIGHT, _LINE_HEIGHT * len(row.remark.split("\n")) + 0.06) for row in lines]
    ends = np.cumsum(heights)
    places = ends - 0.5 * np.array(heights)
    figure, _ = new_figure(max(1.15 + float(ends[-1]), 2.7 if aside else 0.0))
    figure.clear()
    ratios = [1.0] * len(columns) + [1.15] * aside
    axes: list[Any] = list(figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0])
    for ax, column in zip(axes, columns, strict=False):
        _panel(ax, column, lines, places)
        ax.set_ylim(float(ends[-1]) + 0.05, -0.05)
        ax.set_yticks(places, [])
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(column.label)
    left = axes[0]
    left.set_yticklabels([plain(row.name, 24) for row in lines])
    for text, row in zip(left.get_yticklabels(), lines, strict=True):
        text.set_fontweight("normal" if row.spreads else "bold")
    if any(row.remark for row in lines):
        remarks = axes[len(columns) - 1].secondary_yaxis("right")
        remarks.set_yticks(places, [row.remark for row in lines])
        remarks.tick_params(axis="y", length=0, pad=6, labelsize=_REMARK_SIZE, labelcolor=RED)
        remarks.spines["right"].set_visible(False)
    return figure, axes


def is_uneven(groups: Sequence[Group], columns: Sequence[Column]) -> bool:
    """Tell whether a panel has a logarithmic part.

    Parameters
    ----------
    groups : sequence of Group
        What is drawn.
    columns : sequence of Column
        The panels.

    Returns
    -------
    bool
        True if the caption must say so.
    """
    return any(_threshold(c, _lines(groups)) is not None for c in columns if c.form != ABSOLUTE)


def _lines(groups: Sequence[Group]) -> list[Row]:
    lines: list[Row] = []
    for group in groups:
        if len(groups) > 1:
            lines += [Row(group.name, {}, group.remark), *group.rows]
        else:
            lines += [replace(group.rows[0], remark=group.remark or group.rows[0].remark), *group.rows[1:]]
    return lines


def _transform(column: Column, spread: Spread) -> Callable[[float], float]:
    if column.form == ABSOLUTE:
        return lambda v: v * column.scale
    if column.form == DIFFERENCE:
        return lambda v: (v - spread.mle) * column.scale
    return lambda v: 100.0 * (v - spread.mle) / abs(spread.mle) if spread.mle else math.nan


def _shown(column: Column, rows: Sequence[Row]) -> list[tuple[int, Spread]]:
    """Numbers of a panel's rows with their values as they are drawn."""
    found = []
    for i, row in enumerate(rows):
        spread = row.spreads.get(column.key)
        if spread is None or (column.form != ABSOLUTE and math.isnan(spread.mle)):
            continue
        found.append((i, spread.changed(_transform(column, spread))))
    return found


def _threshold(column: Column, rows: Sequence[Row]) -> float | None:
    """Power of ten up to which an axis of differences is linear; None where all of it is."""
    reach = [max(-s.low, s.high) for _, s in _shown(column, rows) if s.high > s.low]
    if not reach:
        return None
    # The lower one of two, so that a wild row beside a calm one counts as uneven.
    typical = sorted(reach)[(len(reach) - 1) // 2]
    return float(10.0 ** round(math.log10(typical))) if max(reach) >= _UNEVEN * typical else None


def _panel(ax: Any, column: Column, rows: Sequence[Row], places: NDArray[np.float64]) -> None:
    shown = _shown(column, rows)
    for y, row in zip(places, rows, strict=True):
        if row.spreads:
            ax.axhline(y, color="#ECECEC", linewidth=0.6, zorder=0)
    threshold = None if column.form == ABSOLUTE else _threshold(column, rows)
    low, high = _limits([s for _, s in shown], threshold)
    if threshold is not None:
        _logarithmic(ax, threshold, low, high)
    else:
        ax.ticklabel_format(axis="x", useOffset=False)
    ax.set_xlim(low, high)
    if low < 0 < high:
        ax.axvline(0.0, color="#999999", linewidth=0.7, zorder=1)
    for i, spread in shown:
        _draw(ax, float(places[i]), spread, (low, high))


def _limits(spreads: Sequence[Spread], threshold: float | None) -> tuple[float, float]:
    ends: list[float] = []
    is_whole = threshold is not None
    for s in spreads:
        room = math.inf if is_whole or math.isnan(s.q75 - s.q25) else _REACH * (s.q75 - s.q25)
        ends += [s.mle, np.fmax(s.low, s.q25 - room), np.fmin(s.high, s.q75 + room)]
    known = [float(v) for v in ends if math.isfinite(v)]
    if not known:
        return -1.0, 1.0
    low, high = min(known), max(known)
    width = (high - low) or max(abs(high), 1.0) * 1e-3
    near = [s.reference for s in spreads if is_whole or low - width <= s.reference <= high + width]
    low, high = min([low, *near]), max([high, *near])
    if threshold is not None:
        return min(1.7 * low, -1.5 * threshold), max(1.7 * high, 1.5 * threshold)
    pad = 0.06 * ((high - low) or width)
    return low - pad, high + pad


def _logarithmic(ax: Any, threshold: float, low: float, high: float) -> None:
    ax.set_xscale("symlog", linthresh=threshold, linscale=0.8)
    decades = max(1, math.floor(math.log10(max(-low, high, threshold) / threshold) + 1e-9))
    step = -(-decades // 2)
    sizes = [threshold * 10.0**k for k in range(0, decades + 1, step)]
    ticks = sorted([0.0, *sizes, *(-v for v in sizes)])
    ax.set_xticks(ticks, [_tick(v) for v in ticks])
    ax.minorticks_off()
    for v in (-threshold, threshold):
        ax.axvline(v, color="#999999", linewidth=0.7, linestyle=":", zorder=1)


def _tick(value: float) -> str:
    text = f"{abs(value):g}" if abs(value) < 1e4 else f"10$^{{{round(math.log10(abs(value)))}}}$"
    return f"−{text}" if value < 0 else text


def _draw(ax: Any, y: float, s: Spread, limits: tuple[float, float]) -> None:
    low, high = limits
    if math.isfinite(s.q05) and s.q95 > s.q05:
        ax.barh(
            y,
            s.q95 - s.q05,
            left=s.q05,
            height=_BAR_HEIGHT,
            color=LIGHT,
            zorder=2,
            label="members, 5 to 95 %",
        )
    if math.isfinite(s.low) and s.high > s.low:
        ends = np.clip([s.low, s.high], low, high)
        ax.hlines(y, *ends, color=BLUE, linewidth=1.1, zorder=3, label="members, minimum to maximum")
        for beyond, x, arrow in ((s.low < low, low, "<"), (s.high > high, high, ">")):
            if beyond:
                ax.plot(x, y, arrow, color=BLUE, markersize=4.5, clip_on=False, zorder=6)
    flagged = [v for v in s.flagged if low <= v <= high]
    if flagged:
        rug: dict[str, Any] = {"markersize": 4.5, "markeredgewidth": 0.7, "linestyle": "", "zorder": 4}
        ax.plot(flagged, [y] * len(flagged), "|", color=ORANGE, label="member, flagged", **rug)
    if math.isfinite(s.mle):
        mark: dict[str, Any] = {"markersize": 9.5, "markeredgewidth": 1.8, "linestyle": "", "zorder": 5}
        if s.is_mle_flagged:
            ax.plot(s.mle, y, "|", color=ORANGE, label="MLE, flagged", **mark)
        else:
            ax.plot(s.mle, y, "|", color=BLUE, label="MLE", **mark)
    _reference(ax, y, s, limits)


def _reference(ax: Any, y: float, s: Spread, limits: tuple[float, float]) -> None:
    low, high = limits
    if not math.isfinite(s.reference):
        return
    if not low <= s.reference <= high:
        arrow, x = ("<", low) if s.reference < low else (">", high)
        ax.plot(x, y, arrow, color=RED, markersize=6, clip_on=False, zorder=7)
        return
    shape, colour = ("o", "black") if s.is_inside else ("D", RED)
    name = "reference, inside" if s.is_inside else "reference, outside"
    # Hollow where the reference itself is reconfigured or not converged.
    fill: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.1}
    style = {**_EDGE, **fill} if s.is_reference_flagged else _EDGE
    label = name + (" (flagged)" if s.is_reference_flagged else "")
    ax.plot(s.reference, y, shape, color=colour, markersize=4.6, zorder=7, label=label, **style)
