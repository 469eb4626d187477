"""Scripts of lammps_inputs that run by themselves, by the `lmp` command, against snapuq's own properties."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from raw_scripts import published_snap

from snapuq.core.dataset import Structure
from snapuq.core.potential import ReferencePair
from snapuq.lammps.engine import LammpsEngine, PotentialFiles, data_text
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.snapfiles import write_reference
from snapuq.lammps.templates import Workspace, load_template, template_folder
from snapuq.properties import PROPERTIES, bind, build_params
from snapuq.properties.base import relax_crystal
from snapuq.properties.slabs import cut_slab

pytestmark = pytest.mark.lammps

SCRIPTS = ("elastic", "eos", "surface", "vacancy")
#: The issue's bars: elastic constants, relative; energies, eV; surface energies, J/m^2.
ELASTIC, ENERGY, SURFACE = 5.0e-3, 1.0e-4, 1.0e-4
#: Round-off of stresses, GPa, for constants that are zero.
ZERO = 0.02
#: Volume and moduli of the fitted curve: energies have as many digits in both, but noise of 1e-8 eV.
FIT = 1.0e-4

EAM = {
    "W": ("eam/alloy", "W_zhou.eam.alloy"),
    "Cu": ("eam/alloy", "Cu_mishin1.eam.alloy"),
    "Mg": ("eam/fs", "Mg_mm.eam.fs"),
}
#: Crystals as snapuq names them, and as LAMMPS makes them. LAMMPS's cell of hcp is rectangular.
CRYSTALS = {
    "W": ("bcc", {"lattice": "bcc", "a": "3.1"}),
    "W-SNAP": ("bcc", {"lattice": "bcc", "a": "3.1"}),
    "Cu": ("fcc", {"lattice": "fcc", "a": "3.6"}),
    "Mg": ("hcp", {"lattice": "hcp", "a": "3.2", "freedom": "aniso"}),
    "Si": ("diamond", {"lattice": "diamond", "a": "5.4"}),
}


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    with Workspace() as opened:
        yield opened


def potential(name: str, folder: Path) -> PotentialFiles:
    """Write one of the potentials that come with LAMMPS; SNAP in the form that snapuq exports."""
    if name == "W-SNAP":
        return published_snap(folder)
    if name == "Si":
        return write_reference(ReferencePair("sw", ("* * Si.sw Si",)), ("Si",), folder)
    style, file = EAM[name]
    return write_reference(ReferencePair(style, (f"* * {file} {name}",)), (name,), folder)


def lmp(script: str, files: PotentialFiles, folder: Path, **variables: str) -> dict[str, float]:
    """Run a script by the `lmp` command; every line 'name = number unit' that it prints."""
    command = Path(sys.executable).with_name("lmp")
    if not command.exists():
        pytest.skip("no lmp command beside this Python")
    words = ["-in", str(template_folder() / f"{script}.lmp"), "-log", "log.lammps", "-screen", "none"]
    where = files.include.parent
    values = {"potential": f"{where}/{files.include.name}", "snapdir": str(where), **variables}
    for name, value in values.items():
        words += ["-var", name, value]
    subprocess.run([command, *words], cwd=folder, check=True, timeout=100, stdin=subprocess.DEVNULL)
    log = (folder / "log.lammps").read_text()
    found = re.findall(r"^([\w ()./]+) = (-?[\d.e+-]+)(?: [\w^/]+)?$", log, re.MULTILINE)
    return {name: float(value) for name, value in found}


def property_values(name: str, files: PotentialFiles, workspace: Workspace, **data) -> dict[str, float]:
    params = build_params(name, data)
    (part,) = PROPERTIES[name].expand(params)
    engine = LammpsEngine(files, workspace)
    output = PROPERTIES[name].run(engine, bind(part, files.elements), np.random.default_rng(0))
    assert output.converged
    return {key: quantity.value for key, quantity in output.values.items()}


def write_data(path: Path, structure: Structure) -> str:
    frame = LammpsFrame.of(structure)
    path.write_text(data_text(frame, np.ones(len(structure), dtype=int), structure.species[:1]))
    return str(path)


@pytest.mark.parametrize("name", ["W", "W-SNAP", "Mg", "Si"])
def test_elastic_constants(name, workspace, tmp_path):
    structure, variables = CRYSTALS[name]
    files = potential(name, tmp_path / "potential")
    found = lmp("elastic", files, tmp_path, **variables)
    truth = property_values("elastic", files, workspace, structure=structure)
    for constant in (key for key in truth if re.fullmatch(r"C\d\d", key)):
        assert found[constant] == pytest.approx(truth[constant], rel=ELASTIC), constant
    assert found["bulk modulus (Voigt)"] == pytest.approx(truth["bulk_modulus_voigt"], rel=ELASTIC)
    assert found["shear modulus (Voigt)"] == pytest.approx(truth["shear_modulus_voigt"], rel=ELASTIC)
    assert abs(found["C14"]) + abs(found["C45"]) < ZERO
    assert found["C22"] == pytest.approx(found["C11"], rel=ELASTIC)


def test_ions_relax_where_they_are_free(workspace, tmp_path):
    """Half the stiffness of silicon against shear is gone with its internal strain."""
    files = potential("Si", tmp_path / "potential")
    found = lmp("elastic", files, tmp_path, **CRYSTALS["Si"][1], ions="clamp")
    truth = property_values("elastic", files, workspace, structure="diamond", relax_ions=False)
    assert found["C44"] == pytest.approx(truth["C44"], rel=ELASTIC)
    relaxed = property_values("elastic", files, workspace, structure="diamond")
    assert found["C44"] > 1.5 * relaxed["C44"]


@pytest.mark.parametrize("name", ["Cu", "Mg"])
def test_elastic_constants_of_a_data_file(name, workspace, tmp_path):
    files = potential(name, tmp_path / "potential")
    structure, variables = CRYSTALS[name]
    cell = relax_crystal(LammpsEngine(files, workspace), f"{structure}:{name}").conventional()
    # From a cell that is still under pressure.
    data = write_data(tmp_path / "s.data", Structure(1.01 * cell.cell, 1.01 * cell.positions, cell.species))
    freedom = variables.get("freedom", "tri")
    found = lmp("elastic", files, tmp_path, data=data, freedom=freedom)
    truth = property_values("elastic", files, workspace, structure=structure)
    assert found["C11"] == pytest.approx(truth["C11"], rel=ELASTIC)
    assert found["C12"] == pytest.approx(truth["C12"], rel=ELASTIC)
    assert found["C44"] == pytest.approx(truth["C44"], rel=ELASTIC)


@pytest.mark.parametrize("name", ["W-SNAP", "Cu", "Mg"])
def test_equation_of_state(name, workspace, tmp_path):
    structure, variables = CRYSTALS[name]
    files = potential(name, tmp_path / "potential")
    found = lmp("eos", files, tmp_path, **variables)
    truth = property_values("eos", files, workspace, structure=structure)
    curve = {key: value for key, value in truth.items() if key.startswith("energy_at_")}
    assert len(curve) == 12
    for key, value in curve.items():
        name_there = f"energy at {key.removeprefix('energy_at_')} of the volume"
        assert found[name_there] == pytest.approx(value, abs=ENERGY)
    assert found["volume"] == pytest.approx(truth["volume"], rel=FIT)
    # The tolerance on the pressure moves the middle of the curve, by less than the bar on elastic constants.
    assert found["bulk modulus"] == pytest.approx(truth["bulk_modulus"], rel=ELASTIC)
    if name != "Mg":
        assert found["bulk modulus"] == pytest.approx(truth["bulk_modulus"], rel=FIT)
        assert found["bulk modulus derivative"] == pytest.approx(
            truth["bulk_modulus_derivative"], rel=10 * FIT
        )


@pytest.mark.parametrize("name", ["W-SNAP", "Cu"])
def test_vacancies(name, workspace, tmp_path):
    structure, variables = CRYSTALS[name]
    files = potential(name, tmp_path / "potential")
    found = lmp("vacancy", files, tmp_path, **variables, supercell="3", data_out="relaxed.data")
    truth = property_values("vacancy", files, workspace, structure=structure, supercell=3)
    assert found["vacancy formation energy"] == pytest.approx(truth["formation_energy"], abs=ENERGY)
    n_atoms = {"bcc": 53, "fcc": 107}[structure]
    assert f"\n{n_atoms} atoms" in (tmp_path / "relaxed.data").read_text()


def test_a_vacancy_in_a_crystal_from_a_file(workspace, tmp_path):
    files = potential("Mg", tmp_path / "potential")
    cell = relax_crystal(LammpsEngine(files, workspace), "hcp:Mg").conventional()
    data = write_data(tmp_path / "s.data", cell)
    found = lmp("vacancy", files, tmp_path, data=data, freedom="aniso", supercell="4", site="2")
    truth = property_values("vacancy", files, workspace, structure="hcp", supercell=4)
    assert found["vacancy formation energy"] == pytest.approx(truth["formation_energy"], abs=ENERGY)


@pytest.mark.parametrize(
    ("name", "plane"), [("W", "100"), ("W-SNAP", "110"), ("W", "111"), ("Cu", "111"), ("Cu", "112")]
)
def test_surfaces(name, plane, workspace, tmp_path):
    structure, variables = CRYSTALS[name]
    files = potential(name, tmp_path / "potential")
    found = lmp("surface", files, tmp_path, **variables, plane=plane)
    truth = property_values("surface", files, workspace, structure=structure, miller=[[*map(int, plane)]])
    assert found["surface energy"] == pytest.approx(truth["surface_energy"], abs=SURFACE)


def test_any_surface_by_a_pair_of_data_files(workspace, tmp_path):
    files = potential("Mg", tmp_path / "potential")
    crystal = relax_crystal(LammpsEngine(files, workspace), "hcp:Mg")
    data = write_data(tmp_path / "bulk.data", crystal.primitive)
    slab = write_data(tmp_path / "slab.data", cut_slab(crystal, (1, 0, 1), 15.0, 12.0).structure)
    found = lmp("surface", files, tmp_path, data=data, slab=slab, freedom="aniso")
    truth = property_values(
        "surface", files, workspace, structure="hcp", miller=[[1, 0, 1]], thickness=15.0, vacuum=12.0
    )
    assert found["surface energy"] == pytest.approx(truth["surface_energy"], abs=SURFACE)


@pytest.mark.parametrize(
    ("script", "variables", "message"),
    [
        ("surface", {"plane": "210"}, "plane: expected 100, 110, 111 or 112"),
        ("surface", {"data": "bulk.data"}, "data and slab: one needs the other"),
        ("elastic", {"ions": "free"}, "ions: expected relax or clamp"),
        # Atoms that fall together or fly apart have no lattice to go on from.
        ("vacancy", {"a": "1.2"}, "no zero-pressure lattice near this start"),
    ],
)
def test_wrong_variables_end_the_script(script, variables, message, tmp_path):
    files = potential("W", tmp_path / "potential")
    with pytest.raises(subprocess.CalledProcessError):
        lmp(script, files, tmp_path, **variables)
    assert f"\n{message}\n" in (tmp_path / "log.lammps").read_text()


@pytest.mark.parametrize("script", ["static", "relax_ions", "relax_cell"])
def test_data_files_of_any_name_are_written(script, workspace, tmp_path):
    files = potential("W", tmp_path / "potential")
    data = write_data(tmp_path / "s.data", relax_crystal(LammpsEngine(files, workspace), "bcc:W").primitive)
    lmp(script, files, tmp_path, data=data, data_out="out-1.data")
    assert "\n1 atoms\n" in (tmp_path / "out-1.data").read_text()
    lmp(script, files, tmp_path, data=data)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_need_nothing_but_a_potential(script):
    template = load_template(script)
    assert set(template.required) == {"potential"}
    assert {"data", "lattice", "a", "freedom", "fmax", "pmax"} <= set(template.optional)
