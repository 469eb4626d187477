"""What the ranks of a campaign share: records of the MLE and predictions, in files that may be removed."""

from __future__ import annotations

import fcntl
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.parallel import SERIAL, Ranks
from snapuq.propagate.family import RowSource, predict_all
from snapuq.propagate.mapping import mapped_array
from snapuq.propagate.record import Record
from snapuq.provenance import atomic_path, digest

Array = NDArray[np.float64]

#: What the files are; those of another version, damaged ones and others' are computed anew.
FORMAT = "snapuq propagation 2"
#: Times that a record is begun without success, before it is given up: computing it may end the process.
MOST_ATTEMPTS = 2
_SEAL_LENGTH = 64


class Store:
    """A folder of arrays. Each is written once, whole, and the same whoever writes it.

    A file ends with a seal, a hash of its name and content: one that was cut short, damaged or put there by
    someone else is as good as none.

    Parameters
    ----------
    folder : Path
        Created when first needed.
    ranks : Ranks
        Ranks that run the same code in step; only their first one looks for records.
    """

    def __init__(self, folder: Path, ranks: Ranks = SERIAL) -> None:
        self._folder, self._ranks = folder, ranks

    def record(self, key: str, build: Callable[[], Record]) -> Record:
        """Read the record of a task, or compute it while no other process does.

        Parameters
        ----------
        key : str
            Key of the MLE's task.
        build : callable
            Computes it.

        Returns
        -------
        Record
            What the file holds; empty where computing it was begun `MOST_ATTEMPTS` times and never ended.
        """
        with self._alone(key):
            # All ranks must take the same way, whatever each of them sees on its disk.
            content, attempts = self._ranks.from_root(
                lambda: (self._sound(f"{key}.npz"), self._lock(key).stat().st_size)
            )
            if content is None and attempts < MOST_ATTEMPTS:
                self._ranks.from_root(lambda: self._attempt(key))
                content = self.keep(key, build())
            elif content is None:
                content = self.keep(key, Record())
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Record.from_arrays(arrays)

    @contextmanager
    def building(self, key: str) -> Iterator[None]:
        """Let no other process compute a record, and count the attempt.

        Parameters
        ----------
        key : str
            Key of the MLE's task.
        """
        with self._alone(key):
            self._ranks.from_root(lambda: self._attempt(key))
            yield

    def keep(self, key: str, record: Record) -> bytes:
        """Write the record of a task.

        Parameters
        ----------
        key : str
            Key of the MLE's task.
        record : Record
            What members start from.

        Returns
        -------
        bytes
            What the file holds.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **record.to_arrays())
        content = buffer.getvalue()

        def write() -> None:
            self._write(f"{key}.npz", content)
            self._lock(key).write_bytes(b"")

        self._ranks.from_root(write)
        return content

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
        content = self._sound(path.name)
        if content is None:
            buffer = io.BytesIO()
            np.save(buffer, build(), allow_pickle=False)
            content = buffer.getvalue()
            self._write(path.name, content)
        return mapped_array(path, content)

    def _sound(self, name: str) -> bytes | None:
        """Content of a file without its seal; None where there is none, or the seal is broken."""
        try:
            content = (self._folder / name).read_bytes()
        except OSError:
            return None
        content, seal = content[:-_SEAL_LENGTH], content[-_SEAL_LENGTH:]
        return content if seal == _seal(name, content) else None

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._folder / name) as temporary:
            temporary.write_bytes(content + _seal(name, content))

    def _lock(self, key: str) -> Path:
        return self._folder / f"{key}.lock"

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        with ExitStack() as held:
            self._ranks.from_root(lambda: self._take(key, held))
            yield

    def _take(self, key: str, held: ExitStack) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        # The lock ends with the process that holds it, however that ends.
        fcntl.flock(held.enter_context(self._lock(key).open("ab")), fcntl.LOCK_EX)

    def _attempt(self, key: str) -> None:
        # A byte for each attempt stays until one ends.
        with self._lock(key).open("ab") as file:
            file.write(b".")


def _seal(name: str, content: bytes) -> bytes:
    return digest(FORMAT, name, np.frombuffer(content, dtype=np.uint8)).encode()


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
        #: Structure to rows, by LAMMPS.
        self.rows = rows
        self._coefficients = coefficients
        #: Number of members.
        self.n_members = len(coefficients) - 1
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
        return self.store.array(name, lambda: predict_all(*self.rows(structure), self._coefficients))
