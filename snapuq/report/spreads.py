"""What the members say of one quantity, and which of them are to be doubted, ready to be drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from snapuq.analysis.calibration import finite
from snapuq.core.result import PropertyResult, PropertySummary
from snapuq.core.task import REFERENCE_MEMBER
from snapuq.report.failures import is_flagged
from snapuq.report.labels import site_name
from snapuq.report.style import plain

# Outcomes that a remark beside a row names.
_MOST_OUTCOMES = 2
_NAMES = {0: "MLE", REFERENCE_MEMBER: "reference"}
# Properties that a caption names one by one.
_MOST_NAMED = 6
_SITE = "relaxed to "


@dataclass(frozen=True)
class Spread:
    """One quantity; what is not known is NaN.

    Parameters
    ----------
    mle, reference : float
        The best fit and the true value.
    low, high : float
        Smallest and largest member.
    q05, q25, q75, q95 : float
        Quantiles of the members.
    flagged : tuple of float
        Members that did not converge or were reconfigured.
    is_mle_flagged, is_reference_flagged : bool
        Whether these two are.
    """

    mle: float
    reference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    q05: float = math.nan
    q25: float = math.nan
    q75: float = math.nan
    q95: float = math.nan
    flagged: tuple[float, ...] = ()
    is_mle_flagged: bool = False
    is_reference_flagged: bool = False

    @property
    def is_inside(self) -> bool:
        """Whether the envelope holds the reference."""
        return self.low <= self.reference <= self.high

    def changed(self, to: Callable[[float], float]) -> Spread:
        """Change all numbers.

        Parameters
        ----------
        to : callable
            Increasing function of a value.

        Returns
        -------
        Spread
            With the same flags.
        """
        return replace(
            self,
            mle=to(self.mle),
            reference=to(self.reference),
            low=to(self.low),
            high=to(self.high),
            q05=to(self.q05),
            q25=to(self.q25),
            q75=to(self.q75),
            q95=to(self.q95),
            flagged=tuple(map(to, self.flagged)),
        )


def _number(value: float | None) -> float:
    known = finite(value)
    return math.nan if known is None else known


class Spreads:
    """All quantities of a campaign.

    Parameters
    ----------
    summaries : sequence of PropertySummary
        One per quantity.
    results : sequence of PropertyResult
        One per property and member; without them no member is drawn by itself.
    """

    def __init__(self, summaries: Sequence[PropertySummary], results: Sequence[PropertyResult] = ()) -> None:
        self._summaries: dict[str, dict[str, PropertySummary]] = {}
        for summary in summaries:
            self._summaries.setdefault(summary.label, {})[summary.quantity] = summary
        self._results: dict[str, list[PropertyResult]] = {}
        for result in results:
            self._results.setdefault(result.label, []).append(result)

    @property
    def labels(self) -> tuple[str, ...]:
        """All properties, in the order of the campaign."""
        return tuple(self._summaries)

    def quantities(self, label: str) -> tuple[str, ...]:
        """Quantities of a property.

        Parameters
        ----------
        label : str
            The property.

        Returns
        -------
        tuple of str
            None for a property that is not known.
        """
        return tuple(self._summaries.get(label, {}))

    def results(self, label: str) -> tuple[PropertyResult, ...]:
        """Results of a property.

        Parameters
        ----------
        label : str
            The property.

        Returns
        -------
        tuple of PropertyResult
            One for each potential that ran it.
        """
        return tuple(self._results.get(label, ()))

    def spread(self, label: str, quantity: str) -> Spread | None:
        """Look one quantity up.

        Parameters
        ----------
        label, quantity : str
            Which one.

        Returns
        -------
        Spread or None
            None where neither the MLE nor a member has a value.
        """
        s = self._summaries.get(label, {}).get(quantity)
        if s is None or (finite(s.mle) is None and finite(s.minimum) is None):
            return None
        flagged = [r for r in self.results(label) if is_flagged(r) and quantity in r.values]
        return Spread(
            mle=_number(s.mle),
            reference=_number(s.reference),
            low=_number(s.minimum),
            high=_number(s.maximum),
            q05=_number(s.quantiles.get(0.05)),
            q25=_number(s.quantiles.get(0.25)),
            q75=_number(s.quantiles.get(0.75)),
            q95=_number(s.quantiles.get(0.95)),
            flagged=tuple(r.values[quantity].value for r in flagged if r.member > 0),
            is_mle_flagged=any(r.member == 0 for r in flagged),
            is_reference_flagged=any(r.member == REFERENCE_MEMBER for r in flagged),
        )

    def remark(self, label: str) -> str:
        """Say which members have no sound value.

        Parameters
        ----------
        label : str
            The property.

        Returns
        -------
        str
            A few short lines for a figure; empty where all is well.
        """
        s = next(iter(self._summaries.get(label, {}).values()), None)
        if s is None:
            return ""
        counts = {"reconfigured": s.n_reconfigured, "not converged": s.n_unconverged, "no value": s.n_failed}
        lines = [f"{what}: {n} of {s.n_members}" for what, n in counts.items() if n]
        moved = [r for r in self.results(label) if r.reconfigured and not r.failure]
        ends = Counter(site for r in moved if r.member > 0 and (site := _site(r.detail)))
        lines += [f"→ {site} ({n})" for site, n in ends.most_common(_MOST_OUTCOMES)]
        if len(ends) > _MOST_OUTCOMES:
            lines[-1] += ", …"
        single: dict[str, list[str]] = {}
        for r in sorted(moved, key=lambda r: -r.member):
            if r.member in _NAMES:
                single.setdefault(_site(r.detail), []).append(_NAMES[r.member])
        lines += [
            f"{', '.join(who)} {'→ ' + site if site else 'reconfigured'}" for site, who in single.items()
        ]
        return "\n".join(lines)

    def losses(self, labels: Iterable[str]) -> str:
        """Count the members without a sound value, for a caption.

        Parameters
        ----------
        labels : iterable of str
            Properties that the figure shows.

        Returns
        -------
        str
            A sentence or two.
        """
        first = [next(iter(self._summaries[label].values())) for label in dict.fromkeys(labels)]
        members = max((s.n_members for s in first), default=0)
        if not members:
            return "No member was computed."
        told = []
        for what, name in (
            ("without a value", "n_failed"),
            ("not converged", "n_unconverged"),
            ("reconfigured", "n_reconfigured"),
        ):
            found = [(s.label, getattr(s, name)) for s in first if getattr(s, name)]
            if found:
                named = [f"{label} ({n})" for label, n in found[:_MOST_NAMED]]
                more = [f"and {len(found) - _MOST_NAMED} more"] if len(found) > _MOST_NAMED else []
                told.append(f"{what}: {', '.join(named + more)}")
        if not told:
            return f"All {members} members gave a sound value."
        return f"Of {members} members, {'; '.join(told)}."


def _site(detail: str) -> str:
    """Name of the site where a defect has ended; empty for any other detail."""
    return plain(site_name(detail.removeprefix(_SITE)), 26) if detail.startswith(_SITE) else ""
