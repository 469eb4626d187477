"""The same bits at 1, 2 and 3 ranks; errors end all ranks at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

CAMPAIGN = """
name: small
seed: 7
dataset:
  generate:
    elements: [W]
    structures: [bcc, fcc]
    configurations: 80
    max_atoms: 16
    label: {pair_style: eam/alloy, pair_coeff: ["* * W_zhou.eam.alloy W"]}
potential:
  rcutfac: 4.7
  twojmax: 4
  quadraticflag: 1
  elements: {W: {}}
fit: {calibrate: {violation: 0.05, folds: 3}}
ensemble: {members: 7}
campaign:
  properties:
    - phase: {structures: [bcc]}
    - elastic: {structure: bcc}
    - vacancy: {structure: bcc, supercell: 2}
reference: {potential: dataset}
"""

REDUCTIONS = """
import numpy as np
from snapuq.parallel import world
ranks = world()
order = [0, 2, 3, 4, 5, 7, 8, 9, 11]
value = lambda i: np.float64(0.1) * i + 1e16 * (-1) ** i
total = ranks.tree(value, order, lambda a, b: a + b)
listed = ranks.concatenate({i: value(i) for i in order if ranks.holds(i, 12)}, order)
if ranks.is_root:
    print(total.hex(), [float(x).hex() for x in listed])
"""


def mpirun(ranks: int, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    launcher = Path(sys.executable).parent / "mpirun"
    command = [
        str(launcher) if launcher.exists() else "mpirun",
        "-n",
        str(ranks),
        sys.executable,
        *map(str, words),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=240, env=environment, check=False
    )


def test_reductions_give_the_same_bits(tmp_path: Path) -> None:
    script = tmp_path / "reductions.py"
    script.write_text(REDUCTIONS)
    outputs = []
    for n in (1, 2, 3):
        done = mpirun(n, script, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0].strip()
    assert outputs[0] == outputs[1] == outputs[2]


def test_a_run_gives_the_same_bits_at_any_number_of_ranks(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CAMPAIGN)
    found = {}
    for n in (1, 2, 3):
        folder = tmp_path / f"ranks_{n}"
        done = mpirun(n, "-m", "snapuq", "run", "small.yaml", "-q", "--output", folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        with h5py.File(folder / "posterior.h5") as file:
            arrays = [file[name][()] for name in ("mle", "axes", "low", "high")]
            found[n] = (*[a.tobytes() for a in arrays], float(file.attrs["scale"]))
            assert np.isfinite(arrays[0]).all()
        members = sorted((folder / "potentials" / "members").iterdir())
        found[n] += tuple(p.read_bytes() for p in members)
        found[n] += tuple(
            (folder / f"{f}.csv").read_bytes() for f in ("summary", "results", "pointwise_metrics")
        )
        assert len(members) == 7
        assert (folder / "report.html").stat().st_size > 10_000
    assert found[1] == found[2] == found[3]


def test_a_finished_run_is_resumed_and_another_one_refused(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CAMPAIGN)
    words = ("-m", "snapuq", "run", "small.yaml", "--output", tmp_path / "run")
    light = ("--set", "ensemble.members=2", "--set", "campaign.properties=[phase: {structures: [bcc]}]")
    assert mpirun(1, *words, *light, cwd=tmp_path).returncode == 0
    summary = (tmp_path / "run" / "summary.csv").read_bytes()
    again = mpirun(2, *words, *light, cwd=tmp_path)
    assert again.returncode == 0
    assert "posterior.h5 is there already" in again.stdout
    assert (tmp_path / "run" / "summary.csv").read_bytes() == summary
    other = mpirun(2, *words, *light, "--set", "seed=8", cwd=tmp_path)
    assert other.returncode == 2
    assert other.stderr.count("already holds another run") == 1
    assert "Traceback" not in other.stderr
    assert (tmp_path / "run" / "summary.csv").read_bytes() == summary


def test_bad_data_end_all_ranks_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CAMPAIGN.replace("W_zhou", "nowhere"))
    done = mpirun(2, "-m", "snapuq", "run", "small.yaml", "-q", "--output", "out", cwd=tmp_path)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "snapuq: error" in line]
    assert len(lines) == 1
    assert "nowhere.eam.alloy" in lines[0]
    assert "Traceback" not in done.stderr
