"""How well the ensemble's spread tells the error, for single predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from snapuq.analysis.pointwise import envelope_violation, r_squared
from snapuq.core.design import RowKind
from snapuq.core.pointwise import PointwiseTable

#: Mean |error| / mean std of a calibrated Gaussian, sqrt(2 / pi).
GAUSSIAN_RATIO = float(np.sqrt(2.0 / np.pi))
#: A group that extrapolates in a larger share of its configurations is named.
MOST_EXTRAPOLATE = 0.5
# Rounding must not put the row of largest leverage beyond itself.
_BEYOND = 1.0 + 1.0e-9


@dataclass(frozen=True)
class PointwiseMetrics:
    """Errors and envelope of one kind of rows; error = \\|truth - MLE\\|.

    Everything but the two fields that say so leaves round-off rows out. A figure that cannot be told
    (no row, no spread) is None.

    Parameters
    ----------
    kind : RowKind
        Energies (eV/atom), forces (eV/A) or stresses (eV/A^3).
    group : str or None
        Group of the data set; None for all of them.
    count, n_roundoff : int
        Rows that count, and rows of pure round-off beside them.
    rmse, mae, mean_std : float or None
        Root mean square error, mean error and mean std, in the unit of the kind.
    error_over_std : float or None
        Mean error over mean std; 0.80 for a calibrated Gaussian.
    n_violations : int
        Rows whose truth lies outside the members' minimum and maximum.
    violation, violation_low, violation_high : float or None
        Their share, and its exact 95 % binomial (Clopper-Pearson) interval for independent rows.
    n_violations_all : int
        Violations with the round-off rows.
    violation_all : float or None
        Share of violations with the round-off rows.
    predicted_over_actual : float or None
        Mean predicted error (half the range from minimum to maximum) over mean actual error.
    spearman : float or None
        Rank correlation of predicted and actual error.
    miscalibration_area : float or None
        Area between observed and expected coverage of central Gaussian intervals; 0 is calibrated,
        0.5 the worst.
    within_1std, within_2std : float or None
        Share of errors up to 1 and 2 std; 0.683 and 0.954 for a calibrated Gaussian.
    extrapolates : float or None
        Share of configurations with a row of leverage above 1, that is beyond the training data.
    r_squared : float or None
        1 - variance of (truth - MLE) over variance of the truth: 1 is a perfect fit, 0 no fit at all.
    correlation : float or None
        Pearson's correlation of truth and MLE; negative where data have the wrong sign.
    is_fitted : bool
        Whether the training set holds such rows with a weight.
    """

    kind: RowKind
    group: str | None
    count: int
    n_roundoff: int
    rmse: float | None
    mae: float | None
    mean_std: float | None
    error_over_std: float | None
    n_violations: int
    violation: float | None
    violation_low: float | None
    violation_high: float | None
    n_violations_all: int
    violation_all: float | None
    predicted_over_actual: float | None
    spearman: float | None
    miscalibration_area: float | None
    within_1std: float | None
    within_2std: float | None
    extrapolates: float | None
    r_squared: float | None = None
    correlation: float | None = None
    is_fitted: bool = True


def metrics(table: PointwiseTable) -> tuple[PointwiseMetrics, ...]:
    """Metrics of each kind of rows over all groups.

    Parameters
    ----------
    table : PointwiseTable
        Any rows.

    Returns
    -------
    tuple of PointwiseMetrics
        Energies, forces, stresses; a kind without rows is left out.
    """
    kinds = [kind for kind in RowKind if (table.kind == kind).any()]
    return tuple(_metrics(table.select(table.kind == kind), kind, None) for kind in kinds)


def group_metrics(table: PointwiseTable) -> tuple[PointwiseMetrics, ...]:
    """Metrics of each kind of rows, group by group.

    Parameters
    ----------
    table : PointwiseTable
        Any rows.

    Returns
    -------
    tuple of PointwiseMetrics
        By kind, then by group in alphabetical order.
    """
    names, index = np.unique(table.group, return_inverse=True)
    found = []
    for kind in RowKind:
        is_kind = table.kind == kind
        for number, name in enumerate(names):
            mask = is_kind & (index == number)
            if mask.any():
                found.append(_metrics(table.select(mask), kind, str(name)))
    return tuple(found)


def _metrics(table: PointwiseTable, kind: RowKind, group: str | None) -> PointwiseMetrics:
    misses_all = envelope_violation(table)
    kept = table.select(~table.is_roundoff)
    n, n_misses = len(kept), int(misses_all[~table.is_roundoff].sum())
    error = np.abs(kept.truth - kept.mle)
    half_range = 0.5 * (kept.maximum - kept.minimum)
    coverage = gaussian_coverage(error, kept.std)
    interval = binomial_interval(n_misses, n)
    return PointwiseMetrics(
        kind=kind,
        group=group,
        count=n,
        n_roundoff=int(table.is_roundoff.sum()),
        rmse=float(np.sqrt(np.mean(error**2))) if n else None,
        mae=_mean(error),
        mean_std=_mean(kept.std),
        error_over_std=ratio(_mean(error), _mean(kept.std)),
        n_violations=n_misses,
        violation=ratio(n_misses, n),
        violation_low=interval[0],
        violation_high=interval[1],
        n_violations_all=int(misses_all.sum()),
        violation_all=ratio(int(misses_all.sum()), len(table)),
        predicted_over_actual=ratio(_mean(half_range), _mean(error)),
        spearman=_spearman(half_range, error),
        miscalibration_area=miscalibration_area(coverage),
        within_1std=_mean(error <= kept.std),
        within_2std=_mean(error <= 2.0 * kept.std),
        extrapolates=extrapolating_share(kept),
        r_squared=r_squared(kept),
        correlation=_correlation(kept.truth, kept.mle),
        # Relative to the largest of no training row at all, a leverage is infinite.
        is_fitted=not np.isinf(kept.leverage).any(),
    )


def extrapolating_share(table: PointwiseTable) -> float | None:
    """Share of configurations that lie beyond the training data.

    Parameters
    ----------
    table : PointwiseTable
        Any rows; those of round-off or of unknown leverage tell nothing.

    Returns
    -------
    float or None
        Share of distinct identifiers with a leverage above 1; None when no leverage is known.
    """
    known = ~table.is_roundoff & ~np.isnan(table.leverage)
    beyond = np.unique(table.identifier[known & (table.leverage > _BEYOND)])
    return ratio(len(beyond), len(np.unique(table.identifier[known])))


def extrapolating_groups(table: PointwiseTable) -> tuple[tuple[str, float], ...]:
    """Groups of which most configurations lie beyond the training data.

    Parameters
    ----------
    table : PointwiseTable
        Any rows.

    Returns
    -------
    tuple of (str, float)
        Group and its share of such configurations, by their energies where there are any; in alphabetical
        order.
    """
    # Among hundreds of force rows one is easily a little beyond; the energy speaks for the configuration.
    energies = table.kind == RowKind.ENERGY
    told = table.select(energies) if energies.any() else table
    shares = {str(g): extrapolating_share(told.select(told.group == g)) for g in np.unique(told.group)}
    return tuple((g, s) for g, s in shares.items() if s is not None and s > MOST_EXTRAPOLATE)


def binomial_interval(successes: int, trials: int) -> tuple[float | None, float | None]:
    """Exact 95 % (Clopper-Pearson) interval of a share.

    Parameters
    ----------
    successes, trials : int
        Counts.

    Returns
    -------
    low, high : float or None
        Bounds; None without a trial.

    References
    ----------
    Clopper and Pearson, Biometrika 26, 404 (1934), doi:10.1093/biomet/26.4.404.
    """
    if trials == 0:
        return None, None
    from scipy.stats import binomtest  # here, because it takes long and a finished run does not need it

    interval = binomtest(successes, trials).proportion_ci(0.95, method="exact")
    return float(interval.low), float(interval.high)


def gaussian_coverage(error: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of the smallest central Gaussian interval that holds each error.

    Parameters
    ----------
    error : ndarray, shape (R,)
        Absolute errors.
    std : ndarray, shape (R,)
        Standard deviations; zero is allowed and gives 1, or 0 where the error is zero too.

    Returns
    -------
    ndarray, shape (R,)
        erf(error / (std sqrt 2)), uniform in [0, 1] when calibrated.
    """
    scaled = np.divide(error, std, out=np.where(error > 0, np.inf, 0.0), where=std > 0)
    return np.asarray(erf(scaled / np.sqrt(2.0)))


