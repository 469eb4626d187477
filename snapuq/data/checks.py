"""Checks that every reader applies to what it read."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce
from math import gcd
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from snapuq.core.dataset import Configuration, Dataset, RowWeights, Structure
from snapuq.errors import InputError

#: Two nuclei closer than this (A) are one atom listed twice: no bond is shorter than 0.7 A.
CLOSEST = 0.1
# All electrons of the heaviest elements bind by about 1e6 eV; no energy per atom is larger.
_LARGEST_ENERGY = 1.0e6
#: Largest asymmetry of a stress, relative to its largest component: codes print 5 digits or more.
ASYMMETRY = 1.0e-2
#: Nuclei that touch repel each other with some 1e4 eV/A; a calculation with more has other units or failed.
LARGEST_FORCE = 1.0e5  # eV/A
#: The same for stress; 1 eV/A^3 is 160 GPa.
LARGEST_STRESS = 1.0e4  # eV/A^3
# Around the median of one composition (eV/atom): bonds are worth at most about 10 eV, so nothing lies far
# below it; squeezed atoms do lie far above it. Beyond, a number is in another unit or of another method.
_BELOW, _ABOVE = 100.0, 1000.0

_SYMBOLS = frozenset(chemical_symbols[1:])
_BLOCK = 256


def labelled(
    *,
    file: str | Path,
    record: str,
    identifier: str,
    group: str,
    cell: ArrayLike,
    positions: ArrayLike,
    species: Sequence[str],
    energy: float,
    forces: ArrayLike,
    stress: ArrayLike | None,
    weights: RowWeights | None = None,
    keys: Mapping[str, str] | None = None,
) -> Configuration:
    """Build a configuration, turning every violation into one clear error.

    Parameters
    ----------
    file : str or Path
        File for the error message.
    record : str
        Record of that file for the error message.
    identifier, group : str
        Name and group of the configuration.
    cell, positions, species, energy, forces, stress, weights
        As in `Configuration`, in its units.
    keys : mapping, optional
        Names of cell, positions, species and forces in that file, for the error message.

    Returns
    -------
    Configuration
        Checked.

    Raises
    ------
    InputError
        When a number is not finite, counts disagree, the cell is singular or left-handed, an element
        is unknown, two atoms coincide or the energy is beyond belief.
    """
    names = dict(keys or {})

    def at(name: str) -> str:
        return ".".join(part for part in (record, names.get(name, name)) if part)

    for symbol in dict.fromkeys(species):
        if symbol not in _SYMBOLS:
            raise InputError(
                "unknown element", file=file, key=at("species"), found=symbol, hint=_alike(symbol)
            )
    try:
        structure = Structure(np.asarray(cell), np.asarray(positions), tuple(species))
        configuration = Configuration(
            identifier,
            group,
            structure,
            float(energy),
            np.asarray(forces),
            None if stress is None else np.asarray(stress),
            weights,
        )
    except ValueError as error:
        name, _, text = str(error).partition(": ")
        raise InputError(text, file=file, key=at(name)) from None
    pair = coincident(structure)
    if pair is not None:
        i, j, distance = pair
        what = f"atoms {i} and {j}" if i != j else f"atom {i} and its periodic image"
        raise InputError(
            f"{what} are {distance:.3g} A apart (atoms counted from 0)",
            file=file,
            key=at("positions"),
            expected=f"at least {CLOSEST} A",
        )
    for name, values, limit, unit in (
        ("forces", configuration.forces, LARGEST_FORCE, "eV/A"),
        ("stress", configuration.stress, LARGEST_STRESS, "eV/A^3"),
    ):
        if values is not None and np.abs(values).max() > limit:
            raise InputError(
                "beyond belief",
                file=file,
                key=at(name),
                found=f"{np.abs(values).max():.4g} {unit}",
                expected=f"at most {limit:g} {unit}",
                hint="check the units",
            )
    if abs(configuration.energy) > _LARGEST_ENERGY * len(structure):
        raise InputError(
            f"{configuration.energy / len(structure):.6g} eV/atom is beyond the total energy of any atom",
            file=file,
            key=at("energy"),
            hint="check its unit",
        )
    return configuration


def coincident(structure: Structure, limit: float = CLOSEST) -> tuple[int, int, float] | None:
    """Find two atoms, or an atom and its image, that are closer than a limit.

    Parameters
    ----------
    structure : Structure
        Atoms in a periodic cell.
    limit : float
        Distance, A.

    Returns
    -------
    tuple of (int, int, float) or None
        Two indices, counted from 0, and their distance; None when there is no such pair.
    """
    cell = np.asarray(structure.cell)
    if _heights(cell).min() <= 2 * limit:
        # Takes long to import, and only small cells need it.
        from ase.geometry import minkowski_reduce

        cell, _ = minkowski_reduce(cell)
        shortest = float(np.linalg.norm(cell, axis=1).min())
        # The rounding below is exact only for cells higher than twice the limit.
        if _heights(cell).min() <= 2 * limit:
            return 0, 0, shortest
    fractional = structure.positions @ np.linalg.inv(cell)
    n = len(structure)
    for start in range(0, n - 1, _BLOCK):
        stop = min(start + _BLOCK, n)
        delta = fractional[start:stop, None] - fractional[None, start:]
        delta -= np.rint(delta)
        squared = ((delta @ cell) ** 2).sum(axis=-1)
        squared[np.tril_indices(stop - start, m=n - start)] = np.inf
        if squared.min() < limit**2:
            i, j = np.unravel_index(int(squared.argmin()), squared.shape)
            return start + int(i), start + int(j), float(np.sqrt(squared[i, j]))
    return None


def _heights(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    areas = [np.linalg.norm(np.cross(cell[i - 2], cell[i - 1])) for i in range(3)]
    return np.asarray(abs(np.linalg.det(cell)) / np.array(areas))


def check_energies(dataset: Dataset) -> None:
    """Refuse an energy that cannot share a unit and a method with the others of its composition.

    Parameters
    ----------
    dataset : Dataset
        All configurations.

    Raises
    ------
    InputError
        When an energy per atom lies more than 100 eV below or 1000 eV above the median of the
        configurations of its composition, of which there must be three or more.
    """
    members: dict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for index, configuration in enumerate(dataset.configurations):
        members[_reduced(configuration.structure.species)].append(index)
    per_atom = np.array([c.energy / len(c) for c in dataset.configurations])
    for indices in members.values():
        if len(indices) < 3:
            continue
        offset = per_atom[indices] - np.median(per_atom[indices])
        wrong = np.flatnonzero((offset < -_BELOW) | (offset > _ABOVE))
        if len(wrong):
            index = indices[int(wrong[0])]
            raise InputError(
                f"{per_atom[index]:.6g} eV/atom lies {offset[wrong[0]]:+.4g} eV/atom from the median of its "
                "composition",
                file=dataset.source,
                key=f"{dataset.configurations[index].identifier}: energy",
                hint="check the unit of its energy",
            )


def _reduced(species: Sequence[str]) -> tuple[tuple[str, int], ...]:
    symbols = sorted(set(species))
    counts = [species.count(s) for s in symbols]
    divisor = reduce(gcd, counts)
    return tuple((s, n // divisor) for s, n in zip(symbols, counts, strict=True))


def _alike(symbol: str) -> str:
    folded = {s.lower(): s for s in _SYMBOLS}
    if symbol.lower() in folded:
        return f"did you mean '{folded[symbol.lower()]}'?"
    close = difflib.get_close_matches(symbol, sorted(_SYMBOLS), n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else "expected a chemical symbol such as W"
