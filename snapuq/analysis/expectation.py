"""What cross-validation expected of unseen data, beside what was found on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from snapuq.analysis.calibration import PointwiseMetrics, binomial_interval
from snapuq.core.design import RowKind

# Expectation and finding agree up to this factor, whatever their intervals.
_FACTOR = 2.0


@dataclass(frozen=True)
class Comparison:
    """Expected and found envelope violation and error of one kind of rows.

    Parameters
    ----------
    kind : RowKind
        Energies or forces.
    expected : float or None
        Violation to expect of the run's number of members; None where it is not known.
    expected_interval : tuple of float, or None
        Its 95 % interval; known for the number of members of the calibration only.
    expected_ratio : float or None
        Mean \\|error\\| over mean std to expect.
    found : float or None
        Share of true values outside the envelope.
    found_interval : tuple of float, or None
        Its exact 95 % binomial interval.
    found_ratio : float or None
        Mean \\|error\\| over mean std.
    found_all : float or None
        Violation with the round-off rows, for which there is no expectation.
    found_all_interval : tuple of float, or None
        Its exact 95 % binomial interval.
    agrees : bool or None
        Whether the violations lie within a factor of two, or one within the other's interval.
    ratio_agrees : bool or None
        Whether the ratios lie within a factor of two.
    """

    kind: RowKind
    expected: float | None
    expected_interval: tuple[float, float] | None
    expected_ratio: float | None
    found: float | None
    found_interval: tuple[float, float] | None
    found_ratio: float | None
    found_all: float | None
    found_all_interval: tuple[float, float] | None
    agrees: bool | None
    ratio_agrees: bool | None


def compare(
    calibration: Mapping[str, Any] | None, found: Sequence[PointwiseMetrics], members: int
) -> tuple[Comparison, ...]:
    """Put expectation and finding side by side.

    Parameters
    ----------
    calibration : Mapping or None
        `snapuq.uq.calibrate.Calibration` as plain data; None when nothing was calibrated.
    found : sequence of PointwiseMetrics
        One per kind, over all groups; kinds without an expectation are kept.
    members : int
        Members of the ensemble.

    Returns
    -------
    tuple of Comparison
        Energies, forces, stresses: those that were expected or found.
    """
    metrics = {m.kind: m for m in found}
    expected = {} if calibration is None else calibration
    pairs = [(kind, expected.get(kind.name.lower()), metrics.get(kind)) for kind in RowKind]
    return tuple(
        _compare(kind, e, m, members, members == expected.get("members"))
        for kind, e, m in pairs
        if e is not None or m is not None
    )


def _compare(
    kind: RowKind, expected: Mapping[str, Any] | None, m: PointwiseMetrics | None, members: int, exact: bool
) -> Comparison:
    share = None if expected is None else violation_of(expected["by_members"], members)
    interval = (expected["low"], expected["high"]) if expected is not None and exact else None
    ratio = None if expected is None else expected["ratio"]
    found = found_ratio = found_all = None
    found_interval = all_interval = None
    if m is not None:
        found, found_ratio, found_all = m.violation, m.error_over_std, m.violation_all
        found_interval = _bounds(m.violation_low, m.violation_high)
        all_interval = _bounds(*binomial_interval(m.n_violations_all, m.count + m.n_roundoff))
    return Comparison(
        kind,
        share,
        interval,
        ratio,
        found,
        found_interval,
        found_ratio,
        found_all,
        all_interval,
        _agree(share, interval, found, found_interval),
        _close(ratio, found_ratio) if ratio is not None and found_ratio is not None else None,
    )


def violation_of(by_members: Sequence[Sequence[float]], members: int) -> float | None:
    """Violation to expect of a number of members.

    Parameters
    ----------
    by_members : sequence of (int, float)
        Numbers of members, increasing, and the violation of each.
    members : int
        Any number.

    Returns
    -------
    float or None
        Interpolated in the logarithm of the number; None outside the table.
    """
    numbers, shares = np.array(by_members, dtype=float).T
    if not numbers[0] <= members <= numbers[-1]:
        return None
    return float(np.interp(np.log(members), np.log(numbers), shares))


def _bounds(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _agree(
    expected: float | None,
    expected_interval: tuple[float, float] | None,
    found: float | None,
    found_interval: tuple[float, float] | None,
) -> bool | None:
    if expected is None or found is None:
        return None
    inside = [
        interval is not None and interval[0] <= value <= interval[1]
        for interval, value in ((expected_interval, found), (found_interval, expected))
    ]
    return _close(expected, found) or any(inside)


def _close(a: float, b: float) -> bool:
    return a <= _FACTOR * b and b <= _FACTOR * a
