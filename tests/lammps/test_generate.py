"""Generated data: diverse, valid, seeded, and labelled by the potential that was asked for."""

from __future__ import annotations

from pathlib import Path

import ase.neighborlist
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.eam import EAM

from snapuq.config import load_config
from snapuq.core.dataset import Structure
from snapuq.errors import InputError
from snapuq.generate.diverse import FAMILIES, Diversity, diverse_structures
from snapuq.lammps.library import find_potential_file
from snapuq.pipeline.prepare import prepare

pytestmark = pytest.mark.lammps

TUNGSTEN = Diversity(("W",), ("bcc", "fcc", "A15"), 15.85, 30, (0.85, 1.2), 0.3)

CAMPAIGN = """
name: generated
dataset:
  generate:
    elements: [Cu]
    structures: [fcc, bcc]
    configurations: 21
    max_atoms: 20
    label: {pair_style: eam/alloy, pair_coeff: ["* * Cu_mishin1.eam.alloy Cu"]}
  test: {fraction: 0.3}
  weights: {scheme: exponential, energy_ratio: 10}
potential: {rcutfac: 4.5, twojmax: 2, elements: {Cu: {}}}
"""


def as_atoms(structure: Structure) -> Atoms:
    return Atoms(structure.species, positions=structure.positions, cell=structure.cell, pbc=True)


def test_structures_are_diverse_and_no_pair_is_too_close() -> None:
    items = diverse_structures(70, TUNGSTEN, seed=1)
    assert {family for family, _ in items} == set(FAMILIES)
    nearest = np.sqrt(3) / 2 * (2 * 15.85) ** (1 / 3)
    for family, structure in items:
        assert len(structure) <= 30
        close = ase.neighborlist.neighbor_list("d", as_atoms(structure), 0.65 * nearest)
        assert len(close) == 0, family
        per_atom = structure.volume / len(structure)
        if family in ("crystal", "hot"):
            assert 0.75 < per_atom / 15.85 < 1.4
        if family == "slab":
            assert per_atom > 1.2 * 15.85
    sizes = {len(s) for _, s in items}
    assert len(sizes) > 8


def test_structure_depends_on_the_seed_and_its_own_index_alone() -> None:
    few, many = diverse_structures(5, TUNGSTEN, seed=1), diverse_structures(20, TUNGSTEN, seed=1)
    other = diverse_structures(5, TUNGSTEN, seed=2)
    assert [s.digest for _, s in few] == [s.digest for _, s in many[:5]]
    assert all(a.digest != b.digest for (_, a), (_, b) in zip(few, other, strict=True))


def test_elements_are_mixed() -> None:
    alloy = Diversity(("W", "Be"), ("bcc",), 14.0, 20, (0.9, 1.1), 0.1)
    species = [s for _, structure in diverse_structures(14, alloy, seed=1) for s in structure.species]
    assert 0.3 < species.count("Be") / len(species) < 0.7


def test_impossible_size_is_refused() -> None:
    with pytest.raises(InputError, match="max_atoms"):
        diverse_structures(3, Diversity(("W",), ("A15",), 15.85, 1, (0.9, 1.1), 0.1), seed=1)


def test_labels_split_and_weights(tmp_path: Path) -> None:
    path = tmp_path / "generated.yaml"
    path.write_text(CAMPAIGN)
    prepared = prepare(load_config(path))
    assert len(prepared.dataset) == 21
    assert prepared.is_test.sum() == 6
    calculator = EAM(potential=str(find_potential_file("Cu_mishin1.eam.alloy")))
    for configuration in prepared.dataset.configurations[::5]:
        atoms = as_atoms(configuration.structure)
        atoms.calc = calculator
        # ASE and LAMMPS interpolate the tables with different splines.
        assert np.isclose(configuration.energy, atoms.get_potential_energy(), rtol=1e-4)
        assert np.allclose(configuration.forces, atoms.get_forces(), atol=2e-3)
    training = [w for w, test in zip(prepared.weights, prepared.is_test, strict=True) if not test]
    energy = sum(w.energy for w in training)
    force = 3 * sum(w.force.sum() for w in training)
    assert np.isclose(energy / force, 10.0)
    again = prepare(load_config(path))
    assert again.digest == prepared.digest
    assert prepare(load_config(path, ["seed=2"])).digest != prepared.digest
