"""The posteriors of the package popsregression, 0.4 and 0.5, on a stream of any length.

Both start from Bayesian ridge regression, correct the coefficients point by point and box the corrections of
some points along their principal axes in the coefficients. They differ in which points those are:

===== ========================================== ==========================
rule  points of the box                          correction of point i
===== ========================================== ==========================
0.4   leverage at or above its median            H^-1 x_i e_i / h_i
0.5   residual of at least 0.01 times the rms    H^-1 x_i e_i / max(h_i, 1e-6)
===== ========================================== ==========================

with H = X^T X + lambda / alpha I and h_i = x_i . H^-1 x_i. Where no point qualifies, all are used. There,
rows of weight zero count in the percentile and the rms; here they do not exist.

References
----------
https://github.com/POPS-UQ/popsregression;
Swinburne and Perez, Mach. Learn.: Sci. Technol. 6, 015008 (2025), doi:10.1088/2632-2153/ad9fce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from snapuq.core.design import DesignBlock

from .leastsquares import LeastSquares
from .pops import PUBLISHED_AXIS_CUT, Box, _fixed_signs
from .streaming import DesignStream

Array = NDArray[np.float64]

# Axes whose distribution over the points is gathered at once: N x 64 numbers.
AXES_AT_ONCE = 64
#: Rows of one matrix product: 26 MB at 1,596 columns.
ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class PointRule:
    """Which points a box holds, how they are corrected, and where it ends.

    Parameters
    ----------
    leverage_percentile : float or None
        Points of lower leverage than this percentile are left out.
    minimum_relative_error : float or None
        Points of a smaller residual than this times the root mean square are left out.
    leverage_floor : float
        Smaller leverages are replaced by it in corrections; 0 leaves points without leverage uncorrected.
    axis_cut : float
        Axes whose eigenvalue is at most this fraction of the largest are dropped.
    percentile_clipping : float
        The box reaches from this percentile of the corrections to 100 minus it.
    """

    leverage_percentile: float | None = None
    minimum_relative_error: float | None = None
    leverage_floor: float = 0.0
    axis_cut: float = PUBLISHED_AXIS_CUT
    percentile_clipping: float = 0.0

    def thresholds(self, leverage: Array, residual: Array) -> tuple[float, float]:
        """Least leverage and least absolute residual of the points that enter the box.

        Parameters
        ----------
        leverage : ndarray, shape (N,)
            Leverages of all points.
        residual : ndarray, shape (N,)
            Their weighted residuals.

        Returns
        -------
        leverage : float
            Least leverage.
        residual : float
            Least absolute residual; both are zero when no point qualifies.
        """
        least_leverage = least_residual = 0.0
        if self.leverage_percentile is not None:
            least_leverage = float(np.percentile(leverage, self.leverage_percentile))
        if self.minimum_relative_error is not None:
            least_residual = self.minimum_relative_error * float(np.sqrt(np.mean(residual**2)))
        if not ((leverage >= least_leverage) & (np.abs(residual) >= least_residual)).any():
            return 0.0, 0.0
        return least_leverage, least_residual

    def factors(self, leverage: Array, residual: Array) -> Array:
        """Factor of H^-1 x in the correction of each point.

        Parameters
        ----------
        leverage : ndarray, shape (N,)
            Leverages.
        residual : ndarray, shape (N,)
            Residuals.

        Returns
        -------
        ndarray, shape (N,)
            Residual over leverage.
        """
        if self.leverage_floor > 0:
            return residual / np.maximum(leverage, self.leverage_floor)
        return residual / np.where(leverage > 0, leverage, np.inf)


#: The two releases as they come, by the name of the rule in the configuration file.
POINT_RULES = {
    "popsregression-0.4": PointRule(leverage_percentile=50.0),
    "popsregression-0.5": PointRule(minimum_relative_error=0.01, leverage_floor=1.0e-6),
}


class _Points(Sequence[DesignBlock]):
    """Blocks with the factor of each correction as target, and weight zero where a point is left out."""

    def __init__(self, blocks: Sequence[DesignBlock], labels: Sequence[tuple[Array, Array]]) -> None:
        self._blocks = blocks
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: Any) -> Any:
        factor, weight = self._labels[index]
        return replace(self._blocks[index], target=factor, weight=weight)


def choose_points(stream: DesignStream, fit: LeastSquares, rule: PointRule) -> DesignStream:
    """Label the points of a training set with the factor of their corrections.

    Parameters
    ----------
    stream : DesignStream
        The training set.
    fit : LeastSquares
        Its fit, from `snapuq.uq.bayesian.bayesian_fit`.
    rule : PointRule
        Which points enter.

    Returns
    -------
    DesignStream
        The same rows; weighted targets are the factors of H^-1 x, and points left out have weight zero.
    """
    measured = {i: [_measure(block, fit) for block in stream.chunks[i]] for i in stream.held}
    parts = {i: np.concatenate(of_blocks, axis=1) for i, of_blocks in measured.items()}
    leverage, residual, weight = np.concatenate(
        list(stream.reducer.concatenate(parts, tuple(stream.folds))), axis=1
    )
    counts = weight > 0
    residual *= np.sqrt(weight)
    least_leverage, least_residual = rule.thresholds(leverage[counts], residual[counts])

    def label(h: Array, e: Array, w: Array) -> tuple[Array, Array]:
        enters = (h >= least_leverage) & (np.abs(e) * np.sqrt(w) >= least_residual)
        return rule.factors(h, e), np.where(enters, w, 0.0)

    chunks = {i: _Points(stream.chunks[i], [label(*m) for m in found]) for i, found in measured.items()}
    return replace(stream, chunks=chunks)


def _measure(block: DesignBlock, fit: LeastSquares) -> Array:
    """Leverage with weight, residual without, and weight of every row, shape (3, R)."""
    z = fit.whiten(block.rows)
    leverage = np.einsum("ir,ir->i", z, z) * block.weight
    return np.stack([leverage, block.target - block.rows @ fit.theta, block.weight])


def fit_points(points: DesignStream, fit: LeastSquares, rule: PointRule) -> Box:
    """Box of the corrections of chosen points.

    Parameters
    ----------
    points : DesignStream
        From `choose_points`.
    fit : LeastSquares
        The same fit.
    rule : PointRule
        The same rule.

    Returns
    -------
    Box
        Orthonormal axes in the coefficients, and bounds along them.
    """
    moment, count = second_moment(points, fit)
    values, vectors = np.linalg.eigh(moment)
    keep = values > rule.axis_cut * values[-1]
    axes = _fixed_signs(vectors[:, keep])
    dropped = float(np.clip(values[~keep], 0.0, None).sum() / max(values.sum(), np.finfo(float).tiny))
    # H^-1 V: corrections along the axes are plain products with the rows.
    along = fit.whitener @ (fit.whitener.T @ axes)
    low, high = _bounds(points, along, rule.percentile_clipping)
    return Box(axes, low, high, dropped, count)


def second_moment(points: DesignStream, fit: LeastSquares) -> tuple[Array, int]:
    """Uncentred second moment of the corrections of chosen points.

    Parameters
    ----------
    points : DesignStream
        From `choose_points`.
    fit : LeastSquares
        The same fit.

    Returns
    -------
    moment : ndarray, shape (P, P)
        Sum over the points of the outer product of each correction with itself.
    count : int
        Number of points.
    """

    def update(state: tuple[Array, int] | None, i: int) -> tuple[Array, int]:
        total, count = state or (np.zeros((fit.rank, fit.rank), order="F"), 0)
        for rows, factor in slices(points.chunks[i]):
            z = fit.whiten(rows)
            z *= factor[:, None]
            # The upper triangle is enough, and adding in place saves a matrix.
            total = blas.dsyrk(1.0, z.T, beta=1.0, c=total, overwrite_c=1)
            count += len(rows)
        return total, count

    total, count = points.accumulate(update, lambda a, b: (a[0] + b[0], a[1] + b[1]))
    return _sandwich(fit.whitener, total), count


def _sandwich(left: Array, upper: Array) -> Array:
    """left @ M @ left.T for a symmetric M given by its upper triangle."""
    full = np.triu(upper, 1)
    full += full.T
    np.fill_diagonal(full, np.diag(upper))
    return np.asarray(left @ full @ left.T)


def slices(blocks: Sequence[DesignBlock]) -> Iterator[tuple[Array, Array]]:
    """Weighted rows and targets of a chunk, small blocks together, as large matrix products like them.

    Parameters
    ----------
    blocks : sequence of DesignBlock
        A chunk.

    Yields
    ------
    rows : ndarray, shape (R, P)
        Weighted rows; those of weight zero are left out.
    target : ndarray, shape (R,)
        Weighted targets.
    """
    pending: list[tuple[Array, Array]] = []
    n = 0
    for block in blocks:
        pending.append(block.weighted())
        n += len(pending[-1][1])
        if n >= ROWS_AT_ONCE:
            yield _joined(pending)
            pending, n = [], 0
    if n:
        yield _joined(pending)


def _joined(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([target for _, target in parts])


def _stacked(
    project: Callable[[Sequence[DesignBlock], slice], Iterator[Array]],
    columns: slice,
    blocks: Sequence[DesignBlock],
) -> Array:
    return np.concatenate(list(project(blocks, columns)))


def _bounds(points: DesignStream, along: Array, clipping: float) -> tuple[Array, Array]:
    """Extremes, or percentiles, of the corrections along axes; `along` is H^-1 times the axes."""

    def project(blocks: Sequence[DesignBlock], columns: slice) -> Iterator[Array]:
        yield np.zeros((0, along[:, columns].shape[1]))
        for rows, factor in slices(blocks):
            projected = rows @ along[:, columns]
            projected *= factor[:, None]
            yield projected

    if clipping == 0:

        def extremes(blocks: Sequence[DesignBlock]) -> Array:
            parts = [
                np.array([p.min(axis=0, initial=np.inf), -p.max(axis=0, initial=-np.inf)])
                for p in project(blocks, slice(None))
            ]
            return np.min(parts, axis=0)

        low, minus_high = points.reduce(extremes, np.minimum)
        return low, -minus_high
    bounds = [np.zeros((2, 0))]
    for start in range(0, along.shape[1], AXES_AT_ONCE):
        columns = slice(start, start + AXES_AT_ONCE)
        values = points.concatenate(partial(_stacked, project, columns))
        bounds.append(np.percentile(values, [clipping, 100.0 - clipping], axis=0))
    low, high = np.concatenate(bounds, axis=1)
    return low, high
