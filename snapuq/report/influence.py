"""What sets the error bars, and how far they reach without members, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snapuq.report.text import MISSING, decimals, display_unit, fixed, percent
from snapuq.results.influence import CONFIGURATION, GROUP, LinearisedQuantity, Share

#: Quantities that stand for all in the figure.
MOST_HEADLINES = 6
# Groups and configurations that are named in a cell of the table.
_MOST_NAMED = 3


@dataclass(frozen=True)
class InfluenceRow:
    """One quantity as text.

    Parameters
    ----------
    label, quantity, unit : str
        Which quantity.
    mle, std, quantiles, expected, exact : str
        Numbers, to two digits of the std; of ranges both ends.
    is_estimate : bool
        Whether the linearised and the exact ends differ.
    groups, configurations : str
        The first few with their shares.
    """

    label: str
    quantity: str
    unit: str
    mle: str
    std: str
    quantiles: str
    expected: str
    exact: str
    is_estimate: bool
    groups: str
    configurations: str


def influence_rows(rows: Sequence[LinearisedQuantity], shares: Sequence[Share]) -> tuple[InfluenceRow, ...]:
    """Write all quantities as text.

    Parameters
    ----------
    rows : sequence of LinearisedQuantity
        The quantities.
    shares : sequence of Share
        Of their variances, largest first.

    Returns
    -------
    tuple of InfluenceRow
        One for each quantity.
    """
    of: dict[tuple[str, str], list[Share]] = {}
    for share in shares:
        of.setdefault((share.label, share.quantity), []).append(share)
    return tuple(_row(r, of.get((r.label, r.quantity), [])) for r in rows)


def _row(r: LinearisedQuantity, shares: Sequence[Share]) -> InfluenceRow:
    places = decimals(r.std, r.mle)

    def ends(low: float | None, high: float | None) -> str:
        if low is None and high is None:
            return MISSING
        return f"{fixed(low, places)} to {fixed(high, places)}"

    def first(kind: str) -> str:
        named = [s for s in shares if s.kind == kind][:_MOST_NAMED]
        return ", ".join(f"{s.name} {percent(s.share)}" for s in named)

    return InfluenceRow(
        label=r.label,
        quantity=r.quantity,
        unit=display_unit(r.unit),
        mle=fixed(r.mle, places),
        std=fixed(r.std, places),
        quantiles=ends(r.q05, r.q95),
        expected=ends(r.expected_min, r.expected_max),
        exact=ends(r.exact_min, r.exact_max),
        is_estimate=r.is_estimate,
        groups=first(GROUP),
        configurations=first(CONFIGURATION),
    )


def main_quantities(rows: Sequence[LinearisedQuantity]) -> tuple[LinearisedQuantity, ...]:
    """Choose a few quantities: the first of each family of properties, then of each property.

    Parameters
    ----------
    rows : sequence of LinearisedQuantity
        All of them.

    Returns
    -------
    tuple of LinearisedQuantity
        At most `MOST_HEADLINES`, in their order.
    """
    families = {r.label.partition("-")[0]: r for r in reversed(rows)}
    labels = {r.label: r for r in reversed(rows)}
    chosen = [*reversed(families.values()), *reversed(labels.values()), *rows]
    kept = {id(r) for r in list(dict.fromkeys(chosen))[:MOST_HEADLINES]}
    return tuple(r for r in rows if id(r) in kept)


def headlines(rows: Sequence[LinearisedQuantity], shares: Sequence[Share]) -> list[str]:
    """Say what sets the error bars of a few quantities.

    Parameters
    ----------
    rows : sequence of LinearisedQuantity
        The quantities.
    shares : sequence of Share
        Of their variances.

    Returns
    -------
    list of str
        One line for each of `main_quantities`, and one that counts the others; ``(estimate)`` marks a std of
        which `LinearisedQuantity.is_estimate` holds.
    """
    main = main_quantities(rows)
    lines = [
        f"{r.label} {r.quantity}: {r.mle} +- {r.std}{f' {r.unit}' if r.unit else ''}"
        f"{' (estimate)' if r.is_estimate else ''}, set by {r.groups}"
        for r in influence_rows(main, shares)
    ]
    more = len(rows) - len(main)
    return [*lines, f"and {more} more"] if more else lines
