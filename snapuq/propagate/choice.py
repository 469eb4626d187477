"""Which state of the MLE a member's relaxation ends at."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    the displacements as well: of 300 relaxations of interstitials brute force ended 20 in another one.

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


@dataclass(frozen=True)
class SaddleGuess:
    """A state of the MLE near which a member may have its saddle.

    Parameters
    ----------
    expansion : int
        Which expansion of the record.
    first_negative : int
        Negative modes where the member's first band comes to rest, if its saddle is there.
    is_sure : bool
        Whether the member has one negative mode at the state.
    """

    expansion: int
    first_negative: int
    is_sure: bool


def saddle_guesses(context: Context, member: int) -> list[SaddleGuess]:
    """Find where a member may have the saddle that a path of the MLE leads to.

    The first band comes to rest half-way by symmetry, on a saddle or on a shallow minimum with a saddle on
    each side. Close to where one turns into the other, curvatures at the state of the MLE do not tell.

    Parameters
    ----------
    context : Context
        The record of the MLE, with predictions for all members.
    member : int
        Which potential.

    Returns
    -------
    list of SaddleGuess
        The most likely first; none where the record does not tell.

    Raises
    ------
    SimulationError
        When rows cannot be computed.
    """
    saddles = context.record.saddles
    if len(saddles) != 1 or min(saddles[0][:2]) < 0:
        return []
    number, rest, first_negative = saddles[0]
    soft = context.soft_hessian(rest, member)
    lowest = np.linalg.eigvalsh(soft)[:2] if len(soft) > 1 else np.full(2, np.inf)
    if lowest[0] < -SURE and lowest[1] > 0.0:
        # The band of this member comes to rest on its saddle, whatever the MLE's did.
        return [SaddleGuess(rest, 1, True)]
    is_flat = abs(lowest[0]) <= SURE and lowest[1] > 0.0
    guesses = [SaddleGuess(rest, 1, False)] if is_flat else []
    is_like_mle = count_negative(soft) == context.record.expansions[rest].n_negative
    if (is_flat or is_like_mle) and count_negative(context.soft_hessian(number, member)) == 1:
        guesses.append(SaddleGuess(number, first_negative, True))
    return guesses


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
