"""Do the members agree on an order: of phases, defects or surfaces?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from snapuq.core.result import PropertyResult
from snapuq.core.task import REFERENCE_MEMBER
from snapuq.properties import PROPERTIES
from snapuq.properties.phase import ABOVE

#: With fewer items an order says little.
SMALLEST_FAMILY = 3


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman correlations of one quantity over the items of a family.

    Parameters
    ----------
    family, quantity : str
        For example ``surface`` and ``energy``.
    group : str
        What the items have in common: the ground state of an entry of phases, else the elements; empty where
        the family has one such group.
    labels : tuple of str
        Items that every counted potential has a value for.
    n_members : int
        Members with a value for each of these items.
    members_mle : tuple of float
        Smallest, median and largest correlation of a member with the MLE.
    mle_reference : float or None
        Correlation of the MLE with the reference; None without a reference for each item.
    members_reference : tuple of float or None
        Smallest, median and largest correlation of a member with the reference.
    """

    family: str
    quantity: str
    group: str
    labels: tuple[str, ...]
    n_members: int
    members_mle: tuple[float, float, float]
    mle_reference: float | None
    members_reference: tuple[float, float, float] | None


def rank_correlations(
    results: Iterable[PropertyResult], reference: Mapping[tuple[str, str], float] | None = None
) -> tuple[RankCorrelation, ...]:
    """Compare the order of like items in the MLE, in each member and in the reference.

    Properties say themselves which of their quantities are worth an order (``Property.ranked``). Items are of
    one composition: energies of different elements have no common zero. Items that the MLE has no value for
    are left out; members that lack one of the others are not counted.

    Parameters
    ----------
    results : iterable of PropertyResult
        Of all potentials.
    reference : Mapping, optional
        True values by (label, quantity); they take precedence over results of a reference potential.

    Returns
    -------
    tuple of RankCorrelation
        One for each family, quantity and composition of `SMALLEST_FAMILY` items or more that are not all
        alike.

    References
    ----------
    Perez et al., npj Comput. Mater. 11, 263 (2025), doi:10.1038/s41524-025-01758-4.
    """
    results = list(results)
    groups = _groups(results)
    values: dict[tuple[str, str, str], dict[int, dict[str, float]]] = {}
    for result in results:
        family = result.label.partition("-")[0]
        ranked = PROPERTIES[family].ranked if family in PROPERTIES else ()
        for quantity in ranked:
            if quantity in result.values:
                by_member = values.setdefault((family, quantity, groups[result.label]), {})
                by_member.setdefault(result.member, {})[result.label] = result.values[quantity].value
    found = []
    for (family, quantity, group), by_member in values.items():
        truth = dict(by_member.get(REFERENCE_MEMBER, {}))
        truth |= {label: v for (label, name), v in (reference or {}).items() if name == quantity}
        is_alone = sum(key[:2] == (family, quantity) for key in values) == 1
        one = _correlate((family, quantity, "" if is_alone else group), by_member, truth)
        if one is not None:
            found.append(one)
    return tuple(found)


def _groups(results: Sequence[PropertyResult]) -> dict[str, str]:
    """Labels that may be ranked together: phases of one entry, else what is made of the same elements."""
    names: dict[str, set[str]] = {}
    for result in results:
        names.setdefault(result.label, set()).update(result.values)
    groups, ground = {}, ""
    for label, quantities in names.items():
        family, *words = label.split("-")
        if family == "phase":
            # Results come in the order of the campaign: a ground state, then what is compared with it.
            if not any(name.startswith(ABOVE) for name in quantities):
                ground = "-".join(words)
            groups[label] = ground
        else:
            groups[label] = "-".join(sorted(word for word in words if word in atomic_numbers))
    return groups


def _correlate(
    names: tuple[str, str, str], by_member: Mapping[int, Mapping[str, float]], truth: Mapping[str, float]
) -> RankCorrelation | None:
    labels = tuple(by_member.get(0, {}))
    if len(labels) < SMALLEST_FAMILY:
        return None
    rows = [
        [values[label] for label in labels]
        for member, values in sorted(by_member.items())
        if member > 0 and all(label in values for label in labels)
    ]
    mle = np.array([by_member[0][label] for label in labels])
    if not rows or np.ptp(mle) == 0.0:
        return None
    members = np.array(rows)
    known = all(label in truth for label in labels)
    true = np.array([truth[label] for label in labels]) if known else None
    return RankCorrelation(
        *names,
        labels,
        len(rows),
        _three(members, mle),
        None if true is None else _spearman(mle, true),
        None if true is None else _three(members, true),
    )


def _three(members: NDArray[np.float64], against: NDArray[np.float64]) -> tuple[float, float, float]:
    each = [_spearman(row, against) for row in members]
    return float(np.min(each)), float(np.median(each)), float(np.max(each))


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    # Of items that are all alike no order can be told.
    if np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return 0.0
    # Takes long to import, and a campaign that has finished does not need it.
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)
