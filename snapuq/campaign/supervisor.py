"""What every rank does in a campaign: keep one worker busy, journal its results, never run LAMMPS itself."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import Any, Protocol

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
from snapuq.campaign.process import Worker
from snapuq.campaign.recipe import EngineRecipe
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.errors import EnvironmentProblem
from snapuq.results.journal import TIME_LIMIT, Journal, result_from_plain
from snapuq.stopping import StopRequest

#: Seconds that a worker has for loading LAMMPS, on a slow file system too.
START_LIMIT = 300.0
#: Workers in a row that may end before they are ready.
LARGEST_FALSE_STARTS = 3
#: Seconds between signs of life.
BEAT = 10.0


class Post(Protocol):
    """What a supervisor sends with."""

    def send(self, message: object, rank: int) -> None:
        """Send without waiting.

        Parameters
        ----------
        message : object
            The message.
        rank : int
            Who gets it.
        """


class Supervisor:
    """One rank's worker, its queue and its journal.

    Parameters
    ----------
    rank : int
        This rank.
    recipe : EngineRecipe
        How the worker opens its engines.
    journal : Journal
        This rank's file.
    post : Post
        To rank 0.
    stop : StopRequest
        Signals that this rank receives.
    """

    def __init__(
        self, rank: int, recipe: EngineRecipe, journal: Journal, post: Post, stop: StopRequest
    ) -> None:
        self._rank = rank
        self._recipe = recipe
        self._journal = journal
        self._post = post
        self._stop = stop
        self._worker: Worker | None = None
        # The first is running; the second waits in the worker's pipe, so that it never waits for us.
        self._queue: deque[Assignment] = deque()
        self._since = 0.0
        self._false_starts = 0
        self._wanted = ""
        self._drain_until: float | None = None
        self._said_idle = self._said_asked = self._is_broken = False
        self._last_word = time.monotonic()
        self.has_left = False

    @property
    def is_busy(self) -> bool:
        """Whether a task runs here."""
        return bool(self._queue)

    def take(self, message: object) -> None:
        """Act on a message of rank 0.

        Parameters
        ----------
        message : object
            One of `snapuq.campaign.messages`.
        """
        if isinstance(message, Assignment):
            self._wanted = ""
            if self._drain_until is None and not self._is_broken:
                self._accept(message)
        elif isinstance(message, Drain):
            until = time.monotonic() + message.seconds
            self._drain_until = until if self._drain_until is None else min(until, self._drain_until)
        elif isinstance(message, Leave):
            self.has_left = True

    def step(self, wait: float) -> None:
        """Watch the worker for a while, and ask for work.

        Parameters
        ----------
        wait : float
            Seconds at most.
        """
        if self._worker is None:
            time.sleep(wait)
        else:
            self._watch(self._worker, wait)
        self._check_clock()
        self._speak()

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.dismiss()
            self._worker = None

    def _accept(self, assignment: Assignment) -> None:
        self._queue.append(assignment)
        if self._worker is None:
            self._start()
        else:
            self._worker.send(assignment.task)
        if len(self._queue) == 1:
            self._since = time.monotonic()

    def _start(self) -> None:
        """Start a worker and give it everything that is waiting."""
        try:
            self._worker = Worker(self._recipe)
        except (EnvironmentProblem, OSError) as error:
            self._break(error)
            return
        self._since = time.monotonic()
        for assignment in self._queue:
            self._worker.send(assignment.task)

    def _watch(self, worker: Worker, wait: float) -> None:
        messages, alive = worker.messages(wait)
        for message in messages:
            if "ready" in message:
                worker.is_ready, self._false_starts = True, 0
                self._since = time.monotonic()
            elif "result" in message:
                self._finish(result_from_plain(message["result"]))
                alive = alive and not message["leaving"]
                if message["leaving"] and self._worker is worker:
                    worker.dismiss()
                    self._restart()
                    return
            elif "out_of_memory" in message:
                self._bury(worker, "out_of_memory", str(message["out_of_memory"]))
                return
            elif "unable" in message:
                self._break(EnvironmentProblem(str(message["unable"])))
                return
            if self._worker is not worker:
                return
        if not alive:
            self._bury(worker, "crashed", "")

    def _finish(self, result: PropertyResult) -> None:
        """Put the running task's result on the disk, and only then tell rank 0."""
        assignment = self._queue.popleft()
        self._since = time.monotonic()
        try:
            self._journal.append(replace(result, attempt=assignment.attempt))
        except OSError as error:
            self._break(error)
            return
        self._say(Finished(self._rank, assignment.index, result.label, result.seconds, result.failure))
        if self._drain_until is not None:
            # What waits in the pipe must not start.
            self._stop_all()

    def _bury(self, worker: Worker, reason: str, detail: str) -> None:
        """Deal with a worker that has ended by itself."""
        was_ready = worker.is_ready
        epitaph = worker.epitaph()
        self._worker = None
        if not was_ready:
            self._false_starts += 1
            if self._false_starts >= LARGEST_FALSE_STARTS:
                self._break(EnvironmentProblem(f"workers do not start ({epitaph}); see 'snapuq doctor'"))
                return
        elif self._queue:
            assignment = self._queue.popleft()
            self._say(Died(self._rank, assignment.index, reason, detail or epitaph))
        self._restart()

    def _restart(self) -> None:
        self._worker = None
        if self._drain_until is not None:
            self._stop_all()
        elif self._queue:
            self._start()

    def _check_clock(self) -> None:
        if self._worker is None or not self._queue:
            if self._drain_until is not None:
                self._stop_all()
            return
        now = time.monotonic()
        if self._drain_until is not None and now >= self._drain_until:
            self._stop_all()
        elif not self._worker.is_ready:
            if now > self._since + START_LIMIT:
                self._bury_hung(self._worker)
        elif now > self._since + self._queue[0].limit:
            self._worker.kill()
            self._worker = None
            self._finish(failed_result(self._queue[0], TIME_LIMIT, self._queue[0].limit, "no result"))
            if not self._is_broken:
                self._restart()

    def _bury_hung(self, worker: Worker) -> None:
        worker.kill()
        self._worker = None
        text = f"a worker was not ready after {START_LIMIT:g} s; see 'snapuq doctor'"
        self._break(EnvironmentProblem(text))

    def _stop_all(self) -> None:
        """Give up what runs and waits here; it is not in the journal, and runs again next time."""
        self._queue.clear()
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _break(self, error: Exception) -> None:
        """Tell rank 0 that this machine cannot go on."""
        self._is_broken = True
        self._stop_all()
        self._say(Broken(self._rank, error))

    def _speak(self) -> None:
        """Ask for work, pass on a signal, say that nothing runs any more, or just show a sign of life."""
        if self._stop.reason and not self._said_asked:
            self._said_asked = True
            self._say(Asked(self._rank, self._stop.reason))
        if self._drain_until is not None:
            if not self._queue and not self._said_idle:
                self._said_idle = True
                self._say(Idle(self._rank))
        elif not self._is_broken:
            wanted = "now" if not self._queue else "ahead" if len(self._queue) == 1 else ""
            if wanted and wanted != self._wanted and self._wanted != "now":
                self._wanted = wanted
                self._say(Ready(self._rank, wanted == "ahead"))
        if time.monotonic() > self._last_word + BEAT:
            self._say(FromSupervisor(self._rank))

    def _say(self, message: FromSupervisor) -> None:
        self._last_word = time.monotonic()
        self._post.send(message, 0)


def failed_result(assignment: Assignment, reason: str, seconds: float, detail: str) -> PropertyResult:
    """Record a task that gave no result of its own.

    Parameters
    ----------
    assignment : Assignment
        The task.
    reason : str
        Typed reason.
    seconds : float
        Wall time.
    detail : str
        One line for people.

    Returns
    -------
    PropertyResult
        Without values.
    """
    task = PropertyTask(**assignment.task)
    known: dict[str, Any] = {"key": task.key, "label": task.label, "member": task.member}
    outcome: dict[str, Any] = {"converged": False, "failure": reason, "seconds": seconds, "detail": detail}
    return PropertyResult(**known, **outcome, values={}, attempt=assignment.attempt)
