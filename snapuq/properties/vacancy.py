"""Formation energy of a vacancy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX, Engine
from snapuq.properties.base import (
    PROPERTIES,
    Property,
    PropertyOutput,
    check_crystals,
    has_moved,
    quantities,
    relax_crystal,
)
from snapuq.properties.crystals import PROTOTYPES, Crystal


@PROPERTIES.register("vacancy")
class Vacancy(Property):
    """E(N - 1) - (N - 1) e_bulk in a supercell at the potential's own lattice, ions relaxed.

    References
    ----------
    Freysoldt et al., Rev. Mod. Phys. 86, 253 (2014), doi:10.1103/RevModPhys.86.253.
    """

    @dataclass(frozen=True)
    class Params:
        """Crystal and supercell.

        Parameters
        ----------
        structure : str
            Crystal of one element.
        supercell : int
            Repetitions of the conventional cell along each axis.
        fmax : float
            Largest force at the end, eV/A.
        """

        structure: str = "bcc"
        supercell: int = 3
        fmax: float = FMAX

        def __post_init__(self) -> None:
            check_crystals("structure", self.structure)
            prototype = Crystal.parse(self.structure).prototype
            if PROTOTYPES[prototype].n_species > 1:
                raise ValueError(f"structure: expected a crystal of one element, got {self.structure}")
            if not 1 < self.supercell <= 20:
                raise ValueError(f"supercell: expected 2 to 20, got {self.supercell}")
            if not self.fmax > 0:
                raise ValueError(f"fmax: expected a positive number, got {self.fmax}")

    @staticmethod
    def label(params: Params) -> str:
        """Name the crystal.

        Parameters
        ----------
        params : Params
            The parameters.

        Returns
        -------
        str
            For example ``vacancy-bcc``.
        """
        return f"vacancy-{Crystal.parse(params.structure).label}"

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Formation energy.

        Parameters
        ----------
        params : Params
            The parameters.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        return {"formation_energy": "eV"}

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Remove one atom and relax the others in the fixed cell.

        Parameters
        ----------
        engine : Engine
            The potential.
        params : Params
            The parameters.
        rng : numpy.random.Generator
            Not used.

        Returns
        -------
        PropertyOutput
            The quantities of `outputs`.
        """
        bulk = relax_crystal(engine, params.structure)
        start = without_first(repeated(bulk.conventional(), params.supercell))
        relaxed = engine.relax(start, fmax=params.fmax)
        energy = relaxed.evaluation.energy - len(start) * bulk.energy
        return PropertyOutput(
            quantities({"formation_energy": energy}, Vacancy.outputs(params)),
            relaxed.converged,
            has_moved(start, relaxed.structure),
        )


def repeated(structure: Structure, n: int) -> Structure:
    """Repeat a cell along its three vectors.

    Parameters
    ----------
    structure : Structure
        The cell.
    n : int
        Repetitions along each.

    Returns
    -------
    Structure
        The supercell.
    """
    steps = np.array([(i, j, k) for i in range(n) for j in range(n) for k in range(n)], dtype=float)
    positions = (steps @ structure.cell)[:, None, :] + structure.positions[None]
    return Structure(n * structure.cell, positions.reshape(-1, 3), structure.species * len(steps))


def without_first(structure: Structure) -> Structure:
    """Remove the first atom.

    Parameters
    ----------
    structure : Structure
        At least two atoms.

    Returns
    -------
    Structure
        The others.
    """
    return Structure(structure.cell, structure.positions[1:], structure.species[1:])
