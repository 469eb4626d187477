"""Energies, forces and stresses of all members at fixed positions, from rows on a grid of scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Evaluation
from snapuq.errors import SimulationError

Array = NDArray[np.float64]

#: Structure to rows of its energy, forces and stress, and what the reference pair style adds to each.
RowSource = Callable[[Structure], tuple[Array, Array]]
#: What `Family` needs: a structure's energy (1), forces (3 N) and stress (6) for all potentials, shape
#: (M + 1, 1 + 3 N + 6).
Prediction = Callable[[Structure], Array]

#: Step of the logarithm of lengths; five nodes cover 6 % of volume.
STEP = 5.0e-3
#: Nodes on each side of the middle one: at first, and at most. Two more nodes tell the error of the ones
#: before.
_FEWEST, _MOST = 2, 4
#: Errors of the interpolation: energy per atom (eV), force (eV/A) and stress (eV/A^3). They change a bulk
#: modulus by
#: less than 0.01 GPa, and a frequency of 10 THz by less than 0.002.
ENERGY_ERROR, FORCE_ERROR, STRESS_ERROR = 1.0e-8, 1.0e-5, 1.0e-7
#: Coordinates of structures of one shape agree to this share of the cell.
SAME_SHAPE = 1.0e-9
#: Potentials in one matrix product: a fixed number, so that no other member changes the bits of one.
_BLOCK = 64


def predict_all(rows: Array, offset: Array, coefficients: Array) -> Array:
    """Multiply rows and coefficients of all potentials.

    Parameters
    ----------
    rows : ndarray, shape (R, P)
        Rows.
    offset : ndarray, shape (R,)
        What is added to each.
    coefficients : ndarray, shape (M, P)
        One potential in each row.

    Returns
    -------
    ndarray, shape (M, R)
        The same bits for a potential whatever the others are.
    """
    found = np.empty((len(coefficients), len(rows)))
    for begin in range(0, len(coefficients), _BLOCK):
        some = coefficients[begin : begin + _BLOCK]
        block = np.zeros((_BLOCK, rows.shape[1]))
        block[: len(some)] = some
        found[begin : begin + len(some)] = (block @ rows.T)[: len(some)]
    return found + offset


@dataclass(frozen=True, eq=False)
class Shape:
    """A structure up to its size.

    Parameters
    ----------
    cell : ndarray, shape (3, 3)
        Cell vectors at a volume of 1.
    fractional : ndarray, shape (N, 3)
        Positions in units of the cell vectors.
    species : tuple of str
        Chemical symbols.
    """

    cell: Array
    fractional: Array
    species: tuple[str, ...]

    @classmethod
    def of(cls, structure: Structure) -> tuple[Shape, float]:
        """Take the size from a structure.

        Parameters
        ----------
        structure : Structure
            Any.

        Returns
        -------
        shape : Shape
            Without its size.
        size : float
            Logarithm of the cube root of its volume in A^3.
        """
        size = float(np.log(structure.volume) / 3.0)
        fractional = structure.positions @ np.linalg.inv(structure.cell)
        return cls(structure.cell * np.exp(-size), fractional, structure.species), size

    def at(self, size: float) -> Structure:
        """Give it a size.

        Parameters
        ----------
        size : float
            Logarithm of the cube root of the volume in A^3.

        Returns
        -------
        Structure
            The structure.
        """
        cell = self.cell * np.exp(size)
        return Structure(cell, self.fractional @ cell, self.species)

    def is_same(self, other: Shape) -> bool:
        """Tell whether two shapes are one, atom by atom.

        Parameters
        ----------
        other : Shape
            The other one.

        Returns
        -------
        bool
            Whether they agree to `SAME_SHAPE`.
        """
        return (
            self.species == other.species
            and bool(np.abs(self.cell - other.cell).max() <= SAME_SHAPE)
            and bool(np.abs(self.fractional - other.fractional).max() <= SAME_SHAPE)
        )


class Family:
    """One shape at all sizes, for all potentials at once.

    What a row is at a size follows from those at nearby nodes of a grid by polynomial interpolation; the
    nodes
    lie around the size of the MLE's structure, so that every member and every rank uses the same ones.

    Parameters
    ----------
    shape : Shape
        The shape.
    size : float
        That of the MLE's structure.
    predict : callable
        A structure's energy, forces and stress for all potentials.
    """

    def __init__(self, shape: Shape, size: float, predict: Prediction) -> None:
        self.shape, self.size = shape, size
        self._predict = predict
        self._nodes: dict[int, Array | None] = {}
        n = len(shape.species)
        self._errors = np.repeat((n * ENERGY_ERROR, FORCE_ERROR, STRESS_ERROR), (1, 3 * n, 6))

    def evaluate(self, member: int, size: float) -> Evaluation | None:
        """Energy, forces and stress of one potential at one size.

        Parameters
        ----------
        member : int
            0 the MLE, 1 to M the members.
        size : float
            Logarithm of the cube root of the volume in A^3.

        Returns
        -------
        Evaluation or None
            None when the interpolation is not good enough: a neighbour shell at the cutoff, for example.
        """
        x = (size - self.size) / STEP
        middle = 0 if abs(x) <= _FEWEST else round(x)
        before = self._interpolate(member, x, middle, _FEWEST - 1)
        for half in range(_FEWEST, _MOST + 1):
            now = self._interpolate(member, x, middle, half)
            if before is None or now is None:
                return None
            if (np.abs(now - before) <= self._errors).all():
                return Evaluation(float(now[0]), now[1:-6].reshape(-1, 3), now[-6:])
            before = now
        return None

    def _interpolate(self, member: int, x: float, middle: int, half: int) -> Array | None:
        nodes = range(middle - half, middle + half + 1)
        values = [self._node(k) for k in nodes]
        weights = lagrange_weights(np.arange(nodes.start, nodes.stop, dtype=float), x)
        found = np.zeros(len(self._errors))
        for weight, value in zip(weights, values, strict=True):
            if value is None:
                return None
            found += weight * value[member]
        return found

    def _node(self, k: int) -> Array | None:
        if k not in self._nodes:
            try:
                self._nodes[k] = self._predict(self.shape.at(self.size + STEP * k))
            except SimulationError:
                self._nodes[k] = None
        return self._nodes[k]


def lagrange_weights(nodes: Array, x: float) -> Array:
    """Weights of polynomial interpolation.

    Parameters
    ----------
    nodes : ndarray, shape (n,)
        Where values are known.
    x : float
        Where one is wanted.

    Returns
    -------
    ndarray, shape (n,)
        Their sum is 1.
    """
    differences = nodes[:, None] - nodes[None]
    np.fill_diagonal(differences, 1.0)
    factors = np.broadcast_to(x - nodes, differences.shape).copy()
    np.fill_diagonal(factors, 1.0)
    weights: Array = np.prod(factors / differences, axis=1)
    return weights
