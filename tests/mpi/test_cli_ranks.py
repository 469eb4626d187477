"""Errors under mpirun: told once, and no rank is left waiting."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.mpi

FILE = "name: w\ndataset: {path: .}\npotential: {rcutfac: 4.7, twojmax: 6, elements: {W: {}}}\n"
# Replaces the pipeline by one that fails on rank 1 alone while rank 0 waits for it.
FAILS_ON_ONE_RANK = """
import sys, types
import snapuq
from snapuq.cli import main
from snapuq.errors import InputError
from snapuq.parallel import world

def execute(config, stages, quiet, deadline):
    if world().rank == 1:
        raise {error}
    world().from_root(lambda: None)

fake = types.ModuleType("snapuq.pipeline")
fake.execute = execute
sys.modules["snapuq.pipeline"] = snapuq.pipeline = fake
sys.exit(main(["run", sys.argv[1]]))
"""


def mpirun(*words: str) -> subprocess.CompletedProcess[str]:
    launcher = Path(sys.executable).parent / "mpirun"
    command = [str(launcher) if launcher.exists() else "mpirun", "-n", "2", sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)


def test_an_error_on_all_ranks_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text(FILE + "sede: 1\n")
    done = mpirun("-m", "snapuq", "run", str(path))
    assert done.returncode == 2
    assert done.stderr.count("snapuq: error:") == 1
    assert f"{path}:4: sede: unknown key; did you mean 'seed'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "text", "status"),
    [
        ("InputError('only here')", "snapuq: error: only here", 2),
        ("ZeroDivisionError('a bug')", "ZeroDivisionError: a bug", 1),
    ],
)
def test_an_error_on_one_rank_ends_the_others(tmp_path: Path, error: str, text: str, status: int) -> None:
    campaign, script = tmp_path / "campaign.yaml", tmp_path / "script.py"
    campaign.write_text(FILE)
    script.write_text(FAILS_ON_ONE_RANK.format(error=error))
    start = time.monotonic()
    done = mpirun(str(script), str(campaign))
    # The grace period for the other ranks is 10 s; the rest is start-up on a busy machine.
    assert time.monotonic() - start < 60
    assert done.returncode == status
    assert text in done.stderr
