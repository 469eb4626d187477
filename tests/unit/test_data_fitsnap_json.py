"""FitSNAP JSON folders: round trips, units, the sign of stress and the real sets."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import ase.units
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st

from snapuq.data import read_dataset
from snapuq.data.files import natural_key
from snapuq.errors import InputError
from snapuq.units import BAR_PER_EV_A3

STYLES = {
    "EnergyStyle": "electronvolt",
    "ForcesStyle": "electronvoltperangstrom",
    "PositionsStyle": "angstrom",
    "LatticeStyle": "angstrom",
    "StressStyle": "bar",
    "AtomTypeStyle": "chemicalsymbol",
}


def entry_of(atoms: Atoms, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    stress = rng.normal(size=(3, 3))
    return {
        "NumAtoms": len(atoms),
        "AtomTypes": atoms.get_chemical_symbols(),
        "Lattice": atoms.cell.array.tolist(),
        "Positions": atoms.positions.tolist(),
        "Energy": float(-3.0 * len(atoms) + rng.normal()),
        "Forces": rng.normal(size=(len(atoms), 3)).tolist(),
        "Stress": (stress + stress.T).tolist(),
    }


def write(path: Path, *entries: dict[str, Any], comment: str = "# made by a test\n", **styles: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"Dataset": {"Data": list(entries), **STYLES, **styles}}
    path.write_text(comment + json.dumps(content))
    return path


def random_cell(seed: int, n: int = 3) -> Atoms:
    """A skewed right-handed cell of well separated atoms in no special orientation."""
    rng = np.random.default_rng(seed)
    cell = 4.0 * np.eye(3) + rng.uniform(-0.6, 0.6, size=(3, 3))
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    cell = cell @ (turned * np.sign(np.linalg.det(turned)))
    fractions = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])[:n]
    return Atoms(["W", "Be", "W", "Ta"][:n], positions=fractions @ cell, cell=cell, pbc=True)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 4), comment=st.sampled_from(["", "# one\n", "# a\n#b\n"]))
def test_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n: int, comment: str
) -> None:
    folder = tmp_path_factory.mktemp("set")
    atoms = random_cell(seed, n)
    entry = entry_of(atoms, seed)
    write(folder / "A" / "1.json", entry, comment=comment)
    (got,) = read_dataset(folder).configurations
    assert (got.identifier, got.group) == ("A/1.json", "A")
    assert got.structure.species == tuple(entry["AtomTypes"])
    # JSON keeps doubles exactly, and factors of 1 do too.
    np.testing.assert_array_equal(got.structure.cell, entry["Lattice"])
    np.testing.assert_array_equal(got.structure.positions, entry["Positions"])
    np.testing.assert_array_equal(got.forces, entry["Forces"])
    assert got.energy == entry["Energy"]
    s = np.array(entry["Stress"])
    expected = -np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]]) / BAR_PER_EV_A3
    # One multiplication by 1/BAR against one division: 1 ulp.
    np.testing.assert_allclose(got.stress, expected, rtol=4e-16)


def test_stress_sign_is_that_of_ase_in_a_sheared_cell(tmp_path: Path) -> None:
    """LAMMPS's pressure tensor of a sheared crystal, -stress in bar, gives back ASE's own stress."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1.01, 0.02, 0.0], [0.0, 0.98, 0.05], [0.0, 0.0, 1.0]]), True)
    atoms.calc = EMT()
    six = atoms.get_stress()
    assert len({round(abs(x), 9) for x in six}) == 6, "six different components, or their order is untested"
    entry = entry_of(atoms)
    entry["Stress"] = (-atoms.get_stress(voigt=False) * BAR_PER_EV_A3).tolist()
    write(tmp_path / "g" / "x.json", entry)
    (got,) = read_dataset(tmp_path).configurations
    # Two roundings of a double.
    np.testing.assert_allclose(got.stress, six, rtol=1e-14, atol=1e-18)


@pytest.mark.parametrize(
    ("key", "style", "field", "value"),
    [
        ("EnergyStyle", "hartree", "energy", ase.units.Hartree),
        ("EnergyStyle", "Rydberg", "energy", ase.units.Ry),
        ("EnergyStyle", "kcal/mol", "energy", ase.units.kcal / ase.units.mol),
        ("ForcesStyle", "hartree/bohr", "forces", ase.units.Hartree / ase.units.Bohr),
        ("ForcesStyle", "ev_per_ang", "forces", 1.0),
        ("PositionsStyle", "bohr", "positions", ase.units.Bohr),
        ("LatticeStyle", "nm", "cell", 10.0),
        ("StressStyle", "kB", "stress", 1.0e3),
        ("StressStyle", "GPa", "stress", 1.0e4),
        ("StressStyle", "pascal", "stress", 1.0e-5),
        ("StressStyle", "eV/angstrom^3", "stress", BAR_PER_EV_A3),
    ],
)
def test_units(tmp_path: Path, key: str, style: str, field: str, value: float) -> None:
    entry = entry_of(random_cell(3))
    write(tmp_path / "g" / "a.json", entry)
    write(tmp_path / "g" / "b.json", entry, **{key: style})

    def number(configuration: Any) -> np.ndarray:
        owner = configuration.structure if field in ("positions", "cell") else configuration
        return np.asarray(getattr(owner, field))

    first, second = read_dataset(tmp_path).configurations
    # Products of table values: a few ulps.
    np.testing.assert_allclose(number(second), value * number(first), rtol=1e-14)


