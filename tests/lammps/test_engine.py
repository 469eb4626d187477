"""The LAMMPS engine against finite differences, ASE, lattice sums and the `lmp` command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase.calculators.eam import EAM
from ase_engine import CUTOFF, EPSILON, SIGMA, pair_stiffness
from scipy.optimize import minimize_scalar

from snapuq.core.dataset import Structure
from snapuq.core.potential import ReferencePair
from snapuq.errors import InputError, SimulationError
from snapuq.lammps.engine import LammpsEngine, PotentialFiles, data_text
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.snapfiles import write_reference
from snapuq.lammps.snapformat import read_potential
from snapuq.lammps.templates import Template, Workspace, load_template, template_folder, template_names
from snapuq.properties import PROPERTIES, build_params
from snapuq.units import GPA_PER_EV_A3

pytestmark = pytest.mark.lammps

EAM_PAIR = ReferencePair("eam/alloy", ("* * W_zhou.eam.alloy W",))


def structure(atoms) -> Structure:
    return Structure(atoms.cell.array, atoms.positions, tuple(atoms.get_chemical_symbols()))


def bulk(kind: str = "bcc", a: float = 3.18) -> Structure:
    return structure(ase.build.bulk("W", kind, a=a))


def random_structure(n: int, seed: int, rotate: bool = False) -> Structure:
    """A rattled, sheared bcc cell of n atoms in a row; `rotate` turns it out of LAMMPS's frame."""
    rng = np.random.default_rng(seed)
    row = ase.build.bulk("W", "bcc", a=3.16).repeat((n, 1, 1))
    f = np.eye(3) + 0.05 * rng.normal(size=(3, 3))
    if rotate:
        q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        f = f @ (q * np.sign(np.linalg.det(q)))
    positions = row.positions + 0.1 * rng.normal(size=(n, 3))
    return Structure(row.cell.array @ f, positions @ f, ("W",) * n)


@pytest.fixture(scope="module")
def workspace():
    with Workspace() as opened:
        yield opened


@pytest.fixture(scope="module")
def eam(workspace, tmp_path_factory) -> LammpsEngine:
    return LammpsEngine(write_reference(EAM_PAIR, ("W",), tmp_path_factory.mktemp("eam")), workspace)


@pytest.fixture(scope="module")
def broken(workspace, tmp_path_factory) -> LammpsEngine:
    path = tmp_path_factory.mktemp("broken") / "W.mod"
    path.write_text("pair_style eam/alloy\nno_such_command\n")
    return LammpsEngine(PotentialFiles(path, ("W",)), workspace)


@pytest.fixture(scope="module")
def snap(workspace, tmp_path_factory) -> LammpsEngine:
    """The published tungsten SNAP, in a folder whose name LAMMPS's parser could not read."""
    folder = tmp_path_factory.mktemp("snap") / "a folder $x"
    folder.mkdir()
    for name in ("W_2940_2017_2.snapcoeff", "W_2940_2017_2.snapparam"):
        (folder / name).write_text(find_potential_file(name).read_text())
    (folder / "W.mod").write_text(
        "pair_style hybrid/overlay zbl 4.0 4.8 snap\npair_coeff * * zbl 74 74\n"
        "pair_coeff * * snap ${snapdir}/W_2940_2017_2.snapcoeff ${snapdir}/W_2940_2017_2.snapparam W\n"
    )
    return LammpsEngine(PotentialFiles(folder / "W.mod", ("W",)), workspace)


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("which", ["eam", "snap"])
def test_forces_and_stress_are_derivatives_of_the_energy(which, rotate, request):
    """In the structure's own frame, for a sheared and a rotated cell."""
    engine = request.getfixturevalue(which)
    s = random_structure(4, 5, rotate)
    found = engine.evaluate(s)
    h = 1e-4
    for i, k in ((0, 0), (2, 1), (3, 2)):
        energies = []
        for sign in (1, -1):
            positions = s.positions.copy()
            positions[i, k] += sign * h
            energies.append(engine.evaluate(Structure(s.cell, positions, s.species)).energy)
        # Truncation h^2 and the tabulated EAM's kinks; forces are a few eV/A.
        assert found.forces[i, k] == pytest.approx(-(energies[0] - energies[1]) / (2 * h), abs=2e-4)
    for voigt, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        energies = []
        for sign in (1, -1):
            f = np.eye(3)
            f[i, j] += sign * h / 2
            f[j, i] += sign * h / 2
            energies.append(engine.evaluate(Structure(s.cell @ f, s.positions @ f, s.species)).energy)
        truth = (energies[0] - energies[1]) / (2 * h) / s.volume
        assert found.stress[voigt] == pytest.approx(truth, abs=2e-4)


