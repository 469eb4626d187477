"""Phonons by phonopy alone, for comparison."""

from __future__ import annotations

import numpy as np
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.properties.brillouin import BrillouinZone
from snapuq.properties.supercell import Supercell


def plain_phonopy(engine: Engine, unit: Structure, zone: BrillouinZone, supercell: Supercell) -> Phonopy:
    """Full force constants of a relaxed cell from the same displacements as ours."""
    phonons = Phonopy(
        PhonopyAtoms(symbols=list(unit.species), cell=unit.cell, positions=unit.positions),
        supercell_matrix=supercell.matrix.T,
        primitive_matrix=zone.primitive_matrix,
    )
    cell = phonons.supercell.cell
    first_atoms = []
    for site, displacement in zip(supercell.displaced, supercell.displacements, strict=True):
        positions = phonons.supercell.positions.copy()
        positions[site] += displacement @ cell
        forces = engine.evaluate(Structure(cell, positions, tuple(phonons.supercell.symbols))).forces
        first_atoms.append({"number": int(site), "displacement": displacement @ cell, "forces": forces})
    phonons.dataset = {"natom": len(phonons.supercell), "first_atoms": first_atoms}
    phonons.produce_force_constants(show_drift=False)
    phonons.symmetrize_force_constants(show_drift=False)
    return phonons


def raw_frequencies(phonons: Phonopy, q: np.ndarray) -> np.ndarray:
    """Frequencies as phonopy gives them, ascending, THz."""
    phonons.run_qpoints(np.asarray(q))
    return np.sort(np.array(phonons.qpoints.frequencies), axis=1)
