"""Weighted least squares on a stream of design blocks: one pass of blockwise QR, O(P^2) memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack, svd

from snapuq.core.design import DesignBlock
from snapuq.errors import InputError

from .streaming import DesignStream, batches

Array = NDArray[np.float64]

# Singular values of the column-scaled design below this fraction of the largest are round-off: real sets
# have condition numbers of 1e5 to 1e7, while the error of the QR is about 1e-15.
RANK_TOLERANCE = 1.0e-12
# Columns that LAPACK's triangular-pentagonal QR takes at a time; measured best at 500 to 1,600 columns.
_QR_PANEL = 64


class Factor(NamedTuple):
    """Triangular factor of a weighted design with the target as last column.

    Parameters
    ----------
    triangle : ndarray, shape (P + 1, P + 1)
        Upper triangular, in Fortran order.
    n_rows : int
        Rows of non-zero weight.
    """

    triangle: Array
    n_rows: int


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """Minimiser of the weighted loss, and the map to coordinates in which the loss is a sphere.

    Parameters
    ----------
    theta : ndarray, shape (P,)
        The minimiser (of least norm in scaled columns when the design is rank deficient).
    whitener : ndarray, shape (P, r)
        Rows x become z = x @ whitener with leverage z . z; coefficients are theta + whitener @ d.
    n_rows : int
        Rows of non-zero weight.
    condition : float
        Condition number, in the 1-norm, of the triangular factor of the column-scaled design (in the
        2-norm, over the directions kept, where it is rank deficient).
    noise : float or None
        Standard deviation of the noise in a weighted row, where the fit estimates it.
    """

    theta: Array
    whitener: Array
    n_rows: int
    condition: float
    noise: float | None = None

    @property
    def rank(self) -> int:
        """Numerical rank r of the design."""
        return int(self.whitener.shape[1])

    @cached_property
    def _triangle(self) -> Array | None:
        """The whitener in Fortran order if it is upper triangular, which halves the work."""
        square = self.whitener.shape[0] == self.whitener.shape[1]
        return np.asfortranarray(self.whitener) if square and not np.tril(self.whitener, -1).any() else None

    def whiten(self, rows: Array, overwrite: bool = False) -> Array:
        """Map rows to coordinates in which the loss is a sphere.

        Parameters
        ----------
        rows : ndarray, shape (R, P)
            Rows of the design, weighted or not.
        overwrite : bool
            Whether the memory of `rows` may be used for the result.

        Returns
        -------
        ndarray, shape (R, r)
            Rows whose squared norms are the leverages.
        """
        if self._triangle is None:
            return np.asarray(rows @ self.whitener)
        return np.asarray(
            blas.dtrmm(1.0, self._triangle, rows.T, lower=0, trans_a=1, overwrite_b=overwrite).T
        )


def triangular_factor(stream: DesignStream) -> Factor:
    """Blockwise QR of the weighted design with the target as last column.

    Householder QR is backward stable column by column, so that columns need no scaling here.

    Parameters
    ----------
    stream : DesignStream
        The training set or a part of it.

    Returns
    -------
    Factor
        Its triangle and number of rows.

    Raises
    ------
    InputError
        When a row is not finite.

    References
    ----------
    Demmel et al., SIAM J. Sci. Comput. 34, A206 (2012), doi:10.1137/080731992.
    """

    def update(state: Factor | None, i: int) -> Factor:
        for group in batches(stream.chunks[i]):
            state = _append(state, group)
        assert state is not None
        return state

    return stream.accumulate(update, merge_factors)


def _append(factor: Factor | None, blocks: Sequence[DesignBlock]) -> Factor:
    """Factor of the rows so far and those of some more blocks."""
    n_columns = blocks[0].rows.shape[1]
    if factor is None:
        factor = Factor(np.zeros((n_columns + 1, n_columns + 1), order="F"), 0)
    n_rows = sum(int((b.weight > 0).sum()) for b in blocks)
    if n_rows == 0:
        return factor
    below = np.empty((n_rows, n_columns + 1), order="F")
    start = 0
    for block in blocks:
        rows, target = block.weighted()
        part = slice(start, start := start + len(rows))
        below[part, :-1], below[part, -1] = rows, target
        if not np.isfinite(below[part]).all():
            raise InputError("design rows or targets are NaN or infinite", key=block.identifier)
    return Factor(_triangle_above(factor.triangle, below, 0), factor.n_rows + n_rows)


def merge_factors(above: Factor, below: Factor) -> Factor:
    """Triangular factor of two stacked triangular factors.

    Parameters
    ----------
    above, below : Factor
        Two factors; left as they are.

    Returns
    -------
    Factor
        Their common factor.
    """
    size = len(above.triangle)
    triangle = _triangle_above(above.triangle.copy(order="F"), below.triangle.copy(order="F"), size)
    return Factor(triangle, above.n_rows + below.n_rows)


def _triangle_above(triangle: Array, below: Array, trapezoid: int) -> Array:
    """QR of a triangle on top of a matrix whose last rows may be triangular; overwrites both."""
    panel = min(_QR_PANEL, len(triangle))
    result, _, _, info = lapack.dtpqrt(trapezoid, panel, triangle, below, overwrite_a=1, overwrite_b=1)
    assert info == 0
    return np.asarray(result)


def solve(factor: Factor) -> LeastSquares:
    """Least-squares solution and whitener from a triangular factor.

    Parameters
    ----------
    factor : Factor
        From `triangular_factor`.

    Returns
    -------
    LeastSquares
        Rank-deficient directions are left out.
    """
    triangle, target = factor.triangle[:-1, :-1], factor.triangle[:-1, -1]
    norms = np.linalg.norm(triangle, axis=0)
    scale = np.where(norms > 0, norms, 1.0)
    scaled = np.asfortranarray(triangle / scale)
    inverse, info = lapack.dtrtri(scaled)
    if info == 0 and np.isfinite(inverse).all():
        condition = float(np.linalg.norm(scaled, 1) * np.linalg.norm(inverse, 1))
        if condition * RANK_TOLERANCE < 1.0:
            inverse /= scale[:, None]
            return LeastSquares(inverse @ target, inverse, factor.n_rows, condition)
    left, singular, right = svd(scaled, full_matrices=False, overwrite_a=True)
    keep = singular > RANK_TOLERANCE * singular[0]
    if not keep.any():
        raise InputError("all design rows are zero", hint="check the cutoff and the weights")
    whitener = (right[keep] / singular[keep, None]).T / scale[:, None]
    theta = whitener @ (left[:, keep].T @ target)
    return LeastSquares(theta, whitener, factor.n_rows, float(singular[0] / singular[keep][-1]))


def least_squares(stream: DesignStream) -> LeastSquares:
    """Fit the whole stream.

    Parameters
    ----------
    stream : DesignStream
        The training set.

    Returns
    -------
    LeastSquares
        The minimiser and its whitener.

    Raises
    ------
    InputError
        When a row is not finite, or no row has a weight.
    """
    factors = fold_factors(stream)
    return solve(merge_all(list(factors.values())))


def fold_factors(stream: DesignStream) -> dict[int, Factor]:
    """Triangular factor of each fold: one pass gives the fit of every subset of folds.

    Parameters
    ----------
    stream : DesignStream
        The training set, in folds.

    Returns
    -------
    dict
        Fold to factor, the same on every rank.
    """
    labels = sorted(set(stream.folds.values()))
    return {fold: triangular_factor(stream.only(fold)) for fold in labels}


def merge_all(factors: Sequence[Factor]) -> Factor:
    """Common factor of several factors.

    Parameters
    ----------
    factors : sequence of Factor
        One or more.

    Returns
    -------
    Factor
        Their common factor.
    """
    merged = factors[0]
    for factor in factors[1:]:
        merged = merge_factors(merged, factor)
    return merged
