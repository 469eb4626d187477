"""Weighted least squares on a stream of design blocks: column-scaled, blockwise QR.

The result has the same bits for any number of ranks, because partial results are combined along a
tree fixed by the chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock, RowKind
from snapuq.core.reducer import Reducer
from snapuq.errors import InputError

Array = NDArray[np.float64]
Leaf = Callable[[Sequence[DesignBlock]], Array]

# Singular values of the column-scaled design below this fraction of the largest are round-off: real sets
# have condition numbers of 1e5 to 1e7, while the error of the QR is about 1e-15.
RANK_TOLERANCE = 1.0e-12


@dataclass(frozen=True, eq=False)
class DesignStream:
    """Chunks of design blocks, each chunk within one cross-validation fold.

    Parameters
    ----------
    chunks : Mapping
        Chunk index to its blocks, for the chunks held by this rank.
    folds : Mapping
        Chunk index to fold, for the chunks of all ranks, in chunk order.
    reducer : Reducer
        Combines partial results over ranks.
    """

    chunks: Mapping[int, Sequence[DesignBlock]]
    folds: Mapping[int, int]
    reducer: Reducer

    def subset(self, keep: Callable[[int], bool]) -> DesignStream:
        """Keep the chunks of some folds.

        Parameters
        ----------
        keep : callable
            Takes a fold, tells whether it stays.

        Returns
        -------
        DesignStream
            The smaller stream.
        """
        folds = {i: fold for i, fold in self.folds.items() if keep(fold)}
        return DesignStream({i: c for i, c in self.chunks.items() if i in folds}, folds, self.reducer)

    def reduce(self, leaf: Leaf, combine: Callable[[Array, Array], Array]) -> Array:
        """Apply `leaf` to every chunk and combine the results along the fixed tree.

        Parameters
        ----------
        leaf : callable
            Takes the blocks of a chunk, returns an array.
        combine : callable
            Combines the results of two neighbouring sub-trees.

        Returns
        -------
        ndarray
            The same on every rank.
        """
        parts = {i: leaf(blocks) for i, blocks in self.chunks.items()}
        return self.reducer.tree(parts, tuple(self.folds), combine)

    def concatenate(self, leaf: Leaf) -> Array:
        """Apply `leaf` to every chunk and concatenate the results in chunk order.

        Parameters
        ----------
        leaf : callable
            Takes the blocks of a chunk, returns an array.

        Returns
        -------
        ndarray
            The same on every rank.
        """
        parts = {i: leaf(blocks) for i, blocks in self.chunks.items()}
        return np.concatenate(list(self.reducer.concatenate(parts, tuple(self.folds))))


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
        Condition number of the column-scaled design, over the directions kept.
    """

    theta: Array
    whitener: Array
    n_rows: int
    condition: float

    @property
    def rank(self) -> int:
        """Numerical rank r of the design."""
        return int(self.whitener.shape[1])


def column_norms(stream: DesignStream) -> Array:
    """Norm of each column of the weighted design; 1 for columns of zeros.

    Parameters
    ----------
    stream : DesignStream
        The training set.

    Returns
    -------
    ndarray, shape (P,)
        Scales for `triangular_factor`.

    Raises
    ------
    InputError
        When a row is not finite.
    """

    def leaf(blocks: Sequence[DesignBlock]) -> Array:
        total = np.zeros(blocks[0].rows.shape[1])
        for block in blocks:
            rows, target = block.weighted()
            if not (np.isfinite(rows).all() and np.isfinite(target).all()):
                raise InputError("design rows or targets are NaN or infinite", key=block.identifier)
            total += np.einsum("ip,ip->p", rows, rows)
        return total

    norms = np.sqrt(stream.reduce(leaf, np.add))
    return np.where(norms > 0, norms, 1.0)


