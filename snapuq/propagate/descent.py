"""Descent from a member's own start, with the curvatures of the MLE as preconditioner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snapuq.core.engine import Engine
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.metric import Metric
from snapuq.propagate.newton import Stationary, limited

Array = NDArray[np.float64]

#: Force evaluations at most. Interstitials in 129 atoms take 15 to 45, where LAMMPS's cg takes 100 to 250.
MOST_EVALUATIONS = 120
#: Steps that the curvature is learnt from.
_MEMORY = 20
#: A step that raises the energy by more than this, eV, is shortened, to `_SHORTER` and so often.
_RISE, _SHORTER, _MOST_SHORTENED = 1.0e-7, 0.4, 5
#: Cosine between a step and the change of the slope below which they tell no curvature.
_NOT_UPWARDS = 1.0e-10


def descend(
    engine: Engine, degrees: Degrees, metric: Metric, *, fmax: float, smax: float
) -> Stationary | None:
    """Go downhill to a minimum by preconditioned L-BFGS.

    Every curvature that enters is positive, so a saddle is left as by other minimisers, and the minimum is
    that of the valley that the start lies in.

    Parameters
    ----------
    engine : Engine
        The member.
    degrees : Degrees
        Coordinates around the start.
    metric : Metric
        Of the MLE near by, in the same coordinates.
    fmax, smax : float
        Tolerances, eV/A and eV/A^3.

    Returns
    -------
    Stationary or None
        None when `MOST_EVALUATIONS` are not enough.

    References
    ----------
    Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4, doi:10.1007/978-0-387-40065-5; Packwood
    et al., J. Chem. Phys. 144, 164109 (2016), doi:10.1063/1.4947024, for preconditioners.
    """
    memory: list[tuple[Array, Array]] = []
    q = np.zeros(degrees.n_free)
    found = engine.evaluate(degrees.state)
    slope, count = degrees.slope(found, q), 1
    while not degrees.is_converged(found, fmax, smax):
        step = limited(degrees, -_solve(metric, memory, slope))
        for attempt in range(_MOST_SHORTENED + 1):
            if count == MOST_EVALUATIONS:
                return None
            there = q + _SHORTER**attempt * step
            new, count = engine.evaluate(degrees.structure(there)), count + 1
            # The shortest step is taken as it is: close to the end rounding decides.
            if new.energy <= found.energy + _RISE:
                break
        now = degrees.slope(new, there)
        moved, change = there - q, now - slope
        if moved @ change > _NOT_UPWARDS * np.linalg.norm(moved) * np.linalg.norm(change):
            memory = [*memory[1 - _MEMORY :], (moved, change)]
        q, slope, found = there, now, new
    return Stationary(degrees.structure(q), degrees.masked(found), count)


def _solve(metric: Metric, memory: list[tuple[Array, Array]], slope: Array) -> Array:
    """Apply the inverse Hessian: the preconditioner, corrected by what the last steps told."""
    rest, shares = slope, []
    for moved, change in reversed(memory):
        share = float(moved @ rest) / float(moved @ change)
        shares.append(share)
        rest = rest - share * change
    found = metric.precondition(rest)
    for (moved, change), share in zip(memory, reversed(shares), strict=True):
        found = found + moved * (share - float(change @ found) / float(moved @ change))
    return found
