"""A campaign of real LAMMPS tasks that is killed over and over again, and one with a bug on one rank."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Campaign, records, shared_memory, wait_for_records

from snapuq.cli import INCOMPLETE, main

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

#: 73 members, the MLE and the reference potential: 300 tasks of about 0.2 s.
MEMBERS, N_TASKS = 73, 300
N_KILLS = 30
#: Tasks that two ranks may still finish between a look at the journal and their end.
IN_FLIGHT = 6
CAMPAIGN = f"""
name: soak
seed: 1
dataset:
  generate:
    elements: [W]
    structures: [bcc, fcc, hcp, sc]
    configurations: 240
    max_atoms: 16
    label: {{pair_style: eam/alloy, pair_coeff: ["* * W_zhou.eam.alloy W"]}}
  test: {{fraction: 0.1}}
potential:
  rcutfac: 4.73442
  twojmax: 6
  elements: {{W: {{radelem: 0.5, wj: 1.0}}}}
  reference: {{pair_style: zbl 4.0 4.8, pair_coeff: ["* * 74 74"]}}
ensemble: {{members: {MEMBERS}}}
campaign:
  drain: 0.5 s
  # Tasks that last long enough for thirty kills to find work.
  propagation: brute
  properties:
    - phase: {{structures: [bcc, fcc]}}
    - vacancy: {{structure: bcc, supercell: 3}}
    - vacancy: {{structure: fcc, supercell: 3}}
reference: {{potential: dataset}}
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The campaign file, and a run that has everything but the properties."""
    folder = tmp_path_factory.mktemp("soak")
    file = folder / "campaign.yaml"
    file.write_text(CAMPAIGN)
    for stage in ("fit", "sample"):
        assert main([stage, str(file), "-o", str(folder / "fitted"), "-q"]) == 0
    return file, folder / "fitted"


@pytest.fixture
def start(fitted: tuple[Path, Path], tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A fresh copy of that run, and the command that computes its properties."""
    file, origin = fitted
    run = tmp_path / "run"
    shutil.copytree(origin, run)
    yield run, ["-m", "snapuq", "campaign", str(file), "-o", str(run)]


def strike(campaign: Campaign, target: str, number: int) -> None:
    """Kill one of the processes of a campaign; one that is not there yet stands for the launcher."""
    victims = {
        "launcher": [campaign.process.pid],
        "rank 0": [pid for rank, pid in campaign.ranks().items() if rank == 0],
        "rank 1": [pid for rank, pid in campaign.ranks().items() if rank == 1],
        "worker": campaign.workers(),
    }[target] or [campaign.process.pid]
    campaign.send(victims[0], number)
    if target == "worker":
        # That does not end the campaign; this does.
        time.sleep(0.5)
        campaign.send(campaign.process.pid, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_thirty_kills_at_random_moments_change_nothing(
    start: tuple[Path, list[str]], fitted: tuple[Path, Path], tmp_path: Path
) -> None:
    run, words = start
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(fitted[1], undisturbed)
    assert main(["campaign", str(fitted[0]), "-o", str(undisturbed), "-q"]) == 0

    rng, before = random.Random(30), shared_memory()
    ways = [(t, s) for t in ("launcher", "rank 0", "rank 1") for s in (signal.SIGKILL, signal.SIGTERM)]
    ways.append(("worker", signal.SIGKILL))
    for kill in range(N_KILLS):
        campaign = Campaign(2, *words)
        # From the start of the processes to some tasks into the campaign, however fast the machine is.
        left = N_TASKS - len(records(run / "journal"))
        new = min(rng.randint(0, 5), left // (N_KILLS - kill) - IN_FLIGHT)
        if new > 0:
            wait_for_records(run / "journal", len(records(run / "journal")) + new, campaign)
        time.sleep(rng.uniform(0.0, 0.2) if new > 0 else rng.uniform(0.2, 2.0))
        known = records(run / "journal")
        strike(campaign, *ways[kill % len(ways)])
        campaign.finish()
        assert campaign.is_gone()
        assert set(known) <= set(records(run / "journal"))
    assert len(records(run / "journal")) < N_TASKS, "the kills came too late to matter"

    campaign = Campaign(2, *words)
    status, _, err = campaign.finish(timeout=600)
    assert status == 0, err
    keys = [json.loads(line)["record"]["key"] for line in records(run / "journal")]
    assert len(keys) == len(set(keys)) == N_TASKS
    assert campaign.is_gone()
    assert shared_memory() <= before
    assert (run / "summary.csv").read_bytes() == (undisturbed / "summary.csv").read_bytes()


def test_case_21_a_bug_in_a_supervisor_ends_all_ranks(start: tuple[Path, list[str]], tmp_path: Path) -> None:
    run, words = start
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from snapuq.campaign.supervisor import Supervisor\n"
        "from snapuq.cli import main\n"
        "from snapuq.parallel import world\n"
        "original = Supervisor._finish\n"
        "def finish(self, result):\n"
        "    if world().rank == 1:\n"
        "        raise ZeroDivisionError('a bug')\n"
        "    original(self, result)\n"
        "Supervisor._finish = finish\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    begin = time.monotonic()
    campaign = Campaign(2, str(script), *words[2:])
    status, _, err = campaign.finish()
    assert time.monotonic() - begin < 60.0
    assert status != 0
    assert "ZeroDivisionError: a bug" in err
    assert campaign.is_gone()
    assert main(["status", str(run), "-q"]) == INCOMPLETE


def test_status_while_running_and_a_second_job_is_refused(
    start: tuple[Path, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    run, words = start
    campaign = Campaign(2, *words)
    wait_for_records(run / "journal", 5, campaign)
    assert main(["status", str(run)]) == INCOMPLETE
    assert "running, 2 ranks" in capfd.readouterr().out
    assert main(["campaign", *words[3:]]) == 2
    assert "another run is working in this folder" in capfd.readouterr().err
    campaign.send(campaign.process.pid, signal.SIGUSR1)
    status, out, _ = campaign.finish()
    assert status == 0
    assert "stopped (SIGUSR1)" in out
    assert not (run / "summary.csv").exists()
    assert main(["status", str(run)]) == INCOMPLETE
    assert "not running; last 2 ranks" in capfd.readouterr().out


def test_more_members_and_other_parameters_run_what_is_new_alone(
    fitted: tuple[Path, Path], tmp_path: Path
) -> None:
    file, origin = fitted
    run = tmp_path / "run"
    shutil.copytree(origin, run)

    def campaign(members: int, strain: float) -> int:
        properties = f"[{{phase: {{structures: [bcc]}}}}, {{elastic: {{structure: bcc, strain: {strain}}}}}]"
        sets = [f"ensemble.members={members}", f"campaign.properties={properties}"]
        words = [str(file), "-o", str(run), "-q", *(w for s in sets for w in ("--set", s))]
        for stage in ("sample", "campaign"):
            assert main([stage, *words]) == 0
        return len(records(run / "journal"))

    # The MLE and the reference potential as well.
    assert campaign(5, 1.0e-3) == 2 * (5 + 2)
    assert campaign(8, 1.0e-3) == 2 * (8 + 2)
    assert campaign(8, 2.0e-3) == 3 * (8 + 2)
    assert campaign(8, 1.0e-3) == 3 * (8 + 2)
    assert main(["status", str(run), "-q"]) == 0
