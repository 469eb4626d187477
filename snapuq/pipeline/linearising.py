"""Quantities of properties to first order around the MLE, and their worst-case members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from snapuq.analysis.linear_box import UnitBox
from snapuq.campaign.plan import PlannedProperty, plan
from snapuq.campaign.recipe import EngineRecipe
from snapuq.campaign.remember import remembering
from snapuq.campaign.run import collect, run_campaign
from snapuq.core.ensemble import Ensemble
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.descriptors.bispectrum import BispectrumCalculator
from snapuq.errors import SimulationError, Stopped
from snapuq.lammps.engine import LammpsEngine
from snapuq.lammps.session import Session
from snapuq.lammps.snapfiles import member_files
from snapuq.lammps.templates import Workspace
from snapuq.pipeline.campaigning import engine_settings, export_for_workers, potential_digests
from snapuq.pipeline.execute import Run
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.prediction import row_source
from snapuq.pipeline.rows import share
from snapuq.progress import Progress
from snapuq.propagate.family import RowSource
from snapuq.propagate.linearise import Linearised, linearise
from snapuq.propagate.propagator import Propagator
from snapuq.propagate.store import Predictor, Store
from snapuq.report.tables import is_curve_name
from snapuq.results.influence import LinearisedQuantity
from snapuq.results.journal import load_results
from snapuq.stopping import StopRequest
from snapuq.units import seconds
from snapuq.uq.ensemble_file import save_ensemble

Array = NDArray[np.float64]

#: Cosine of the angle between two gradients in the box above which their worst-case members are the same.
SAME_GRADIENT = 0.9999
#: A standard deviation below this share of the value is that of a number that does not change to first
#: order, as a count of modes.
CONSTANT = 1.0e-9


@dataclass(frozen=True, eq=False)
class Quantities:
    """Quantities of all properties that change to first order, curves left out.

    Parameters
    ----------
    names : tuple of (str, str, str)
        Label of the property, quantity and unit.
    mle : ndarray, shape (n,)
        Values of the MLE.
    slopes : ndarray, shape (n, k)
        Derivatives by the coordinates of a `UnitBox`.
    """

    names: tuple[tuple[str, str, str], ...]
    mle: Array
    slopes: Array


def mle_tasks(run: Run, parts: Sequence[PlannedProperty], ensemble: Ensemble) -> tuple[PropertyTask, ...]:
    """Tasks of the MLE.

    Parameters
    ----------
    run : Run
        The run.
    parts : sequence of PlannedProperty
        Properties to look at.
    ensemble : Ensemble
        The members.

    Returns
    -------
    tuple of PropertyTask
        One for each property; the same as in a campaign with the same propagation.
    """
    best = {0: potential_digests(replace(ensemble, coefficients=ensemble.coefficients[:0]))[0]}
    return plan(parts, best, run.config.seed, engine=engine_settings(run.config))


def differentiate(run: Run, tasks: Sequence[PropertyTask], ensemble: Ensemble, box: UnitBox) -> Quantities:
    """Differentiate all quantities; properties that cannot be are named.

    Parameters
    ----------
    run : Run
        The run.
    tasks : sequence of PropertyTask
        Of the MLE.
    ensemble : Ensemble
        The members.
    box : UnitBox
        Its coordinates are differentiated by.

    Returns
    -------
    Quantities
        The same on every rank.
    """
    recipe = run.ranks.from_root(lambda: export_for_workers(run.config, run.folder, ensemble))
    best = {r.label: r for r in _results(run, run.folder, tasks, recipe, "MLE")}
    known = [task for task in tasks if not best[task.label].failure]
    with _first_order(run, ensemble) as (propagator, rows):

        def one(i: int) -> Linearised | str:
            try:
                record = propagator.record(known[i])
                with TemporaryDirectory(dir=run.folder.propagation, prefix="linearised-") as folder:
                    return linearise(known[i], record, rows, box.centre, box.directions, Path(folder))
            except SimulationError as error:
                return str(error)

        found = share(one, len(known), run.ranks, "derivatives", run.quiet)
    outcomes = dict(
        zip((t.label for t in known), run.ranks.concatenate(found, range(len(known))), strict=True)
    )
    for task in tasks:
        outcome = outcomes.get(task.label, best[task.label].failure)
        if isinstance(outcome, str):
            run.say(f"warning: {task.label} is left out: {outcome}")
    return _gather([o for o in outcomes.values() if isinstance(o, Linearised)], best)


def _gather(found: Sequence[Linearised], best: Mapping[str, PropertyResult]) -> Quantities:
    names, mle, slopes = [], [], []
    for one in found:
        for name, unit, slope in zip(one.names, one.units, one.slopes, strict=True):
            value = best[one.label].values[name].value
            std = float(np.linalg.norm(slope)) / np.sqrt(3.0)
            if std > CONSTANT * abs(value) and not is_curve_name(name):
                names.append((one.label, name, unit))
                mle.append(value)
                slopes.append(slope)
    return Quantities(tuple(names), np.array(mle), np.array(slopes))


@contextmanager
def _first_order(run: Run, ensemble: Ensemble) -> Iterator[tuple[Propagator, RowSource]]:
    """What gives records of the MLE, and rows, on this rank alone."""
    config, elements = run.config, ensemble.settings.elements
    name, n = "-".join(elements), len(ensemble)
    run.folder.propagation.mkdir(exist_ok=True)
    with Workspace(config.campaign.lammps.options) as workspace, Session() as session:
        rows = row_source(BispectrumCalculator(session, ensemble.settings, ensemble.reference))
        make = remembering(
            lambda member: LammpsEngine(
                member_files(run.folder.potentials, name, member, n, elements), workspace
            )
        )
        coefficients = np.vstack([ensemble.mle, ensemble.coefficients])
        yield Propagator(make, Predictor(rows, coefficients, Store(run.folder.propagation))), rows


def worst_cases(
    run: Run, parts: Sequence[PlannedProperty], quantities: Quantities, ensemble: Ensemble, box: UnitBox
) -> tuple[LinearisedQuantity, ...]:
    """Linear envelopes, and the exact values of the members to expect at their ends.

    Parameters
    ----------
    run : Run
        The run; these members are exported to its folder ``worst_case``.
    parts : sequence of PlannedProperty
        The properties.
    quantities : Quantities
        Their quantities.
    ensemble : Ensemble
        The members; extremes are those of as many.
    box : UnitBox
        Coordinates of the quantities.

    Returns
    -------
    tuple of LinearisedQuantity
        In the order of the quantities, on every rank.

    Raises
    ------
    Stopped
        When it was asked to stop.
    """
    members = len(ensemble)
    found = box.envelope(quantities.mle, quantities.slopes, members)
    first, side = same_gradients(quantities.slopes)
    distinct = np.unique(first)
    ends = [
        box.at(quantities.slopes[distinct], (end - quantities.mle)[distinct])
        for end in (found.expected_minimum, found.expected_maximum)
    ]
    coefficients = np.stack(ends, axis=1).reshape(-1, ensemble.settings.n_columns)
    worst = replace(ensemble, coefficients=coefficients, mean=ensemble.mle)
    place = np.searchsorted(distinct, first)
    # Numbers of the members at the minimum and at the maximum of each quantity.
    numbers = np.where(side[:, None] > 0, [1, 2], [2, 1]) + 2 * place[:, None]
    pairs = {(q[0], int(m)) for q, both in zip(quantities.names, numbers, strict=True) for m in both}
    exact = _exact(run, parts, worst, pairs)

    def value(label: str, name: str, member: int) -> float | None:
        result = exact[label, member]
        is_sound = result.converged and not result.reconfigured and name in result.values
        return result.values[name].value if is_sound else None

    return tuple(
        LinearisedQuantity(
            *name,
            mle=float(quantities.mle[i]),
            std=float(found.std[i]),
            q05=float(found.quantiles[i, 0]),
            q95=float(found.quantiles[i, 1]),
            expected_min=float(found.expected_minimum[i]),
            expected_max=float(found.expected_maximum[i]),
            exact_min=value(*name[:2], int(numbers[i, 0])),
            exact_max=value(*name[:2], int(numbers[i, 1])),
            members=members,
        )
        for i, name in enumerate(quantities.names)
    )


def same_gradients(slopes: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find quantities whose extremes belong to the same members.

    Parameters
    ----------
    slopes : ndarray, shape (n, k)
        Gradients, none of them zero.

    Returns
    -------
    first : ndarray of int, shape (n,)
        The first quantity with the same direction.
    side : ndarray of int, shape (n,)
        1, or -1 where one grows as the other falls.
    """
    unit = slopes / np.linalg.norm(slopes, axis=1, keepdims=True)
    cosine = unit @ unit.T
    first = (np.abs(cosine) > SAME_GRADIENT).argmax(axis=1)
    # A chain of neighbours must end at one that stands for itself.
    first = np.where(first[first] == first, first, np.arange(len(first)))
    return first, np.sign(cosine[np.arange(len(first)), first]).astype(np.int64)