def test_against_ases_eam(eam):
    s = random_structure(3, 2, rotate=True)
    atoms = ase.Atoms(s.species, positions=s.positions, cell=s.cell, pbc=True)
    atoms.calc = EAM(potential=str(find_potential_file("W_zhou.eam.alloy")), form="alloy")
    found = eam.evaluate(s)
    # The two programs interpolate the tables by different splines.
    assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-5)
    assert found.forces == pytest.approx(atoms.get_forces(), abs=5e-3)


def test_lennard_jones_elastic_constants_against_lattice_sums(workspace, tmp_path):
    pair = ReferencePair(f"lj/cut {CUTOFF!r}", (f"* * {EPSILON} {SIGMA}",))
    engine = LammpsEngine(write_reference(pair, ("Ar",), tmp_path), workspace)
    rng = np.random.default_rng(0)
    phase = PROPERTIES["phase"].run(engine, build_params("phase", {"structures": ["fcc:Ar@5.1"]}), rng)
    truth = pair_stiffness(phase.values["a"].value) * GPA_PER_EV_A3
    elastic = PROPERTIES["elastic"].run(engine, build_params("elastic", {"structure": "fcc:Ar@5.1"}), rng)
    found = [elastic.values[name].value for name in ("C11", "C12", "C44")]
    assert found == pytest.approx(truth, rel=5e-4)  # truncation at a strain of 1e-3


@pytest.fixture(scope="module")
def lattice(eam, snap) -> dict[str, tuple[float, float]]:
    """Lattice constant and energy of bcc by a scan of energies alone: no stress, no minimiser of LAMMPS."""
    found = {}
    for name, engine in (("eam", eam), ("snap", snap)):
        scan = minimize_scalar(
            lambda a, e=engine: e.evaluate(bulk(a=a)).energy,
            bounds=(3.0, 3.3),
            method="bounded",
            options={"xatol": 1e-7},
        )
        found[name] = (float(scan.x), float(scan.fun))
    return found


@pytest.mark.parametrize("factor", [0.92, 1.0, 1.08])
@pytest.mark.parametrize("cell", ["isotropic", "full"])
@pytest.mark.parametrize("which", ["eam", "snap"])
def test_cell_relaxation_from_a_wrong_start(which, cell, factor, lattice, request):
    """From 8 % off in length, either way."""
    a, energy = lattice[which]
    relaxed = request.getfixturevalue(which).relax(bulk(a=a * factor), cell=cell)
    assert relaxed.converged
    assert np.abs(relaxed.evaluation.stress).max() < 1e-6
    # 1e-6 eV/A^3 of a bulk modulus of 2 eV/A^3, and the scan's own resolution near a flat minimum.
    assert relaxed.structure.volume == pytest.approx(a**3 / 2, rel=1e-5)
    assert relaxed.evaluation.energy == pytest.approx(energy, abs=1e-9)


def test_full_relaxation_of_a_strained_rotated_crystal(eam):
    rng = np.random.default_rng(4)
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    q *= np.sign(np.linalg.det(q))
    start = structure(ase.build.bulk("W", "hcp", a=2.9, c=4.7))
    f = (np.eye(3) + 0.03 * rng.normal(size=(3, 3))) @ q
    wrong = Structure(start.cell @ f, start.positions @ f, start.species)
    truth, found = eam.relax(start, cell="full"), eam.relax(wrong, cell="full")
    assert found.converged
    assert found.evaluation.energy == pytest.approx(truth.evaluation.energy, abs=1e-7)
    again = eam.evaluate(found.structure)
    # The returned structure is the one whose energy was returned, in the frame that was given.
    assert again.energy == pytest.approx(found.evaluation.energy, abs=1e-10)
    assert again.stress == pytest.approx(found.evaluation.stress, abs=1e-9)


