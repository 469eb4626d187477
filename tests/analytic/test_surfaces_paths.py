"""Slabs, gamma lines and transformation paths of Lennard-Jones argon against ASE used directly."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, surface
from ase.constraints import FixedLine
from ase.neighborlist import neighbor_list
from ase.optimize import FIRE
from ase_engine import argon

from snapuq.core.dataset import Structure
from snapuq.errors import SimulationError
from snapuq.properties import PROPERTIES, bind, build_params
from snapuq.properties.base import RelaxedCrystal, relax_crystal
from snapuq.properties.crystals import Crystal
from snapuq.properties.gamma_line import Line, ends_in_fault, highest
from snapuq.properties.slabs import cut_slab, plane_vectors
from snapuq.properties.transformation import PATHS, deformed
from snapuq.units import GPA_PER_EV_A3

FCC, BCC, HCP = "fcc:Ar@5.3", "bcc:Ar@4.2", "hcp:Ar@3.75"
BCC_CELL = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])
SKEW_CELL = np.array([[1.0, 0.1, 0.0], [-0.4, 0.9, 0.2], [0.3, 0.5, 1.3]])


def run(name, **data):
    cls = PROPERTIES[name]
    rng = np.random.default_rng(0)
    return [cls.run(argon(), p, rng) for p in cls.expand(bind(build_params(name, data), ["Ar"]))]


def values(name, **data):
    (output,) = run(name, **data)
    assert output.converged
    assert not output.reconfigured
    return {key: quantity.value for key, quantity in output.values.items()}


def curve(found):
    return [value for key, value in found.items() if key.startswith("curve_")]


def crystal(text: str) -> RelaxedCrystal:
    """A crystal at its first guess of the size; no engine."""
    parsed = Crystal.parse(text)
    return RelaxedCrystal(parsed, parsed.primitive(*parsed.size_guess()), 0.0)


def shells(structure: Structure, reach: float) -> list[str]:
    """Sorted distances to the neighbours of each atom, as text."""
    atoms = Atoms(structure.species, positions=structure.positions, cell=structure.cell, pbc=True)
    center, distance = neighbor_list("id", atoms, reach)
    return [str(np.sort(distance[center == i]).round(5)) for i in range(len(atoms))]


@pytest.mark.parametrize("cell", [BCC_CELL, SKEW_CELL], ids=["bcc", "skew"])
def test_plane_vectors_are_a_reduced_basis(cell):
    for index in itertools.product(range(-3, 4), repeat=3):
        if math.gcd(*index) != 1:
            continue
        basis = plane_vectors(index, cell)
        assert round(np.linalg.det(basis)) == 1
        assert (basis @ np.array(index)).tolist() == [0, 0, 1]
        u, v, _ = basis @ cell
        # Reduced: the angle is between 60 and 120 degrees.
        assert abs(u @ v) <= 0.5 * min(u @ u, v @ v) * (1 + 1e-6)


@pytest.mark.parametrize("text", [BCC, "fcc:Ar@5.3", "hcp:Ar@3.75", "A15:W@5.1", "B2:W,Be@3", "C15:W,Be@7"])
@pytest.mark.parametrize("index", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 1, 2), (3, 2, 1), (0, -1, 1)])
def test_slabs_are_the_crystal_between_two_planes(text, index):
    """Neighbours deep inside a slab are those of the bulk, and its area and composition are right."""
    host = crystal(text)
    slab = cut_slab(host, index, 20.0, 12.0)
    s, conventional = slab.structure, host.conventional()
    normal = np.linalg.inv(conventional.cell) @ np.array(index)
    normal /= np.linalg.norm(normal)
    for vector in s.cell[:2]:
        assert abs(vector @ normal) < 1e-9
    assert np.cross(s.cell[2] / np.linalg.norm(s.cell[2]), normal) == pytest.approx(0, abs=1e-9)
    thickness = len(s) * host.volume / slab.area
    assert thickness >= 20.0
    assert s.cell[2] @ normal == pytest.approx(thickness + 12.0)
    share = {e: s.species.count(e) / len(s) for e in sorted(set(s.species))}
    assert share == pytest.approx(host.crystal.composition)
    heights = s.positions @ normal
    assert heights[slab.upper].min() > heights[~slab.upper].max()
    reach = 1.3 * conventional.nearest_distance()
    deep = np.abs(heights - heights.mean()) < 10.0 - reach
    assert set(np.array(shells(s, reach), dtype=object)[deep]) == set(shells(conventional, reach))


@pytest.mark.parametrize("index", [(2, 1, 0), (3, 2, 1)])
def test_high_index_surfaces_against_ases_builder(index):
    a = relax_crystal(argon(), FCC).a
    slab = surface(bulk("Ar", "fcc", a=a, cubic=True), index, layers=10, vacuum=8.0, periodic=True)
    atoms = bulk("Ar", "fcc", a=a)
    slab.calc = atoms.calc = argon().calculator
    reference = atoms.get_potential_energy()
    FIRE(slab, logfile=None).run(fmax=1e-4, steps=500)
    area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
    truth = (slab.get_potential_energy() - len(slab) * reference) / (2 * area) * GPA_PER_EV_A3 / 10
    found = values("surface", structure=FCC, miller=[index], thickness=22.0)["surface_energy"]
    # Slabs of different thickness beyond the cutoff, relaxed to 1e-4 eV/A.
    assert found == pytest.approx(truth, rel=1e-3)


def test_usual_surfaces_and_lines_follow_the_crystal():
    assert len(PROPERTIES["surface"].expand(build_params("surface", {}))) == 7
    assert build_params("surface", {"structure": "hcp"}).miller[0] == (0, 0, 1)
    labels = [
        PROPERTIES["gamma_line"].label(p)
        for p in PROPERTIES["gamma_line"].expand(build_params("gamma_line", {}))
    ]
    assert labels == ["gamma_line-bcc-110-1_-1_1", "gamma_line-bcc-112-1_1_-1"]
    assert build_params("gamma_line", {"structure": "fcc"}).lines == ("(111)[11-2]/6",)


@pytest.mark.parametrize("turned", [False, True])
def test_atoms_relax_along_the_normal_alone(turned):
    slab = cut_slab(relax_crystal(argon(), FCC), (1, 1, 0), 10.0, 12.0).structure
    rng = np.random.default_rng(3)
    positions = slab.positions + 0.05 * rng.standard_normal(slab.positions.shape)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0] if turned else np.eye(3)
    rotation[:, 0] *= np.sign(np.linalg.det(rotation))
    start = Structure(slab.cell @ rotation, positions @ rotation, slab.species)
    relaxed = argon().relax(start, directions="normal")
    normal = np.cross(*start.cell[:2]) / np.linalg.norm(np.cross(*start.cell[:2]))
    moved = relaxed.structure.positions - start.positions
    assert relaxed.converged
    assert np.abs(moved - np.outer(moved @ normal, normal)).max() < 1e-9
    assert np.abs(moved @ normal).max() > 0.01
    full = argon().evaluate(relaxed.structure).forces
    # Rattled atoms are still pushed within the plane; along the normal they are not.
    assert np.abs(full @ normal).max() < 1e-4 < 0.01 < np.abs(full).max()


def test_intrinsic_fault_of_fcc_against_a_stacking_by_hand():
    """Twelve layers ABCABC|BCABCA, stacked one by one."""
    a = relax_crystal(argon(), FCC).a
    d, edge = a / np.sqrt(3), a / np.sqrt(2)

    def stacked(order: str) -> Atoms:
        cell = [[edge, 0, 0], [edge / 2, edge * np.sqrt(0.75), 0], [0, 0, d * len(order) + 15.0]]
        sites = [["ABC".index(c) / 3, "ABC".index(c) / 3, 0] @ np.array(cell) + [0, 0, d * k]
                 for k, c in enumerate(order)]  # fmt: skip
        atoms = Atoms(["Ar"] * len(order), positions=sites, cell=cell, pbc=True)
        atoms.calc = argon().calculator
        atoms.set_constraint(FixedLine(range(len(atoms)), (0, 0, 1)))
        FIRE(atoms, logfile=None).run(fmax=1e-5, steps=1000)
        return atoms

    area = edge**2 * np.sqrt(0.75)
    energies = [stacked(order).get_potential_energy() for order in ("ABCABCABCABC", "ABCABCBCABCA")]
    truth = (energies[1] - energies[0]) / area * GPA_PER_EV_A3 / 10
    found = values("gamma_line", structure=FCC, points=3, thickness=36.0, fmax=1e-5)
    # Forces of 1e-5 eV/A leave 1e-8 J/m^2; only far neighbours differ, so the fault costs about 1e-4 J/m^2.
    assert found["stacking_fault_energy"] == pytest.approx(truth, abs=1e-7, rel=1e-3)
    assert found["curve_gamma_1.000"] == found["stacking_fault_energy"]
    assert found["gamma_max"] > 10 * abs(found["stacking_fault_energy"])


def test_equivalent_lines_agree_and_opposite_ones_are_mirrored():
    options = {"structure": BCC, "points": 5, "thickness": 14.0, "fmax": 1e-5}
    first, second, twin, anti = (
        curve(values("gamma_line", lines=[line], **options))
        for line in ("(110)[1-11]/2", "(0-11)[111]/2", "(112)[11-1]/2", "(112)[-1-11]/2")
    )
    # Energies to 1e-8 J/m^2 at forces of 1e-5 eV/A.
    assert first == pytest.approx(first[::-1], abs=1e-6)
    assert first == pytest.approx(second, abs=1e-6)
    assert twin == pytest.approx(anti[::-1], abs=1e-6)
    # Twinning and antitwinning shear differ.
    assert abs(twin[0] - anti[0]) > 1e-4


def test_both_sides_of_the_basal_plane_have_the_same_fault():
    """Hexagonal close packing has two kinds of layers; each side is told which way its fault lies."""
    options = {"structure": HCP, "points": 3, "thickness": 20.0, "fmax": 1e-5}
    up = values("gamma_line", lines=["(001)[1-10]/3"], **options)["stacking_fault_energy"]
    for line in ("(001)[120]/3", "(00-1)[-110]/3"):
        found = values("gamma_line", lines=[line], **options)["stacking_fault_energy"]
        assert found == pytest.approx(up, abs=1e-7)
    top = values("gamma_line", lines=["(001)[-110]/3"], **options)
    assert "stacking_fault_energy" not in top
    # Atoms on top of each other; the fault costs little, because only far neighbours differ.
    assert top["curve_gamma_1.000"] > 50 * abs(up)


@pytest.mark.parametrize(
    ("structure", "line", "closes", "fault"),
    [
        ("fcc", "(111)[11-2]/6", False, True),
        ("fcc", "(-111)[1-12]/6", False, False),
        ("fcc", "(-111)[-11-2]/6", False, True),
        ("fcc", "(111)[-1-12]/6", False, False),
        ("fcc", "(111)[11-2]/2", True, False),
        ("fcc", "(111)[1-10]/2", True, False),
        ("fcc", "(111)[1-10]/4", False, False),
        ("bcc", "(110)[1-11]/2", True, False),
        ("bcc", "(1 1 0)[1 -1 1]", True, False),
        ("bcc", "(110)[001]/2", False, False),
        ("sc", "(100)[011]/2", False, False),
        ("hcp", "(001)[100]", True, False),
        ("diamond", "(111)[11-2]/6", False, False),
    ],
)
def test_where_lines_end(structure, line, closes, fault):
    parsed = Line.parse(line)
    assert parsed.closes(Crystal.parse(structure).kind.centring) == closes
    assert ends_in_fault(structure, parsed) == fault
    params = build_params("gamma_line", {"structure": structure, "lines": [line], "points": 5})
    names = PROPERTIES["gamma_line"].outputs(params)
    assert ("curve_gamma_1.000" in names) == (not closes)
    assert ("stacking_fault_energy" in names) == fault


def test_maximum_between_points():
    x = np.linspace(0.0, 1.0, 9)
    assert highest((x * (1.1 - x)).tolist()) == pytest.approx(0.55**2)
    assert highest([0.0, 1.0, 2.0]) == 2.0


def energy_of(atoms: Atoms) -> float:
    atoms.calc = argon().calculator
    return atoms.get_potential_energy() / len(atoms)


def test_paths_meet_the_crystals_at_the_volume_of_bcc():
    host = relax_crystal(argon(), BCC)
    a, volume = host.a, host.volume
    fcc = energy_of(bulk("Ar", "fcc", a=(4 * volume) ** (1 / 3))) - host.energy
    sc = energy_of(bulk("Ar", "sc", a=volume ** (1 / 3))) - host.energy
    edge = (np.sqrt(2.0) * volume) ** (1 / 3)
    hcp = energy_of(bulk("Ar", "hcp", a=edge, c=np.sqrt(8 / 3) * edge)) - host.energy
    # Face-centred, with edges sqrt 2 a, 2^(1/4) a and 2^(1/4) a.
    edges = a * np.array([2**0.5, 2**0.25, 2**0.25])
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5]])
    bct = energy_of(Atoms("Ar4", positions=corners * edges, cell=edges, pbc=True)) - host.energy
    expected = {
        "tetragonal": {"1.414": fcc},
        "trigonal": {"2.000": sc, "4.000": fcc},
        "orthorhombic": {"1.189": bct},
        "hexagonal": {"1.414": hcp},
    }
    for name, points in expected.items():
        found = values("path", structure=BCC, paths=[name], points=9)
        for point, truth in points.items():
            assert found[f"curve_path_{point}"] == pytest.approx(truth, abs=1e-8), (name, point)
        assert found["energy_max"] == max(0.0, *curve(found))
        assert len(curve(found)) == (7 if name == "orthorhombic" else 8)
    end = argon().evaluate(deformed(host.primitive, a, "orthorhombic", 2**0.5))
    assert end.energy == pytest.approx(host.energy, abs=1e-8)


@pytest.mark.parametrize("name", sorted(PATHS))
def test_paths_keep_the_volume_and_start_smoothly_from_bcc(name):
    host = relax_crystal(argon(), BCC)
    for p in np.linspace(1.0, PATHS[name], 7):
        there = deformed(host.primitive, host.a, name, p)
        assert there.volume / len(there) == pytest.approx(host.volume, rel=1e-12)
    start = deformed(host.primitive, host.a, name, 1.0)
    assert argon().evaluate(start).energy / len(start) == pytest.approx(host.energy, abs=1e-10)


def test_a_failing_point_is_a_failure():
    class Fails:
        def __init__(self):
            self.engine = argon()

        def evaluate(self, structure):
            raise SimulationError("lost_atoms")

        def relax(self, structure, **options):
            if "directions" in options:
                raise SimulationError("lost_atoms")
            return self.engine.relax(structure, **options)

    for name, data in (("path", {"structure": BCC}), ("gamma_line", {"structure": FCC})):
        cls = PROPERTIES[name]
        with pytest.raises(SimulationError, match="lost_atoms"):
            cls.run(Fails(), cls.expand(build_params(name, data))[0], np.random.default_rng(0))


def test_an_unconverged_point_is_flagged():
    class Tired:
        def __init__(self):
            self.engine, self.calls = argon(), 0

        def relax(self, structure, **options):
            self.calls += 1
            relaxed = self.engine.relax(structure, **options)
            return replace(relaxed, converged=relaxed.converged and self.calls != 4)

    params = build_params("gamma_line", {"structure": FCC, "points": 4, "thickness": 10.0})
    assert not PROPERTIES["gamma_line"].run(Tired(), params, np.random.default_rng(0)).converged
