"""Pressure of a crystal that is squeezed to a given volume."""

from dataclasses import dataclass

from snapuq.core.dataset import Structure
from snapuq.properties.base import PROPERTIES, Property, PropertyOutput, quantities, relax_crystal
from snapuq.properties.checks import check_crystals, check_positive
from snapuq.properties.crystals import Crystal
from snapuq.units import GPA_PER_EV_A3


@PROPERTIES.register("pressure")
class Pressure(Property):
    @dataclass(frozen=True)
    class Params:
        structure: str = "bcc"
        volume_ratio: float = 0.95

        def __post_init__(self):
            check_crystals("structure", self.structure)
            check_positive(self, "volume_ratio")

    @staticmethod
    def label(params):
        return f"pressure-{Crystal.parse(params.structure).label}-{params.volume_ratio:g}"

    @staticmethod
    def outputs(params):
        return {"pressure": "GPa"}

    @staticmethod
    def run(engine, params, rng):
        bulk = relax_crystal(engine, params.structure).primitive
        scale = params.volume_ratio ** (1 / 3)
        squeezed = Structure(bulk.cell * scale, bulk.positions * scale, bulk.species)
        relaxed = engine.relax(squeezed)
        pressure = -relaxed.evaluation.stress[:3].mean() * GPA_PER_EV_A3
        return PropertyOutput(quantities({"pressure": pressure}, Pressure.outputs(params)), relaxed.converged)
