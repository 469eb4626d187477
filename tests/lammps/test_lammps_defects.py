"""Point defects in metals against plain ASE scripts and against LAMMPS's own commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.eam import EAM
from ase.optimize import LBFGS
from raw_scripts import published_snap
from scipy.optimize import minimize_scalar

from snapuq.core.potential import ReferencePair
from snapuq.lammps.engine import LammpsEngine
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.snapfiles import write_reference
from snapuq.lammps.templates import Workspace
from snapuq.properties import PROPERTIES, bind, build_params
from snapuq.properties.base import PropertyOutput

pytestmark = pytest.mark.lammps

#: The issue's bar, eV per defect.
ENERGY = 1.0e-4
#: Relaxation volumes: splines of two programs, and finite differences for the bulk modulus.
VOLUME = 3.0e-3

EAM_FILES = {
    "W": "W_zhou.eam.alloy",
    "Cu": "Cu_mishin1.eam.alloy",
    "Al": "Al_mm.eam.fs",
    "Zr": "Zr_mm.eam.fs",
}
CRYSTALS = {"W": "bcc", "Cu": "fcc", "Al": "fcc", "Zr": "hcp"}


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    with Workspace() as opened:
        yield opened


@pytest.fixture
def engine_of(workspace, tmp_path):
    def build(element: str) -> LammpsEngine:
        style = "eam/alloy" if EAM_FILES[element].endswith("alloy") else "eam/fs"
        pair = ReferencePair(style, (f"* * {EAM_FILES[element]} {element}",))
        return LammpsEngine(write_reference(pair, (element,), tmp_path), workspace)

    return build


def run(engine: LammpsEngine, element: str, name: str, seed: int = 0, **data) -> PropertyOutput:
    params = build_params(name, {"structure": CRYSTALS[element], **data})
    (part,) = PROPERTIES[name].expand(params)
    return PROPERTIES[name].run(engine, bind(part, (element,)), np.random.default_rng(seed))


class AseMetal:
    """ASE's EAM calculator, its own lattice search and its own minimiser; nothing of LAMMPS or snapuq."""

    def __init__(self, element: str, size: float) -> None:
        self.element, self.kind = element, CRYSTALS[element]
        self.calculator = EAM(potential=str(find_potential_file(EAM_FILES[element])), form="alloy")
        found = minimize_scalar(
            self.bulk_energy, bounds=(0.97 * size, 1.03 * size), method="bounded", options={"xatol": 1e-9}
        )
        self.a, self.energy = float(found.x), float(found.fun)

    def bulk_energy(self, a: float) -> float:
        atoms = bulk(self.element, self.kind, a=a)
        atoms.calc = self.calculator
        return float(atoms.get_potential_energy())

    def bulk_modulus(self) -> float:
        """eV/A^3, from the curvature of the energy: V d2E/dV2 = (d2E/da2) a^2 / 9 V."""
        h = 2e-3 * self.a
        second = (self.bulk_energy(self.a + h) - 2 * self.energy + self.bulk_energy(self.a - h)) / h**2
        return second * self.a**2 / (9 * bulk(self.element, self.kind, a=self.a).get_volume())

    def defect(self, n: int, gone: list[list[float]], extra: np.ndarray | None = None) -> tuple[float, float]:
        """Formation energy and relaxation volume; sites in units of a, a dumbbell around the first."""
        atoms = bulk(self.element, self.kind, a=self.a, cubic=True).repeat(n)
        volume = atoms.get_volume()
        sites = [int(np.argmin(np.linalg.norm(atoms.positions - self.a * np.array(s), axis=1))) for s in gone]
        centre = atoms.positions[sites[0]].copy()
        del atoms[sites]
        for sign in (1, -1) if extra is not None else ():
            atoms.append(self.element)
            atoms.positions[-1] = centre + sign * extra
        atoms.calc = self.calculator
        assert LBFGS(atoms, logfile=None).run(fmax=1e-4, steps=500)
        pressure = -atoms.get_stress()[:3].mean()
        energy = atoms.get_potential_energy() - len(atoms) * self.energy
        return float(energy), float(volume * pressure / self.bulk_modulus())


SIZES = {"W": 3.165, "Cu": 3.615}


@pytest.mark.parametrize(("element", "neighbour"), [("W", [0.5, 0.5, 0.5]), ("Cu", [0.5, 0.5, 0.0])])
def test_vacancies_against_a_plain_ase_script(element, neighbour, engine_of):
    engine, truth = engine_of(element), AseMetal(element, SIZES[element])
    single, pair = truth.defect(2, [[0, 0, 0]]), truth.defect(2, [[0, 0, 0], neighbour])
    found = run(engine, element, "vacancy", supercell=2)
    assert found.values["formation_energy"].value == pytest.approx(single[0], abs=ENERGY)
    assert found.values["relaxation_volume"].value == pytest.approx(single[1], rel=VOLUME)
    found = run(engine, element, "divacancy", supercell=2, shells=[1])
    assert found.values["formation_energy"].value == pytest.approx(pair[0], abs=ENERGY)
    assert found.values["binding_energy"].value == pytest.approx(2 * single[0] - pair[0], abs=2 * ENERGY)
    assert found.values["relaxation_volume"].value == pytest.approx(pair[1], rel=VOLUME)
    assert found.converged
    assert not found.reconfigured


