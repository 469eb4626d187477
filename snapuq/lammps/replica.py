"""One image of LAMMPS's nudged elastic band: what each rank of `snapuq.lammps.neb`'s child job runs.

Started as ``python -m snapuq.lammps.replica JOB OUTCOME LOG``, with descriptors of files without a name.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snapuq.errors import EnvironmentProblem, InputError, SimulationError
from snapuq.lammps.memory_files import MemoryFile, plain_name
from snapuq.lammps.session import Session
from snapuq.lammps.templates import check_value, load_template
from snapuq.lifeline import die_with
from snapuq.parallel import abort, load_mpi, world


def run_replica(job: Mapping[str, Any], comm: Any) -> dict[str, Any] | None:
    """Relax the band; all ranks call this in step.

    Parameters
    ----------
    job : Mapping
        What `snapuq.lammps.neb.run_band` describes.
    comm : mpi4py.MPI.Comm
        One rank for each image.

    Returns
    -------
    dict or None
        On rank 0 ``positions`` (images, N, 3), A, unwrapped from those of the data file, ``residual``, the
        largest force of the band on an atom between the ends, eV/A, and ``steps``.

    Raises
    ------
    SimulationError
        When LAMMPS stops on this rank.
    EnvironmentProblem
        When LAMMPS has no ``neb``.
    """
    rank, include, n = comm.Get_rank(), Path(job["include"]), int(job["atoms"])
    data, band = MemoryFile("snapuq_data"), MemoryFile("snapuq_band")
    data.write(job["data"])
    band.write(job["bands"][rank])
    template = load_template("neb")
    with Session(job["options"], comm, comm.Get_size()) as session, plain_name(include.parent) as folder:
        if "REPLICA" not in session.raw.installed_packages:
            raise EnvironmentProblem("this LAMMPS has no 'neb' (package REPLICA); use 'method: band'")
        values = {"data": data.path, "band": band.path, "potential": f"{folder}/{include.name}"}
        settings = template.checked({**values, "style": "each", **job["values"]})
        for key, value in {"snapdir": folder, **job["variables"]}.items():
            check_value(key, value)
            settings[key] = value
        for key, value in settings.items():
            session.command(f"variable {key} index {value}")
        session.guarded(session.raw.commands_string, template.text)

        def gather(name: str, kind: int) -> np.ndarray:
            found = session.guarded(session.raw.gather_atoms, name, kind, 3)
            return np.array(found, dtype=np.float64).reshape(n, 3)

        positions = gather("x", 1) + gather("image", 0) @ np.array(job["cell"])
        # The relaxed states at the ends keep their own small forces.
        is_end = rank in (0, comm.Get_size() - 1)
        residual = 0.0 if is_end else float(np.linalg.norm(gather("f", 1), axis=1).max())
        steps = round(session.equal("step"))
    found = np.empty((comm.Get_size(), 3 * n + 1)) if rank == 0 else None
    comm.Gather(np.append(positions.ravel(), residual), found, root=0)
    if found is None:
        return None
    worst = float(found[:, -1].max())
    return {"positions": found[:, :-1].reshape(-1, n, 3).tolist(), "residual": worst, "steps": steps}


def main(arguments: list[str]) -> None:
    """Read the job, run it, and tell how it ended.

    Parameters
    ----------
    arguments : list of str
        Descriptors of the job, of the outcome and of the log.
    """
    # The launcher's proxy ends with the launcher, and the launcher with the process that asked for the band.
    die_with(os.getppid())
    job, outcome = (Path(f"/proc/self/fd/{int(number)}") for number in arguments[:2])
    for stream in (sys.stdout, sys.stderr):
        os.dup2(int(arguments[2]), stream.fileno())

    def tell(**message: Any) -> None:
        with outcome.open("a", encoding="utf-8") as file:
            file.write(json.dumps(message) + "\n")

    try:
        world()
        found = run_replica(json.loads(job.read_text(encoding="utf-8")), load_mpi().COMM_WORLD)
        if found is not None:
            tell(**found)
    except SimulationError as error:
        tell(failure=error.reason, detail=error.detail)
        abort(1)
    except (EnvironmentProblem, InputError) as error:
        tell(unable=str(error))
        abort(1)


if __name__ == "__main__":
    main(sys.argv[1:])
