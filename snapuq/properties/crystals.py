"""Crystal prototypes by name, their primitive and conventional cells, and a first guess of their size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import ase.build
import numpy as np
from ase.data import atomic_numbers, reference_states
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import CellFreedom
from snapuq.errors import InputError, nearest

System = Literal["cubic", "hexagonal", "tetragonal"]
Array = NDArray[np.float64]
Site = tuple[float, float, float]

_CENTRING = {
    "P": np.eye(3),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]),
}
_TEXT = re.compile(r"(\w+)(?::([A-Z][a-z]?(?:,[A-Z][a-z]?)*))?(?:@([0-9.]+)(?:,([0-9.]+))?)?")


@dataclass(frozen=True)
class Prototype:
    """A crystal structure type.

    Parameters
    ----------
    system : {'cubic', 'hexagonal', 'tetragonal'}
        Crystal system, which sets the freedom of the cell and the independent elastic constants.
    centring : {'P', 'I', 'F'}
        Centring of the conventional cell; `basis` holds one atom of each lattice point.
    basis : tuple of (int, (float, float, float))
        Species index and fractional coordinates in the conventional cell.
    c_over_a : float
        First guess; 1 for cubic crystals.
    openness : float
        Typical volume per atom relative to a close-packed crystal, for the first guess.
    """

    system: System
    centring: Literal["P", "I", "F"]
    basis: tuple[tuple[int, Site], ...]
    c_over_a: float = 1.0
    openness: float = 1.0

    @property
    def n_species(self) -> int:
        """Number of different elements."""
        return 1 + max(kind for kind, _ in self.basis)

    @property
    def freedom(self) -> CellFreedom:
        """Freedom of the cell that keeps the symmetry."""
        return "isotropic" if self.system == "cubic" else "axes"


def _atoms(kind: int, *sites: Site) -> tuple[tuple[int, Site], ...]:
    return tuple((kind, site) for site in sites)


_H = 0.5
_Q = 0.25
_T = 1.0 / 3.0
_A15 = ((_Q, 0, _H), (0.75, 0, _H), (_H, _Q, 0), (_H, 0.75, 0), (0, _H, _Q), (0, _H, 0.75))
# Be2W and Be12W: first guesses of the free coordinates, relaxed with the cell.
_C14_A = ((_T, 2 * _T, 0.062), (2 * _T, _T, 0.562), (2 * _T, _T, -0.062), (_T, 2 * _T, 0.438))
_C14_6H = tuple(
    (sign * x, sign * y, sign * _Q)
    for sign in (1, -1)
    for x, y in ((0.830, 1.660), (-1.660, -0.830), (0.830, -0.830))
)
_D2B = (
    *((x, y, z) for x, y in ((_Q, _Q), (0.75, _Q)) for z in (_Q, 0.75)),
    *((0.361, 0, 0), (-0.361, 0, 0), (0, 0.361, 0), (0, -0.361, 0)),
    *((0.277, _H, 0), (-0.277, _H, 0), (_H, 0.277, 0), (_H, -0.277, 0)),
)

#: Prototypes by Strukturbericht or common name; the first element sits on species 0.
PROTOTYPES: dict[str, Prototype] = {
    "sc": Prototype("cubic", "P", _atoms(0, (0, 0, 0)), openness=1.15),
    "bcc": Prototype("cubic", "I", _atoms(0, (0, 0, 0))),
    "fcc": Prototype("cubic", "F", _atoms(0, (0, 0, 0))),
    "diamond": Prototype("cubic", "F", _atoms(0, (0, 0, 0), (_Q, _Q, _Q)), openness=1.4),
    "A15": Prototype("cubic", "P", _atoms(0, (0, 0, 0), (_H, _H, _H), *_A15)),
    "hcp": Prototype("hexagonal", "P", _atoms(0, (_T, 2 * _T, _Q), (2 * _T, _T, 0.75)), 1.633),
    "omega": Prototype("hexagonal", "P", _atoms(0, (0, 0, 0), (_T, 2 * _T, _H), (2 * _T, _T, _H)), 0.62),
    "betaSn": Prototype("tetragonal", "I", _atoms(0, (0, 0, 0), (0, _H, _Q)), 0.546, 1.05),
    "B1": Prototype("cubic", "F", (*_atoms(0, (0, 0, 0)), *_atoms(1, (_H, 0, 0))), openness=1.1),
    "B2": Prototype("cubic", "P", (*_atoms(0, (0, 0, 0)), *_atoms(1, (_H, _H, _H)))),
    "B3": Prototype("cubic", "F", (*_atoms(0, (0, 0, 0)), *_atoms(1, (_Q, _Q, _Q))), openness=1.4),
    "B32": Prototype(
        "cubic", "F", (*_atoms(0, (0, 0, 0), (_Q, _Q, _Q)), *_atoms(1, (_H, _H, _H), (0.75, 0.75, 0.75)))
    ),
    "L1_2": Prototype(
        "cubic", "P", (*_atoms(0, (0, _H, _H), (_H, 0, _H), (_H, _H, 0)), *_atoms(1, (0, 0, 0)))
    ),
    "L1_0": Prototype(
        "tetragonal", "P", (*_atoms(0, (0, 0, 0), (_H, _H, 0)), *_atoms(1, (_H, 0, _H), (0, _H, _H)))
    ),
    "D0_3": Prototype(
        "cubic", "F", (*_atoms(0, (_H, _H, _H), (_Q, _Q, _Q), (0.75, 0.75, 0.75)), *_atoms(1, (0, 0, 0)))
    ),
    "C15": Prototype(
        "cubic",
        "F",
        (
            *_atoms(0, (0, 0, 0), (_Q, _Q, _Q)),
            *_atoms(1, (0.625, 0.625, 0.625), (0.625, 0.875, 0.875)),
            *_atoms(1, (0.875, 0.625, 0.875), (0.875, 0.875, 0.625)),
        ),
    ),
    "C14": Prototype(
        "hexagonal",
        "P",
        (*_atoms(0, *_C14_A), *_atoms(1, (0, 0, 0), (0, 0, _H), *_C14_6H)),
        1.64,
    ),
    "D2_b": Prototype("tetragonal", "I", (*_atoms(0, (0, 0, 0)), *_atoms(1, *_D2B)), 0.585),
}


@dataclass(frozen=True)
class Crystal:
    """A prototype with its elements and, if given, its size.

    Parameters
    ----------
    prototype : str
        Name in `PROTOTYPES`.
    elements : tuple of str
        Chemical symbols of its species; empty means the only element of the potential.
    lattice_constant : float or None
        First guess of a, A; by default from the elements' known volumes.
    c_over_a : float or None
        First guess; by default the prototype's.
    """

    prototype: str
    elements: tuple[str, ...] = ()
    lattice_constant: float | None = None
    c_over_a: float | None = None

    @classmethod
    def parse(cls, text: str) -> Crystal:
        """Read ``PROTOTYPE[:EL,EL][@a[,c/a]]``.

        Parameters
        ----------
        text : str
            For example ``bcc``, ``hcp:Be``, ``B2:W,Be`` or ``fcc:Ar@5.3``.

        Returns
        -------
        Crystal
            The crystal.

        Raises
        ------
        ValueError
            When the text, the prototype or an element is unknown.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' is not a crystal; write for example bcc, hcp:Be or B2:W,Be@2.9")
        name, symbols, a, ratio = match.groups()
        if name not in PROTOTYPES:
            raise ValueError(f"unknown crystal '{name}'; {nearest(name, PROTOTYPES)}")
        elements = tuple(symbols.split(",")) if symbols else ()
        wanted = PROTOTYPES[name].n_species
        if elements and len(elements) != wanted:
            raise ValueError(f"'{text}': {name} has {wanted} species, got {len(elements)} elements")
        unknown = [e for e in elements if e not in atomic_numbers]
        if unknown:
            raise ValueError(f"'{text}': '{unknown[0]}' is not a chemical element")
        sizes = [None if s is None else float(s) for s in (a, ratio)]
        if any(s is not None and not s > 0 for s in sizes):
            raise ValueError(f"'{text}': expected a positive size after '@'")
        return cls(name, elements, *sizes)

    @property
    def text(self) -> str:
        """What `parse` reads."""
        text = self.prototype
        if self.elements:
            text += ":" + ",".join(self.elements)
        if self.lattice_constant is not None:
            text += f"@{self.lattice_constant!r}"
            text += "" if self.c_over_a is None else f",{self.c_over_a!r}"
        return text

    @property
    def label(self) -> str:
        """Name for labels, without sizes: ``bcc`` or ``B2-W-Be``."""
        return "-".join([self.prototype, *self.elements])

    @property
    def kind(self) -> Prototype:
        """The prototype."""
        return PROTOTYPES[self.prototype]

    @property
    def composition(self) -> dict[str, float]:
        """Fraction of each element."""
        kinds = [self.elements[k] for k, _ in self.kind.basis]
        return {e: kinds.count(e) / len(kinds) for e in sorted(set(kinds))}

    def bound(self, elements: Sequence[str]) -> Crystal:
        """Fill in the elements of a potential where none are written.

        Parameters
        ----------
        elements : sequence of str
            Elements of the potential.

        Returns
        -------
        Crystal
            With elements.

        Raises
        ------
        InputError
            When they cannot be told, or the potential does not know one.
        """
        if self.elements:
            for element in self.elements:
                if element not in elements:
                    raise InputError(f"the potential has no {element}", found=self.text)
            return self
        if len(elements) != self.kind.n_species or len(elements) > 1:
            example = ",".join((*elements, *elements)[: self.kind.n_species])
            raise InputError(
                "which elements?", found=self.text, expected=f"for example {self.prototype}:{example}"
            )
        return replace(self, elements=tuple(elements))

    def size_guess(self) -> tuple[float, float]:
        """First guess of the lattice parameters.

        Returns
        -------
        a, c : float
            A; equal for cubic crystals.

        Raises
        ------
        InputError
            When an element's volume is not tabulated and no lattice constant is given.
        """
        ratio = self.kind.c_over_a if self.c_over_a is None else self.c_over_a
        if self.lattice_constant is not None:
            return self.lattice_constant, self.lattice_constant * ratio
        volumes = [_atomic_volume(self.elements[kind]) for kind, _ in self.kind.basis]
        points = round(1.0 / np.linalg.det(_CENTRING[self.kind.centring]))
        shape = ratio * (np.sqrt(0.75) if self.kind.system == "hexagonal" else 1.0)
        a = float((sum(volumes) * self.kind.openness * points / shape) ** (1.0 / 3.0))
        return a, a * ratio

    def conventional(self, a: float, c: float) -> Structure:
        """Conventional cell; a along x, and c along z.

        Parameters
        ----------
        a, c : float
            Lattice parameters, A.

        Returns
        -------
        Structure
            The cell.
        """
        kind = self.kind
        shifts: list[Site] = {
            "P": [(0.0, 0.0, 0.0)],
            "I": [(0, 0, 0), (_H, _H, _H)],
            "F": [(0, 0, 0), (0, _H, _H), (_H, 0, _H), (_H, _H, 0)],
        }[kind.centring]
        sites = [(k, np.add(site, shift)) for shift in shifts for k, site in kind.basis]
        return self._structure(_cell(kind.system, a, c), sites)

    def primitive(self, a: float, c: float) -> Structure:
        """Smallest cell of a cubic or primitive lattice; the conventional cell of other lattices.

        Parameters
        ----------
        a, c : float
            Lattice parameters, A.

        Returns
        -------
        Structure
            The cell, in the axes of the conventional one.
        """
        kind = self.kind
        if kind.system != "cubic":
            return self.conventional(a, c)
        vectors = _CENTRING[kind.centring]
        sites = [(k, np.linalg.solve(vectors.T, np.array(site, dtype=float))) for k, site in kind.basis]
        return self._structure(vectors * a, sites)

    def _structure(self, cell: Array, sites: Sequence[tuple[int, Array]]) -> Structure:
        fractional = np.array([site for _, site in sites], dtype=float)
        return Structure(cell, (fractional % 1.0) @ cell, tuple(self.elements[k] for k, _ in sites))


def _cell(system: System, a: float, c: float) -> Array:
    if system == "hexagonal":
        return np.array([[a, 0.0, 0.0], [-0.5 * a, np.sqrt(0.75) * a, 0.0], [0.0, 0.0, c]])
    return np.diag([a, a, c])


@lru_cache(maxsize=128)
def _atomic_volume(element: str) -> float:
    """Volume per atom of the element in a close-packed crystal, A^3, from ASE's reference states."""
    state = reference_states[atomic_numbers[element]]
    try:
        atoms = ase.build.bulk(element)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"the size of {element} is not tabulated", hint=f"add it, for example bcc:{element}@3.2"
        ) from None
    openness = PROTOTYPES[state["symmetry"]].openness if state["symmetry"] in PROTOTYPES else 1.0
    return float(atoms.get_volume()) / len(atoms) / openness
