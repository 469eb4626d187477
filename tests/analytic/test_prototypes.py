"""Prototypes and structure files against spglib, ASE and Nye's tables of elastic constants."""

from __future__ import annotations

from collections import Counter

import ase.build
import ase.io
import numpy as np
import pytest
import spglib
from ase import Atoms

from snapuq.errors import InputError
from snapuq.properties import bind, build_params
from snapuq.properties.crystals import PROTOTYPES, Crystal, with_file
from snapuq.properties.elastic_tensor import ElasticSymmetry, averages, project
from snapuq.properties.prototypes import Prototype

#: Space group, atoms of the primitive cell, and letters of the occupied Wyckoff positions with how many
#: orbits each (Villars and Calvert's handbook); letters that a shift of the origin swaps are written as one.
KNOWN = {
    "sc": (221, 1, "a"),
    "bcc": (229, 1, "a"),
    "fcc": (225, 1, "a"),
    "diamond": (227, 2, "a"),
    "hcp": (194, 2, "c"),
    "dhcp": (194, 4, "ac"),
    "omega": (191, 3, "ad"),
    "betaSn": (141, 2, "a"),
    "A15": (223, 8, "ac"),
    "sigma": (136, 30, "afiij"),
    "chi": (217, 29, "acgg"),
    "mu": (166, 13, "accch"),
    "C14": (194, 12, "afh"),
    "C15": (227, 6, "ad"),
    "C36": (194, 24, "effgh"),
}
#: Free coordinates per orbit of these Wyckoff positions; all others have none.
FREE = {
    136: {"f": 1, "i": 2, "j": 2},
    217: {"c": 1, "g": 2},
    166: {"c": 1, "h": 2},
    194: {"e": 1, "f": 1, "h": 1},
}
#: Free coordinates that the relaxation has to find.
N_FREE = {"sigma": 7, "chi": 5, "mu": 5, "C14": 2, "C36": 4}
_SWAPPED = str.maketrans({"b": "a", "d": "c"})


def spglib_cell(structure):
    kinds = [sorted(set(structure.species)).index(s) for s in structure.species]
    return structure.cell, structure.positions @ np.linalg.inv(structure.cell), kinds


def dataset(structure, symprec=1e-5):
    return spglib.get_symmetry_dataset(spglib_cell(structure), symprec=symprec)


@pytest.mark.parametrize("name", list(KNOWN))
def test_space_group_atoms_and_wyckoff_positions(name):
    number, atoms, letters = KNOWN[name]
    crystal = Crystal.parse(name).bound(("W",))
    found = dataset(crystal.conventional(*crystal.size_guess()))
    assert found.number == number == PROTOTYPES[name].number
    assert len(set(found.mapping_to_primitive)) == atoms
    orbits = {int(e): found.wyckoffs[i] for i, e in enumerate(found.crystallographic_orbits)}
    swapped = _SWAPPED if name not in ("sigma", "chi", "mu") else {}
    assert Counter("".join(orbits.values()).translate(swapped)) == Counter(letters.translate(swapped))
    free = sum(FREE.get(number, {}).get(letter, 0) for letter in orbits.values())
    assert free == N_FREE.get(name, 0)


@pytest.mark.parametrize("name", list(PROTOTYPES))
def test_different_elements_keep_the_declared_space_group(name):
    kind = PROTOTYPES[name]
    crystal = Crystal(name, ("W", "Be")[: kind.n_species], 5.0)
    # c/a off its ideal value, so that no tetragonal crystal is cubic by chance.
    ratio = 1.0 if kind.system == "cubic" else 1.03 * kind.c_over_a
    found = dataset(crystal.conventional(5.0, 5.0 * ratio))
    assert found.number == kind.number
    # A C-centred cell in the place of a smaller one (L1_0) has its rotations all the same.
    assert len(np.unique(found.rotations, axis=0)) == len(kind.point_group)


@pytest.mark.parametrize("name", list(PROTOTYPES))
def test_point_group_maps_the_crystal_onto_itself(name):
    kind = PROTOTYPES[name]
    crystal = Crystal(name, ("W", "Be")[: kind.n_species], 5.0)
    cell = crystal.conventional(*crystal.size_guess())
    rotations = kind.point_group
    assert np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max() < 1e-12
    inverse = np.linalg.inv(cell.cell)
    images = cell.cell @ rotations @ inverse
    assert np.abs(images - np.round(images)).max() < 1e-9


