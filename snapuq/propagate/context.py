"""One task of the MLE as its members see it: shapes, states and curvatures, for all of them at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import CellFreedom, Directions, Evaluation
from snapuq.propagate.expansion import Expansion
from snapuq.propagate.family import Family, Prediction, Shape
from snapuq.propagate.record import Record, Relaxed

Array = NDArray[np.float64]

#: Distance between the starts of a member and of the MLE, A, above which they are different questions. Random
#: displacements differ by less.
SAME_START = 0.35
#: Difference of their cells, relative to the size.
SAME_CELL = 0.1


class Context:
    """The record of a task, with predictions for all members.

    Parameters
    ----------
    record : Record
        What the MLE was asked.
    predict : callable
        A structure's energy, forces and stress for all potentials.
    """

    def __init__(self, record: Record, predict: Prediction) -> None:
        self.record = record
        self._predict = predict
        self._families: list[Family] = []
        for structure in (*record.evaluated, *(r.start for r in record.relaxed if is_rigid(r))):
            self._family(structure)
        self._found = 0
        self._slopes = lru_cache(maxsize=64)(self._soft_slopes)

    def _family(self, structure: Structure) -> Family:
        shape, size = Shape.of(structure)
        family = next((f for f in self._families if f.shape.is_same(shape)), None)
        if family is None:
            family = Family(shape, size, self._predict)
            self._families.append(family)
        return family

    def evaluate(self, structure: Structure, member: int) -> Evaluation | None:
        """Energy, forces and stress of a member at a shape that the MLE was asked about.

        Parameters
        ----------
        structure : Structure
            Any.
        member : int
            0 the MLE, 1 to M the members.

        Returns
        -------
        Evaluation or None
            None for other shapes, and where the interpolation is not good enough.
        """
        shape, size = Shape.of(structure)
        for step in range(len(self._families)):
            # Members ask in the order in which the MLE did.
            at = (self._found + step) % len(self._families)
            family = self._families[at]
            if family.shape.is_same(shape):
                self._found = at
                return family.evaluate(member, size)
        return None

    def at_state(self, state: Structure, cell: Array, member: int) -> Evaluation | None:
        """Energy, forces and stress of a member at a state of the MLE, in the member's own cell.

        Parameters
        ----------
        state : Structure
            The state.
        cell : ndarray, shape (3, 3)
            Of the member.
        member : int
            Which one.

        Returns
        -------
        Evaluation or None
            None where the cell has another shape, or the interpolation is not good enough.
        """
        shape, size = Shape.of(Structure(cell, fractional(state) @ cell, state.species))
        family = self._family(state)
        return family.evaluate(member, size) if family.shape.is_same(shape) else None

    def match(
        self, number: int, start: Structure, cell: CellFreedom | None, directions: Directions
    ) -> Relaxed | None:
        """Find the relaxation of the MLE that a member asks for.

        Parameters
        ----------
        number : int
            How many relaxations the member asked for before.
        start : Structure
            Where it starts.
        cell : {'isotropic', 'axes', 'full'} or None
            Freedom of the cell.
        directions : {'all', 'normal'}
            Which way atoms may move.

        Returns
        -------
        Relaxed or None
            The one of the same number if it fits, else the one with the nearest start.
        """
        gaps = {
            i: gap
            for i, known in enumerate(self.record.relaxed)
            if (known.cell, known.directions) == (cell, directions)
            and (gap := distance(start, known.start)) is not None
        }
        if not gaps:
            return None
        return self.record.relaxed[number if number in gaps else min(gaps, key=lambda i: gaps[i])]

    def soft_hessian(self, number: int, member: int) -> Array:
        """Hessian of a member in the softest modes of a state of the MLE.

        Parameters
        ----------
        number : int
            Which expansion of the record.
        member : int
            Which potential.

        Returns
        -------
        ndarray, shape (k, k)
            In units of the typical curvature.

        Raises
        ------
        SimulationError
            When rows cannot be computed.
        """
        slopes = self._slopes(number)[:, member]
        return self.record.expansions[number].project(slopes[1:] - slopes[0])

    def _soft_slopes(self, number: int) -> Array:
        """Slopes of all potentials, also displaced along each soft mode, shape (k + 1, M + 1, D)."""
        expansion: Expansion = self.record.expansions[number]
        degrees = expansion.degrees
        found = []
        for q in (np.zeros(degrees.n_free), *expansion.soft_modes()):
            everything = self._predict(degrees.structure(q))
            found.append([degrees.slope(to_evaluation(one), q) for one in everything])
        return np.array(found)


def to_evaluation(numbers: Array) -> Evaluation:
    """Split a prediction.

    Parameters
    ----------
    numbers : ndarray, shape (1 + 3 N + 6,)
        Energy, forces, stress.

    Returns
    -------
    Evaluation
        The same.
    """
    return Evaluation(float(numbers[0]), np.array(numbers[1:-6]).reshape(-1, 3), np.array(numbers[-6:]))


def is_rigid(relaxed: Relaxed) -> bool:
    """Tell whether a relaxation changed nothing but the size.

    Parameters
    ----------
    relaxed : Relaxed
        Of the MLE.

    Returns
    -------
    bool
        True if it did not even rotate.
    """
    if relaxed.cell not in (None, "isotropic"):
        return False
    return Shape.of(relaxed.start)[0].is_same(Shape.of(relaxed.state)[0])


def distance(first: Structure, second: Structure) -> float | None:
    """Farthest that an atom is from where it is in another structure, their cells brought together.

    Parameters
    ----------
    first, second : Structure
        Any.

    Returns
    -------
    float or None
        A, up to `SAME_START`; None when they are further apart, or not the same atoms in about the same cell.
    """
    if first.species != second.species:
        return None
    cell = first.cell
    if np.abs(second.cell - cell).max() > SAME_CELL * np.abs(cell).max():
        return None
    shift = (fractional(first) - fractional(second) - turns(first, second)) @ cell
    farthest = float(np.linalg.norm(shift - shift.mean(axis=0), axis=1).max())
    return farthest if farthest < SAME_START else None


def turns(first: Structure, second: Structure) -> Array:
    """Cells that each atom is away from where it is in another structure, about.

    Parameters
    ----------
    first, second : Structure
        The same atoms in about the same cell.

    Returns
    -------
    ndarray, shape (N, 3)
        Whole numbers.
    """
    return np.rint(fractional(first) - fractional(second))


def fractional(structure: Structure) -> Array:
    """Positions in units of the cell vectors.

    Parameters
    ----------
    structure : Structure
        Any.

    Returns
    -------
    ndarray, shape (N, 3)
        Not wrapped.
    """
    return structure.positions @ np.linalg.inv(structure.cell)
