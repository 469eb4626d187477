"""Surfaces, gamma lines and paths of the potentials that come with LAMMPS, against ASE and plain LAMMPS."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.build import bulk, surface
from ase.calculators.eam import EAM
from ase.constraints import FixedLine
from ase.optimize import BFGS
from raw_scripts import published_snap
from scipy.optimize import minimize_scalar

from snapuq.campaign.remember import RememberingEngine
from snapuq.core.dataset import Structure
from snapuq.core.potential import ReferencePair
from snapuq.lammps.engine import LammpsEngine, data_text
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.session import Session
from snapuq.lammps.snapfiles import write_reference
from snapuq.lammps.templates import Workspace, template_folder
from snapuq.properties import PROPERTIES, bind, build_params
from snapuq.properties.base import relax_crystal
from snapuq.properties.slabs import cut_slab
from snapuq.properties.transformation import deformed
from snapuq.units import GPA_PER_EV_A3

pytestmark = pytest.mark.lammps

EAM_FILES = {"W": "W_zhou.eam.alloy", "Cu": "Cu_mishin1.eam.alloy"}
LATTICES = {"W": ("bcc", 3.165), "Cu": ("fcc", 3.615)}
J_M2 = GPA_PER_EV_A3 / 10.0
MakeEngine = Callable[[str], LammpsEngine]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeEngine]:
    """EAM potentials of W and Cu, and the published SNAP of W."""
    with Workspace() as workspace:

        def make(name: str) -> LammpsEngine:
            folder = tmp_path_factory.mktemp(name)
            if name == "SNAP":
                return LammpsEngine(published_snap(folder), workspace)
            pair = ReferencePair("eam/alloy", (f"* * {EAM_FILES[name]} {name}",))
            return LammpsEngine(write_reference(pair, (name,), folder), workspace)

        yield make


def run(engine: LammpsEngine, name: str, element: str, **data: object) -> dict[str, float]:
    (params,) = PROPERTIES[name].expand(bind(build_params(name, data), [element]))
    output = PROPERTIES[name].run(engine, params, np.random.default_rng(0))
    assert output.converged
    assert not output.reconfigured
    return {key: quantity.value for key, quantity in output.values.items()}


def ases_eam(element: str) -> tuple[EAM, float, float]:
    """Calculator without LAMMPS, its lattice constant and energy per atom."""
    kind, a = LATTICES[element]
    calculator = EAM(potential=str(find_potential_file(EAM_FILES[element])), form="alloy")

    def energy(size: float) -> float:
        atoms = bulk(element, kind, a=size)
        atoms.calc = calculator
        return atoms.get_potential_energy()

    found = minimize_scalar(energy, bounds=(a - 0.1, a + 0.1), method="bounded", options={"xatol": 1e-7})
    return calculator, float(found.x), float(found.fun)


def area(atoms: ase.Atoms) -> float:
    return float(np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])))


@pytest.mark.parametrize(
    ("element", "index"),
    [
        ("W", (1, 0, 0)),
        ("W", (1, 1, 0)),
        pytest.param("W", (1, 1, 1), marks=pytest.mark.slow),
        pytest.param("W", (1, 1, 2), marks=pytest.mark.slow),
        pytest.param("W", (2, 1, 0), marks=pytest.mark.slow),
        pytest.param("W", (3, 1, 0), marks=pytest.mark.slow),
        pytest.param("W", (3, 2, 1), marks=pytest.mark.slow),
        ("Cu", (1, 0, 0)),
        ("Cu", (1, 1, 1)),
        pytest.param("Cu", (3, 2, 1), marks=pytest.mark.slow),
    ],
)
def test_surfaces_against_ase(engine, element, index):
    """ASE's surface builder, calculator and optimiser, on slabs of 17 A or more."""
    calculator, a, reference = ases_eam(element)
    unit = bulk(element, LATTICES[element][0], a=a, cubic=True)
    layers = 1
    while np.ptp((slab := surface(unit, index, layers, vacuum=7.0, periodic=True)).positions[:, 2]) < 17.0:
        layers += 1
    slab.calc = calculator
    assert BFGS(slab, logfile=None).run(fmax=1e-4, steps=300)
    truth = (slab.get_potential_energy() - len(slab) * reference) / (2 * area(slab)) * J_M2
    found = run(engine(element), "surface", element, structure=LATTICES[element][0], miller=[index])
    # Slabs of other thicknesses (1e-4 J/m^2), and other splines through the tables (1e-6).
    assert found["surface_energy"] == pytest.approx(truth, abs=1e-4)


SNAP_SCRIPT = """
clear
units metal
boundary p p {z}
atom_modify map array sort 0 2.0
lattice bcc {a} {orient}
region box block 0 1 0 1 0 {nz} units lattice
create_box 1 box
create_atoms 1 box
mass 1 183.84
{potential}
neigh_modify every 1 delay 0 check yes
thermo_modify norm no
"""
POTENTIAL = """
pair_style hybrid/overlay zbl 4.0 4.8 snap
pair_coeff * * zbl 74 74
pair_coeff * * snap {coeff} {param} W
"""