@pytest.mark.parametrize("name", ["chi", "C15", "A15", "bcc", "diamond"])
def test_conventional_cell_of_a_relaxed_primitive_one(name):
    crystal = Crystal.parse(name).bound(("W",))
    a, _ = crystal.size_guess()
    small = crystal.primitive(a, a)
    large = crystal.conventional_of(small)
    direct = crystal.conventional(a, a)
    assert np.allclose(large.cell, direct.cell, rtol=1e-14)
    delta = large.positions[:, None] - direct.positions[None]
    delta -= a * np.round(delta / a)
    assert np.linalg.norm(delta, axis=-1).min(axis=1).max() < 1e-10
    assert len(large) == len(direct)


def test_one_element_takes_all_sites_of_a_compound():
    assert Crystal.parse("C15").bound(("W",)).elements == ("W", "W")
    assert Crystal.parse("C15:W,Be").bound(("W", "Be")).elements == ("W", "Be")
    params = bind(build_params("phase", {"structures": ["bcc", "C14", "C15", "C36"]}), ("W",))
    assert params.structures == ("bcc:W", "C14:W,W", "C15:W,W", "C36:W,W")
    with pytest.raises(InputError, match="which of the potential's elements"):
        Crystal.parse("C15").bound(("W", "Be"))


# Structure files


def sigma() -> Atoms:
    cell = Crystal.parse("sigma").bound(("W",)).conventional(9.7, 5.1)
    return Atoms(cell.species, positions=cell.positions, cell=cell.cell, pbc=True)


@pytest.mark.parametrize("name", ["sigma phase.cif", "POSCAR", "sigma.vasp", "sigma.extxyz", "sigma.xsf"])
def test_a_file_is_the_prototype_that_was_written(tmp_path, name):
    path = tmp_path / name
    # Turned and repeated: the standard cell is found again.
    atoms = sigma().repeat((1, 1, 2))
    if name != "POSCAR":
        atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    ase.io.write(path, atoms)
    crystal = Crystal.parse(str(path))
    assert (crystal.kind.number, len(crystal.kind.basis), crystal.kind.system) == (136, 30, "tetragonal")
    assert crystal.size_guess() == pytest.approx((9.7, 5.1), rel=1e-5)
    mine, other = crystal.primitive(9.7, 5.1), sigma()
    assert mine.nearest_distance() == pytest.approx(
        Crystal.parse("sigma:W").conventional(9.7, 5.1).nearest_distance()
    )
    assert len(mine) == len(other)
    assert " " not in crystal.label


def test_a_file_is_read_once_and_its_text_needs_it_no_more(tmp_path):
    path = tmp_path / "beta.cif"
    ase.io.write(path, ase.build.bulk("Sn", "bct", a=5.8, c=3.2))
    text = with_file("beta.cif", tmp_path)
    params = bind(build_params("phase", {"structures": ["bcc", text]}), ("Sn",))
    path.unlink()
    again = Crystal.parse(params.structures[1])
    assert again.text == text == with_file(text, tmp_path)
    assert again.label == "beta"
    assert again.elements == ("Sn",)
    assert with_file("hcp:Sn@3.2,1.6", tmp_path) == "hcp:Sn@3.2,1.6"
    assert with_file("bbc", tmp_path) == "bbc"


def test_another_content_is_another_task(tmp_path):
    path = tmp_path / "w.cif"
    texts = []
    for a in (3.16, 3.17):
        ase.io.write(path, ase.build.bulk("W", "bcc", a=a))
        texts.append(with_file(str(path), tmp_path))
    assert texts[0] != texts[1]
    scaled = Crystal.parse(with_file(f"{path}@3.3", tmp_path))
    assert scaled.size_guess()[0] == 3.3


def test_a_triclinic_file_has_every_freedom(tmp_path):
    rng = np.random.default_rng(2)
    atoms = ase.build.bulk("W", "bcc", a=3.16, cubic=True).repeat((2, 1, 1))
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.03 * rng.standard_normal((3, 3))), scale_atoms=True)
    atoms.positions += 0.05 * rng.standard_normal((4, 3))
    ase.io.write(tmp_path / "odd.extxyz", atoms)
    crystal = Crystal.parse(str(tmp_path / "odd.extxyz"))
    assert (crystal.kind.number, crystal.kind.freedom) == (1, "full")
    mine = crystal.primitive(*crystal.size_guess())
    other = atoms.get_all_distances(mic=True)
    there = Atoms(mine.species, positions=mine.positions, cell=mine.cell, pbc=True)
    assert np.sort(there.get_all_distances(mic=True).ravel()) == pytest.approx(
        np.sort(other.ravel()), abs=1e-6
    )
    assert len(ElasticSymmetry.of(crystal.kind.point_group).names) == 21


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.cif", None, "no such file"),
        ("notes.md", "# text", "its format is"),
        ("empty.cif", "", "empty.cif"),
        ("bad.cif", "data_x\n_cell_length_a nonsense\n", "cannot read it"),
        ("open.xyz", "1\n\nW 0 0 0\n", "periodic"),
        ("code.py", "raise SystemExit", "its format is"),
    ],
)
def test_bad_files_are_one_line(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        build_params("eos", {"structure": str(tmp_path / name)})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["x{hall=900; cell=1 1 1 90 90 90; W 0 0 0}", "x{hall=1; cell=1 1; W 0 0 0}"]
)
def test_damaged_text_is_refused(text):
    with pytest.raises(ValueError, match="damaged"):
        Crystal.parse(text)


