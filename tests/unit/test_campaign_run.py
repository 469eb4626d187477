"""Running, resuming and failing campaigns, on Lennard-Jones argon in worker processes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ase_engine import AseEngine
from campaign_driver import SPECS, tasks
from campaign_engines import HERE, lennard_jones, recipe

from snapuq.campaign.plan import expand, planned_outputs
from snapuq.campaign.recipe import EngineRecipe
from snapuq.campaign.remember import RememberingEngine, remembering
from snapuq.campaign.run import Outcome, collect, plan_work, run_campaign
from snapuq.campaign.worker import execute
from snapuq.core.dataset import Structure
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.errors import EnvironmentProblem, InputError, SimulationError
from snapuq.parallel import SERIAL
from snapuq.progress import Progress, duration
from snapuq.results.journal import TIME_LIMIT, Journal, load_results
from snapuq.results.table import summarise
from snapuq.stopping import StopRequest

#: Wall-clock limit of a task, s; those of these tests take a tenth of a second.
LIMIT = 60.0
TASKS = tasks(3)
#: One for each of the five potentials, where a whole campaign would tell no more.
FEW = TASKS[:5]
COMPLETE = Outcome(is_complete=True, reason="")


@pytest.fixture(scope="module", autouse=True)
def workers_find_the_engines() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))
        yield


def run(
    folder: Path,
    planned: Sequence[PropertyTask] = TASKS,
    engines: EngineRecipe | None = None,
    limit: float = LIMIT,
    **arguments: object,
) -> Outcome:
    """Run what the journal lacks; `arguments` are those of `campaign_engines.open_engines`."""
    progress = Progress("campaign", len(planned), silent=True)
    with StopRequest() as stop:
        opened = recipe(**arguments) if engines is None else engines
        return run_campaign(planned, opened, folder, SERIAL, progress, stop, limit)


def results(folder: Path, planned: Sequence[PropertyTask] = TASKS) -> tuple[PropertyResult, ...]:
    return collect(planned, load_results(folder))


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journal")
    assert run(folder) == COMPLETE
    return folder


def test_results_come_in_task_order_and_are_those_of_this_process(complete):
    found = results(complete)
    assert [r.key for r in found] == [t.key for t in TASKS]
    assert not any(r.failure for r in found)
    assert found == tuple(execute(task, lennard_jones) for task in TASKS)


def test_planned_outputs_are_what_comes_out(complete):
    found = {(r.label, name): q.unit for r in results(complete) for name, q in r.values.items()}
    assert found == planned_outputs(expand(SPECS, ("Ar",)))


def test_a_finished_campaign_starts_no_worker(complete, tmp_path):
    before = {path: path.read_bytes() for path in complete.iterdir()}
    assert run(complete, calls=str(tmp_path / "calls"), unable=True) == COMPLETE
    assert not (tmp_path / "calls").exists()
    assert {path: path.read_bytes() for path in complete.iterdir()} == before


@pytest.mark.parametrize("keep", [0, 7, 14])
def test_an_interrupted_campaign_goes_on_with_the_same_bits(complete, keep, tmp_path):
    lines = next(complete.glob("*.jsonl")).read_bytes().splitlines(keepends=True)
    (tmp_path / "rank_0003.jsonl").write_bytes(b"".join(lines[:keep]))
    (tmp_path / "rank_0000.jsonl").write_bytes(lines[keep][:50])
    assert len(plan_work(TASKS, load_results(tmp_path), LIMIT).tasks) == 15 - keep
    assert run(tmp_path) == COMPLETE
    assert results(tmp_path) == results(complete)
    assert sum(len(path.read_bytes().splitlines()) for path in tmp_path.iterdir()) == 15


def test_failures_of_one_member_are_outcomes_and_bugs_are_run_again(complete, tmp_path):
    assert run(tmp_path, deeds={2: "error", 3: "bug"}) == COMPLETE
    found = results(tmp_path)
    assert {(r.failure, r.detail) for r in found if r.member == 2} == {("lost_atoms", "3 of 4")}
    assert {r.failure for r in found if r.member == 3} == {"bug: ZeroDivisionError: by zero"}
    expected = results(complete)
    others = [r for r in found if r.member not in (2, 3)]
    assert others == [r for r in expected if r.member not in (2, 3)]
    assert run(tmp_path, calls=str(tmp_path / "calls")) == COMPLETE
    # The bug is repaired; the failure stays.
    assert {line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()} == {"3"}
    found = results(tmp_path)
    assert [r for r in found if r.member != 2] == [r for r in expected if r.member != 2]
    assert all(s.failures == {"lost_atoms": (2,)} for s in summarise(found))


def test_tasks_that_end_their_worker_are_named_and_harm_no_other(complete, tmp_path, capfd):
    deeds = {0: "junk", 1: "segfault", 2: "memory"}
    assert run(tmp_path / "journal", FEW, deeds=deeds, calls=str(tmp_path / "calls")) == COMPLETE
    found = {r.member: r for r in results(tmp_path / "journal", FEW)}
    assert [found[m].failure for m in (1, 2)] == ["crashed", "out_of_memory"]
    assert "killed by SIGSEGV" in found[1].detail
    assert "Unable to allocate 16.0 GiB" in found[2].detail
    expected = {r.member: r for r in results(complete, FEW)}
    assert [found[m] for m in (-1, 0, 3)] == [expected[m] for m in (-1, 0, 3)]
    calls = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert (calls.count("1"), calls.count("2")) == (3, 3)
    assert "junk" not in "".join(capfd.readouterr())


def test_a_second_chance_is_a_second_attempt(complete, tmp_path):
    # A limit long enough for the other task on a busy machine.
    limit, pair = 3.0, FEW[2:4]
    options = {"limit": limit, "deeds": {1: "hang"}, "once": str(tmp_path)}
    assert run(tmp_path / "journal", pair, **options) == COMPLETE
    first, _ = results(tmp_path / "journal", pair)
    assert (first.failure, first.seconds, first.attempt) == (TIME_LIMIT, limit, 1)
    assert run(tmp_path / "journal", pair, **options) == COMPLETE
    again, _ = results(tmp_path / "journal", pair)
    assert (again, again.attempt) == (results(complete, pair)[0], 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"unable": True}, "the engine is not there"), ({"deeds": {-1: "no_lammps"}}, "no LAMMPS")],
)
def test_an_engine_that_is_not_there_ends_the_campaign_and_records_nothing(arguments, words, tmp_path):
    with pytest.raises(EnvironmentProblem, match=words):
        run(tmp_path, FEW, **arguments)
    assert load_results(tmp_path).entries == ()
    assert load_results(tmp_path).n_damaged == 0


def test_workers_that_never_start_end_the_campaign_with_their_last_words(tmp_path):
    with pytest.raises(EnvironmentProblem, match=r"do not start.*exit status 1.*no_such_module"):
        run(tmp_path, FEW, EngineRecipe("no_such_module:f", {}))
    assert load_results(tmp_path).entries == ()


def test_a_journal_in_use_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("snapuq.results.journal._PATIENCE", 0.0)
    with Journal(tmp_path, 0), pytest.raises(InputError, match="another run is writing here"):
        run(tmp_path, FEW)


@pytest.mark.mpi
def test_a_worker_of_two_ranks_gives_the_same_results(complete, tmp_path):
    planned = (TASKS[1], TASKS[11])
    calls = tmp_path / "calls"
    assert run(tmp_path / "journal", planned, recipe(2, calls=str(calls))) == COMPLETE
    assert results(tmp_path / "journal", planned) == results(complete, planned)
    # Both ranks have run both tasks, with one engine.
    assert len({line.split()[1] for line in calls.read_text().splitlines()}) == 2


def test_remembered_crystals_change_no_bit():
    for task in (TASKS[7], TASKS[12]):
        make = remembering(lennard_jones)
        once, again = execute(task, make), execute(task, make)
        assert once == again == execute(task, lennard_jones)


def test_crystals_are_relaxed_once_for_each_member():
    cells: list[tuple[int, str]] = []

    class Counting(AseEngine):
        def __init__(self, member: int) -> None:
            super().__init__(lennard_jones(member).calculator)
            self.member = member

        def relax(self, structure, *, cell=None, **options):
            if cell is not None:
                cells.append((self.member, structure.digest))
            return super().relax(structure, cell=cell, **options)

    make = remembering(Counting)
    for task in TASKS:
        execute(task, make)
    # fcc and bcc of five potentials; without memory there would be more.
    assert len(cells) == len(set(cells)) == 10
    cells.clear()
    for task in TASKS:
        execute(task, Counting)
    assert len(cells) > 10


def test_a_remembered_failure_is_not_run_again():
    class Failing:
        n_calls = 0

        def relax(self, structure, **_):
            self.n_calls += 1
            raise SimulationError("runaway")

    engine = Failing()
    remembers = RememberingEngine(engine)
    cell = Structure([[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]], [[0.0, 0.0, 0.0]], ("Ar",))
    for freedom, expected in (("full", 1), ("full", 1), ("axes", 2), (None, 3), (None, 4)):
        with pytest.raises(SimulationError, match="runaway"):
            remembers.relax(cell, cell=freedom)
        assert engine.n_calls == expected


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
    assert re.match(r"campaign: 6 of 10, [\d.e+]+ a minute, about \d+ s left", lines[0])
    assert lines[1].startswith("campaign: 10 of 10")
    assert lines[-1].startswith("campaign: 10 done in")


def test_progress_says_when_it_was_stopped():
    log = io.StringIO()
    with pytest.raises(KeyError), Progress("campaign", 10, stream=log):
        raise KeyError
    assert "stopped" in log.getvalue()


def test_progress_of_all_ranks_has_a_rate_and_an_estimate():
    log = io.StringIO()
    with Progress("campaign", 10, interval=0.0, stream=log) as progress:
        progress.show(4, lambda: 200.0)
        progress.show(5, lambda: None)
    lines = log.getvalue().splitlines()
    assert lines[0].startswith("campaign: 4 of 10, ")
    assert lines[0].endswith(" a minute, about 3 min 20 s left")
    assert lines[1].startswith("campaign: 5 of 10, ")
    assert lines[1].endswith(" a minute")


def test_progress_asks_for_an_estimate_only_when_a_line_is_due():
    def refuse() -> float:
        raise AssertionError("no line is due")

    log = io.StringIO()
    with Progress("campaign", 10, stream=log) as progress:
        progress.show(4, refuse)
    with Progress("campaign", 10, interval=0.0, stream=log, silent=True) as progress:
        progress.show(4, refuse)
    assert len(log.getvalue().splitlines()) == 1


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
