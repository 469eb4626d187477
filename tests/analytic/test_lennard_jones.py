"""Properties of Lennard-Jones argon against lattice sums and against ASE used directly."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, fcc111
from ase.eos import EquationOfState
from ase.optimize import FIRE
from ase_engine import AseEngine, argon, lattice_sum, pair_stiffness
from scipy.optimize import minimize_scalar

from snapuq.errors import SimulationError
from snapuq.properties import PROPERTIES, build_params
from snapuq.properties.base import has_moved, relax_crystal
from snapuq.properties.defects import repeated
from snapuq.properties.eos import birch_murnaghan
from snapuq.units import GPA_PER_EV_A3

FCC = "fcc:Ar@5.3"


@pytest.fixture(scope="module")
def a0() -> float:
    return float(
        minimize_scalar(lattice_sum, bounds=(5.0, 5.6), method="bounded", options={"xatol": 1e-10}).x
    )


def run(name, **data):
    cls = PROPERTIES[name]
    return [cls.run(argon(), p, np.random.default_rng(0)) for p in cls.expand(build_params(name, data))]


def test_lattice_constant_and_energy(a0):
    values = run("phase", structures=[FCC])[0].values
    # Stress below 1e-6 eV/A^3 of a bulk modulus of 0.02 eV/A^3: 2e-5 of the length.
    assert values["a"].value == pytest.approx(a0, rel=2e-5)
    assert values["volume"].value == pytest.approx(a0**3 / 4, rel=6e-5)
    assert values["energy"].value == pytest.approx(lattice_sum(a0), abs=1e-8)


def test_bulk_modulus_from_the_curve(a0):
    c11, c12, _ = pair_stiffness(a0) * GPA_PER_EV_A3
    values = run("eos", structure=FCC, volume_range=0.02)[0].values
    # A third-order fit over 2 % of volume either way: truncation of a few 1e-3.
    assert values["bulk_modulus"].value == pytest.approx((c11 + 2 * c12) / 3, rel=5e-3)
    energy = lattice_sum(a0 * 0.98 ** (1 / 3)) - lattice_sum(a0)
    assert values["energy_at_0.980"].value == pytest.approx(energy, rel=3e-3)


def test_elastic_constants_and_cauchy_relation(a0):
    truth = pair_stiffness(a0) * GPA_PER_EV_A3
    values = run("elastic", structure=FCC)[0].values
    found = [values[name].value for name in ("C11", "C12", "C44")]
    # Truncation at a strain of 1e-3 and the lattice constant's own tolerance (2e-5, times about 20).
    assert found == pytest.approx(truth, rel=1e-3)
    assert values["C12"].value == pytest.approx(values["C44"].value, rel=1e-3)
    assert values["bulk_modulus"].value == pytest.approx((truth[0] + 2 * truth[1]) / 3, rel=1e-3)
    born = min(truth[0] - truth[1], truth[0] + 2 * truth[1], truth[2])
    assert values["born_min_eigenvalue"].value == pytest.approx(born, rel=1e-3)


def test_ions_are_relaxed_where_they_are_free(a0):
    """Clamped ions are stiffer: hcp has a free basis atom."""
    free = run("elastic", structure="hcp:Ar@3.75")[0].values
    clamped = run("elastic", structure="hcp:Ar@3.75", relax_ions=False)[0].values
    assert free["C11"].value < clamped["C11"].value - 0.01
    assert free["C33"].value == pytest.approx(clamped["C33"].value, rel=2e-3)


def test_vacancy_against_ase(a0):
    atoms = bulk("Ar", "fcc", a=a0, cubic=True).repeat(3)
    perfect = len(atoms) * lattice_sum(a0)
    del atoms[17]
    atoms.calc = argon().calculator
    FIRE(atoms, logfile=None).run(fmax=1e-4, steps=500)
    truth = atoms.get_potential_energy() - len(atoms) / (len(atoms) + 1) * perfect
    values = run("vacancy", structure=FCC, supercell=3)[0].values
    # Two minimisers stop within 1e-4 eV/A: about fmax^2 N / stiffness = 1e-5 eV.
    assert values["formation_energy"].value == pytest.approx(truth, abs=2e-5)


@pytest.mark.parametrize(("index", "build"), [((1, 0, 0), fcc100), ((1, 1, 1), fcc111)])
def test_surface_against_ases_own_slabs(a0, index, build):
    slab: Atoms = build("Ar", size=(1, 1, 12), a=a0, vacuum=8.0, periodic=True)
    slab.calc = argon().calculator
    FIRE(slab, logfile=None).run(fmax=1e-4, steps=500)
    area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
    truth = (slab.get_potential_energy() - len(slab) * lattice_sum(a0)) / (2 * area) * 16.02176634
    values = run("surface", structure=FCC, miller=[index], thickness=28.0)[0].values
    # Slabs of different thickness beyond the cutoff, relaxed to 1e-4 eV/A.
    assert values["surface_energy"].value == pytest.approx(truth, rel=1e-3)


def test_birch_murnaghan_recovers_its_own_parameters():
    b0, bp, v0 = 1.9, 4.3, 15.8
    v = v0 * np.linspace(0.9, 1.1, 9)
    x = (v0 / v) ** (2 / 3)
    energy = 9 * v0 * b0 / 16 * ((x - 1) ** 3 * bp + (x - 1) ** 2 * (6 - 4 * x))
    fit = birch_murnaghan(v, energy)
    assert fit.volume == pytest.approx(v0, rel=1e-9)
    assert fit.bulk_modulus == pytest.approx(b0 * GPA_PER_EV_A3, rel=1e-9)
    assert fit.derivative == pytest.approx(bp, rel=1e-8)
    assert fit.residual < 1e-9


def test_birch_murnaghan_is_ases(a0):
    """The same curve, on energies that it does not pass through."""
    v = a0**3 / 4 * np.linspace(0.95, 1.05, 11)
    energy = np.array([lattice_sum((4 * x) ** (1 / 3)) for x in v])
    other = EquationOfState(v, energy, eos="birchmurnaghan")
    v0, _, b0 = other.fit()
    fit = birch_murnaghan(v, energy)
    # ASE iterates to about 1e-8 of the energies.
    assert fit.volume == pytest.approx(v0, rel=1e-6)
    assert fit.bulk_modulus == pytest.approx(b0 * GPA_PER_EV_A3, rel=1e-4)
    assert fit.derivative == pytest.approx(other.eos_parameters[2], rel=1e-3)


@pytest.mark.parametrize("energy", [[1, 2, 3, 4, 5], [1, 1, 1, 1, 1], [-4, -1, 0, -1, -4]])
def test_a_curve_without_minimum_is_named(energy):
    with pytest.raises(SimulationError, match="no_minimum"):
        birch_murnaghan(np.linspace(14.0, 16.0, 5), np.array(energy, dtype=float))


def test_a_kinked_curve_is_not_converged(a0):
    class Kinked(AseEngine):
        def relax(self, structure, **options):
            done = super().relax(structure, **options)
            # Up and down from one point of the curve to the next; 2 % of the range of its energies.
            step = 5e-6 * np.cos(np.pi * structure.volume / (0.01 * a0**3 / 4))
            return replace(done, evaluation=replace(done.evaluation, energy=done.evaluation.energy + step))

    cls = PROPERTIES["eos"]
    params = build_params("eos", {"structure": FCC})
    assert not cls.run(Kinked(argon().calculator), params, np.random.default_rng(0)).converged


def test_phase_without_symmetry_ends_where_it_is_stable(a0):
    """Argon: fcc comes back to itself from a rattled start, bcc turns into a close-packed crystal."""
    kept = run("phase", structures=[FCC])[0]
    free = run("phase", structures=[FCC], symmetry="free")[0]
    assert free.converged
    assert not free.reconfigured
    assert free.values["energy"].value == pytest.approx(kept.values["energy"].value, abs=1e-6)
    assert free.values["a"].value == pytest.approx(a0, rel=1e-4)
    lost = run("phase", structures=[FCC, "bcc:Ar@4.2"], symmetry="free")[1]
    assert lost.reconfigured
    assert re.fullmatch(r"relaxed to space group \d+, not 229", lost.detail)
    assert (kept.detail, free.detail) == ("", "")
    above = run("phase", structures=[FCC, "bcc:Ar@4.2"])[1].values["energy_above_fcc"].value
    assert lost.values["energy_above_fcc"].value < 0.5 * above


def test_a_strain_that_is_too_large_is_not_converged():
    output = PROPERTIES["elastic"].run(
        argon(), build_params("elastic", {"structure": FCC, "strain": 0.03}), np.random.default_rng(0)
    )
    assert not output.converged


def test_elastic_cost_is_two_sizes_of_two_strains():
    class Counting(AseEngine):
        n = 0

        def relax(self, structure, **options):
            self.n += options.get("cell") is None
            return super().relax(structure, **options)

    engine = Counting(argon().calculator)
    PROPERTIES["elastic"].run(engine, build_params("elastic", {"structure": FCC}), np.random.default_rng(0))
    assert engine.n == 8


def test_moved_atoms_are_noticed(a0):
    start = repeated(relax_crystal(argon(), FCC).conventional(), 2)
    shift = np.zeros_like(start.positions)
    shift[5, 0] = 0.6 * a0 / np.sqrt(2)
    moved = type(start)(start.cell, start.positions + shift, start.species)
    drifted = type(start)(start.cell, start.positions + 2.0, start.species)
    assert has_moved(start, moved)
    assert not has_moved(start, drifted)
