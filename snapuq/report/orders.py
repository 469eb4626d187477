"""Rank correlations as text."""

from __future__ import annotations

from collections.abc import Iterable

from snapuq.analysis.ranking import RankCorrelation
from snapuq.report.text import MISSING, fixed


def rank_rows(found: Iterable[RankCorrelation]) -> list[tuple[str, ...]]:
    """Write rank correlations as text.

    Parameters
    ----------
    found : iterable of RankCorrelation
        One for each family and quantity.

    Returns
    -------
    list of tuple of str
        Family with its composition, quantity, number of items, members; members against the MLE, the MLE
        against the reference and members against the reference, each median with its range.
    """

    def spread(three: tuple[float, float, float] | None) -> str:
        return (
            MISSING
            if three is None
            else f"{fixed(three[1], 2)} ({fixed(three[0], 2)} to {fixed(three[2], 2)})"
        )

    return [
        (
            f"{r.family}, {r.group}" if r.group else r.family,
            r.quantity,
            str(len(r.labels)),
            str(r.n_members),
            spread(r.members_mle),
            fixed(r.mle_reference, 2),
            spread(r.members_reference),
        )
        for r in found
    ]
