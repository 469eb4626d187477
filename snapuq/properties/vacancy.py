"""Formation energy and relaxation volume of a vacancy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snapuq.core.engine import Engine
from snapuq.properties.base import PROPERTIES, PropertyOutput, quantities
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

    Params = DefectParams

    @staticmethod
    def outputs(params: DefectParams) -> Mapping[str, str]:
        """Formation energy and relaxation volume.

        Parameters
        ----------
        params : DefectParams
            The parameters.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        return UNITS

    @staticmethod
    def run(engine: Engine, params: DefectParams, rng: np.random.Generator) -> PropertyOutput:
        """Remove one atom and relax the others.

        Parameters
        ----------
        engine : Engine
            The potential.
        params : DefectParams
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
