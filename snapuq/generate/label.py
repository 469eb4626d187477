"""Energies, forces and stresses from a potential that plays the ab initio reference."""

from __future__ import annotations

from collections.abc import Sequence

from snapuq.core.dataset import Configuration, Dataset, Structure
from snapuq.core.engine import Engine


def label(items: Sequence[tuple[str, Structure]], engine: Engine, source: str) -> Dataset:
    """Evaluate structures and make a data set of them.

    Parameters
    ----------
    items : sequence of (str, Structure)
        Group and structure.
    engine : Engine
        The potential.
    source : str
        Description for provenance.

    Returns
    -------
    Dataset
        In the order given, identifiers ``group/00001`` on.

    Raises
    ------
    SimulationError
        When the potential gives no finite result.
    """
    configurations = []
    for i, (group, structure) in enumerate(items, start=1):
        result = engine.evaluate(structure)
        name = f"{group}/{i:05d}"
        configurations.append(
            Configuration(name, group, structure, result.energy, result.forces, result.stress)
        )
    return Dataset(tuple(configurations), source)
