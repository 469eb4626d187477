"""The design rows of a campaign: assembled over the ranks, cached on disk, streamed from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock
from snapuq.descriptors.assemble import compute_rows, flag_roundoff, make_block, plan_chunks
from snapuq.descriptors.bispectrum import BispectrumCalculator
from snapuq.descriptors.cache import RowCache, plan_cache
from snapuq.lammps.session import Session
from snapuq.parallel import Ranks
from snapuq.pipeline.prepare import Prepared
from snapuq.progress import Progress
from snapuq.uq.leastsquares import LeastSquares
from snapuq.uq.leverage import LeverageScale, leverages
from snapuq.uq.streaming import DesignStream, plan_lanes

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class AssembledRows:
    """Rows on disk, with targets and weights at hand.

    Parameters
    ----------
    prepared : Prepared
        The data.
    cache : RowCache
        Their rows.
    ranks : Ranks
        The ranks of this run.
    quiet : bool
        No progress.
    flags : Mapping
        Configuration to its round-off flags, where they are known.
    """

    prepared: Prepared
    cache: RowCache
    ranks: Ranks
    quiet: bool
    flags: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)

    def block(self, index: int) -> DesignBlock:
        """Rows, targets and weights of a configuration.

        Parameters
        ----------
        index : int
            The configuration.

        Returns
        -------
        DesignBlock
            Its rows are mapped from disk.
        """
        p = self.prepared
        rows, baseline = self.cache.rows(index)
        configuration = p.dataset.configurations[index]
        return make_block(configuration, rows, baseline, p.weights[index], p.selection, self.flags.get(index))

    def stream(self, labels: Sequence[int]) -> DesignStream:
        """Stream the configurations that have a label.

        Parameters
        ----------
        labels : sequence of int
            Fold of each configuration; negative ones are left out.

        Returns
        -------
        DesignStream
            Chunks that each lie within one fold.
        """
        plan = plan_chunks(self.cache.lengths, labels)
        folds = {i: labels[members[0]] for i, members in enumerate(plan)}
        n_rows = sum(n for n, label in zip(self.cache.lengths, labels, strict=True) if label >= 0)
        lanes = plan_lanes(n_rows, self.cache.n_columns, len(plan))
        return DesignStream(_Chunks(plan, self.block), folds, self.ranks, lanes)

    def flagged(self, indices: Sequence[int], fit: LeastSquares, scale: LeverageScale) -> AssembledRows:
        """Find the rows that hold nothing but round-off.

        Parameters
        ----------
        indices : sequence of int
            Configurations to look at.
        fit : LeastSquares
            Gives leverages.
        scale : LeverageScale
            What is typical of the training set.

        Returns
        -------
        AssembledRows
            The same rows with the flags of these configurations, on every rank.
        """
        p = self.prepared
        with Session() as session:
            calculator = BispectrumCalculator(session, p.settings, p.reference)

            def flag(place: int) -> NDArray[np.bool_]:
                configuration = p.dataset.configurations[indices[place]]
                block = self.block(indices[place])
                return flag_roundoff(
                    calculator, configuration, block, lambda rows: leverages(rows, fit), scale.mean
                )

            found = share(flag, len(indices), self.ranks, "round-off rows", self.quiet)
        flags = self.ranks.concatenate(found, range(len(indices)))
        return replace(self, flags={**self.flags, **dict(zip(indices, flags, strict=True))})


def assemble(prepared: Prepared, folder: Path, ranks: Ranks, quiet: bool = False) -> AssembledRows:
    """Compute the rows that the folder does not hold yet.

    Parameters
    ----------
    prepared : Prepared
        The data.
    folder : Path
        Where rows are cached.
    ranks : Ranks
        The ranks of this run.
    quiet : bool
        No progress.

    Returns
    -------
    AssembledRows
        The rows of all configurations.
    """
    configurations = prepared.dataset.configurations
    cache = plan_cache(folder, configurations, prepared.settings, prepared.reference, prepared.selection)
    with Session() as session:
        calculator = BispectrumCalculator(session, prepared.settings, prepared.reference)

        def make(shard: int) -> None:
            if not cache.is_sound(shard):
                cache.make(shard, lambda i: compute_rows(calculator, configurations[i], prepared.selection))

        share(make, len(cache.shards), ranks, "descriptors", quiet, [len(shard) for shard in cache.shards])
    return AssembledRows(prepared, cache, ranks, quiet)


def share(
    work: Callable[[int], T],
    n: int,
    ranks: Ranks,
    title: str,
    quiet: bool,
    sizes: Sequence[int] | None = None,
) -> dict[int, T]:
    """Do this rank's share of some work; an error on one rank is raised on all.

    Parameters
    ----------
    work : callable
        Takes an index out of 0 .. n - 1.
    n : int
        How many there are.
    ranks : Ranks
        The ranks of this run.
    title : str
        What the progress is called.
    quiet : bool
        No progress.
    sizes : sequence of int, optional
        What each of them counts in the progress; by default one.

    Returns
    -------
    dict
        Index to result, for this rank's share.
    """
    counts = [1] * n if sizes is None else sizes

    def mine() -> dict[int, T]:
        done = {}
        with Progress(title, sum(counts), share=ranks.size, silent=quiet or not ranks.is_root) as progress:
            for i in ranks.mine(n):
                done[i] = work(i)
                progress.advance(counts[i])
        return done

    return ranks.together(mine)


class _Chunks(Mapping[int, Sequence[DesignBlock]]):
    """Chunks whose blocks are made when they are asked for."""

    def __init__(self, plan: Sequence[Sequence[int]], block: Callable[[int], DesignBlock]) -> None:
        self._plan = plan
        self._block = block

    def __getitem__(self, chunk: int) -> Sequence[DesignBlock]:
        return [self._block(i) for i in self._plan[chunk]]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._plan)))

    def __len__(self) -> int:
        return len(self._plan)
