"""Design rows on disk: made once, in parallel, and read by whoever needs them.

Rows depend on structures and hyperparameters alone, never on energies, weights, splits or seeds, so fits to
the same structures share them. Each file holds the rows of some consecutive configurations and names, by its
digest, everything that they depend on; a file that is damaged or cut short is made again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Configuration
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.lammps.snapfiles import reference_digest
from snapuq.provenance import atomic_hdf5, digest, versions

from .assemble import RowSelection

Array = NDArray[np.float64]
#: Rows and the reference pair style's part of one configuration.
Rows = tuple[Array, Array]

# Changes when rows of the same structure would come out differently.
FORMAT = "snapuq design rows 1"
#: Rows of a file: 52 MB at 1,596 columns, and enough files for the ranks to share.
ROWS_PER_FILE = 4096


@dataclass(frozen=True, eq=False)
class RowCache:
    """Rows of a data set in a folder.

    Parameters
    ----------
    folder : Path
        Where the files are.
    keys : tuple of str
        Digest of each file's content.
    shards : tuple of tuple of int
        Configurations of each file.
    lengths : tuple of int
        Number of rows of each configuration.
    n_columns : int
        Number of columns.
    """

    folder: Path
    keys: tuple[str, ...]
    shards: tuple[tuple[int, ...], ...]
    lengths: tuple[int, ...]
    n_columns: int

    @cached_property
    def _open(self) -> dict[int, Rows]:
        """Files that are mapped already."""
        return {}

    def path(self, shard: int) -> Path:
        """File of a shard.

        Parameters
        ----------
        shard : int
            Its number.

        Returns
        -------
        Path
            Named by the digest, so that other settings have other files.
        """
        return self.folder / f"rows_{self.keys[shard][:24]}.h5"

    def is_sound(self, shard: int) -> bool:
        """Tell whether a file is there, whole, and of these structures and settings.

        Parameters
        ----------
        shard : int
            Its number.

        Returns
        -------
        bool
            False also when it cannot be read.
        """
        try:
            rows, baseline = self._map(shard)
            with h5py.File(self.path(shard), "r") as file:
                stored = int(file.attrs["crc32"])
        except (OSError, KeyError, ValueError, TypeError):
            return False
        return _checksum(rows, baseline) == stored

    def make(self, shard: int, compute: Callable[[int], Rows]) -> None:
        """Write the file of a shard.

        Parameters
        ----------
        shard : int
            Its number.
        compute : callable
            Takes a configuration's index, returns its rows and baseline.
        """
        parts = [compute(i) for i in self.shards[shard]]
        rows = np.concatenate([r for r, _ in parts])
        baseline = np.concatenate([b for _, b in parts])
        self._open.pop(shard, None)
        with atomic_hdf5(self.path(shard)) as file:
            file.attrs["format"] = FORMAT
            file.attrs["digest"] = self.keys[shard]
            file.attrs["crc32"] = _checksum(rows, baseline)
            # Contiguous, so that they can be mapped into memory.
            file.create_dataset("rows", data=rows, track_times=False)
            file.create_dataset("baseline", data=baseline, track_times=False)

    def rows(self, index: int) -> Rows:
        """Read the rows of one configuration.

        Parameters
        ----------
        index : int
            The configuration.

        Returns
        -------
        rows : ndarray, shape (R, P)
            Read-only, in the page cache and not in this process's memory.
        baseline : ndarray, shape (R,)
            The reference pair style's part.
        """
        shard, start = self._place[index]
        if shard not in self._open:
            self._open[shard] = self._map(shard)
        rows, baseline = self._open[shard]
        part = slice(start, start + self.lengths[index])
        return rows[part], baseline[part]

    @cached_property
    def _place(self) -> Mapping[int, tuple[int, int]]:
        """Shard and first row of each configuration."""
        places = {}
        for number, members in enumerate(self.shards):
            start = 0
            for i in members:
                places[i] = (number, start)
                start += self.lengths[i]
        return places

    def _map(self, shard: int) -> Rows:
        """Map a file into memory; raises OSError, KeyError or ValueError when it is not what it should be."""
        path = self.path(shard)
        n = sum(self.lengths[i] for i in self.shards[shard])
        with h5py.File(path, "r") as file:
            if file.attrs["format"] != FORMAT or file.attrs["digest"] != self.keys[shard]:
                raise ValueError("other rows")
            data = file["rows"]
            offset, baseline = data.id.get_offset(), file["baseline"][()]
            if data.shape != (n, self.n_columns) or data.dtype != np.float64 or baseline.shape != (n,):
                raise ValueError("other shape")
        if offset is None:
            raise ValueError("not contiguous")
        mapped = np.memmap(path, np.float64, "r", offset, (n, self.n_columns))
        return np.asarray(mapped), baseline


def _checksum(rows: Array, baseline: Array) -> int:
    return zlib.crc32(baseline.data, zlib.crc32(np.ascontiguousarray(rows).data))


def plan_cache(
    folder: Path,
    configurations: Sequence[Configuration],
    settings: SnapSettings,
    reference: ReferencePair | None,
    selection: RowSelection,
) -> RowCache:
    """Cut a data set into files, in data-set order.

    Parameters
    ----------
    folder : Path
        Where the files are or will be.
    configurations : sequence of Configuration
        Training and test configurations.
    settings : SnapSettings
        Hyperparameters.
    reference : ReferencePair or None
        Pair style that SNAP is added to.
    selection : RowSelection
        Kinds of rows.

    Returns
    -------
    RowCache
        The same on every rank.
    """
    lengths = tuple(selection.n_rows(c) for c in configurations)
    shards = tuple(_cut(lengths))
    pair = "" if reference is None else reference_digest(reference)
    kinds = [selection.energy, selection.forces]
    base = [FORMAT, settings.as_dict(), pair, kinds, versions().get("lammps", "")]

    def key(members: Sequence[int]) -> str:
        items = [(configurations[i].structure.digest, lengths[i]) for i in members]
        return digest(*base, items)

    return RowCache(folder, tuple(key(m) for m in shards), shards, lengths, settings.n_columns)


def _cut(lengths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Consecutive configurations of about `ROWS_PER_FILE` rows together."""
    current: list[int] = []
    rows = 0
    for i, n in enumerate(lengths):
        current.append(i)
        rows += n
        if rows >= ROWS_PER_FILE:
            yield tuple(current)
            current, rows = [], 0
    if current:
        yield tuple(current)
