"""Members without a sound value, named with their reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from snapuq.core.reasons import NOT_CONVERGED, REASONS, RECONFIGURED
from snapuq.core.result import PropertyResult, PropertySummary
from snapuq.report.text import MISSING, member_ranges

#: Outcomes of a task.
NO_VALUE, FLAGGED = "no value", "flagged"
# Of a longer list of members, the table shows so many runs of numbers.
_MOST_RUNS = 12
# And so many different details.
_MOST_DETAILS = 4


@dataclass(frozen=True)
class FailureRow:
    """Members that share one outcome of one property.

    Parameters
    ----------
    label : str
        The property.
    outcome : str
        ``no value`` or ``flagged``: a value that is not to be trusted.
    reason : str
        Machine-readable reason.
    meaning : str
        It in one sentence; a dash for a reason that is not in `snapuq.core.reasons`.
    details : str
        What is known of the members: details that several share, most frequent first, with their numbers; the
        first member's where none is shared.
    count : int
        How many.
    members : str
        Their numbers; of a long list the first.
    """

    label: str
    outcome: str
    reason: str
    meaning: str
    details: str
    count: int
    members: str


def failure_rows(
    results: Sequence[PropertyResult], summaries: Sequence[PropertySummary]
) -> tuple[FailureRow, ...]:
    """Name the members without a sound value, grouped by property and reason.

    Parameters
    ----------
    results : sequence of PropertyResult
        One per property and member.
    summaries : sequence of PropertySummary
        Used where a property has no result in `results`.

    Returns
    -------
    tuple of FailureRow
        In order of first appearance.
    """
    found: dict[tuple[str, str, str], list[int]] = {}
    details: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        for outcome, reason, detail in _outcomes(result):
            key = (result.label, outcome, reason)
            found.setdefault(key, []).append(result.member)
            details.setdefault(key, []).append(detail)
    covered = {r.label for r in results}
    for summary in summaries:
        if summary.label not in covered:
            flagged = {NOT_CONVERGED: summary.n_unconverged, RECONFIGURED: summary.n_reconfigured}
            for reason, members in summary.failures.items():
                outcome = FLAGGED if flagged.get(reason) else NO_VALUE
                found.setdefault((summary.label, outcome, reason), list(members))
    return tuple(
        FailureRow(
            *key,
            REASONS.get(key[2], MISSING),
            _counted(details.get(key, [])),
            len(set(members)),
            first_members(members),
        )
        for key, members in found.items()
    )


def is_flagged(result: PropertyResult) -> bool:
    """Tell a value that is not to be trusted.

    Parameters
    ----------
    result : PropertyResult
        One result.

    Returns
    -------
    bool
        Whether it has a value that did not converge or was reconfigured.
    """
    return not result.failure and (result.reconfigured or not result.converged)


def _outcomes(result: PropertyResult) -> Iterable[tuple[str, str, str]]:
    if result.failure:
        reason, _, detail = result.failure.partition(": ")
        yield NO_VALUE, reason, result.detail or detail
        return
    if not result.converged:
        yield FLAGGED, NOT_CONVERGED, result.detail
    if result.reconfigured:
        yield FLAGGED, RECONFIGURED, result.detail


def _counted(details: Sequence[str]) -> str:
    known = Counter(text for text in details if text).most_common()
    shared = [(text, n) for text, n in known if n > 1]
    if not shared:
        return f"first: {known[0][0]}" if known else ""
    rest = len(details) - sum(n for _, n in shared[:_MOST_DETAILS])
    told = [f"{text} ({n})" for text, n in shared[:_MOST_DETAILS]]
    return ", ".join(told + ([f"others ({rest})"] if rest else []))


def first_members(members: Sequence[int]) -> str:
    """Write member numbers compactly; of a long list the first.

    Parameters
    ----------
    members : sequence of int
        As of `snapuq.report.text.member_ranges`.

    Returns
    -------
    str
        For example ``3, 7–9, …``.
    """
    runs = member_ranges(members).split(", ")
    return ", ".join(runs[:_MOST_RUNS]) + (", …" if len(runs) > _MOST_RUNS else "")
