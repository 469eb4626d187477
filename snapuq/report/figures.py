"""Figures of the pointwise section: errors, envelopes and what the spread tells about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import norm

from snapuq.analysis.calibration import PointwiseMetrics, group_metrics, metrics
from snapuq.core.design import RowKind
from snapuq.core.pointwise import PointwiseTable
from snapuq.report.style import (
    BLUE,
    GREY,
    LIGHT,
    RED,
    WIDTH,
    binned,
    density,
    label_log_axis,
    new_figure,
    nice_log_limits,
    plain,
)
from snapuq.report.text import KINDS, display_unit, percent

# Up to so many rows, each is drawn with its own bar; beyond, their density is.
_FEW_ROWS = 400
# Rows that the smooth curve of the pooled ensemble is averaged over.
_CURVE_ROWS = 20_000
_MOST_GROUPS = 40


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure with its words.

    Parameters
    ----------
    name : str
        File name without its ending.
    title : str
        Heading.
    caption : str
        What it shows and how to read it.
    figure : Figure
        The figure.
    """

    name: str
    title: str
    caption: str
    figure: Figure


def pointwise_drawings(table: PointwiseTable) -> Iterator[Drawing]:
    """Draw all figures of a table; round-off rows are left out.

    Parameters
    ----------
    table : PointwiseTable
        Any number of rows.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`.
    """
    kept = table.select(~table.is_roundoff)
    parts = {kind: _display(kept, kind) for kind in RowKind if (kept.kind == kind).any()}
    if not parts:
        return
    for kind, part in parts.items():
        yield error_distribution(part, kind)
    for kind, part in parts.items():
        yield parity(part, kind)
    yield predicted_errors(parts)
    yield group_violations(metrics(table), group_metrics(table))


def _display(table: PointwiseTable, kind: RowKind) -> PointwiseTable:
    part, scale = table.select(table.kind == kind), KINDS[kind].scale
    names = ("truth", "mle", "mean", "std", "minimum", "maximum")
    return replace(part, **{name: getattr(part, name) * scale for name in names})


def error_distribution(part: PointwiseTable, kind: RowKind) -> Drawing:
    """Draw the distribution of errors against the ensemble's deviations.

    Parameters
    ----------
    part : PointwiseTable
        Rows of one kind in the unit shown.
    kind : RowKind
        Which kind.

    Returns
    -------
    Drawing
        Three panels: pooled, scaled by the std, error against std.
    """
    style = KINDS[kind]
    figure, axes = new_figure(2.6, 1, 3)
    _pooled_panel(axes[0, 0], part, style.unit)
    beyond = _scaled_panel(axes[0, 1], part)
    _reliability_panel(axes[0, 2], part, style.unit)
    return Drawing(
        f"error_distribution_{kind.name.lower()}",
        f"{style.name}: error and ensemble deviation",
        "Left: errors of the MLE, and the members' deviations from the MLE pooled over all values (each "
        "value's members taken as a Gaussian of their mean and std). Middle: each error over its own std, "
        f"against a standard normal ({percent(beyond)} lie beyond ±6). Right: error against std, value by "
        "value; on the dashed line the root mean square error of a bin of values (dots) equals their std.",
        figure,
    )


def _pooled_panel(ax: Any, part: PointwiseTable, unit: str) -> None:
    error, shift = part.truth - part.mle, part.mean - part.mle
    spread = np.abs(shift) + 2.0 * part.std
    limit = max(np.quantile(np.abs(error), 0.998), np.quantile(spread, 0.99)) or 1.0
    edges = np.linspace(-limit, limit, _bins(error) + 1)
    step = edges[1] - edges[0]
    counts, _ = np.histogram(error, edges)
    ax.stairs(counts / (len(error) * step), edges, fill=True, color=LIGHT, label="truth − MLE")
    pick = np.unique(np.linspace(0, len(error) - 1, _CURVE_ROWS).astype(np.int64))
    # A spread far below the bin width would make a spike that no bin can show.
    width = np.maximum(part.std[pick], 0.5 * step)[:, None]
    x = np.linspace(-limit, limit, 161)
    curve = norm.pdf((x - shift[pick, None]) / width) / width
    pooled = curve.mean(axis=0)
    ax.plot(x, pooled, color=RED, label="member − MLE")
    top = max(float(pooled.max()), float(counts.max()) / (len(error) * step))
    ax.set(yscale="log", xlim=(-limit, limit), ylim=(top * 3e-5, top * 2))
    ax.set(xlabel=f"deviation from the MLE ({unit})", ylabel=f"density (per {unit})")
    _legend_above(ax)


