"""Slabs of a crystal between two planes, for surfaces and stacking faults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX
from snapuq.properties.base import Property, RelaxedCrystal
from snapuq.properties.cell_lengths import CellLength, slab_lengths
from snapuq.properties.checks import check_crystals, check_positive

Array = NDArray[np.float64]
Index = tuple[int, int, int]


@dataclass(frozen=True)
class SlabParams:
    """Crystal and slab.

    Parameters
    ----------
    structure : str
        Crystal.
    thickness : float, optional
        Least thickness of the slab, A, at the first guess of the crystal's size.
    vacuum : float
        Empty space between slabs, A, likewise; more than the cutoff of the potential.
    fmax : float
        Largest force at the end, eV/A.
    """

    structure: str = "bcc"
    thickness: float | None = None
    vacuum: float = 12.0
    fmax: float = FMAX

    def __post_init__(self) -> None:
        check_crystals("structure", self.structure)
        check_positive(self, "vacuum", "fmax", *(() if self.thickness is None else ("thickness",)))


class SlabProperty(Property):
    """A property of a slab, as `SlabParams` tells it.

    ``usual_thickness`` stands for no thickness, in cube roots of the volume per atom.
    """

    usual_thickness: ClassVar[float]

    @classmethod
    def cell_lengths(cls, params: SlabParams) -> tuple[CellLength, ...]:
        """Lengths of the slab and of the empty space.

        Parameters
        ----------
        params : SlabParams
            What the user asked for.

        Returns
        -------
        tuple of CellLength
            Two.
        """
        return slab_lengths(params.structure, params.thickness, cls.usual_thickness, params.vacuum)


@dataclass(frozen=True, eq=False)
class Slab:
    """A slab with empty space above and below it.

    Parameters
    ----------
    structure : Structure
        The first two cell vectors lie in the plane, the third is normal to it; axes are those of the crystal.
    area : float
        Area of one side, A^2.
    upper : ndarray of bool, shape (N,)
        Atoms above the middle, which is a cut of the same kind as the surfaces.
    """

    structure: Structure
    area: float
    upper: NDArray[np.bool_]


def check_index(field: str, index: tuple[int, ...]) -> None:
    """Check the indices of a plane or direction.

    Parameters
    ----------
    field : str
        Name of the field, for the message.
    index : tuple of int
        What the user wrote.

    Raises
    ------
    ValueError
        When it is not three integers without common factor.
    """
    if len(index) != 3 or math.gcd(*index) != 1:
        raise ValueError(f"{field}: expected three integers without common factor, got {list(index)}")


def cut_slab(crystal: RelaxedCrystal, miller: Index, thickness: float, vacuum: float) -> Slab:
    """Cut a slab of whole primitive cells, so of the crystal's composition, at the widest gap between layers.

    Parameters
    ----------
    crystal : RelaxedCrystal
        The crystal.
    miller : tuple of int
        Indices of the plane in the conventional cell; the slab's upper side points along its normal.
    thickness : float
        Least thickness, A.
    vacuum : float
        Empty space between slabs, A.

    Returns
    -------
    Slab
        With the smallest cell in the plane.
    """
    primitive = crystal.primitive
    index = primitive_index(miller, primitive.cell @ np.linalg.inv(crystal.conventional().cell))
    u, v, w = plane_vectors(index, primitive.cell) @ primitive.cell
    # Heights count the planes of the lattice, which lie 1 / |G| apart, G being their reciprocal vector.
    reciprocal = np.linalg.inv(primitive.cell) @ np.array(index)
    spacing = 1.0 / float(np.linalg.norm(reciprocal))
    cut = widest_gap(primitive.positions @ reciprocal)
    periods = max(2, math.ceil(thickness / spacing))
    heights = primitive.positions @ reciprocal - cut
    base = primitive.positions - np.floor(heights)[:, None] * w
    steps = np.repeat(np.arange(periods), len(base))
    positions = np.tile(base, (periods, 1)) + steps[:, None] * w
    normal = reciprocal * spacing
    positions = positions - cut * spacing * normal + 0.5 * vacuum * normal
    cell = np.array([u, v, (periods * spacing + vacuum) * normal])
    inside = positions @ np.linalg.inv(cell)
    # Only within the plane: nothing crosses the empty space. An atom at the edge stays, whatever its round-
    # off.
    positions -= np.floor(inside[:, :2] + 1.0e-9) @ cell[:2]
    structure = Structure(cell, positions, primitive.species * periods)
    return Slab(structure, float(np.linalg.norm(np.cross(u, v))), steps >= periods // 2)


def usual_slab(
    crystal: RelaxedCrystal, miller: Index, thickness: float | None, usual: float, vacuum: float
) -> Slab:
    """Cut a slab whose thickness and empty space scale with the crystal, so that it has one shape for all
    potentials.

    Parameters
    ----------
    crystal : RelaxedCrystal
        The crystal.
    miller : tuple of int
        Indices of the plane in the conventional cell.
    thickness : float or None
        Least thickness, A, at the first guess of the crystal's size.
    usual : float
        What stands for no thickness, in cube roots of the volume per atom.
    vacuum : float
        Empty space between slabs, A, at the first guess of the crystal's size.

    Returns
    -------
    Slab
        With the smallest cell in the plane.
    """
    guess = crystal.crystal.primitive(*crystal.crystal.size_guess())
    ratio = (crystal.primitive.volume / guess.volume) ** (1.0 / 3.0)
    known = thickness or usual * (guess.volume / len(guess)) ** (1.0 / 3.0)
    return cut_slab(crystal, miller, ratio * known, ratio * vacuum)


def primitive_index(miller: Index, vectors: Array) -> Index:
    """Miller indices of the same plane in the primitive cell.

    Parameters
    ----------
    miller : tuple of int
        Indices in the conventional cell.
    vectors : ndarray, shape (3, 3)
        Primitive vectors in units of the conventional ones, as rows; multiples of 1/2.

    Returns
    -------
    tuple of int
        Indices without common factor.
    """
    index = np.rint(2.0 * vectors @ np.array(miller)).astype(int)
    factor = math.gcd(*index.tolist())
    h, k, i = (index // factor).tolist()
    return h, k, i


def plane_vectors(index: Index, cell: Array) -> NDArray[np.int64]:
    """Basis of a lattice with two vectors in a plane and the third one plane above.

    Parameters
    ----------
    index : tuple of int
        Miller indices of the plane, without common factor.
    cell : ndarray, shape (3, 3)
        Cell vectors as rows; right-handed.

    Returns
    -------
    ndarray of int, shape (3, 3)
        The vectors in units of the cell's, as rows; right-handed, the two in the plane as short as can be.
    """
    h, k, i = index
    common, p, q = _bezout(h, k)
    if common == 0:
        basis = np.array([[1, 0, 0], [0, 1, 0], [0, 0, i]])
    else:
        _, r, s = _bezout(common, i)
        basis = np.array([[k // common, -h // common, 0], [-p * i, -q * i, common], [r * p, r * q, s]])
    u, v, w = basis
    # Gauss's reduction of the two in the plane.
    while True:
        if np.linalg.norm(u @ cell) > np.linalg.norm(v @ cell):
            u, v = v, u
        turns = round(float((v @ cell) @ (u @ cell)) / float((u @ cell) @ (u @ cell)) * (1.0 - 1.0e-9))
        if turns == 0:
            break
        v = v - turns * u
    basis = np.array([u, v, w])
    return basis if np.linalg.det(basis) > 0 else np.array([v, u, w])


def _bezout(a: int, b: int) -> tuple[int, int, int]:
    """Greatest common divisor g of a and b, and x and y with a x + b y = g."""
    x0, y0, x1, y1 = 1, 0, 0, 1
    while b:
        quotient, rest = divmod(a, b)
        a, b = b, rest
        x0, y0, x1, y1 = x1, y1, x0 - quotient * x1, y0 - quotient * y1
    return (a, x0, y0) if a >= 0 else (-a, -x0, -y0)


def widest_gap(heights: Array) -> float:
    """Height in the middle of the widest gap between the layers of a periodic crystal.

    Cutting there breaks the fewest bonds, and symmetry-equivalent planes are cut alike.

    Parameters
    ----------
    heights : ndarray, shape (N,)
        Heights of the atoms in units of the period.

    Returns
    -------
    float
        Height within the first period or its end; the lowest of several gaps that are alike.
    """
    # A layer at height 0 stays the lowest, whatever its round-off.
    levels = np.sort((heights + 1.0e-9) % 1.0)
    gaps = np.diff(levels, append=levels[0] + 1.0)
    # Gaps that differ by round-off alone are alike; the first is taken.
    widest = int(np.flatnonzero(gaps > gaps.max() - 1.0e-6)[0])
    return float(levels[widest] + 0.5 * gaps[widest])
