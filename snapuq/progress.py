"""How far a long run is, on a terminal or in a batch log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

# Seconds between changes of the bar on a terminal.
_REFRESH = 0.2


class Progress:
    """A bar on a terminal, a plain line at intervals elsewhere; use it as a context manager.

    Parameters
    ----------
    title : str
        What is going on.
    total : int
        Items of all ranks.
    share : int
        Number of ranks that share the items: what this one counts stands for that many.
    silent : bool
        Show nothing, as on all ranks but one.
    interval : float
        Seconds between lines.
    stream : TextIO, optional
        Where to write; standard error by default.
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        share: int = 1,
        silent: bool = False,
        interval: float = 30.0,
        stream: TextIO | None = None,
    ) -> None:
        self._title = title
        self._total = total
        self._share = share
        self._silent = silent or total == 0
        self._interval = interval
        self._stream = sys.stderr if stream is None else stream
        self._skipped = 0
        self._done = 0
        self._bar: Bar | None = None
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Progress:
        self._start = self._last = time.monotonic()
        if not self._silent and self._stream.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            times = (TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
            self._bar = Bar(*columns, *times, console=Console(file=self._stream))
            self._bar.add_task(self._title, total=self._total, note="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            if kind is None:
                self._bar.update(self._bar.task_ids[0], completed=self._total, note="")
            self._bar.stop()
        elif not self._silent:
            spent = duration(time.monotonic() - self._start)
            self._write(f"{self._total} done in {spent}" if kind is None else f"stopped after {spent}")

    def skip(self, n: int) -> None:
        """Count items that an earlier run finished; they say nothing about the time that is left.

        Parameters
        ----------
        n : int
            How many, of all ranks together.
        """
        self._skipped += n
        self._show()

    def advance(self, n: int = 1) -> None:
        """Count items that this rank finished.

        Parameters
        ----------
        n : int
            How many more.
        """
        self._done += n * self._share
        self._show()

    def show(self, done: int, left: Callable[[], float | None]) -> None:
        """Show what is known of all ranks.

        Parameters
        ----------
        done : int
            Items that are done, those of an earlier run included.
        left : callable
            Gives the seconds that are left, if they can be told; called when they are shown.
        """
        now = time.monotonic()
        is_due = now - self._last >= (self._interval if self._bar is None else _REFRESH)
        if self._silent or not is_due or done <= self._skipped:
            return
        self._last = now
        rate = 60.0 * (done - self._skipped) / max(now - self._start, 1.0e-9)
        estimate = left()
        note = f"{rate:.3g} a minute" + ("" if estimate is None else f", about {duration(estimate)} left")
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, note=note)
        else:
            self._write(f"{done} of {self._total}, {note}")

    def _show(self) -> None:
        done = min(self._total, self._skipped + self._done)
        spent = time.monotonic() - self._start
        self.show(done, lambda: spent * (self._total - done) / self._done)

    def _write(self, text: str) -> None:
        print(f"{self._title}: {text}", file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """Write a time for people.

    Parameters
    ----------
    seconds : float
        A time.

    Returns
    -------
    str
        For example ``42 s``, ``3 min 20 s`` or ``2 h 05 min``.
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
