"""Child processes that end with the process that started them, and know nothing of its job.

``python -m snapuq.lifeline PARENT COMMAND ...`` lets any command end with its parent.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from snapuq.errors import EnvironmentProblem

_PR_SET_PDEATHSIG = 1
#: A child is not part of the job that its parent belongs to, neither of MPI's nor of the batch system's.
_FOREIGN = ("PMI", "PMIX", "HYD", "MPI_", "MPIR_", "OMPI_", "PRTE_", "SLURM_", "PBS_", "FLUX_")


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends; other systems than Linux cannot.

    Parameters
    ----------
    parent : int
        Process id that the parent must have; if it has gone already, so does this process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def child_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Environment of a child that is a job of its own.

    Parameters
    ----------
    own : Mapping
        Environment of this process.

    Returns
    -------
    dict
        The same without what launchers and batch systems have set.
    """
    kept = {key: value for key, value in own.items() if not key.startswith(_FOREIGN)}
    # The current folder may hold a file with the name of a module.
    return {**kept, "PYTHONSAFEPATH": "1"}


def launch_command(ranks: int, command: Sequence[str]) -> list[str]:
    """Start a command on several ranks, by a launcher that ends with this process.

    Parameters
    ----------
    ranks : int
        Number of ranks.
    command : sequence of str
        What each of them runs.

    Returns
    -------
    list of str
        The whole command.

    Raises
    ------
    EnvironmentProblem
        When there is no ``mpirun``.
    """
    launcher = shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")
    if launcher is None:
        raise EnvironmentProblem(f"tasks of {ranks} ranks need 'mpirun', and there is none on PATH")
    guard = [sys.executable, "-m", "snapuq.lifeline", str(os.getpid())]
    return [*guard, launcher, "-n", str(ranks), *command]


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
