"""Signals outside a campaign end all ranks at once, wherever they are, with one line and a status."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import Campaign

from snapuq.cli import main

pytestmark = pytest.mark.mpi

#: Seconds within which all is over, on a busy machine: rank 0 needs one for its message, and others 1.5 more
#: to see whether it speaks.
PROMPT = 20.0
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 3}
FILE = "name: w\ndataset: {path: .}\npotential: {rcutfac: 4.7, twojmax: 6, elements: {W: {}}}\n"
# Replaces the pipeline: the last rank computes in BLAS for ever, and the others wait for it in MPI.
STUCK = """
import os, sys, types
import numpy as np
import snapuq
from snapuq.cli import main
from snapuq.parallel import world
from snapuq.provenance import atomic_path
from snapuq.stopping import enter_stage

def execute(config, stages, quiet, deadline):
    enter_stage("fit", deadline)
    ranks = world()
    def work():
        with atomic_path(f"half_{ranks.rank}.h5") as path:
            path.write_text("half")
            # In one piece: those of several ranks may come together.
            os.write(1, b"ready" + bytes([10]))
            while ranks.rank == ranks.size - 1:
                np.linalg.svd(np.ones((300, 300)))
            ranks.from_root(lambda: None)
            ranks.together(lambda: None)
    work()

fake = types.ModuleType("snapuq.pipeline")
fake.execute = execute
sys.modules["snapuq.pipeline"] = snapuq.pipeline = fake
sys.exit(main(["run", *sys.argv[1:]]))
"""
RUN = """name: rows
seed: 7
dataset:
  generate:
    elements: [W]
    structures: [bcc, fcc]
    configurations: 300
    max_atoms: 16
    label: {pair_style: eam/alloy, pair_coeff: ["* * W_zhou.eam.alloy W"]}
potential: {rcutfac: 4.7, twojmax: 4, quadraticflag: 1, elements: {W: {}}}
fit: {calibrate: {violation: 0.05, folds: 3}}
ensemble: {members: 7}
campaign: {properties: []}
"""


def stuck(folder: Path, n_ranks: int, *words: str) -> Campaign:
    """Start ranks that never finish, and wait until they are all at it."""
    (folder / "script.py").write_text(STUCK)
    (folder / "campaign.yaml").write_text(FILE)
    campaign = Campaign(n_ranks, "script.py", "campaign.yaml", *words, cwd=folder)
    campaign.wait_for("ready", n_ranks)
    # From the word to the library.
    time.sleep(0.2)
    return campaign


def ended(campaign: Campaign, reason: str, stage: str, status: int) -> None:
    """Check that all is over soon, with one line."""
    start = time.monotonic()
    found, _, err = campaign.finish(2 * PROMPT)
    assert time.monotonic() - start < PROMPT
    assert found == status, err
    said = [line for line in err.splitlines() if line.startswith("snapuq:")]
    hint = "what is finished is kept: run the same command to go on"
    assert said == [f"snapuq: stopped by {reason} during {stage}; {hint}"]
    assert "Traceback" not in err
    assert campaign.is_gone()


@pytest.mark.parametrize(
    ("n_ranks", "rank", "number"),
    [
        *((1, 0, number) for number in STATUS),
        *((2, None, number) for number in STATUS),
        (2, 0, signal.SIGINT),
        (2, 1, signal.SIGINT),
        (4, 2, signal.SIGUSR1),
    ],
)
def test_a_signal_ends_ranks_that_wait_and_that_compute(
    n_ranks: int, rank: int | None, number: signal.Signals, tmp_path: Path
) -> None:
    campaign = stuck(tmp_path, n_ranks)
    campaign.send(campaign.process.pid if rank is None else campaign.ranks()[rank], number)
    ended(campaign, number.name, "fit", STATUS[number])
    assert not list(tmp_path.glob("half_*"))
    # Ranks that the launcher kills leave their temporary files to the next run.
    assert not list(tmp_path.glob(f".half_{rank}.*"))


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_the_time_limit_ends_a_fit_like_a_signal(n_ranks: int, tmp_path: Path) -> None:
    words = ("--time-limit", "12 s", "--set", "campaign.drain=1 s")
    ended(stuck(tmp_path, n_ranks, *words), "time limit", "fit", 3)


def test_without_a_launcher_it_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(STUCK)
    (tmp_path / "campaign.yaml").write_text(FILE)
    process = subprocess.Popen(
        [sys.executable, "script.py", "campaign.yaml"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PROMPT)
    assert process.returncode == 143
    assert len(err.splitlines()) == 1 and "stopped by SIGTERM during fit" in err
    assert not list(tmp_path.glob("*half_0*"))


@pytest.mark.lammps
@pytest.mark.slow
def test_ctrl_c_during_rows_at_two_ranks_and_usr1_during_the_report(tmp_path: Path) -> None:
    path, out = tmp_path / "rows.yaml", tmp_path / "out"
    path.write_text(RUN)
    words = ("-m", "snapuq", "run", str(path), "-o", str(out))
    campaign = Campaign(2, *words)
    campaign.wait_for("snapuq: fit ...")
    time.sleep(0.3)
    campaign.send(campaign.process.pid, signal.SIGINT)
    ended(campaign, "SIGINT", "fit", 130)
    assert main(["status", str(out)]) == 3
    # What a rank leaves that was killed while it wrote; the next run removes it, and nothing else.
    (out / ".posterior.h5.abcdefgh.h5").write_text("half")
    (out / ".notes").write_text("mine")
    campaign = Campaign(2, *words)
    campaign.wait_for("snapuq: report ...")
    campaign.send(campaign.ranks()[0], signal.SIGUSR1)
    found, _, err = campaign.finish()
    assert (found, "stopped by SIGUSR1 during report" in err) == (3, True), err
    assert not (out / "report.html").exists()
    assert {p.name for p in out.glob(".*")} <= {".lock", ".notes"}
    assert main([*words[2:], "-q"]) == 0
    assert (out / "report.html").is_file()


@pytest.mark.lammps
@pytest.mark.parametrize("stage", ["sample", "export", "evaluate", "campaign"])
def test_a_stage_that_comes_too_early_leaves_nothing(
    stage: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "rows.yaml", tmp_path / "out"
    path.write_text(RUN)
    assert main([stage, str(path), "-o", str(out)]) == 2
    assert f"{out}/posterior.h5: is missing; run 'snapuq fit' first" in capfd.readouterr().err
    assert not out.exists()