@pytest.mark.slow
@pytest.mark.parametrize(
    ("element", "kind", "half"),
    [("W", "dumbbell_110", [0.8, 0.8, 0.0]), ("Cu", "dumbbell_100", [1.1, 0.0, 0.0])],
)
def test_interstitials_against_a_plain_ase_script(element, kind, half, engine_of):
    energy, volume = AseMetal(element, SIZES[element]).defect(3, [[0, 0, 0]], np.array(half))
    found = run(engine_of(element), element, "interstitial", supercell=3, kinds=[kind])
    assert found.values["formation_energy"].value == pytest.approx(energy, abs=ENERGY)
    assert found.values["relaxation_volume"].value == pytest.approx(volume, rel=VOLUME)
    assert found.converged
    assert not found.reconfigured


SCRIPT = """
units metal
atom_modify map array sort 0 2.0
lattice bcc 3.18
region unit block 0 1 0 1 0 1
create_box 1 unit
create_atoms 1 box
mass 1 183.84
variable snapdir index .
include W.mod
fix press all box/relax iso 0.0 vmax 0.001
minimize 0 1e-12 1000 1000
variable a0 equal $(lx:%.17g)
variable e0 equal $(pe/count(all):%.17g)
unfix press
change_box all x scale 1.001 y scale 1.001 z scale 1.001 remap
run 0
variable p1 equal $(press:%.17g)
change_box all x scale $(0.999/1.001) y scale $(0.999/1.001) z scale $(0.999/1.001) remap
run 0
variable b0 equal $((press-v_p1)/(1.001^3-0.999^3):%.17g)

clear
units metal
atom_modify map array sort 0 2.0
lattice bcc ${a0}
region all block 0 3 0 3 0 3
create_box 1 all
create_atoms 1 box
mass 1 183.84
include W.mod
region origin sphere 0 0 0 0.1
group origin region origin
delete_atoms group origin compress no
PLACE
min_style cg
min_modify norm max
minimize 0 1e-5 5000 5000
print "ENERGY $(pe-count(all)*v_e0:%.15g) VOLUME $(vol*press/v_b0:%.15g)"
"""


PLACES = {
    "vacancy": "",
    "dumbbell_110": "create_atoms 1 single 0.25 0.27 0.01\ncreate_atoms 1 single 2.75 2.75 0",
    "crowdion": "create_atoms 1 single 0 0 0\ncreate_atoms 1 single 0.3 0.25 0.22",
}


@pytest.mark.parametrize("kind", PLACES)
def test_snap_against_lammpss_own_commands(kind, workspace, tmp_path):
    lmp = Path(sys.executable).with_name("lmp")
    if not lmp.exists():
        pytest.skip("no lmp command beside this Python")
    files = published_snap(tmp_path)
    (tmp_path / "in.defect").write_text(SCRIPT.replace("PLACE", PLACES[kind]))
    command = [lmp, "-in", "in.defect", "-log", "log.lammps", "-screen", "none"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=100)
    log = (tmp_path / "log.lammps").read_text().splitlines()
    words = next(line for line in log if line.startswith("ENERGY")).split()
    energy, volume = float(words[1]), float(words[3])
    name, data = ("vacancy", {}) if kind == "vacancy" else ("interstitial", {"kinds": [kind]})
    found = run(LammpsEngine(files, workspace), "W", name, supercell=3, **data)
    assert found.values["formation_energy"].value == pytest.approx(energy, abs=ENERGY)
    assert found.values["relaxation_volume"].value == pytest.approx(volume, rel=VOLUME)
    assert found.converged
    assert not found.reconfigured


@pytest.mark.parametrize(
    ("element", "kind", "stays"),
    [
        ("Al", "dumbbell_100", True),
        ("Al", "octahedral", True),
        ("Al", "dumbbell_111", True),
        ("W", "dumbbell_100", False),
        ("Al", "tetrahedral", False),
        ("W", "octahedral", False),
        ("Zr", "basal_octahedral", True),
        ("Zr", "c_split", False),
    ],
)
def test_minima_are_told_from_saddles(element, kind, stays, engine_of):
    """Whatever the random displacements."""
    engine = engine_of(element)
    found = [run(engine, element, "interstitial", seed, kinds=[kind]) for seed in (1, 2)]
    assert [o.reconfigured for o in found] == [not stays] * 2
    energies = [o.values["formation_energy"].value for o in found]
    assert energies[0] == pytest.approx(energies[1], abs=ENERGY)


@pytest.mark.parametrize("element", ["W", "Zr"])
def test_constant_volume_and_pressure_approach_each_other(element, engine_of):
    """Energies from above and from below, volumes by linear response and from the cell."""
    engine, gap = engine_of(element), []
    kind = "dumbbell_110" if element == "W" else "basal_octahedral"
    for n in (3, 5):
        fixed, free = (
            run(engine, element, "interstitial", supercell=n, kinds=[kind], constant=c)
            for c in ("volume", "pressure")
        )
        assert fixed.converged
        assert free.converged
        gap.append(fixed.values["formation_energy"].value - free.values["formation_energy"].value)
    assert 0 < gap[1] < 0.5 * gap[0]
    # An interstitial strains 250 atoms by 0.5 %, beyond the linear response.
    volumes = [o.values["relaxation_volume"].value for o in (fixed, free)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.04)
