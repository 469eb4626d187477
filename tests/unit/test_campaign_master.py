"""Rank 0 hands out tasks, counts results, and knows when the campaign is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaign_fakes import LIMIT, TASKS, Box, Clock, assign, recorded

from snapuq.campaign import master as module
from snapuq.campaign.master import LOST_AFTER, Master, Work
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
from snapuq.errors import EnvironmentProblem
from snapuq.progress import Progress
from snapuq.results.journal import Journal
from snapuq.stopping import StopRequest


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path, 0) as opened:
        yield opened


@pytest.fixture
def box() -> Box:
    return Box()


def make_master(box: Box, journal: Journal, n_ranks: int = 2, n: int = 6, stop=None, limits=None) -> Master:
    work = Work(TASKS[:n], limits or {}, LIMIT)
    progress = Progress("campaign", n, silent=True)
    return Master(work, n_ranks, box, journal, stop or StopRequest(), progress)


def hear(master: Master, box: Box, *messages: FromSupervisor) -> list[tuple[Any, int]]:
    """Let it act on messages; gives what it sent."""
    for message in messages:
        master.take(message)
    master.serve()
    sent, box.sent = box.sent, []
    return sent


def test_assignments_carry_limits_and_attempts(clock, box, journal):
    master = make_master(box, journal, limits={1: 20.0})
    sent = hear(master, box, Ready(0, False), Ready(1, False))
    assert sent == [(assign(0), 0), (assign(1, attempt=2, limit=20.0), 1)]
    assert hear(master, box) == []
    # Four are waiting for two ranks.
    assert [rank for _, rank in hear(master, box, Ready(0, True))] == [0]
    assert hear(master, box, Ready(1, True)) == []


def test_everyone_may_leave_when_every_task_has_a_result(clock, box, journal):
    master = make_master(box, journal, n=2)
    hear(master, box, Ready(0, False), Ready(1, False))
    assert hear(master, box, Finished(0, 0, "a", 1.0, "")) == []
    assert not master.is_complete
    sent = hear(master, box, Finished(1, 1, "a", 1.0, "lost_atoms"))
    assert sent == [(Leave(), 0), (Leave(), 1)]
    assert master.is_complete
    assert (master.reason, master.error) == ("", None)


def test_the_third_worker_that_a_task_ends_is_the_last(clock, box, journal):
    master = make_master(box, journal, n=1)
    for rank in (0, 1, 0):
        assert recorded(journal) == []
        ((assignment, to),) = hear(master, box, Ready(rank, False))
        assert (assignment, to) == (assign(0), rank)
        hear(master, box, Died(rank, 0, "crashed", "worker killed by SIGSEGV"))
    (found,) = recorded(journal)
    assert (found.key, found.failure) == (TASKS[0].key, "crashed")
    assert found.detail == "worker killed by SIGSEGV"
    assert master.is_complete


@pytest.mark.parametrize("asked", [Asked(1, "SIGTERM"), None])
def test_a_request_to_stop_drains_everyone_once(clock, box, journal, asked):
    stop = StopRequest(drain=30.0) if asked else StopRequest(deadline=0.0, drain=30.0)
    master = make_master(box, journal, stop=stop)
    sent = hear(master, box, *([asked] if asked else []), Ready(0, False))
    # A clock that has run out leaves nothing.
    expected = pytest.approx(30.0 if asked else 0.0, abs=0.5)
    assert [(type(m), m.seconds, rank) for m, rank in sent] == [(Drain, expected, 0), (Drain, expected, 1)]
    assert hear(master, box, Idle(0), Ready(1, False)) == []
    assert hear(master, box, Idle(1)) == [(Leave(), 0), (Leave(), 1)]
    assert master.reason == ("SIGTERM" if asked else "time limit")
    assert not master.is_complete


def test_a_broken_rank_ends_all_at_once_with_its_error(clock, box, journal):
    master = make_master(box, journal)
    first, second = EnvironmentProblem("no LAMMPS"), EnvironmentProblem("nor here")
    sent = hear(master, box, Broken(1, first), Broken(0, second))
    assert sent == [(Drain(0.0), 0), (Drain(0.0), 1)]
    assert hear(master, box, Idle(0), Idle(1)) == [(Leave(), 0), (Leave(), 1)]
    assert master.error is first


def test_a_silent_rank_is_lost_and_the_others_are_let_go(clock, box, journal):
    master = make_master(box, journal, n_ranks=3)
    hear(master, box, *(Ready(rank, False) for rank in range(3)))
    clock.now += 0.9 * LOST_AFTER
    hear(master, box, FromSupervisor(0), FromSupervisor(2))
    assert master.error is None
    clock.now += 0.2 * LOST_AFTER
    hear(master, box, FromSupervisor(0), FromSupervisor(2))
    assert "rank 1 has been silent" in str(master.error)
    assert hear(master, box)
    assert hear(master, box, Idle(0), Idle(2)) == [(Leave(), 0), (Leave(), 2)]
    assert master.lost == {1}
