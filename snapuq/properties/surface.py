"""Energy of free surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snapuq.core.engine import Engine
from snapuq.properties.base import (
    J_M2_PER_EV_A2,
    PROPERTIES,
    PropertyOutput,
    has_moved,
    quantities,
    relax_crystal,
)
from snapuq.properties.checks import check_items
from snapuq.properties.crystals import Crystal, System
from snapuq.properties.slabs import Index, SlabParams, SlabProperty, check_index, usual_slab

#: Surfaces that are looked at unless others are asked for, in the conventional cell of each crystal system.
USUAL: Mapping[System, tuple[Index, ...]] = {
    "cubic": ((1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 1, 2), (2, 1, 0), (3, 1, 0), (3, 2, 1)),
    # Basal, both prismatic and both pyramidal planes.
    "hexagonal": ((0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 2)),
    "tetragonal": ((0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1)),
}
_OTHER: tuple[Index, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@PROPERTIES.register("surface")
class Surface(SlabProperty):
    """(E_slab - N e_bulk) / 2A of a slab cut from the potential's own crystal, ions relaxed.

    The slab has the smallest cell in its plane, so no reconstruction that needs a larger one. A slab half as
    thick again, or 18 A of vacuum, changed no energy of the seven cubic surfaces by more than 1e-4 J/m^2 for
    tungsten (EAM, SNAP), copper (EAM) and silicon (SNAP), and 4e-4 J/m^2 for molybdenum (SNAP).

    References
    ----------
    Tran et al., Sci. Data 3, 160080 (2016), doi:10.1038/sdata.2016.80.
    """

    version = 2
    ranked = ("surface_energy",)
    split_by = "miller"
    # 18 A of tungsten.
    usual_thickness = 7.0

    @dataclass(frozen=True)
    class Params(SlabParams):
        """Crystal, surfaces and slab.

        Parameters
        ----------
        structure : str
            Crystal.
        thickness : float, optional
            Least thickness of the slab, A, at the first guess of the crystal's size; by default seven times
            the cube root of the volume per atom.
        vacuum : float
            Empty space between slabs, A, likewise; more than the cutoff of the potential.
        fmax : float
            Largest force at the end, eV/A.
        miller : tuple of (int, int, int)
            Miller indices of the surfaces, in the conventional cell (of three axes for hexagonal crystals);
            by default (100), (110), (111), (112), (210), (310) and (321) of cubic crystals, and the low ones
            of others.
        """

        miller: tuple[Index, ...] = ()

        def __post_init__(self) -> None:
            super().__post_init__()
            if not self.miller:
                system = Crystal.parse(self.structure).kind.system
                object.__setattr__(self, "miller", USUAL.get(system, _OTHER))
            for index in self.miller:
                check_index("miller", index)
            check_items("miller", "surface", self.miller)

    @staticmethod
    def label(params: Params) -> str:
        """Name the crystal and the surface.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        str
            For example ``surface-bcc-100``.
        """
        index = params.miller[0]
        separator = "" if all(0 <= i <= 9 for i in index) else "_"
        return f"surface-{Crystal.parse(params.structure).label}-{separator.join(map(str, index))}"

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Surface energy.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        return {"surface_energy": "J/m^2"}

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Cut the slab and relax its atoms in the fixed cell.

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
        bulk = relax_crystal(engine, params.structure)
        slab = usual_slab(bulk, params.miller[0], params.thickness, Surface.usual_thickness, params.vacuum)
        relaxed = engine.relax(slab.structure, fmax=params.fmax)
        energy = (relaxed.evaluation.energy - len(slab.structure) * bulk.energy) / (2.0 * slab.area)
        return PropertyOutput(
            quantities({"surface_energy": energy * J_M2_PER_EV_A2}, Surface.outputs(params)),
            relaxed.converged,
            has_moved(slab.structure, relaxed.structure),
        )
