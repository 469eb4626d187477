"""Run one task; a failure is an outcome, with its reason."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from snapuq.core.engine import Engine
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.errors import EnvironmentProblem, InputError, SimulationError
from snapuq.properties import PROPERTIES, build_params
from snapuq.results.journal import BUG


def execute(task: PropertyTask, make_engine: Callable[[int], Engine]) -> PropertyResult:
    """Run one task.

    Parameters
    ----------
    task : PropertyTask
        The task.
    make_engine : callable
        Member to its potential.

    Returns
    -------
    PropertyResult
        Values, or the reason why there are none.

    Raises
    ------
    EnvironmentProblem, InputError, OSError
        When something is wrong with the machine, not with the potential.
    """
    start = time.perf_counter()
    failure = ""
    try:
        params = build_params(task.property, task.parameters)
        rng = np.random.Generator(np.random.PCG64(task.seed))
        output = PROPERTIES[task.property].run(make_engine(task.member), params, rng)
    except SimulationError as error:
        failure = error.reason
    except (EnvironmentProblem, InputError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - one member must not end a campaign; recorded and reported
        failure = " ".join(f"{BUG}: {type(error).__name__}: {error}".split())[:200]
    seconds = time.perf_counter() - start
    if failure:
        return PropertyResult(
            task.key, task.label, task.member, {}, converged=False, failure=failure, seconds=seconds
        )
    return PropertyResult(
        task.key,
        task.label,
        task.member,
        dict(output.values),
        output.converged,
        output.reconfigured,
        seconds=seconds,
    )
