"""Members that start from the MLE, in campaigns that are cut short, share a disk or lose the MLE itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from campaign_engines import linear_recipe
from processes import TESTS, Campaign, records, wait_for_records

from snapuq.campaign.plan import PropertySpec, expand, plan
from snapuq.campaign.recipe import EngineRecipe
from snapuq.campaign.run import Outcome, collect, run_campaign
from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.snapfiles import write_ensemble
from snapuq.lammps.snapformat import read_potential
from snapuq.parallel import SERIAL, Ranks, world
from snapuq.progress import Progress
from snapuq.propagate.store import MOST_ATTEMPTS
from snapuq.properties import build_params
from snapuq.results.journal import load_results
from snapuq.stopping import StopRequest
from snapuq.uq.ensemble_file import save_ensemble

pytestmark = pytest.mark.mpi

MEMBERS = 4
#: Reference, MLE and members; of three properties.
N = 3 * (MEMBERS + 2)
#: Wall-clock limit of a task, s: they take less than one.
LIMIT = 60.0


def tasks(members: int = MEMBERS, properties: tuple[str, ...] = ("eos", "vacancy", "barrier")):
    """A rigid crystal by rows, a relaxation by Newton, and a saddle."""
    fcc = {"structure": "fcc:Cu@3.6"}
    known = {
        "eos": fcc,
        "vacancy": {**fcc, "supercell": 2},
        "barrier": {**fcc, "supercell": 2, "images": 5},
    }
    specs = [PropertySpec(name, build_params(name, known[name]), "auto") for name in properties]
    potentials = {member: f"digest {member}" for member in range(-1, members + 1)}
    return plan(expand(specs, ("Cu",)), potentials, 1, engine={"name": "linear"})


def campaign(
    folder: Path, planned: tuple[PropertyTask, ...], recipe: EngineRecipe, ranks: Ranks, limit: float
) -> Outcome:
    # Workers are processes of their own and find the test engines by this.
    os.environ["PYTHONPATH"] = str(TESTS)
    with StopRequest() as stop:
        silent = Progress("campaign", len(planned), silent=True)
        return run_campaign(planned, recipe, folder / "journal", ranks, silent, stop, limit)


def run(
    folder: Path,
    ranks: Ranks = SERIAL,
    *,
    members: int = MEMBERS,
    properties: tuple[str, ...] = ("eos", "vacancy", "barrier"),
    limit: float = LIMIT,
    **arguments: object,
) -> Outcome:
    """Run what the journal lacks; `arguments` are those of `campaign_engines.open_engines`."""
    recipe = linear_recipe(members=members, propagation=str(folder / "propagation"), **arguments)
    return campaign(folder, tasks(members, properties), recipe, ranks, limit)


def on_two_ranks(folder: Path, **options: object) -> Campaign:
    return Campaign(2, str(Path(__file__)), str(folder), json.dumps(options))


def everything(folder: Path, planned: tuple[PropertyTask, ...] | None = None) -> list[tuple[object, ...]]:
    """Results with what equality leaves out, but for wall times."""
    found = collect(tasks() if planned is None else planned, load_results(folder / "journal"))
    return [(r, r.propagation, r.fallbacks, r.evaluations, r.detail) for r in found]


def by_brute_force(found: list[PropertyResult]) -> bool:
    """Whether there is a result, which owes nothing to the MLE, and says so."""
    return all(not r.failure and r.propagation == "brute" and r.fallbacks > 0 for r in found)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """What one rank gives when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(folder).is_complete
    found = everything(folder)
    assert [r.failure for r, *_ in found] == [""] * N
    ways = {(r.label, way) for r, way, *_ in found if isinstance(r, PropertyResult) and r.member > 0}
    assert ways == {
        ("eos-fcc-Cu", "batched"),
        ("vacancy-fcc-Cu", "batched+newton"),
        ("barrier-fcc-Cu", "batched+newton"),
    }
    assert sum(fallbacks for _, _, fallbacks, *_ in found) == 0
    return found


def test_two_ranks_give_the_same_bits(tmp_path: Path, undisturbed) -> None:
    process = on_two_ranks(tmp_path)
    status, _, errors = process.finish()
    assert status == 0, errors
    assert everything(tmp_path) == undisturbed


def test_killed_campaigns_give_the_same_bits(tmp_path: Path, undisturbed) -> None:
    for n in (2, 8):
        process = on_two_ranks(tmp_path)
        wait_for_records(tmp_path / "journal", n, process)
        process.send(process.process.pid, signal.SIGKILL)
        process.finish()
        assert process.is_gone()
    assert 8 <= len(records(tmp_path / "journal")) < N
    assert run(tmp_path).is_complete
    assert everything(tmp_path) == undisturbed


