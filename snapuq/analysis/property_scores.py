"""How many reference values the envelopes of properties hold, and how wide they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snapuq.analysis.calibration import binomial_interval, finite, ratio
from snapuq.core.result import PropertySummary


@dataclass(frozen=True)
class PropertyScores:
    """How many reference values the envelopes hold, and how wide the envelopes are.

    Parameters
    ----------
    n_quantities, n_reference, n_inside : int
        All quantities, those with a reference value, and those of them whose envelope holds it.
    share_inside, inside_low, inside_high : float or None
        n_inside / n_reference and its exact 95 % binomial interval for independent quantities.
    outside : tuple of str
        ``label: quantity`` of those that the envelope misses.
    undecided : tuple of str
        Those with a reference but without an envelope, since no member gave a value; not inside.
    median_relative_std : float or None
        Median of std / \\|MLE\\| over the quantities with both.
    mean_error_over_std, median_error_over_std : float or None
        Mean and median of \\|reference - MLE\\| / std over the quantities with all three.
    """

    n_quantities: int
    n_reference: int
    n_inside: int
    share_inside: float | None
    inside_low: float | None
    inside_high: float | None
    outside: tuple[str, ...]
    undecided: tuple[str, ...]
    median_relative_std: float | None
    mean_error_over_std: float | None
    median_error_over_std: float | None


def property_scores(summaries: Sequence[PropertySummary]) -> PropertyScores:
    """Score the envelopes of properties against reference values.

    Parameters
    ----------
    summaries : sequence of PropertySummary
        One per quantity.

    Returns
    -------
    PropertyScores
        Counts, shares and names.
    """
    known = [s for s in summaries if finite(s.reference) is not None]
    decided = [s for s in known if finite(s.minimum) is not None and finite(s.maximum) is not None]
    n_inside = sum(bool(s.inside) for s in decided)
    low, high = binomial_interval(n_inside, len(known))
    relative = [r for r in (ratio(finite(s.std), _size(s.mle)) for s in summaries) if r is not None]
    errors = [r for r in map(error_over_std, known) if r is not None]
    return PropertyScores(
        n_quantities=len(summaries),
        n_reference=len(known),
        n_inside=n_inside,
        share_inside=ratio(n_inside, len(known)),
        inside_low=low,
        inside_high=high,
        outside=tuple(f"{s.label}: {s.quantity}" for s in decided if not s.inside),
        undecided=tuple(f"{s.label}: {s.quantity}" for s in known if s not in decided),
        median_relative_std=float(np.median(relative)) if relative else None,
        mean_error_over_std=float(np.mean(errors)) if errors else None,
        median_error_over_std=float(np.median(errors)) if errors else None,
    )


def error_over_std(summary: PropertySummary) -> float | None:
    """Distance of the reference from the MLE in units of the ensemble's std.

    Parameters
    ----------
    summary : PropertySummary
        One quantity.

    Returns
    -------
    float or None
        The ratio; None when a number is missing or the std is zero.
    """
    reference, mle = finite(summary.reference), finite(summary.mle)
    if reference is None or mle is None:
        return None
    return ratio(abs(reference - mle), finite(summary.std))


def _size(value: float | None) -> float | None:
    known = finite(value)
    return None if known is None else abs(known)