@pytest.mark.parametrize(
    ("index", "orient", "layers"),
    [
        ((1, 0, 0), "", 6),
        ((1, 1, 0), "orient x 0 0 1 orient y 1 -1 0 orient z 1 1 0", 4),
        ((1, 1, 2), f"orient x 1 1 -1 orient y -1 1 0 orient z 1 1 2 spacing {3**0.5} {2**0.5} {6**0.5}", 3),
    ],
)
def test_surfaces_of_a_snap_against_plain_lammps(engine, session: Session, index, orient, layers):
    """LAMMPS's own lattice, region and box/relax commands, a non-periodic direction for the vacuum."""
    names = {k: str(find_potential_file(f"W_2940_2017_2.snap{k}")) for k in ("coeff", "param")}
    setting = {"orient": orient, "potential": POTENTIAL.format(**names)}
    lmp = session.raw
    lmp.commands_string(SNAP_SCRIPT.format(a=3.18, nz=1, z="p", **setting))
    lmp.commands_string("fix cell all box/relax iso 0.0\nmin_modify line quadratic\n")
    for _ in range(4):
        lmp.commands_string("minimize 0.0 1e-8 100 1000\n")
    lmp.commands_string("unfix cell\nrun 0\n")
    count = lmp.get_natoms()
    e_bulk = lmp.get_thermo("pe") / count
    a = (2 * lmp.get_thermo("vol") / count) ** (1 / 3)
    lmp.commands_string(SNAP_SCRIPT.format(a=repr(a), nz=layers, z="s", **setting))
    lmp.commands_string("min_style cg\nmin_modify line quadratic norm max\nminimize 0.0 5e-5 1000 10000\n")
    truth = (lmp.get_thermo("pe") - lmp.get_natoms() * e_bulk) / 2
    truth *= J_M2 / (lmp.get_thermo("lx") * lmp.get_thermo("ly"))
    found = run(engine("SNAP"), "surface", "W", structure="bcc", miller=[index])
    # Slabs of other thicknesses beyond the cutoff.
    assert found["surface_energy"] == pytest.approx(truth, abs=1e-4)


def test_stacking_fault_of_copper_against_publication_and_ase(engine):
    """Mishin et al., Phys. Rev. B 63, 224106 (2001): 44.4 mJ/m^2; and layers stacked by hand."""
    found = run(engine("Cu"), "gamma_line", "Cu", structure="fcc", points=9)
    assert 1e3 * found["stacking_fault_energy"] == pytest.approx(44.4, abs=0.06)
    calculator, a, _ = ases_eam("Cu")
    edge, d = a / np.sqrt(2), a / np.sqrt(3)

    def stacked(order: str) -> ase.Atoms:
        cell = np.array([[edge, 0, 0], [edge / 2, edge * np.sqrt(0.75), 0], [0, 0, d * len(order) + 14.0]])
        thirds = np.array(["ABC".index(c) / 3 for c in order])
        positions = np.outer(thirds, cell[0] + cell[1]) + np.outer(np.arange(len(order)) * d, [0, 0, 1])
        atoms = ase.Atoms(f"Cu{len(order)}", positions=positions, cell=cell, pbc=True)
        atoms.calc = calculator
        atoms.set_constraint(FixedLine(range(len(order)), (0, 0, 1)))
        assert BFGS(atoms, logfile=None).run(fmax=1e-4, steps=200)
        return atoms

    perfect, faulted = stacked("ABCABCABCABC"), stacked("ABCABCBCABCA")
    truth = (faulted.get_potential_energy() - perfect.get_potential_energy()) / area(perfect) * J_M2
    assert found["stacking_fault_energy"] == pytest.approx(truth, abs=1e-4)
    # Unstable fault, between the perfect crystal and the intrinsic one.
    assert 0.15 < found["gamma_max"] < 0.17


@pytest.mark.slow
def test_gamma_line_of_tungsten_against_ase(engine):
    """A fault of {112}<111> in ASE's own slab: the upper half moved, heights relaxed."""
    calculator, a, _ = ases_eam("W")
    # Axes [11-1]/2, [1-10] and [112]; all lattice points inside.
    axes = np.array([[1, 1, -1], [1, -1, 0], [1, 1, 2]]) / np.sqrt([[3], [2], [6]])
    edges = a * np.sqrt([3 / 4, 2, 6])
    corners = np.array(list(itertools.product(range(-3, 4), repeat=3)))
    points = a * np.concatenate([corners, corners + 0.5]) @ axes.T
    inside = ((points > -1e-9) & (points < edges - 1e-9)).all(axis=1)
    slab = ase.Atoms(f"W{inside.sum()}", positions=points[inside], cell=edges, pbc=True).repeat((1, 1, 4))
    slab.center(vacuum=7.0, axis=2)
    upper = slab.positions[:, 2] > slab.positions[:, 2].mean()
    energies = []
    for fraction in (0.0, 0.25, 0.5):
        moved = slab.copy()
        moved.positions[upper, 0] += fraction * edges[0]
        moved.calc = calculator
        moved.set_constraint(FixedLine(range(len(moved)), (0, 0, 1)))
        assert BFGS(moved, logfile=None).run(fmax=1e-4, steps=200)
        energies.append(moved.get_potential_energy())
    truth = (np.array(energies) - energies[0]) / area(slab) * J_M2
    line = {"structure": "bcc", "lines": ["(112)[11-1]/2"], "points": 5, "thickness": 4 * edges[2]}
    found = run(engine("W"), "gamma_line", "W", **line)
    # Other splines through the tables, and lattice constants that differ by 1e-6.
    assert found["curve_gamma_0.250"] == pytest.approx(truth[1], abs=1e-4)
    assert found["curve_gamma_0.500"] == pytest.approx(truth[2], abs=1e-4)


