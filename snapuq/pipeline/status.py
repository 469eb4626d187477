"""What ``snapuq status`` prints."""

from __future__ import annotations

import fcntl
import time
from collections import Counter
from pathlib import Path

from snapuq.campaign.status import Status, has_plan, read_status
from snapuq.errors import InputError
from snapuq.pipeline.folder import RunFolder
from snapuq.progress import duration


def describe_status(path: Path) -> tuple[tuple[str, ...], bool]:
    """Tell how far the campaign of a run is; writes nothing.

    Parameters
    ----------
    path : Path
        The run's folder.

    Returns
    -------
    lines : tuple of str
        For people.
    is_complete : bool
        Whether every task has a result, and none of them would be tried again.

    Raises
    ------
    InputError
        When it is no run's folder.
    """
    if not path.is_dir():
        raise InputError("no such run folder", file=path, expected="a run's folder")
    folder = RunFolder(path)
    is_running = _is_held(path / ".lock")
    if folder.is_claimed and not has_plan(folder.journal):
        state = "running, before its campaign" if is_running else "not running; stopped before its campaign"
        return (f"{path}: {state}",), False
    status = read_status(folder.journal)
    lines = (*_head(path, status, is_running), *_table(status))
    return lines, status.is_complete and not status.n_second


def _is_held(lock: Path) -> bool:
    """Whether a run is working there: it holds the lock as long as it lives."""
    if not lock.is_file():
        return False
    with lock.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _head(path: Path, status: Status, is_running: bool) -> list[str]:
    job = f"{status.n_ranks} rank{'s' * (status.n_ranks > 1)} on {status.host}"
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.started))
    if is_running:
        state = f"running, {job} since {since}"
    elif status.is_complete:
        state = f"complete but for {status.n_second} to try again" if status.n_second else "complete"
    else:
        state = f"not running; last {job}, started {since}"
    failures: Counter[str] = Counter()
    for part in status.properties:
        failures.update(part.failures)
    share = 100.0 * status.n_done / status.n_tasks if status.n_tasks else 100.0
    lines = [
        f"{path}: {state}",
        f"done     {status.n_done} of {status.n_tasks} tasks ({share:.1f} %)",
        f"failed   {sum(failures.values())}"
        + (f" ({', '.join(f'{n} {reason}' for reason, n in failures.most_common())})" if failures else ""),
    ]
    if status.n_second:
        what = "that ran into the time limit; the next run tries them once more, with twice the limit"
        lines.append(f"again    {status.n_second} {what}")
    if not status.is_complete:
        lines.append(f"rate     {60.0 * status.rate:.3g} tasks a minute")
        left = "unknown" if status.seconds_left is None else f"about {duration(status.seconds_left)}"
        lines.append(f"left     {left} on {status.n_ranks} rank{'s' * (status.n_ranks > 1)}")
    return lines


def _table(status: Status) -> list[str]:
    rows = [("property", "done", "failed", "left", "s/task")]
    for p in status.properties:
        mean = "" if p.seconds is None else f"{p.seconds:.3g}"
        counts = (str(p.n_done), str(sum(p.failures.values())), str(p.n_tasks - p.n_done))
        rows.append((p.label, *counts, mean))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
