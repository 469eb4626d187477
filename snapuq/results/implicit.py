"""How far values without a relaxation are from those with one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from snapuq.core.result import PropertyResult

#: (property label, member, quantity) to an error, in the unit of the quantity.
Errors = Mapping[tuple[str, int, str], float]

#: Members that are relaxed to tell the error of the others.
N_CHECKED = 60
#: Share of the others' errors that the estimate is to cover.
COVERAGE = 0.95
#: Factor on the error that covers this share of those that were seen. Of random choices of 60 among 200
#: members of the fit that it was set on (W), 84 to 100 % covered the rest with a mean below four times their
#: rms; of another fit (Ta), 95 to 100 %.
SAFETY = 1.4
# A share of the mean keeps members that start at their minimum by chance from being certain.
_FLOOR = 0.25


def estimate_errors(
    results: Sequence[PropertyResult], checks: Sequence[PropertyResult]
) -> dict[tuple[str, int, str], float]:
    """Estimate the error of each value from members that were computed both ways.

    What a first-order prediction leaves out grows with the energy that it gains (`PropertyResult.decrement`).
    The ratio of error and gain below which a share `COVERAGE` of the checked members lies, in the sense of
    conformal prediction, times `SAFETY`, bounds the others.

    Parameters
    ----------
    results : sequence of PropertyResult
        Of all members.
    checks : sequence of PropertyResult
        Of some members, relaxed.

    Returns
    -------
    dict
        (property label, member, quantity) to its error, for properties that were checked.

    References
    ----------
    Maliyov, Grigorev and Swinburne, npj Comput. Mater. 11, 22 (2025), doi:10.1038/s41524-024-01506-0; Lei et
    al., J. Am. Stat. Assoc. 113, 1094 (2018), doi:10.1080/01621459.2017.1307116, for conformal prediction.
    """
    found: dict[tuple[str, int, str], float] = {}
    exact = {(r.label, r.member): r.values for r in checks if not r.failure}
    for label in dict.fromkeys(label for label, _ in exact):
        members = [r for r in results if r.label == label and r.member > 0 and not r.failure]
        gains = {r.member: r.decrement for r in members}
        mean = float(np.mean(list(gains.values()))) if gains else 0.0
        sizes = {member: gain + _FLOOR * mean for member, gain in gains.items()}
        seen: dict[str, list[float]] = {}
        for r in members:
            for name, truth in exact.get((label, r.member), {}).items():
                if name in r.values and sizes[r.member] > 0.0:
                    ratio = abs(r.values[name].value - truth.value) / sizes[r.member]
                    seen.setdefault(name, []).append(ratio)
        for r in members:
            for name, ratios in seen.items():
                if name in r.values:
                    found[label, r.member, name] = SAFETY * _covering(ratios) * sizes[r.member]
    return found


def _covering(ratios: list[float]) -> float:
    """The ratio that a new one is below with probability `COVERAGE`; the largest where there are too few."""
    rank = min(len(ratios), math.ceil(COVERAGE * (len(ratios) + 1)))
    return sorted(ratios)[rank - 1]
