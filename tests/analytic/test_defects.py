"""Point defects: sites and their classification, and Lennard-Jones argon against ASE used directly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE
from ase_engine import AseEngine, argon, lattice_sum, pair_stiffness
from scipy.optimize import minimize_scalar

from snapuq.core.dataset import Structure
from snapuq.core.engine import Relaxation
from snapuq.errors import SimulationError
from snapuq.properties import PROPERTIES, build_params
from snapuq.properties.base import RelaxedCrystal
from snapuq.properties.crystals import Crystal
from snapuq.properties.defects import Host, Occupation, relax_cell, repeated, without
from snapuq.properties.divacancy import neighbour_site, shell_vector
from snapuq.properties.interstitial_sites import (
    OTHER,
    SITES,
    SPHERE,
    classify,
    make_room,
    perturb,
    place,
    same_family,
    site_group,
    unlike,
)

FCC = "fcc:Ar@5.3"
#: Two minimisers stop within 1e-5 eV/A: about fmax^2 N / stiffness, with stiffness 0.05 eV/A^2.
ENERGY = 1.0e-5
EVERY_SITE = [(crystal, kind) for crystal, kinds in SITES.items() for kind in kinds]


@pytest.fixture(scope="module")
def a0() -> float:
    found = minimize_scalar(lattice_sum, bounds=(5.0, 5.6), method="bounded", options={"xatol": 1e-10})
    return float(found.x)


def host_of(crystal: str, n: int = 4) -> Host:
    """A perfect crystal that no engine has touched; c/a of hcp as in zirconium."""
    parsed = Crystal.parse(f"{crystal}:Ar@3.2" + (",1.59" if crystal == "hcp" else ""))
    bulk_crystal = RelaxedCrystal(parsed, parsed.primitive(*parsed.size_guess()), 0.0)
    unit = bulk_crystal.conventional()
    return Host(bulk_crystal, unit, repeated(unit, n), unit.nearest_distance())


def run(name, engine=None, **data):
    cls = PROPERTIES[name]
    parts = cls.expand(build_params(name, {"structure": FCC, **data}))
    return [cls.run(engine or argon(), p, np.random.default_rng(0)) for p in parts]


# --- Lennard-Jones argon against ASE


def ase_energy(atoms: Atoms) -> float:
    atoms.calc = argon().calculator
    assert FIRE(atoms, logfile=None).run(fmax=1e-5, steps=2000)
    return float(atoms.get_potential_energy())


def test_vacancy_and_divacancies_against_ase(a0):
    perfect = bulk("Ar", "fcc", a=a0, cubic=True).repeat(3)
    neighbours = {1: [0, 0.5 * a0, 0.5 * a0], 2: [a0, 0, 0]}
    energy = {}
    for shell, vector in {0: None, **neighbours}.items():
        atoms = perfect.copy()
        gone = [0]
        if vector is not None:
            gone.append(int(np.argmin(np.linalg.norm(atoms.positions - vector, axis=1))))
        del atoms[gone]
        energy[shell] = ase_energy(atoms) - len(atoms) * lattice_sum(a0)
    single = run("vacancy", supercell=3, fmax=1e-5)[0]
    assert single.values["formation_energy"].value == pytest.approx(energy[0], abs=ENERGY)
    for shell, output in enumerate(run("divacancy", supercell=3, fmax=1e-5), 1):
        assert output.values["formation_energy"].value == pytest.approx(energy[shell], abs=ENERGY)
        binding = 2 * energy[0] - energy[shell]
        assert output.values["binding_energy"].value == pytest.approx(binding, abs=2 * ENERGY)
        assert output.converged
        assert not output.reconfigured


def test_interstitials_against_ase(a0):
    """Placed by hand, and relaxed by another minimiser without a random start.

    In 108 atoms of argon the octahedral site is a saddle, 4 meV above the dumbbell. A minimiser that starts
    there stays there.
    """
    perfect = bulk("Ar", "fcc", a=a0, cubic=True).repeat(3)
    octahedral, dumbbell = perfect.copy(), perfect.copy()
    octahedral.append("Ar")
    octahedral.positions[-1] = [0.5 * a0, 0, 0]
    dumbbell.append("Ar")
    dumbbell.positions[-1] = [0, 0, 0.3 * a0]
    dumbbell.positions[0, 2] -= 0.3 * a0
    on_saddle, truth = (ase_energy(atoms) - len(atoms) * lattice_sum(a0) for atoms in (octahedral, dumbbell))
    output = run("interstitial", supercell=3, kinds=["octahedral"], fmax=1e-5)[0]
    assert output.values["formation_energy"].value == pytest.approx(truth, abs=ENERGY)
    assert on_saddle > truth + 100 * ENERGY
    assert output.converged
    assert output.reconfigured
    b = (pair_stiffness(a0) * [1, 2, 0]).sum() / 3
    # Cubic crystal: V P / B; the dumbbell is tetragonal, which leaves the trace alone.
    volume = -dumbbell.get_volume() * dumbbell.get_stress()[:3].mean() / b
    assert output.values["relaxation_volume"].value == pytest.approx(volume, rel=2e-3)


def test_constant_pressure_against_ases_own_cell_relaxation(a0):
    atoms = bulk("Ar", "fcc", a=a0, cubic=True).repeat(2)
    v0 = atoms.get_volume()
    atoms.append("Ar")
    atoms.positions[-1] = [0.5 * a0, 0, 0]
    atoms.calc = argon().calculator
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-5, steps=500)
    output = run("interstitial", supercell=2, kinds=["octahedral"], fmax=1e-5, constant="pressure")[0]
    assert output.converged
    assert not output.reconfigured
    truth = atoms.get_potential_energy() - len(atoms) * lattice_sum(a0)
    assert output.values["formation_energy"].value == pytest.approx(truth, abs=ENERGY)
    # 1e-6 eV/A^3 of stress over a bulk modulus of 0.02 eV/A^3 is 5e-5 of 1,300 A^3.
    assert output.values["relaxation_volume"].value == pytest.approx(atoms.get_volume() - v0, abs=0.1)


def test_both_ways_to_the_relaxation_volume_agree_for_a_small_change():
    fixed, free = (run("vacancy", supercell=2, constant=c, fmax=1e-6)[0] for c in ("volume", "pressure"))
    volumes = [o.values["relaxation_volume"].value for o in (fixed, free)]
    # One vacancy in 32 atoms changes the stiffness by some per cent.
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)
    assert fixed.values["formation_energy"].value >= free.values["formation_energy"].value - 1e-7


# --- what must be flagged


class Swapping(AseEngine):
    """Ends every relaxation of an interstitial on another site."""

    def __init__(self, kind: str) -> None:
        super().__init__(argon().calculator)
        self.kind = kind

    def relax(self, structure: Structure, **options: object) -> Relaxation:
        if len(structure) % 4 != 1 or len(structure) == 1:
            return super().relax(structure, **options)
        host = host_of("fcc", 2)
        scale = structure.cell[0, 0] / host.perfect.cell[0, 0]
        made = place(host, "fcc", self.kind)
        end = Structure(made.cell * scale, made.positions * scale, structure.species)
        return Relaxation(end, self.evaluate(end), True, 1)


@pytest.mark.parametrize(
    ("asked", "found", "flagged"),
    [
        ("dumbbell_100", "octahedral", True),
        ("octahedral", "dumbbell_100", True),
        ("dumbbell_110", "dumbbell_111", True),
        ("octahedral", "tetrahedral", True),
        ("dumbbell_110", "crowdion", False),
        ("octahedral", "octahedral", False),
    ],
)
def test_a_reconfigured_interstitial_is_flagged(asked, found, flagged):
    output = run("interstitial", Swapping(found), kinds=[asked], supercell=2)[0]
    assert output.reconfigured is flagged
    assert output.detail == f"relaxed to {found}"


def test_an_unstable_site_of_argon_is_flagged_and_gives_the_energy_of_the_stable_one():
    octahedral, tetrahedral = run("interstitial", kinds=["octahedral", "tetrahedral"], supercell=2)
    assert not octahedral.reconfigured
    assert tetrahedral.reconfigured
    energies = [o.values["formation_energy"].value for o in (octahedral, tetrahedral)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-4)


def test_atoms_that_leave_a_vacancy_are_flagged():
    host = host_of("fcc", 3)
    start = without(host.perfect, {0})
    assert Occupation.of(start, host.perfect).is_vacant_at({0}, host.neighbour)
    neighbour = int(np.argmin(np.linalg.norm(start.positions, axis=1)))
    cases = (
        (0.1, ""),
        (0.4, "an atom moved by 0.4 neighbour distances"),
        (1.0, "a vacancy moved to another site"),
    )
    for share, departure in cases:
        positions = start.positions.copy()
        positions[neighbour] *= 1.0 - share
        found = Occupation.of(Structure(start.cell, positions, start.species), host.perfect)
        assert found.is_vacant_at({0}, host.neighbour) is (departure == "")
        assert found.departure({0}, host.neighbour) == departure
    positions = start.positions.copy()
    positions[neighbour] = positions[neighbour + 40] + [0.5, 0.0, 0.0]
    found = Occupation.of(Structure(start.cell, positions, start.species), host.perfect)
    assert found.departure({0}, host.neighbour) == "relaxed to 2 empty and 1 shared sites"


class Hopping(AseEngine):
    """Lets the neighbour of every vacancy hop into it."""

    def __init__(self) -> None:
        super().__init__(argon().calculator)

    def relax(self, structure: Structure, **options: object) -> Relaxation:
        if len(structure) % 4 in (0, 1):
            return super().relax(structure, **options)
        positions = structure.positions.copy()
        nearest = int(np.argmin(np.linalg.norm(positions, axis=1)))
        positions[nearest] = 0.0
        end = Structure(structure.cell, positions, structure.species)
        return Relaxation(end, self.evaluate(end), True, 1)


def test_vacancies_that_moved_say_so():
    (single,) = run("vacancy", Hopping(), supercell=2)
    assert single.reconfigured
    assert single.detail == "a vacancy moved to another site"
    (pair,) = run("divacancy", Hopping(), supercell=2, shells=[1])
    assert pair.reconfigured
    moved = "a vacancy moved to another site"
    assert pair.detail == f"vacancy: {moved}, divacancy: {moved}"
    (still,) = run("divacancy", supercell=2, shells=[1])
    assert (still.reconfigured, still.detail) == (False, "")


def test_an_unstable_crystal_has_no_cell_at_zero_pressure():
    softened = np.diag([1.0, 1.0, 1.0, 1.0, 1.0, -0.1])
    engine = argon()
    start = engine.relax(Crystal.parse(FCC).primitive(5.3, 5.3))
    with pytest.raises(SimulationError, match="unstable"):
        relax_cell(engine, start, softened, 1e-4)


# --- sites


@pytest.mark.parametrize(("crystal", "kind"), EVERY_SITE)
def test_each_site_is_told_from_the_others(crystal, kind):
    """Placed, rattled, rotated as a whole, drifted and with its atoms in another order."""
    host = host_of(crystal)
    rng = np.random.default_rng(5)
    made = perturb(place(host, crystal, kind), host, rng)
    assert classify(made, host, crystal) == kind
    order = rng.permutation(len(made))
    drifted = Structure(made.cell, made.positions[order] + [0.3, -0.2, 0.4], made.species)
    assert classify(drifted, host, crystal) == kind
    stretched = np.diag([1.01, 0.99, 1.02])
    strained = Structure(made.cell @ stretched, made.positions @ stretched, made.species)
    assert classify(strained, host, crystal) == kind


@pytest.mark.parametrize(("crystal", "kind"), EVERY_SITE)
def test_equivalent_sites_have_one_name(crystal, kind):
    """On any lattice site, turned by any operation of the crystal, in hcp those between its two sites too."""
    host = host_of(crystal, 3)
    made = place(host, crystal, kind)
    centre = host.perfect.positions[0]
    turned = [(g, centre) for g in site_group(crystal)[::5]]
    if crystal == "hcp":
        turned.append((-np.eye(3), host.perfect.positions[1]))
    for operation, target in turned:
        positions = (made.positions - centre) @ operation + target
        assert classify(Structure(made.cell, positions, made.species), host, crystal) == kind


@pytest.mark.parametrize(("crystal", "kind"), EVERY_SITE)
def test_sites_are_symmetric_and_roomy(crystal, kind):
    """The starting point is as symmetric as its site: what leaves it does so by its own instability."""
    host = host_of(crystal)
    made = place(host, crystal, kind)
    assert len(made) == len(host.perfect) + 1
    assert made.nearest_distance() > 0.98 * SPHERE * host.neighbour
    shift = made.positions[:-1] - host.perfect.positions
    assert np.linalg.norm(shift, axis=1).max() < 0.5 * host.neighbour
    site, centre = SITES[crystal][kind], host.perfect.positions[0]
    vector = np.array(site.vectors[0]) @ host.unit.cell
    kept = 0
    for g in site_group(crystal):
        if np.allclose(vector @ g, vector, atol=1e-9) or (site.split and np.allclose(vector @ g, -vector)):
            turned = (made.positions - centre) @ g + centre
            delta = (turned[:, None] - made.positions) @ np.linalg.inv(made.cell)
            distances = np.linalg.norm((delta - np.rint(delta)) @ made.cell, axis=-1)
            assert distances.min(axis=1).max() < 1e-9
            kept += 1
    assert kept > 1


def test_what_is_like_no_site_is_called_other():
    host = host_of("bcc")
    made = place(host, "bcc", "dumbbell_100")
    axis = np.array([np.cos(0.4), np.sin(0.4), 0.0])  # 23 degrees from <100>, 22 from <110>
    positions = made.positions.copy()
    half = 0.5 * SPHERE * host.neighbour * axis
    positions[0], positions[-1] = half, -half
    turned = Structure(made.cell, positions, made.species)
    assert classify(turned, host, "bcc") == OTHER
    assert unlike(turned, host, "bcc") == "none of the kinds, nearest to dumbbell_110"
    # Two shared sites and a vacancy, far from each other.
    positions = made.positions.copy()
    positions[60] = positions[61] + [0.9, 0.0, 0.0]
    far = Structure(made.cell, positions, made.species)
    assert classify(far, host, "bcc") == OTHER
    assert unlike(far, host, "bcc") == "1 empty and 2 shared sites"


def test_families():
    assert same_family("bcc", "dumbbell_111", "crowdion")
    assert same_family("fcc", "crowdion", "dumbbell_110")
    assert same_family("hcp", "basal_split", "basal_crowdion")
    assert not same_family("fcc", "crowdion", "dumbbell_111")
    assert not same_family("hcp", "crowdion", "basal_crowdion")
    assert not same_family("bcc", OTHER, "crowdion")


def test_crowded_atoms_are_moved_apart_like_hard_spheres():
    cell, positions = 10.0 * np.eye(3), np.array([[0.1, 0, 0], [9.6, 0, 0], [1.0, 0, 0], [5.0, 5, 5]])
    moved = make_room(positions, cell, 1.0, np.array([True, True, True, True]))
    gaps = [moved[0] - moved[1] + [10, 0, 0], moved[2] - moved[0]]
    assert min(np.linalg.norm(g) for g in gaps) > 0.99
    assert np.array_equal(moved[3], positions[3])
    assert moved.sum(axis=0) == pytest.approx(positions.sum(axis=0))  # equal and opposite


@pytest.mark.parametrize(
    ("crystal", "counts"), [("bcc", [8, 6, 12, 24, 8]), ("fcc", [12, 6, 24, 12, 24]), ("hcp", [6, 6, 6])]
)
def test_shells_have_their_number_of_neighbours(crystal, counts):
    """In hcp of ideal c/a: in the basal plane, out of it, and across an octahedral site."""
    parsed = Crystal.parse(f"{crystal}:Ar@3.2")
    unit = parsed.conventional(*parsed.size_guess())
    block = repeated(unit, 7)
    vectors = block.positions - unit.positions[0] - 3 * unit.cell.sum(axis=0)
    for shell, count in enumerate(counts, 1):
        vector = shell_vector(parsed, shell) @ unit.cell
        alike = np.isclose(np.linalg.norm(vectors, axis=1), np.linalg.norm(vector), rtol=1e-4)
        if crystal == "hcp":
            alike &= np.isclose(np.abs(vectors[:, 2]), abs(vector[2]), atol=1e-6)
        assert alike.sum() == count


def test_the_second_vacancy_is_in_its_shell():
    host = host_of("bcc")
    for shell, distance in ((1, np.sqrt(0.75)), (2, 1.0), (3, np.sqrt(2.0))):
        site = neighbour_site(host, shell_vector(Crystal.parse("bcc"), shell))
        pair = host.perfect.positions[site] - host.perfect.positions[0]
        pair -= np.rint(pair / (4 * 3.2)) * 4 * 3.2
        assert np.linalg.norm(pair) == pytest.approx(distance * 3.2)


def test_seeds_decide_the_start():
    host = host_of("bcc")
    made = place(host, "bcc", "octahedral")
    same = [perturb(made, host, np.random.default_rng(1)).digest for _ in range(2)]
    assert same[0] == same[1] != perturb(made, host, np.random.default_rng(2)).digest
    moved = np.linalg.norm(perturb(made, host, np.random.default_rng(1)).positions - made.positions, axis=1)
    assert moved[-1] > 0
    assert (moved == 0).any()


def test_each_kind_is_a_task_of_its_own():
    params = build_params("interstitial", {"structure": "hcp:Zr"})
    labels = [PROPERTIES["interstitial"].label(p) for p in PROPERTIES["interstitial"].expand(params)]
    assert labels == [f"interstitial-hcp-Zr-{kind}" for kind in SITES["hcp"]]
    assert replace(params, kinds=("c_split",)).kinds == ("c_split",)
