"""What members without a sound value do to an envelope, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from snapuq.core.result import PropertySummary

#: A property is warned about when more than this share of its members failed or is flagged.
FAILED_WARNING = 0.02


def narrowing(values: NDArray[np.float64], n_missing: int) -> float | None:
    """Share of the width of an envelope that members without a value are expected to cost.

    The mean range of all subsets of n - f of the n values, from their order statistics:
    E[max] = sum_k x_(k) C(k-1, m-1) / C(n, m) with m = n - f, and likewise the minimum. For independent
    members this estimates without bias what f more of n cost; the expected range is concave in the number
    of members, so f more members *like the others* would add at most that much on average. Members that
    fail because they are extreme would add more.

    Parameters
    ----------
    values : ndarray, shape (n,)
        The values that there are.
    n_missing : int
        Members without one, f.

    Returns
    -------
    float or None
        From 0, when none is missing, to 1; None when no width is known or no value would be left.
    """
    n, kept = len(values), len(values) - n_missing
    if kept < 1:
        return None
    ordered = np.sort(values)
    width = ordered[-1] - ordered[0]
    if not (np.isfinite(width) and width > 0):
        return None
    # C(k-1, m-1) / C(n, m) for k = n, n-1, ..., m: each from the one before, so nothing overflows.
    k = np.arange(n, kept, -1)
    weights = kept / n * np.concatenate([[1.0], np.cumprod((k - kept) / (k - 1.0))])
    ranges = ordered[kept - 1 :][::-1] - ordered[: n_missing + 1]
    # Relative to the width before summing, and within [0, 1] in spite of rounding.
    return float(min(max(1.0 - np.sum(weights * (ranges / width)), 0.0), 1.0)) if n_missing else 0.0


def failure_warnings(summaries: Iterable[PropertySummary]) -> tuple[str, ...]:
    """Warn of properties of which more than `FAILED_WARNING` of the members gave no sound value.

    Parameters
    ----------
    summaries : iterable of PropertySummary
        One per quantity.

    Returns
    -------
    tuple of str
        One line per property: counts, reasons, and what the members concerned do to the envelopes.
    """
    by_label: dict[str, list[PropertySummary]] = {}
    for summary in summaries:
        by_label.setdefault(summary.label, []).append(summary)
    lines = []
    for label, group in by_label.items():
        first = group[0]
        if first.n_unsound <= FAILED_WARNING * first.n_members:
            continue
        counts = sorted(((-len(m), reason) for reason, m in first.failures.items()))
        reasons = ", ".join(f"{-count} {reason}" for count, reason in counts)
        text = f"{label}: {first.n_unsound} of {first.n_members} members gave no sound value ({reasons})"
        lines.append("; ".join([text, *_effect_of_flagged(group), *_effect_of_failed(group)]))
    return tuple(lines)


def _effect_of_flagged(group: Sequence[PropertySummary]) -> list[str]:
    n_flagged = group[0].n_unsound - group[0].n_failed
    if not n_flagged or group[0].minimum is None:
        return []
    if group[0].sound_minimum is None:
        return ["no member with a value is free of flags"]
    worst = min(group, key=_sound_share)
    if _sound_share(worst) == 1.0:
        return [f"leaving out the {n_flagged} flagged changes no envelope"]
    places = _places(worst)
    sound = _interval(worst.sound_minimum, worst.sound_maximum, places)
    full = _interval(worst.minimum, worst.maximum, places)
    others = ", which changes most," if len(group) > 1 else ""
    return [
        f"without the {n_flagged} flagged the envelope of {worst.quantity}{others} is {sound} instead of "
        f"{full} {worst.unit}".rstrip()
    ]


def _effect_of_failed(group: Sequence[PropertySummary]) -> list[str]:
    n_failed = group[0].n_failed
    if not n_failed:
        return []
    if group[0].minimum is None:
        return ["no envelope is known"]
    text = f"the envelope lacks the {n_failed} without a value"
    known = [s.narrowing for s in group if s.narrowing is not None]
    if not known:
        return [f"{text} and may be far too narrow"]
    return [f"{text}, about {100 * max(known):.2g} % of its width if they are like the others, more if not"]


def _sound_share(s: PropertySummary) -> float:
    """Width of the envelope of the members without a flag, over that of all; 1 where neither is known."""
    if s.minimum is None or s.maximum is None or s.sound_minimum is None or s.sound_maximum is None:
        return 1.0
    width = s.maximum - s.minimum
    return (s.sound_maximum - s.sound_minimum) / width if width > 0 else 1.0


def _places(s: PropertySummary) -> int:
    """Decimal places that show three digits of the width of an envelope."""
    if s.minimum is None or s.maximum is None or not 0 < s.maximum - s.minimum < math.inf:
        return 3
    return min(max(2 - math.floor(math.log10(s.maximum - s.minimum)), 0), 12)


def _interval(low: float | None, high: float | None, places: int) -> str:
    return f"[{low:.{places}f}, {high:.{places}f}]"
