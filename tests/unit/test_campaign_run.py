"""Planning, resuming and failing campaigns, on Lennard-Jones argon."""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ase.calculators.lj import LennardJones
from ase_engine import CUTOFF, EPSILON, SIGMA, AseEngine

from snapuq.campaign.plan import PropertySpec, expand, plan, planned_outputs
from snapuq.campaign.remember import RememberingEngine
from snapuq.campaign.run import pending, run_campaign
from snapuq.campaign.worker import execute
from snapuq.core.task import REFERENCE_MEMBER
from snapuq.errors import EnvironmentProblem, InputError, SimulationError
from snapuq.parallel import SERIAL, Ranks
from snapuq.progress import Progress, duration
from snapuq.properties import build_params
from snapuq.results.journal import load_results
from snapuq.results.table import summarise

SPECS = [
    PropertySpec("phase", build_params("phase", {"structures": ["fcc:Ar@5.3", "bcc:Ar@4.2"]})),
    PropertySpec("elastic", build_params("elastic", {"structure": "fcc:Ar@5.3"})),
]
POTENTIALS = {REFERENCE_MEMBER: "r", 0: "a", 1: "b", 2: "c", 3: "d"}


def make_engine(member: int) -> AseEngine:
    lj = LennardJones(sigma=SIGMA * (1 + 0.01 * member), epsilon=EPSILON, rc=CUTOFF, smooth=False)
    return AseEngine(lj)


def tasks(seed: int = 1):
    return plan(expand(SPECS, ("Ar",)), POTENTIALS, seed)


def silent() -> Progress:
    return Progress("x", 1, silent=True)


def run(folder: Path, make=make_engine, ranks: Ranks = SERIAL):
    return run_campaign(tasks(), make, folder, ranks, silent())


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("journal")
    return folder, run(folder)


def test_plan_is_property_major_deterministic_and_has_unique_keys():
    planned = tasks()
    assert planned == tasks()
    assert [t.label for t in planned[::5]] == ["phase-fcc-Ar", "phase-bcc-Ar", "elastic-fcc-Ar"]
    assert [t.member for t in planned[:5]] == [-1, 0, 1, 2, 3]
    assert len({t.key for t in planned}) == len(planned) == 15
    assert len({t.seed for t in planned}) == 15


def test_editing_one_property_leaves_the_other_keys():
    changed = [SPECS[0], PropertySpec("elastic", dataclasses.replace(SPECS[1].params, strain=2e-3))]
    old = {t.key for t in tasks()}
    new = plan(expand(changed, ("Ar",)), POTENTIALS, 1)
    assert [t.key in old for t in new] == [True] * 10 + [False] * 5


def test_the_same_label_twice_is_refused():
    with pytest.raises(InputError, match="elastic-fcc-Ar"):
        expand([SPECS[1], SPECS[1]], ("Ar",))


def test_planned_outputs_are_what_comes_out(complete):
    _, results = complete
    found = {(r.label, name): q.unit for r in results for name, q in r.values.items()}
    assert found == planned_outputs(expand(SPECS, ("Ar",)))


def test_results_come_in_task_order(complete):
    _, results = complete
    assert [r.key for r in results] == [t.key for t in tasks()]
    assert not any(r.failure for r in results)


def test_a_finished_campaign_makes_no_engine(complete):
    def refuse(member):
        raise AssertionError("nothing is left to do")

    folder, results = complete
    assert run(folder, refuse) == results


@pytest.mark.parametrize("keep", [0, 1, 7, 14])
def test_an_interrupted_campaign_goes_on_with_the_same_bits(complete, keep, tmp_path):
    folder, results = complete
    lines = (folder / "rank_0000.jsonl").read_bytes().splitlines(keepends=True)
    torn = lines[keep][:50] if keep < len(lines) else b""
    (tmp_path / "rank_0000.jsonl").write_bytes(b"".join(lines[:keep]) + torn)
    assert len(pending(tasks(), tmp_path)) == len(results) - keep
    assert run(tmp_path) == results
    assert len(load_results(tmp_path).results) == len(results)


