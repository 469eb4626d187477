"""What looks wrong with data that can be used all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from snapuq.config import CampaignConfig
from snapuq.core.dataset import Configuration
from snapuq.data.split import structure_numbers
from snapuq.pipeline.prepare import Prepared

#: Energy per atom, eV, below which no element is bound (tungsten, the most strongly bound, has -8.9).
LOWEST_COHESIVE_ENERGY = -15.0
# Energies per atom are told from totals by so many cells of one composition that differ in size by so much.
_LEAST_CELLS, _LEAST_RATIO = 10, 2.0
_LISTED = 4


def data_warnings(prepared: Prepared, config: CampaignConfig) -> list[str]:
    """Warn of what a fit would not show: another zero of energy, energies per atom, twins, a group unseen.

    Parameters
    ----------
    prepared : Prepared
        Data and hyperparameters.
    config : CampaignConfig
        The configuration.

    Returns
    -------
    list of str
        One sentence each.
    """
    fraction = config.dataset.test.fraction
    found = (
        energy_zero_warning(prepared),
        _per_atom_warning(prepared.dataset.configurations),
        _twin_warning(prepared, fraction is not None),
        "" if fraction is None else _unseen_warning(prepared, fraction),
    )
    return [text for text in found if text]


def energy_zero_warning(prepared: Prepared) -> str:
    """Warn of energies that count from another zero than that of free atoms.

    Parameters
    ----------
    prepared : Prepared
        Data and hyperparameters.

    Returns
    -------
    str
        One sentence; empty when there is nothing to warn of.
    """
    lowest = min(c.energy / len(c) for c in prepared.dataset.configurations)
    if not prepared.settings.bzeroflag or LOWEST_COHESIVE_ENERGY <= lowest <= 0.0:
        return ""
    return (
        f"the lowest energy is {lowest:.1f} eV/atom, so energies do not count from free atoms; a potential "
        "with bzeroflag 1 has no constant to take that up: subtract the energies of free atoms, or set "
        "potential.bzeroflag: 0"
    )


def _per_atom_warning(configurations: Iterable[Configuration]) -> str:
    """Warn where cells of different size have energies that vary less than these divided by the atoms."""
    compositions: dict[tuple[tuple[str, float], ...], list[Configuration]] = {}
    for c in configurations:
        shares = {s: c.structure.species.count(s) / len(c) for s in sorted(set(c.structure.species))}
        compositions.setdefault(tuple(shares.items()), []).append(c)
    largest = max(compositions.values(), key=len)
    sizes = np.array([len(c) for c in largest])
    if len(largest) < _LEAST_CELLS or np.quantile(sizes, 0.9) < _LEAST_RATIO * np.quantile(sizes, 0.1):
        return ""
    energies = np.array([c.energy for c in largest])
    # Totals are N times as large as energies per atom, and vary at least as much more.
    if _scatter(energies) >= _scatter(energies / sizes):
        return ""
    return (
        "energies vary less among cells of different size than energies divided by the atoms do: they look "
        "like energies per atom; expected are those of whole cells"
    )


def _scatter(values: np.ndarray) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def _twin_warning(prepared: Prepared, is_random: bool) -> str:
    """Warn of configurations that have the structure of another."""
    items, of = prepared.dataset.configurations, structure_numbers(prepared.dataset)
    _, first = np.unique(of, return_index=True)
    repeats = np.flatnonzero(first[of] != np.arange(len(of)))
    if not len(repeats):
        return ""
    one, other = items[first[of[repeats[0]]]].identifier, items[repeats[0]].identifier
    text = f"{len(repeats)} of {len(items)} configurations repeat the structure of another, "
    text += f"first {other} that of {one}"
    if is_random:
        return f"{text}; they count twice, and are held out together"
    seen = np.isin(of[prepared.is_test], of[~prepared.is_test]).sum()
    return f"{text}; {seen} of the test set are also trained on" if seen else text


def _unseen_warning(prepared: Prepared, fraction: float) -> str:
    """Name groups of which the random split holds nothing out, where one or more were to be expected."""
    items = prepared.dataset.configurations
    tested = {c.group for c, t in zip(items, prepared.is_test, strict=True) if t}
    missing = Counter(c.group for c in items if c.group not in tested)
    names = [f"{group} ({n})" for group, n in missing.items() if fraction * n >= 1.0]
    return f"the random split holds out nothing of {listed(names)}" if names else ""


def listed(names: Iterable[str]) -> str:
    """List names, the first few where there are many.

    Parameters
    ----------
    names : iterable of str
        The names.

    Returns
    -------
    str
        For example ``a, b, c, d and 3 more``.
    """
    known = list(names)
    more = len(known) - _LISTED
    return ", ".join(known[:_LISTED]) + (f" and {more} more" if more > 0 else "")
