"""Climbing-image nudged elastic band in this process, on any engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Band, Engine

Array = NDArray[np.float64]

#: Spring between neighbouring images, eV/A^2; it acts along the band alone and moves no saddle.
SPRING = 1.0
#: Tolerance, in that of the band, at which the image that climbs is chosen.
BEFORE_CLIMBING = 3.0
#: Time step, its limit, and the longest step of an atom of FIRE, in units of eV, A and a mass of 1.
_STEP, _LONGEST_STEP, _FARTHEST = 0.1, 1.0, 0.2


class _Chain:
    """Forces of a band as a function of the coordinates of the images between its ends."""

    def __init__(self, engine: Engine, images: Sequence[Structure]) -> None:
        self._engine = engine
        self._ends = (images[0], images[-1])
        self._shape = (len(images) - 2, len(images[0]), 3)
        self._end_energies = [engine.evaluate(end).energy for end in self._ends]
        self.evaluations = 2
        #: Image that climbs, among those between the ends; None before it is chosen.
        self.climber: int | None = None
        #: Where the band is.
        self.at: Array = np.array([image.positions for image in images[1:-1]]).ravel()
        self.energies: Array = np.empty(0)
        self._known: tuple[Array, Array] | None = None

    def forces(self, coordinates: Array) -> Array:
        """Forces of the band with improved tangents, flat."""
        forces = self._evaluate(coordinates).copy()
        middle = coordinates.reshape(self._shape)
        energies = np.array([self._end_energies[0], *self.energies, self._end_energies[1]])
        chain = np.concatenate([[self._ends[0].positions], middle, [self._ends[1].positions]])
        ways = np.diff(chain, axis=0)
        for k in range(len(forces)):
            tangent = _tangent(energies[k : k + 3], ways[k], ways[k + 1])
            along = float(np.vdot(forces[k], tangent))
            if k == self.climber:
                forces[k] -= 2.0 * along * tangent
            else:
                spring = SPRING * float(np.linalg.norm(ways[k + 1]) - np.linalg.norm(ways[k]))
                forces[k] += (spring - along) * tangent
        return forces.ravel()

    def _evaluate(self, coordinates: Array) -> Array:
        """Forces of the engine on all images; those of the last coordinates are remembered."""
        if self._known is None or not np.array_equal(self._known[0], coordinates):
            found = [self._engine.evaluate(image) for image in self.images(coordinates)[1:-1]]
            self.evaluations += len(found)
            self.energies = np.array([one.energy for one in found])
            self._known = (coordinates.copy(), np.array([one.forces for one in found]))
        return self._known[1]

    def images(self, coordinates: Array) -> tuple[Structure, ...]:
        """All images."""
        first, last = self._ends
        middle = coordinates.reshape(self._shape)
        return (first, *(Structure(first.cell, x, first.species) for x in middle), last)

    def move_to(self, coordinates: Array) -> None:
        """Take a step."""
        self.at = coordinates.copy()


def relax_band(engine: Engine, images: Sequence[Structure], *, fmax: float, max_steps: int = 500) -> Band:
    """Relax a band with a climbing image; the images at its ends stay.

    The image of highest energy is chosen once, when the band is nearly relaxed: in a symmetric band two
    images would take turns else. (ASE's band lets them, and leaves the climbing image out of its
    residual.) The adaptive integrator of Makri et al. takes 70 to 200 force evaluations for a vacancy hop
    with 7 images, a third to a half of those of FIRE, which goes on from where it gives up.

    Parameters
    ----------
    engine : Engine
        The potential.
    images : sequence of Structure
        Start; the same atoms in the same cell, without jumps across the cell.
    fmax : float
        Tolerance on the largest force of the band on an atom, eV/A.
    max_steps : int
        Limit on steps before climbing and while climbing, of either optimiser.

    Returns
    -------
    Band
        Converged or not; its residual tells.

    Raises
    ------
    SimulationError
        When the engine fails.

    References
    ----------
    Henkelman, Uberuaga and Jonsson, J. Chem. Phys. 113, 9901 (2000), doi:10.1063/1.1329672; Henkelman and
    Jonsson, J. Chem. Phys. 113, 9978 (2000), doi:10.1063/1.1323224; Makri, Ortner and Kermode, J. Chem.
    Phys. 150, 094109 (2019), doi:10.1063/1.5064465; Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006),
    doi:10.1103/PhysRevLett.97.170201.
    """
    chain = _Chain(engine, images)
    _relax(chain, BEFORE_CLIMBING * fmax, max_steps)
    chain.climber = int(np.argmax(chain.energies))
    residual = _relax(chain, fmax, max_steps)
    return Band(chain.images(chain.at), residual, chain.evaluations)


def straight_band(first: Structure, last: Structure, images: int) -> tuple[Structure, ...]:
    """Images on the straight line between two states, the last of which is moved to the centre of the first.

    Parameters
    ----------
    first, last : Structure
        The same atoms in the same cell, without jumps across the cell.
    images : int
        Number of images, both ends included.

    Returns
    -------
    tuple of Structure
        From the first to the last.
    """
    way = last.positions - first.positions
    # A tangent with a net translation, which costs no energy, would carry the images away.
    way -= way.mean(axis=0)
    return tuple(
        Structure(first.cell, first.positions + s * way, first.species) for s in np.linspace(0.0, 1.0, images)
    )


def _tangent(energies: Array, before: Array, after: Array) -> Array:
    """Improved tangent of Henkelman and Jonsson at the middle one of three images."""
    low, here, high = energies
    if high > here > low:
        tangent = after
    elif high < here < low:
        tangent = before
    else:
        large, small = sorted((abs(high - here), abs(low - here)), reverse=True)
        weights = (large, small) if high > low else (small, large)
        tangent = weights[0] * after + weights[1] * before
        if not tangent.any():
            tangent = after + before
    return np.asarray(tangent / np.linalg.norm(tangent))


def _residual(forces: Array, _: Array | None = None) -> float:
    return float(np.linalg.norm(forces.reshape(-1, 3), axis=1).max())


def _relax(chain: _Chain, fmax: float, max_steps: int) -> float:
    """Relax by either optimiser and give the largest force where the band ends."""
    # Only workers that relax a band need ASE's optimisers, which take long to import.
    from ase.optimize.ode import OptimizerConvergenceError, ode12r

    with suppress(OptimizerConvergenceError), np.errstate(divide="ignore", invalid="ignore"):
        ode12r(
            chain.forces,
            chain.at,
            verbose=0,
            fmax=fmax,
            steps=max_steps,
            callback=chain.move_to,
            residual=_residual,
        )
    return _fire(chain, fmax, max_steps)


def _fire(chain: _Chain, fmax: float, max_steps: int) -> float:
    """Damped dynamics; only looks at the forces where the band has converged already."""
    velocities, step, mixing, downhill = np.zeros_like(chain.at), _STEP, 0.1, 0
    forces = chain.forces(chain.at)
    for _ in range(max_steps):
        if _residual(forces) <= fmax:
            break
        if float(forces @ velocities) > 0.0:
            along = np.linalg.norm(velocities) / np.linalg.norm(forces)
            velocities = (1.0 - mixing) * velocities + mixing * along * forces
            downhill += 1
            if downhill > 5:
                step, mixing = min(1.1 * step, _LONGEST_STEP), 0.99 * mixing
        else:
            velocities, step, mixing, downhill = np.zeros_like(velocities), 0.5 * step, 0.1, 0
        velocities = velocities + step * forces
        move = step * velocities
        farthest = _residual(move)
        chain.move_to(chain.at + move * min(1.0, _FARTHEST / farthest))
        forces = chain.forces(chain.at)
    return _residual(forces)
