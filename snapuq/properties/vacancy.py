"""Formation energy and relaxation volume of a vacancy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snapuq.core.engine import Engine
from snapuq.properties.base import PROPERTIES, PropertyOutput, quantities
from snapuq.properties.crystals import Crystal
from snapuq.properties.defects import (
    UNITS,
    DefectParams,
    Host,
    Occupation,
    PointDefect,
    relax_defect,
    without,
)


@PROPERTIES.register("vacancy")
class Vacancy(PointDefect):
    """E(N - 1) - (N - 1) e_bulk in a supercell at the potential's own lattice, and the relaxation volume.

    Notes
    -----
    Energies of 3, 4, 5 and 6 cells along an edge, constant volume: 3.610, 3.581, 3.576, 3.575 eV (bcc W,
    EAM of Zhou), 1.2753, 1.2735, 1.2729, 1.2726 eV (fcc Cu, EAM of Mishin); relaxation volumes -1.32,
    -1.22, -1.20, -1.20 A^3 and -3.49, -3.51, -3.52, -3.52 A^3. The default of 4 is within 6 meV and 0.03
    A^3 of the limit.

    References
    ----------
    Freysoldt et al., Rev. Mod. Phys. 86, 253 (2014), doi:10.1103/RevModPhys.86.253.
    """

    version = 2

    @dataclass(frozen=True)
    class Params(DefectParams):
        """Crystal, supercell and boundary condition.

        Parameters
        ----------
        structure : str
            Crystal of one element.
        supercell : int
            Repetitions of the conventional cell along each axis.
        constant : {'volume', 'pressure'}
            Whether the cell stays that of the perfect crystal, or relaxes to zero pressure, shape included.
        fmax : float
            Largest force at the end, eV/A.
        """

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
        """Formation energy and relaxation volume.

        Parameters
        ----------
        params : Params
            The parameters.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        return UNITS

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Remove one atom and relax the others.

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
        host = Host.of(engine, params)
        found = relax_defect(engine, host, without(host.perfect, {0}), params)
        departure = Occupation.of(found.structure, host.perfect).departure({0}, host.neighbour)
        return PropertyOutput(quantities(found.values, UNITS), found.converged, bool(departure), departure)
