"""Which state of the MLE a member's relaxation ends at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snapuq.propagate.context import Context, distance
from snapuq.propagate.record import Relaxed

Array = NDArray[np.float64]

#: Lowest curvature at a site, in units of the typical one, above which it holds a member, and below minus
#: which it does not: between, the glide of an interstitial along its row has moved the point too far to tell.
SURE = 1.0e-2


def choose(context: Context, known: Relaxed, member: int) -> Relaxed | None:
    """Find where a member ends that starts as the MLE did.

    A defect is relaxed on its site first, then displaced a little and relaxed again. Curvatures at the site
    tell whether it holds a member. One that it holds stays there. One that it does not hold goes where the
    MLE went, if that is a minimum of the member too. Which of several valleys such a fall ends in depends on
    the displacements as well: of 300 relaxations of interstitials brute force ended 23 in another one.

    Parameters
    ----------
    context : Context
        The record of the MLE, with predictions for all members.
    known : Relaxed
        The same relaxation of the MLE.
    member : int
        Which potential.

    Returns
    -------
    Relaxed or None
        The MLE's relaxation to the state near the member's; None when the MLE tells nothing.

    Raises
    ------
    SimulationError
        When rows cannot be computed.
    """
    n_negative = context.record.expansions[known.expansion].n_negative
    ends_alike = count_negative(context.soft_hessian(known.expansion, member)) == n_negative
    site = _site(context, known)
    n_left = 0 if site is None else context.record.expansions[site.expansion].n_negative
    if site is None or n_left == 0:
        left = context.record.reconfigured and known.cell is None
        return known if ends_alike and not left else None
    curvatures = np.linalg.eigvalsh(context.soft_hessian(site.expansion, member))
    if abs(curvatures[0]) < SURE:
        return None
    if curvatures[0] > 0.0:
        return replace(known, state=site.state, expansion=site.expansion)
    return known if ends_alike else None


def count_negative(soft: Array) -> int:
    """Count the negative modes of a potential.

    Parameters
    ----------
    soft : ndarray, shape (k, k)
        Its Hessian in the soft modes.

    Returns
    -------
    int
        Number of negative eigenvalues.
    """
    return int((np.linalg.eigvalsh(soft) < 0.0).sum()) if soft.size else 0


def _site(context: Context, known: Relaxed) -> Relaxed | None:
    """The state that the MLE was displaced from, where it did not return to it."""
    if known.cell is not None:
        return None
    for other in context.record.relaxed:
        if (other.cell, other.directions) != (None, known.directions):
            continue
        if other.expansion in (-1, known.expansion):
            continue
        uses_rows = context.record.expansions[other.expansion].uses_rows
        if uses_rows and distance(known.start, other.state) is not None:
            return other
    return None
