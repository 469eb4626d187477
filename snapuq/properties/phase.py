"""Lattice, volume and formation energy of crystals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine, Relaxation
from snapuq.properties.base import (
    PROPERTIES,
    Property,
    PropertyOutput,
    RelaxedCrystal,
    quantities,
    relax_crystal,
)
from snapuq.properties.checks import check_choice, check_crystals
from snapuq.properties.crystals import Crystal, System
from snapuq.properties.identity import how_lost

#: Start of a relaxation without symmetry: standard deviations of the strain, and of the displacements
#: relative to the distance between neighbours.
RATTLE = 0.01
#: Start of the name of the energy above the ground state of an entry.
ABOVE = "energy_above_"
# A free relaxation of a large cell may take more than one call.
_MORE = 2

_ANGLES: dict[str, int] = {"alpha": 0, "beta": 1, "gamma": 2}
#: Lattice parameters beside a that the crystal system leaves free.
_PARAMETERS: dict[System, tuple[str, ...]] = {
    "cubic": (),
    "orthorhombic": ("b", "c"),
    "monoclinic": ("b", "c", "beta"),
    "triclinic": ("b", "c", "alpha", "beta", "gamma"),
}


@PROPERTIES.register("phase")
class Phase(Property):
    """Zero-pressure lattice of crystals, and their energy above the first one.

    Cell and atoms are relaxed within the space group; without symmetry, from there once more, strained and
    rattled at random. A crystal that is not the one asked about any more (c/a far from its prototype's, atoms
    on other sites, or another space group) is marked as reconfigured.

    References
    ----------
    Swinburne and Perez, Mach. Learn.: Sci. Technol. 6, 015008 (2025), doi:10.1088/2632-2153/ad9fce.
    """

    version = 2
    ranked = ("energy", "volume")

    @dataclass(frozen=True)
    class Params:
        """Crystals to compare.

        Parameters
        ----------
        structures : tuple of str
            Crystals of one composition, for example ``bcc``; the first is the ground state that formation
            energies refer to, always with its symmetry.
        symmetry : {'keep', 'free'}
            Whether the space group is kept.
        """

        structures: tuple[str, ...] = ("bcc", "fcc", "hcp")
        symmetry: Literal["keep", "free"] = "keep"

        def __post_init__(self) -> None:
            if not self.structures:
                raise ValueError("structures: expected at least one crystal, got none")
            check_crystals("structures", *self.structures)
            check_choice(self, "symmetry", ("keep", "free"))
            names = [Crystal.parse(s).label for s in self.structures]
            twice = [n for n in names if names.count(n) > 1]
            if twice:
                raise ValueError(f"structures: '{twice[0]}' is given twice")
            crystals = [Crystal.parse(s) for s in self.structures]
            for other in crystals[1:]:
                known = crystals[0].elements and other.elements
                if known and other.composition != crystals[0].composition:
                    raise ValueError(
                        f"structures: {other.label} has another composition than {crystals[0].label}, so no "
                        "formation energy; ask for it in a 'phase' entry of its own"
                    )

    @staticmethod
    def expand(params: Params) -> tuple[Params, ...]:
        """One task for each crystal, beside the ground state.

        Parameters
        ----------
        params : Params
            All crystals.

        Returns
        -------
        tuple of Params
            Ground state and one crystal each.
        """
        first = params.structures[0]
        rest = tuple(replace(params, structures=(first, other)) for other in params.structures[1:])
        return (replace(params, structures=(first,)), *rest)

    @staticmethod
    def label(params: Params) -> str:
        """Name the crystal.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        str
            For example ``phase-fcc``.
        """
        return f"phase-{Crystal.parse(params.structures[-1]).label}"

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Lattice parameters, volume and energies.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        crystal = Crystal.parse(params.structures[-1])
        free = _PARAMETERS.get(crystal.kind.system, ("c",))
        units = {"a": "A"} | {name: "deg" if name in _ANGLES else "A" for name in free}
        units |= {"volume": "A^3/atom", "energy": "eV/atom"}
        if len(params.structures) > 1:
            units[f"{ABOVE}{Crystal.parse(params.structures[0]).prototype}"] = "eV/atom"
        return units

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Relax the crystal and its ground state.

        Parameters
        ----------
        engine : Engine
            The potential.
        params : Params
            Of one task.
        rng : numpy.random.Generator
            Used for the start of a relaxation without symmetry.

        Returns
        -------
        PropertyOutput
            The quantities of `outputs`.
        """
        found = relax_crystal(engine, params.structures[-1])
        converged = True
        if params.symmetry == "free":
            relaxed = _relaxed_freely(engine, rattled(found.primitive, rng))
            energy = relaxed.evaluation.energy / len(relaxed.structure)
            found = RelaxedCrystal(found.crystal, relaxed.structure, energy)
            converged = relaxed.converged
        values = _lattice(found) | {"volume": found.volume, "energy": found.energy}
        if len(params.structures) > 1:
            ground = relax_crystal(engine, params.structures[0])
            values[f"{ABOVE}{ground.crystal.prototype}"] = found.energy - ground.energy
        lost = how_lost(found)
        return PropertyOutput(quantities(values, Phase.outputs(params)), converged, bool(lost), lost)


def _lattice(found: RelaxedCrystal) -> dict[str, float]:
    cell = found.primitive.cell
    lengths = np.linalg.norm(cell, axis=1)
    cosines = [cell[i] @ cell[j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    known = {"b": float(lengths[1]), "c": found.c}
    known |= {name: float(np.degrees(np.arccos(cosines[at]))) for name, at in _ANGLES.items()}
    free = _PARAMETERS.get(found.crystal.kind.system, ("c",))
    return {"a": found.a} | {name: known[name] for name in free}


def rattled(structure: Structure, rng: np.random.Generator) -> Structure:
    """Strain a cell and displace its atoms at random.

    Parameters
    ----------
    structure : Structure
        The crystal.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    Structure
        Without any symmetry.
    """
    strain = RATTLE * rng.standard_normal((3, 3))
    deformation = np.eye(3) + 0.5 * (strain + strain.T)
    shift = RATTLE * structure.nearest_distance() * rng.standard_normal(structure.positions.shape)
    return Structure(
        structure.cell @ deformation, (structure.positions + shift) @ deformation, structure.species
    )


def _relaxed_freely(engine: Engine, start: Structure) -> Relaxation:
    relaxed = engine.relax(start, cell="full")
    for _ in range(_MORE):
        if relaxed.converged:
            break
        relaxed = engine.relax(relaxed.structure, cell="full")
    return relaxed