def test_same_bits_whatever_ran_before(eam, snap, broken):
    vacancy = ase.build.bulk("W", cubic=True, a=3.17).repeat(2)
    del vacancy[0]
    first = snap.relax(structure(vacancy))
    cell = snap.relax(bulk(), cell="isotropic")
    eam.relax(bulk("fcc", 3.9), cell="full")
    with pytest.raises(SimulationError):
        broken.evaluate(bulk())
    assert snap.relax(bulk(), cell="isotropic").structure.digest == cell.structure.digest
    again = snap.relax(structure(vacancy))
    assert again.structure.digest == first.structure.digest
    assert again.evaluation.energy == first.evaluation.energy
    assert np.array_equal(again.evaluation.forces, first.evaluation.forces)


def test_a_broken_potential_does_no_harm(eam, broken):
    """Each failed include leaves LAMMPS one file deeper; at 16 it would read no file any more."""
    for _ in range(30):
        with pytest.raises(SimulationError, match="lammps_error"):
            broken.evaluate(bulk())
    assert eam.relax(bulk(), cell="isotropic").converged


def test_atoms_too_dense_for_neighbour_lists_are_refused(eam):
    """LAMMPS overruns its memory before it reports an overflow."""
    with pytest.raises(SimulationError, match="bad_box"):
        eam.evaluate(Structure(0.1 * bulk().cell, bulk().positions, ("W",)))
    compressed = Structure(0.45 * bulk().cell, bulk().positions, ("W",))
    assert np.isfinite(eam.evaluate(compressed).energy)


def test_a_missing_potential_file_is_named(workspace, tmp_path):
    with pytest.raises(InputError, match="not found"):
        LammpsEngine(PotentialFiles(tmp_path / "W.mod", ("W",)), workspace)


def test_coincident_atoms_are_refused_and_nothing_hangs(snap, eam):
    two = Structure(3.2 * np.eye(3), np.array([[0.0, 0, 0], [0, 0, 0]]), ("W", "W"))
    with pytest.raises(SimulationError, match="coincident_atoms"):
        snap.relax(two)
    assert snap.relax(bulk(), cell="isotropic").converged


def test_a_stopped_relaxation_is_not_called_converged(snap):
    vacancy = ase.build.bulk("W", cubic=True, a=3.17).repeat(2)
    del vacancy[0]
    assert not snap.relax(structure(vacancy), max_evaluations=2).converged
    assert snap.relax(structure(vacancy)).converged


def test_a_crystal_without_a_minimum_runs_away(workspace, tmp_path):
    """A purely repulsive potential expands for ever."""
    pair = ReferencePair("born 6.0", ("* * 10.0 0.5 2.0 0.0 0.0",))
    engine = LammpsEngine(write_reference(pair, ("W",), tmp_path), workspace)
    with pytest.raises(SimulationError, match="runaway"):
        engine.relax(bulk(), cell="isotropic")


def test_an_element_the_potential_does_not_know(snap):
    with pytest.raises(SimulationError, match="unknown_element"):
        snap.evaluate(structure(ase.build.bulk("Ta")))
    with pytest.raises(InputError, match="not a chemical element"):
        PotentialFiles(Path("W.mod"), ("W; shell",))


@pytest.mark.parametrize("name", ["static", "relax_ions", "relax_cell"])
def test_the_lmp_command_gives_the_same_numbers(name, eam, workspace, tmp_path):
    """`lmp -in FILE -var ...` and the engine run the same script; the log has 16 digits."""
    lmp = Path(sys.executable).with_name("lmp")
    if not lmp.exists():
        pytest.skip("no lmp command beside this Python")
    atoms = ase.build.bulk("W", cubic=True, a=3.1).repeat((2, 1, 1))
    atoms.rattle(0.05, seed=1)
    s = structure(atoms)
    frame = LammpsFrame.of(s)
    (tmp_path / "s.data").write_text(data_text(frame, np.ones(4, dtype=int), ("W",)))
    write_reference(EAM_PAIR, ("W",), tmp_path)
    arguments = ["-in", str(template_folder() / f"{name}.lmp"), "-var", "data", "s.data"]
    arguments += ["-var", "potential", "reference.mod", "-log", "log.lammps", "-screen", "none"]
    subprocess.run([lmp, *arguments], cwd=tmp_path, check=True, timeout=100)
    log = (tmp_path / "log.lammps").read_text()
    last = re.findall(r"^\s+Step.*\n((?:\s+\d.*\n)+)", log, re.MULTILINE)[-1].split()
    if name == "static":
        found = eam.evaluate(s)
    else:
        found = eam.relax(s, cell="isotropic" if name == "relax_cell" else None).evaluation
    assert float(last[1]) == pytest.approx(found.energy, abs=0, rel=3e-16)


