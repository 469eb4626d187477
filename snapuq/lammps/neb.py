"""LAMMPS's own nudged elastic band: one replica for each image, in a job of its own that fails alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snapuq.errors import EnvironmentProblem, SimulationError
from snapuq.lammps.memory_files import MemoryFile
from snapuq.lifeline import child_environment, launch_command

#: Seconds after which a band is given up, whatever limit the task has: a replica may hang.
TIME_LIMIT = 3600.0
#: Seconds for the end of a job that was killed.
_BURIAL = 20.0
# There are more replicas than cores: whoever waits for its neighbours must let them run.
_YIELD = {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}
# What `snapuq.lammps.session` says before it ends a job.
_SAID = re.compile(r"snapuq: (\w+): (.{0,200})")
#: Steps between two looks at the forces; numbers of steps are multiples of it.
NEVERY = 10


def run_band(
    include: Path,
    variables: Mapping[str, str],
    options: Sequence[str],
    data: str,
    positions: NDArray[np.float64],
    *,
    cell: NDArray[np.float64],
    fmax: float,
    max_steps: int,
    time_limit: float = TIME_LIMIT,
) -> tuple[NDArray[np.float64], float, int]:
    """Relax a band by ``neb.lmp`` on as many partitions as there are images.

    Nothing has a name on any disk, and all processes end with this one, whatever ends it.

    Parameters
    ----------
    include : Path
        LAMMPS file with ``pair_style`` and ``pair_coeff``.
    variables : Mapping
        Variables of that file.
    options : sequence of str
        Words of LAMMPS's command line that pass `check_options`.
    data : str
        Data file of the first image.
    positions : ndarray, shape (images, N, 3)
        All images in the frame of that file, without jumps across the cell, A.
    cell : ndarray, shape (3, 3)
        Cell of that file, A.
    fmax : float
        Tolerance on the largest force of the band on an atom, eV/A.
    max_steps : int
        Limit on steps before climbing, and again while climbing.
    time_limit : float
        Seconds after which the job is killed.

    Returns
    -------
    positions : ndarray, shape (images, N, 3)
        Relaxed images.
    residual : float
        Largest force of the band on an atom of an image between the ends, eV/A.
    evaluations : int
        Force evaluations of all replicas.

    Raises
    ------
    SimulationError
        ``time_limit``, ``crashed``, ``not_finite``, or the reason of the replica that failed.
    EnvironmentProblem
        When there is no ``mpirun``, or LAMMPS has no ``neb``.
    """
    steps = NEVERY * -(-max_steps // NEVERY)
    job = {
        "include": str(include.resolve()),
        "variables": dict(variables),
        "options": list(options),
        "data": data,
        "bands": [coordinate_text(image) for image in positions],
        "atoms": positions.shape[1],
        "cell": cell.tolist(),
        "values": {"fmax": f"{fmax:.17g}", "max_steps": str(steps)},
    }
    found = _run(json.dumps(job), len(positions), time_limit)
    relaxed, residual = np.array(found["positions"]), float(found["residual"])
    if not (np.isfinite(relaxed).all() and np.isfinite(residual)):
        raise SimulationError("not_finite", "an image of the band is not finite")
    # Each of the two stages begins with an evaluation that is no step.
    return relaxed, residual, len(positions) * (int(found["steps"]) + 2)


def coordinate_text(positions: NDArray[np.float64]) -> str:
    """Write coordinates as ``neb`` reads them, exact to the last bit.

    Parameters
    ----------
    positions : ndarray, shape (N, 3)
        In the order of atom IDs, A.

    Returns
    -------
    str
        The file's content.
    """
    rows = (f"{i} {x:.17g} {y:.17g} {z:.17g}" for i, (x, y, z) in enumerate(positions.tolist(), 1))
    return "\n".join([str(len(positions)), *rows]) + "\n"


def _run(job: str, ranks: int, time_limit: float) -> dict[str, Any]:
    """Run the job on so many ranks and give what rank 0 told."""
    with ExitStack() as files:
        order, outcome = (
            files.enter_context(closing(MemoryFile(f"snapuq_{name}"))) for name in ("job", "outcome")
        )
        log = files.enter_context(tempfile.TemporaryFile())
        order.write(job)
        # Launchers drop what ranks said last: they write to the log themselves.
        inherited = (order.descriptor, outcome.descriptor, log.fileno())
        replica = [sys.executable, "-m", "snapuq.lammps.replica", *map(str, inherited)]
        try:
            process = subprocess.Popen(
                launch_command(ranks, replica),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child_environment(os.environ) | _YIELD,
                pass_fds=inherited,
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentProblem(f"a band cannot be started ({error.strerror})") from error
        try:
            process.wait(time_limit)
        except subprocess.TimeoutExpired:
            raise SimulationError("time_limit", f"no band within {time_limit:g} s") from None
        finally:
            _kill(process)
        log.seek(0)
        words = " ".join(log.read().decode("utf-8", "replace").split())
        return _told([json.loads(line) for line in outcome.read().splitlines()], words)


def _told(messages: Sequence[dict[str, Any]], words: str) -> dict[str, Any]:
    """Outcome of a job, from what its ranks told and from its last words."""
    for message in messages:
        if "unable" in message:
            raise EnvironmentProblem(message["unable"])
        if "failure" in message:
            raise SimulationError(message["failure"], message["detail"])
    if messages:
        return messages[0]
    # The session has said why before it ended a job in which one replica alone failed.
    said = _SAID.search(words)
    if said is not None:
        raise SimulationError(said[1], said[2])
    raise SimulationError("crashed", f"a replica ended: {words[-200:]}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the launcher and its process group; the ranks end with their launcher."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_BURIAL)
