"""How far a campaign is, from its folder alone, whether it is running or not."""

from __future__ import annotations

import json
import os
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snapuq.campaign.dispatch import learned_costs
from snapuq.core.task import PropertyTask
from snapuq.errors import InputError
from snapuq.provenance import canonical_json, write_text
from snapuq.results.journal import TIME_LIMIT, JournalEntry, load_results

_PLAN = "plan.json"
#: The rate is that of the last minutes, or of the present job where that is shorter.
RECENT_SECONDS = 600.0


@dataclass(frozen=True)
class PropertyProgress:
    """How far one property is.

    Parameters
    ----------
    label : str
        Label of the property.
    n_tasks, n_done : int
        Tasks, and those that have a result.
    failures : Mapping
        Reason to number of tasks.
    seconds : float or None
        Mean wall time of a task.
    """

    label: str
    n_tasks: int
    n_done: int
    failures: Mapping[str, int]
    seconds: float | None


@dataclass(frozen=True)
class Status:
    """How far a campaign is.

    Parameters
    ----------
    properties : tuple of PropertyProgress
        In the order of the campaign.
    host : str
        Where the present or last job ran.
    n_ranks : int
        Its ranks.
    started : float
        When it started, s since the epoch.
    rate : float
        Tasks a second, lately.
    seconds_left : float or None
        Estimate at that number of ranks; None when nothing has been measured.
    n_second : int
        Tasks that ran into the time limit for the first time: the next run tries them once more.
    """

    properties: tuple[PropertyProgress, ...]
    host: str
    n_ranks: int
    started: float
    rate: float
    seconds_left: float | None
    n_second: int

    @property
    def n_tasks(self) -> int:
        """All tasks."""
        return sum(p.n_tasks for p in self.properties)

    @property
    def n_done(self) -> int:
        """Tasks that have a result."""
        return sum(p.n_done for p in self.properties)

    @property
    def is_complete(self) -> bool:
        """Whether every task has a result."""
        return self.n_done == self.n_tasks


def write_plan(folder: Path, tasks: Sequence[PropertyTask], n_ranks: int) -> None:
    """Write down what a campaign consists of, and the job that works on it.

    Parameters
    ----------
    folder : Path
        Folder of the journal.
    tasks : sequence of PropertyTask
        All tasks.
    n_ranks : int
        Ranks of this job.
    """
    keys: dict[str, list[str]] = {}
    for task in tasks:
        keys.setdefault(task.label, []).append(task.key)
    job = {"host": platform.node(), "pid": os.getpid(), "ranks": n_ranks, "started": time.time()}
    # A list, because sorted JSON would lose the order of the properties.
    write_text(folder / _PLAN, canonical_json({"job": job, "tasks": list(keys.items())}) + "\n")


def has_plan(folder: Path) -> bool:
    """Tell whether a campaign has been started.

    Parameters
    ----------
    folder : Path
        Folder of the journal.

    Returns
    -------
    bool
        Whether `write_plan` was called for it.
    """
    return (folder / _PLAN).is_file()


def read_status(folder: Path) -> Status:
    """Find out how far a campaign is.

    Parameters
    ----------
    folder : Path
        Folder of the journal.

    Returns
    -------
    Status
        What is known now.

    Raises
    ------
    InputError
        When no campaign has been started there.
    """
    path = folder / _PLAN
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        job = plan["job"]
        tasks: dict[str, list[str]] = dict(plan["tasks"])
        host, n_ranks, started = str(job["host"]), int(job["ranks"]), float(job["started"])
    except FileNotFoundError:
        raise InputError("no campaign has been started here", file=folder.parent) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot be read ({error})", file=path, hint="run 'snapuq campaign' again") from None
    content = load_results(folder)
    costs = learned_costs(content)
    properties, n_second = [], 0
    for label, keys in tasks.items():
        known = [content.results[key] for key in keys if key in content.results]
        failures = Counter(result.failure for result in known if result.failure)
        n_second += sum(result.failure == TIME_LIMIT and result.attempt == 1 for result in known)
        properties.append(
            PropertyProgress(label, len(keys), len(known), dict(failures), costs.expected(label))
        )
    left = {p.label: float(p.n_tasks - p.n_done) for p in properties if p.n_done < p.n_tasks}
    return Status(
        tuple(properties),
        host,
        n_ranks,
        started,
        _rate(content.entries, started),
        costs.total(left, n_ranks),
        n_second,
    )


def _rate(entries: Sequence[JournalEntry], started: float) -> float:
    """Tasks a second, up to the last record: a job that has ended has a rate too."""
    times = [entry.written for entry in entries if entry.written >= started]
    if not times:
        return 0.0
    begin = max(started, max(times) - RECENT_SECONDS)
    return sum(t >= begin for t in times) / max(max(times) - begin, 1.0)
