"""What ranks tell each other during a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Assignment:
    """Rank 0 to a supervisor: run this task.

    Parameters
    ----------
    index : int
        Number of the task in this campaign.
    task : Mapping
        The task as plain data.
    attempt : int
        1, or 2 for a task that ran into its limit before.
    limit : float
        Wall-clock limit, s.
    """

    index: int
    task: Mapping[str, Any]
    attempt: int
    limit: float


@dataclass(frozen=True)
class Drain:
    """Rank 0 to a supervisor: start nothing more.

    Parameters
    ----------
    seconds : float
        Time that the running task is given.
    """

    seconds: float


@dataclass(frozen=True)
class Leave:
    """Rank 0 to a supervisor: the campaign is over for now."""


@dataclass(frozen=True)
class FromSupervisor:
    """A supervisor to rank 0; by itself a sign of life.

    Parameters
    ----------
    rank : int
        The supervisor.
    """

    rank: int


@dataclass(frozen=True)
class Ready(FromSupervisor):
    """Asks for work.

    Parameters
    ----------
    rank : int
        The supervisor.
    ahead : bool
        Whether a task is running, and the next is wanted in advance.
    """

    ahead: bool


@dataclass(frozen=True)
class Finished(FromSupervisor):
    """A result is in the journal.

    Parameters
    ----------
    rank : int
        The supervisor.
    index : int
        Number of the task.
    label : str
        Label of its property.
    seconds : float
        Wall time.
    failure : str
        Reason of the failure; empty when there was none.
    """

    index: int
    label: str
    seconds: float
    failure: str


@dataclass(frozen=True)
class Died(FromSupervisor):
    """A task has ended its worker.

    Parameters
    ----------
    rank : int
        The supervisor.
    index : int
        Number of the task.
    reason : str
        ``crashed`` or ``out_of_memory``.
    detail : str
        One line for people.
    """

    index: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Asked(FromSupervisor):
    """This rank was asked to stop.

    Parameters
    ----------
    rank : int
        The supervisor.
    reason : str
        Name of a signal.
    """

    reason: str


@dataclass(frozen=True)
class Broken(FromSupervisor):
    """Something is wrong with this rank's machine; it starts nothing more.

    Parameters
    ----------
    rank : int
        The supervisor.
    error : Exception
        To be raised on every rank.
    """

    error: Exception


@dataclass(frozen=True)
class Idle(FromSupervisor):
    """Nothing runs here any more, after a `Drain`.

    Parameters
    ----------
    rank : int
        The supervisor.
    """
