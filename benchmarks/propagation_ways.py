"""One task by every way to compute a member, with its wall time and force evaluations kept apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from snapuq.campaign.plan import PlannedProperty, plan
from snapuq.core.dataset import Structure
from snapuq.core.engine import Band, Engine, Evaluation, Relaxation
from snapuq.core.result import Quantity
from snapuq.core.task import PropertyTask
from snapuq.errors import SimulationError
from snapuq.lammps.member_engines import open_engines
from snapuq.pipeline.prediction import open_predictor
from snapuq.propagate.context import Context, fractional, turns
from snapuq.propagate.propagator import Propagator
from snapuq.propagate.store import Predictor
from snapuq.properties import PROPERTIES, build_params
from snapuq.uq.ensemble_file import load_ensemble

SEED = 1


@dataclass
class Meter:
    """Seconds and calls so far, by what was called."""

    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("lammps", "rows", "predict"), 0.0)
    )
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("lammps", "rows", "predict"), 0))

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count what runs inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - start
            self.calls[what] += 1

    def read(self) -> Meter:
        """What it says now."""
        return Meter(dict(self.seconds), dict(self.calls))

    def since(self, before: Meter) -> Meter:
        """What was added since a reading."""
        return Meter(
            {k: v - before.seconds[k] for k, v in self.seconds.items()},
            {k: v - before.calls[k] for k, v in self.calls.items()},
        )


class MeteredEngine:
    """LAMMPS with one potential, timed; nothing is remembered from one task to the next."""

    def __init__(self, engine: Any, meter: Meter) -> None:
        self._engine, self._meter = engine, meter
        self.evaluations = 0

    def evaluate(self, structure: Structure) -> Evaluation:
        """Energy, forces and stress."""
        self.evaluations += 1
        with self._meter.timed("lammps"):
            found: Evaluation = self._engine.evaluate(structure)
        return found

    def relax(self, structure: Structure, **how: Any) -> Relaxation:
        """Conjugate gradients of LAMMPS."""
        with self._meter.timed("lammps"):
            found: Relaxation = self._engine.relax(structure, **how)
        self.evaluations += found.evaluations
        return found

    def neb(self, images: Sequence[Structure], **how: Any) -> Band:
        """LAMMPS's own band."""
        with self._meter.timed("lammps"):
            found: Band = self._engine.neb(images, **how)
        self.evaluations += found.evaluations
        return found


class WarmEngine(MeteredEngine):
    """The same, but every relaxation starts from the MLE's state, scaled to the member's cell."""

    def __init__(self, engine: Any, meter: Meter, context: Context) -> None:
        super().__init__(engine, meter)
        self._context, self._n = context, 0

    def relax(self, structure: Structure, **how: Any) -> Relaxation:
        """Conjugate gradients of LAMMPS, from where the MLE's ended."""
        known = self._context.match(self._n, structure, how.get("cell"), how.get("directions", "all"))
        self._n += 1
        if known is not None:
            state, cell = known.state, structure.cell
            if known.cell is None:
                there = (fractional(state) + turns(structure, known.start)) @ cell
                state = Structure(cell, there, state.species)
            structure = state
        return super().relax(structure, **how)


class MeteredPredictor:
    """Rows and products, timed; the time of products is that of ``predict`` without that of ``rows``."""

    def __init__(self, predictor: Predictor, meter: Meter) -> None:
        self._predictor, self._meter = predictor, meter
        rows = predictor.rows

        def timed(structure: Structure) -> Any:
            with meter.timed("rows"):
                return rows(structure)

        predictor.rows = timed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def __call__(self, structure: Structure) -> Any:
        """All members at one structure."""
        with self._meter.timed("predict"):
            return self._predictor(structure)


@dataclass(frozen=True)
class Run:
    """One task of one member; `seconds` is without what all members share, of which LAMMPS takes `lammps`."""

    seconds: float
    lammps: float
    evaluations: int
    values: dict[str, Quantity] | None
    flags: tuple[bool, bool, str] = (True, False, "")
    failure: str = ""
    ways: frozenset[str] = frozenset()
    fallbacks: int = 0


@dataclass(frozen=True)
class Start:
    """What the MLE's task and its Hessians took: wall time, that in LAMMPS, and force evaluations."""

    mle: tuple[float, float, int]
    hessian: tuple[float, float, int]


