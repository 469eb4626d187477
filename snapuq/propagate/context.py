"""One task of the MLE as its members see it: shapes, states and curvatures, for all of them at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import CellFreedom, Directions, Evaluation
from snapuq.propagate.curvature import Curvature, Curvatures
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.expansion import STRAIN, Expansion
from snapuq.propagate.family import Family, Inverted, Prediction, Shape, inverted
from snapuq.propagate.record import Record, Relaxed

Array = NDArray[np.float64]

#: Distance between the starts of a member and of the MLE, A, above which they are different questions. Random
#: displacements differ by less.
SAME_START = 0.35
#: Errors of an interpolation that only starts a relaxation, as a multiple of those of other interpolations:
#: below
#: 1e-3 eV/A, where a first-order prediction leaves 1e-2.
STATE_TOLERANCE = 100.0
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
        self._families: list[Family | Inverted] = []
        # Nodes lie around the size of the first structure of a shape: relaxed ones before others.
        for structure in (*(r.state for r in record.relaxed if is_rigid(r)), *record.evaluated):
            self._family(structure)
        self._found = 0
        self._curvatures = lru_cache(maxsize=64)(self._all_curvatures)
        self._strained = lru_cache(maxsize=8)(self._predict_strained)

    def _family(self, structure: Structure) -> Family | Inverted:
        shape, size = Shape.of(structure)
        family = next((f for f in self._families if f.shape.is_same(shape)), None)
        if family is None:
            images = (inverted(shape, f) for f in self._families if isinstance(f, Family))
            family = next(filter(None, images), None) or Family(shape, size, self._predict)
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
        found = self.find(structure)
        return None if found is None else found[0].evaluate(member, found[1])

    def find(self, structure: Structure) -> tuple[Family | Inverted, float] | None:
        """Find the shape of a structure among those that the MLE was asked about.

        Parameters
        ----------
        structure : Structure
            Any.

        Returns
        -------
        family : Family or Inverted
            All members at this shape.
        size : float
            That of the structure; None instead of both for other shapes.
        """
        shape, size = Shape.of(structure)
        for step in range(len(self._families)):
            # Members ask in the order in which the MLE did.
            at = (self._found + step) % len(self._families)
            if self._families[at].shape.is_same(shape):
                self._found = at
                return self._families[at], size
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
        return family.evaluate(member, size, STATE_TOLERANCE) if family.shape.is_same(shape) else None

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

        def gap(known: Relaxed) -> float | None:
            is_alike = (known.cell, known.directions) == (cell, directions)
            return distance(start, known.start) if is_alike else None

        all_known = self.record.relaxed
        if number < len(all_known) and gap(all_known[number]) is not None:
            return all_known[number]
        gaps = [(found, i) for i, known in enumerate(all_known) if (found := gap(known)) is not None]
        return all_known[min(gaps)[1]] if gaps else None

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
            In units of the typical curvature; empty in a cell too large for rows.

        Raises
        ------
        SimulationError
            When rows cannot be computed.
        """
        curvatures = self._curvatures(number)
        return np.zeros((0, 0)) if curvatures is None else curvatures.soft(member)

    def curvature(self, number: int, member: int) -> Curvature | None:
        """Hessian of a member near a state of the MLE.

        Parameters
        ----------
        number : int
            Which expansion of the record.
        member : int
            Which potential.

        Returns
        -------
        Curvature or None
            The member's in the softest modes and in the directions in which members answer, the MLE's in
            others; None in a cell too large for rows.

        Raises
        ------
        SimulationError
            When rows cannot be computed.
        """
        curvatures = self._curvatures(number)
        return None if curvatures is None else curvatures.of(member)

    def prepare(self) -> None:
        """Compute the rows that every member's curvature takes, before several ranks do so at once.

        Raises
        ------
        SimulationError
            When rows cannot be computed.
        """
        moved = {r.expansion for r in self.record.relaxed if not is_rigid(r)}
        for number in sorted(moved.union(*(saddle[:2] for saddle in self.record.saddles)) - {-1}):
            self.curvature(number, 0)

    def stress_response(self, number: int, member: int) -> Array:
        """Change of a member's stress with the positions at a state of the MLE.

        Parameters
        ----------
        number : int
            Which expansion of the record; in a fixed cell, with atoms free in all directions.
        member : int
            Which potential.

        Returns
        -------
        ndarray, shape (6, D)
            Derivatives of the Voigt stress, eV/A^4, without drift.

        Raises
        ------
        SimulationError
            When rows cannot be computed.
        """
        state = self.record.expansions[number].degrees.state
        degrees = Degrees(state, "full", "all")
        rows = []
        for q, strained in zip(STRAIN * np.eye(6, degrees.n_free), self._strained(number), strict=True):
            # The mixed derivative of the energy: forces change with the strain as stresses with positions.
            slopes = [
                degrees.slope(to_evaluation(everything[member]), x)
                for x, everything in zip((q, -q), strained, strict=True)
            ]
            rows.append((slopes[0] - slopes[1])[6:] / (2.0 * STRAIN * state.volume))
        return np.array(rows)

    def _predict_strained(self, number: int) -> tuple[tuple[Array, Array], ...]:
        """All potentials at a state of the MLE under each of six strains, both ways."""
        degrees = Degrees(self.record.expansions[number].degrees.state, "full", "all")
        return tuple(
            (self._predict(degrees.structure(q)), self._predict(degrees.structure(-q)))
            for q in STRAIN * np.eye(6, degrees.n_free)
        )

    def _all_curvatures(self, number: int) -> Curvatures | None:
        expansion = self.record.expansions[number]
        return Curvatures(expansion, self._predict) if isinstance(expansion, Expansion) else None


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


@lru_cache(maxsize=1024)
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
    difference = fractional(first) - fractional(second)
    shift = (difference - np.rint(difference)) @ cell
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
    return structure.fractional
