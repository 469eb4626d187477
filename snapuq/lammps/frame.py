"""Any right-handed cell in LAMMPS's lower-triangular frame, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure

Array = NDArray[np.float64]

# Tilts beyond half a cell length make LAMMPS slow and, when extreme, wrong.
_LARGEST_TILT = 0.5 + 1.0e-9
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, eq=False)
class LammpsFrame:
    """A structure as LAMMPS wants it, with what is needed to return.

    Parameters
    ----------
    cell : ndarray, shape (3, 3)
        Lower-triangular cell with reduced tilts, A.
    positions : ndarray, shape (N, 3)
        Positions in the rotated frame, inside the cell, A.
    rotation : ndarray, shape (3, 3)
        v_lammps = v @ rotation for row vectors.
    lattice : ndarray of int, shape (3, 3)
        cell = lattice @ (original cell @ rotation).
    shifts : ndarray, shape (N, 3)
        Fractional shifts (of `cell`) that wrapped the atoms.
    """

    cell: Array
    positions: Array
    rotation: Array
    lattice: NDArray[np.int64]
    shifts: Array

    @classmethod
    def of(cls, structure: Structure) -> LammpsFrame:
        """Rotate, reduce and wrap a structure.

        Parameters
        ----------
        structure : Structure
            Any right-handed cell.

        Returns
        -------
        LammpsFrame
            The same crystal in LAMMPS's frame.
        """
        cell, rotation = lower_triangular(structure.cell)
        lattice = np.eye(3, dtype=np.int64)
        for row, column in ((1, 0), (2, 1), (2, 0)):
            turns = cell[row, column] / cell[column, column]
            if abs(turns) > _LARGEST_TILT:
                cell[row] -= np.rint(turns) * cell[column]
                lattice[row] -= int(np.rint(turns)) * lattice[column]
        positions = structure.positions @ rotation
        fractional = np.linalg.solve(cell.T, positions.T).T
        fractional[np.abs(fractional) < 1.0e-15] = 0.0
        shifts = np.floor(fractional)
        # A coordinate a rounding error below 0 would be wrapped onto 1, outside the half-open cell.
        shifts[fractional - shifts >= 1.0] += 1.0
        return cls(cell, positions - shifts @ cell, rotation, lattice, shifts)

    def vectors_back(self, vectors: Array) -> Array:
        """Rotate forces or other vectors to the original frame.

        Parameters
        ----------
        vectors : ndarray, shape (..., 3)
            In LAMMPS's frame.

        Returns
        -------
        ndarray, shape (..., 3)
            In the original frame.
        """
        return np.asarray(vectors @ self.rotation.T)

    def stress_back(self, stress: Array) -> Array:
        """Rotate Voigt stresses (xx yy zz yz xz xy, first axis) to the original frame.

        Parameters
        ----------
        stress : ndarray, shape (6, ...)
            In LAMMPS's frame.

        Returns
        -------
        ndarray, shape (6, ...)
            In the original frame.
        """
        full = np.empty((3, 3, *stress.shape[1:]))
        for k, (i, j) in enumerate(_VOIGT):
            full[i, j] = full[j, i] = stress[k]
        turned = np.einsum("ai,bj,ij...->ab...", self.rotation, self.rotation, full)
        return np.stack([turned[i, j] for i, j in _VOIGT])

    def structure_back(self, cell: Array, positions: Array, species: tuple[str, ...]) -> Structure:
        """Rebuild a structure with the original cell vectors and frame.

        Parameters
        ----------
        cell : ndarray, shape (3, 3)
            LAMMPS's cell, perhaps relaxed.
        positions : ndarray, shape (N, 3)
            Unwrapped positions in LAMMPS's frame, in the order of the atoms.
        species : tuple of str
            Chemical symbols.

        Returns
        -------
        Structure
            In the original frame; atoms near where they started.
        """
        unwrapped = positions + self.shifts @ cell
        original = np.linalg.solve(self.lattice.astype(float), cell)
        return Structure(original @ self.rotation.T, unwrapped @ self.rotation.T, species)


def lower_triangular(cell: Array) -> tuple[Array, Array]:
    """Rotate a cell so that a is along x and b in the xy plane.

    Parameters
    ----------
    cell : ndarray, shape (3, 3)
        Right-handed cell vectors as rows.

    Returns
    -------
    lower : ndarray, shape (3, 3)
        Lower-triangular cell with a positive diagonal.
    rotation : ndarray, shape (3, 3)
        lower = cell @ rotation; exactly the identity if the cell was lower-triangular already.
    """
    if np.array_equal(cell, np.tril(cell)) and (np.diag(cell) > 0).all():
        return cell.copy(), np.eye(3)
    q, r = np.linalg.qr(cell.T)
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)
    return np.tril((r * signs[:, None]).T), q * signs