class Ways:
    """All ways to run tasks of the members of one ensemble."""

    def __init__(
        self, make: Callable[[int], Any], predictor: Predictor, elements: tuple[str, ...], n_members: int
    ) -> None:
        self.meter, self.elements, self.n_members = Meter(), elements, n_members
        self._raw = make
        self.predictor = MeteredPredictor(predictor, self.meter)
        self._propagator = Propagator(self._make, cast(Predictor, self.predictor))

    def _make(self, member: int) -> MeteredEngine:
        return MeteredEngine(self._raw(member), self.meter)

    def tasks(self, part: PlannedProperty, members: Sequence[int], way: str) -> dict[int, PropertyTask]:
        """Tasks of the MLE and of members, as a campaign plans them."""
        potentials = {m: f"{m:064d}" for m in (0, *members)}
        planned = plan((replace(part, propagation=way),), potentials, SEED, engine={})
        return {task.member: task for task in planned}

    def start(self, task: PropertyTask, implicit: PropertyTask) -> Start:
        """Run the MLE's task, and keep its record for both modes."""
        marks = [(time.perf_counter(), self.meter.read(), 0)]
        try:
            with self._propagator.engine(task) as engine:
                try:
                    _run(engine, task)
                finally:
                    marks.append((time.perf_counter(), self.meter.read(), engine.evaluations))
        except SimulationError:
            pass
        marks.append((time.perf_counter(), self.meter.read(), engine.evaluations))
        store = self.predictor.store
        store.keep(implicit.key, store.record(task.key, _must_be_there))
        (a, b, c) = marks
        spent = [(y[0] - x[0], y[1].since(x[1]).seconds["lammps"], y[2] - x[2]) for x, y in ((a, b), (b, c))]
        return Start(spent[0], spent[1])

    def brute(self, task: PropertyTask, **changes: Any) -> Run:
        """From the start that a user's script would take."""
        engine = self._make(task.member)
        return self._timed(engine, replace(task, parameters={**task.parameters, **changes}))

    def warm(self, task: PropertyTask, mle: PropertyTask) -> Run:
        """Conjugate gradients from the MLE's state."""
        record = self.predictor.store.record(mle.key, _must_be_there)
        engine = WarmEngine(self._raw(task.member), self.meter, Context(record, self.predictor))
        return self._timed(engine, task)

    def propagated(self, task: PropertyTask) -> Run:
        """From the MLE's record, by the task's mode."""
        with self._propagator.engine(task) as engine:
            return self._timed(engine, task)

    def _timed(self, engine: Engine, task: PropertyTask) -> Run:
        before, start = self.meter.read(), time.perf_counter()
        values, flags, failure = None, (True, False, ""), ""
        try:
            output = _run(engine, task)
            values, flags = dict(output.values), (output.converged, output.reconfigured, output.detail)
        except SimulationError as error:
            failure = error.reason
        seconds, spent = time.perf_counter() - start, self.meter.since(before)
        return Run(
            seconds - spent.seconds["predict"],
            spent.seconds["lammps"],
            engine.evaluations,
            values,
            flags,
            failure,
            frozenset(getattr(engine, "ways", {"brute"})),
            getattr(engine, "fallbacks", 0),
        )


def _run(engine: Engine, task: PropertyTask) -> Any:
    params = build_params(task.property, task.parameters)
    return PROPERTIES[task.property].run(engine, params, np.random.Generator(np.random.PCG64(task.seed)))


def _must_be_there() -> Any:
    raise RuntimeError("no record of the MLE")


@contextmanager
def opened(run: Path, store: Path) -> Iterator[Ways]:
    """Open LAMMPS for the ensemble of a run's folder."""
    ensemble = load_ensemble(run / "ensemble.h5")
    elements, members = ensemble.settings.elements, len(ensemble.coefficients)
    (include,) = (run / "potentials").glob("*.mod")
    engines = {
        "folder": str(include.parent),
        "name": include.stem,
        "members": members,
        "elements": list(elements),
        "reference": None,
        "options": [],
    }
    rows = {"ensemble": run / "ensemble.h5", "propagation": str(store)}
    with ExitStack() as stack:
        make = stack.enter_context(open_engines(engines))
        predictor = stack.enter_context(open_predictor(rows))
        yield Ways(make, predictor, elements, members)