def _exact(
    run: Run, parts: Sequence[PlannedProperty], worst: Ensemble, pairs: set[tuple[str, int]]
) -> dict[tuple[str, int], PropertyResult]:
    """Run the worst-case members, each for the properties that it belongs to."""
    folder = RunFolder(run.folder.worst_case)
    config = run.config

    def export() -> tuple[tuple[PropertyTask, ...], EngineRecipe]:
        save_ensemble(folder.ensemble, worst)
        everything = plan(parts, potential_digests(worst), config.seed, engine=engine_settings(config))
        recipe = export_for_workers(config, folder, worst)
        # They start from the same MLE as all members.
        arguments = {**recipe.arguments, "propagation": str(run.folder.propagation.resolve())}
        wanted = tuple(task for task in everything if (task.label, task.member) in pairs)
        return wanted, replace(recipe, arguments=arguments)

    tasks, recipe = run.ranks.from_root(export)
    return {(r.label, r.member): r for r in _results(run, folder, tasks, recipe, "worst-case members")}


def _results(
    run: Run, folder: RunFolder, tasks: Sequence[PropertyTask], recipe: EngineRecipe, title: str
) -> tuple[PropertyResult, ...]:
    """Run tasks by workers, as a campaign does."""
    campaign = run.config.campaign
    stop = StopRequest(run.deadline, seconds(campaign.drain))
    silent = run.quiet or not run.ranks.is_root
    limit = seconds(campaign.time_limit)
    with stop, Progress(title, len(tasks), silent=silent) as progress:
        outcome = run_campaign(tasks, recipe, folder.journal, run.ranks, progress, stop, limit)
        if not outcome.is_complete:
            raise Stopped(outcome.reason)
    return run.ranks.from_root(lambda: collect(tasks, load_results(folder.journal)))
