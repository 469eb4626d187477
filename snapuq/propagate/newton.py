"""Quasi-Newton steps to a stationary point, with the Hessian of the MLE as the first metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine, Evaluation
from snapuq.propagate.curvature import Curvature
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.metric import Metric

Array = NDArray[np.float64]

#: Force evaluations at most: where a few steps do not suffice, the member is in another basin.
LARGEST_STEPS = 12
#: Longest step of an atom, A, and of a strain.
LARGEST_MOVE, LARGEST_STRAIN = 0.25, 0.03
#: Distance from the MLE's state beyond which the member's is another one, A: half-way to the next site; and
#: strain.
REACH, STRETCH = 1.0, 0.15
#: Steps of an atom below this are too short to tell a curvature, A.
SHORT = 1.0e-3


@dataclass(frozen=True, eq=False)
class Stationary:
    """A stationary point.

    Parameters
    ----------
    structure : Structure
        The point.
    evaluation : Evaluation
        There.
    evaluations : int
        Force evaluations used.
    """

    structure: Structure
    evaluation: Evaluation
    evaluations: int


def find_stationary(
    engine: Engine,
    degrees: Degrees,
    curvature: Metric | Curvature,
    start: Array,
    *,
    fmax: float,
    smax: float,
    is_minimum: bool = True,
) -> Stationary | None:
    """Go from a start to the stationary point close by.

    The inverse Hessian that is known is improved by symmetric rank-one updates (SR1), which keep the signs of
    its curvatures only where the forces do.

    Parameters
    ----------
    engine : Engine
        The member.
    degrees : Degrees
        Coordinates around the MLE's state in the member's cell.
    curvature : Metric or Curvature
        Of the member, as far as it is known.
    start : ndarray, shape (D,)
        Coordinates.
    fmax, smax : float
        Tolerances, eV/A and eV/A^3.
    is_minimum : bool
        Whether a step along which the energy curves downwards is a reason to stop.

    Returns
    -------
    Stationary or None
        None when in doubt: too many or too large steps, or a curvature of the wrong sign.

    References
    ----------
    Nocedal and Wright, Numerical Optimization (2006), section 6.2, doi:10.1007/978-0-387-40065-5.
    """
    updates: list[tuple[Array, float]] = []

    def solve(slope: Array) -> Array:
        found = curvature.solve(slope)
        for vector, size in updates:
            found = found + vector * (float(vector @ slope) / size)
        return found

    q, slope, step = start, None, None
    for count in range(1, LARGEST_STEPS + 1):
        if not is_close(degrees, q):
            return None
        structure = degrees.structure(q)
        found = engine.evaluate(structure)
        now = degrees.slope(found, q)
        if degrees.is_converged(found, fmax, smax):
            if is_minimum and curvature.probe is not None:
                count += 1
                beside = q + curvature.probe
                change = degrees.slope(engine.evaluate(degrees.structure(beside)), beside) - now
                if float(change @ curvature.probe) <= 0.0:
                    return None
            return Stationary(structure, degrees.masked(found), count)
        if slope is not None and step is not None:
            change = now - slope
            if is_minimum and degrees.reach(step) > SHORT and float(step @ change) <= 0.0:
                return None
            rest = step - solve(change)
            if abs(rest @ change) > 1.0e-8 * np.linalg.norm(rest) * np.linalg.norm(change):
                updates.append((rest, float(rest @ change)))
        slope, step = now, limited(degrees, -solve(now))
        q = q + step
    return None


def is_close(degrees: Degrees, q: Array) -> bool:
    """Tell whether a state may still be the one that the MLE has.

    Parameters
    ----------
    degrees : Degrees
        Coordinates around the MLE's state.
    q : ndarray, shape (D,)
        Coordinates.

    Returns
    -------
    bool
        Whether no atom moved by more than `REACH`, and no strain is larger than `STRETCH`.
    """
    stretch = float(np.abs(q[: degrees.n_strains]).max(initial=0.0))
    return degrees.reach(q) <= REACH and stretch <= STRETCH


def limited(degrees: Degrees, step: Array) -> Array:
    """Shorten a step that is too long.

    Parameters
    ----------
    degrees : Degrees
        Coordinates around the MLE's state.
    step : ndarray, shape (D,)
        Change of the coordinates.

    Returns
    -------
    ndarray, shape (D,)
        No atom moves by more than `LARGEST_MOVE`, and no strain is larger than `LARGEST_STRAIN`.
    """
    largest = max(
        degrees.reach(step) / LARGEST_MOVE,
        float(np.abs(step[: degrees.n_strains]).max(initial=0.0)) / LARGEST_STRAIN,
    )
    return step / max(1.0, largest)
