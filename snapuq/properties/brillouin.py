"""Brillouin zone of a crystal: special points, path, mesh, and what symmetry leaves of a set of waves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.properties.crystals import Crystal

if TYPE_CHECKING:
    # phonopy and seekpath take long to import: only what computes phonons does so, where it needs them.
    from phonopy.structure.atoms import PhonopyAtoms

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Distance within which atoms are equivalent, A; relaxed positions are good to a hundredth of it.
SYMMETRY_TOLERANCE = 1.0e-3
# Real-space length that the mesh of the Brillouin zone resolves, A. Against 200 A, free energies of W, Cu, Mg
# and Si change by less than 3e-7 eV/atom, zero-point energies by less than 3e-9, quantiles by less than
# 0.015 THz.
_MESH_LENGTH = 100.0


@dataclass(frozen=True)
class PathPoint:
    """A wave vector on the path.

    Parameters
    ----------
    x : float
        Distance along the path, from 0 to 1; jumps between segments have no length.
    where : str
        Name of a special point, or of the two that it lies between: ``N`` or ``H-N``.
    q : tuple of float
        Wave vector in units of the primitive reciprocal vectors.
    """

    x: float
    where: str
    q: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class WaveVectors:
    """Wave vectors that stand for all that symmetry makes equal to them.

    Parameters
    ----------
    q : ndarray, shape (Q, 3)
        In units of the primitive reciprocal vectors.
    weights : ndarray, shape (Q,)
        How many each stands for, itself included.
    """

    q: Array
    weights: IntArray


@dataclass(frozen=True, eq=False)
class BrillouinZone:
    """What follows from the prototype alone, so that it is the same for all potentials.

    Parameters
    ----------
    primitive_matrix : ndarray, shape (3, 3)
        Columns are the primitive vectors in units of those of `Crystal.primitive`.
    special : dict
        Name to wave vector, in units of the primitive reciprocal vectors.
    segments : tuple of (str, str)
        The path.
    reciprocal : ndarray, shape (3, 3)
        Rows are primitive reciprocal vectors without 2 pi, in units of 1 / a.
    conventional : ndarray, shape (3, 3)
        Rows are the conventional vectors in units of the primitive ones.
    has_hexagonal_axes : bool
        Whether the conventional cell is that of a hexagonal lattice.
    n_atoms : int
        Atoms of the primitive cell.
    """

    primitive_matrix: Array
    special: dict[str, tuple[float, float, float]]
    segments: tuple[tuple[str, str], ...]
    reciprocal: Array
    conventional: IntArray
    has_hexagonal_axes: bool
    n_atoms: int

    def path(self, points: int) -> tuple[PathPoint, ...]:
        """Sample the path.

        Parameters
        ----------
        points : int
            About so many, spread by length.

        Returns
        -------
        tuple of PathPoint
            Each segment has both ends and a point between them at least; a point that two segments share
            comes once.
        """
        ends = [np.array([self.special[name] for name in segment]) for segment in self.segments]
        lengths = [float(np.linalg.norm((b - a) @ self.reciprocal)) for a, b in ends]
        total, done = sum(lengths), 0.0
        found: list[PathPoint] = []
        for (first, last), (a, b), length in zip(self.segments, ends, lengths, strict=True):
            steps = max(2, round(points * length / total))
            for i in range(steps + 1):
                t = i / steps
                where = {0: first, steps: last}.get(i, f"{first}-{last}")
                if i == 0 and found and found[-1].where == first:
                    continue
                q = a + t * (b - a)
                found.append(PathPoint((done + t * length) / total, where, (q[0], q[1], q[2])))
            done += length
        return tuple(found)

    def mesh(self, a: float, rotations: IntArray) -> WaveVectors:
        """Sample the zone evenly, without its centre.

        The mesh lies along the conventional reciprocal vectors and is shifted by half a step, along the
        hexagonal axis alone where there is one: unlike shifted meshes along primitive vectors, it has the
        whole symmetry of a face-centred or hexagonal lattice.

        Parameters
        ----------
        a : float
            Size of the crystal, A.
        rotations : ndarray of int, shape (R, 3, 3)
            Point group of the crystal, on fractional coordinates of the primitive cell.

        Returns
        -------
        WaveVectors
            The irreducible ones.
        """
        to_primitive = np.linalg.inv(self.conventional).T
        widths = np.linalg.norm(to_primitive @ self.reciprocal, axis=1) / a
        counts = [max(1, math.ceil(_MESH_LENGTH * w)) for w in widths]
        shifts = (0.0, 0.0, 0.5) if self.has_hexagonal_axes else (0.5, 0.5, 0.5)
        axes = [(np.arange(n) + s) / n for n, s in zip(counts, shifts, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        q = (grid @ to_primitive)[:, None] + commensurate_points(self.conventional)
        index = round(abs(np.linalg.det(self.conventional)))
        return irreducible(q.reshape(-1, 3), rotations, 2 * math.lcm(*counts) * index)


@lru_cache(maxsize=64)
def brillouin_zone(text: str) -> BrillouinZone:
    """Find the primitive cell and the path of a crystal from the shape of its prototype.

    Parameters
    ----------
    text : str
        Crystal, as `Crystal.parse` reads it; its elements matter only in being the same or not, and its size
        not at all.

    Returns
    -------
    BrillouinZone
        With the path of Hinuma et al. and its names.

    References
    ----------
    Hinuma et al., Comput. Mater. Sci. 128, 140 (2017), doi:10.1016/j.commatsci.2016.10.015.
    """
    import seekpath
    from phonopy import Phonopy
    from phonopy.structure.cells import guess_primitive_matrix

    crystal = Crystal.parse(text)
    species = crystal.elements or tuple(map(str, range(crystal.kind.n_species)))
    # Any elements will do, the same where they are the same; a size far above the tolerance of symmetry.
    stand_ins = tuple(chemical_symbols[1 + species.index(s)] for s in species)
    crystal = replace(crystal, elements=stand_ins, lattice_constant=5.0)
    a, c = crystal.size_guess()
    unit = phonopy_atoms(crystal.primitive(a, c))
    matrix = guess_primitive_matrix(unit, symprec=SYMMETRY_TOLERANCE)
    primitive = Phonopy(
        unit, np.eye(3, dtype=int), primitive_matrix=matrix, symprec=SYMMETRY_TOLERANCE
    ).primitive
    found = seekpath.get_path_orig_cell(
        (primitive.cell, primitive.scaled_positions, primitive.numbers), symprec=SYMMETRY_TOLERANCE
    )
    segments = tuple((first, last) for first, last in found["path"])
    named = {name for segment in segments for name in segment}
    special = {
        k: (float(x), float(y), float(z)) for k, (x, y, z) in found["point_coords"].items() if k in named
    }
    reciprocal = np.linalg.inv(primitive.cell).T
    conventional = np.rint(crystal.conventional(a, c).cell @ reciprocal.T).astype(np.int64)
    hexagonal = crystal.kind.system in ("hexagonal", "trigonal")
    return BrillouinZone(matrix, special, segments, a * reciprocal, conventional, hexagonal, len(primitive))


def phonopy_atoms(structure: Structure) -> PhonopyAtoms:
    """Hand a structure to phonopy.

    Parameters
    ----------
    structure : Structure
        Any structure.

    Returns
    -------
    PhonopyAtoms
        The same, atoms in the same order.
    """
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(symbols=list(structure.species), cell=structure.cell, positions=structure.positions)


def commensurate_points(matrix: IntArray) -> Array:
    """Wave vectors that fit into a supercell.

    Parameters
    ----------
    matrix : ndarray of int, shape (3, 3)
        Rows are the supercell's vectors in units of the primitive ones.

    Returns
    -------
    ndarray, shape (abs(det(matrix)), 3)
        In units of the primitive reciprocal vectors; zero first.
    """
    from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

    # phonopy's matrices hold vectors as columns.
    return np.array(get_commensurate_points(np.asarray(matrix).T), dtype=np.float64)


def irreducible(q: Array, rotations: IntArray, denominator: int) -> WaveVectors:
    """Reduce a set of wave vectors by symmetry and time reversal.

    Parameters
    ----------
    q : ndarray, shape (Q, 3)
        Different ones, in units of the primitive reciprocal vectors.
    rotations : ndarray of int, shape (R, 3, 3)
        Group of rotations on fractional coordinates of the primitive cell; those that do not map the set onto
        itself are left out.
    denominator : int
        A number that makes integers of all components.

    Returns
    -------
    WaveVectors
        The weights add up to Q; zero first where it is among them.
    """
    # In integers, so that equal wave vectors are equal to the last bit.
    points = np.rint(q * denominator).astype(np.int64)
    places = np.array([denominator**2, denominator, 1])
    codes = points % denominator @ places
    order = np.argsort(codes)
    lowest = codes
    for rotation in np.concatenate([rotations, -rotations]):
        images = points @ rotation % denominator @ places
        if np.array_equal(np.sort(images), codes[order]):
            lowest = np.minimum(lowest, images)
    found, weights = np.unique(lowest, return_counts=True)
    return WaveVectors(q[order[np.searchsorted(codes, found, sorter=order)]], weights)
