"""A training set as a stream of design blocks, and reductions over it.

Results have the same bits for any number of ranks, because partial results are combined along lanes and a
tree that the chunks alone fix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock
from snapuq.reduction import Reducer

Array = NDArray[np.float64]
T = TypeVar("T")
Leaf = Callable[[Sequence[DesignBlock]], T]

#: Rows that are worked on at a time: enough for BLAS, 52 MB at 1,596 columns.
BATCH_ROWS = 4096
# Lanes bound the number of ranks that a fit can use; each costs a merge of two triangles.
_MIN_LANES, _MAX_LANES = 8, 64
_ROWS_PER_LANE = 20


def plan_lanes(n_rows: int, n_columns: int, n_chunks: int) -> int:
    """Number of lanes: many ranks on long data sets, few merges on short ones.

    Parameters
    ----------
    n_rows, n_columns : int
        Size of the design.
    n_chunks : int
        Chunks to deal out.

    Returns
    -------
    int
        At most one lane per chunk.
    """
    wanted = n_rows // (_ROWS_PER_LANE * max(n_columns, 1))
    return max(1, min(n_chunks, max(_MIN_LANES, min(wanted, _MAX_LANES))))


@dataclass(frozen=True, eq=False)
class DesignStream:
    """Chunks of design blocks, each chunk within one cross-validation fold.

    Parameters
    ----------
    chunks : Mapping
        Chunk index to its blocks, for the chunks held by this rank; may read them only when asked.
    folds : Mapping
        Chunk index to fold, for the chunks of all ranks, in chunk order.
    reducer : Reducer
        Combines partial results over ranks; it says which rank holds which chunk.
    n_lanes : int
        Chunk i belongs to lane i modulo this.
    """

    chunks: Mapping[int, Sequence[DesignBlock]]
    folds: Mapping[int, int]
    reducer: Reducer
    n_lanes: int = 1

    def only(self, fold: int) -> DesignStream:
        """Keep one fold.

        Parameters
        ----------
        fold : int
            The fold.

        Returns
        -------
        DesignStream
            Its chunks.
        """
        return replace(self, folds={i: f for i, f in self.folds.items() if f == fold})

    def without(self, fold: int) -> DesignStream:
        """Keep all folds but one.

        Parameters
        ----------
        fold : int
            The fold.

        Returns
        -------
        DesignStream
            The chunks of the others.
        """
        return replace(self, folds={i: f for i, f in self.folds.items() if f != fold})

    @property
    def held(self) -> list[int]:
        """Chunks of this rank that take part."""
        return [i for i in self.folds if self.reducer.holds(i, self.n_lanes)]

    def accumulate(self, update: Callable[[T | None, int], T], combine: Callable[[T, T], T]) -> T:
        """Run through the chunks of each lane in order and combine the lanes.

        Parameters
        ----------
        update : callable
            Takes the state of a lane (None at its start) and a chunk index, returns the new state.
        combine : callable
            Combines the states of two neighbouring sub-trees; may change both.

        Returns
        -------
        object
            The same on every rank.
        """
        members: dict[int, list[int]] = {}
        for i in self.folds:
            members.setdefault(i % self.n_lanes, []).append(i)

        def lane(number: int) -> T:
            state: T | None = None
            for i in members[number]:
                state = update(state, i)
            assert state is not None
            return state

        return self.reducer.tree(lane, sorted(members), combine)

    def reduce(self, leaf: Leaf[Array], combine: Callable[[Array, Array], Array]) -> Array:
        """Apply `leaf` to every chunk and combine the results in a fixed order.

        Parameters
        ----------
        leaf : callable
            Takes the blocks of a chunk, returns an array.
        combine : callable
            Combines two results.

        Returns
        -------
        ndarray
            The same on every rank.
        """

        def update(state: Array | None, i: int) -> Array:
            found = leaf(self.chunks[i])
            return found if state is None else combine(state, found)

        return self.accumulate(update, combine)

    def concatenate(self, leaf: Leaf[Array]) -> Array:
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
        parts = {i: leaf(self.chunks[i]) for i in self.held}
        return np.concatenate(list(self.reducer.concatenate(parts, tuple(self.folds))))


def batches(blocks: Sequence[DesignBlock]) -> Iterator[list[DesignBlock]]:
    """Group blocks so that each group has enough rows for BLAS and few enough for memory.

    Parameters
    ----------
    blocks : sequence of DesignBlock
        Blocks of a chunk.

    Yields
    ------
    list of DesignBlock
        Consecutive blocks of about `BATCH_ROWS` rows together.
    """
    group: list[DesignBlock] = []
    rows = 0
    for block in blocks:
        group.append(block)
        rows += len(block.target)
        if rows >= BATCH_ROWS:
            yield group
            group, rows = [], 0
    if group:
        yield group
