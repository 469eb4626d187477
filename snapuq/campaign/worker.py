"""The process that runs tasks: LAMMPS may loop, crash or leak here, and only a task is lost.

Started by `snapuq.campaign.process` as ``python -m snapuq.campaign.worker``, alone or on several ranks by an
``mpirun`` of its own, on which all ranks execute the same task in step.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from snapuq.campaign.frames import Frames
from snapuq.campaign.recipe import EngineRecipe
from snapuq.campaign.remember import remembering
from snapuq.core.engine import FMAX, Engine
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.errors import EnvironmentProblem, InputError, SimulationError
from snapuq.lifeline import die_with
from snapuq.parallel import Ranks, world
from snapuq.propagate.propagator import Propagator
from snapuq.propagate.record import RecordingEngine
from snapuq.properties import PROPERTIES, build_params
from snapuq.results.journal import BUG, result_to_plain

#: Growth of a worker's memory, bytes, after which it is replaced: reloaded potentials leak a little.
LARGEST_GROWTH = 512 * 1024**2


def execute(
    task: PropertyTask, make_engine: Callable[[int], Engine], propagator: Propagator | None = None
) -> PropertyResult:
    """Run one task; a failure is an outcome, with its reason.

    Parameters
    ----------
    task : PropertyTask
        The task.
    make_engine : callable
        Member to its potential.
    propagator : Propagator, optional
        Gives the engines of tasks that start from the MLE.

    Returns
    -------
    PropertyResult
        Values, or the reason why there are none.

    Raises
    ------
    EnvironmentProblem, InputError, OSError, MemoryError
        When something is wrong with the machine, not with the potential.
    """
    start = time.perf_counter()
    failure = detail = ""
    try:
        params = build_params(task.property, task.parameters)
        rng = np.random.Generator(np.random.PCG64(task.seed))
        opened = nullcontext(make_engine(task.member)) if propagator is None else propagator.engine(task)
        with opened as engine:
            before = getattr(engine, "evaluations", 0)
            output = PROPERTIES[task.property].run(engine, params, rng)
            used = getattr(engine, "evaluations", 0) - before
            if isinstance(engine, RecordingEngine):
                engine.reconfigured = output.reconfigured
    except SimulationError as error:
        failure, detail = error.reason, error.detail
    except (EnvironmentProblem, InputError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - one member must not end a campaign; recorded and reported
        failure = " ".join(f"{BUG}: {type(error).__name__}: {error}".split())[:200]
    seconds = time.perf_counter() - start
    known: dict[str, Any] = {"key": task.key, "label": task.label, "member": task.member, "seconds": seconds}
    if failure:
        return PropertyResult(**known, values={}, converged=False, failure=failure, detail=detail[:300])
    return PropertyResult(
        **known,
        values=dict(output.values),
        converged=output.converged,
        reconfigured=output.reconfigured,
        detail=output.detail[:300],
        fmax=getattr(params, "fmax", FMAX),
        evaluations=used,
        propagation="+".join(sorted(getattr(engine, "ways", {"brute"}))),
        fallbacks=getattr(engine, "fallbacks", 0),
        decrement=getattr(engine, "decrement", 0.0),
    )


def serve(frames: Frames, ranks: Ranks) -> None:
    """Run the tasks that come over the pipe until it is closed.

    Parameters
    ----------
    frames : Frames
        The pipe, used on rank 0 alone.
    ranks : Ranks
        The ranks of this worker.
    """

    def reply(**message: Any) -> None:
        if ranks.is_root:
            frames.write(message)

    order = ranks.from_root(frames.next)
    if order is None:
        return
    try:
        recipe = EngineRecipe(**order)
        with recipe.open() as make_engine, recipe.open_predictor() as predictor:
            make = remembering(make_engine)
            propagator = None if predictor is None else Propagator(make, predictor)
            reply(ready=os.getpid())
            growth: list[int] = []
            while (order := ranks.from_root(frames.next)) is not None:
                result = execute(PropertyTask(**order), make, propagator)
                growth.append(_memory())
                # The supervisor replaces a worker that says that it leaves; rank 0 decides for all.
                leaving = ranks.from_root(lambda: growth[-1] - growth[0] > LARGEST_GROWTH)
                reply(result=result_to_plain(result), leaving=leaving)
                if leaving:
                    return
    except MemoryError as error:
        reply(out_of_memory=str(error)[:300] or "no memory left")
    except (EnvironmentProblem, InputError) as error:
        reply(unable=str(error))
    except OSError as error:
        reply(unable=f"{error.strerror}: {error.filename}" if error.filename else str(error))


def _memory() -> int:
    """Memory of this process, bytes; 0 where it cannot be told."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.is_file() else 0


def main(arguments: list[str]) -> None:
    """Start: end with the supervisor, and be the first to go when memory runs out.

    Parameters
    ----------
    arguments : list of str
        Two file descriptors, and the process id of the parent (``-`` on several ranks, whose parent is the
        launcher).
    """
    reading, writing, parent = arguments
    die_with(os.getppid() if parent == "-" else int(parent))
    score = Path("/proc/self/oom_score_adj")
    if os.access(score, os.W_OK):
        score.write_text("1000")
    # Signals for the job are for the supervisor to act on.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    serve(Frames(int(reading), int(writing)), world())


if __name__ == "__main__":
    main(sys.argv[1:])
