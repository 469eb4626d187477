"""Lattice dynamics of a crystal: force constants by finite displacements, and frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.properties.supercell import NearestImages, Supercell

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HarmonicCrystal:
    """Force constants of a crystal.

    Parameters
    ----------
    supercell : Supercell
        Where they belong.
    images : NearestImages
        Of its sites, at the relaxed shape.
    constants : ndarray, shape (n, N, 3, 3)
        Force constants between each atom of the primitive cell and all sites, eV/A^2; they obey the sum rule
        and are symmetric.
    residual : float
        Largest sum of force constants over all atoms before it was made zero, eV/A^2.
    stiffness : float
        Largest force constant of an atom with itself, eV/A^2.
    """

    supercell: Supercell
    images: NearestImages
    constants: Array
    residual: float
    stiffness: float

    def frequencies(self, q: Sequence[Sequence[float]] | Array) -> Array:
        """Frequencies of all branches.

        Parameters
        ----------
        q : array, shape (Q, 3)
            Wave vectors in units of the primitive reciprocal vectors.

        Returns
        -------
        ndarray, shape (Q, B)
            THz, ascending; negative for imaginary ones. The three acoustic ones at q = 0 are zero.
        """
        points = np.ascontiguousarray(q, dtype=np.float64)
        squares = np.linalg.eigvalsh(self._dynamical_matrices(points))
        found = np.array(np.sign(squares) * np.sqrt(np.abs(squares)) * self.supercell.to_thz)
        for k in np.flatnonzero(np.abs(points - np.rint(points)).max(axis=1) < 1.0e-9):
            found[k, np.argsort(np.abs(found[k]), kind="stable")[:3]] = 0.0
            found[k].sort()
        return found

    def _dynamical_matrices(self, q: Array) -> NDArray[np.float64] | NDArray[np.complex128]:
        """Those of phonopy with the phases of lattice vectors: the eigenvalues are the same."""
        n = len(self.supercell.primitive_sites)
        cosines, sines = _phases(q.tobytes(), self.images.vectors.tobytes())
        even, odd = self._by_lattice_vector()
        real = (cosines @ even.reshape(len(even), -1)).reshape(-1, 3 * n, 3 * n)
        if n == 1:
            # Every lattice has inversion symmetry: the imaginary part is zero.
            return real
        imaginary = (sines @ odd.reshape(len(odd), -1)).reshape(-1, 3 * n, 3 * n)
        return real + 1j * imaginary

    def _by_lattice_vector(self) -> tuple[Array, Array]:
        """Matrices, shape (V, 3 n, 3 n), that go with the cosine and the sine of each lattice vector."""
        images, n = self.images, len(self.supercell.primitive_sites)
        other = self.supercell.primitive_atom[images.site]
        root = np.sqrt(self.supercell.masses)
        factor = images.share / (root[images.atom] * root[other])
        blocks = factor[:, None, None] * self.constants[images.atom, images.site]
        sums = np.zeros((2, len(images.vectors), n, 3, n, 3))
        sums[images.is_negative.astype(int), images.vector, images.atom, :, other] = blocks
        ahead, behind = sums.reshape(2, -1, 3 * n, 3 * n)
        even, odd = ahead + behind, ahead - behind
        # Hermitian to the last bit.
        return 0.5 * (even + even.transpose(0, 2, 1)), 0.5 * (odd - odd.transpose(0, 2, 1))


@lru_cache(maxsize=4)
def _phases(q: bytes, vectors: bytes) -> tuple[Array, Array]:
    """Cosines and sines of 2 pi q T, shape (Q, V): the same for all potentials."""
    points = np.frombuffer(q, dtype=np.float64).reshape(-1, 3)
    angles = 2.0 * np.pi * points @ np.frombuffer(vectors, dtype=np.int64).reshape(-1, 3).T
    return np.cos(angles), np.sin(angles)


def harmonic_crystal(engine: Engine, structure: Structure, supercell: Supercell) -> HarmonicCrystal:
    """Compute force constants from forces on displaced supercells.

    Parameters
    ----------
    engine : Engine
        The potential.
    structure : Structure
        Relaxed cell, with the symmetry of the supercell.
    supercell : Supercell
        Of the same crystal.

    Returns
    -------
    HarmonicCrystal
        The force constants.

    Raises
    ------
    SimulationError
        When the engine fails.

    References
    ----------
    Togo et al., J. Phys.: Condens. Matter 35, 353001 (2023), doi:10.1088/1361-648X/acd831.
    """
    forces = np.array([engine.evaluate(s).forces for s in supercell.displaced_structures(structure)])
    constants = solve_force_constants(supercell, structure, forces)
    # One sum tells how accurate forces are, the other how harmonic the displacements are.
    sums = [c.sum(axis=1) for c in (constants, _transposed(supercell, constants))]
    atoms = np.arange(len(constants))
    stiffness = float(np.abs(constants[atoms, supercell.primitive_sites]).max())
    return HarmonicCrystal(
        supercell,
        supercell.images_in(structure),
        _symmetrised(supercell, constants),
        float(np.abs(sums).max()),
        stiffness,
    )


def solve_force_constants(supercell: Supercell, structure: Structure, forces: Array) -> Array:
    """Solve for the force constants of the atoms of the primitive cell, by least squares.

    Parameters
    ----------
    supercell : Supercell
        Sites, symmetry and displacements.
    structure : Structure
        Relaxed cell.
    forces : ndarray, shape (K, N, 3)
        Forces for each displacement, eV/A.

    Returns
    -------
    ndarray, shape (n, N, 3, 3)
        They have the symmetry of the crystal, and break the sum rule as far as forces do, eV/A^2.
    """
    rotations = supercell.cartesian_rotations(structure.cell)
    displacements = supercell.displacements @ supercell.matrix @ structure.cell
    rows = []
    for equivalent in supercell.equivalent:
        turned = rotations[equivalent.rotation].transpose(0, 2, 1)
        steps = (displacements[equivalent.displacement][:, None] @ turned)[:, 0]
        felt = forces[equivalent.displacement[:, None], equivalent.source] @ turned
        solved = -np.linalg.pinv(steps) @ felt.reshape(len(steps), -1)
        rows.append(solved.reshape(3, -1, 3).transpose(1, 0, 2))
    return np.array(rows)


def _transposed(supercell: Supercell, constants: Array) -> Array:
    """Force constants with the roles of both atoms exchanged."""
    return constants[supercell.primitive_atom, supercell.reverse].swapaxes(-1, -2)


def _symmetrised(supercell: Supercell, constants: Array) -> Array:
    """Force constants that are symmetric and obey the sum rule, as phonopy makes them."""

    def without_sums(c: Array) -> Array:
        for _ in range(2):
            c = _transposed(supercell, c)
            c = c - c.mean(axis=1, keepdims=True)
        return c

    found = without_sums(constants)
    return without_sums(0.5 * (found + _transposed(supercell, found)))
