"""Phonons of Lennard-Jones argon against lattice sums, and thermodynamics against phonopy's own."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from ase.data import atomic_masses, atomic_numbers
from ase_engine import EPSILON, SIGMA, AseEngine, argon
from plain_phonopy import plain_phonopy
from scipy.constants import Boltzmann, Planck, electron_volt, physical_constants

from snapuq.core.dataset import Structure
from snapuq.properties import PROPERTIES, build_params
from snapuq.properties.base import relax_crystal
from snapuq.properties.brillouin import brillouin_zone
from snapuq.properties.crystals import PROTOTYPES, Crystal
from snapuq.properties.harmonic_thermodynamics import free_energy, heat_capacity, quantile, zero_point_energy
from snapuq.properties.phonon import DOS_LEVELS, IMAGINARY
from snapuq.properties.supercell import build_supercell, supercell_matrix

MASS = atomic_masses[atomic_numbers["Ar"]]
#: Between the second and third shell of fcc and bcc at their own volumes, for small supercells.
CUTOFF = 1.7 * SIGMA
#: THz of the square root of 1 eV/A^2/u.
THZ = np.sqrt(electron_volt / 1e-20 / physical_constants["atomic mass constant"][0]) / (2 * np.pi) * 1e-12
#: Of fcc argon's highest frequency, 2 THz: the displacement of 0.01 A makes quartic terms of 1e-5, and force
#: constants of shells at the faces of the supercell are shared among images.
TOLERANCE = 5.0e-4
#: Opposite faces twice the cutoff apart, so that each force constant belongs to one pair.
WIDE = 2.0 * CUTOFF


def pair_frequencies(cell: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Frequencies of one atom per cell by lattice sums over pairs, THz; k Cartesian without 2 pi, 1/A."""
    steps = np.array(np.meshgrid(*[np.arange(-6, 7)] * 3)).reshape(3, -1).T
    v = steps @ cell
    r = np.linalg.norm(v, axis=1)
    v, r = v[(r > 1e-9) & (r < CUTOFF)], r[(r > 1e-9) & (r < CUTOFF)]
    first = 4 * EPSILON * (-12 * SIGMA**12 / r**13 + 6 * SIGMA**6 / r**7)
    second = 4 * EPSILON * (156 * SIGMA**12 / r**14 - 42 * SIGMA**6 / r**8)
    n = v / r[:, None]
    constants = (second - first / r)[:, None, None] * n[:, :, None] * n[:, None, :]
    constants += (first / r)[:, None, None] * np.eye(3)
    phase = 1.0 - np.cos(2 * np.pi * np.atleast_2d(k) @ v.T)
    squares = np.linalg.eigvalsh(np.einsum("kp,pij->kij", phase, constants) / MASS)
    return THZ * np.sign(squares) * np.sqrt(np.abs(squares))


def short() -> AseEngine:
    """Lennard-Jones of two shells."""
    return AseEngine(LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=CUTOFF, smooth=False))


def run(engine, **data):
    return PROPERTIES["phonon"].run(engine, build_params("phonon", data), np.random.default_rng(0))


@pytest.fixture(scope="module")
def fcc():
    return run(short(), structure="fcc:Ar@5.3", supercell_length=WIDE, temperatures=(50.0,))


@pytest.fixture(scope="module")
def cell():
    return relax_crystal(short(), "fcc:Ar@5.3").primitive.cell


def test_frequencies_at_special_points(fcc, cell):
    """Points written down in Cartesian coordinates, without seekpath."""
    a = (4.0 * abs(np.linalg.det(cell))) ** (1 / 3)
    points = {
        "X": (0, 0, 1),
        "L": (0.5, 0.5, 0.5),
        "W": (0.5, 1, 0),
        "K": (0.75, 0.75, 0),
        "U": (0.25, 1, 0.25),
    }
    for name, k in points.items():
        found = [fcc.values[f"f_{name}_{b}"].value for b in (1, 2, 3)]
        assert found == pytest.approx(pair_frequencies(cell, np.array(k) / a)[0], abs=2.0 * TOLERANCE), name
    assert not any(name.startswith("f_GAMMA") for name in fcc.values)


def test_frequencies_along_the_path(fcc, cell):
    """All points and branches, by the wave vectors of the path."""
    zone = brillouin_zone("fcc:Ar@5.3")
    reciprocal = np.linalg.inv(cell).T
    assert zone.primitive_matrix == pytest.approx(np.eye(3))
    path = zone.path(60)
    exact = pair_frequencies(cell, np.array([p.q for p in path]) @ reciprocal)
    for point, row in zip(path, exact, strict=True):
        found = [fcc.values[f"curve_band_{point.x:.4f}_{point.where}_{b}"].value for b in (1, 2, 3)]
        assert found == pytest.approx(row, abs=2.0 * TOLERANCE)
    assert fcc.values["highest_frequency"].value == pytest.approx(exact.max(), abs=0.01)
    assert fcc.values["n_imaginary"].value == 0
    assert fcc.values["lowest_frequency"].value > 0
    assert fcc.converged


