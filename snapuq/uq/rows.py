"""Arrays in memory as a stream of design blocks: slices are made when they are read and never kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock, RowKind
from snapuq.reduction import SERIAL_REDUCER

from .crossval import assign_folds
from .leastsquares import LeastSquares
from .pops import softness
from .popsregression import ROWS_AT_ONCE
from .streaming import DesignStream

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Table:
    """A regression problem in memory.

    Parameters
    ----------
    x : ndarray, shape (N, P)
        Features, float32 or float64 in any memory order.
    y : ndarray, shape (N,)
        Target.
    weight : ndarray, shape (N,)
        Weight of each row; rows of weight zero do not exist.
    constant : bool
        Whether a column of ones comes first.
    """

    x: NDArray[Any]
    y: Array
    weight: Array
    constant: bool

    def block(self, which: Indices) -> DesignBlock:
        """Copy some rows.

        Parameters
        ----------
        which : ndarray of int
            Their indices, in ascending order.

        Returns
        -------
        DesignBlock
            The rows; those of zeros, which no coefficients can change, are marked as round-off.
        """
        n = len(which)
        first = int(self.constant)
        rows = np.ones((n, self.x.shape[1] + first))
        # A slice is read several times faster than a list of rows.
        contiguous = which[-1] - which[0] == n - 1
        rows[:, first:] = self.x[which[0] : which[-1] + 1] if contiguous else self.x[which]
        kind = np.full(n, RowKind.ENERGY, dtype=np.int8)
        zero = np.asarray(~rows.any(axis=1))
        name = f"rows {which[0]} to {which[-1]}"
        return DesignBlock(name, "", 0, rows, self.y[which], np.zeros(n), self.weight[which], kind, zero)


@dataclass(frozen=True, eq=False)
class Blocks(Sequence[DesignBlock]):
    """Blocks of a table that are made when they are asked for.

    Parameters
    ----------
    table : Table
        The rows.
    pieces : sequence of ndarray of int
        Rows of each block.
    """

    table: Table
    pieces: Sequence[Indices]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: Any) -> Any:
        return self.table.block(self.pieces[index])


def table_stream(
    table: Table, folds: int = 1, groups: NDArray[Any] | None = None, seed: int = 0
) -> DesignStream:
    """Cut a table into folds at random.

    Parameters
    ----------
    table : Table
        The rows.
    folds : int
        Number of folds; at most as many as groups are made.
    groups : ndarray, shape (N,), optional
        Group of each row; the rows of a group are one block. Without it blocks are slices, and every row may
        be in any fold.
    seed : int
        Seed of the folds.

    Returns
    -------
    DesignStream
        Chunks of about `ROWS_AT_ONCE` rows, on one rank.
    """
    present = np.flatnonzero(table.weight > 0)
    members: list[Indices] = []
    n = len(present)
    if groups is not None:
        _, label = np.unique(groups[present], return_inverse=True)
        order = np.argsort(label, kind="stable")
        members = np.split(present[order], np.flatnonzero(np.diff(label[order])) + 1)
        n = len(members)
    fold_of = assign_folds(n, min(folds, n), seed)
    chunks: dict[int, Blocks] = {}
    owners: dict[int, int] = {}
    for fold in range(min(folds, n)):
        mine = np.flatnonzero(fold_of == fold)
        for pieces in _packed([members[g] for g in mine]) if groups is not None else _cut(present[mine]):
            owners[len(chunks)] = fold
            chunks[len(chunks)] = Blocks(table, pieces)
    return DesignStream(chunks, owners, SERIAL_REDUCER)


def _cut(rows: Indices) -> list[list[Indices]]:
    """Chunks of one block each."""
    return [[part] for part in np.array_split(rows, -(-len(rows) // ROWS_AT_ONCE))]


def _packed(blocks: Sequence[Indices]) -> list[list[Indices]]:
    """Chunks of whole blocks that reach `ROWS_AT_ONCE` rows."""
    chunks: list[list[Indices]] = []
    n = ROWS_AT_ONCE
    for block in blocks:
        if n >= ROWS_AT_ONCE:
            chunks.append([])
            n = 0
        chunks[-1].append(block)
        n += len(block)
    return chunks


def row_corrections(blocks: Sequence[DesignBlock], fit: LeastSquares) -> Array:
    """Soft correction of every row by itself: the block form where each row is a block.

    Parameters
    ----------
    blocks : sequence of DesignBlock
        Blocks of a chunk.
    fit : LeastSquares
        The fit.

    Returns
    -------
    ndarray, shape (R', r)
        z_i e_i / (h_i + tau) in whitened coordinates, for the rows of non-zero weight.
    """
    found = []
    for block in blocks:
        rows, target = block.weighted()
        z = fit.whiten(rows)
        leverage = np.einsum("ir,ir->i", z, z)
        z *= ((target - rows @ fit.theta) / (leverage + softness(fit)))[:, None]
        found.append(z)
    return np.concatenate(found)
