"""Requests to stop: signals of the batch system, and the wall-clock limit of a run."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

from snapuq.parallel import launcher_rank

#: What batch systems send before they kill a job, and what a user sends with Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
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
        return self

    def __exit__(self, *_: object) -> None:
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
            return "time limit"
        return ""

    @property
    def seconds_left(self) -> float:
        """Seconds until running tasks must be given up, once there is a reason to stop."""
        ends = [] if self._deadline is None else [self._deadline]
        if self._signal:
            ends.append(self._since + self.drain)
        return max(0.0, min(ends, default=self.drain + time.monotonic()) - time.monotonic())
