"""Run the tasks of a campaign on all ranks, and go on where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from snapuq.campaign.remember import remembering
from snapuq.campaign.worker import execute
from snapuq.core.engine import Engine
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.parallel import Ranks
from snapuq.progress import Progress
from snapuq.results.journal import BUG, Journal, load_results


def finished(folder: Path) -> Mapping[str, PropertyResult]:
    """Results that need no new run.

    Parameters
    ----------
    folder : Path
        Folder of the journal.

    Returns
    -------
    Mapping
        Key to result: values, and failures of the potential. Errors that nobody foresaw are run again.
    """
    results = load_results(folder).results
    return {key: r for key, r in results.items() if not r.failure.startswith(BUG)}


def pending(tasks: Sequence[PropertyTask], folder: Path) -> tuple[PropertyTask, ...]:
    """Tasks that are not in the journal.

    Parameters
    ----------
    tasks : sequence of PropertyTask
        All tasks.
    folder : Path
        Folder of the journal.

    Returns
    -------
    tuple of PropertyTask
        In the order given.
    """
    done = finished(folder)
    return tuple(t for t in tasks if t.key not in done)


def run_campaign(
    tasks: Sequence[PropertyTask],
    make_engine: Callable[[int], Engine],
    folder: Path,
    ranks: Ranks,
    progress: Progress,
) -> tuple[PropertyResult, ...]:
    """Run what the journal lacks.

    Parameters
    ----------
    tasks : sequence of PropertyTask
        All tasks, the same on every rank.
    make_engine : callable
        Member to its potential; called on the rank that needs it.
    folder : Path
        Folder of the journal.
    ranks : Ranks
        All ranks.
    progress : Progress
        Advanced once for each task run on this rank.

    Returns
    -------
    tuple of PropertyResult
        In the order of `tasks`, on every rank; those of an earlier run included.

    Raises
    ------
    EnvironmentProblem, OSError
        When something is wrong with a machine or the disk; on every rank.
    """
    done, todo = ranks.from_root(lambda: (finished(folder), pending(tasks, folder)))
    make = remembering(make_engine)
    progress.skip(len(tasks) - len(todo))

    def work() -> dict[int, PropertyResult]:
        mine = ranks.mine(len(todo))
        if not mine:
            return {}
        results = {}
        with Journal(folder, ranks.rank) as journal:
            for index in mine:
                results[index] = execute(todo[index], make)
                journal.append(results[index])
                progress.advance()
        return results

    # No collectives until every rank has finished: one slow or failing rank holds up nobody.
    new = ranks.concatenate(ranks.together(work), range(len(todo)))
    everything = {**done, **{r.key: r for r in new}}
    return tuple(everything[t.key] for t in tasks)
