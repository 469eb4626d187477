"""The MLE's curvature in a cell too large for a matrix: what the Hessian does to a few dozen vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX, Engine
from snapuq.errors import SimulationError
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.metric import LEAST
from snapuq.seeds import generator

Array = NDArray[np.float64]

#: Members whose forces at the MLE's state span the space, with those that the MLE has at another volume and
#: random ones.
N_MEMBERS = 4
#: How often the Hessian is applied to them. In a vacancy of 1999 atoms 40 products leave 4.3 evaluations to a
#: member and 80 leave 4, as few as a matrix of all coordinates would; steps along forces alone take 12.
DEPTH = 12
#: Largest displacement of an atom, A, and strain, in a product, which is right to 0.1 %.
DISPLACEMENT, STRAIN = 5.0e-4, 2.0e-4
#: Change of lengths at which the MLE's forces show what another lattice constant does.
SCALE = 5.0e-3
#: What is left of a vector beyond those before, relative to it, below which it is error of the products.
NOTHING = 5.0e-3
#: Curvatures below minus this are negative, in units in which the typical one is 1.
NEGATIVE = 1.0e-3
#: Largest displacement of an atom, A, in the direction of the lowest curvature.
PROBE = 2.0e-2


class KrylovExpansion:
    """The Hessian of the MLE at a minimum, applied to some vectors.

    Within their space its inverse is exact, and beyond it a multiple of one (block BFGS).

    Parameters
    ----------
    degrees : Degrees
        Coordinates, zero at the point.
    basis : ndarray, shape (D, k)
        Orthonormal vectors, the strains first.
    products : ndarray, shape (D, k)
        The Hessian times them.

    References
    ----------
    Schnabel, Quasi-Newton methods using multiple secant equations, CU-CS-247-83 (1983).
    """

    #: No rows, whose number is that of the coordinates.
    uses_rows = False

    def __init__(self, degrees: Degrees, basis: Array, products: Array) -> None:
        self.degrees, self.basis, self.products = degrees, basis, products
        small = basis.T @ products
        self._small = 0.5 * (small + small.T)

    @cached_property
    def _spectrum(self) -> tuple[Array, Array]:
        """Curvatures of the displacements, at most k, and their directions among them."""
        n = self.degrees.n_strains
        values, vectors = np.linalg.eigh(self._small[n:, n:])
        return values, vectors

    @property
    def _typical(self) -> float:
        return float(np.abs(self._spectrum[0]).mean())

    @property
    def n_negative(self) -> int:
        """Number of negative modes within the space."""
        scale = 1.0 / np.sqrt(np.abs(np.diag(self._small)))
        return int((np.linalg.eigvalsh(scale[:, None] * self._small * scale) < -NEGATIVE).sum())

    @property
    def probe(self) -> Array:
        """Displacement of the lowest curvature within the space, shape (D,)."""
        lowest: Array = self.basis[:, self.degrees.n_strains :] @ self._spectrum[1][:, 0]
        return lowest * (PROBE / self.degrees.reach(lowest))

    def solve(self, slope: Array) -> Array:
        """Apply the inverse Hessian.

        Parameters
        ----------
        slope : ndarray, shape (D,)
            Derivative of the energy.

        Returns
        -------
        ndarray, shape (D,)
            Coordinates; without a drift of all atoms.
        """
        slope = self.degrees.without_drift(slope)
        within = np.linalg.solve(self._small, self.basis.T @ slope)
        beyond = (slope - self.products @ within) / self._typical
        mixed = np.linalg.solve(self._small, self.products.T @ beyond)
        return self.degrees.without_drift(beyond + self.basis @ (within - mixed))

    def balanced(self, q: Array) -> Array:
        """Turn coordinates of atoms into such as have curvatures of about 1.

        Parameters
        ----------
        q : ndarray, shape (..., D)
            Coordinates.

        Returns
        -------
        ndarray, shape (..., D)
            Square roots of eV.
        """
        return self._rooted(q, 0.5)

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
        return self._rooted(slope, -0.5)

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
        return self.degrees.without_drift(self._rooted(x, -0.5))

    def _rooted(self, vectors: Array, power: float) -> Array:
        """Apply a power of the Hessian, made positive: within the space, and the typical curvature beyond."""
        n = self.degrees.n_strains
        values, within = self._spectrum
        modes = self.basis[:, n:] @ within
        sizes = np.maximum(np.abs(values), LEAST * self._typical) ** power
        beyond = self._typical**power
        return beyond * vectors + ((vectors @ modes) * (sizes - beyond)) @ modes.T

    def soft_modes(self) -> Array:
        """None.

        Returns
        -------
        ndarray, shape (0, D)
            Empty.
        """
        return np.zeros((0, self.degrees.n_free))

    def to_arrays(self) -> dict[str, Array]:
        """Turn into arrays for a file.

        Returns
        -------
        dict
            Name to array.
        """
        return {"basis": self.basis, "products": self.products}


def expand_in_krylov_space(engine: Engine, degrees: Degrees, others: Sequence[Engine]) -> KrylovExpansion:
    """Apply the Hessian again and again to forces like those that members start with.

    Each product is a difference of forces. The forces of members at the MLE's state span the space in which
    they are displaced from it; a random vector of about their size on every atom adds modes of other
    symmetries.

    Parameters
    ----------
    engine : Engine
        The MLE.
    degrees : Degrees
        Coordinates, zero at a minimum of it.
    others : sequence of Engine
        Other potentials; those that fail at the point are left out.

    Returns
    -------
    KrylovExpansion
        Of memory proportional to the number of atoms.

    Raises
    ------
    SimulationError
        When the MLE fails.

    References
    ----------
    Saad, Iterative Methods for Sparse Linear Systems (2003), section 6.12, doi:10.1137/1.9780898718003.
    """
    rest = _slope(engine, degrees, np.zeros(degrees.n_free))

    def product(vector: Array) -> Array:
        strain = float(np.abs(vector[: degrees.n_strains]).max(initial=0.0))
        step = min(STRAIN / strain if strain else np.inf, DISPLACEMENT / max(degrees.reach(vector), 1e-12))
        return (_slope(engine, degrees, step * vector) - rest) / step

    basis: list[Array] = list(np.eye(degrees.n_strains, degrees.n_free))
    products = [product(v) for v in basis]
    block = products + _starts(engine, degrees, others, rest)
    for _ in range(DEPTH):
        # What products add to the space of those before is the next block.
        first = len(basis)
        for vector in block:
            new = vector
            # Once more, because the first time leaves errors of round-off.
            for _ in range(2):
                for known in basis:
                    new = new - known * (known @ new)
            size = float(np.linalg.norm(new))
            if size > NOTHING * float(np.linalg.norm(vector)):
                basis.append(new / size)
        products += [product(v) for v in basis[first:]]
        block = products[first:]
    return KrylovExpansion(degrees, np.array(basis).T, np.array(products).T)


def _starts(engine: Engine, degrees: Degrees, others: Sequence[Engine], rest: Array) -> list[Array]:
    """Slopes of other potentials, in a fixed cell that of another volume, and a random vector."""
    zero, state, found = np.zeros(degrees.n_free), degrees.state, []
    if degrees.cell is None:
        larger = Structure(state.cell * (1.0 + SCALE), state.positions * (1.0 + SCALE), state.species)
        found.append(_slope(engine, Degrees(larger, None, degrees.directions), zero) - rest)
    for other in others[:N_MEMBERS]:
        try:
            found.append(_slope(other, degrees, zero))
        except SimulationError:
            # One member fewer; its own task says why.
            continue
    # Where symmetry forbids forces on atoms, there is nothing but error.
    found = [slope for slope in found if np.abs(slope[degrees.n_strains :]).max() > FMAX]
    random = generator(0, "krylov").standard_normal(degrees.n_free)
    if found:
        sizes = np.abs(np.array(found)[:, degrees.n_strains :]).max(axis=0).reshape(len(state), -1)
        # All directions alike, because symmetry may leave an atom no force in some.
        random[degrees.n_strains :] *= np.repeat(sizes.max(axis=1), sizes.shape[1])
    random[: degrees.n_strains] = 0.0
    return [*found, degrees.without_drift(random)]


def _slope(engine: Engine, degrees: Degrees, q: Array) -> Array:
    return degrees.without_drift(degrees.slope(engine.evaluate(degrees.structure(q)), q))
