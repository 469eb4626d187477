"""Crystal prototypes from their space groups and occupied Wyckoff positions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import spglib
from numpy.typing import NDArray

from snapuq.core.engine import CellFreedom

if hasattr(spglib, "error"):
    # As phonopy does: errors are raised; otherwise spglib from 2.7 warns at every call.
    spglib.error.OLD_ERROR_HANDLING = False

System = Literal["cubic", "hexagonal", "trigonal", "tetragonal", "orthorhombic", "monoclinic", "triclinic"]
Array = NDArray[np.float64]
Site = tuple[float, float, float]

_H = 0.5
_Q = 0.25
_T = 1.0 / 3.0
#: Lattice points of the conventional cell, by the first letter of the space group's symbol.
CENTRING: dict[str, tuple[Site, ...]] = {
    "P": ((0.0, 0.0, 0.0),),
    "A": ((0.0, 0.0, 0.0), (0.0, _H, _H)),
    "B": ((0.0, 0.0, 0.0), (_H, 0.0, _H)),
    "C": ((0.0, 0.0, 0.0), (_H, _H, 0.0)),
    "I": ((0.0, 0.0, 0.0), (_H, _H, _H)),
    "F": ((0.0, 0.0, 0.0), (0.0, _H, _H), (_H, 0.0, _H), (_H, _H, 0.0)),
    "R": ((0.0, 0.0, 0.0), (2.0 * _T, _T, _T), (_T, 2.0 * _T, 2.0 * _T)),
}
#: First number of each crystal system's space groups.
_SYSTEMS: tuple[tuple[int, System], ...] = (
    (195, "cubic"),
    (168, "hexagonal"),
    (143, "trigonal"),
    (75, "tetragonal"),
    (16, "orthorhombic"),
    (3, "monoclinic"),
    (1, "triclinic"),
)
_FREEDOM: dict[System, CellFreedom] = {
    "cubic": "isotropic",
    "monoclinic": "full",
    "triclinic": "full",
}
# Fractional coordinates closer than this are one site; published ones have three digits or more.
_SAME = 1.0e-4


@dataclass(frozen=True)
class Prototype:
    """A crystal structure type.

    Parameters
    ----------
    hall : int
        Hall number of the space group in this setting, as spglib counts them (1 to 530).
    basis : tuple of (int, (float, float, float))
        Species index and fractional coordinates in the conventional cell, one atom of each lattice point.
    c_over_a : float
        First guess; 1 for cubic crystals.
    openness : float
        Typical volume per atom relative to a close-packed crystal, for the first guess.
    b_over_a : float
        First guess; other than 1 from the orthorhombic system downwards.
    angles : tuple of float
        Angles alpha, beta and gamma of the conventional cell, degrees.
    """

    hall: int
    basis: tuple[tuple[int, Site], ...]
    c_over_a: float = 1.0
    openness: float = 1.0
    b_over_a: float = 1.0
    angles: tuple[float, float, float] = (90.0, 90.0, 90.0)

    @property
    def number(self) -> int:
        """Number of the space group in the International Tables."""
        return _type(self.hall)[0]

    @property
    def centring(self) -> str:
        """Centring of the conventional cell, a key of `CENTRING`."""
        return _type(self.hall)[1]

    @property
    def system(self) -> System:
        """Crystal system, which sets the freedom of the cell and its lattice parameters."""
        return next(system for first, system in _SYSTEMS if self.number >= first)

    @property
    def n_species(self) -> int:
        """Number of different elements."""
        return 1 + max(kind for kind, _ in self.basis)

    @property
    def freedom(self) -> CellFreedom:
        """Freedom of the cell that keeps the symmetry."""
        return _FREEDOM.get(self.system, "axes")

    def cell(self, a: float, c: float) -> Array:
        """Conventional cell; a along x, b in the plane of x and y.

        Parameters
        ----------
        a, c : float
            Lattice parameters, A.

        Returns
        -------
        ndarray, shape (3, 3)
            Cell vectors as rows, A.
        """
        cosines = np.cos(np.radians(self.angles))
        # Exact zeros, so that symmetric cells are symmetric to the last bit.
        ca, cb, cg = np.where(np.abs(cosines) < 1.0e-15, 0.0, cosines)
        sg = np.sqrt(1.0 - cg**2)
        y = (ca - cb * cg) / sg
        b = a * self.b_over_a
        rows = [[a, 0.0, 0.0], [b * cg, b * sg, 0.0], [c * cb, c * y, c * np.sqrt(1.0 - cb**2 - y**2)]]
        return np.array(rows)

    @property
    def point_group(self) -> Array:
        """Rotations of the crystal in Cartesian coordinates, shape (n, 3, 3); they hold at any size."""
        columns = self.cell(1.0, self.c_over_a).T
        rotations = np.unique(_operations(self.hall)[0], axis=0)
        return np.array(columns @ rotations @ np.linalg.inv(columns))


@lru_cache(maxsize=530)
def _type(hall: int) -> tuple[int, str]:
    """Number of the space group and its centring."""
    kind = spglib.get_spacegroup_type(hall)
    if kind is None:
        raise ValueError(f"hall: expected a Hall number from 1 to 530, got {hall}")
    return int(kind.number), str(kind.international_short)[0]


@lru_cache(maxsize=64)
def _operations(hall: int) -> tuple[Array, Array]:
    """Rotations and translations on fractional coordinates of the conventional cell."""
    found = spglib.get_symmetry_from_database(hall)
    if found is None:
        raise ValueError(f"hall: expected a Hall number from 1 to 530, got {hall}")
    return np.array(found["rotations"], dtype=float), np.array(found["translations"], dtype=float)


def _first_hall(number: int) -> int:
    """Hall number of the first setting: hexagonal axes, origin choice 1, unique axis b."""
    # Hall numbers ascend with the number of the space group.
    return 1 + bisect_left(range(1, 531), number, key=lambda hall: _type(hall)[0])


def one_per_lattice_point(atoms: Sequence[tuple[int, Array]], centring: str) -> list[tuple[int, Site]]:
    """Reduce the atoms of a conventional cell to those of one lattice point.

    Parameters
    ----------
    atoms : sequence of (int, ndarray)
        Species index and fractional coordinates.
    centring : str
        A key of `CENTRING`.

    Returns
    -------
    list of (int, (float, float, float))
        The first of each set of equivalent atoms.
    """
    shifts = np.array(CENTRING[centring])
    kept: list[tuple[int, Site]] = []
    for kind, site in atoms:
        known = np.array([other for k, other in kept if k == kind]).reshape(-1, 1, 3)
        apart = np.asarray(site) + shifts - known
        if (np.abs(apart - np.round(apart)).max(axis=2) > _SAME).all():
            x, y, z = (float(v) for v in site)
            kept.append((kind, (x, y, z)))
    return kept


def prototype(
    number: int, *sites: tuple[int, Site], c_over_a: float = 1.0, openness: float = 1.0
) -> Prototype:
    """Build a prototype from one atom of each orbit.

    Parameters
    ----------
    number : int
        Space group; its first setting in the International Tables is meant, with hexagonal axes.
    *sites : tuple of (int, (float, float, float))
        Species index and fractional coordinates of an atom on each occupied Wyckoff position.
    c_over_a : float
        First guess.
    openness : float
        Typical volume per atom relative to a close-packed crystal.

    Returns
    -------
    Prototype
        With the atoms of all orbits.
    """
    hall = _first_hall(number)
    rotations, translations = _operations(hall)
    orbits = [(k, (rotations @ np.array(site) + translations) % 1.0) for k, site in sites]
    atoms = [(kind, image) for kind, orbit in orbits for image in orbit]
    basis = tuple(one_per_lattice_point(atoms, _type(hall)[1]))
    gamma = 120.0 if 143 <= number < 195 else 90.0
    return Prototype(hall, basis, c_over_a, openness, angles=(90.0, 90.0, gamma))


#: Prototypes by Strukturbericht or common name; the first element sits on species 0. Free coordinates are
#: those of the compound that gave the name, and are relaxed with the cell.
PROTOTYPES: dict[str, Prototype] = {
    "sc": prototype(221, (0, (0, 0, 0)), openness=1.15),
    "bcc": prototype(229, (0, (0, 0, 0))),
    "fcc": prototype(225, (0, (0, 0, 0))),
    "diamond": prototype(227, (0, (0, 0, 0)), openness=1.4),
    "hcp": prototype(194, (0, (_T, 2 * _T, _Q)), c_over_a=1.633),
    "dhcp": prototype(194, (0, (0, 0, 0)), (0, (_T, 2 * _T, _Q)), c_over_a=3.266),
    "omega": prototype(191, (0, (0, 0, 0)), (0, (_T, 2 * _T, _H)), c_over_a=0.62),
    "betaSn": prototype(141, (0, (0, 0, 0)), c_over_a=0.546, openness=1.05),
    # Topologically close-packed phases: Cr3Si, sigma CrFe, alpha Mn (chi), Fe7W6 (mu).
    "A15": prototype(223, (0, (0, 0, 0)), (0, (_Q, 0, _H))),
    "sigma": prototype(
        136,
        (0, (0, 0, 0)),
        (0, (0.3986, 0.3986, 0)),
        (0, (0.4635, 0.1312, 0)),
        (0, (0.7393, 0.0661, 0)),
        (0, (0.1827, 0.1827, 0.2520)),
        c_over_a=0.518,
    ),
    "chi": prototype(
        217,
        (0, (0, 0, 0)),
        (0, (0.317, 0.317, 0.317)),
        (0, (0.356, 0.356, 0.034)),
        (0, (0.089, 0.089, 0.282)),
    ),
    "mu": prototype(
        166,
        (0, (0, 0, 0)),
        (0, (0, 0, 0.1654)),
        (0, (0, 0, 0.3465)),
        (0, (0, 0, 0.4477)),
        (0, (0.8333, -0.8333, 0.2573)),
        c_over_a=5.43,
    ),
    # Laves phases: MgZn2, MgCu2, MgNi2.
    "C14": prototype(194, (0, (_T, 2 * _T, 0.062)), (1, (0, 0, 0)), (1, (0.830, 1.660, _Q)), c_over_a=1.64),
    "C15": prototype(227, (0, (0, 0, 0)), (1, (0.625, 0.625, 0.625))),
    "C36": prototype(
        194,
        (0, (0, 0, 0.094)),
        (0, (_T, 2 * _T, 0.844)),
        (1, (_T, 2 * _T, 0.125)),
        (1, (_H, 0, 0)),
        (1, (0.167, 0.334, _Q)),
        c_over_a=3.27,
    ),
    "B1": prototype(225, (0, (0, 0, 0)), (1, (_H, _H, _H)), openness=1.1),
    "B2": prototype(221, (0, (0, 0, 0)), (1, (_H, _H, _H))),
    "B3": prototype(216, (0, (0, 0, 0)), (1, (_Q, _Q, _Q)), openness=1.4),
    "B32": prototype(227, (0, (0, 0, 0)), (1, (_H, _H, _H))),
    "L1_2": prototype(221, (0, (0, _H, _H)), (1, (0, 0, 0))),
    "L1_0": prototype(123, (0, (0, 0, 0)), (0, (_H, _H, 0)), (1, (0, _H, _H))),
    "D0_3": prototype(225, (0, (_H, _H, _H)), (0, (_Q, _Q, _Q)), (1, (0, 0, 0))),
    "D2_b": prototype(
        139, (0, (0, 0, 0)), (1, (_Q, _Q, _Q)), (1, (0.361, 0, 0)), (1, (0.277, _H, 0)), c_over_a=0.585
    ),
}
