"""Run the tasks of a campaign on all ranks, and go on where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snapuq.campaign.dispatch import learned_costs
from snapuq.campaign.master import Master, Work
from snapuq.campaign.messages import FromSupervisor
from snapuq.campaign.recipe import EngineRecipe
from snapuq.campaign.supervisor import Supervisor
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.mailbox import Mailbox
from snapuq.parallel import Ranks, sweep_shared_memory
from snapuq.progress import Progress
from snapuq.results.journal import BUG, TIME_LIMIT, Journal, JournalContent, load_results
from snapuq.stopping import StopRequest

#: Seconds between looks at messages of other ranks: of one that waits or is waited for, of one whose worker
#: is busy (each look takes time from it, and the others have their next task already), and of one that has no
#: others. A blocking receive would burn a core.
_TICK, _TICK_BUSY, _TICK_ALONE = 1.0e-3, 2.0e-2, 5.0e-2
#: A task that ran into its limit is run once more with this many times the limit.
SECOND_CHANCE = 2.0


@dataclass(frozen=True)
class Outcome:
    """How a run of a campaign ended.

    Parameters
    ----------
    is_complete : bool
        Whether every task has a result.
    reason : str
        Why it stopped before: name of a signal, or ``time limit``.
    """

    is_complete: bool
    reason: str


def plan_work(tasks: Sequence[PropertyTask], content: JournalContent, limit: float) -> Work:
    """Find what the journal lacks.

    Parameters
    ----------
    tasks : sequence of PropertyTask
        All tasks.
    content : JournalContent
        What is in the journal.
    limit : float
        Wall-clock limit of a task, s.

    Returns
    -------
    Work
        Tasks without a result; those that met an error that nobody foresaw; and those that ran into a limit
        for the first time or, since, into a shorter one than they would have now.
    """
    costs = learned_costs(content)
    waiting: list[PropertyTask] = []
    limits: dict[int, float] = {}
    for task in tasks:
        known = content.results.get(task.key)
        if known is not None and known.failure == TIME_LIMIT:
            if limit > known.seconds:
                limits[len(waiting)] = limit
                waiting.append(task)
            elif known.attempt == 1:
                limits[len(waiting)] = SECOND_CHANCE * known.seconds
                waiting.append(task)
        elif known is None or known.failure.startswith(BUG):
            waiting.append(task)
    return Work(waiting, limits, limit, len(tasks) - len(waiting), costs)


def collect(tasks: Sequence[PropertyTask], content: JournalContent) -> tuple[PropertyResult, ...]:
    """Take the results of a complete campaign out of the journal.

    Parameters
    ----------
    tasks : sequence of PropertyTask
        All tasks.
    content : JournalContent
        What is in the journal.

    Returns
    -------
    tuple of PropertyResult
        In the order of `tasks`; of those that have one.
    """
    return tuple(content.results[task.key] for task in tasks if task.key in content.results)


def run_campaign(
    tasks: Sequence[PropertyTask],
    recipe: EngineRecipe,
    folder: Path,
    ranks: Ranks,
    progress: Progress,
    stop: StopRequest,
    limit: float,
) -> Outcome:
    """Run what the journal lacks.

    Parameters
    ----------
    tasks : sequence of PropertyTask
        All tasks; needed on rank 0 alone.
    recipe : EngineRecipe
        How workers open their engines.
    folder : Path
        Folder of the journal.
    ranks : Ranks
        All ranks.
    progress : Progress
        Shown on rank 0.
    stop : StopRequest
        Signals and the clock of this run.
    limit : float
        Wall-clock limit of a task, s.

    Returns
    -------
    Outcome
        The same on every rank.

    Raises
    ------
    EnvironmentProblem, InputError, OSError
        When something is wrong with a machine or the disk; on every rank.
    """
    work = Work((), {}, limit)

    def prepare() -> bool:
        nonlocal work
        work = plan_work(tasks, load_results(folder), limit)
        return bool(work.tasks)

    if not ranks.from_root(prepare):
        return Outcome(is_complete=True, reason="")
    mailbox = ranks.mailbox()
    with ranks.together(lambda: Journal(folder, ranks.rank)) as journal:
        supervisor = Supervisor(ranks.rank, recipe, journal, mailbox, stop)
        master = Master(work, ranks.size, mailbox, journal, stop, progress) if ranks.is_root else None
        try:
            _loop(supervisor, master, mailbox)
        finally:
            supervisor.close()
            sweep_shared_memory()
    if master is not None and master.lost and master.error is not None:
        # They would never answer.
        raise master.error
    mailbox.close()
    return ranks.from_root(lambda: _outcome(master))


def _outcome(master: Master | None) -> Outcome:
    assert master is not None
    if master.error is not None:
        raise master.error
    return Outcome(master.is_complete, "" if master.is_complete else master.reason)


def _loop(supervisor: Supervisor, master: Master | None, mailbox: Mailbox) -> None:
    """Go on until rank 0 says that it is over. No collectives: a slow or failing rank holds up nobody."""
    while not supervisor.has_left:
        while (message := mailbox.receive()) is not None:
            if isinstance(message, FromSupervisor):
                assert master is not None
                master.take(message)
            else:
                supervisor.take(message)
        if master is not None and not supervisor.has_left:
            master.serve()
        supervisor.step(0.0 if mailbox.has_own else _tick(mailbox, supervisor, master))


def _tick(mailbox: Mailbox, supervisor: Supervisor, master: Master | None) -> float:
    if mailbox.is_alone:
        return _TICK_ALONE
    is_awaited = master is not None and master.is_awaited
    return _TICK_BUSY if supervisor.is_busy and not is_awaited else _TICK
