"""Crystals from structure files, as one line of text that needs the file no more.

A file is read once, where the campaign file is read. What goes on from there, into the resolved campaign and
into the hash of each task, is the structure itself: an edited file gives other tasks, and a run can be moved.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_numbers

from snapuq.properties.prototypes import Prototype, one_per_lattice_point

#: Distances below this, in A, count as symmetric: structure files have three digits or more.
SYMMETRY_TOLERANCE = 1.0e-2
#: Formats of one structure that ASE reads without running or unpickling anything.
FORMATS = ("aims", "cif", "espresso-in", "extxyz", "json", "res", "vasp", "xsf", "xyz")
_TEXT = re.compile(r"([\w.-]+)\{hall=(\d+); cell=([^;]+); ([^}]*)\}")


def read_crystal(path: Path) -> tuple[str, tuple[str, ...], float, Prototype]:
    """Read a structure file and bring it to the standard cell of its space group.

    Parameters
    ----------
    path : Path
        Any of `FORMATS`; of several structures the last.

    Returns
    -------
    name : str
        Name of the file without folder and suffix.
    elements : tuple of str
        Chemical symbols of the prototype's species.
    a : float
        Lattice constant, A.
    prototype : Prototype
        Symmetrised within `SYMMETRY_TOLERANCE`.

    Raises
    ------
    ValueError
        When there is no such file, or it holds no periodic structure.
    """
    atoms = _read(path)
    if not atoms.pbc.all() or abs(atoms.cell.volume) < 1.0e-3:
        raise ValueError(f"{path}: expected a structure that is periodic in three directions")
    symbols = sorted(set(atoms.get_chemical_symbols()))
    kinds = [symbols.index(s) for s in atoms.get_chemical_symbols()]
    cell = (atoms.cell.array, atoms.get_scaled_positions(), kinds)
    try:
        found = spglib.get_symmetry_dataset(cell, symprec=SYMMETRY_TOLERANCE)
    except spglib.SpglibError:
        found = None
    if found is None:
        raise ValueError(f"{path}: no crystal; two atoms may lie in the same place")
    standard = Atoms(cell=found.std_lattice).cell
    a, b, c, *angles = standard.cellpar().tolist()
    centring = str(found.international)[0]
    pairs = [(int(k), site) for k, site in zip(found.std_types, found.std_positions, strict=True)]
    basis = tuple(one_per_lattice_point(pairs, centring))
    alpha, beta, gamma = (_round_angle(angle) for angle in angles)
    kind = Prototype(int(found.hall_number), basis, c / a, 1.0, b / a, (alpha, beta, gamma))
    return re.sub(r"[^\w.-]+", "_", path.stem) or "file", tuple(symbols), a, kind


def _round_angle(angle: float) -> float:
    # Right angles and those of hexagons, free of round-off.
    return float(np.round(angle)) if abs(angle - np.round(angle)) < 1.0e-9 else float(angle)


def _read(path: Path) -> Atoms:
    # Most campaigns read no such file, and importing all of ASE's formats takes long.
    import ase.io
    from ase.io.formats import UnknownFileTypeError, filetype

    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        kind = filetype(str(path))
    except (UnknownFileTypeError, OSError, UnicodeDecodeError, StopIteration):
        kind = "unknown"
    if kind not in FORMATS:
        raise ValueError(f"{path}: its format is {kind}; expected one of {', '.join(FORMATS)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # ASE finds mpi4py and would wait for the other ranks, while only one reads.
            atoms = ase.io.read(
                str(path), index=-1, format=kind, parallel=False, do_not_split_by_at_sign=True
            )
    except Exception as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: ASE cannot read it as {kind}: {said}") from error
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise ValueError(f"{path}: holds no atoms")
    return atoms


def to_text(name: str, elements: tuple[str, ...], a: float, kind: Prototype) -> str:
    """Write a crystal as one line.

    Parameters
    ----------
    name : str
        Its name.
    elements : tuple of str
        Chemical symbols of the species.
    a : float
        Lattice constant, A.
    kind : Prototype
        Symmetry, shape and atoms.

    Returns
    -------
    str
        ``NAME{hall=529; cell=a b c alpha beta gamma; EL x y z; ...}`` with every digit.
    """
    cell = (a, a * kind.b_over_a, a * kind.c_over_a, *kind.angles)
    parts = [f"hall={kind.hall}", "cell=" + " ".join(f"{v!r}" for v in cell)]
    parts += [" ".join((elements[k], *(f"{v!r}" for v in site))) for k, site in kind.basis]
    return f"{name}{{{'; '.join(parts)}}}"


def from_text(text: str) -> tuple[str, tuple[str, ...], float, Prototype] | None:
    """Read what `to_text` wrote.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    tuple or None
        As from `read_crystal`; None when the text is of another kind.

    Raises
    ------
    ValueError
        When it is of that kind and damaged.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    name, hall, cell, atoms = match.groups()
    try:
        a, b, c, alpha, beta, gamma = (float(v) for v in cell.split())
        words = [atom.split() for atom in atoms.split(";")]
        sites = [(symbol, (float(x), float(y), float(z))) for symbol, x, y, z in words]
    except ValueError as error:
        raise ValueError(f"'{name}{{...}}' is damaged: {error}") from error
    elements = tuple(sorted({symbol for symbol, _ in sites}))
    if not set(elements) <= set(atomic_numbers) or not min(a, b, c) > 0 or not 1 <= int(hall) <= 530:
        raise ValueError(f"'{name}{{...}}' is damaged")
    basis = tuple((elements.index(symbol), site) for symbol, site in sites)
    return name, elements, a, Prototype(int(hall), basis, c / a, 1.0, b / a, (alpha, beta, gamma))
