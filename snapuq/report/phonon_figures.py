"""Figures of phonons: the dispersion and the integrated density of states, with the ensemble's band."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snapuq.analysis.calibration import finite
from snapuq.core.result import PropertySummary
from snapuq.report.figures import Drawing
from snapuq.report.labels import crystal_of
from snapuq.report.spreads import Spreads
from snapuq.report.style import BLUE, GREY, LIGHT, RED, new_figure, plain

_BAND = re.compile(r"curve_band_(\d\.\d+)_(.+)_(\d+)")
_DOS = re.compile(r"curve_dos_(\d\.\d+)")
_GREEK = {"GAMMA": "Γ", "DELTA": "Δ", "LAMBDA": "Λ", "SIGMA": "Σ"}
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
# Ticks closer than this share of the path would overlap.
_TICK_GAP = 0.012


@dataclass(frozen=True)
class _Point:
    """One frequency in THz: where it is, and what the potentials say; the reference is NaN when unknown."""

    x: float
    where: str
    branch: int
    mle: float
    low: float
    high: float
    reference: float


def phonon_drawings(summaries: Sequence[PropertySummary], spreads: Spreads) -> Iterator[Drawing]:
    """Draw the phonons of each crystal.

    Parameters
    ----------
    summaries : sequence of PropertySummary
        One per quantity; those of other properties are passed over.
    spreads : Spreads
        The same.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`.
    """
    found: dict[str, list[tuple[PropertySummary, re.Match[str]]]] = {}
    for summary in summaries:
        match = _BAND.fullmatch(summary.quantity) or _DOS.fullmatch(summary.quantity)
        if match is not None:
            found.setdefault(summary.label, []).append((summary, match))
    for i, (label, pairs) in enumerate(found.items()):
        bands = [_point(s, *m.groups()) for s, m in pairs if m.re is _BAND]
        levels = [_point(s, m.group(1), "", "0") for s, m in pairs if m.re is _DOS]
        known = [p for p in bands if p is not None], [p for p in levels if p is not None]
        drawing = _drawing(label, *known, i + 1, spreads.losses([label]))
        if drawing is not None:
            yield drawing


def _point(s: PropertySummary, x: str, where: str, branch: str) -> _Point | None:
    mle, low, high, reference = (finite(v) for v in (s.mle, s.minimum, s.maximum, s.reference))
    if mle is None or low is None or high is None:
        return None
    return _Point(float(x), where, int(branch), mle, low, high, math.nan if reference is None else reference)


def _drawing(
    label: str, bands: list[_Point], levels: list[_Point], number: int, losses: str
) -> Drawing | None:
    if len({p.x for p in bands}) < 2:
        return None
    figure, axes = new_figure(3.4, 1, 2, sharey=True, width_ratios=(3.4, 1.0))
    left, right = axes[0]
    for branch in sorted({p.branch for p in bands}):
        # In the order of the path, in which the summaries come; a sort by x would mix the ends of a jump.
        for piece in _pieces([p for p in bands if p.branch == branch]):
            _curve(left, piece)
    _curve(right, sorted(levels, key=lambda p: p.x))
    if min(p.low for p in [*bands, *levels]) < 0:
        for ax in (left, right):
            ax.axhline(0.0, color=GREY, linewidth=0.7, zorder=1)
    ticks = _ticks(bands)
    for x in ticks:
        left.axvline(x, color="#D0D0D0", linewidth=0.6, zorder=0)
    left.set_xticks(list(ticks), list(ticks.values()))
    left.set(xlim=(0.0, max(p.x for p in bands)), ylabel="frequency (THz)")
    right.set(xlim=(0.0, 1.0), xticks=(0.0, 0.5, 1.0), xlabel="share of modes below")
    shown = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
    figure.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=4)
    return Drawing(
        f"phonon_{number}",
        f"Phonons: {crystal_of(label)}",
        "Left: dispersion, each potential at its own zero-pressure volume; imaginary frequencies are drawn "
        "as negative. The envelope runs from the members' minimum to their maximum of each branch, counted "
        "from the lowest at each wave vector. Right: integrated density of states, the share of all modes "
        f"that lie below a frequency. {losses}",
        figure,
    )


def _pieces(points: Sequence[_Point]) -> Iterator[list[_Point]]:
    """Cut a branch where the path jumps: two special points at one place."""
    piece: list[_Point] = []
    for point in points:
        if piece and point.x <= piece[-1].x:
            yield piece
            piece = []
        piece.append(point)
    yield piece


def _ticks(bands: Sequence[_Point]) -> dict[float, str]:
    names: dict[float, str] = {}
    for point in bands:
        if "-" in point.where:
            continue
        near = next((x for x in names if abs(x - point.x) < _TICK_GAP), point.x)
        name = _symbol(point.where)
        known = names.get(near)
        if known is None:
            names[near] = name
        elif name not in known.split("|"):
            names[near] = f"{known}|{name}"
    return names


def _symbol(name: str) -> str:
    letter, _, index = name.partition("_")
    return plain(_GREEK.get(letter, letter) + index.translate(_SUBSCRIPTS))


def _curve(ax: Any, points: Sequence[_Point]) -> None:
    if not points:
        return
    rows = [(p.x, p.mle, p.low, p.high, p.reference) for p in points]
    x, mle, low, high, reference = np.array(rows).T
    ax.fill_between(x, low, high, color=LIGHT, linewidth=0, label="envelope", zorder=2)
    ax.plot(x, mle, color=BLUE, label="MLE", linewidth=1.1, zorder=3)
    known = np.isfinite(reference)
    inside = known & (reference >= low) & (reference <= high)
    _dots(ax, x, reference, inside, marker="o", color="black", label="reference, inside")
    _dots(ax, x, reference, known & ~inside, marker="D", color=RED, label="reference, outside")


def _dots(
    ax: Any, x: NDArray[np.float64], y: NDArray[np.float64], pick: NDArray[np.bool_], **style: Any
) -> None:
    if pick.any():
        ax.plot(x[pick], y[pick], linestyle="", markersize=2.2, zorder=4, **style)
