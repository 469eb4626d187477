"""Engines for workers in tests: a factory by name, with members that misbehave on request."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.lj import LennardJones
from ase_engine import CUTOFF, EPSILON, SIGMA, AseEngine
from linear_engine import MLE, LinearEngine, linear_rows

from snapuq.campaign.recipe import EngineRecipe
from snapuq.core.engine import Engine, Relaxation
from snapuq.errors import EnvironmentProblem, SimulationError
from snapuq.propagate.store import Predictor, Store

HERE = Path(__file__).parent


def lennard_jones(member: int) -> AseEngine:
    """Argon, a little larger with each member."""
    calculator = LennardJones(sigma=SIGMA * (1 + 0.01 * member), epsilon=EPSILON, rc=CUTOFF, smooth=False)
    return AseEngine(calculator)


def linear_parameters(members: int) -> np.ndarray:
    """The MLE and members of the linear model, shape (members + 1, 3)."""
    steps = np.array([0.004, -0.003, 0.05]) * np.random.default_rng(5).normal(size=(members, 3))
    return np.vstack([MLE, MLE * (1.0 + steps)])


class LoggingEngine(LinearEngine):
    """The MLE of the linear model, which leaves a line for each relaxation and takes its time."""

    def __init__(self, theta: np.ndarray, log: Path, seconds: float) -> None:
        super().__init__(theta)
        self._log, self._seconds = log, seconds

    def relax(self, *arguments: Any, **options: Any) -> Relaxation:
        with self._log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(self._seconds)
        return super().relax(*arguments, **options)


def linear(member: int, arguments: Mapping[str, Any]) -> LinearEngine:
    """A pair potential whose rows are exact; the reference potential is none of the members."""
    theta = linear_parameters(max(member, 0))[member] if member >= 0 else MLE * [1.0, 1.02, 1.0]
    if member == 0 and "log" in arguments:
        return LoggingEngine(theta, Path(arguments["log"]), arguments.get("seconds", 0.0))
    return LinearEngine(theta)


def _segfault() -> None:
    ctypes.string_at(0)


def _abort_mpi() -> None:
    from mpi4py import MPI

    MPI.COMM_WORLD.Abort(3)


def _use_all_memory() -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
    np.ones(2**34, dtype=np.uint8)


def _print_junk() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.write("\x00junk}{" * 500_000)
        stream.flush()
    os.write(1, b"straight to the descriptor\n")


def _hang() -> None:
    # As LAMMPS does from a NaN energy: deaf to every signal that can be caught.
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
    while True:
        time.sleep(1000.0)


def _lammps_hang() -> None:
    """Minimise from an infinite energy: LAMMPS never comes back, and no handler ever runs."""
    from snapuq.lammps.session import Session

    with Session() as session:
        session.raw.commands_string(
            "units lj\natom_style atomic\nboundary p p p\nregion box block 0 6 0 6 0 6\ncreate_box 1 box\n"
            "create_atoms 1 single 3 3 3\ncreate_atoms 1 single 3 3 3\nmass 1 1.0\npair_style lj/cut 2.5\n"
            "pair_coeff 1 1 1.0 1.0\nmin_style cg\nminimize 1e-12 1e-12 100000000 100000000\n"
        )


def _one_rank_fails() -> None:
    """Fail on rank 1 of a worker of several ranks, as one replica of a band does; the others wait for it."""
    from mpi4py import MPI

    if MPI.COMM_WORLD.rank == 1:
        while True:
            time.sleep(1000.0)
    MPI.COMM_WORLD.Barrier()


def _unforeseen() -> None:
    raise ZeroDivisionError("by\nzero")


def _simulation_error() -> None:
    raise SimulationError("lost_atoms", "3 of 4")


def _no_lammps() -> None:
    raise EnvironmentProblem("no LAMMPS")


DEEDS: Mapping[str, Callable[[], None]] = {
    "quit": lambda: os._exit(3),
    "segfault": _segfault,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": os.abort,
    "mpi_abort": _abort_mpi,
    "memory": _use_all_memory,
    "junk": _print_junk,
    "hang": _hang,
    "lammps_hang": _lammps_hang,
    "one_rank_fails": _one_rank_fails,
    "bug": _unforeseen,
    "error": _simulation_error,
    "no_lammps": _no_lammps,
    "sleep": lambda: time.sleep(0.2),
    "long": lambda: time.sleep(3.0),
}


@contextmanager
def open_engines(arguments: Mapping[str, Any]) -> Iterator[Callable[[int], Engine]]:
    """Lennard-Jones members; ``deeds`` maps a member to what its engine does when it is made.

    With ``once``, a folder, a deed is done the first time only. ``calls`` is a file that receives a line for
    each engine made.
    """
    deeds = {int(member): DEEDS[deed] for member, deed in arguments.get("deeds", {}).items()}
    once = arguments.get("once")

    def make(member: int) -> Engine:
        if "calls" in arguments:
            with Path(arguments["calls"]).open("a") as file:
                file.write(f"{member} {os.getpid()}\n")
        mark = None if once is None else Path(once) / f"done_{member}"
        if member in deeds and (mark is None or not mark.exists()):
            if mark is not None:
                mark.touch()
            deeds[member]()
        return linear(member, arguments) if "propagation" in arguments else lennard_jones(member)

    if arguments.get("unable"):
        raise EnvironmentProblem("the engine is not there")
    yield make


def recipe(ranks: int = 1, **arguments: Any) -> EngineRecipe:
    """Recipe of these engines; the process needs ``PYTHONPATH`` to hold this folder."""
    return EngineRecipe("campaign_engines:open_engines", arguments, ranks)


@contextmanager
def open_linear_predictor(arguments: Mapping[str, Any]) -> Iterator[Predictor]:
    """Predictions of the linear model for ``members``, in the folder ``propagation``."""
    thetas = linear_parameters(arguments["members"])
    yield Predictor(linear_rows, thetas, Store(Path(arguments["propagation"])))


def linear_recipe(**arguments: Any) -> EngineRecipe:
    """Recipe of the linear model, with predictions."""
    opener, predictor = (f"campaign_engines:{name}" for name in ("open_engines", "open_linear_predictor"))
    return EngineRecipe(opener, arguments, 1, predictor)
