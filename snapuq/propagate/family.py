"""Energies, forces and stresses of all members at fixed positions, from rows on a grid of scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import prod
from operator import mul

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from snapuq.core.dataset import Structure
from snapuq.core.engine import Evaluation
from snapuq.errors import SimulationError

Array = NDArray[np.float64]

#: Structure to rows of its energy, forces and stress, and what the reference pair style adds to each.
RowSource = Callable[[Structure], tuple[Array, Array]]
#: What `Family` needs: a structure's energy (1), forces (3 N) and stress (6) for all potentials, shape
#: (M + 1, 1 + 3 N + 6).
Prediction = Callable[[Structure], Array]

#: Step of the logarithm of lengths: seven nodes are exact enough for a smooth potential.
STEP = 1.5e-3
#: Distance from the MLE's size, in steps, up to which the nodes around it serve; 1 % of volume.
REACH = 2.5
#: Nodes on each side of the middle one: at first, and at most. What leaving out the farthest changes tells
#: the error.
_FEWEST, _MOST = 2, 4
#: What leaving out a node may change: energy per atom (eV), force (eV/A) and stress (eV/A^3). With all nodes
#: the error is a tenth of that in smooth cases, which changes a bulk modulus by less than 0.01 GPa, and a
#: frequency of 10 THz by less than 0.002.
ENERGY_ERROR, FORCE_ERROR, STRESS_ERROR = 5.0e-8, 1.0e-5, 1.0e-7
#: What leaving out two nodes may change, as a multiple of that.
LOWEST = 20.0
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
        return cls(structure.cell * np.exp(-size), structure.fractional, structure.species), size

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

    def evaluate(self, member: int, size: float, tolerance: float = 1.0) -> Evaluation | None:
        """Energy, forces and stress of one potential at one size.

        Parameters
        ----------
        member : int
            0 the MLE, 1 to M the members.
        size : float
            Logarithm of the cube root of the volume in A^3.
        tolerance : float
            Errors that are accepted, as a multiple of those of this module.

        Returns
        -------
        Evaluation or None
            None when the interpolation is not good enough: a neighbour shell at the cutoff, for example.
        """
        x = (size - self.size) / STEP
        middle = 0 if abs(x) <= REACH else round(x)
        for half in range(_FEWEST, _MOST + 1):
            nodes = [self._node(middle + k) for k in range(-half, half + 1)]
            values = np.array([node[member] for node in nodes if node is not None])
            if len(values) < len(nodes):
                return None
            fewest, fewer, now = _orders(half, x - middle) @ values
            allowed = tolerance * self._errors
            # The lowest order guards against differences that vanish by chance.
            is_smooth = (np.abs(now - fewest) <= LOWEST * allowed).all()
            if is_smooth and (np.abs(now - fewer) <= allowed).all():
                return Evaluation(float(now[0]), now[1:-6].reshape(-1, 3), now[-6:])
        return None

    def _node(self, k: int) -> Array | None:
        if k not in self._nodes:
            try:
                # Rows of a mapped file are taken one by one: a plain array is faster.
                self._nodes[k] = np.asarray(self._predict(self.shape.at(self.size + STEP * k)))
            except SimulationError:
                self._nodes[k] = None
        return self._nodes[k]


class Inverted:
    """The image of a family by inversion: as an atom displaced one way and the other.

    Parameters
    ----------
    shape : Shape
        The image.
    family : Family
        The family.
    partners : ndarray of int, shape (N,)
        Atom of the family that each atom of the image is the image of.
    """

    def __init__(self, shape: Shape, family: Family, partners: NDArray[np.intp]) -> None:
        self.shape = shape
        self._family, self._partners = family, partners

    def evaluate(self, member: int, size: float, tolerance: float = 1.0) -> Evaluation | None:
        """Energy, forces and stress of one potential at one size; see `Family.evaluate`.

        Parameters
        ----------
        member : int
            0 the MLE, 1 to M the members.
        size : float
            Logarithm of the cube root of the volume in A^3.
        tolerance : float
            Errors that are accepted.

        Returns
        -------
        Evaluation or None
            That of the family, forces the other way.
        """
        found = self._family.evaluate(member, size, tolerance)
        if found is None:
            return None
        return Evaluation(found.energy, -found.forces[self._partners], found.stress)


def inverted(shape: Shape, family: Family) -> Inverted | None:
    """See whether a shape is the image of a family by inversion.

    Parameters
    ----------
    shape : Shape
        In the same cell, with one atom elsewhere; other images are not looked for.
    family : Family
        What it may be an image of.

    Returns
    -------
    Inverted or None
        None when it is not.
    """
    other = family.shape
    if shape.species != other.species or np.abs(shape.cell - other.cell).max() > SAME_SHAPE:
        return None
    moved = np.flatnonzero(np.abs(shape.fractional - other.fractional).max(axis=1) > SAME_SHAPE)
    if len(moved) != 1:
        return None
    middle = (shape.fractional + other.fractional)[moved[0]]
    images, atoms = ((f % 1.0) % 1.0 for f in (middle - shape.fractional, other.fractional))
    gaps, partners = cKDTree(atoms, boxsize=1.0).query(images)
    species = np.array(shape.species)
    if gaps.max() > SAME_SHAPE or (species[partners] != species).any():
        return None
    return Inverted(shape, family, partners)


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
    # Faster than array operations for a few nodes.
    places = tuple(nodes.tolist())
    gaps = [x - place for place in places]
    before = accumulate(gaps, mul, initial=1.0)
    after = [*accumulate(reversed(gaps[1:]), mul, initial=1.0)][::-1]
    return np.array([b * a / d for b, a, d in zip(before, after, _denominators(places), strict=False)])


@lru_cache(maxsize=64)
def _denominators(places: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(prod(place - other for other in places if other != place) for place in places)


def _orders(half: int, x: float) -> Array:
    """Weights of all nodes but the outermost two, but the farthest one, and of all; (3, 2 half + 1)."""
    nodes = np.arange(-half, half + 1.0)
    weights = np.zeros((3, len(nodes)))
    fewer = slice(1, None) if x >= 0.0 else slice(None, -1)
    for row, kept in zip(weights, (slice(1, -1), fewer, slice(None)), strict=True):
        row[kept] = lagrange_weights(nodes[kept], x)
    return weights
