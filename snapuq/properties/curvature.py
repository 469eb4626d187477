"""Lowest curvatures of the energy at a stationary point without its Hessian, and the way to that point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine, Evaluation

Array = NDArray[np.float64]

#: Length of the displacement of all atoms together, A: anharmonic forces are then below 1e-3 of harmonic
#: ones, and rounding of forces below 1e-8 of them.
STEP = 2.0e-4
#: Curvatures below this share of the largest one count as zero; forces of 1e-2 eV/A on a band's image, and
#: the finite displacement, change them by about as much.
ZERO = 1.0e-3
#: Products of the Hessian with a vector, at least and at most. A direction that the start holds by chance
#: alone, a share of 0.03 in 100 atoms, shows after 15 where the band of curvatures is 40 times as wide as
#: the gap.
SMALLEST_SPACE = 15
LARGEST_SPACE = 60
#: Force evaluations of `settle` at most; it takes 1 to 7.
LARGEST_SETTLING = 20
#: Distance, A, all atoms together, beyond which `settle` has gone elsewhere.
REACH = 0.5
#: Error of the lowest curvature that is not negative, relative to itself, at which the search ends.
PRECISION = 0.1


@dataclass(frozen=True, eq=False)
class Curvatures:
    """What is known of the lowest curvatures.

    Parameters
    ----------
    values : ndarray, shape (k,)
        Estimates, eV/A^2, lowest first; each is an upper bound of the curvature of the same number.
    modes : ndarray, shape (k, N, 3)
        Their directions, each of length 1.
    zero : float
        Curvatures above ``-zero`` are not negative, eV/A^2.
    evaluations : int
        Force evaluations used.
    """

    values: Array
    modes: Array
    zero: float
    evaluations: int

    @property
    def negative(self) -> int:
        """Number of negative curvatures found; those that symmetry makes equal count once."""
        return int((self.values < -self.zero).sum())


def lowest_curvatures(
    engine: Engine, structure: Structure, guess: Array, rng: np.random.Generator
) -> Curvatures:
    """Find the negative curvatures by Lanczos iteration on differences of forces.

    One evaluation for each product of the Hessian with a vector, over all atoms, translations left out;
    all vectors are kept orthogonal. The start holds the guess and every direction that it lacks by
    symmetry. It ends when the lowest curvature that is not negative, and all below, are known well enough to
    tell their signs.

    Parameters
    ----------
    engine : Engine
        The potential.
    structure : Structure
        A stationary point.
    guess : ndarray, shape (N, 3)
        Direction that is expected to have the lowest curvature, of any length.
    rng : numpy.random.Generator
        For the other directions.

    Returns
    -------
    Curvatures
        Estimates, lowest first.

    Raises
    ------
    SimulationError
        When the engine fails.

    References
    ----------
    Malek and Mousseau, Phys. Rev. E 62, 7723 (2000), doi:10.1103/PhysRevE.62.7723.
    """
    forces = engine.evaluate(structure).forces
    # The forces that are left are in the space, too: `settle` follows them.
    parts = [_still(part) for part in (guess, forces, rng.standard_normal(guess.shape))]
    basis = [_unit(np.sum([_unit(part) for part in parts if part.any()], axis=0))]
    products: list[Array] = []
    size = min(LARGEST_SPACE, guess.size - 3)
    while True:
        moved = Structure(structure.cell, structure.positions + STEP * basis[-1], structure.species)
        products.append(_still(forces - engine.evaluate(moved).forces) / STEP)
        space, images = (np.array([v.ravel() for v in found]) for found in (basis, products))
        small = space @ images.T
        values, vectors = np.linalg.eigh(0.5 * (small + small.T))
        modes = vectors.T @ space
        # Length of H v - lambda v: a curvature lies within it of every estimate.
        errors = np.linalg.norm(vectors.T @ images - values[:, None] * modes, axis=1)
        zero = ZERO * abs(float(values[-1]))
        rest = products[-1].ravel()
        for _ in range(2):
            rest = rest - space.T @ (space @ rest)
        # No new direction: what symmetry lets the start reach is known completely.
        exhausted = len(basis) == size or float(np.linalg.norm(rest)) <= 1.0e-6 * zero
        if exhausted or (len(basis) >= SMALLEST_SPACE and _settled(values, errors, zero)):
            return Curvatures(values, modes.reshape(-1, *guess.shape), zero, 1 + len(products))
        basis.append(_unit(rest.reshape(guess.shape)))


def _settled(values: Array, errors: Array, zero: float) -> bool:
    """Whether the signs of all negative curvatures, and of the next one, are known."""
    count = int((values < -zero).sum())
    if count == len(values):
        return False
    next_known = errors[count] <= PRECISION * abs(values[count]) + zero
    return bool(next_known and (errors[:count] <= np.abs(values[:count])).all())


def settle(
    engine: Engine, structure: Structure, low: Curvatures, fmax: float
) -> tuple[Structure, Evaluation] | None:
    """Follow the forces that are left to the stationary point close by, saddle or not.

    Quasi-Newton steps with the curvatures that are known, and symmetric rank-one updates (SR1).

    Parameters
    ----------
    engine : Engine
        The potential.
    structure : Structure
        Start.
    low : Curvatures
        What `lowest_curvatures` gave there.
    fmax : float
        Tolerance on the largest force on an atom, eV/A.

    Returns
    -------
    tuple of Structure and Evaluation, or None
        The stationary point; None when it is not reached, or lies further away than `REACH`.

    Raises
    ------
    SimulationError
        When the engine fails.

    References
    ----------
    Nocedal and Wright, Numerical Optimization (2006), section 6.2, doi:10.1007/978-0-387-40065-5.
    """
    modes = low.modes.reshape(len(low.modes), -1)
    rest = np.eye(modes.shape[1]) - modes.T @ modes
    hessian = (modes.T * low.values) @ modes + float(np.abs(low.values).mean()) * rest
    start = positions = structure.positions.ravel()
    found = engine.evaluate(structure)
    for _ in range(LARGEST_SETTLING):
        if np.linalg.norm(found.forces, axis=1).max() <= fmax:
            return Structure(structure.cell, positions.reshape(-1, 3), structure.species), found
        step = np.linalg.solve(hessian, found.forces.ravel())
        if not np.linalg.norm(positions + step - start) < REACH:
            return None
        positions = positions + step
        new = engine.evaluate(Structure(structure.cell, positions.reshape(-1, 3), structure.species))
        error = found.forces.ravel() - new.forces.ravel() - hessian @ step
        if abs(error @ step) > 1.0e-8 * np.linalg.norm(error) * np.linalg.norm(step):
            hessian = hessian + np.outer(error, error) / (error @ step)
        found = new
    return None


def _still(vectors: Array) -> Array:
    return np.asarray(vectors - vectors.mean(axis=0))


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors))
