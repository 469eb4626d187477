"""Coordinates of a relaxation around a known state: strains of the cell and displacements of the atoms."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import CellFreedom, Directions, Evaluation

Array = NDArray[np.float64]

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_MATRIX = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
_N_STRAINS = {None: 0, "isotropic": 1, "axes": 3, "full": 6}


class Degrees:
    """The coordinates that a relaxation may change, zero at a known state.

    A structure has the cell ``C (1 + e)`` and the positions ``(x + u) (1 + e)``, with the strain e a sum over
    the free ones; coordinates are the free strains, then u, or its part along the normal of the plane of the
    first two cell vectors.

    Parameters
    ----------
    state : Structure
        The known state.
    cell : {'isotropic', 'axes', 'full'} or None
        Freedom of the cell.
    directions : {'all', 'normal'}
        Which way atoms may move.
    """

    def __init__(self, state: Structure, cell: CellFreedom | None, directions: Directions) -> None:
        self.state, self.cell, self.directions = state, cell, directions
        self.n_strains = _N_STRAINS[cell]
        self.n_free = self.n_strains + (3 if directions == "all" else 1) * len(state)

    @cached_property
    def axes(self) -> Array:
        """Axes of the cell as rows, shape (3, 3)."""
        return _axes(self.state.cell)

    @cached_property
    def strains(self) -> Array:
        """The free strains, shape (k, 3, 3)."""
        return _strains(self.cell, self.axes)

    def structure(self, q: Array) -> Structure:
        """Structure at some coordinates.

        Parameters
        ----------
        q : ndarray, shape (D,)
            Coordinates: strains, then A.

        Returns
        -------
        Structure
            Atoms in the order of the known state.
        """
        gradient = self._gradient(q)
        positions = self.state.positions + self._vectors(q[self.n_strains :])
        return Structure(self.state.cell @ gradient, positions @ gradient, self.state.species)

    def coordinates(self, structure: Structure) -> Array:
        """Coordinates of a structure in the known state's own cell.

        Parameters
        ----------
        structure : Structure
            The same atoms in the same cell.

        Returns
        -------
        ndarray, shape (D,)
            Without strain.
        """
        return np.concatenate(
            [np.zeros(self.n_strains), self._numbers(structure.positions - self.state.positions)]
        )

    def slope(self, found: Evaluation, q: Array) -> Array:
        """Derivative of the energy by the coordinates.

        Parameters
        ----------
        found : Evaluation
            At `q`.
        q : ndarray, shape (D,)
            Coordinates.

        Returns
        -------
        ndarray, shape (D,)
            eV, and eV/A.
        """
        return self.slopes(found.forces, found.stress, q)

    def slopes(self, forces: Array, stress: Array, q: Array) -> Array:
        """Derivatives of the energies of several potentials by the coordinates.

        Parameters
        ----------
        forces : ndarray, shape (..., N, 3)
            At `q`, eV/A.
        stress : ndarray, shape (..., 6)
            There, eV/A^3.
        q : ndarray, shape (D,)
            Coordinates.

        Returns
        -------
        ndarray, shape (..., D)
            eV, and eV/A.
        """
        gradient = self._gradient(q)
        slopes = -self._numbers(forces @ gradient)
        if not self.n_strains:
            return slopes
        volume = self.state.volume * float(np.linalg.det(gradient))
        along = volume * np.linalg.inv(gradient) @ stress[..., _MATRIX]
        return np.concatenate([np.einsum("kij,...ij->...k", self.strains, along), slopes], axis=-1)

    def is_converged(self, found: Evaluation, fmax: float, smax: float) -> bool:
        """Tell whether a relaxation may end here, by the engine's own rule.

        Parameters
        ----------
        found : Evaluation
            Here.
        fmax, smax : float
            Tolerances, eV/A and eV/A^3.

        Returns
        -------
        bool
            Whether forces and free stresses are within them.
        """
        forces = found.forces
        if self.directions == "normal":
            forces = forces @ self.axes[2][:, None]
        if float(np.linalg.norm(forces, axis=1).max()) > fmax:
            return False
        if self.cell is None:
            return True
        if self.cell == "isotropic":
            return abs(float(found.stress[:3].mean())) <= smax
        stress = np.empty((3, 3))
        for number, (i, j) in zip(found.stress, _VOIGT, strict=True):
            stress[i, j] = stress[j, i] = number
        turned = self.axes @ stress @ self.axes.T
        free = np.diag(turned) if self.cell == "axes" else turned
        return float(np.abs(free).max()) <= smax

    def masked(self, found: Evaluation) -> Evaluation:
        """Leave out forces that the relaxation cannot follow, as the engine does.

        Parameters
        ----------
        found : Evaluation
            With all forces.

        Returns
        -------
        Evaluation
            With those within the plane as zero, where atoms move along the normal alone.
        """
        if self.directions == "all":
            return found
        forces = np.outer(found.forces @ self.axes[2], self.axes[2])
        return Evaluation(found.energy, forces, found.stress)

    def without_drift(self, q: Array) -> Array:
        """Take out a common displacement of all atoms.

        Parameters
        ----------
        q : ndarray, shape (..., D)
            Coordinates or slopes.

        Returns
        -------
        ndarray, shape (..., D)
            The rest.
        """
        width = self.n_free - self.n_strains
        free = q[..., self.n_strains :].reshape(*q.shape[:-1], len(self.state), width // len(self.state))
        still = free - free.mean(axis=-2, keepdims=True)
        return np.concatenate([q[..., : self.n_strains], still.reshape(*q.shape[:-1], width)], axis=-1)

    def reach(self, q: Array) -> float:
        """Largest displacement of an atom.

        Parameters
        ----------
        q : ndarray, shape (D,)
            Coordinates.

        Returns
        -------
        float
            A; without that by the strain.
        """
        return float(np.linalg.norm(self._vectors(q[self.n_strains :]), axis=1).max())

    def _gradient(self, q: Array) -> Array:
        gradient: Array = np.eye(3) + np.tensordot(q[: self.n_strains], self.strains, axes=1)
        return gradient

    def _vectors(self, u: Array) -> Array:
        if self.directions == "all":
            return u.reshape(-1, 3)
        return np.outer(u, self.axes[2])

    def _numbers(self, vectors: Array) -> Array:
        if self.directions == "normal":
            return vectors @ self.axes[2]
        return vectors.reshape(*vectors.shape[:-2], -1)


def _axes(cell: Array) -> Array:
    """Axes of the cell as rows: along a, in the plane of a and b, and its normal, as LAMMPS has them."""
    first = cell[0] / np.linalg.norm(cell[0])
    normal = np.cross(cell[0], cell[1])
    normal /= np.linalg.norm(normal)
    return np.array([first, np.cross(normal, first), normal])


def _strains(cell: CellFreedom | None, axes: Array) -> Array:
    if cell is None:
        return np.zeros((0, 3, 3))
    if cell == "isotropic":
        return np.eye(3)[None]
    # All six span the same strains in any axes, and in these their slopes are Voigt stresses.
    pairs, along = (_VOIGT[:3], axes) if cell == "axes" else (_VOIGT, np.eye(3))
    return np.array([0.5 * (np.outer(along[i], along[j]) + np.outer(along[j], along[i])) for i, j in pairs])
