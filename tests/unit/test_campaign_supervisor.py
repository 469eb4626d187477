"""A supervisor keeps its worker busy, replaces it when it must, and loses nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_engines import recipe
from campaign_fakes import LIMIT, TASKS, Box, Clock, FakeWorker, assign, recorded

from snapuq.campaign import supervisor as module
from snapuq.campaign.messages import (
    Asked,
    Broken,
    Died,
    Drain,
    Finished,
    FromSupervisor,
    Idle,
    Leave,
    Ready,
)
from snapuq.campaign.supervisor import BEAT, LARGEST_FALSE_STARTS, START_LIMIT, Supervisor
from snapuq.core.result import PropertyResult
from snapuq.errors import EnvironmentProblem
from snapuq.results.journal import TIME_LIMIT, Journal
from snapuq.stopping import StopRequest


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeWorker]:
    """Workers that were started, in order."""
    started: list[FakeWorker] = []

    def make(_: object) -> FakeWorker:
        started.append(FakeWorker())
        return started[-1]

    monkeypatch.setattr(module, "Worker", make)
    return started


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path, 0) as opened:
        yield opened


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def supervisor(clock, made, journal, box) -> Supervisor:
    return Supervisor(3, recipe(), journal, box, StopRequest())


def start(supervisor: Supervisor, made: list[FakeWorker], *indices: int) -> FakeWorker:
    """Give it tasks, and let its worker be ready."""
    for index in indices:
        supervisor.take(assign(index))
    worker = made[-1]
    worker.says.append({"ready": 1})
    supervisor.step(0.0)
    return worker


def test_it_asks_for_one_task_and_one_ahead_and_does_not_repeat_itself(supervisor, box, journal, made):
    for _ in range(3):
        supervisor.step(0.1)
    assert box.empty() == [Ready(3, False)]
    worker = start(supervisor, made, 0)
    supervisor.step(0.1)
    assert box.empty() == [Ready(3, True)]
    supervisor.take(assign(1))
    supervisor.step(0.1)
    assert box.empty() == []
    assert worker.sent == [TASKS[0].to_plain(), TASKS[1].to_plain()]
    worker.answer(0)
    supervisor.step(0.1)
    # A result is in the journal before rank 0 hears of it.
    assert [r.key for r in recorded(journal)] == [TASKS[0].key]
    assert box.empty() == [Finished(3, 0, TASKS[0].label, 0.5, ""), Ready(3, True)]


def test_a_task_at_its_limit_is_killed_and_the_next_starts_afresh(supervisor, box, journal, clock, made):
    supervisor.take(assign(0, attempt=2, limit=20.0))
    supervisor.take(assign(1))
    # Loading takes a while, and counts for nobody.
    clock.now += 100.0
    made[0].says.append({"ready": 1})
    supervisor.step(0.0)
    clock.now += 19.9
    supervisor.step(0.0)
    assert made[0].end == ""
    clock.now += 0.2
    supervisor.step(0.0)
    assert made[0].end == "killed"
    (found,) = recorded(journal)
    assert (found.key, found.failure, found.seconds) == (TASKS[0].key, TIME_LIMIT, 20.0)
    assert (found.values, found.converged, found.attempt) == ({}, False, 2)
    assert Finished(3, 0, TASKS[0].label, 20.0, TIME_LIMIT) in box.empty()
    assert made[1].sent == [TASKS[1].to_plain()]
    clock.now += 50.0
    made[1].says.append({"ready": 1})
    supervisor.step(0.0)
    assert made[1].end == ""


def test_a_task_that_waited_in_the_pipe_has_its_whole_limit(supervisor, clock, made):
    worker = start(supervisor, made, 0, 1)
    clock.now += LIMIT - 0.1
    worker.answer(0)
    supervisor.step(0.0)
    clock.now += LIMIT - 0.1
    supervisor.step(0.0)
    assert worker.end == ""


def test_a_dead_worker_costs_its_task_alone(supervisor, box, made):
    worker = start(supervisor, made, 0, 1)
    box.empty()
    worker.alive = False
    supervisor.step(0.0)
    assert box.empty()[0] == Died(3, 0, "crashed", "worker killed by SIGSEGV")
    assert made[1].sent == [TASKS[1].to_plain()]


def test_last_results_of_a_dying_worker_count(supervisor, box, journal, made):
    worker = start(supervisor, made, 0, 1)
    worker.answer(0)
    worker.alive = False
    box.empty()
    supervisor.step(0.0)
    assert box.empty()[:2] == [
        Finished(3, 0, TASKS[0].label, 0.5, ""),
        Died(3, 1, "crashed", "worker killed by SIGSEGV"),
    ]
    assert len(recorded(journal)) == 1


def test_no_memory_is_a_reason_of_its_own(supervisor, box, made):
    worker = start(supervisor, made, 0)
    box.empty()
    worker.says.append({"out_of_memory": "16 GiB"})
    supervisor.step(0.0)
    assert box.empty()[0] == Died(3, 0, "out_of_memory", "16 GiB")
    assert worker.end == "buried"


def test_a_worker_that_has_grown_is_replaced_and_nothing_is_lost(supervisor, box, journal, made):
    worker = start(supervisor, made, 0, 1)
    worker.answer(0, leaving=True)
    worker.alive = False
    box.empty()
    supervisor.step(0.0)
    assert worker.end == "dismissed"
    assert not any(isinstance(message, Died) for message in box.empty())
    assert made[1].sent == [TASKS[1].to_plain()]
    assert len(recorded(journal)) == 1


def test_workers_that_do_not_start_are_the_machines_fault(supervisor, box, made):
    supervisor.take(assign(0))
    for number in range(LARGEST_FALSE_STARTS):
        assert len(made) == number + 1
        made[-1].alive = False
        supervisor.step(0.0)
    (broken,) = [message for message in box.empty() if isinstance(message, Broken)]
    assert isinstance(broken.error, EnvironmentProblem)
    assert "SIGSEGV" in str(broken.error)
    supervisor.take(assign(1))
    assert len(made) == LARGEST_FALSE_STARTS


def test_a_worker_that_is_never_ready_is_the_machines_fault(supervisor, box, clock, made):
    supervisor.take(assign(0))
    clock.now += START_LIMIT + 1.0
    supervisor.step(0.0)
    assert made[0].end == "killed"
    assert any(isinstance(m, Broken) and "not ready" in str(m.error) for m in box.empty())


@pytest.mark.parametrize("error", [EnvironmentProblem("no process"), OSError(errno.EMFILE, "too many files")])
def test_a_worker_that_cannot_be_replaced_is_the_machines_fault(supervisor, box, monkeypatch, made, error):
    def refuse(_: object) -> FakeWorker:
        raise error

    worker = start(supervisor, made, 0, 1)
    box.empty()
    monkeypatch.setattr(module, "Worker", refuse)
    worker.alive = False
    supervisor.step(0.0)
    assert [type(message) for message in box.empty()] == [Died, Broken]


def test_a_full_disk_is_told_and_the_result_is_not(supervisor, box, journal, monkeypatch, made):
    def full(_: PropertyResult) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    worker = start(supervisor, made, 0, 1)
    box.empty()
    monkeypatch.setattr(journal, "append", full)
    worker.answer(0)
    supervisor.step(0.0)
    (broken,) = box.empty()
    assert isinstance(broken, Broken)
    assert "No space left" in str(broken.error)
    assert worker.end == "killed"
    assert not supervisor.is_busy


def test_a_drain_lets_the_running_task_end_and_starts_nothing(supervisor, box, journal, made):
    worker = start(supervisor, made, 0, 1)
    box.empty()
    supervisor.take(Drain(5.0))
    supervisor.step(0.0)
    assert worker.end == ""
    worker.answer(0)
    supervisor.step(0.0)
    supervisor.take(assign(2))
    supervisor.step(0.0)
    assert worker.end == "killed"
    assert len(made) == 1
    assert box.empty() == [Finished(3, 0, TASKS[0].label, 0.5, ""), Idle(3)]
    assert [r.key for r in recorded(journal)] == [TASKS[0].key]
    supervisor.take(Leave())
    assert supervisor.has_left


@pytest.mark.parametrize("drains", [(5.0,), (5.0, 100.0), (100.0, 5.0)])
def test_a_drain_has_an_end_and_what_it_cuts_off_is_not_recorded(
    supervisor, box, journal, clock, drains, made
):
    worker = start(supervisor, made, 0)
    for seconds in drains:
        supervisor.take(Drain(seconds))
    clock.now += 4.9
    supervisor.step(0.0)
    assert worker.end == ""
    clock.now += 0.2
    supervisor.step(0.0)
    assert worker.end == "killed"
    assert box.empty()[-1] == Idle(3)
    assert recorded(journal) == []


def test_a_rank_without_work_is_idle_at_once(supervisor, box):
    supervisor.take(Drain(5.0))
    supervisor.step(0.0)
    supervisor.step(0.0)
    assert box.empty() == [Idle(3)]


def test_signals_are_passed_on_once(clock, journal, box):
    supervisor = Supervisor(3, recipe(), journal, box, StopRequest(deadline=0.0))
    supervisor.step(0.0)
    supervisor.step(0.0)
    assert box.empty() == [Asked(3, "time limit"), Ready(3, False)]


def test_a_busy_rank_shows_signs_of_life(supervisor, box, clock, made):
    start(supervisor, made, 0, 1)
    box.empty()
    clock.now += 0.9 * LIMIT
    supervisor.step(0.0)
    assert box.empty() == []
    supervisor._since = clock.now = clock.now + BEAT
    supervisor.step(0.0)
    assert box.empty() == [FromSupervisor(3)]