# Elastic symmetry

#: Independent constants by crystal class (Nye, table 9), for a Hall number of each Laue class.
NYE = {
    2: "11 12 13 14 15 16 22 23 24 25 26 33 34 35 36 44 45 46 55 56 66",
    57: "11 12 13 15 22 23 25 33 35 44 46 55 66",
    227: "11 12 13 22 23 33 44 55 66",
    357: "11 12 13 16 33 44 66",
    400: "11 12 13 33 44 66",
    435: "11 12 13 14 15 33 44",
    456: "11 12 13 14 33 44",
    454: "11 12 13 15 33 44",
    469: "11 12 13 33 44",
    485: "11 12 13 33 44",
    494: "11 12 44",
    517: "11 12 44",
}


def symmetry(hall: int) -> tuple[ElasticSymmetry, np.ndarray]:
    shape = {2: (80, 95, 105), 57: (90, 105, 90)}.get(hall, (90, 90, 120 if 430 <= hall < 489 else 90))
    b = 1.2 if hall < 349 else 1.0
    kind = Prototype(hall, ((0, (0, 0, 0)),), 1.0 if hall > 488 else 1.4, 1.0, b, shape)
    return ElasticSymmetry.of(kind.point_group), kind.point_group


@pytest.mark.parametrize("hall", list(NYE))
def test_independent_constants_are_nyes(hall):
    found, rotations = symmetry(hall)
    assert found.names == tuple(f"C{n}" for n in NYE[hall].split())
    rng = np.random.default_rng(hall)
    constants = rng.standard_normal(len(found.names))
    stiffness = found.stiffness(constants)
    assert np.allclose(project(stiffness, rotations), stiffness, atol=1e-10)
    columns = stiffness[list(found.strains)]
    assert found.fit(columns) == pytest.approx(constants, abs=1e-10)


def test_relations_between_dependent_constants():
    hexagonal, _ = symmetry(485)
    c = hexagonal.stiffness(np.array([5.0, 2.0, 1.5, 6.0, 1.0]))
    assert c[5, 5] == pytest.approx(1.5)
    assert (c[1, 1], c[1, 2], c[4, 4]) == pytest.approx((5.0, 1.5, 1.0))
    trigonal, _ = symmetry(456)
    c = trigonal.stiffness(np.array([5.0, 2.0, 1.5, 0.3, 6.0, 1.0]))
    assert (c[1, 3], c[4, 5]) == pytest.approx((-0.3, 0.3))


def test_projection_is_the_average_over_explicit_rotations():
    """Fourth-rank tensors, rotated index by index."""
    rng = np.random.default_rng(4)
    voigt = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    c = rng.standard_normal((6, 6))
    c += c.T
    _, rotations = symmetry(435)
    full = c[voigt[:, :, None, None], voigt[None, None]]
    r = rotations
    turned = np.einsum("nia,njb,nkc,nld,abcd->ijkl", r, r, r, r, full, optimize=True) / len(r)
    pairs = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    expected = [[turned[i, j, k, m] for k, m in pairs] for i, j in pairs]
    assert np.allclose(project(c, rotations), expected, atol=1e-12)


def test_averages():
    """Isotropic: both bounds are the moduli; cubic: closed forms."""
    k, g = 3.0, 1.2
    isotropic = np.diag([2 * g] * 3 + [g] * 3) + np.pad(np.full((3, 3), k - 2 * g / 3), (0, 3))
    found = averages(isotropic)
    assert (found.bulk_voigt, found.bulk_reuss, found.shear_voigt, found.shear_reuss) == pytest.approx(
        (k, k, g, g)
    )
    c11, c12, c44 = 5.0, 2.0, 0.7
    cubic, _ = symmetry(517)
    found = averages(cubic.stiffness(np.array([c11, c12, c44])))
    assert found.bulk == pytest.approx((c11 + 2 * c12) / 3)
    assert found.shear_voigt == pytest.approx((c11 - c12 + 3 * c44) / 5)
    assert found.shear_reuss == pytest.approx(5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12)))