def test_all_zero_stress_means_not_computed(tmp_path: Path) -> None:
    entry = entry_of(random_cell(1))
    entry["Stress"] = np.zeros((3, 3), int).tolist()
    write(tmp_path / "g" / "moving.json", entry)
    still = copy.deepcopy(entry)
    still["Forces"] = np.zeros((3, 3)).tolist()
    write(tmp_path / "g" / "still.json", still)
    without = copy.deepcopy(entry)
    del without["Stress"]
    write(tmp_path / "g" / "without.json", without)
    assert [c.stress for c in read_dataset(tmp_path).configurations] == [None, None, None]


def test_groups_nest_and_files_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("b/run_10.json", "b/run_2.json", "b/.hidden.json", "a/deep/1.json", "b/run_1.json"):
        write(tmp_path / name, entry_of(random_cell(1)))
    (tmp_path / "b" / "README").write_text("not data")
    write(tmp_path / "b" / "many.json", entry_of(random_cell(1)), entry_of(random_cell(2)))
    dataset = read_dataset(tmp_path)
    assert [c.identifier for c in dataset.configurations] == [
        "a/deep/1.json",
        "b/many.json#0",
        "b/many.json#1",
        "b/run_1.json",
        "b/run_2.json",
        "b/run_10.json",
    ]
    assert dataset.groups == ("a/deep", "b")


def test_one_file_and_one_group_can_be_read(tmp_path: Path) -> None:
    file = write(tmp_path / "bulk" / "1.json", entry_of(random_cell(1)))
    (alone,) = read_dataset(file).configurations
    (within,) = read_dataset(file.parent).configurations
    assert alone.group == within.group == "bulk"
    assert alone.digest == within.digest


@given(st.lists(st.text("ab019_.", max_size=6)))
def test_natural_order_is_total(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cutting the text anywhere gives an InputError that names the file, never another exception."""
    folder = tmp_path_factory.mktemp("cut")
    file = write(folder / "g" / "x.json", entry_of(random_cell(5)))
    text = file.read_text()
    at = data.draw(st.integers(0, len(text) - 1))
    file.write_text(text[:at])
    with pytest.raises(InputError) as caught:
        read_dataset(folder, reader="fitsnap_json")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.floats(),
    st.integers(-(10**30), 10**30),
    st.just([]),
    st.just({}),
)


@settings(max_examples=150, deadline=None)
@given(
    key=st.sampled_from(["NumAtoms", "AtomTypes", "Lattice", "Positions", "Energy", "Forces", "Stress"]),
    value=st.one_of(LEAVES, st.lists(LEAVES, max_size=3), st.lists(st.lists(LEAVES, max_size=3), max_size=3)),
)
def test_any_value_of_a_key_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    entry = entry_of(random_cell(5))
    entry[key] = value
    file = write(folder / "g" / "x.json", entry)
    try:
        (got,) = read_dataset(folder).configurations
    except InputError as error:
        assert str(file) in str(error) or "g/x.json" in str(error)
        assert "\n" not in str(error)
    else:
        assert np.isfinite(got.energy)
        assert np.isfinite(got.forces).all()


COUNTS = {
    "tantalum/JSON": {
        **{
            "Displaced_A15": 9,
            "Displaced_BCC": 9,
            "Displaced_FCC": 9,
            "Elastic_BCC": 100,
            "Elastic_FCC": 100,
        },
        **{"GSF_110": 22, "GSF_112": 22, "Liquid": 3, "Surface": 7},
        **{"Volume_A15": 30, "Volume_BCC": 21, "Volume_FCC": 31},
    },
    "tungsten": {
        **{"slice_sample": 2000, "md_bulk": 60, "surface": 180, "vacancy": 420, "Divacancy": 39},
        **{"gamma_surface": 6183, "gamma_surface_vacancy": 750, "dislocation_quadrupole": 98},
        **{"Disordered_Struc": 27, "EOS_Data": 125},
        **{"BCC_ForceLib_W110": 5, "BCC_ForceLib_W111": 3, "BCC_ForceLib_WOct": 4, "BCC_ForceLib_WTet": 3},
    },
    "tungsten-beryllium": {
        **{"ElasticDeform_Vol": 48, "slice_sample": 50, "WSurface_BeAdhesion": 26, "Elast_HCP_Vol": 21},
        **{"ElasticDeform_Shear": 50, "DFT_MD_300K": 45, "DFT_MD_1000K": 40, "EOS": 75},
        **{"Elast_BCC_Vol": 20, "md_bulk": 20},
    },
}


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "total", "elements"),
    [("tantalum/JSON", 363, ("Ta",)), ("tungsten", 9897, ("W",)), ("tungsten-beryllium", 395, ("Be", "W"))],
)
def test_real_sets(dft_data: Path, name: str, total: int, elements: tuple[str, ...]) -> None:
    dataset = read_dataset(dft_data / name)
    assert len(dataset) == total
    assert dataset.elements == elements
    counts = dict.fromkeys(dataset.groups, 0)
    for configuration in dataset.configurations:
        counts[configuration.group] += 1
    assert counts == COUNTS[name]


@pytest.mark.data
def test_stress_of_the_real_equation_of_state_is_its_slope(dft_data: Path) -> None:
    """The DFT pressure is -dE/dV of the DFT energies, which fixes sign and unit of stress."""
    files = [c for c in read_dataset(dft_data / "tantalum/JSON").configurations if c.group == "Volume_BCC"]
    files.sort(key=lambda c: c.structure.volume / len(c))
    volume = np.array([c.structure.volume / len(c) for c in files])
    energy = np.array([c.energy / len(c) for c in files])
    trace = np.array([c.stress[:3].sum() / 3.0 for c in files if c.stress is not None])
    slope = np.gradient(energy, volume)
    # Tension positive: sigma = +dE/dV; finite differences of a coarse scan agree within a few per cent.
    ratio = (slope @ trace) / (trace @ trace)
    assert ratio == pytest.approx(1.0, abs=0.1)
