"""What a streamed computation needs to know about other ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Reducer(Protocol):
    """Combine per-chunk partial results in an order fixed by the chunk, never by the rank.

    Chunk i is held by rank i modulo the number of ranks.
    """

    def tree(self, parts: Mapping[int, T], order: Sequence[int], combine: Callable[[T, T], T]) -> T:
        """Combine the parts of all ranks along a fixed binary tree.

        Parameters
        ----------
        parts : Mapping
            Chunk index to partial result, for the chunks of this rank.
        order : sequence of int
            Chunks that take part, over all ranks; the leaves of the tree.
        combine : callable
            Combines the results of two neighbouring sub-trees, left first.

        Returns
        -------
        object
            The result, the same on every rank.
        """

    def concatenate(self, parts: Mapping[int, T], order: Sequence[int]) -> Sequence[T]:
        """Gather the parts of all ranks in chunk order.

        Parameters
        ----------
        parts : Mapping
            Chunk index to part, for the chunks of this rank.
        order : sequence of int
            Chunks that take part, over all ranks.

        Returns
        -------
        sequence
            All parts, on every rank.
        """
