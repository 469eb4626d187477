"""Leverages of a training set: what is typical, and where extrapolation begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock, RowKind

from .leastsquares import LeastSquares
from .streaming import DesignStream, batches

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LeverageScale:
    """Leverages of the unweighted training rows of each kind; 0 for kinds without rows.

    Parameters
    ----------
    mean, largest : tuple of float
        One number per `RowKind`.
    """

    mean: tuple[float, ...]
    largest: tuple[float, ...]


def leverage_scale(
    stream: DesignStream, fit: LeastSquares, kinds: Sequence[RowKind] = tuple(RowKind)
) -> LeverageScale:
    """Mean and largest leverage of each kind of rows, over the rows of non-zero weight.

    Parameters
    ----------
    stream : DesignStream
        The training set.
    fit : LeastSquares
        Its fit.
    kinds : sequence of RowKind, optional
        Kinds of rows to look at; by default all.

    Returns
    -------
    LeverageScale
        The same on every rank.
    """

    def leaf(blocks: Sequence[DesignBlock]) -> Array:
        found = np.zeros((3, len(RowKind)))
        for group in batches(blocks):
            keeps = [(b.weight > 0) & np.isin(b.kind, kinds) for b in group]
            kind = np.concatenate([b.kind[keep] for b, keep in zip(group, keeps, strict=True)])
            rows = np.concatenate([b.rows[keep] for b, keep in zip(group, keeps, strict=True)])
            leverage = leverages(rows, fit)
            np.add.at(found[0], kind, leverage)
            np.add.at(found[1], kind, 1.0)
            np.maximum.at(found[2], kind, leverage)
        return found

    def combine(a: Array, b: Array) -> Array:
        return np.array([a[0] + b[0], a[1] + b[1], np.maximum(a[2], b[2])])

    total, count, largest = stream.reduce(leaf, combine)
    return LeverageScale(tuple((total / np.maximum(count, 1.0)).tolist()), tuple(largest.tolist()))


def leverages(rows: Array, fit: LeastSquares) -> Array:
    """Leverage x . H^-1 x of each row.

    Parameters
    ----------
    rows : ndarray, shape (R, P)
        Rows, weighted or not.
    fit : LeastSquares
        The fit.

    Returns
    -------
    ndarray, shape (R,)
        Squared norms of the whitened rows.
    """
    z = fit.whiten(rows)
    return np.asarray(np.einsum("ir,ir->i", z, z))
