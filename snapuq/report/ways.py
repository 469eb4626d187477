"""How members were computed, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snapuq.core.result import PropertyResult
from snapuq.report.failures import first_members
from snapuq.report.text import MISSING, number

# From the cheapest to the dearest.
_WAYS = ("batched", "implicit", "newton", "brute")


@dataclass(frozen=True)
class WayRow:
    """One property.

    Parameters
    ----------
    label : str
        The property.
    ways : str
        By which its members were computed, each with how many.
    mle, members : str
        Force evaluations of the MLE, and of a member on average.
    fallbacks : int
        Members of which something fell back to brute force.
    which : str
        Their numbers; of a long list the first.
    """

    label: str
    ways: str
    mle: str
    members: str
    fallbacks: int
    which: str


def way_rows(results: Sequence[PropertyResult]) -> tuple[WayRow, ...]:
    """Summarise how each property was computed.

    Parameters
    ----------
    results : sequence of PropertyResult
        One per property and member.

    Returns
    -------
    tuple of WayRow
        In order of first appearance; none where everything was computed by brute force.
    """
    if all(r.propagation in ("", "brute") for r in results):
        return ()
    rows = []
    for label in dict.fromkeys(r.label for r in results):
        own = [r for r in results if r.label == label]
        members = [r for r in own if r.member > 0 and not r.failure]
        ways = Counter(way for r in members for way in set(r.propagation.split("+")) if way)
        best = next((r for r in own if r.member == 0 and not r.failure), None)
        fallen = [r.member for r in members if r.fallbacks]
        mean = number(float(np.mean([r.evaluations for r in members])), 3) if members else MISSING
        rows.append(
            WayRow(
                label,
                ", ".join(f"{way} ({ways[way]})" for way in sorted(ways, key=_rank)) or MISSING,
                MISSING if best is None else str(best.evaluations),
                mean,
                len(fallen),
                first_members(fallen) if fallen else "",
            )
        )
    return tuple(rows)


def _rank(way: str) -> tuple[int, str]:
    return (_WAYS.index(way) if way in _WAYS else len(_WAYS), way)
