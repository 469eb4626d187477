"""Crystals by the name of a prototype or from a file: their cells, and a first guess of their size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, reference_states
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.errors import InputError, nearest
from snapuq.properties.prototypes import CENTRING, PROTOTYPES, Prototype, System
from snapuq.properties.structure_files import from_text, read_crystal, to_text

__all__ = ["PROTOTYPES", "Crystal", "Prototype", "System", "with_file"]

Array = NDArray[np.float64]

_PRIMITIVE = {
    "P": np.eye(3),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]),
}
_TEXT = re.compile(r"(\w+)(?::([A-Z][a-z]?(?:,[A-Z][a-z]?)*))?(?:@([0-9.]+)(?:,([0-9.]+))?)?")
_FILE = re.compile(r"([^{}@]+?)(?:@([0-9.]+)(?:,([0-9.]+))?)?")


@dataclass(frozen=True)
class Crystal:
    """A prototype with its elements and, if given, its size.

    Parameters
    ----------
    prototype : str
        Name in `PROTOTYPES`, or of the file.
    elements : tuple of str
        Chemical symbols of its species; empty means the only element of the potential.
    lattice_constant : float or None
        First guess of a, A; by default from the elements' known volumes.
    c_over_a : float or None
        First guess; by default the prototype's.
    own : Prototype or None
        What the file holds; None for a prototype by name.
    """

    prototype: str
    elements: tuple[str, ...] = ()
    lattice_constant: float | None = None
    c_over_a: float | None = None
    own: Prototype | None = None

    @classmethod
    def parse(cls, text: str) -> Crystal:
        """Read ``PROTOTYPE[:EL,EL][@a[,c/a]]`` or ``FILE[@a[,c/a]]``.

        Parameters
        ----------
        text : str
            For example ``bcc``, ``hcp:Be``, ``B2:W,Be``, ``fcc:Ar@5.3``, ``C15:W,W`` (one element on all
            sites), or a structure file that ASE reads, such as ``cells/Cr2Ta.cif``.

        Returns
        -------
        Crystal
            The crystal.

        Raises
        ------
        ValueError
            When the text, the prototype, the file or an element is unknown.
        """
        match = _TEXT.fullmatch(text)
        if match is not None and (match.group(1) in PROTOTYPES or not Path(text).is_file()):
            return cls._named(text, *match.groups())
        written = from_text(text)
        if written is not None:
            name, elements, a, own = written
            return cls(name, elements, a, None, own)
        match = _FILE.fullmatch(text)
        if match is None or not ("." in text or Path(match.group(1)).is_file()):
            raise ValueError(
                f"'{text}' is not a crystal; write for example bcc, hcp:Be, B2:W,Be@2.9 or a file"
            )
        file, *sizes = match.groups()
        name, elements, a, own = read_crystal(Path(file).expanduser())
        lattice_constant, ratio = _sizes(text, *sizes)
        if ratio is not None:
            own = replace(own, c_over_a=ratio)
        return cls(name, elements, lattice_constant or a, None, own)

    @classmethod
    def _named(cls, text: str, name: str, symbols: str | None, a: str | None, ratio: str | None) -> Crystal:
        if name not in PROTOTYPES:
            raise ValueError(f"unknown crystal '{name}'; {nearest(name, PROTOTYPES)}")
        elements = tuple(symbols.split(",")) if symbols else ()
        wanted = PROTOTYPES[name].n_species
        if elements and len(elements) != wanted:
            raise ValueError(f"'{text}': {name} has {wanted} species, got {len(elements)} elements")
        unknown = [e for e in elements if e not in atomic_numbers]
        if unknown:
            raise ValueError(f"'{text}': '{unknown[0]}' is not a chemical element")
        return cls(name, elements, *_sizes(text, a, ratio))

    @property
    def text(self) -> str:
        """What `parse` reads; of a file, all that was in it."""
        if self.own is not None and self.lattice_constant is not None:
            return to_text(self.prototype, self.elements, self.lattice_constant, self.own)
        text = self.prototype
        if self.elements:
            text += ":" + ",".join(self.elements)
        if self.lattice_constant is not None:
            text += f"@{self.lattice_constant!r}"
            text += "" if self.c_over_a is None else f",{self.c_over_a!r}"
        return text

    @property
    def label(self) -> str:
        """Name for labels, without sizes: ``bcc``, ``B2-W-Be``, or the name of the file."""
        return self.prototype if self.own is not None else "-".join([self.prototype, *self.elements])

    @property
    def kind(self) -> Prototype:
        """The prototype."""
        return PROTOTYPES[self.prototype] if self.own is None else self.own

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
            Elements of the potential; a single one takes all sites.

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
                    raise InputError(
                        f"the potential has no {element}", found=self.text, expected=", ".join(elements)
                    )
            return self
        if len(elements) > 1:
            example = ",".join((*elements, *elements)[: self.kind.n_species])
            raise InputError(
                "does not say which of the potential's elements it is made of",
                found=self.text,
                expected=f"for example {self.prototype}:{example}",
            )
        return replace(self, elements=tuple(elements) * self.kind.n_species)

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
        points = len(CENTRING[self.kind.centring])
        shape = float(np.linalg.det(self.kind.cell(1.0, ratio)))
        a = float((sum(volumes) * self.kind.openness * points / shape) ** (1.0 / 3.0))
        return a, a * ratio

    def conventional(self, a: float, c: float) -> Structure:
        """Conventional cell; a along x, b in the plane of x and y.

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
        sites = [(k, np.add(site, shift)) for shift in CENTRING[kind.centring] for k, site in kind.basis]
        return self._structure(kind.cell(a, c), sites)

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
        vectors = _PRIMITIVE[kind.centring]
        sites = [(k, np.linalg.solve(vectors.T, np.array(site, dtype=float))) for k, site in kind.basis]
        return self._structure(vectors * a, sites)

    def conventional_of(self, primitive: Structure) -> Structure:
        """Conventional cell of a relaxed primitive one, free coordinates as relaxed.

        Parameters
        ----------
        primitive : Structure
            The cell of `primitive` at another size, its atoms within their Wyckoff positions.

        Returns
        -------
        Structure
            The cell; a along x.
        """
        if self.kind.system != "cubic":
            return primitive
        vectors = _PRIMITIVE[self.kind.centring]
        a = (primitive.volume / float(np.linalg.det(vectors))) ** (1.0 / 3.0)
        sites = primitive.positions @ np.linalg.inv(primitive.cell) @ vectors
        shifts = np.array(CENTRING[self.kind.centring])
        fractional = (sites + shifts[:, None]).reshape(-1, 3)
        return Structure(a * np.eye(3), _wrapped(fractional) * a, primitive.species * len(shifts))

    def _structure(self, cell: Array, sites: Sequence[tuple[int, Array]]) -> Structure:
        fractional = np.array([site for _, site in sites], dtype=float)
        return Structure(cell, _wrapped(fractional) @ cell, tuple(self.elements[k] for k, _ in sites))


