"""Whatever ASE reads: labels written by ASE come back unchanged."""

from __future__ import annotations

from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from hypothesis import given, settings
from hypothesis import strategies as st

from snapuq.core.dataset import Configuration
from snapuq.data import read_dataset
from snapuq.errors import InputError


def frames(n: int = 3) -> list[Atoms]:
    """Sheared, rattled copper and aluminium with EMT's energies, forces and stresses."""
    rng = np.random.default_rng(1)
    made = []
    for i in range(n):
        atoms = bulk("Cu", cubic=True) if i % 2 else bulk("Al", cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.05, rng=rng)
        calculator = EMT()
        atoms.calc = calculator
        results = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        made.append(atoms)
    return made


def assert_same(got: Configuration, atoms: Atoms, tolerance: float) -> None:
    results = atoms.calc.results
    np.testing.assert_allclose(got.structure.cell, atoms.cell.array, rtol=0, atol=tolerance)
    np.testing.assert_allclose(got.structure.positions, atoms.positions, rtol=0, atol=tolerance)
    assert list(got.structure.species) == atoms.get_chemical_symbols()
    assert got.energy == pytest.approx(results["energy"], abs=tolerance)
    np.testing.assert_allclose(got.forces, results["forces"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(got.stress, results["stress"], rtol=0, atol=tolerance)


# extxyz prints 8 decimals; databases and trajectories keep doubles.
@pytest.mark.parametrize(
    ("name", "tolerance"), [("a.extxyz", 1e-8), ("a.xyz", 1e-8), ("a.db", 0.0), ("a.traj", 0.0)]
)
def test_round_trip(tmp_path: Path, name: str, tolerance: float) -> None:
    atoms = frames()
    ase.io.write(tmp_path / name, atoms)
    dataset = read_dataset(tmp_path / name)
    assert [c.identifier for c in dataset.configurations] == [f"{name}#{i}" for i in range(3)]
    assert dataset.groups == ("a",)
    for got, want in zip(dataset.configurations, atoms, strict=True):
        assert_same(got, want, tolerance)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_virial_is_minus_volume_times_stress(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """The convention of libAtoms, against the same frame with ASE's own stress."""
    folder = tmp_path_factory.mktemp("virial")
    rng = np.random.default_rng(seed)
    atoms = frames(1)[0]
    full = rng.normal(size=(3, 3))
    full = full + full.T
    plain = {"energy": -1.0, "forces": rng.normal(size=(4, 3))}
    with_virial, with_stress = atoms.copy(), atoms.copy()
    with_virial.info["virial"] = -atoms.get_volume() * full
    with_virial.calc = SinglePointCalculator(with_virial, **plain)
    voigt = np.array([full[0, 0], full[1, 1], full[2, 2], full[1, 2], full[0, 2], full[0, 1]])
    with_stress.calc = SinglePointCalculator(with_stress, stress=voigt, **plain)
    ase.io.write(folder / "v.xyz", with_virial)
    ase.io.write(folder / "s.xyz", with_stress)
    first, second = (read_dataset(folder / n).configurations[0].stress for n in ("v.xyz", "s.xyz"))
    assert first is not None
    # extxyz prints 8 decimals of stress and of a virial that is 66 times larger.
    np.testing.assert_allclose(first, second, rtol=0, atol=2e-8)


def test_virial_of_a_crystal_has_the_sign_of_its_energy(tmp_path: Path) -> None:
    """Stress read from a virial is the derivative of the energy with strain, by finite differences."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(
        atoms.cell.array @ np.array([[1.02, 0.03, 0], [0, 0.97, 0.05], [0.01, 0, 1]]), scale_atoms=True
    )
    atoms.calc = EMT()

    def energy(strain: np.ndarray) -> float:
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        moved.calc = EMT()
        return float(moved.get_potential_energy())

    h, slope = 1e-5, []
    for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        strain = np.zeros((3, 3))
        strain[i, j] += h / 2
        strain[j, i] += h / 2
        slope.append((energy(strain) - energy(-strain)) / (2 * h) / atoms.get_volume())
    labelled = atoms.copy()
    labelled.info["virial"] = -atoms.get_volume() * atoms.get_stress(voigt=False)
    labelled.calc = SinglePointCalculator(
        labelled, energy=atoms.get_potential_energy(), forces=atoms.get_forces()
    )
    ase.io.write(tmp_path / "a.xyz", labelled)
    (got,) = read_dataset(tmp_path / "a.xyz").configurations
    # Central differences with h = 1e-5: 1e-10 eV/A^3 and the 8 printed digits.
    np.testing.assert_allclose(got.stress, slope, rtol=0, atol=1e-7)


def test_force_consistent_energy_is_preferred(tmp_path: Path) -> None:
    (atoms,) = frames(1)
    atoms.calc.results["free_energy"] = -7.0
    ase.io.write(tmp_path / "a.xyz", atoms)
    assert read_dataset(tmp_path / "a.xyz").configurations[0].energy == -7.0


def test_prefixed_labels_are_the_reference_and_are_never_mixed(tmp_path: Path) -> None:
    (atoms,) = frames(1)
    atoms.info["REF_energy"] = -5.0
    atoms.arrays["REF_forces"] = np.full((4, 3), 0.5)
    ase.io.write(tmp_path / "a.xyz", atoms)
    (got,) = read_dataset(tmp_path / "a.xyz").configurations
    assert (got.energy, got.stress) == (-5.0, None)
    assert (got.forces == 0.5).all()
    del atoms.arrays["REF_forces"]
    ase.io.write(tmp_path / "b.xyz", atoms)
    with pytest.raises(
        InputError, match=r"frame 0: missing forces; .*expected a label REF_forces beside REF_energy"
    ):
        read_dataset(tmp_path / "b.xyz")


def test_constraints_do_not_zero_the_forces(tmp_path: Path) -> None:
    (atoms,) = frames(1)
    atoms.set_constraint(FixAtoms([0, 1]))
    ase.io.write(tmp_path / "a.traj", atoms)
    assert_same(read_dataset(tmp_path / "a.traj").configurations[0], atoms, 0.0)


def test_groups(tmp_path: Path) -> None:
    one, two, three = frames(3)
    one.info["config_type"] = "bulk"
    two.info["group"] = "liquid"
    ase.io.write(tmp_path / "mix.xyz", [one, two, three])
    assert [c.group for c in read_dataset(tmp_path / "mix.xyz").configurations] == ["bulk", "liquid", "mix"]
    (tmp_path / "surface" / "100").mkdir(parents=True)
    ase.io.write(tmp_path / "surface" / "100" / "x.xyz", three)
    ase.io.write(tmp_path / "surface" / "y.data", three, format="extxyz")
    folder = read_dataset(tmp_path)
    assert [(c.identifier, c.group) for c in folder.configurations] == [
        ("mix.xyz#0", "bulk"),
        ("mix.xyz#1", "liquid"),
        ("mix.xyz#2", "mix"),
        ("surface/100/x.xyz", "surface/100"),
    ]
    pattern = read_dataset(tmp_path / "surface" / "**" / "*.xyz")
    assert [(c.identifier, c.group) for c in pattern.configurations] == [("100/x.xyz", "100")]


def test_groups_and_labels_of_a_database(tmp_path: Path) -> None:
    """Key-value pairs and data, which ASE leaves out of the atoms."""
    one, two, three = frames(3)
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(one, config_type="hcp")
        database.write(two, group="md")
        database.write(three, data={"REF_forces": np.full((4, 3), 0.5)}, REF_energy=-5.0)
    dataset = read_dataset(tmp_path / "a.db")
    assert [c.group for c in dataset.configurations] == ["hcp", "md", "a"]
    assert_same(dataset.configurations[0], one, 0.0)
    assert (dataset.configurations[2].energy, dataset.configurations[2].forces[0, 0]) == (-5.0, 0.5)


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.xyz", frames(3), format="extxyz")
    lines = (tmp_path / "a.xyz").read_text().splitlines()
    # Six lines a frame; the third ends after its number of atoms.
    (tmp_path / "b.xyz").write_text("\n".join(lines[:13]))
    with pytest.raises(InputError, match=r"b\.xyz: it ends in the middle of a frame"):
        read_dataset(tmp_path / "b.xyz")


def test_vasp_runs(tmp_path: Path) -> None:
    """VASP's own conventions: kB with compression positive, the force-consistent energy in e_fr_energy."""
    for run in ("bulk/run_10", "bulk/run_9"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "vasprun.xml").write_text(VASPRUN)
        (tmp_path / run / "OUTCAR").write_text("the same again")
    dataset = read_dataset(tmp_path)
    assert [c.identifier for c in dataset.configurations] == [f"bulk/run_{i}/vasprun.xml" for i in (9, 10)]
    assert dataset.groups == ("bulk",)
    got = dataset.configurations[0]
    assert got.energy == pytest.approx(-12.5, abs=1e-12)
    np.testing.assert_allclose(got.forces, [[0.1, 0.2, 0.3]], atol=1e-12)
    # 1 kB = 0.1 GPa = 6.241509e-4 eV/A^3; VASP's order and sign.
    kilobar = 6.241509e-4
    np.testing.assert_allclose(got.stress, -kilobar * np.array([10, 20, 30, 4, 5, 6]), rtol=1e-6)


VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <incar></incar>
 <kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
 <parameters></parameters>
 <atominfo><atoms>1</atoms><types>1</types>
  <array name="atoms"><set><rc><c>W </c><c>1</c></rc></set></array>
 </atominfo>
 <structure name="initialpos">
  <crystal><varray name="basis"><v>3 0 0</v><v>0 3 0</v><v>0 0 3</v></varray></crystal>
  <varray name="positions"><v>0 0 0</v></varray>
 </structure>
 <calculation>
  <scstep><energy>
    <i name="e_fr_energy">-12.5</i><i name="e_wo_entrp">-12.3</i><i name="e_0_energy">-12.4</i>
  </energy></scstep>
  <structure><crystal><varray name="basis"><v>3 0 0</v><v>0 3 0</v><v>0 0 3</v></varray></crystal>
   <varray name="positions"><v>0 0 0</v></varray></structure>
  <varray name="forces"><v>0.1 0.2 0.3</v></varray>
  <varray name="stress"><v>10 6 5</v><v>6 20 4</v><v>5 4 30</v></varray>
  <energy><i name="e_fr_energy">-12.5</i><i name="e_wo_entrp">-12.3</i><i name="e_0_energy">-12.4</i></energy>
 </calculation>
</modeling>
"""


def test_open_boundaries_are_refused(tmp_path: Path) -> None:
    slab = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    slab.info.clear()
    slab.calc = SinglePointCalculator(slab, energy=0.0, forces=np.zeros((12, 3)))
    ase.io.write(tmp_path / "slab.xyz", slab)
    with pytest.raises(
        InputError, match=r"slab\.xyz: frame 0\.pbc: not periodic .* found T T F; put it in a cell"
    ):
        read_dataset(tmp_path / "slab.xyz")


def test_missing_labels_name_the_frame(tmp_path: Path) -> None:
    good, bad = frames(2)
    del bad.calc.results["forces"]
    ase.io.write(tmp_path / "a.xyz", [good, bad])
    with pytest.raises(
        InputError, match=r"a\.xyz: frame 1: missing forces; found .*energy.*; expected a label"
    ):
        read_dataset(tmp_path / "a.xyz")
    bad.info["DFT_energy"], bad.calc = -1.0, None
    ase.io.write(tmp_path / "c.xyz", bad)
    with pytest.raises(
        InputError, match=r"missing energy; found DFT_energy; expected a label .*REF_ or dft_"
    ):
        read_dataset(tmp_path / "c.xyz")
    bare = bulk("Cu")
    ase.io.write(tmp_path / "b.xyz", bare)
    with pytest.raises(InputError, match=r"b\.xyz: frame 0: missing energy"):
        read_dataset(tmp_path / "b.xyz")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("junk.xyz", "3\nLattice\nW 0 0\n"),
        ("empty.xyz", ""),
        ("junk.dat", "no format at all"),
        ("vasprun.xml", VASPRUN[:300]),
    ],
)
def test_unreadable_files_are_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_dataset(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_nan_in_a_frame_is_refused(tmp_path: Path) -> None:
    (atoms,) = frames(1)
    atoms.calc.results["forces"][2, 1] = np.nan
    ase.io.write(tmp_path / "a.xyz", atoms)
    with pytest.raises(InputError, match=r"a\.xyz: frame 0\.forces: 1 numbers are NaN or infinite"):
        read_dataset(tmp_path / "a.xyz")


def test_patterns_and_folders_without_a_match(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\*\.xyz: no file that ASE reads"):
        read_dataset(tmp_path / "*.xyz")
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(InputError, match="no file that ASE reads"):
        read_dataset(tmp_path)
