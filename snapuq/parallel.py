"""MPI, and the only importer of mpi4py: ranks, ordered reductions, and a check of the launcher."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from snapuq.errors import EnvironmentProblem
from snapuq.mailbox import Mailbox
from snapuq.reduction import Reducer

T = TypeVar("T")

# What each launcher tells its children about the number of ranks.
_LAUNCHER_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE")
_LAUNCHER_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")
#: Seconds between the last word on stderr and the end of all ranks.
ABORT_DELAY = 1.0
# From the creation of MPI's shared memory to its mapping, even on a busy machine.
_STARTING_SECONDS = 5.0


class Ranks(Reducer):
    """The ranks of this run; one object serves serial and parallel runs.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        None for a serial run.
    """

    def __init__(self, comm: Any = None) -> None:
        self._comm = comm
        self.rank = 0 if comm is None else comm.Get_rank()
        self.size = 1 if comm is None else comm.Get_size()

    @property
    def is_root(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def mine(self, n: int) -> range:
        """Indices out of 0 .. n - 1 that this rank works on.

        Parameters
        ----------
        n : int
            Number of items.

        Returns
        -------
        range
            Every ``size``-th index, starting at ``rank``.
        """
        return range(self.rank, n, self.size)

    def from_root(self, produce: Callable[[], T]) -> T:
        """Call on rank 0 alone and give the result to all.

        Parameters
        ----------
        produce : callable
            Called on rank 0; an exception there is raised on every rank.

        Returns
        -------
        object
            What it returned, on every rank.
        """
        if self._comm is None:
            return produce()
        outcome: tuple[T | None, Exception | None] = (None, None)
        if self.is_root:
            try:
                outcome = (produce(), None)
            except Exception as error:  # noqa: BLE001 - handed to every rank, then raised
                outcome = (None, error)
        value, failure = self._comm.bcast(outcome, root=0)
        if failure is not None:
            raise failure
        return cast(T, value)

    def together(self, work: Callable[[], T]) -> T:
        """Call on every rank; if it fails on one, raise the first rank's error on all.

        Parameters
        ----------
        work : callable
            Called on every rank, without collectives inside.

        Returns
        -------
        object
            This rank's result.
        """
        if self._comm is None:
            return work()
        value: Any = None
        failure: Exception | None = None
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 - agreed upon by all ranks, then raised
            failure = error
        failures = [f for f in self._comm.allgather(failure) if f is not None]
        if failures:
            raise failures[0]
        return cast(T, value)

    def concatenate(self, parts: Mapping[int, T], order: Sequence[int]) -> Sequence[T]:
        """Gather the parts of all ranks in order; see `snapuq.reduction.Reducer`.

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
        everything = dict(parts)
        if self._comm is not None:
            for other in self._comm.allgather(everything):
                everything.update(other)
        return super().concatenate(everything, order)

    def mailbox(self) -> Mailbox:
        """Open a mailbox on every rank; collective.

        Returns
        -------
        Mailbox
            For small messages between any two ranks.
        """
        return Mailbox(None if self._comm is None else self._comm.Dup(), self.rank)

    def _moved(self, value: Any, source: int, target: int, tag: int) -> Any:
        if self.rank == source != target:
            self._comm.send(value, dest=target, tag=tag)
        elif self.rank == target != source:
            return self._comm.recv(source=source, tag=tag)
        return value

    def _shared(self, value: Any, root: int) -> Any:
        return value if self._comm is None else self._comm.bcast(value, root=root)


SERIAL = Ranks()


@lru_cache(maxsize=1)
def world() -> Ranks:
    """All ranks of this job, after checking that launcher and library belong together.

    Returns
    -------
    Ranks
        The world; serial when there is one rank.

    Raises
    ------
    EnvironmentProblem
        When the MPI library is missing, or the launcher started N worlds of size 1.
    """
    mpi = load_mpi()
    size = mpi.COMM_WORLD.Get_size()
    for name in _LAUNCHER_SIZES:
        announced = os.environ.get(name, "")
        if announced.isdigit() and int(announced) > 1 and size == 1:
            raise EnvironmentProblem(
                f"the launcher started {announced} ranks ({name}) but the MPI library sees one; "
                f"use the mpirun of the same MPI as mpi4py ({mpi_library()}); see 'snapuq doctor'"
            )
    _leave_no_trace(mpi)
    return Ranks(mpi.COMM_WORLD) if size > 1 else SERIAL


