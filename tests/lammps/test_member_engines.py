"""Engines from plain data, options of LAMMPS, and LAMMPS on several ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from raw_scripts import published_snap, vacancy

from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair
from snapuq.errors import EnvironmentProblem, InputError, SimulationError
from snapuq.lammps import memory_files
from snapuq.lammps.engine import LammpsEngine
from snapuq.lammps.library import check_options, find_potential_file
from snapuq.lammps.member_engines import open_engines
from snapuq.lammps.memory_files import MemoryFile, plain_name
from snapuq.lammps.snapfiles import write_ensemble, write_reference
from snapuq.lammps.snapformat import read_potential
from snapuq.lammps.templates import Workspace

ZBL = ReferencePair("zbl 4.0 4.8", ("* * 74 74",))
MEMBERS = 3
#: Between one rank and two. At fixed positions only the order of sums differs, of some 1e5 terms that make
#: 500 eV. Relaxations end somewhere within fmax and smax, at positions that differ by fmax over the stiffness
#: of 10 eV/A^2; energies are quadratic in that, for 54 atoms.
TOLERANCES = {"fixed": 1e-10, "energy": 1e-7, "forces": 1e-4, "stress": 1e-6, "places": 1e-5}

ON_ALL_RANKS = """
import json, sys
from pathlib import Path
import numpy as np
from mpi4py import MPI
from raw_scripts import structure
from snapuq.lammps.member_engines import open_engines
from snapuq.parallel import world
import ase.build
world()
atoms = ase.build.bulk("W", cubic=True, a=3.17).repeat(3)
atoms.rattle(0.05, seed=1)
arguments = json.loads(Path(sys.argv[1]).read_text())
with open_engines(arguments) as make_engine:
    found = {"fixed": [], "energy": [], "forces": [], "stress": [], "places": [], "counts": []}
    for member in (2, -1):
        engine = make_engine(member)
        one, two = engine.evaluate(structure(atoms)), engine.relax(structure(atoms), cell="full")
        found["fixed"] += [one.energy, *one.forces.ravel(), *one.stress]
        found["energy"] += [two.evaluation.energy]
        found["forces"] += [*two.evaluation.forces.ravel()]
        found["stress"] += [*two.evaluation.stress]
        found["places"] += [*two.structure.positions.ravel(), *two.structure.cell.ravel()]
        found["counts"] += [two.converged, two.evaluations]
    rank = MPI.COMM_WORLD.Get_rank()
    exact = {name: [float(x).hex() for x in values] for name, values in found.items()}
    Path(sys.argv[2], f"rank_{rank}.json").write_text(json.dumps(exact))
"""

LONELY_FAILURE = """
import json, sys
from pathlib import Path
from raw_scripts import vacancy
from snapuq.lammps.member_engines import open_engines
from snapuq.parallel import world
world()
arguments = json.loads(Path(sys.argv[1]).read_text())
with open_engines(arguments) as make_engine:
    engine = make_engine(1)
    engine.evaluate(vacancy())
    Path(sys.argv[2]).unlink(missing_ok=True)
    engine.evaluate(vacancy())
"""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Exported potentials around the published tungsten SNAP."""
    names = [find_potential_file(f"W_2940_2017_2.{e}") for e in ("snapcoeff", "snapparam")]
    mle = read_potential(*names)
    rng = np.random.default_rng(0)
    theta = mle.coefficients * (1 + 1e-4 * rng.normal(size=(MEMBERS, len(mle.coefficients))))
    folder = tmp_path_factory.mktemp("potentials $x")
    write_ensemble(
        Ensemble(mle.settings, ZBL, mle.coefficients, mle.coefficients, theta, 0, "digest"), folder, "W"
    )
    eam = ReferencePair("eam/alloy", ("* * W_zhou.eam.alloy W",))
    include = write_reference(eam, ("W",), folder / "reference").include
    return {
        "folder": str(folder),
        "name": "W",
        "members": MEMBERS,
        "elements": ["W"],
        "reference": str(include),
        "options": [],
    }


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-sf", "omp", "-pk", "omp", "4"],
        ["-suffix", "hybrid", "kk", "omp"],
        ["-k", "on", "t", "4", "g", "1", "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half"],
        ["-pk", "gpu", "1", "tpa", "-1"],
    ],
)
def test_options_that_choose_an_accelerator_are_taken(words):
    assert check_options(words) == tuple(words)


