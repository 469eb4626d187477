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
from snapuq.propagate.metric import Metric

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
#: Size of their displacements, in the same units as the square root of an energy in eV.
SOFT_STEP = 2.0e-2
#: Least curvature of a preconditioner, in the same units: that of a mode which may have either sign is no
#: guide to the length of a step.
LEAST = 1.0e-1
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

    def solve(self, slope: Array, soft: Array | None = None) -> Array:
        """Apply the inverse Hessian, zero modes left out.

        Parameters
        ----------
        slope : ndarray, shape (D,)
            Derivative of the energy.
        soft : ndarray, shape (k, k), optional
            Hessian of another potential in the soft modes, as `project` gives it, to be used for them.

        Returns
        -------
        ndarray, shape (D,)
            Coordinates; without a drift of all atoms.
        """
        values, vectors = self._spectrum
        kept = np.abs(values) > ZERO
        along = vectors.T @ (self._scale * slope)
        found = np.where(kept, along / np.where(kept, values, 1.0), 0.0)
        if soft is not None:
            found[self._soft] = np.linalg.solve(soft, along[self._soft])
        return self.degrees.without_drift(self._scale * (vectors @ found))

    def precondition(self, slope: Array) -> Array:
        """Apply the inverse of the Hessian with all curvatures positive, and none below `LEAST`.

        Parameters
        ----------
        slope : ndarray, shape (D,)
            Derivative of the energy.

        Returns
        -------
        ndarray, shape (D,)
            Coordinates; without a drift of all atoms.
        """
        values, vectors = self._spectrum
        sizes = np.maximum(np.abs(values), LEAST)
        along = np.where(np.abs(values) > ZERO, vectors.T @ (self._scale * slope) / sizes, 0.0)
        return self.degrees.without_drift(self._scale * (vectors @ along))

    def soft_modes(self) -> Array:
        """The negative modes and the softest others.

        Returns
        -------
        ndarray, shape (k, D)
            Displacements that cost about `SOFT_STEP` squared, eV, at the typical curvature.
        """
        return SOFT_STEP * (self._scale[:, None] * self._spectrum[1][:, self._soft]).T

    def project(self, changes: Array) -> Array:
        """Hessian in the soft modes, from how a slope changes along them.

        Parameters
        ----------
        changes : ndarray, shape (..., k, D)
            Slope displaced by each of `soft_modes`, minus the slope without.

        Returns
        -------
        ndarray, shape (..., k, k)
            In units of the typical curvature, symmetric.
        """
        matrix = changes @ self.soft_modes().T / SOFT_STEP**2
        symmetric: Array = 0.5 * (matrix + matrix.swapaxes(-1, -2))
        return symmetric

    def to_arrays(self) -> dict[str, Array]:
        """Turn into arrays for a file.

        Returns
        -------
        dict
            Name to array.
        """
        return {"hessian": self.hessian}


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
