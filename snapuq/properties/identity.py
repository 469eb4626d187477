"""Whether a relaxed crystal is still the one that was asked about."""

from __future__ import annotations

import numpy as np
import spglib

from snapuq.core.dataset import Structure
from snapuq.properties.base import RelaxedCrystal, has_moved

#: Change of c/a, either way, beyond which a crystal is no longer the one that was asked about.
LARGEST_SHAPE_CHANGE = 1.2
#: Deviation from a space group, relative to the distance between neighbours, that still counts as symmetric:
#: more than relaxations leave (1e-4 eV/A over some eV/A^2), and less than the start of a free one.
SYMMETRIC = 0.005
#: Differences of coordinates that are round-off, A.
SAME = 1.0e-8


def how_lost(found: RelaxedCrystal) -> str:
    """Say how a relaxed crystal left its prototype.

    Parameters
    ----------
    found : RelaxedCrystal
        The crystal.

    Returns
    -------
    str
        Whether c/a changed by more than `LARGEST_SHAPE_CHANGE`, an atom left its site, or the space group
        became another, a higher one included; empty when the crystal is the one that was asked about.
    """
    guess = found.crystal.size_guess()
    shape = (found.c / found.a) / (guess[1] / guess[0])
    start, end = found.crystal.primitive(*guess), found.primitive
    there = Structure(end.cell, start.positions @ np.linalg.inv(start.cell) @ end.cell, start.species)
    if not 1.0 / LARGEST_SHAPE_CHANGE < shape < LARGEST_SHAPE_CHANGE:
        return f"c/a is {found.c / found.a:.2f}, that of {found.crystal.prototype} {guess[1] / guess[0]:.2f}"
    if _is_scaled(start, end):
        return ""
    if has_moved(there, end):
        return "an atom left its site"
    # That of the start, not of the prototype: one element on all sites of a compound has a higher one.
    (before, cells), (after, cells_after) = symmetry_of(start), symmetry_of(end)
    if before != after:
        return f"relaxed to space group {after}, not {before}"
    return "" if cells == cells_after else f"relaxed to a primitive cell of {cells_after} atoms, not {cells}"


def _is_scaled(start: Structure, end: Structure) -> bool:
    """Whether nothing but the size changed: most cubic crystals, at a thousandth of the cost of a search."""
    scale = (end.volume / start.volume) ** (1.0 / 3.0)
    changes = (end.cell - scale * start.cell, end.positions - scale * start.positions)
    return max(float(np.abs(c).max()) for c in changes) <= SAME * scale


def symmetry_of(structure: Structure) -> tuple[int, int]:
    """Symmetry that a structure has within `SYMMETRIC`.

    Parameters
    ----------
    structure : Structure
        The crystal.

    Returns
    -------
    number : int
        Of the space group in the International Tables; 0 when none is found.
    n_primitive : int
        Atoms of its primitive cell.
    """
    kinds = [sorted(set(structure.species)).index(s) for s in structure.species]
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    tolerance = SYMMETRIC * structure.nearest_distance()
    try:
        found = spglib.get_symmetry_dataset((structure.cell, fractional, kinds), symprec=tolerance)
    except spglib.SpglibError:
        found = None
    return (0, 0) if found is None else (int(found.number), len(set(found.mapping_to_primitive)))