def _leave_no_trace(mpi: Any) -> None:
    """Unlink the shared memory that all ranks of this node hold open: it goes with them, however they end."""
    mpi.COMM_WORLD.Barrier()
    maps = Path("/proc/self/maps")
    if maps.is_file():
        for name in set(re.findall(r"/dev/shm/mpich_shm_\w+", maps.read_text(encoding="utf-8"))):
            Path(name).unlink(missing_ok=True)


def sweep_shared_memory() -> None:
    """Remove shared memory that processes left when they were killed while MPI started.

    Whoever uses it holds it open, so files that no process has mapped are of use to nobody. A process that
    starts right now has a few seconds to map its own.
    """
    shared = Path("/dev/shm")
    stale = {
        path
        for path in (shared.glob("*_shm_*") if shared.is_dir() else ())
        if path.name.startswith(("mpich_shm_", "ucx_shm_"))
        if _age(path) > _STARTING_SECONDS
    }
    for maps in Path("/proc").glob("[0-9]*/maps") if stale else ():
        with suppress(OSError):
            text = maps.read_text(encoding="utf-8", errors="replace")
            stale = {path for path in stale if str(path) not in text}
    for path in stale:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """Seconds since a file of this user was changed; 0 for those of others and for none."""
    with suppress(OSError):
        found = path.stat()
        return time.time() - found.st_mtime if found.st_uid == os.getuid() else 0.0
    return 0.0


def load_mpi() -> Any:
    """Import mpi4py.MPI, which also loads the library that LAMMPS needs.

    Returns
    -------
    module
        ``mpi4py.MPI``.

    Raises
    ------
    EnvironmentProblem
        When it cannot be loaded.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError, OSError) as error:
        raise EnvironmentProblem(
            f"mpi4py found no MPI library ({' '.join(str(error).split())[:160]}); "
            "install one with 'pip install mpich', or load your site's MPI module"
        ) from error
    return MPI


def mpi_library() -> str:
    """First line of the MPI library's own version text.

    Returns
    -------
    str
        For example ``MPICH Version: 5.0.2``.
    """
    return " ".join(load_mpi().Get_library_version().splitlines()[0].split())


def self_communicator() -> Any:
    """Communicator that holds this rank alone, for LAMMPS.

    Returns
    -------
    mpi4py.MPI.Comm
        ``COMM_SELF``.
    """
    return load_mpi().COMM_SELF


def launcher_rank() -> int:
    """Rank by the launcher's word, known even where MPI does not load.

    Returns
    -------
    int
        0 without a launcher.
    """
    for name in _LAUNCHER_RANKS:
        value = os.environ.get(name, "")
        if value.isdigit():
            return int(value)
    return 0


@lru_cache(maxsize=1)
def exit_channel() -> Any:
    """Communicator used for nothing but `all_leave`; the first call is collective.

    Returns
    -------
    mpi4py.MPI.Comm or None
        None for a serial run.
    """
    return load_mpi().COMM_WORLD.Dup() if world().size > 1 else None


def all_leave(timeout: float = 10.0) -> bool:
    """Tell whether all ranks stop here, or this one alone while others wait for it.

    Parameters
    ----------
    timeout : float
        Seconds to wait for the others.

    Returns
    -------
    bool
        True when every rank called this; True for a serial run.
    """
    if exit_channel.cache_info().currsize == 0 or exit_channel() is None:
        return True
    request = exit_channel().Ibarrier()
    deadline = time.monotonic() + timeout
    while not request.Test():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def has_others() -> bool:
    """Tell whether other ranks take part in this run, as far as MPI has been started.

    Returns
    -------
    bool
        False for a serial run.
    """
    mpi: Any = sys.modules.get("mpi4py.MPI")
    # A signal may come while it is being imported.
    if not hasattr(mpi, "COMM_WORLD") or not mpi.Is_initialized() or mpi.Is_finalized():
        return False
    return bool(mpi.COMM_WORLD.size > 1)


def end_all(code: int) -> None:
    """End all ranks this moment, if there are others; returns in a serial run.

    Parameters
    ----------
    code : int
        Exit status.
    """
    if has_others():
        load_mpi().COMM_WORLD.Abort(code)


def abort(code: int) -> None:
    """End all ranks at once, if there are others; returns in a serial run.

    Parameters
    ----------
    code : int
        Exit status.
    """
    if has_others():
        sys.stdout.flush()
        sys.stderr.flush()
        # Launchers drop what they have not forwarded yet when they end a job: give the message time.
        time.sleep(ABORT_DELAY)
        end_all(code)
