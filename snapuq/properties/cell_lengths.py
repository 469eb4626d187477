"""Lengths of simulation cells as parameters set them, to be held against the cutoff of a potential."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.properties.crystals import Crystal


@dataclass(frozen=True)
class CellLength:
    """A length of the simulation cell that one parameter sets.

    Parameters
    ----------
    key : str
        The parameter.
    value : int or float
        What it is; an integer counts repetitions, which the length is proportional to, and any other number
        is a length itself, A.
    length : float
        The length that results, A, at the first guess of the crystal's size.
    cutoffs : int
        Cutoffs that it should hold: two between opposite faces of a supercell or a slab, so that no atom
        meets another one twice or both surfaces; one across empty space, so that the surfaces do not meet.
    """

    key: str
    value: int | float
    length: float
    cutoffs: int = 2

    def enough(self, cutoff: float) -> int | float:
        """Smallest value of the parameter that would do.

        Parameters
        ----------
        cutoff : float
            Cutoff of the potential, A.

        Returns
        -------
        int or float
            Repetitions, or A rounded up to a tenth.
        """
        needed = self.cutoffs * cutoff
        if isinstance(self.value, int):
            return math.ceil(self.value * needed / self.length - 1.0e-9)
        return math.ceil(10.0 * needed - 1.0e-9) / 10.0


def face_distances(text: str) -> NDArray[np.float64]:
    """Distances between opposite faces of a crystal's conventional cell.

    Parameters
    ----------
    text : str
        Crystal with its elements, as `Crystal.parse` reads it.

    Returns
    -------
    ndarray, shape (3,)
        A, at the first guess of its size.

    Raises
    ------
    InputError
        When an element's volume is not tabulated and no lattice constant is given.
    """
    crystal = Crystal.parse(text)
    cell = crystal.conventional(*crystal.size_guess()).cell
    distances: NDArray[np.float64] = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return distances


def repeated_length(text: str, supercell: int) -> CellLength:
    """Length of a supercell of conventional cells, set by the parameter ``supercell``.

    Parameters
    ----------
    text : str
        Crystal with its elements.
    supercell : int
        Repetitions along each axis.

    Returns
    -------
    CellLength
        Between the faces that are closest to each other.
    """
    return CellLength("supercell", supercell, supercell * float(face_distances(text).min()))


def spanned_length(text: str, least: float) -> CellLength:
    """Length of a supercell that the parameter ``supercell_length`` asks for.

    Parameters
    ----------
    text : str
        Crystal with its elements.
    least : float
        Conventional cells are repeated until opposite faces are this far apart, A.

    Returns
    -------
    CellLength
        Between the faces that are closest to each other.
    """
    distances = face_distances(text)
    repeats = np.ceil(least / distances - 1.0e-9)
    return CellLength("supercell_length", float(least), float((repeats * distances).min()))


def slab_lengths(text: str, thickness: float | None, usual: float, vacuum: float) -> tuple[CellLength, ...]:
    """Lengths of a slab, set by the parameters ``thickness`` and ``vacuum``.

    Parameters
    ----------
    text : str
        Crystal with its elements.
    thickness : float or None
        Least thickness, A.
    usual : float
        What stands for no thickness, in cube roots of the volume per atom.
    vacuum : float
        Empty space between slabs, A.

    Returns
    -------
    tuple of CellLength
        Of the slab and of the empty space.
    """
    crystal = Crystal.parse(text)
    cell = crystal.primitive(*crystal.size_guess())
    known = thickness or usual * (cell.volume / len(cell)) ** (1.0 / 3.0)
    return CellLength("thickness", known, known), CellLength("vacuum", float(vacuum), float(vacuum), 1)
