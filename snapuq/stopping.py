"""Requests to stop: signals of the batch system, and the wall-clock limit of a run.

A campaign ends its running tasks first (`StopRequest`); whatever else is going on ends at once (`Watch`).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from snapuq.parallel import ABORT_DELAY, end_all, has_others, launcher_rank

#: What batch systems send before they kill a job, and what a user sends with Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
#: Exit status of a run that was stopped in time and is to be run again.
INCOMPLETE = 3
#: Exit status by what stopped a run outside a campaign: a shell's own, or that of one to be run again.
STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": INCOMPLETE, "time limit": INCOMPLETE}
#: What to do after a stop.
RESUME = "what is finished is kept: run the same command to go on"
_TIME_LIMIT = "time limit"
# Seconds that the main thread gives the watch to act on a signal.
_HOLD = 1.0
# Seconds after which the system ends a rank whose MPI does not.
_LAST_RESORT = 10
_STOPPING = b"\nsnapuq: stopping: finishing running tasks (press again to kill)\n"


class StopRequest:
    """Notes signals and the clock while it is open; use it as a context manager.

    Parameters
    ----------
    deadline : float or None
        `time.monotonic` at which the run must have ended; None for no limit.
    drain : float
        Seconds that running tasks are given once a stop was asked for.
    """

    def __init__(self, deadline: float | None = None, drain: float = 0.0) -> None:
        self.drain = drain
        self._deadline = deadline
        self._signal = ""
        self._since = 0.0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        # In this order, and the other way round below, no signal falls between the two.
        if _watch is not None:
            _watch.pause()
        return self

    def __exit__(self, *_: object) -> None:
        if _watch is not None:
            _watch.resume()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._signal and number == signal.SIGINT:
            # Someone who presses Ctrl-C twice does not want to wait.
            raise KeyboardInterrupt
        if not self._signal:
            self._signal, self._since = signal.Signals(number).name, time.monotonic()
            if number == signal.SIGINT and launcher_rank() == 0:
                # Straight to the system: a handler may have interrupted Python's own writing.
                os.write(2, _STOPPING)

    @property
    def reason(self) -> str:
        """Why to stop: name of a signal, ``time limit``, or empty when there is no reason to."""
        if self._signal:
            return self._signal
        if self._deadline is not None and time.monotonic() >= self._deadline - self.drain:
            return _TIME_LIMIT
        return ""

    @property
    def seconds_left(self) -> float:
        """Seconds until running tasks must be given up, once there is a reason to stop."""
        ends = [] if self._deadline is None else [self._deadline]
        if self._signal:
            ends.append(self._since + self.drain)
        return max(0.0, min(ends, default=self.drain + time.monotonic()) - time.monotonic())


class Watch:
    """Ends this run at once when a signal comes or its time is up, except while a `StopRequest` is open.

    A thread does it: a rank that waits for others in MPI, or computes in a library, runs no Python handler.
    Use it as a context manager in the main thread; `enter_stage` tells it what is going on.
    """

    def __init__(self) -> None:
        self._stage = ""
        self._deadline: float | None = None
        self._is_paused = False
        #: Whether this process is about to end.
        self.is_ending = False
        self._previous: dict[signal.Signals, Any] = {}
        self._pipe = (-1, -1)
        self._previous_fd = -1
        self._thread = threading.Thread(target=self._wait, name="snapuq signals", daemon=True)

    def __enter__(self) -> Watch:
        global _watch
        self._previous = {number: signal.getsignal(number) for number in SIGNALS}
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._previous_fd = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._arm()
        self._thread.start()
        _watch = self
        return self

    def __exit__(self, *_: object) -> None:
        global _watch
        _watch = None
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        writing = self._pipe[1]
        # A run that is being ended does not get past this line.
        os.close(writing)
        self._thread.join()
        os.close(self._pipe[0])

    def enter(self, stage: str, deadline: float | None) -> None:
        """Go on to the next stage.

        Parameters
        ----------
        stage : str
            Its name.
        deadline : float or None
            `time.monotonic` at which it must end.
        """
        self._stage = stage
        self._deadline = None if deadline is None else deadline - 2.0 * ABORT_DELAY
        # MPI libraries take signals for themselves when they are loaded.
        self._arm()
        with suppress(BlockingIOError):
            os.write(self._pipe[1], b"\0")

    def pause(self) -> None:
        """Leave signals and the clock to someone else."""
        self._is_paused, self._deadline = True, None

    def resume(self) -> None:
        """Act on signals again; not on the clock, which a campaign has seen to."""
        self._is_paused = False

    def _arm(self) -> None:
        for number in SIGNALS:
            signal.signal(number, _hold_still)

    def _wait(self) -> None:
        names = {int(number): number.name for number in SIGNALS}
        while True:
            deadline = self._deadline
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._pipe[0]], [], [], left)[0]:
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    self._end(_TIME_LIMIT)
                continue
            numbers = os.read(self._pipe[0], 64)
            if not numbers:
                return
            found = [names[number] for number in numbers if number in names]
            if found and not self._is_paused:
                self._end(found[0])

    def _end(self, reason: str) -> None:
        """End all ranks: rank 0 speaks for all; another only if rank 0 has not ended it by then."""
        self.is_ending = True
        status = STATUS[reason]
        stage = f" during {self._stage}" if self._stage else ""
        is_alone = not has_others()
        if launcher_rank() != 0 and not is_alone:
            time.sleep(1.5 * ABORT_DELAY)
        # A bar on a terminal has hidden the cursor. Straight to the system: others may hold Python's locks.
        before = "\n\x1b[?25h" if os.isatty(2) else ""
        os.write(2, f"{before}snapuq: stopped by {reason}{stage}; {RESUME}\n".encode())
        if not is_alone:
            time.sleep(ABORT_DELAY)
        # Not imported here: who has not loaded it has written nothing.
        provenance = sys.modules.get("snapuq.provenance")
        if provenance is not None:
            provenance.remove_unfinished()
        signal.alarm(_LAST_RESORT)
        end_all(status)
        os._exit(status)


#: The watch over this process, if there is one.
_watch: Watch | None = None


def _hold_still(_number: int, _frame: FrameType | None) -> None:
    """Leave the rest to the watch, which the interpreter has woken: what is interrupted must not go on."""
    end = time.monotonic() + _HOLD
    while _watch is not None and (_watch.is_ending or time.monotonic() < end):
        time.sleep(0.01)


def enter_stage(stage: str, deadline: float | None = None) -> None:
    """Tell the watch over this process, if there is one, what is going on.

    Parameters
    ----------
    stage : str
        Its name, for the message about a stop.
    deadline : float or None
        `time.monotonic` at which it must have ended; a campaign sees to its own.
    """
    if _watch is not None:
        _watch.enter(stage, deadline)
