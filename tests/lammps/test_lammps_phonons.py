"""Phonons in LAMMPS against phonopy driven by ASE, and against LAMMPS's own ``dynamical_matrix``."""

from __future__ import annotations

from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase.calculators.eam import EAM
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from plain_phonopy import plain_phonopy, raw_frequencies
from raw_scripts import published_snap
from scipy.optimize import minimize_scalar

from snapuq.core.potential import ReferencePair
from snapuq.lammps.engine import LammpsEngine, PotentialFiles
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.session import Session
from snapuq.lammps.snapfiles import write_reference
from snapuq.lammps.templates import Workspace
from snapuq.properties import PROPERTIES, build_params
from snapuq.properties.base import relax_crystal
from snapuq.properties.brillouin import brillouin_zone
from snapuq.properties.crystals import Crystal
from snapuq.properties.lattice_dynamics import harmonic_crystal
from snapuq.properties.supercell import build_supercell, supercell_matrix

pytestmark = pytest.mark.lammps

#: THz; what the issue asks for. Found: 1e-6 against phonopy, 0.004 against ``dynamical_matrix``.
TOLERANCE = 0.02
#: THz of the square root of 1 eV/A^2/u, as LAMMPS's units metal give it.
THZ = 15.633302
POINTS = {
    "bcc": {"H": (0.5, -0.5, 0.5), "N": (0.0, 0.0, 0.5), "P": (0.25, 0.25, 0.25)},
    "fcc": {"X": (0.5, 0.0, 0.5), "L": (0.5, 0.5, 0.5), "W": (0.5, 0.25, 0.75), "K": (0.375, 0.375, 0.75)},
}


@pytest.fixture(scope="module")
def workspace():
    with Workspace() as opened:
        yield opened


def eam_file(element: str) -> Path:
    return find_potential_file(f"{element}_zhou.eam.alloy")


def snap_files(folder: Path, stem: str, element: str) -> PotentialFiles:
    """Copy a SNAP that comes with LAMMPS, and write what loads it."""
    for ending in ("snapcoeff", "snapparam"):
        (folder / f"{stem}.{ending}").write_text(find_potential_file(f"{stem}.{ending}").read_text())
    names = f"${{snapdir}}/{stem}.snapcoeff ${{snapdir}}/{stem}.snapparam {element}"
    (folder / f"{element}.mod").write_text(f"pair_style snap\npair_coeff * * {names}\n")
    return PotentialFiles(folder / f"{element}.mod", (element,))


@pytest.mark.parametrize(("element", "kind", "guess"), [("W", "bcc", 3.16), ("Cu", "fcc", 3.61)])
def test_embedded_atom_against_phonopy_with_ase(element, kind, guess, workspace, tmp_path):
    """Lattice, forces, conventional supercell and frequencies without a line of snapuq."""
    calculator = EAM(potential=str(eam_file(element)))

    def energy(a):
        atoms = ase.build.bulk(element, kind, a=a)
        atoms.calc = calculator
        return atoms.get_potential_energy()

    a = minimize_scalar(
        energy, bounds=(0.97 * guess, 1.03 * guess), method="bounded", options={"xatol": 1e-7}
    ).x
    cell = ase.build.bulk(element, kind, a=a, cubic=True)
    phonons = Phonopy(
        PhonopyAtoms(symbols=cell.get_chemical_symbols(), cell=cell.cell.array, positions=cell.positions),
        supercell_matrix=3 * np.eye(3, dtype=int),
        primitive_matrix=kind[0].upper().replace("B", "I"),
    )
    phonons.generate_displacements(distance=0.01, is_plusminus=True)
    forces = []
    for s in phonons.supercells_with_displacements:
        atoms = ase.Atoms(s.symbols, cell=s.cell, positions=s.positions, pbc=True, calculator=calculator)
        forces.append(atoms.get_forces())
    phonons.forces = forces
    phonons.produce_force_constants(show_drift=False)

    pair = ReferencePair("eam/alloy", (f"* * {eam_file(element).name} {element}",))
    engine = LammpsEngine(write_reference(pair, (element,), tmp_path), workspace)
    params = build_params(
        "phonon", {"structure": f"{kind}:{element}", "path_points": 10, "supercell_length": 2.5 * a}
    )
    found = PROPERTIES["phonon"].run(engine, params, np.random.default_rng(0))
    assert found.converged
    assert found.values["n_imaginary"].value == 0
    phonons.run_qpoints(list(POINTS[kind].values()))
    for name, row in zip(POINTS[kind], phonons.qpoints.frequencies, strict=True):
        ours = [found.values[f"f_{name}_{b}"].value for b in (1, 2, 3)]
        assert ours == pytest.approx(np.sort(row), abs=TOLERANCE), name


def dynamical_matrix(
    session: Session, pair: list[str], lattice: str, n: int, mass: float, out: Path
) -> np.ndarray:
    """Frequencies of all modes of a supercell by plain LAMMPS commands, at its own zero pressure, THz."""
    session.clear()
    for line in (
        "units metal",
        "atom_modify map array sort 0 2.0",
        f"lattice {lattice}",
        f"region box block 0 {n} 0 {n} 0 {n}",
        "create_box 1 box",
        "create_atoms 1 box",
        *pair,
        f"mass 1 {mass}",
        "fix free all box/relax iso 0.0 vmax 0.001",
        "min_modify line quadratic",
        "minimize 0 1e-10 200 1000",
        "minimize 0 1e-10 200 1000",
        "unfix free",
        f"dynamical_matrix all regular 1e-2 file {out}",
    ):
        session.command(line)
    count = int(session.raw.get_natoms())
    assert abs(session.raw.get_thermo("press")) < 1.0
    session.clear()
    squares = np.linalg.eigvalsh(np.loadtxt(out).reshape(3 * count, 3 * count))
    return THZ * np.sign(squares) * np.sqrt(np.abs(squares))


