"""The energy of the MLE to second order around one of its stationary points."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import CellFreedom, Directions, Engine
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.krylov import expand_in_krylov_space
from snapuq.propagate.metric import LEAST, Metric

Array = NDArray[np.float64]

#: Displacement of an atom, A, and strain: a Hessian that only guides steps may be wrong by a percent.
DISPLACEMENT, STRAIN = 5.0e-3, 1.0e-3
#: Distance within which atoms are equivalent, A: a state relaxed from a rattled start has its symmetry to
#: about this.
SYMMETRY_TOLERANCE = 1.0e-2
#: Curvatures below this are no curvatures, in units in which the diagonal of the Hessian is 1.
ZERO = 1.0e-5
#: Curvatures below minus this are negative, in the same units: above what differences leave.
NEGATIVE = 1.0e-3
#: Modes whose curvature is followed for every member, beside the negative ones: those that may change their
#: sign.
N_SOFT = 6
#: Share of the forces that responses may leave out: what is not followed keeps the curvature of the MLE,
#: which is a tenth off.
LEFT_OUT = 2.0e-2
#: Spread of potentials along a direction in which they count as moving, relative to the largest.
SPREAD = 1.0e-3
#: Numbers of coordinates up to which a Hessian is kept: 35 MB.
LARGEST_DENSE = 2100


class Expansion:
    """Hessian of the MLE at a stationary point, and its inverse without zero modes.

    Parameters
    ----------
    degrees : Degrees
        Coordinates, zero at the point.
    hessian : ndarray, shape (D, D)
        Second derivatives of the energy by them.
    """

    #: Those at the point and displaced along the soft modes.
    uses_rows = True
    #: Rows tell the curvatures of members.
    probe = None

    def __init__(self, degrees: Degrees, hessian: Array) -> None:
        self.degrees, self.hessian = degrees, hessian

    @cached_property
    def _scale(self) -> Array:
        diagonal = np.abs(np.diag(self.hessian))
        # Strains and displacements have different units, and strains count all atoms.
        return 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))

    @cached_property
    def _spectrum(self) -> tuple[Array, Array]:
        values, vectors = np.linalg.eigh(self._scale[:, None] * self.hessian * self._scale)
        return values, vectors

    @property
    def n_negative(self) -> int:
        """Number of negative modes."""
        return int((self._spectrum[0] < -NEGATIVE).sum())

    @cached_property
    def _soft(self) -> NDArray[np.intp]:
        """The negative modes and the softest others."""
        real = np.flatnonzero(np.abs(self._spectrum[0]) > ZERO)
        return real[: self.n_negative + N_SOFT]

    @cached_property
    def _stiff(self) -> NDArray[np.intp]:
        """All modes but the soft ones."""
        return np.setdiff1d(np.flatnonzero(np.abs(self._spectrum[0]) > ZERO), self._soft)

    def solve(self, slope: Array) -> Array:
        """Apply the inverse Hessian, zero modes left out.

        Parameters
        ----------
        slope : ndarray, shape (..., D)
            Derivative of the energy.

        Returns
        -------
        ndarray, shape (..., D)
            Coordinates; without a drift of all atoms.
        """
        values, vectors = self._spectrum
        kept = np.abs(values) > ZERO
        along = np.where(kept, (self._scale * slope) @ vectors / np.where(kept, values, 1.0), 0.0)
        return self.degrees.without_drift(self._scale * (along @ vectors.T))

    @cached_property
    def _sizes(self) -> Array:
        """Curvatures, all positive and none below `LEAST`; infinite for zero modes."""
        sizes = np.abs(self._spectrum[0])
        return np.where(sizes > ZERO, np.maximum(sizes, LEAST), np.inf)

    def balanced(self, q: Array) -> Array:
        """Turn coordinates into such as have curvatures of 1 and -1, or less where it is below `LEAST`.

        Parameters
        ----------
        q : ndarray, shape (..., D)
            Coordinates.

        Returns
        -------
        ndarray, shape (..., D)
            Square roots of eV; 0 along zero modes.
        """
        roots = np.where(np.isfinite(self._sizes), np.sqrt(self._sizes), 0.0)
        return ((q / self._scale) @ self._spectrum[1]) * roots

    def balanced_slope(self, slope: Array) -> Array:
        """Turn derivatives by the coordinates into those by the balanced ones.

        Parameters
        ----------
        slope : ndarray, shape (..., D)
            Derivative of the energy.

        Returns
        -------
        ndarray, shape (..., D)
            Square roots of eV.
        """
        return (self._scale * slope) @ self._spectrum[1] / np.sqrt(self._sizes)

    def from_balanced(self, x: Array) -> Array:
        """Turn balanced coordinates back.

        Parameters
        ----------
        x : ndarray, shape (D,)
            Balanced.

        Returns
        -------
        ndarray, shape (D,)
            Coordinates; without a drift of all atoms.
        """
        along = self._spectrum[1] @ (x / np.sqrt(self._sizes))
        return self.degrees.without_drift(self._scale * along)

    def soft_modes(self) -> Array:
        """The negative modes and the softest others.

        Returns
        -------
        ndarray, shape (k, D)
            Displacements of unit length, where the square of a length is the energy at the typical curvature.
        """
        return (self._scale[:, None] * self._spectrum[1][:, self._soft]).T

    def dual(self, directions: Array) -> Array:
        """Vectors whose products with the displacements are 1 with their own and 0 with others.

        Parameters
        ----------
        directions : ndarray, shape (r, D)
            Displacements, orthonormal in the units of `soft_modes`.

        Returns
        -------
        ndarray, shape (r, D)
            In the space of slopes.
        """
        return directions / self._scale**2

    def responses(self, slopes: Array, most: int) -> Array:
        """Displacements that slopes cause, beside the soft modes, those of the largest energies first.

        Parameters
        ----------
        slopes : ndarray, shape (M, D)
            Of several potentials at the point.
        most : int
            Number at most.

        Returns
        -------
        ndarray, shape (r, D)
            As many as leave out `LEFT_OUT` of the forces; orthonormal in the units of `soft_modes`.
        """
        values, vectors = self._spectrum
        stiff = self._stiff
        roots = np.sqrt(np.abs(values[stiff]))
        caused = _evened((self._scale * slopes) @ vectors[:, stiff] / roots)
        if not caused.any():
            return np.zeros((0, self.degrees.n_free))
        strengths, axes = np.linalg.svd(caused, full_matrices=False)[1:]
        left = np.sqrt(np.cumsum(strengths[::-1] ** 2)[::-1] / np.sum(strengths**2))
        number = min(most, int((left > LEFT_OUT).sum()))
        # Orthonormal again in the other units; the order of importance stays.
        within = np.linalg.qr((axes[:number] / roots).T)[0]
        return (self._scale[:, None] * (vectors[:, stiff] @ within)).T

    def settled(self, q: Array, slope: Array) -> Array:
        """Keep the part of a displacement that the soft modes have, and relax the others.

        Parameters
        ----------
        q : ndarray, shape (D,)
            Coordinates.
        slope : ndarray, shape (D,)
            Of a potential at the point.

        Returns
        -------
        ndarray, shape (D,)
            Coordinates; without a drift of all atoms.
        """
        values, vectors = self._spectrum
        modes = self.soft_modes()
        stiff = vectors[:, self._stiff]
        relaxed = stiff @ (stiff.T @ (self._scale * slope) / values[self._stiff])
        return self.degrees.without_drift((self.dual(modes) @ q) @ modes - self._scale * relaxed)

    def farthest(self, slopes: Array, most: int) -> tuple[Array, Array]:
        """Directions in which slopes move the state farthest.

        Parameters
        ----------
        slopes : ndarray, shape (M, D)
            Of several potentials at the point.
        most : int
            Number at most.

        Returns
        -------
        directions : ndarray, shape (r, D)
            Orthonormal, in balanced coordinates.
        sizes : ndarray, shape (r,)
            Root mean square of the displacements along them.
        """
        moved = _evened(self.balanced_slope(slopes))
        if not moved.any():
            return np.zeros((0, self.degrees.n_free)), np.zeros(0)
        strengths, axes = np.linalg.svd(moved, full_matrices=False)[1:]
        number = min(most, int((strengths > SPREAD * strengths[0]).sum()))
        return axes[:number], strengths[:number] / np.sqrt(len(slopes))

    def to_arrays(self) -> dict[str, Array]:
        """Turn into arrays for a file.

        Returns
        -------
        dict
            Name to array.
        """
        return {"hessian": self.hessian}


def _evened(vectors: Array) -> Array:
    """Shorten vectors to the typical length, so that a potential far off does not decide directions alone."""
    sizes = np.linalg.norm(vectors, axis=1)
    typical = float(np.median(sizes)) if len(sizes) else 0.0
    return vectors * (typical / np.maximum(sizes, typical))[:, None] if typical > 0.0 else vectors


def expand(
    engine: Engine,
    state: Structure,
    cell: CellFreedom | None,
    directions: Directions,
    others: Sequence[Engine] = (),
) -> Metric | None:
    """Compute the Hessian at a stationary point by differences of forces.

    Parameters
    ----------
    engine : Engine
        The MLE.
    state : Structure
        The point.
    cell : {'isotropic', 'axes', 'full'} or None
        Freedom of the cell.
    directions : {'all', 'normal'}
        Which way atoms may move.
    others : sequence of Engine
        Potentials near the MLE, for states of too many coordinates for a dense matrix.

    Returns
    -------
    Metric or None
        None when it has too many coordinates for a dense matrix and no others are given.

    Raises
    ------
    SimulationError
        When the engine fails.
    """
    degrees = Degrees(state, cell, directions)
    if degrees.n_free > LARGEST_DENSE:
        if not others:
            return None
        return expand_in_krylov_space(engine, degrees, others)
    n = degrees.n_strains
    hessian = np.zeros((degrees.n_free, degrees.n_free))
    if len(state) > 1:
        ions = _by_symmetry(engine, state) if directions == "all" else _one_by_one(engine, degrees)
        hessian[n:, n:] = ions
    for k in range(n):
        q = np.zeros(degrees.n_free)
        q[k] = STRAIN
        slopes = [degrees.slope(engine.evaluate(degrees.structure(x)), x) for x in (q, -q)]
        hessian[k] = hessian[:, k] = (slopes[0] - slopes[1]) / (2.0 * STRAIN)
    hessian[:n, :n] = 0.5 * (hessian[:n, :n] + hessian[:n, :n].T)
    hessian = degrees.without_drift(degrees.without_drift(hessian).T)
    return Expansion(degrees, 0.5 * (hessian + hessian.T))


def _by_symmetry(engine: Engine, state: Structure) -> Array:
    """Hessian of all atoms from displacements of those that symmetry does not relate."""
    # phonopy takes half a second to import.
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    unit = PhonopyAtoms(symbols=list(state.species), cell=state.cell, positions=state.positions)
    phonons = Phonopy(
        unit,
        supercell_matrix=np.eye(3, dtype=int),
        primitive_matrix=np.eye(3),
        symprec=SYMMETRY_TOLERANCE,
    )
    phonons.generate_displacements(distance=DISPLACEMENT, is_plusminus=False)
    rest = engine.evaluate(state).forces
    phonons.forces = [
        engine.evaluate(Structure(s.cell, s.positions, state.species)).forces - rest
        for s in phonons.supercells_with_displacements
    ]
    phonons.produce_force_constants(show_drift=False)
    n = 3 * len(state)
    found: Array = phonons.force_constants.transpose(0, 2, 1, 3).reshape(n, n)
    return found


def _one_by_one(engine: Engine, degrees: Degrees) -> Array:
    rest = degrees.slope(engine.evaluate(degrees.state), np.zeros(degrees.n_free))
    columns = []
    for q in DISPLACEMENT * np.eye(degrees.n_free):
        slope = degrees.slope(engine.evaluate(degrees.structure(q)), q)
        columns.append((slope - rest) / DISPLACEMENT)
    return np.array(columns)