def test_atoms_relax_along_the_normal_alone_in_any_frame(engine):
    w = engine("W")
    slab = cut_slab(relax_crystal(w, "bcc:W"), (1, 1, 1), 8.0, 10.0).structure
    rng = np.random.default_rng(3)
    positions = slab.positions + 0.05 * rng.standard_normal(slab.positions.shape)
    q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    q[:, 0] *= np.sign(np.linalg.det(q))
    energies = []
    for rotation in (np.eye(3), q):
        start = Structure(slab.cell @ rotation, positions @ rotation, slab.species)
        relaxed = RememberingEngine(w).relax(start, directions="normal")
        normal = np.cross(*start.cell[:2]) / np.linalg.norm(np.cross(*start.cell[:2]))
        moved = relaxed.structure.positions - start.positions
        forces = w.evaluate(relaxed.structure).forces
        assert relaxed.converged
        assert np.abs(moved - np.outer(moved @ normal, normal)).max() < 1e-9
        assert np.abs(forces @ normal).max() < 1e-4 < 0.1 < np.abs(forces).max()
        # What is given is the part of the force that acts.
        assert relaxed.evaluation.forces == pytest.approx(np.outer(forces @ normal, normal), abs=1e-6)
        energies.append(relaxed.evaluation.energy)
        free = w.relax(start)
        assert free.evaluation.energy < relaxed.evaluation.energy - 0.01
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)
    with pytest.raises(ValueError, match="directions"):
        w.relax(slab, cell="full", directions="normal")


def test_the_lmp_command_relaxes_along_the_normal_too(engine, tmp_path):
    lmp = Path(sys.executable).with_name("lmp")
    if not lmp.exists():
        pytest.skip("no lmp command beside this Python")
    w = engine("W")
    s = cut_slab(relax_crystal(w, "bcc:W"), (1, 1, 2), 8.0, 10.0).structure
    frame = LammpsFrame.of(s)
    (tmp_path / "s.data").write_text(data_text(frame, np.ones(len(s), dtype=int), ("W",)))
    write_reference(ReferencePair("eam/alloy", (f"* * {EAM_FILES['W']} W",)), ("W",), tmp_path)
    variables = {"data": "s.data", "potential": "reference.mod", "directions": "normal"}
    words = ["-in", str(template_folder() / "relax_ions.lmp"), "-log", "log.lammps", "-screen", "none"]
    words += [word for name, value in variables.items() for word in ("-var", name, value)]
    subprocess.run([lmp, *words], cwd=tmp_path, check=True, timeout=100)
    log = (tmp_path / "log.lammps").read_text()
    last = re.findall(r"^\s+Step.*\n((?:\s+\d.*\n)+)", log, re.MULTILINE)[-1].split()
    found = w.relax(s, directions="normal").evaluation.energy
    assert float(last[1]) == pytest.approx(found, abs=0, rel=3e-16)
    assert found > w.relax(s).evaluation.energy + 1e-3


@pytest.mark.parametrize("name", ["W", "SNAP"])
def test_paths_meet_the_crystals_at_the_volume_of_bcc(engine, name):
    potential = engine(name)
    host = relax_crystal(potential, "bcc:W")

    def energy(kind: str, **sizes: float) -> float:
        atoms = bulk("W", kind, **sizes)
        whole = Structure(atoms.cell.array, atoms.positions, tuple(atoms.get_chemical_symbols()))
        return potential.evaluate(whole).energy / len(atoms) - host.energy

    volume, edge = host.volume, (np.sqrt(2.0) * host.volume) ** (1 / 3)
    fcc, sc = energy("fcc", a=(4 * volume) ** (1 / 3)), energy("sc", a=volume ** (1 / 3))
    expected = {
        "tetragonal": {"1.414": fcc},
        "trigonal": {"2.000": sc, "4.000": fcc},
        "hexagonal": {"1.414": energy("hcp", a=edge, c=np.sqrt(8 / 3) * edge)},
    }
    for path, points in expected.items():
        found = run(potential, "path", "W", structure="bcc", paths=[path], points=9)
        for point, truth in points.items():
            assert found[f"curve_path_{point}"] == pytest.approx(truth, abs=1e-8), (path, point)
    end = deformed(host.primitive, host.a, "orthorhombic", 2**0.5)
    assert potential.evaluate(end).energy == pytest.approx(host.energy, abs=1e-8)