def triangular_factor(stream: DesignStream, scale: Array) -> Array:
    """Blockwise QR of the scaled, weighted design with the target as last column.

    Parameters
    ----------
    stream : DesignStream
        The training set or a part of it.
    scale : ndarray, shape (P,)
        Column scales.

    Returns
    -------
    ndarray, shape (<= P + 1, P + 1)
        The triangular factor R.

    References
    ----------
    Demmel et al., SIAM J. Sci. Comput. 34, A206 (2012), doi:10.1137/080731992.
    """

    def leaf(blocks: Sequence[DesignBlock]) -> Array:
        parts = [block.weighted() for block in blocks]
        rows = np.concatenate([r for r, _ in parts]) / scale
        target = np.concatenate([t for _, t in parts])
        return _upper_factor(np.column_stack([rows, target]))

    return stream.reduce(leaf, merge_factors)


def merge_factors(above: Array, below: Array) -> Array:
    """Triangular factor of two stacked triangular factors.

    Parameters
    ----------
    above, below : ndarray, shape (<= P + 1, P + 1)
        Two factors.

    Returns
    -------
    ndarray, shape (<= P + 1, P + 1)
        Their common factor.
    """
    return _upper_factor(np.vstack([above, below]))


def _upper_factor(matrix: Array) -> Array:
    return np.asarray(np.linalg.qr(matrix, mode="r"))


def solve(factor: Array, scale: Array, n_rows: int) -> LeastSquares:
    """Least-squares solution and whitener from a triangular factor.

    Parameters
    ----------
    factor : ndarray, shape (<= P + 1, P + 1)
        From `triangular_factor`.
    scale : ndarray, shape (P,)
        The same column scales.
    n_rows : int
        Rows of non-zero weight.

    Returns
    -------
    LeastSquares
        Rank-deficient directions are left out.
    """
    left, singular, right = np.linalg.svd(factor[:, :-1], full_matrices=False)
    keep = singular > RANK_TOLERANCE * singular[0]
    whitener = (right[keep] / singular[keep, None]).T / scale[:, None]
    theta = whitener @ (left[:, keep].T @ factor[:, -1])
    return LeastSquares(theta, whitener, n_rows, float(singular[0] / singular[keep][-1]))


def count_rows(stream: DesignStream) -> int:
    """Rows of non-zero weight over all ranks.

    Parameters
    ----------
    stream : DesignStream
        The training set.

    Returns
    -------
    int
        Their number.
    """
    total = stream.reduce(lambda blocks: np.array([sum(int((b.weight > 0).sum()) for b in blocks)]), np.add)
    return int(total[0])


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
        When there are more columns than rows of non-zero weight.
    """
    n_rows = count_rows(stream)
    scale = column_norms(stream)
    if n_rows < len(scale):
        raise InputError(
            f"more parameters than rows: {len(scale)} columns but {n_rows} training rows of non-zero weight",
            key="potential",
            hint="lower twojmax, set quadraticflag: 0, or add data",
        )
    return solve(triangular_factor(stream, scale), scale, n_rows)


def mean_leverages(stream: DesignStream, fit: LeastSquares) -> dict[int, float]:
    """Mean leverage of the rows of each kind that can vanish by symmetry, without their weights.

    Rows of weight zero do not count.

    Parameters
    ----------
    stream : DesignStream
        The training set.
    fit : LeastSquares
        Its fit.

    Returns
    -------
    dict
        `RowKind` of force and stress rows to the mean; kinds without rows are left out.
    """

    def leaf(blocks: Sequence[DesignBlock]) -> Array:
        parts = []
        for block in blocks:
            keep = (block.kind != RowKind.ENERGY) & (block.weight > 0)
            z = block.rows[keep] @ fit.whitener
            parts.append(np.column_stack([block.kind[keep].astype(float), np.einsum("ir,ir->i", z, z)]))
        return np.concatenate(parts)

    kinds, leverages = stream.concatenate(leaf).T
    return {
        int(kind): float(np.mean(leverages[kinds == kind]))
        for kind in (RowKind.FORCE, RowKind.STRESS)
        if (kinds == kind).any()
    }
