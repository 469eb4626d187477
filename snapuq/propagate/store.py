"""What the ranks of a campaign share: records of the MLE and predictions, in files that may be removed."""

from __future__ import annotations

import fcntl
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.propagate.family import RowSource, predict_all
from snapuq.propagate.record import Record
from snapuq.provenance import atomic_path, digest

Array = NDArray[np.float64]


class Store:
    """A folder of arrays. Each is written once, whole, and the same whoever writes it.

    Parameters
    ----------
    folder : Path
        Created when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(self, key: str, build: Callable[[], Record]) -> Record:
        """Read the record of a task, or compute it while no other rank does.

        Parameters
        ----------
        key : str
            Key of the MLE's task.
        build : callable
            Computes it.

        Returns
        -------
        Record
            What the file holds.
        """
        path = self._folder / f"{key}.npz"
        with self._locked(key):
            if not path.is_file():
                self.keep(key, build())
        with np.load(path, allow_pickle=False) as arrays:
            return Record.from_arrays(arrays)

    def has(self, key: str) -> bool:
        """Whether the record of a task is there.

        Parameters
        ----------
        key : str
            Key of the MLE's task.

        Returns
        -------
        bool
            True if so.
        """
        return (self._folder / f"{key}.npz").is_file()

    def keep(self, key: str, record: Record) -> None:
        """Write the record of a task.

        Parameters
        ----------
        key : str
            Key of the MLE's task.
        record : Record
            What members start from.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **record.to_arrays())
        self._write(f"{key}.npz", buffer.getvalue())

    def array(self, name: str, build: Callable[[], Array]) -> Array:
        """Read an array, or compute it.

        Parameters
        ----------
        name : str
            Hash of what decides it.
        build : callable
            Computes it.

        Returns
        -------
        ndarray
            Mapped into memory, so that ranks of one node share it.
        """
        path = self._folder / f"{name}.npy"
        if not path.is_file():
            buffer = io.BytesIO()
            np.save(buffer, build(), allow_pickle=False)
            self._write(path.name, buffer.getvalue())
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        return found

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._folder / name) as temporary:
            temporary.write_bytes(content)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        # The lock ends with the process that holds it, however that ends.
        with (self._folder / f"{key}.lock").open("w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Predictor:
    """Energies, forces and stresses of all potentials at fixed positions.

    Parameters
    ----------
    rows : callable
        Structure to rows.
    coefficients : ndarray, shape (M + 1, P)
        Of the MLE and every member.
    store : Store
        Keeps what was computed.
    """

    def __init__(self, rows: RowSource, coefficients: Array, store: Store) -> None:
        self._rows, self._coefficients = rows, coefficients
        #: Where all that ranks share is kept.
        self.store = store
        self._digest = digest(coefficients)

    def __call__(self, structure: Structure) -> Array:
        """Predict one structure for all potentials.

        Parameters
        ----------
        structure : Structure
            Any.

        Returns
        -------
        ndarray, shape (M + 1, 1 + 3 N + 6)
            Energy (eV), forces (eV/A), stress (eV/A^3).

        Raises
        ------
        SimulationError
            When LAMMPS fails or gives numbers that are not finite.
        """
        name = digest(self._digest, structure.digest)
        return self.store.array(name, lambda: predict_all(*self._rows(structure), self._coefficients))
