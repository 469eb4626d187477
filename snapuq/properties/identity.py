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


def is_lost(found: RelaxedCrystal) -> bool:
    """Tell whether a relaxed crystal is far from its prototype.

    Parameters
    ----------
    found : RelaxedCrystal
        The crystal.

    Returns
    -------
    bool
        True if c/a changed by more than `LARGEST_SHAPE_CHANGE`, an atom left its site, or the space group
        became another, a higher one included.
    """
    guess = found.crystal.size_guess()
    shape = (found.c / found.a) / (guess[1] / guess[0])
    start, end = found.crystal.primitive(*guess), found.primitive
    there = Structure(end.cell, start.positions @ np.linalg.inv(start.cell) @ end.cell, start.species)
    if not 1.0 / LARGEST_SHAPE_CHANGE < shape < LARGEST_SHAPE_CHANGE or has_moved(there, end):
        return True
    # That of the start, not of the prototype: one element on all sites of a compound has a higher one.
    return symmetry_of(end) != symmetry_of(start)


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
