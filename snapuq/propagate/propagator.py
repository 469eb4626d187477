"""Which engine a task gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import numpy as np

from snapuq.core.dataset import Structure
from snapuq.core.engine import Band, BandEngine, Engine
from snapuq.core.task import REFERENCE_MEMBER, PropertyTask
from snapuq.errors import SimulationError
from snapuq.propagate.context import Context
from snapuq.propagate.engine import Mode, PropagatingEngine
from snapuq.propagate.krylov import N_MEMBERS
from snapuq.propagate.record import CountingEngine, Record, RecordingEngine
from snapuq.propagate.store import Predictor
from snapuq.properties import PROPERTIES, build_params

#: Tasks whose records stay in memory; a rank goes through the members of one before the next.
MOST_CONTEXTS = 4


class Propagator:
    """Give tasks their engines, and keep what the MLE's are asked.

    Parameters
    ----------
    make : callable
        Member to its own engine, which counts.
    predictor : Predictor
        Energies, forces and stresses of all members; its store keeps the records of the MLE.
    """

    def __init__(self, make: Callable[[int], CountingEngine], predictor: Predictor) -> None:
        self._make, self._predictor, self._store = make, predictor, predictor.store
        self._contexts = lru_cache(maxsize=MOST_CONTEXTS)(self._read)

    @contextmanager
    def engine(self, task: PropertyTask) -> Iterator[Engine]:
        """Open the engine of a task; what the MLE was asked is kept at the end.

        Parameters
        ----------
        task : PropertyTask
            The task.

        Yields
        ------
        Engine
            For `Property.run`.
        """
        mode = cast(Mode, task.propagation)
        if mode == "brute" or task.member == REFERENCE_MEMBER:
            yield self._make(task.member)
        elif task.member == 0:
            # Members wait for the record, rather than compute it as well.
            with self._store.building(task.key):
                try:
                    recording = self._recording()
                    yield recording
                except SimulationError:
                    # Members find no start here, and compute the property by themselves.
                    self._store.keep(task.key, Record())
                    raise
                record = recording.record()
                self._store.keep(task.key, record)
                if mode != "batched":
                    # Members meet the same failure, and are computed by themselves.
                    with suppress(SimulationError):
                        Context(record, self._predictor).prepare()
        else:
            context = self._contexts(_Start(task))
            kind = _BandPropagating if isinstance(self._make(task.member), BandEngine) else PropagatingEngine
            yield kind(self._make(task.member), task.member, context, mode)

    def _recording(self) -> RecordingEngine:
        engine = self._make(0)
        others = [self._make(m) for m in range(1, 1 + min(N_MEMBERS, self._predictor.n_members))]
        kind = _BandRecording if isinstance(engine, BandEngine) else RecordingEngine
        return kind(engine, others)

    def record(self, task: PropertyTask) -> Record:
        """What members start from, computed where it is not kept.

        Parameters
        ----------
        task : PropertyTask
            The MLE's.

        Returns
        -------
        Record
            Empty where the MLE has no value.
        """
        return self._store.record(task.key, lambda: self._build(task))

    def _read(self, start: _Start) -> Context:
        return Context(self.record(start.task), self._predictor)

    def _build(self, task: PropertyTask) -> Record:
        """Run the MLE's task once more: its result is known, but not its record."""
        params = build_params(task.property, task.parameters)
        try:
            recording = self._recording()
            rng = np.random.Generator(np.random.PCG64(task.seed))
            recording.reconfigured = PROPERTIES[task.property].run(recording, params, rng).reconfigured
        except SimulationError:
            return Record()
        return recording.record()


class _Start:
    """The MLE's task that a member's task starts from; equal where its key is."""

    def __init__(self, task: PropertyTask) -> None:
        self.task = start_of(task)

    def __hash__(self) -> int:
        return hash(self.task.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Start) and other.task.key == self.task.key


def start_of(task: PropertyTask) -> PropertyTask:
    """The MLE's task that a member's task starts from.

    Parameters
    ----------
    task : PropertyTask
        Of a member; its engine settings name the MLE's seed and digest.

    Returns
    -------
    PropertyTask
        The same property of the MLE.
    """
    engine = dict(task.engine)
    mle: dict[str, Any] = engine.pop("mle")
    return replace(
        task,
        label=mle["label"],
        propagation=mle["propagation"],
        member=0,
        engine=engine,
        seed=mle["seed"],
        potential_digest=mle["potential"],
    )


class _BandRecording(RecordingEngine):
    """The same for an engine with a nudged elastic band of its own."""

    def neb(self, images: Sequence[Structure], *, fmax: float, max_steps: int = 500) -> Band:
        """Relax a band with a climbing image; see `BandEngine.neb`."""
        assert isinstance(self.engine, BandEngine)
        return self.engine.neb(images, fmax=fmax, max_steps=max_steps)


class _BandPropagating(PropagatingEngine):
    """The same for an engine with a nudged elastic band of its own."""

    def neb(self, images: Sequence[Structure], *, fmax: float, max_steps: int = 500) -> Band:
        """Relax a band with a climbing image; see `BandEngine.neb`."""
        assert isinstance(self._engine, BandEngine)
        return self._engine.neb(images, fmax=fmax, max_steps=max_steps)