def test_failures_of_one_member_are_outcomes(tmp_path):
    def sometimes(member):
        if member == 2:
            raise SimulationError("lost_atoms", "3 of 4")
        return make_engine(member)

    results = run(tmp_path, sometimes)
    assert {r.failure for r in results if r.member == 2} == {"lost_atoms"}
    assert not any(r.failure for r in results if r.member != 2)
    assert all(s.failures == {"lost_atoms": (2,)} for s in summarise(results))
    assert pending(tasks(), tmp_path) == ()


def test_an_unforeseen_error_is_recorded_named_and_run_again(complete, tmp_path):
    def buggy(member):
        if member == 3:
            raise ZeroDivisionError("by\nzero")
        return make_engine(member)

    results = run(tmp_path, buggy)
    assert {r.failure for r in results if r.failure} == {"bug: ZeroDivisionError: by zero"}
    assert {t.member for t in pending(tasks(), tmp_path)} == {3}


def test_a_repaired_bug_gives_its_result(complete, tmp_path):
    def buggy(member):
        raise KeyError("x")

    run(tmp_path, buggy)
    assert run(tmp_path) == complete[1]
    assert pending(tasks(), tmp_path) == ()


@pytest.mark.parametrize("error", [EnvironmentProblem("no LAMMPS"), OSError(28, "No space left")])
def test_a_sick_machine_ends_the_campaign_and_records_nothing(error, tmp_path):
    def ill(member):
        raise error

    with pytest.raises(type(error)):
        run(tmp_path, ill)
    assert load_results(tmp_path).results == {}


def test_remembered_crystals_change_no_bit():
    task = tasks()[7]
    assert execute(task, make_engine) == execute(task, lambda m: RememberingEngine(make_engine(m)))


def test_crystals_are_relaxed_once_for_each_member(tmp_path):
    counts: dict[int, int] = {}

    class Counting(AseEngine):
        def __init__(self, member):
            super().__init__(make_engine(member).calculator)
            self.member = member

        def relax(self, structure, *, cell=None, **options):
            counts[self.member] = counts.get(self.member, 0) + (cell is not None)
            return super().relax(structure, cell=cell, **options)

    run(tmp_path, Counting)
    assert counts == dict.fromkeys(POTENTIALS, 2)  # fcc and bcc


@pytest.mark.mpi
def test_any_number_of_ranks_gives_the_same_bits(complete, tmp_path):
    mpirun = shutil.which("mpirun", path=str(Path(sys.executable).parent))
    if mpirun is None:
        pytest.skip("no mpirun beside this Python")
    code = (
        "import sys; from pathlib import Path\n"
        f"sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
        "from test_campaign_run import run; from snapuq.parallel import world\n"
        "results = run(Path(sys.argv[1]), ranks=world())\n"
        "assert len(results) == 15\n"
        "print('rank done', flush=True)\n"
    )
    command = [mpirun, "-n", "2", sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout.count("rank done") == 2
    assert len(list(tmp_path.glob("rank_*.jsonl"))) == 2

    def refuse(member):
        raise AssertionError("nothing is left to do")

    # Read by one rank what two wrote: nothing skipped or doubled, and equal to the serial run.
    assert run(tmp_path, refuse) == complete[1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_writes_lines_in_a_log():
    log = io.StringIO()
    with Progress("campaign", 10, share=2, interval=0.0, stream=log) as progress:
        progress.skip(4)
        progress.advance()
        progress.advance(2)
    lines = log.getvalue().splitlines()
    assert lines[0].startswith("campaign: 6 of 10, about ")
    assert lines[1].startswith("campaign: 10 of 10")
    assert lines[-1].startswith("campaign: 10 done in")


def test_progress_says_when_it_was_stopped():
    log = io.StringIO()
    with pytest.raises(KeyError), Progress("campaign", 10, stream=log):
        raise KeyError
    assert "stopped" in log.getvalue()


def test_progress_draws_a_bar_on_a_terminal_and_nothing_when_silent():
    terminal, nothing = Terminal(), Terminal()
    with Progress("campaign", 3, stream=terminal) as progress:
        progress.advance(3)
    with Progress("campaign", 3, stream=nothing, silent=True) as progress:
        progress.advance(3)
    assert "3/3" in terminal.getvalue()
    assert nothing.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
