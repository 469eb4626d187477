"""What the MLE was asked while a property was computed, and what it answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX, SMAX, CellFreedom, Directions, Engine, Evaluation, Relaxation, Saddle
from snapuq.errors import SimulationError
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.expansion import Expansion, expand
from snapuq.propagate.family import Shape
from snapuq.propagate.krylov import KrylovExpansion
from snapuq.propagate.metric import Metric

Array = NDArray[np.float64]

#: States closer than this are one, A: their Hessians differ by less than a percent.
SAME_STATE = 0.05
#: Fixed structures that are remembered; a band asks for hundreds that no member asks for again.
MOST_SHAPES = 400


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A relaxation of the MLE.

    Parameters
    ----------
    start, state : Structure
        Before and after.
    cell : {'isotropic', 'axes', 'full'} or None
        Freedom of the cell.
    directions : {'all', 'normal'}
        Which way atoms could move.
    expansion : int
        Which expansion belongs to the state; -1 for none.
    """

    start: Structure
    state: Structure
    cell: CellFreedom | None
    directions: Directions
    expansion: int = -1


@dataclass(frozen=True, eq=False)
class Record:
    """All that members of a task start from.

    Parameters
    ----------
    evaluated : tuple of Structure
        Of different shapes.
    relaxed : tuple of Relaxed
        In the order in which they were asked for.
    saddles : tuple of tuple of int
        Of each search: the expansions at the saddle and where the first band came to rest, -1 for none, and
        the number of negative modes that the search found at the latter.
    expansions : tuple of Metric
        At the states.
    reconfigured : bool
        Whether atoms left the configuration that was asked about, as the property judged.
    """

    evaluated: tuple[Structure, ...] = ()
    relaxed: tuple[Relaxed, ...] = ()
    saddles: tuple[tuple[int, int, int], ...] = ()
    expansions: tuple[Metric, ...] = ()
    reconfigured: bool = False

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Turn into arrays for a file.

        Returns
        -------
        dict
            Name to array.
        """
        arrays: dict[str, NDArray[Any]] = {}
        heads: dict[str, Any] = {
            "saddles": [list(s) for s in self.saddles],
            "reconfigured": self.reconfigured,
        }

        def put(name: str, structure: Structure) -> None:
            arrays[f"{name}_cell"], arrays[f"{name}_positions"] = structure.cell, structure.positions

        heads["evaluated"] = [list(s.species) for s in self.evaluated]
        for i, structure in enumerate(self.evaluated):
            put(f"evaluated{i}", structure)
        heads["relaxed"] = [[list(r.state.species), r.cell, r.directions, r.expansion] for r in self.relaxed]
        for i, relaxed in enumerate(self.relaxed):
            put(f"start{i}", relaxed.start)
            put(f"state{i}", relaxed.state)
        degrees = [e.degrees for e in self.expansions]
        heads["expansions"] = [[list(d.state.species), d.cell, d.directions] for d in degrees]
        for i, expansion in enumerate(self.expansions):
            put(f"point{i}", expansion.degrees.state)
            arrays |= {f"{name}{i}": array for name, array in expansion.to_arrays().items()}
        arrays["heads"] = np.frombuffer(json.dumps(heads).encode(), dtype=np.uint8)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Any) -> Record:
        """Read what `to_arrays` gave.

        Parameters
        ----------
        arrays : Mapping
            Name to array.

        Returns
        -------
        Record
            The same.
        """
        heads = json.loads(bytes(arrays["heads"]).decode())

        def get(name: str, species: list[str]) -> Structure:
            return Structure(arrays[f"{name}_cell"], arrays[f"{name}_positions"], tuple(species))

        def expansion(i: int, degrees: Degrees) -> Metric:
            if f"hessian{i}" in arrays:
                return Expansion(degrees, arrays[f"hessian{i}"])
            return KrylovExpansion(degrees, arrays[f"basis{i}"], arrays[f"products{i}"])

        expansions = tuple(
            expansion(i, Degrees(get(f"point{i}", species), cell, directions))
            for i, (species, cell, directions) in enumerate(heads["expansions"])
        )
        relaxed = tuple(
            Relaxed(get(f"start{i}", species), get(f"state{i}", species), cell, directions, number)
            for i, (species, cell, directions, number) in enumerate(heads["relaxed"])
        )
        evaluated = tuple(get(f"evaluated{i}", species) for i, species in enumerate(heads["evaluated"]))
        saddles = tuple((at, first, negative) for at, first, negative in heads["saddles"])
        return cls(evaluated, relaxed, saddles, expansions, heads["reconfigured"])


class CountingEngine(Engine, Protocol):
    """An engine that counts."""

    @property
    def evaluations(self) -> int:
        """Force evaluations so far."""


class RecordingEngine:
    """The MLE's engine, which notes what it is asked.

    Parameters
    ----------
    engine : CountingEngine
        The MLE.
    others : sequence of Engine
        Some members.
    """

    def __init__(self, engine: CountingEngine, others: Sequence[Engine] = ()) -> None:
        self.engine, self._others = engine, others
        #: Set by who runs the property: whether atoms left the configuration that was asked about.
        self.reconfigured = False
        self._evaluated: list[Structure] = []
        self._shapes: list[Shape] = []
        self._relaxed: list[Relaxed] = []
        self._saddles: list[Saddle] = []

    @property
    def evaluations(self) -> int:
        """Force evaluations of the engine."""
        return self.engine.evaluations

    def evaluate(self, structure: Structure) -> Evaluation:
        """Energy, forces and stress at fixed positions.

        Parameters
        ----------
        structure : Structure
            Any.

        Returns
        -------
        Evaluation
            What the engine gives.
        """
        self._note(structure)
        return self.engine.evaluate(structure)

    def relax(
        self,
        structure: Structure,
        *,
        cell: CellFreedom | None = None,
        directions: Directions = "all",
        fmax: float = FMAX,
        smax: float = SMAX,
        max_evaluations: int = 1000,
    ) -> Relaxation:
        """Relax positions, and the cell if asked to.

        Parameters
        ----------
        structure : Structure
            Start.
        cell : {'isotropic', 'axes', 'full'} or None
            Freedom of the cell.
        directions : {'all', 'normal'}
            Which way atoms may move.
        fmax, smax : float
            Tolerances, eV/A and eV/A^3.
        max_evaluations : int
            Limit on force evaluations.

        Returns
        -------
        Relaxation
            What the engine gives.
        """
        found = self.engine.relax(
            structure,
            cell=cell,
            directions=directions,
            fmax=fmax,
            smax=smax,
            max_evaluations=max_evaluations,
        )
        if found.converged:
            self._relaxed.append(Relaxed(structure, found.structure, cell, directions))
        return found

    def saddle(self, first: Structure, last: Structure, search: Callable[[], Saddle]) -> Saddle:
        """Search for a saddle.

        Parameters
        ----------
        first, last : Structure
            The states between which it lies.
        search : callable
            Finds it.

        Returns
        -------
        Saddle
            What the search gives.
        """
        # A search asks for hundreds of structures that no member asks for again.
        evaluated, relaxed = list(self._evaluated), list(self._relaxed)
        shapes = list(self._shapes)
        found = search()
        self._evaluated, self._relaxed, self._shapes = evaluated, relaxed, shapes
        self._saddles.append(found)
        return found

    def _note(self, structure: Structure) -> None:
        shape, _ = Shape.of(structure)
        if len(self._shapes) < MOST_SHAPES and not any(shape.is_same(other) for other in self._shapes):
            self._shapes.append(shape)
            self._evaluated.append(structure)

    def record(self) -> Record:
        """Compute the Hessians, and give what members need.

        Returns
        -------
        Record
            What was asked for so far.
        """
        expansions: list[Metric] = []

        def number(
            state: Structure,
            cell: CellFreedom | None,
            directions: Directions,
            negative: int | None,
            others: Sequence[Engine] = (),
        ) -> int:
            for i, known in enumerate(expansions):
                degrees = known.degrees
                same = (degrees.cell, degrees.directions) == (cell, directions)
                if same and negative in (None, known.n_negative) and is_near(degrees.state, state):
                    return i
            try:
                found = expand(self.engine, state, cell, directions, others)
            except SimulationError:
                return -1
            if found is None or negative not in (None, found.n_negative):
                return -1
            expansions.append(found)
            return len(expansions) - 1

        # Without others: a few vectors do not tell the signature of a saddle.
        saddles = tuple(
            (number(s.structure, None, "all", 1), number(s.first, None, "all", None), s.first_negative)
            for s in self._saddles
            if s.converged
        )
        # From the last: it is relaxed further than those on the way to it.
        numbers = [number(r.state, r.cell, r.directions, None, self._others) for r in reversed(self._relaxed)]
        relaxed = [
            Relaxed(r.start, r.state, r.cell, r.directions, n)
            for r, n in zip(self._relaxed, reversed(numbers), strict=True)
        ]
        return Record(tuple(self._evaluated), tuple(relaxed), saddles, tuple(expansions), self.reconfigured)


def is_near(first: Structure, second: Structure) -> bool:
    """Tell whether two states are close to each other.

    Parameters
    ----------
    first, second : Structure
        Any.

    Returns
    -------
    bool
        Whether they have the same atoms, all within `SAME_STATE`, and about the same cell.
    """
    if first.species != second.species or np.abs(first.cell - second.cell).max() > SAME_STATE:
        return False
    fractional = [s.positions @ np.linalg.inv(s.cell) for s in (first, second)]
    difference = fractional[1] - fractional[0]
    shift = (difference - np.rint(difference)) @ first.cell
    return bool(np.linalg.norm(shift - shift.mean(axis=0), axis=1).max() < SAME_STATE)
