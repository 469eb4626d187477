"""Derivatives of any property by the parameters, from virtual members close to the MLE.

A property is a function of the rows of the structures that it looks at. Its derivative by the parameters
vanishes where no row changes, so that virtual members are needed along the principal directions of the rows
alone. They are displaced within the box of the posterior, in coordinates in which it is [-1, 1]^k.

References
----------
Maliyov, Grigorev and Swinburne, npj Comput. Mater. 11, 22 (2025), doi:10.1038/s41524-024-01506-0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX, SMAX, CellFreedom, Directions, Evaluation, Relaxation, Saddle
from snapuq.core.result import Quantity
from snapuq.core.task import PropertyTask
from snapuq.errors import SimulationError
from snapuq.propagate.context import Context, fractional, to_evaluation
from snapuq.propagate.curvature import Curvature
from snapuq.propagate.engine import PropagatingEngine
from snapuq.propagate.expansion import Expansion
from snapuq.propagate.family import ENERGY_ERROR, FORCE_ERROR, STRESS_ERROR, Prediction, RowSource
from snapuq.propagate.record import Record
from snapuq.propagate.store import Predictor, Store
from snapuq.properties import PROPERTIES, build_params
from snapuq.seeds import generator

Array = NDArray[np.float64]

#: Displacement of a virtual member, in half-widths of the box: a third of a standard deviation.
STEP = 0.2
#: Directions are left out along which no half-width of the box changes all rows together by this many errors
#: of their interpolation: they would only add noise.
LEAST_CHANGE = 30.0


@dataclass(frozen=True, eq=False)
class Linearised:
    """Quantities of one task, to first order around the MLE.

    Parameters
    ----------
    label : str
        Label of the property.
    names, units : tuple of str
        Of the quantities.
    mle : ndarray, shape (n,)
        Values of the MLE.
    slopes : ndarray, shape (n, k)
        Derivatives by the coordinates of the box.
    n_directions : int
        Directions in which virtual members were displaced.
    """

    label: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    mle: Array
    slopes: Array
    n_directions: int


class BoxRows:
    """Rows by the coordinates of a box, with what the MLE predicts.

    Parameters
    ----------
    rows : callable
        Structure to rows by the coefficients.
    mle : ndarray, shape (P,)
        The MLE.
    axes : ndarray, shape (P, k)
        Change of the coefficients from the middle of the box to its end, along each axis.
    store : Store
        Keeps the rows.
    """

    def __init__(self, rows: RowSource, mle: Array, axes: Array, store: Store) -> None:
        self._rows, self._mle, self._axes = rows, mle, axes
        #: Keeps rows and predictions.
        self.store = store
        self._known: dict[str, Array] = {}

    def __call__(self, structure: Structure) -> tuple[Array, Array]:
        """Rows of a structure, computed once.

        Parameters
        ----------
        structure : Structure
            Any.

        Returns
        -------
        rows : ndarray, shape (R, k)
            Derivatives of energy, forces and stress by the coordinates of the box.
        offset : ndarray, shape (R,)
            What the MLE predicts.

        Raises
        ------
        SimulationError
            When LAMMPS fails or gives numbers that are not finite.
        """

        def build() -> Array:
            rows, offset = self._rows(structure)
            return np.column_stack([rows @ self._axes, rows @ self._mle + offset])

        found = self.store.array(f"rows-{structure.digest}", build)
        self._known[structure.digest] = found
        return found[:, :-1], found[:, -1]

    def at(self, structure: Structure, u: Array) -> Evaluation:
        """Evaluate one potential; nothing is kept.

        Parameters
        ----------
        structure : Structure
            Any.
        u : ndarray, shape (k,)
            Coordinates of the potential, relative to the MLE.

        Returns
        -------
        Evaluation
            Energy, forces and stress.
        """
        rows, offset = self._rows(structure)
        return to_evaluation(rows @ (self._mle + self._axes @ u) + offset)

    def directions(self) -> Array:
        """Principal directions of all rows so far, in units of the errors of their interpolation.

        Returns
        -------
        ndarray, shape (r, k)
            Orthonormal; along any other, the rows change by less than `LEAST_CHANGE`.
        """
        k = self._axes.shape[1]
        gram = np.zeros((k, k))
        for found in self._known.values():
            n = (len(found) - 7) // 3
            errors = np.repeat((n * ENERGY_ERROR, FORCE_ERROR, STRESS_ERROR), (1, 3 * n, 6))
            scaled = found[:, :-1] / errors[:, None]
            gram += scaled.T @ scaled
        values, vectors = np.linalg.eigh(gram)
        return np.asarray(vectors[:, values > LEAST_CHANGE**2].T[::-1])


def linearise(
    task: PropertyTask, record: Record, rows: RowSource, mle: Array, axes: Array, folder: Path
) -> Linearised:
    """Differentiate all quantities of a task by central differences, with relaxations to first order.

    Parameters
    ----------
    task : PropertyTask
        The MLE's.
    record : Record
        What the MLE was asked.
    rows : callable
        Structure to rows.
    mle : ndarray, shape (P,)
        The MLE.
    axes : ndarray, shape (P, k)
        Change of the coefficients from the middle of the box to its end, along each axis.
    folder : Path
        Receives rows and predictions, which nobody needs afterwards.

    Returns
    -------
    Linearised
        Values of the MLE and derivatives.

    Raises
    ------
    SimulationError
        When a virtual member has no value, or only one that takes a relaxation of its own.
    """
    box = BoxRows(rows, mle, axes, Store(folder))
    # Two virtual members show what all of them look at; any two will do.
    pilot = STEP * generator(task.seed, "pilot").uniform(-1.0, 1.0, (1, axes.shape[1]))
    _run(task, record, box, pilot, keep=True)
    directions = box.directions()
    centre, *moved = _run(task, record, box, STEP * directions)
    names = tuple(centre)
    table = np.array([[one[name].value for name in names] for one in moved])
    up, down = np.split(table, 2)
    return Linearised(
        task.label,
        names,
        tuple(centre[name].unit for name in names),
        np.array([centre[name].value for name in names]),
        (up - down).T @ directions / (2.0 * STEP),
        len(directions),
    )


def _run(
    task: PropertyTask, record: Record, box: BoxRows, steps: Array, keep: bool = False
) -> list[Mapping[str, Quantity]]:
    """Quantities of the MLE and of virtual members on both sides of it; `keep` keeps all rows they take."""
    # Number 0 belongs to the record.
    points = np.concatenate([np.zeros((2, steps.shape[1])), steps, -steps])
    predictor = Predictor(box, points, box.store)
    context = _Everywhere(record, predictor, None if keep else lambda s, member: box.at(s, points[member]))
    params = build_params(task.property, task.parameters)
    found = []
    for member in range(1, len(points)):
        engine = _FirstOrder(_Virtual(context, member), member, context, "implicit")
        rng = np.random.Generator(np.random.PCG64(task.seed))
        found.append(PROPERTIES[task.property].run(engine, params, rng).values)
    return found


class _Everywhere(Context):
    """Predictions where the MLE was asked, and one at a time everywhere else."""

    def __init__(
        self, record: Record, predict: Prediction, look: Callable[[Structure, int], Evaluation] | None
    ) -> None:
        super().__init__(record, predict)
        #: Evaluates a structure that the MLE was not asked about.
        self.look = look or (lambda structure, member: to_evaluation(predict(structure)[member]))

    def evaluate(self, structure: Structure, member: int) -> Evaluation:
        """Energy, forces and stress of a member at any structure; see `Context.evaluate`."""
        return super().evaluate(structure, member) or self.look(structure, member)

    def at_state(self, state: Structure, cell: Array, member: int) -> Evaluation:
        """Energy, forces and stress at a state of the MLE in any cell; see `Context.at_state`."""
        self._family(state)
        return self.evaluate(Structure(cell, fractional(state) @ cell, state.species), member)

    def soft_hessian(self, number: int, member: int) -> Array:
        """Hessian of the MLE in the soft modes: that of a member matters from the second order on."""
        expansion = self.record.expansions[number]
        if not isinstance(expansion, Expansion):
            return super().soft_hessian(number, member)
        modes = expansion.soft_modes()
        return modes @ expansion.hessian @ modes.T

    def curvature(self, number: int, member: int) -> Curvature | None:
        """Hessian of the MLE; see `soft_hessian`."""
        expansion = self.record.expansions[number]
        return Curvature.of_mle(expansion) if isinstance(expansion, Expansion) else None


class _Virtual:
    """A potential that nobody has written to a file."""

    evaluations = 0

    def __init__(self, context: _Everywhere, member: int) -> None:
        self._context, self._member = context, member

    def evaluate(self, structure: Structure) -> Evaluation:
        return self._context.look(structure, self._member)

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
        raise SimulationError("no_first_order", f"a relaxation of {len(structure)} atoms")


class _FirstOrder(PropagatingEngine):
    """An engine that predicts, and never searches."""

    def saddle(self, first: Structure, last: Structure, search: Callable[[], Saddle]) -> Saddle:
        """Predict the saddle; see `PropagatingEngine.saddle`."""

        def refuse() -> Saddle:
            raise SimulationError("no_first_order", "a saddle")

        return super().saddle(first, last, refuse)