def miscalibration_area(coverage: NDArray[np.float64]) -> float | None:
    """Area between the observed and the expected coverage curve, integrated exactly.

    Parameters
    ----------
    coverage : ndarray, shape (R,)
        From `gaussian_coverage`.

    Returns
    -------
    float or None
        The integral of \\|F(p) - p\\| over p from 0 to 1, F the share of coverages up to p; None when empty.

    References
    ----------
    Kuleshov et al., ICML 2018, arXiv:1807.00263; Tran et al., Mach. Learn.: Sci. Technol. 1, 025006 (2020),
    doi:10.1088/2632-2153/ab7e1a.
    """
    n = len(coverage)
    if n == 0:
        return None
    # The area is the same along the other axis, where each sorted value is one step from a to b.
    value = np.sort(coverage)
    a, b = np.arange(n) / n, np.arange(1, n + 1) / n
    crossing = 0.5 * ((value - a) ** 2 + (b - value) ** 2)
    beside = (b - a) * np.abs(value - 0.5 * (a + b))
    return float(np.sum(np.where((value > a) & (value < b), crossing, beside)))


def finite(value: float | None) -> float | None:
    """Treat NaN and infinity as a missing number.

    Parameters
    ----------
    value : float or None
        Any number.

    Returns
    -------
    float or None
        The number if it is finite.
    """
    return value if value is not None and math.isfinite(value) else None


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """Divide, unless something is missing.

    Parameters
    ----------
    numerator, denominator : float or None
        Any numbers.

    Returns
    -------
    float or None
        None where a number is missing or the denominator is zero.
    """
    if numerator is None or not denominator:
        return None
    return numerator / denominator


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0 else None


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    # A rank correlation needs two different values on both sides.
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic)
