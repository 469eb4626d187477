"""Figure of equations of state: energy against volume, with the ensemble's envelope."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from snapuq.analysis.calibration import finite
from snapuq.core.result import PropertySummary
from snapuq.report.figures import Drawing
from snapuq.report.labels import crystal_of
from snapuq.report.line_figures import curve_panel
from snapuq.report.spreads import Spreads
from snapuq.report.style import add_legend, new_figure, plain
from snapuq.report.tables import curve_ratio
from snapuq.report.text import decimals, display_unit, fixed

_MILLI = 1.0e3
# What is written above a panel.
_SYMBOLS = {"volume": "V₀", "bulk_modulus": "B₀", "bulk_modulus_derivative": "B₀′"}


def volume_drawings(summaries: Sequence[PropertySummary], spreads: Spreads) -> Iterator[Drawing]:
    """Draw the energy-volume curve of each crystal.

    Parameters
    ----------
    summaries : sequence of PropertySummary
        One per quantity; those of other properties are passed over.
    spreads : Spreads
        The same.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`; none without a curve.
    """
    found: dict[str, list[PropertySummary]] = {}
    for summary in summaries:
        if curve_ratio(summary.quantity) is not None:
            found.setdefault(summary.label, []).append(summary)
    curves = {label: curve for label, own in found.items() if (curve := _curve(own)) is not None}
    if not curves:
        return
    figure, axes = new_figure(0.45 + 2.35 * len(curves), len(curves), 2)
    for (left, right), (label, curve) in zip(axes, curves.items(), strict=True):
        x, mle, low, high, reference = curve
        curve_panel(left, x, 0.0 * mle, mle, low, high, reference, 1.0)
        left.set(xlabel="V / V₀", ylabel="energy (eV/atom)")
        left.set_title(plain(crystal_of(label)), loc="left", fontsize="medium")
        curve_panel(right, x, mle, mle, low, high, reference, _MILLI)
        right.set(xlabel="V / V₀", ylabel="difference from\nMLE (meV/atom)")
        right.set_title(_constants([s for s in summaries if s.label == label]), loc="right", fontsize=7.0)
    add_legend(figure)
    yield Drawing(
        "equations_of_state",
        "Equations of state" if len(curves) > 1 else f"Equation of state: {crystal_of(next(iter(curves)))}",
        "Energy above the minimum, each potential at its own equilibrium volume V₀; right: the same as a "
        "difference from the MLE. The envelope runs from the members' minimum to their maximum at each "
        f"volume. Above: MLE ± std of volume, bulk modulus and its derivative. {spreads.losses(curves)}",
        figure,
    )


def _curve(points: Sequence[PropertySummary]) -> NDArray[np.float64] | None:
    """Ratio, MLE, minimum, maximum and reference, shape (5, n)."""
    found = []
    for point in points:
        numbers = (finite(v) for v in (curve_ratio(point.quantity), point.mle, point.minimum, point.maximum))
        row = [v for v in numbers if v is not None]
        reference = finite(point.reference)
        if len(row) == 4:
            found.append([*row, math.nan if reference is None else reference])
    if len(found) < 2:
        return None
    # The minimum itself, which is zero by definition and no quantity of its own.
    found.append([1.0, 0.0, 0.0, 0.0, math.nan])
    return np.array(sorted(found)).T


def _constants(summaries: Sequence[PropertySummary]) -> str:
    told = []
    for s in summaries:
        if s.quantity in _SYMBOLS and finite(s.mle) is not None:
            places = decimals(s.std, s.mle)
            value = f"{fixed(s.mle, places)} ± {fixed(s.std, places)} {display_unit(s.unit)}".rstrip()
            told.append(f"{_SYMBOLS[s.quantity]} = {value}")
    return plain(", ".join(told), 90)