@pytest.mark.parametrize(
    "words",
    [
        ["-in", "other.lmp"],
        ["-i", "other.lmp"],
        ["-log", "here"],
        ["-sf", "omp", "-l", "here"],
        ["-screen", "here"],
        ["-echo", "both"],
        ["-var", "x", "1"],
        ["-partition", "2x1"],
        ["-p", "2x1"],
        ["-reorder", "nth", "2"],
        ["-restart2data", "a", "b"],
        ["-r2data", "a", "b"],
        ["-mpicolor", "1"],
        ["-m", "1"],
        ["-help"],
        ["-cite", "x"],
        ["-nonbuf"],
        ["-skiprun"],
        ["omp"],
        ["on", "-k"],
        ["-sf"],
        ["-sf", "-pk", "omp", "4"],
        ["-pk", "omp", "4", "-sf"],
        ["-sf", "ompp"],
        ["-pk", "omp", "$(shell)"],
        ["-pk", "omp 4"],
        ["-pk", "omp", ""],
        ["-pk", "omp", 4],
        ["-12", "x"],
    ],
)
def test_all_other_options_are_refused(words):
    with pytest.raises(InputError):
        check_options(words)


@pytest.mark.lammps
def test_options_that_lammps_refuses(arguments):
    with (
        pytest.raises(InputError, match="does not start with these options"),
        open_engines({**arguments, "options": ["-pk", "omp", "x"]}),
    ):
        pass


@pytest.mark.lammps
def test_an_accelerator_gives_the_same_numbers(arguments):
    with open_engines(arguments) as make_engine:
        plain = make_engine(-1).evaluate(vacancy())
    with open_engines({**arguments, "options": ["-sf", "omp", "-pk", "omp", "2"]}) as make_engine:
        quick = make_engine(-1).evaluate(vacancy())
    # Sums in another order: 15 atoms of 9 eV.
    assert quick.energy == pytest.approx(plain.energy, rel=1e-13)
    assert quick.forces == pytest.approx(plain.forces, abs=1e-11)
    assert not np.array_equal(quick.forces, plain.forces)  # or it was no accelerator


@pytest.mark.lammps
def test_every_member_has_its_engine(arguments):
    with open_engines(arguments) as make_engine:
        energies = {m: make_engine(m).evaluate(vacancy()).energy for m in range(-1, MEMBERS + 1)}
        assert len(set(energies.values())) == MEMBERS + 2
        assert make_engine(2).evaluate(vacancy()).energy == energies[2]
        for member in (-2, MEMBERS + 1):
            with pytest.raises(InputError, match="no such member"):
                make_engine(member)
    with open_engines({**arguments, "reference": None}) as make_engine:
        with pytest.raises(InputError, match="no such member"):
            make_engine(-1)
        assert make_engine(0).evaluate(vacancy()).energy == energies[0]