def test_thermodynamics_and_density_of_states_of_an_independent_mesh(fcc, cell):
    n = 20
    axis = (np.arange(n) + 0.25) / n
    q = np.array(np.meshgrid(axis, axis, axis)).reshape(3, -1).T
    frequencies = pair_frequencies(cell, q @ np.linalg.inv(cell).T)
    h, kt = Planck * 1e12 / electron_volt, 50.0 * Boltzmann / electron_volt
    zero = 0.5 * h * frequencies.sum(axis=1).mean()
    x = h * frequencies / kt
    free = zero + kt * np.log(1.0 - np.exp(-x)).sum(axis=1).mean()
    heat = (x**2 * np.exp(x) / (np.exp(x) - 1.0) ** 2).sum(axis=1).mean()
    # Frequencies differ by 1e-3 THz at most, 4e-6 eV, and meshes by less.
    assert fcc.values["zero_point_energy"].value == pytest.approx(zero, abs=5e-6)
    assert fcc.values["free_energy_50K"].value == pytest.approx(free, abs=1e-5)
    assert fcc.values["heat_capacity_50K"].value == pytest.approx(heat, rel=1e-3)
    ordered = np.sort(frequencies.ravel())
    for level in DOS_LEVELS:
        found = fcc.values[f"curve_dos_{level:.2f}"].value
        assert np.searchsorted(ordered, found) / len(ordered) == pytest.approx(level, abs=0.01)


def test_thermodynamics_as_phonopy_has_them():
    bulk = relax_crystal(argon(), "fcc:Ar@5.3")
    zone = brillouin_zone("fcc:Ar@5.3")
    matrix = supercell_matrix(bulk.crystal, 10.0)
    phonons = plain_phonopy(
        argon(), bulk.primitive, zone, build_supercell(bulk.primitive, matrix, zone, 0.01)
    )
    # An even mesh without its centre at zero.
    phonons.run_mesh([8, 8, 8], is_mesh_symmetry=False, is_gamma_center=False)
    phonons.run_thermal_properties(temperatures=[10.0, 80.0], cutoff_frequency=0.0)
    frequencies, weights = phonons.mesh.frequencies, phonons.mesh.weights
    theirs = phonons.thermal_properties
    per_ev = physical_constants["Faraday constant"][0] * 1e-3
    for k, t in enumerate((10.0, 80.0)):
        # phonopy's constants have seven digits, and cold modes depend on them exponentially.
        assert free_energy(frequencies, weights, t) * per_ev == pytest.approx(theirs.free_energy[k], rel=1e-5)
        gas_constant = physical_constants["molar gas constant"][0]
        assert heat_capacity(frequencies, weights, t) * gas_constant == pytest.approx(
            theirs.heat_capacity[k], rel=1e-5
        )
    assert zero_point_energy(frequencies, weights) * per_ev == pytest.approx(
        theirs.zero_point_energy, rel=1e-6
    )


def test_limits_of_the_thermodynamics():
    frequencies, weights = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, -1.0]]), np.array([1, 1])
    zero = zero_point_energy(frequencies, weights)
    assert zero == pytest.approx(0.5 * 12.0 / 2 * Planck * 1e12 / electron_volt)
    # Cold, all in the ground state; hot, one Boltzmann constant for each of 5 real modes in 2 cells.
    assert free_energy(frequencies, weights, 0.5) == pytest.approx(zero, rel=1e-12)
    assert heat_capacity(frequencies, weights, 0.01) == pytest.approx(0.0, abs=1e-12)
    assert heat_capacity(frequencies, weights, 1e5) == pytest.approx(2.5, rel=1e-5)
    step, t = 0.5, 100.0
    f = [free_energy(frequencies, weights, t + d) for d in (-step, 0.0, step)]
    curvature = (f[0] - 2 * f[1] + f[2]) / step**2
    heat = heat_capacity(frequencies, weights, t) * Boltzmann / electron_volt
    assert -t * curvature == pytest.approx(heat, rel=1e-4)
    assert quantile(frequencies, weights, [0.5])[0] == pytest.approx(2.0)


def test_frequencies_go_with_the_square_root_of_the_energy():
    doubled = argon()
    doubled.calculator.parameters["epsilon"] *= 2.0
    options = {"structure": "fcc:Ar@5.3", "supercell_length": 10.0, "path_points": 10}
    once, twice = run(argon(), **options), run(doubled, **options)
    for name, quantity in once.values.items():
        if quantity.unit == "THz" or name == "zero_point_energy":
            # Lattices agree to 2e-5, and frequencies change ten times as much.
            expected = np.sqrt(2.0) * quantity.value
            assert twice.values[name].value == pytest.approx(expected, rel=3e-4, abs=2e-6), name


