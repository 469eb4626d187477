"""LAMMPS's ``neb`` as a task of a campaign: a job of replicas started by a worker, alone or under mpirun."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import pytest
from processes import PATIENCE, Campaign, records

from snapuq.campaign.plan import PropertySpec, expand, plan
from snapuq.campaign.recipe import EngineRecipe
from snapuq.campaign.run import Outcome, collect, run_campaign
from snapuq.campaign.status import write_plan
from snapuq.core.ensemble import Ensemble
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.snapfiles import write_ensemble
from snapuq.lammps.snapformat import read_potential
from snapuq.parallel import SERIAL, Ranks, world
from snapuq.progress import Progress
from snapuq.properties import build_params
from snapuq.results.journal import load_results
from snapuq.stopping import StopRequest

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

#: Both ways settle the saddle to 1e-4 eV/A on curvatures above 0.01 eV/A^2, eV.
BOTH_WAYS = 1.0e-4
#: Wall-clock limit of a task, s: a band takes two to five.
LIMIT = 60.0


def tasks(methods: tuple[str, ...] = ("band", "neb"), **data: object) -> tuple[PropertyTask, ...]:
    """A vacancy hop in 15 atoms for the MLE, by each method."""
    hop = {"structure": "bcc", "supercell": 2, "images": 3, **data}
    specs = [PropertySpec("barrier", build_params("barrier", {**hop, "method": m})) for m in methods]
    return plan(expand(specs, ("Mo",)), {0: "published"}, 1, engine={"name": "Mo"})


def endless() -> tuple[PropertyTask, ...]:
    """A band that takes longer than any test."""
    return tasks(("neb",), supercell=5, images=5, band_fmax=1.0e-12)


def write_potential(folder: Path) -> None:
    """Export the published molybdenum SNAP as a campaign finds its potentials."""
    files = (find_potential_file(f"Mo_Zuo_JPCA2020.snap{kind}") for kind in ("coeff", "param"))
    best = read_potential(*files)
    theta = best.coefficients
    ensemble = Ensemble(best.settings, None, theta, theta, theta[None], 0, "test")
    write_ensemble(ensemble, folder / "potentials", "Mo")


def run(
    folder: Path,
    planned: tuple[PropertyTask, ...],
    ranks: Ranks = SERIAL,
    worker_ranks: int = 1,
    limit: float = LIMIT,
) -> Outcome:
    """Run what the journal lacks, with the engines of a real campaign."""
    known = {"name": "Mo", "members": 1, "elements": ["Mo"], "reference": None, "options": []}
    arguments = {"folder": str(folder / "potentials"), **known}
    recipe = EngineRecipe("snapuq.lammps.member_engines:open_engines", arguments, worker_ranks)
    if ranks.is_root:
        write_plan(folder / "journal", planned, ranks.size)
    with StopRequest() as stop:
        silent = Progress("campaign", len(planned), silent=True)
        return run_campaign(planned, recipe, folder / "journal", ranks, silent, stop, limit)


def results(folder: Path, planned: tuple[PropertyTask, ...]) -> tuple[PropertyResult, ...]:
    return collect(planned, load_results(folder / "journal"))


def check_both_ways(folder: Path) -> None:
    band, neb = results(folder, tasks())
    for found in (band, neb):
        assert not found.failure, found.detail
        assert found.converged
        assert not found.reconfigured
        assert found.values["negative_modes"].value == 1
    assert neb.label == "barrier-bcc-neb"
    assert neb.values["barrier"].value == pytest.approx(band.values["barrier"].value, abs=BOTH_WAYS)


@pytest.mark.parametrize("worker_ranks", [1, 2])
def test_a_worker_runs_neb(worker_ranks, tmp_path):
    """In a worker of one rank, and in one of two, which ask for the band together."""
    write_potential(tmp_path)
    assert run(tmp_path, tasks(), worker_ranks=worker_ranks).is_complete
    check_both_ways(tmp_path)


def test_workers_under_mpirun_run_neb(tmp_path):
    """The launcher of a band must not take itself for a part of the campaign's job."""
    write_potential(tmp_path)
    campaign = Campaign(2, __file__, str(tmp_path), "both")
    status, out, err = campaign.finish()
    assert status == 0, err
    assert json.loads(out)["is_complete"]
    assert campaign.is_gone()
    check_both_ways(tmp_path)


def test_a_band_beyond_the_limit_of_its_task_ends_and_is_recorded(tmp_path):
    write_potential(tmp_path)
    assert run(tmp_path, endless(), limit=4.0).is_complete
    (found,) = results(tmp_path, endless())
    assert found.failure == "time_limit"


def test_no_replica_survives_the_launcher_of_the_campaign(tmp_path):
    write_potential(tmp_path)
    campaign = Campaign(1, __file__, str(tmp_path), "endless")
    end = time.monotonic() + PATIENCE
    while len([pid for pid in campaign.pids() if is_replica(pid)]) < 5:
        assert time.monotonic() < end, "no replicas"
        assert campaign.process.poll() is None, campaign.process.communicate()
        time.sleep(0.05)
    campaign.send(campaign.process.pid, signal.SIGKILL)
    campaign.finish()
    assert campaign.is_gone()
    assert records(tmp_path / "journal") == []


def is_replica(pid: int) -> bool:
    try:
        return b"snapuq.lammps.replica" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    outcome = run(Path(sys.argv[1]), {"both": tasks, "endless": endless}[sys.argv[2]](), world())
    if world().is_root:
        print(json.dumps({"is_complete": outcome.is_complete}), flush=True)