def _scaled_panel(ax: Any, part: PointwiseTable) -> float:
    has_spread = part.std > 0
    scaled = (part.truth - part.mle)[has_spread] / part.std[has_spread]
    edges = np.linspace(-6, 6, _bins(scaled) + 1)
    counts, _ = np.histogram(scaled, edges)
    ax.stairs(
        counts / (len(part) * (edges[1] - edges[0])), edges, fill=True, color=LIGHT, label="error / std"
    )
    x = np.linspace(-6, 6, 241)
    ax.plot(x, norm.pdf(x), color="black", label="normal")
    ax.set(yscale="log", xlim=(-6, 6), ylim=(2e-5, 2), xticks=range(-6, 7, 2))
    ax.set(xlabel="(truth − MLE) / std", ylabel="density")
    _legend_above(ax)
    return 1.0 - float(np.sum(np.abs(scaled) <= 6)) / len(part)


def _bins(values: NDArray[np.float64]) -> int:
    # An even number, so that zero is an edge and the histogram shows a bias.
    return 2 * min(30, max(5, int(len(values) ** 0.5)))


def _legend_above(ax: Any) -> None:
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.0, borderaxespad=0.2)


def _reliability_panel(ax: Any, part: PointwiseTable, unit: str) -> None:
    error = np.abs(part.truth - part.mle)
    found = (part.std > 0) & (error > 0)
    if not found.any():
        _say(ax, "no value with a spread")
        return
    std, error = part.std[found], error[found]
    x_limits, y_limits = _log_range(std), _log_range(error)
    _points(ax, std, error, x_limits, y_limits)
    low, high = max(x_limits[0], y_limits[0]), min(x_limits[1], y_limits[1])
    ax.plot([low, high], [low, high], color="black", linestyle="--", linewidth=1.0)
    bins = min(12, max(1, len(std) // 20))
    groups = np.array_split(np.argsort(std, kind="stable"), bins)
    centre = [float(np.sqrt(np.mean(std[g] ** 2))) for g in groups]
    rms = [float(np.sqrt(np.mean(error[g] ** 2))) for g in groups]
    ax.plot(centre, rms, "o", color=RED, markersize=3.5, markeredgecolor="white", markeredgewidth=0.5)
    ax.set(xlabel=f"std ({unit})", ylabel=f"|truth − MLE| ({unit})")


def parity(part: PointwiseTable, kind: RowKind) -> Drawing:
    """Draw prediction against truth, and the residual with its envelope.

    Parameters
    ----------
    part : PointwiseTable
        Rows of one kind in the unit shown.
    kind : RowKind
        Which kind.

    Returns
    -------
    Drawing
        Parity and residual panels.
    """
    style = KINDS[kind]
    # Absolute energies are read in eV, their differences in meV.
    unit, factor = display_unit(style.csv_unit), style.csv_scale / style.scale
    figure, axes = new_figure(3.0, 1, 2, width_ratios=[1.0, 1.25])
    few = len(part) <= _FEW_ROWS
    _parity_panel(axes[0, 0], part, factor, few)
    axes[0, 0].set(xlabel=f"true {style.symbol} ({unit})", ylabel=f"predicted {style.symbol} ({unit})")
    hidden = _residual_panel(axes[0, 1], part, factor, few)
    axes[0, 1].set(xlabel=f"true {style.symbol} ({unit})", ylabel=f"deviation from the MLE ({style.unit})")
    figure.legend(
        *axes[0, 1].get_legend_handles_labels(), loc="outside upper right", ncols=4, columnspacing=1.2
    )
    band = (
        "bars run from the members' minimum to their maximum"
        if few
        else "the orange lines are the typical (median) minimum and maximum of the members at that true value"
    )
    note = f" {hidden:,} of {len(part):,} values lie beyond the axis." if hidden else ""
    return Drawing(
        f"parity_{kind.name.lower()}",
        f"{style.name}: prediction and truth",
        f"Left: the MLE's prediction against the truth. Right: the difference, which the left panel is too "
        f"coarse to show; {band}.{note}",
        figure,
    )


def _parity_panel(ax: Any, part: PointwiseTable, factor: float, few: bool) -> None:
    truth, mle = factor * part.truth, factor * part.mle
    values = np.concatenate([truth, mle])
    low, high = _padded(float(values.min()), float(values.max()))
    if few:
        bars = factor * np.abs(np.array([part.mle - part.minimum, part.maximum - part.mle]))
        ax.errorbar(truth, mle, bars, fmt="none", ecolor=LIGHT, elinewidth=1.0)
        ax.plot(truth, mle, ".", color=BLUE, markersize=4)
    else:
        edges = np.linspace(low, high, 141)
        density(ax, truth, mle, [edges, edges])
    ax.locator_params(nbins=5)
    ax.plot([low, high], [low, high], color="black", linestyle="--", linewidth=0.9)
    ax.set(xlim=(low, high), ylim=(low, high), box_aspect=1)


def _residual_panel(ax: Any, part: PointwiseTable, factor: float, few: bool) -> int:
    x, error = factor * part.truth, part.truth - part.mle
    low, high = part.minimum - part.mle, part.maximum - part.mle
    x_limits = _padded(float(x.min()), float(x.max()))
    reach = np.concatenate([np.abs(low), np.abs(high)])
    share = (1.0, 1.0) if few else (0.998, 0.9)
    limit = (
        1.15 * max(float(np.quantile(np.abs(error), share[0])), float(np.quantile(reach, share[1]))) or 1.0
    )
    if few:
        inside = (error >= low) & (error <= high)
        ax.vlines(x, low, high, color=LIGHT, linewidth=1.2, label="members")
        ax.plot(x[inside], error[inside], ".", color=BLUE, markersize=4, label="truth, inside")
        ax.plot(x[~inside], error[~inside], "D", color=RED, markersize=3, label="truth, outside")
    else:
        density(ax, x, error, [np.linspace(*x_limits, 141), np.linspace(-limit, limit, 101)])
        edges = np.linspace(*x_limits, 41)
        lower, upper = binned(x, low, edges), binned(x, high, edges)
        ax.stairs(upper, edges, baseline=None, color=RED, linewidth=1.2, label="members: minimum and maximum")
        ax.stairs(lower, edges, baseline=None, color=RED, linewidth=1.2)
    ax.axhline(0.0, color="black", linestyle="--", linewidth=0.9, label="MLE")
    ax.set(xlim=x_limits, ylim=(-limit, limit))
    return int((np.abs(error) > limit).sum())


def predicted_errors(parts: dict[RowKind, PointwiseTable]) -> Drawing:
    """Draw predicted against actual errors, one panel per kind.

    Parameters
    ----------
    parts : dict
        Kind to its rows, in the unit shown.

    Returns
    -------
    Drawing
        Log-log densities with the line of equality and the median.
    """
    figure, axes = new_figure(WIDTH / max(len(parts), 2) * 0.92, 1, max(len(parts), 2))
    for ax in axes[0, len(parts) :]:
        ax.set_axis_off()
    for ax, (kind, part) in zip(axes[0], parts.items(), strict=False):
        style = KINDS[kind]
        predicted, actual = 0.5 * (part.maximum - part.minimum), np.abs(part.truth - part.mle)
        found = (predicted > 0) & (actual > 0)
        ax.set_title(style.name)
        if not found.any():
            _say(ax, "no value with a spread")
            continue
        x, y = predicted[found], actual[found]
        x_limits, y_limits = _log_range(x), _log_range(y)
        _points(ax, x, y, x_limits, y_limits)
        low, high = max(x_limits[0], y_limits[0]), min(x_limits[1], y_limits[1])
        ax.plot([low, high], [low, high], color="black", linestyle="--", linewidth=1.0)
        edges = np.geomspace(*x_limits, 25)
        ax.stairs(binned(x, y, edges), edges, baseline=None, color=RED, linewidth=1.3)
        ax.set(xlabel=f"predicted: half range ({style.unit})", ylabel=f"actual: |truth − MLE| ({style.unit})")
    return Drawing(
        "predicted_errors",
        "Predicted and actual error",
        "Half the range from the members' minimum to their maximum against the actual error. Values above "
        "the dashed line have a larger error than predicted; the orange line is the median error at each "
        "predicted error, and rises when the spread tells good values from bad ones.",
        figure,
    )


def group_violations(overall: Sequence[PointwiseMetrics], groups: Sequence[PointwiseMetrics]) -> Drawing:
    """Draw the share of violations per group with its binomial interval.

    Parameters
    ----------
    overall : sequence of PointwiseMetrics
        One per kind.
    groups : sequence of PointwiseMetrics
        One per kind and group.

    Returns
    -------
    Drawing
        One panel per kind, groups as rows.
    """
    kinds = [m for m in overall if m.count]
    counted = [m for m in groups if m.count and m.group is not None]
    worst: dict[str, float] = {}
    for m in counted:
        worst[str(m.group)] = max(worst.get(str(m.group), 0.0), m.violation or 0.0)
    shown = sorted(sorted(worst, key=lambda g: -worst[g])[:_MOST_GROUPS])
    figure, axes = new_figure(0.9 + 0.19 * max(len(shown), 3), 1, max(len(kinds), 1), sharey=True)
    place = {group: i for i, group in enumerate(shown)}
    for ax, whole in zip(axes[0], kinds, strict=True):
        rows = [m for m in counted if m.kind == whole.kind and m.group in place]
        y = np.array([place[str(m.group)] for m in rows])
        share, low, high = (
            100.0 * np.array([[m.violation, m.violation_low, m.violation_high] for m in rows]).T
        )
        ax.barh(y, share, height=0.62, color=LIGHT)
        ax.hlines(y, low, high, color=BLUE, linewidth=1.2)
        ax.plot(share, y, "o", color=BLUE, markersize=3, clip_on=False)
        ax.axvline(100.0 * (whole.violation or 0.0), color=RED, linestyle="--", linewidth=1.0)
        ax.set(
            xlim=(0, _violation_limit(share, high)),
            xlabel="outside the envelope (%)",
            title=KINDS[whole.kind].name,
        )
        margin: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        for m, row in zip(rows, y, strict=True):
            ax.annotate(f"{m.count:,}", (1.0, row), (3, 0), va="center", fontsize=6.5, color=GREY, **margin)
    axes[0, 0].set_yticks(range(len(shown)), [plain(g, 30) for g in shown])
    axes[0, 0].set_ylim(len(shown) - 0.4, -0.6)
    more = (
        f" The {len(shown)} groups with the largest share, of {len(worst)}."
        if len(worst) > len(shown)
        else ""
    )
    return Drawing(
        "group_violations",
        "Envelope violation, group by group",
        "Share of true values outside the members' minimum and maximum, with its exact 95 % binomial "
        "interval for independent values; dashed: all groups together; grey: how many values (the interval "
        f"of a few values may run off the axis).{more}",
        figure,
    )


def _violation_limit(share: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    # Wide intervals of tiny groups must not squeeze everything else.
    return min(max(1.35 * float(share.max()), 1.6 * float(np.median(high)), 0.5), 100.0)


def _points(ax: Any, x: Any, y: Any, x_limits: tuple[float, float], y_limits: tuple[float, float]) -> None:
    if len(x) <= _FEW_ROWS:
        ax.plot(x, y, ".", color=BLUE, markersize=3.5, alpha=0.7)
    else:
        density(ax, x, y, [np.geomspace(*x_limits, 91), np.geomspace(*y_limits, 91)])
    ax.set(xscale="log", yscale="log", xlim=x_limits, ylim=y_limits)
    for axis, limits in ((ax.xaxis, x_limits), (ax.yaxis, y_limits)):
        label_log_axis(axis, limits)


def _log_range(values: NDArray[np.float64]) -> tuple[float, float]:
    # The lowest half per cent of errors are accidents of a sign change and would fill the axis.
    return nice_log_limits(float(np.quantile(values, 0.005)), float(values.max()))


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = 0.03 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def _say(ax: Any, text: str) -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)
    ax.set(xticks=[], yticks=[])
