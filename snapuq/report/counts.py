"""Quantities that count something."""

from __future__ import annotations

from collections.abc import Iterable

from snapuq.analysis.calibration import finite
from snapuq.core.result import PropertySummary
from snapuq.report.text import fixed


def is_count(summary: PropertySummary) -> bool:
    """Tell a number of modes, atoms or the like.

    Parameters
    ----------
    summary : PropertySummary
        One quantity.

    Returns
    -------
    bool
        True if it has no unit and nothing but whole values.
    """
    known = [finite(v) for v in (summary.mle, summary.minimum, summary.maximum, summary.reference)]
    return not summary.unit and all(v is None or float(v).is_integer() for v in known)


def is_alike(summary: PropertySummary) -> bool:
    """Tell a count that says nothing, because it is the same everywhere.

    Parameters
    ----------
    summary : PropertySummary
        One quantity.

    Returns
    -------
    bool
        True if the MLE, every member and the reference, if there is one, give the same whole number.
    """
    values = {summary.mle, summary.minimum, summary.maximum}
    values |= set() if summary.reference is None else {summary.reference}
    return is_count(summary) and not summary.n_unsound and len(values) == 1 and None not in values


def alike_line(summaries: Iterable[PropertySummary]) -> str:
    """Name the counts that are the same everywhere.

    Parameters
    ----------
    summaries : iterable of PropertySummary
        Those of `is_alike`.

    Returns
    -------
    str
        For example ``barrier-bcc: negative_modes 1; phonon-bcc: n_imaginary 0``.
    """
    by_label: dict[str, list[str]] = {}
    for s in summaries:
        by_label.setdefault(s.label, []).append(f"{s.quantity} {fixed(s.mle, 0)}")
    return "; ".join(f"{label}: {', '.join(parts)}" for label, parts in by_label.items())