@pytest.mark.parametrize("name", template_names())
def test_templates_declare_what_they_use(name):
    template = load_template(name)
    assert "potential" in template.required
    assert "data" in {*template.required, *template.optional}
    used = set(re.findall(r"\$\{(\w+)\}|\bv_(\w+)", template.text))
    used = {a or b for a, b in used}
    defined = set(re.findall(r"^variable\s+(\w+)", template.text, re.MULTILINE))
    # Names that end in the value of another variable.
    families = {"p_", *(name for name in defined if name.endswith("_"))}
    assert {u for u in used if not u.startswith(tuple(families))} <= defined | set(template.required)
    assert template.text.startswith("# ")


def test_template_variables_are_checked():
    template = load_template("relax_ions")
    good = {"data": "a.data", "potential": "W.mod"}
    assert template.checked(good | {"fmax": "1e-3"})["fmax"] == "1e-3"
    with pytest.raises(InputError, match="did you mean 'fmax'"):
        template.checked(good | {"fmx": "1e-3"})
    with pytest.raises(InputError, match="needs the variable 'potential'"):
        template.checked({"data": "a.data"})
    for bad in ("a b", "$(1)", 'x"', "a;b", "", "a&"):
        with pytest.raises(InputError, match="not allowed"):
            template.checked(good | {"data": bad})
    with pytest.raises(InputError, match="did you mean 'relax_ions'"):
        load_template("relax_ion")


def test_variables_do_not_leak_into_the_next_run(eam, workspace):
    """Index variables outlive 'clear'; a tight tolerance must not stay."""
    vacancy = ase.build.bulk("W", cubic=True, a=3.17).repeat(2)
    del vacancy[0]
    loose = eam.relax(structure(vacancy), fmax=0.05).evaluations
    tight = eam.relax(structure(vacancy), fmax=1e-6).evaluations
    assert tight > loose
    assert eam.relax(structure(vacancy), fmax=0.05).evaluations == loose


def test_a_parsed_template_keeps_its_text():
    text = "# A.\n#   data: file\nvariable x index 1.5  # thing, A\nrun 0\n"
    template = Template.parse("t", text)
    assert template.required == {"data": "file"}
    assert template.optional == {"x": "1.5"}


@pytest.mark.parametrize("which", ["eam", "snap"])
def test_elastic_constants_against_the_curvature_of_the_energy(which, request, lattice):
    """Second differences of energies; the property differentiates stresses."""
    engine = request.getfixturevalue(which)
    rng = np.random.default_rng(0)
    values = PROPERTIES["elastic"].run(engine, build_params("elastic", {"structure": "bcc:W"}), rng).values
    s, h = bulk(a=lattice[which][0]), 2e-3

    def curvature(strain: np.ndarray) -> float:
        energies = []
        for factor in (-1, 0, 1):
            f = np.eye(3) + factor * h * strain
            energies.append(engine.evaluate(Structure(s.cell @ f, s.positions @ f, s.species)).energy)
        return (energies[0] - 2 * energies[1] + energies[2]) / h**2 / s.volume * GPA_PER_EV_A3

    c11 = curvature(np.diag([1.0, 0, 0]))
    c11_plus_c12 = curvature(np.diag([1.0, 1.0, 0])) / 2
    c44 = curvature(np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]]))
    found = [values[name].value for name in ("C11", "C12", "C44")]
    # Truncation of the second difference, about 50 h^2, and the kinks of the tabulated EAM.
    assert found == pytest.approx([c11, c11_plus_c12 - c11, c44], rel=2e-3)


def test_the_published_files_are_read():
    name = "W_2940_2017_2"
    files = (find_potential_file(f"{name}.{e}") for e in ("snapcoeff", "snapparam"))
    assert read_potential(*files).settings.cutoff == pytest.approx(4.73442)