def with_file(text: str, folder: Path) -> str:
    """Replace the name of a structure file by what it holds.

    Parameters
    ----------
    text : str
        Crystal, as the user wrote it.
    folder : Path
        Where relative paths start.

    Returns
    -------
    str
        The text of the file's crystal; any other text as it is.

    Raises
    ------
    ValueError
        When it names a file that cannot be read.
    """
    match = _FILE.fullmatch(text)
    name = None if match is None else match.group(1)
    if name is None or name.split(":")[0] in PROTOTYPES:
        return text
    path = folder / Path(name).expanduser()
    if not ("." in name or "/" in name or path.is_file()):
        return text
    return Crystal.parse(f"{path}{text[len(name) :]}").text


def _sizes(text: str, a: str | None, ratio: str | None) -> tuple[float | None, float | None]:
    try:
        sizes = (None if a is None else float(a), None if ratio is None else float(ratio))
    except ValueError:
        sizes = (-1.0, None)
    if any(s is not None and not s > 0 for s in sizes):
        raise ValueError(f"'{text}': expected a positive size after '@'")
    return sizes


def _wrapped(fractional: Array) -> Array:
    """Bring coordinates into the cell; those of a lattice plane within round-off are at its origin."""
    inside = fractional % 1.0
    return np.where(inside > 1.0 - 1.0e-12, 0.0, inside)


@lru_cache(maxsize=128)
def _atomic_volume(element: str) -> float:
    """Volume per atom of the element in a close-packed crystal, A^3, from ASE's reference states."""
    # Takes long to import, and a campaign that has finished does not need it.
    import ase.build

    state = reference_states[atomic_numbers[element]]
    try:
        atoms = ase.build.bulk(element)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"the size of {element} is not tabulated", hint=f"add it, for example bcc:{element}@3.2"
        ) from None
    openness = PROTOTYPES[state["symmetry"]].openness if state["symmetry"] in PROTOTYPES else 1.0
    return float(atoms.get_volume()) / len(atoms) / openness
