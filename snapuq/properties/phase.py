"""Lattice, volume and formation energy of crystals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from snapuq.core.engine import Engine
from snapuq.properties.base import (
    PROPERTIES,
    Property,
    PropertyOutput,
    check_crystals,
    quantities,
    relax_crystal,
)
from snapuq.properties.crystals import Crystal

#: Change of c/a, either way, beyond which a crystal is no longer the one that was asked about.
LARGEST_SHAPE_CHANGE = 1.2


@PROPERTIES.register("phase")
class Phase(Property):
    """Zero-pressure lattice of crystals, and their energy above the first one.

    References
    ----------
    Swinburne and Perez, Mach. Learn.: Sci. Technol. 6, 015008 (2025), doi:10.1088/2632-2153/ad9fce.
    """

    ranked = ("energy", "volume")

    @dataclass(frozen=True)
    class Params:
        """Crystals to compare.

        Parameters
        ----------
        structures : tuple of str
            Crystals of one composition, for example ``bcc``; the first is the ground state that formation
            energies refer to.
        """

        structures: tuple[str, ...] = ("bcc", "fcc", "hcp")

        def __post_init__(self) -> None:
            if not self.structures:
                raise ValueError("structures: expected at least one crystal, got none")
            check_crystals("structures", *self.structures)
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
        units = {"a": "A"} | ({} if crystal.kind.system == "cubic" else {"c": "A"})
        units |= {"volume": "A^3/atom", "energy": "eV/atom"}
        if len(params.structures) > 1:
            units[f"energy_above_{Crystal.parse(params.structures[0]).prototype}"] = "eV/atom"
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
            Not used.

        Returns
        -------
        PropertyOutput
            The quantities of `outputs`.
        """
        relaxed = relax_crystal(engine, params.structures[-1])
        values = {"a": relaxed.a, "volume": relaxed.volume, "energy": relaxed.energy}
        if not relaxed.is_cubic:
            values["c"] = relaxed.c
        if len(params.structures) > 1:
            ground = relax_crystal(engine, params.structures[0])
            values[f"energy_above_{ground.crystal.prototype}"] = relaxed.energy - ground.energy
        guess = relaxed.crystal.size_guess()
        shape = (relaxed.c / relaxed.a) / (guess[1] / guess[0])
        lost = not 1.0 / LARGEST_SHAPE_CHANGE < shape < LARGEST_SHAPE_CHANGE
        return PropertyOutput(quantities(values, Phase.outputs(params)), reconfigured=lost)