def test_imaginary_modes_of_an_unstable_crystal():
    """Lennard-Jones bcc gives way; the count is over the waves of the supercell, by lattice sums."""
    found = run(short(), structure="bcc:Ar@4.2", supercell_length=WIDE, path_points=20)
    crystal = relax_crystal(short(), "bcc:Ar@4.2")
    matrix = supercell_matrix(crystal.crystal, WIDE)
    repeats = round((2 * abs(np.linalg.det(matrix)) / 4) ** (1 / 3))
    a = (2.0 * crystal.volume) ** (1 / 3)
    axis = np.arange(2 * repeats) / repeats
    k = np.array(np.meshgrid(axis, axis, axis)).reshape(3, -1).T / a
    # Reciprocal bcc is fcc: each wave vector appears (2 n)^3 / (2 n^3) = 4 times.
    frequencies = pair_frequencies(crystal.primitive.cell, k)
    expected = (frequencies < -IMAGINARY).sum() / 4
    assert expected > 10
    assert found.values["n_imaginary"].value == expected
    assert found.values["lowest_frequency"].value < frequencies.min() + 0.01
    assert found.values["f_N_1"].value < 0
    assert found.values["f_N_1"].value == pytest.approx(
        pair_frequencies(crystal.primitive.cell, np.array([0.5, 0.5, 0.0]) / a)[0, 0], abs=0.005
    )


def test_optical_modes_are_numbered_from_four():
    found = run(argon(), structure="hcp:Ar@3.75", supercell_length=10.0, path_points=10)
    centre = [name for name in found.values if name.startswith("f_GAMMA")]
    assert centre == ["f_GAMMA_4", "f_GAMMA_5", "f_GAMMA_6"]
    # hcp: a doublet of shear modes below one of compression.
    low, middle, high = (found.values[name].value for name in centre)
    assert 0.5 < low == pytest.approx(middle, rel=1e-3)
    assert high > 1.2 * middle
    start = [found.values[f"curve_band_0.0000_GAMMA_{b}"].value for b in range(1, 7)]
    assert start == pytest.approx([0.0, 0.0, 0.0, low, middle, high], abs=1e-9)


def test_forces_that_break_the_sum_rule_are_flagged():
    class Rough(AseEngine):
        def evaluate(self, structure):
            found = super().evaluate(structure)
            rng = np.random.default_rng(int(structure.digest[:8], 16))
            noise = rng.normal(scale=1e-3, size=found.forces.shape)
            return dataclasses.replace(found, forces=found.forces + noise)

    options = {"structure": "fcc:Ar@5.3", "supercell_length": 10.0, "path_points": 10}
    assert run(argon(), **options).converged
    assert not run(Rough(argon().calculator), **options).converged


@pytest.mark.parametrize("name", PROTOTYPES)
def test_path_of_every_prototype(name):
    zone = brillouin_zone(name)
    path = zone.path(60)
    assert len({(f"{p.x:.4f}", p.where) for p in path}) == len(path)
    assert path[0].x == 0.0
    assert path[-1].x == pytest.approx(1.0)
    assert all(b.x >= a.x for a, b in itertools.pairwise(path))
    assert {p.where for p in path if "-" not in p.where} == set(zone.special)
    volume = np.linalg.det(np.linalg.inv(zone.reciprocal))
    crystal = Crystal(name, ("H",) * PROTOTYPES[name].n_species, 1.0)
    unit = crystal.primitive(*crystal.size_guess())
    distinct = brillouin_zone(name).n_atoms
    assert abs(volume) / distinct == pytest.approx(unit.volume / len(unit))


def test_one_element_on_all_sites_has_the_smaller_cell():
    assert brillouin_zone("B2:W,Be").n_atoms == 2
    assert brillouin_zone("B2:W,W").n_atoms == 1
    assert "H" in brillouin_zone("B2:W,W").special


@pytest.mark.parametrize("text", ["bcc:W", "fcc:Cu", "hcp:Be", "diamond:Si", "betaSn:Sn", "A15:W"])
def test_supercells_are_wide_enough_and_no_wider(text):
    crystal = Crystal.parse(text)
    primitive = crystal.primitive(*crystal.size_guess()).cell
    for length in (5.0, 14.0):
        cell = supercell_matrix(crystal, length) @ primitive
        widths = abs(np.linalg.det(cell)) / np.linalg.norm(
            np.cross(np.roll(cell, 1, axis=0), np.roll(cell, 2, axis=0)), axis=1
        )
        single = supercell_matrix(crystal, 0.1) @ primitive
        unit = abs(np.linalg.det(single)) / np.linalg.norm(
            np.cross(np.roll(single, 1, axis=0), np.roll(single, 2, axis=0)), axis=1
        )
        assert (widths >= length - 1e-6).all()
        assert (widths < length + unit).all()


def test_supercells_hold_whole_crystals():
    crystal = Crystal.parse("diamond:Si")
    cell = crystal.primitive(5.43, 5.43)
    conventional = Structure(supercell_matrix(crystal, 5.0) @ cell.cell, cell.positions, cell.species)
    assert conventional.cell == pytest.approx(5.43 * np.eye(3), abs=1e-12)