CASES = [
    pytest.param("W eam", "bcc:W", "bcc 3.16", 3, 183.84, id="W-eam"),
    pytest.param("W snap", "bcc:W", "bcc 3.18", 2, 183.84, id="W-snap"),
    pytest.param("Mo_Zuo_JPCA2020", "bcc:Mo", "bcc 3.16", 2, 95.95, id="Mo-snap"),
    pytest.param(
        "Si_Zuo_JPCA2020.quadratic", "diamond:Si", "diamond 5.46", 1, 28.085, id="Si-quadratic-snap"
    ),
]


@pytest.mark.parametrize(("potential", "text", "lattice", "n", "mass"), CASES)
def test_waves_of_a_supercell_against_dynamical_matrix(
    potential, text, lattice, n, mass, session, workspace, tmp_path
):
    """The modes of a supercell are those of the waves that fit into it, whatever its size."""
    element = text.split(":")[1]
    if potential == "W eam":
        pair = ["pair_style eam/alloy", f"pair_coeff * * {eam_file('W')} W"]
        files = write_reference(ReferencePair("eam/alloy", ("* * W_zhou.eam.alloy W",)), ("W",), tmp_path)
    else:
        files = (
            published_snap(tmp_path) if potential == "W snap" else snap_files(tmp_path, potential, element)
        )
        pair = files.include.read_text().replace("${snapdir}", str(tmp_path)).splitlines()
    theirs = dynamical_matrix(session, pair, lattice, n, mass, tmp_path / "dynmat.dat")

    engine = LammpsEngine(files, workspace)
    bulk = relax_crystal(engine, text)
    matrix = supercell_matrix(bulk.crystal, (n - 0.5) * bulk.a)
    supercell = build_supercell(bulk.primitive, matrix, brillouin_zone(text), 0.01)
    fitting = supercell.commensurate()
    found = harmonic_crystal(engine, bulk.primitive, supercell).frequencies(fitting.q)
    ours = np.sort(np.repeat(found, fitting.weights, axis=0).ravel())
    assert len(ours) == len(theirs)
    # The three translations, at rest in both.
    assert np.sort(np.abs(theirs))[:3] == pytest.approx(np.zeros(3), abs=TOLERANCE)
    assert ours == pytest.approx(theirs, abs=TOLERANCE)
    assert ours.max() > 5.0


SAME_FORCES = [
    pytest.param("W_zhou.eam.alloy", "bcc:W", id="bcc"),
    pytest.param("Mg_mm.eam.fs", "hcp:Mg", id="hcp"),
    pytest.param("Mg_mm.eam.fs", "C14:Mg,Mg", id="internal-coordinates"),
    pytest.param("Si_Zuo_JPCA2020", "diamond:Si", id="diamond-snap"),
]


@pytest.mark.parametrize(("potential", "text"), SAME_FORCES)
def test_frequencies_of_plain_phonopy_with_the_same_forces(potential, text, workspace, tmp_path):
    """phonopy looks for symmetry and images in the relaxed crystal itself, and keeps all force constants."""
    element = text.split(":")[1].split(",")[0]
    if "eam" in potential:
        pair = ReferencePair(
            potential.split("_")[1].partition(".")[2].replace(".", "/"), (f"* * {potential} {element}",)
        )
        files = write_reference(pair, (element,), tmp_path)
    else:
        files = snap_files(tmp_path, potential, element)
    engine = LammpsEngine(files, workspace)
    zone, unit = brillouin_zone(text), relax_crystal(engine, text).primitive
    guess = Crystal.parse(text)
    supercell = build_supercell(
        guess.primitive(*guess.size_guess()), supercell_matrix(guess, 10.0), zone, 0.01
    )
    assert supercell.has_symmetry_of(unit)
    # Cells with axes or coordinates of their own differ from the first guess in more than size.
    assert supercell.offsets(unit).any() == text.startswith("C14")
    crystal = harmonic_crystal(engine, unit, supercell)
    phonons = plain_phonopy(engine, unit, zone, supercell)
    home = supercell.primitive_sites
    # Forces of 1 eV/A in double precision over 0.01 A.
    assert crystal.constants == pytest.approx(phonons.force_constants[home], abs=1e-10)
    assert crystal.stiffness > 1.0
    fitting, mesh = supercell.commensurate(), zone.mesh(10.0, supercell.point_group())
    path = np.array([point.q for point in zone.path(30)])
    # The first wave is at the centre, where zero is known to 1e-6 THz only.
    for q in (path, fitting.q[1:], mesh.q):
        theirs = raw_frequencies(phonons, q)
        away = np.abs(q - np.rint(q)).max(axis=1) > 1e-9
        assert crystal.frequencies(q)[away] == pytest.approx(theirs[away], abs=1e-6)


@pytest.mark.slow
def test_default_supercell_is_converged(workspace, tmp_path):
    """Against the next larger one, between special points too: published tungsten SNAP."""
    engine = LammpsEngine(published_snap(tmp_path), workspace)
    bulk = relax_crystal(engine, "bcc:W")
    zone = brillouin_zone("bcc:W")
    path = [point.q for point in zone.path(60)]
    default = PROPERTIES["phonon"].Params().supercell_length
    bands = []
    for length in (default, default + 3.0):
        matrix = supercell_matrix(bulk.crystal, length)
        supercell = build_supercell(bulk.primitive, matrix, zone, 0.01)
        bands.append(harmonic_crystal(engine, bulk.primitive, supercell).frequencies(path))
    assert np.abs(bands[1] - bands[0]).max() < 0.5 * TOLERANCE