def mpirun(ranks: int, script: Path, *words: Path) -> subprocess.CompletedProcess[str]:
    launcher = Path(sys.executable).parent / "mpirun"
    command = [
        launcher if launcher.exists() else "mpirun",
        "-n",
        ranks,
        sys.executable,
        "-m",
        "mpi4py",
        script,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [str(w) for w in (*command, *words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )


@pytest.mark.lammps
@pytest.mark.mpi
def test_two_ranks_share_a_cell_and_agree(arguments, tmp_path):
    script, data = tmp_path / "all_ranks.py", tmp_path / "arguments.json"
    script.write_text(ON_ALL_RANKS)
    data.write_text(json.dumps(arguments))
    found = {}
    for n in (1, 2):
        folder = tmp_path / f"ranks_{n}"
        folder.mkdir()
        done = mpirun(n, script, data, folder)
        assert done.returncode == 0, done.stderr
        found[n] = [json.loads((folder / f"rank_{r}.json").read_text()) for r in range(n)]
    assert found[2][0] == found[2][1]
    for name, tolerance in TOLERANCES.items():
        one, two = ([float.fromhex(x) for x in found[n][0][name]] for n in (1, 2))
        assert two == pytest.approx(one, rel=0, abs=tolerance), name
    assert found[2][0]["counts"][::2] == [(1.0).hex()] * 2
    assert found[2][0]["counts"][1::2] != [(1.0).hex()] * 2


@pytest.mark.lammps
@pytest.mark.mpi
def test_a_failure_on_one_of_two_ranks_ends_both(arguments, tmp_path):
    """LAMMPS opens files on the first rank alone; the other would wait for it for ever."""
    script, data = tmp_path / "failure.py", tmp_path / "arguments.json"
    script.write_text(LONELY_FAILURE)
    data.write_text(json.dumps(arguments))
    coefficients = Path(arguments["folder"], "members", "W_0001.snapcoeff")
    kept = coefficients.read_bytes()
    start = time.monotonic()
    try:
        done = mpirun(2, script, data, coefficients)
    finally:
        coefficients.write_bytes(kept)
    assert done.returncode != 0
    assert "snapuq: missing_file: " in done.stderr
    # Seconds, where a deadlock would last until the time limit of `mpirun` above.
    assert time.monotonic() - start < 60


def test_memory_files_have_no_name_and_keep_the_last_text(monkeypatch):
    for missing in (False, True):
        if missing:
            monkeypatch.delattr(os, "memfd_create")
        file = MemoryFile("test")
        file.write("a long first text")
        file.write("µ")
        assert file.read() == "µ"
        target = str(Path(file.path).readlink())
        assert "memfd:test" in target or target.endswith("(deleted)")
        file.close()
    monkeypatch.setattr(memory_files, "_DESCRIPTORS", Path("/nowhere"))
    with pytest.raises(EnvironmentProblem, match="mount /proc"):
        MemoryFile("test")


def test_a_plain_name_lasts_as_long_as_it_is_used(tmp_path):
    folder = tmp_path / "a $x b"
    folder.mkdir()
    (folder / "file").write_text("text")
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names of descriptors
    with pytest.raises(SimulationError, match=r"reason: in .*/a \$x b/file"), plain_name(folder) as name:
        assert Path(name, "file").read_text() == "text"
        raise SimulationError("reason", f"in {name}/file")
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
    with pytest.raises(SimulationError, match="missing_file"), plain_name(tmp_path / "none"):
        pass


KILLED = """
import sys, time
from pathlib import Path
from raw_scripts import published_snap, vacancy
from snapuq.lammps.engine import LammpsEngine
from snapuq.lammps.templates import Workspace
from snapuq.parallel import world
world()
workspace = Workspace()
LammpsEngine(published_snap(Path(sys.argv[1])), workspace).relax(vacancy())
print("relaxed", flush=True)
time.sleep(60)
"""


@pytest.mark.lammps
def test_a_killed_process_leaves_no_file(tmp_path):
    """Neither in the folder for temporary files nor in shared memory."""
    empty = tmp_path / "tmp"
    empty.mkdir()
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(empty)}
    command = [sys.executable, str(script), str(tmp_path / "potential")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "relaxed\n"
        process.send_signal(signal.SIGKILL)
    assert list(empty.iterdir()) == []
    assert [p for p in Path("/dev/shm").glob("*") if f"{process.pid:x}" in p.name.split("_")] == []
    assert list(Path("/dev/shm").glob(f"snapuq_{process.pid}*")) == []
    assert sorted(p.name for p in (tmp_path / "potential").iterdir()) == [
        "W.mod",
        "W_2940_2017_2.snapcoeff",
        "W_2940_2017_2.snapparam",
    ]


@pytest.mark.lammps
def test_many_folders_use_no_more_descriptors_than_one(tmp_path):
    with Workspace() as workspace:
        engines = []
        for i in range(20):
            engines.append(LammpsEngine(published_snap(tmp_path / str(i)), workspace))
            energy = engines[-1].evaluate(vacancy()).energy
            if i == 0:
                first, opened = energy, len(list(Path("/proc/self/fd").iterdir()))
            assert energy == first
        assert len(list(Path("/proc/self/fd").iterdir())) == opened