@pytest.mark.parametrize("damage", ["removed", "cut short"])
def test_a_folder_that_was_removed_or_damaged_is_made_anew(damage: str, tmp_path: Path, undisturbed) -> None:
    assert run(tmp_path, members=1).is_complete
    folder = tmp_path / "propagation"
    files = sorted(p for p in folder.iterdir() if p.suffix in (".npz", ".npy"))
    assert {p.suffix for p in files} == {".npz", ".npy"}
    if damage == "removed":
        shutil.rmtree(folder)
    else:
        for path in files:
            os.truncate(path, path.stat().st_size // 2)
    assert run(tmp_path).is_complete
    assert everything(tmp_path) == undisturbed


def test_without_a_value_of_the_mle_members_are_computed_by_themselves(tmp_path: Path, undisturbed) -> None:
    assert run(tmp_path, deeds={0: "error"}, properties=("vacancy",)).is_complete
    found = [r for r, *_ in everything(tmp_path, tasks(properties=("vacancy",)))]
    assert [(r.member, r.failure) for r in found if r.failure] == [(0, "lost_atoms")]
    assert by_brute_force([r for r in found if r.member > 0])
    close(found, undisturbed)


def test_an_mle_that_ends_its_workers_costs_no_member(tmp_path: Path, undisturbed) -> None:
    calls = tmp_path / "calls"
    assert run(tmp_path, deeds={0: "kill"}, calls=str(calls), properties=("vacancy",)).is_complete
    found = [r for r, *_ in everything(tmp_path, tasks(properties=("vacancy",)))]
    assert [(r.member, r.failure) for r in found if r.failure] == [(0, "crashed")]
    assert by_brute_force([r for r in found if r.member > 0])
    close(found, undisturbed)
    # By its own task three times, and by the first member that found no record.
    assert sum(line.startswith("0 ") for line in calls.read_text().splitlines()) == 2 + MOST_ATTEMPTS


@pytest.mark.slow
def test_an_mle_that_never_ends_costs_one_member_at_most(tmp_path: Path, undisturbed) -> None:
    """The second attempt is a member's; whoever comes after it knows."""
    assert run(tmp_path, deeds={0: "hang"}, properties=("vacancy",), limit=3.0).is_complete
    found = [r for r, *_ in everything(tmp_path, tasks(properties=("vacancy",)))]
    lost = [r.member for r in found if r.failure]
    assert {r.failure for r in found if r.failure} == {"time_limit"}
    assert 0 in lost
    assert len(lost) <= 2
    assert by_brute_force([r for r in found if r.member > 0 and not r.failure])
    # Run again, as the others.
    assert run(tmp_path, properties=("vacancy",), limit=10.0).is_complete
    again = [r for r, *_ in everything(tmp_path, tasks(properties=("vacancy",)))]
    assert not [r for r in again if r.failure]
    close(again, undisturbed)


def close(found: list[PropertyResult], undisturbed: list[tuple[object, ...]]) -> None:
    """Newton and brute force end within the tolerance on forces; energies (eV), volumes (A^3) of 350."""
    known = {(r.label, r.member): r for r, *_ in undisturbed if isinstance(r, PropertyResult)}
    for result in found:
        for name, quantity in result.values.items():
            exact = known[result.label, result.member].values[name].value
            assert quantity.value == pytest.approx(exact, abs=1.0e-6 if quantity.unit == "eV" else 1.0e-3)


def test_two_ranks_that_want_the_same_record_compute_it_once(tmp_path: Path, undisturbed) -> None:
    """The MLE's results are known, its records are not: the first member of each rank asks for them."""
    assert run(tmp_path, members=0, properties=("vacancy",)).is_complete
    shutil.rmtree(tmp_path / "propagation")
    log = tmp_path / "log"
    process = on_two_ranks(tmp_path, properties=["vacancy"], log=str(log), seconds=0.5)
    status, _, errors = process.finish()
    assert status == 0, errors
    vacancy = tasks(properties=("vacancy",))
    assert everything(tmp_path, vacancy) == [u for u in undisturbed if u[0].label == "vacancy-fcc-Cu"]
    assert len(set(log.read_text().split())) == 1


def write_tungsten(folder: Path, members: int) -> EngineRecipe:
    """Export the published tungsten SNAP with members around it, as a fit leaves them."""
    mle = read_potential(*(find_potential_file(f"W_2940_2017_2.snap{kind}") for kind in ("coeff", "param")))
    theta = mle.coefficients
    noise = np.random.default_rng(0).normal(size=(members, len(theta)))
    pair = ReferencePair("zbl 4.0 4.8", ("* * 74 74",))
    ensemble = Ensemble(mle.settings, pair, theta, theta, theta * (1 + 1.0e-3 * noise), 0, "test")
    write_ensemble(ensemble, folder / "potentials", "W")
    save_ensemble(folder / "ensemble.h5", ensemble)
    arguments = {
        "folder": str(folder / "potentials"),
        "name": "W",
        "members": members,
        "elements": ["W"],
        "reference": None,
        "options": [],
        "ensemble": str(folder / "ensemble.h5"),
        "propagation": str(folder / "propagation"),
    }
    return EngineRecipe(
        "snapuq.lammps.member_engines:open_engines",
        arguments,
        2,
        "snapuq.pipeline.prediction:open_predictor",
    )


@pytest.mark.lammps
def test_workers_of_two_ranks_take_the_same_way(tmp_path: Path) -> None:
    """Real LAMMPS, with records that are there, and with records that both ranks must build in step."""
    recipe = write_tungsten(tmp_path, 2)
    params = build_params("vacancy", {"structure": "bcc:W", "supercell": 2})
    parts = expand([PropertySpec("vacancy", params, "auto")], ("W",))
    planned = plan(parts, {m: f"digest {m}" for m in range(3)}, 1, engine={})
    found = []
    for again in (False, True):
        if again:
            # Members' results are lost, too.
            shutil.rmtree(tmp_path / "propagation")
            for path in (tmp_path / "journal").glob("rank_*.jsonl"):
                lines = path.read_bytes().splitlines(keepends=True)
                path.write_bytes(b"".join(line for line in lines if b'"member":0' in line))
        assert campaign(tmp_path, planned, recipe, SERIAL, 40.0).is_complete
        found.append(everything(tmp_path, planned))
        assert [r.failure for r, *_ in found[-1]] == ["", "", ""]
        assert [way for _, way, *_ in found[-1]] == ["brute", "batched+newton", "batched+newton"]
    assert found[0] == found[1]


if __name__ == "__main__":
    options = json.loads(sys.argv[2])
    properties = tuple(options.pop("properties", ("eos", "vacancy", "barrier")))
    outcome = run(Path(sys.argv[1]), world(), properties=properties, **options)
    sys.exit(0 if outcome.is_complete else 1)
