"""What the members of an ensemble share in phonons, and what symmetry saves, change no number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from ase_engine import CUTOFF, EPSILON, SIGMA, AseEngine, argon
from plain_phonopy import plain_phonopy, raw_frequencies

from snapuq.core.dataset import Structure
from snapuq.properties import PROPERTIES, build_params, phonon
from snapuq.properties.base import relax_crystal
from snapuq.properties.brillouin import brillouin_zone, irreducible
from snapuq.properties.crystals import Crystal
from snapuq.properties.harmonic_thermodynamics import free_energy, heat_capacity, quantile, zero_point_energy
from snapuq.properties.lattice_dynamics import harmonic_crystal
from snapuq.properties.supercell import SAME_SITE, Supercell, build_supercell, supercell_matrix

#: THz; phonopy's own arithmetic is good to 1e-12, squares of it near zero to 1e-6.
TOLERANCE = 1.0e-6
LENGTH = 10.0
#: Face-centred, hexagonal with c/a, several shells of atoms without inversion at their sites.
CRYSTALS = ("fcc:Ar@5.3", "hcp:Ar@3.75", "diamond:Ar@6.6", "omega:Ar@6.0")


def swollen(factor: float = 1.02) -> AseEngine:
    """Another member: argon with larger atoms."""
    calculator = LennardJones(sigma=factor * SIGMA, epsilon=EPSILON, rc=factor * CUTOFF, smooth=False)
    return AseEngine(calculator)


def at_guess(text: str, length: float = LENGTH) -> Supercell:
    crystal = Crystal.parse(text)
    unit = crystal.primitive(*crystal.size_guess())
    return build_supercell(unit, supercell_matrix(crystal, length), brillouin_zone(text), 0.01)


def run(engine, text, **data):
    params = build_params(
        "phonon", {"structure": text, "supercell_length": LENGTH, "path_points": 10, **data}
    )
    return PROPERTIES["phonon"].run(engine, params, np.random.default_rng(0))


@pytest.mark.parametrize("text", CRYSTALS)
def test_frequencies_of_plain_phonopy_with_the_same_forces(text):
    unit, zone, supercell = relax_crystal(argon(), text).primitive, brillouin_zone(text), at_guess(text)
    assert supercell.has_symmetry_of(unit)
    crystal, phonons = (
        harmonic_crystal(argon(), unit, supercell),
        plain_phonopy(argon(), unit, zone, supercell),
    )
    home = supercell.primitive_sites
    assert crystal.constants == pytest.approx(phonons.force_constants[home], abs=1e-10)
    q = np.random.default_rng(0).uniform(-1.0, 1.0, (50, 3))
    assert crystal.frequencies(q) == pytest.approx(raw_frequencies(phonons, q), abs=TOLERANCE)


@pytest.mark.parametrize("text", CRYSTALS)
def test_reduced_mesh_against_all_of_it(text):
    unit, zone, supercell = relax_crystal(argon(), text).primitive, brillouin_zone(text), at_guess(text)
    crystal = harmonic_crystal(argon(), unit, supercell)
    some = zone.mesh(9.0, supercell.point_group())
    # Without symmetry but time reversal.
    half = zone.mesh(9.0, np.eye(3, dtype=int)[None])
    assert set(half.weights) <= {1, 2}
    assert some.weights.sum() == half.weights.sum()
    # Up to 24 pairs of q and -q are one; waves on mirror planes have fewer.
    assert len(some.q) < 0.15 * len(half.q)
    assert np.linalg.norm(some.q - np.rint(some.q), axis=1).min() > 1e-3
    few, all_modes = crystal.frequencies(some.q), np.repeat(crystal.frequencies(half.q), half.weights, axis=0)
    ones = np.ones(len(all_modes), dtype=int)
    # Nothing differs but round-off, 1e-6 THz near zero.
    expanded = np.sort(np.repeat(few, some.weights, axis=0).ravel())
    assert expanded == pytest.approx(np.sort(all_modes.ravel()), abs=TOLERANCE)
    assert zero_point_energy(few, some.weights) == pytest.approx(zero_point_energy(all_modes, ones), rel=1e-8)
    assert free_energy(few, some.weights, 50.0) == pytest.approx(free_energy(all_modes, ones, 50.0), abs=1e-9)
    assert heat_capacity(few, some.weights, 50.0) == pytest.approx(
        heat_capacity(all_modes, ones, 50.0), rel=1e-8
    )
    levels = (0.0, 0.05, 0.5, 0.77, 1.0)
    assert quantile(few, some.weights, levels) == pytest.approx(
        np.quantile(all_modes, levels, method="hazen"), abs=TOLERANCE
    )


def test_quantiles_of_weighted_modes_are_those_of_repeated_ones():
    rng = np.random.default_rng(3)
    for _ in range(20):
        modes, weights = rng.integers(0, 6, (7, 3)).astype(float), rng.integers(1, 5, 7)
        levels = rng.uniform(0.0, 1.0, 30)
        expected = np.quantile(np.repeat(modes, weights, axis=0), levels, method="hazen")
        assert quantile(modes, weights, levels) == pytest.approx(expected, abs=1e-12)


def test_waves_of_the_supercell_are_counted_by_weight():
    supercell = at_guess("fcc:Ar@5.3")
    fitting = supercell.commensurate()
    assert fitting.weights.sum() == round(np.linalg.det(supercell.in_primitive)) > 2 * len(fitting.q)
    assert not fitting.q[0].any()
    assert fitting.weights[0] == 1


def test_rotations_that_do_not_keep_the_waves_are_left_out():
    """A mesh along primitive vectors of fcc that is shifted off the centre lacks the fourfold axes."""
    axis = (np.arange(4) + 0.5) / 4
    q = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    rotations = at_guess("fcc:Ar@5.3").point_group()
    assert len(rotations) == 48
    found = irreducible(q, rotations, 8)
    assert found.weights.sum() == len(q)
    assert found.weights.max() <= 12
    distances = np.linalg.norm(q[:, None] - found.q, axis=-1).min(axis=0)
    assert distances == pytest.approx(0.0)


@pytest.mark.parametrize("text", ["fcc:Ar@5.3", "diamond:Ar@6.6"])
def test_supercells_of_all_members_have_the_same_fractional_coordinates(text):
    supercell = at_guess(text)
    lengths = []
    for engine in (argon(), swollen()):
        unit = relax_crystal(engine, text).primitive
        assert not supercell.offsets(unit).any()
        for k, found in enumerate(supercell.displaced_structures(unit)):
            sites = supercell.fractional.copy()
            sites[supercell.displaced[k]] += supercell.displacements[k]
            # To the last bit.
            assert np.array_equal(found.positions, sites @ found.cell)
            assert np.array_equal(found.cell, supercell.matrix @ unit.cell)
        lengths.append(np.linalg.norm(supercell.displacements[0] @ found.cell) / unit.volume ** (1.0 / 3.0))
        assert supercell.images_in(unit) is supercell.images
    assert lengths[1] == pytest.approx(lengths[0], rel=1e-12)
    first = supercell.displacements[0] @ (supercell.matrix @ supercell.unit.cell)
    assert np.linalg.norm(first) == pytest.approx(0.01, rel=1e-12)


def test_coordinates_of_its_own_are_kept():
    supercell = at_guess("hcp:Ar@3.75")
    unit = supercell.unit
    fractional = unit.positions @ np.linalg.inv(unit.cell)
    # As a whole by a third of a cell, and apart along c by one thousandth; one atom is in another cell.
    moved = fractional + 1.0 / 3.0 + np.array([[0.0, 0.0, 5e-4], [1.0, 0.0, -5e-4]])
    found = supercell.offsets(Structure(unit.cell, moved @ unit.cell, unit.species))
    assert found == pytest.approx(np.array([[0.0, 0.0, 5e-4], [0.0, 0.0, -5e-4]]), abs=1e-12)
    nearly = unit.positions + np.array([[0.4 * SAME_SITE, 0.0, 0.0], [-0.4 * SAME_SITE, 0.0, 0.0]])
    assert not supercell.offsets(Structure(unit.cell, nearly, unit.species)).any()
    assert not supercell.has_symmetry_of(Structure(unit.cell, moved @ unit.cell, unit.species))


def test_second_run_looks_for_no_symmetry(monkeypatch):
    text = "fcc:Ar@5.37"
    built = []

    def counted(*args):
        built.append(args)
        return build_supercell(*args)

    monkeypatch.setattr(phonon, "build_supercell", counted)
    first = run(argon(), text)
    second, third = run(swollen(), text), run(argon(), text)
    assert len(built) == 1
    assert {name: q.value for name, q in first.values.items()} == {
        name: q.value for name, q in third.values.items()
    }
    # Lattice constants agree to 1e-5, and frequencies change ten times as much; they go with 1 / size.
    ratio = second.values["highest_frequency"].value / first.values["highest_frequency"].value
    assert ratio == pytest.approx(1.0 / 1.02, rel=3e-4)


class Sheared(AseEngine):
    """An engine whose relaxed crystals are not those of the prototype."""

    def relax(self, structure, **options):
        found = super().relax(structure, **options)
        strained = found.structure.cell @ np.diag([1.01, 1.0, 1.0])
        positions = found.structure.positions @ np.diag([1.01, 1.0, 1.0])
        return dataclasses.replace(found, structure=Structure(strained, positions, structure.species))


def test_a_crystal_that_lost_symmetry_gets_a_search_of_its_own():
    text, engine = "fcc:Ar@5.3", Sheared(argon().calculator)
    unit, zone = relax_crystal(engine, text).primitive, brillouin_zone(text)
    assert not at_guess(text).has_symmetry_of(unit)
    found = run(engine, text, temperatures=(50.0,))
    own = build_supercell(unit, supercell_matrix(Crystal.parse(text), LENGTH), zone, 0.01)
    assert 2 < len(own.point_group()) < 48
    phonons = plain_phonopy(engine, unit, zone, own)
    path = zone.path(10)
    # Displacements are not of the same length to the last digit: quartic terms of 1e-5 of 2 THz.
    for point, row in zip(path, raw_frequencies(phonons, [p.q for p in path]), strict=True):
        if any(point.q):
            ours = [found.values[f"curve_band_{point.x:.4f}_{point.where}_{b}"].value for b in (1, 2, 3)]
            assert ours == pytest.approx(row, abs=2e-5)
    half = zone.mesh(5.3, np.eye(3, dtype=int)[None])
    free = free_energy(raw_frequencies(phonons, half.q), half.weights, 50.0)
    assert found.values["free_energy_50K"].value == pytest.approx(free, abs=1e-7)
