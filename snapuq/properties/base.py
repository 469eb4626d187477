"""What a property is, and what all of them share."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.core.result import Quantity
from snapuq.errors import InputError, SimulationError, nearest
from snapuq.properties.cell_lengths import CellLength
from snapuq.properties.crystals import Crystal
from snapuq.registry import Registry
from snapuq.units import GPA_PER_EV_A3

#: J/m^2 in one eV/A^2.
J_M2_PER_EV_A2 = GPA_PER_EV_A3 / 10.0


@dataclass(frozen=True)
class PropertyOutput:
    """What one run of a property gave.

    Parameters
    ----------
    values : Mapping
        Quantity name to value and unit, those of ``outputs`` and no others.
    converged : bool
        Whether every relaxation reached its tolerance.
    reconfigured : bool
        Whether atoms left the configuration that was asked about.
    detail : str
        One line on what the final state is, where it was classified; few different ones, as they are counted.
    """

    values: Mapping[str, Quantity]
    converged: bool = True
    reconfigured: bool = False
    detail: str = ""


class Property(ABC):
    """A property: its parameters, its outputs, and how to compute it with any engine.

    ``Params`` is a frozen dataclass of plain data; its ``__post_init__`` raises ValueError with the name
    of the field when a value is impossible. ``version`` is raised when the definition of a number changes,
    so that results of the former one are computed again. ``ranked`` names the quantities whose order over
    like tasks means something, as that of the energies of phases. ``split_by`` names the field of ``Params``,
    a tuple, of which each item is a task of its own.
    """

    Params: ClassVar[Any]
    version: ClassVar[int] = 1
    ranked: ClassVar[tuple[str, ...]] = ()
    split_by: ClassVar[str] = ""

    @classmethod
    def expand(cls, params: Any) -> tuple[Any, ...]:
        """Split into the parameters of independent tasks.

        Parameters
        ----------
        params : Params
            What the user asked for.

        Returns
        -------
        tuple of Params
            One for each task.
        """
        if not cls.split_by:
            return (params,)
        items = getattr(params, cls.split_by)
        return tuple(dataclasses.replace(params, **{cls.split_by: (item,)}) for item in items)

    @classmethod
    def label(cls, params: Any) -> str:
        """Name one task within a campaign.

        Parameters
        ----------
        params : Params
            One of those that `expand` gave.

        Returns
        -------
        str
            Property, crystal and item, for example ``path-bcc-tetragonal``.
        """
        words = [PROPERTIES.name_of(cls), Crystal.parse(params.structure).label]
        if cls.split_by:
            words.append(str(getattr(params, cls.split_by)[0]))
        return "-".join(words)

    @staticmethod
    @abstractmethod
    def outputs(params: Any) -> Mapping[str, str]:
        """Quantities that one task gives.

        Parameters
        ----------
        params : Params
            One of those that `expand` gave.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """

    @staticmethod
    def cell_lengths(params: Any) -> tuple[CellLength, ...]:
        """Lengths of the simulation cell that the parameters set and the cutoff asks something of.

        Parameters
        ----------
        params : Params
            What the user asked for, with elements filled in by `bind`.

        Returns
        -------
        tuple of CellLength
            None for a property of the crystal's own cell.
        """
        return ()

    @staticmethod
    @abstractmethod
    def run(engine: Engine, params: Any, rng: np.random.Generator) -> PropertyOutput:
        """Compute one task.

        Parameters
        ----------
        engine : Engine
            The potential.
        params : Params
            One of those that `expand` gave, with elements filled in by `bind`.
        rng : numpy.random.Generator
            The only source of random numbers.

        Returns
        -------
        PropertyOutput
            Values for exactly the names of `outputs`.

        Raises
        ------
        SimulationError
            When the property does not exist for this potential, or the engine fails.
        """


PROPERTIES: Registry[type[Property]] = Registry("property")


def bind(params: Any, elements: Sequence[str]) -> Any:
    """Fill in the elements of the potential in all crystals of a ``Params``.

    Parameters
    ----------
    params : Params
        Crystals are its fields ``structure`` and ``structures``.
    elements : sequence of str
        Elements of the potential.

    Returns
    -------
    Params
        With elements in every crystal.

    Raises
    ------
    InputError
        When an element cannot be told, or the crystals do not go together.
    """
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(params):
        value = getattr(params, field.name)
        if field.name == "structure":
            changes[field.name] = Crystal.parse(value).bound(elements).text
        elif field.name == "structures":
            changes[field.name] = tuple(Crystal.parse(v).bound(elements).text for v in value)
    try:
        return dataclasses.replace(params, **changes)
    except ValueError as error:
        raise InputError(str(error)) from error


def build_params(name: str, data: Mapping[str, Any]) -> Any:
    """Build the parameters of a property from plain data.

    Parameters
    ----------
    name : str
        Registered name of the property.
    data : Mapping
        Field to value; lists stand for tuples.

    Returns
    -------
    Params
        The parameters.

    Raises
    ------
    InputError
        When the property or a field is unknown, or a value is impossible.
    """
    cls = PROPERTIES[name].Params
    known = [f.name for f in dataclasses.fields(cls)]
    for key in data:
        if key not in known:
            raise InputError(f"{name} has no parameter '{key}'", hint=nearest(key, known))
    try:
        return cls(**{key: _as_tuple(value) for key, value in data.items()})
    except (ValueError, TypeError) as error:
        raise InputError(str(error), key=name) from error


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True, eq=False)
class RelaxedCrystal:
    """A crystal at zero pressure.

    Parameters
    ----------
    crystal : Crystal
        Which one.
    primitive : Structure
        The relaxed cell.
    energy : float
        Energy per atom, eV.
    """

    crystal: Crystal
    primitive: Structure
    energy: float

    @property
    def volume(self) -> float:
        """Volume per atom, A^3."""
        return self.primitive.volume / len(self.primitive)

    @property
    def a(self) -> float:
        """Lattice parameter a of the conventional cell, A."""
        if self.crystal.kind.system != "cubic":
            return float(np.linalg.norm(self.primitive.cell[0]))
        unit = self.crystal.primitive(1.0, 1.0)
        return float((self.primitive.volume / unit.volume) ** (1.0 / 3.0))

    @property
    def c(self) -> float:
        """Lattice parameter c of the conventional cell, A."""
        return (
            self.a if self.crystal.kind.system == "cubic" else float(np.linalg.norm(self.primitive.cell[2]))
        )

    def conventional(self) -> Structure:
        """Conventional cell at zero pressure.

        Returns
        -------
        Structure
            The cell; a along x.
        """
        return self.crystal.conventional_of(self.primitive)

    @property
    def is_cubic(self) -> bool:
        """Whether the crystal is cubic."""
        return self.crystal.kind.system == "cubic"


def relax_crystal(engine: Engine, text: str) -> RelaxedCrystal:
    """Find the zero-pressure lattice of a crystal, keeping its symmetry.

    Parameters
    ----------
    engine : Engine
        The potential.
    text : str
        Crystal with its elements, as `Crystal.parse` reads it.

    Returns
    -------
    RelaxedCrystal
        The crystal; never an unconverged one.

    Raises
    ------
    SimulationError
        When no zero-pressure lattice is found near the first guess.
    """
    crystal = Crystal.parse(text)
    start = crystal.primitive(*crystal.size_guess())
    relaxed = engine.relax(start, cell=crystal.kind.freedom)
    if not relaxed.converged:
        # Large cells with many free coordinates may need more than one call allows.
        relaxed = engine.relax(relaxed.structure, cell=crystal.kind.freedom)
    if not relaxed.converged:
        raise SimulationError("not_converged", f"no zero-pressure lattice of {crystal.label} found")
    energy = relaxed.evaluation.energy / len(start)
    return RelaxedCrystal(crystal, relaxed.structure, energy)


def has_moved(start: Structure, end: Structure) -> bool:
    """Tell whether an atom left its site.

    Parameters
    ----------
    start, end : Structure
        The same atoms in the same cell before and after.

    Returns
    -------
    bool
        True if an atom moved, relative to the mean, by more than half the nearest-neighbour distance.
    """
    shift = end.positions - start.positions
    shift = shift - shift.mean(axis=0)
    return bool(np.linalg.norm(shift, axis=1).max() > 0.5 * start.nearest_distance())


def quantities(values: Mapping[str, float], units: Mapping[str, str]) -> dict[str, Quantity]:
    """Attach units, and refuse numbers that are not finite.

    Parameters
    ----------
    values : Mapping
        Quantity name to number.
    units : Mapping
        Quantity name to unit, the same names.

    Returns
    -------
    dict
        Quantity name to value and unit.

    Raises
    ------
    SimulationError
        When a number is not finite.
    """
    if set(values) != set(units):
        raise ValueError(f"expected the quantities {sorted(units)}, got {sorted(values)}")
    bad = [name for name in units if not np.isfinite(values[name])]
    if bad:
        raise SimulationError("not_finite", f"{bad[0]} is not finite")
    return {name: Quantity(float(values[name]), unit) for name, unit in units.items()}
