"""Descent from a member's own start, guided by the curvatures of the MLE at states near by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.metric import Metric
from snapuq.propagate.newton import LARGEST_MOVE, Stationary

Array = NDArray[np.float64]
Pair = tuple[Array, Array]

#: Force evaluations at most. Interstitials in 129 atoms take 10 to 45, where LAMMPS's cg takes 100 to 250.
MOST_EVALUATIONS = 120
#: Steps that the curvature is learnt from.
MEMORY = 20
#: Longest step in balanced coordinates, square root of eV, at first and at most.
FIRST_RADIUS, LARGEST_RADIUS = 2.0, 4.0
#: Ratios of the change of the energy to the expected one below and above which steps get shorter and longer.
_POOR, _GOOD = 0.25, 0.75
_SHORTER, _LONGER = 0.4, 2.0
#: Changes of the energy, eV, that rounding hides, and expected ones that are too small to compare with.
_ROUNDING, _NEGLIGIBLE = 1.0e-7, 1.0e-6
#: Least curvature along a mode that is followed downwards, when the step would be unbounded.
_FLAT = 1.0e-5


@dataclass(frozen=True, eq=False)
class Valley:
    """What is known of a member near one state of the MLE.

    Parameters
    ----------
    metric : Metric
        Of the MLE.
    soft : ndarray, shape (k, k)
        The member's Hessian in the soft modes.
    """

    metric: Metric
    soft: Array

    def distance(self, structure: Structure) -> float:
        """Distance from the state.

        Parameters
        ----------
        structure : Structure
            The same atoms.

        Returns
        -------
        float
            Root of the sum of squares over atoms, A, a common displacement left out.
        """
        difference = structure.fractional - self.metric.degrees.state.fractional
        shift = (difference - np.rint(difference)) @ structure.cell
        return float(np.linalg.norm(shift - shift.mean(axis=0)))


def descend(
    engine: Engine, degrees: Degrees, valleys: Sequence[Valley], *, fmax: float, smax: float
) -> Stationary | None:
    """Go downhill to a minimum.

    A quasi-Newton method with a trust region, in coordinates in which the curvatures of the MLE at its state
    nearest to the point are 1. Negative curvatures are followed downwards, so a saddle is left as by other
    minimisers.

    Parameters
    ----------
    engine : Engine
        The member.
    degrees : Degrees
        Coordinates around the start.
    valleys : sequence of Valley
        States of the MLE near by, one at least, in the same coordinates.
    fmax, smax : float
        Tolerances, eV/A and eV/A^3.

    Returns
    -------
    Stationary or None
        None when `MOST_EVALUATIONS` are not enough.

    References
    ----------
    Nocedal and Wright, Numerical Optimization (2006), chapter 4, doi:10.1007/978-0-387-40065-5.
    """
    pairs: list[Pair] = []
    radius = FIRST_RADIUS
    q = np.zeros(degrees.n_free)
    found = engine.evaluate(degrees.state)
    slope, count = degrees.slope(found, q), 1
    while not degrees.is_converged(found, fmax, smax):
        if count == MOST_EVALUATIONS:
            return None
        here = degrees.structure(q)
        model = _Model(min(valleys, key=lambda valley: valley.distance(here)), pairs)
        step, radius, length, expected = model.limited_step(degrees, slope, radius)
        new, count = engine.evaluate(degrees.structure(q + step)), count + 1
        now = degrees.slope(new, q + step)
        pairs = [*pairs[1 - MEMORY :], (step, now - slope)]
        change = new.energy - found.energy
        # What is too small to be compared is good unless it is a rise.
        ratio = change / expected if expected < -_NEGLIGIBLE or change > _ROUNDING else 1.0
        if ratio < _POOR:
            radius = _SHORTER * length
        elif ratio > _GOOD and length > 0.9 * radius:
            radius = min(_LONGER * radius, LARGEST_RADIUS)
        if change <= _ROUNDING:
            q, slope, found = q + step, now, new
    return Stationary(degrees.structure(q), degrees.masked(found), count)


class _Model:
    """The energy to second order: curvature 1 but within a small space, in balanced coordinates."""

    def __init__(self, valley: Valley, pairs: Sequence[Pair]) -> None:
        self._metric = metric = valley.metric
        modes = metric.balanced(metric.soft_modes())
        sizes = np.linalg.norm(modes, axis=1)
        modes = modes / sizes[:, None]
        known = np.array(pairs).reshape(-1, 2, modes.shape[1])
        moves, changes = metric.balanced(known[:, 0]), metric.balanced_slope(known[:, 1])
        self._basis = np.linalg.qr(np.concatenate([modes, moves, changes]).T)[0]
        soft = modes @ self._basis
        hessian = np.eye(self._basis.shape[1])
        hessian += soft.T @ (valley.soft / np.outer(sizes, sizes) - np.eye(len(modes))) @ soft
        for move, change in zip(moves @ self._basis, changes @ self._basis, strict=True):
            hessian = updated(hessian, move, change)
        self._curvatures, vectors = np.linalg.eigh(hessian)
        self._basis = self._basis @ vectors

    def limited_step(
        self, degrees: Degrees, slope: Array, radius: float
    ) -> tuple[Array, float, float, float]:
        """Step of the lowest energy within a radius and `LARGEST_MOVE`.

        Parameters
        ----------
        degrees : Degrees
            Coordinates.
        slope : ndarray, shape (D,)
            By them.
        radius : float
            Largest length in balanced coordinates.

        Returns
        -------
        step : ndarray, shape (D,)
            Change of the coordinates.
        radius, length, expected : float
            Radius that held it, its length, and the change of the energy, eV.
        """
        balanced = self._metric.balanced_slope(slope)
        while True:
            x, expected = self._step(balanced, radius)
            step = self._metric.from_balanced(x)
            length, too_far = float(np.linalg.norm(x)), degrees.reach(step) / LARGEST_MOVE
            if too_far <= 1.001:
                return step, radius, length, expected
            radius = length / too_far

    def _step(self, slope: Array, radius: float) -> tuple[Array, float]:
        """Solve the problem of the trust region (Nocedal and Wright, section 4.3)."""
        within = slope @ self._basis
        beyond = slope - self._basis @ within
        size = float(np.linalg.norm(beyond))

        def length(shift: float) -> float:
            return float(np.hypot(np.linalg.norm(within / (self._curvatures + shift)), size / (1.0 + shift)))

        lowest = float(self._curvatures.min(initial=1.0))
        shift = 0.0 if lowest > _FLAT else _FLAT + 1.001 * abs(lowest)
        if length(shift) > radius:
            # A finished run that is started again shall not wait for this import.
            from scipy.optimize import brentq

            far = shift + 1.0
            while length(far) > radius:
                far *= 2.0
            shift = float(brentq(lambda s: length(s) - radius, shift, far))
        moved, rest = -within / (self._curvatures + shift), 1.0 / (1.0 + shift)
        expected = within @ moved + 0.5 * self._curvatures @ moved**2 + (0.5 * rest - 1.0) * rest * size**2
        return self._basis @ moved - rest * beyond, float(expected)


def updated(hessian: Array, step: Array, change: Array) -> Array:
    """Correct a Hessian so that it tells how the slope changed along a step (TS-BFGS).

    Parameters
    ----------
    hessian : ndarray, shape (n, n)
        Before; of any signature.
    step, change : ndarray, shape (n,)
        Step, and change of the slope.

    Returns
    -------
    ndarray, shape (n, n)
        Symmetric; its product with the step is the change.

    References
    ----------
    Bofill, Int. J. Quantum Chem. 94, 324 (2003), doi:10.1002/qua.10709.
    """
    missing = change - hessian @ step
    values, vectors = np.linalg.eigh(hessian)
    positive = vectors @ (np.abs(values) * (vectors.T @ step))
    weights = float(change @ step), float(step @ positive)
    along = (weights[0] * change + weights[1] * positive) / (weights[0] ** 2 + weights[1] ** 2)
    mixed = np.outer(along, missing)
    found: Array = hessian + mixed + mixed.T - float(missing @ step) * np.outer(along, along)
    return found
