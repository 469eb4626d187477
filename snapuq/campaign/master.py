"""What rank 0 does besides: hand out tasks, count results, and notice ranks that are gone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from snapuq.campaign.dispatch import CostModel, Dispatcher
from snapuq.campaign.messages import (
    Asked,
    Assignment,
    Broken,
    Died,
    Drain,
    Finished,
    FromSupervisor,
    Idle,
    Leave,
    Ready,
)
from snapuq.campaign.supervisor import Post, failed_result
from snapuq.core.task import PropertyTask
from snapuq.errors import EnvironmentProblem
from snapuq.progress import Progress
from snapuq.results.journal import TIME_LIMIT, Journal
from snapuq.stopping import StopRequest

#: Seconds of silence after which a rank counts as gone.
LOST_AFTER = 180.0


@dataclass(frozen=True)
class Work:
    """What is to be done in this run.

    Parameters
    ----------
    tasks : sequence of PropertyTask
        Tasks without a result.
    limits : Mapping
        Index of a task to its wall-clock limit, s, where it is not the usual one.
    limit : float
        Usual limit, s.
    n_before : int
        Tasks that an earlier run finished.
    costs : CostModel
        What they cost.
    """

    tasks: Sequence[PropertyTask]
    limits: Mapping[int, float]
    limit: float
    n_before: int = 0
    costs: CostModel = field(default_factory=CostModel)


class Master:
    """The counter at which all ranks ask for work.

    Parameters
    ----------
    work : Work
        What is to be done.
    n_ranks : int
        Number of supervisors, this rank's included.
    post : Post
        To the supervisors.
    journal : Journal
        This rank's file: tasks that are at fault are recorded here.
    stop : StopRequest
        Signals, and the clock of the run.
    progress : Progress
        Shown to people.
    """

    def __init__(
        self,
        work: Work,
        n_ranks: int,
        post: Post,
        journal: Journal,
        stop: StopRequest,
        progress: Progress,
    ) -> None:
        self._work = work
        self._post = post
        self._journal = journal
        self._stop = stop
        self._progress = progress
        self._dispatcher = Dispatcher(work.tasks, work.costs, n_ranks)
        self._hungry: dict[int, None] = {}
        self._ahead: dict[int, None] = {}
        self._present = set(range(n_ranks))
        self._heard = dict.fromkeys(range(n_ranks), time.monotonic())
        self._next_look = time.monotonic() + LOST_AFTER
        self._is_draining = False
        self.lost: set[int] = set()
        self.reason = ""
        self.error: Exception | None = None

    def take(self, message: FromSupervisor) -> None:
        """Act on a message of a supervisor.

        Parameters
        ----------
        message : FromSupervisor
            One of `snapuq.campaign.messages`.
        """
        rank = message.rank
        self._heard[rank] = time.monotonic()
        if isinstance(message, Ready):
            (self._ahead if message.ahead else self._hungry)[rank] = None
            if not message.ahead:
                self._ahead.pop(rank, None)
        elif isinstance(message, Finished):
            self._count(message.index, message.label, message.seconds, message.failure)
        elif isinstance(message, Died):
            self._record_death(message)
        elif isinstance(message, Asked):
            self.reason = self.reason or message.reason
        elif isinstance(message, Idle):
            self._present.discard(rank)
        elif isinstance(message, Broken):
            self.error = self.error or message.error

    def serve(self) -> None:
        """Hand out what there is, and look whether the campaign is over for now."""
        self.reason = self.reason or self._stop.reason
        if self.error is not None:
            self._drain(0.0)
        elif self.reason:
            self._drain(self._stop.seconds_left)
        else:
            for waiting in (self._hungry, self._ahead):
                self._feed(waiting)
        if time.monotonic() > self._next_look:
            self._look_for_lost()
        if self._is_over():
            for rank in self._heard:
                if rank not in self.lost:
                    self._post.send(Leave(), rank)

    @property
    def is_awaited(self) -> bool:
        """Whether ranks may be without work until rank 0 looks again: at the end, and while it drains."""
        return self._is_draining or self._dispatcher.is_scarce

    @property
    def is_complete(self) -> bool:
        """Whether every task has a result."""
        return self._dispatcher.is_done

    def _is_over(self) -> bool:
        return not self._present if self._is_draining else self._dispatcher.is_done

    def _feed(self, waiting: dict[int, None]) -> None:
        ahead = waiting is self._ahead
        for rank in list(waiting):
            index = self._dispatcher.next(rank, ahead)
            if index is None:
                # No other rank gets one either: what keeps tasks back depends on their number.
                return
            del waiting[rank]
            limit = self._work.limits.get(index)
            assignment = Assignment(
                index,
                self._work.tasks[index].to_plain(),
                1 if limit is None else 2,
                self._work.limit if limit is None else limit,
            )
            self._post.send(assignment, rank)

    def _count(self, index: int, label: str, seconds: float, failure: str) -> None:
        self._dispatcher.finished(index)
        if not failure or failure == TIME_LIMIT:
            self._work.costs.learn(label, seconds, self._work.tasks[index].member)
        self._progress.show(self._work.n_before + self._dispatcher.n_done, self._dispatcher.seconds_left)

    def _record_death(self, message: Died) -> None:
        if self._dispatcher.died(message.index):
            return
        task = self._work.tasks[message.index]
        assignment = Assignment(message.index, task.to_plain(), 1, self._work.limit)
        try:
            self._journal.append(failed_result(assignment, message.reason, 0.0, message.detail))
        except OSError as error:
            self.error = self.error or error
            return
        self._count(message.index, task.label, 0.0, message.reason)

    def _drain(self, seconds: float) -> None:
        if not self._is_draining:
            self._is_draining = True
            for rank in self._present:
                self._post.send(Drain(seconds), rank)

    def _look_for_lost(self) -> None:
        now = time.monotonic()
        self._next_look = now + 0.1 * LOST_AFTER
        self.lost = {rank for rank, heard in self._heard.items() if now > heard + LOST_AFTER}
        self._present -= self.lost
        if self.lost:
            ranks = ", ".join(str(rank) for rank in sorted(self.lost))
            self.error = EnvironmentProblem(
                f"rank {ranks} has been silent for {LOST_AFTER:g} s; run the same command again to go on"
            )
