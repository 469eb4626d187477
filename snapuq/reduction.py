"""Combine partial results in an order fixed by the data, never by the number of ranks.

Work is cut into chunks and chunks are dealt out to lanes: chunk i belongs to lane i modulo the number of
lanes. Lane l belongs to one rank; its chunks are taken in order, and lanes are combined along a binary tree.
The serial form is here; `snapuq.parallel.Ranks` adds the other ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Reducer:
    """Reductions over one rank, and the base of those over many."""

    rank: int = 0
    size: int = 1

    def owner(self, lane: int) -> int:
        """Rank that works on a lane; neighbouring lanes have different ranks.

        The chunks of a fold are neighbours, so this shares out single folds as well.

        Parameters
        ----------
        lane : int
            The lane.

        Returns
        -------
        int
            The rank.
        """
        return lane % self.size

    def holds(self, chunk: int, n_lanes: int) -> bool:
        """Tell whether this rank works on a chunk.

        Parameters
        ----------
        chunk : int
            Index of the chunk.
        n_lanes : int
            Number of lanes.

        Returns
        -------
        bool
            True on one rank alone.
        """
        return self.owner(chunk % n_lanes) == self.rank

    def tree(self, leaf: Callable[[int], T], lanes: Sequence[int], combine: Callable[[T, T], T]) -> T:
        """Combine one result per lane along a fixed binary tree, depth first.

        At most the logarithm of the number of lanes results are held at a time.

        Parameters
        ----------
        leaf : callable
            Gives the result of a lane; called once for each lane of this rank.
        lanes : sequence of int
            Lanes that take part, ascending.
        combine : callable
            Combines the results of two neighbouring sub-trees, left first; may change both.

        Returns
        -------
        object
            The result, the same on every rank.
        """
        owners = [self.owner(lane) for lane in lanes]

        def node(start: int, stop: int) -> T | None:
            if self.rank not in owners[start:stop]:
                return None
            if stop - start == 1:
                return leaf(lanes[start])
            middle = start + (1 << (stop - start - 1).bit_length() - 1)
            left, right = node(start, middle), node(middle, stop)
            right = self._moved(right, owners[middle], owners[start], middle)
            if self.rank != owners[start]:
                return None
            return combine(cast(T, left), cast(T, right))

        return cast(T, self._shared(node(0, len(lanes)), owners[0]))

    def concatenate(self, parts: Mapping[int, T], order: Sequence[int]) -> Sequence[T]:
        """Gather the parts of all ranks.

        Parameters
        ----------
        parts : Mapping
            Chunk index to part, for the chunks of this rank.
        order : sequence of int
            Chunks that take part, over all ranks.

        Returns
        -------
        sequence
            All parts in this order, on every rank.
        """
        return [parts[i] for i in order]

    def _moved(self, value: Any, source: int, target: int, tag: int) -> Any:
        """Value that the source holds, on the target; whatever on other ranks."""
        return value

    def _shared(self, value: Any, root: int) -> Any:
        """Value that the root holds, on every rank."""
        return value


SERIAL_REDUCER = Reducer()
