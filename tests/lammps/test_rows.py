"""Design rows against plain LAMMPS commands, finite differences and finite strains."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given
from hypothesis import strategies as st
from structures import random_structure

from snapuq.core.dataset import Configuration, LossWeights, Structure
from snapuq.core.design import RowKind
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.descriptors.assemble import RowSelection, compute_rows, flag_roundoff, make_block, plan_chunks
from snapuq.descriptors.bispectrum import BispectrumCalculator, SnapRows
from snapuq.descriptors.neighbours import find_pairs
from snapuq.descriptors.quadratic import quadratic_derivatives, quadratic_energy
from snapuq.errors import InputError, SimulationError
from snapuq.lammps.frame import lower_triangular
from snapuq.lammps.library import open_lammps
from snapuq.lammps.session import Session
from snapuq.units import BAR_PER_EV_A3

pytestmark = pytest.mark.lammps

# The bar: product-rule rows equal LAMMPS's to this fraction of each column's largest magnitude.
COLUMN_TOLERANCE = 1.0e-12
ZBL = {
    1: ReferencePair("zbl 4.0 4.8", ("* * 74 74",)),
    2: ReferencePair("zbl 4.0 4.8", ("1 1 74 74", "1 2 74 4", "2 2 4 4")),
}


def settings(elements: tuple[str, ...] = ("W",), **changes: object) -> SnapSettings:
    radii = {"W": 0.5, "Be": 0.417932}
    weights = {"W": 1.0, "Be": 0.959049}
    base = SnapSettings(
        elements,
        4.8123,
        6,
        tuple(radii[e] for e in elements),
        tuple(weights[e] for e in elements),
        bzeroflag=False,
        quadraticflag=True,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def plain_lammps(structure: Structure, s: SnapSettings, pair: ReferencePair | None) -> np.ndarray:
    """Array of ``compute snap`` from commands written out as FitSNAP does, in LAMMPS's frame."""
    lmp = open_lammps()
    cell, rotation = lower_triangular(structure.cell)
    positions = structure.positions @ rotation
    for text in ("units metal", "atom_style atomic", "atom_modify map array sort 0 2.0", "box tilt large"):
        lmp.command(text)
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell
    lmp.command(f"region r prism 0 {lx:.20g} 0 {ly:.20g} 0 {lz:.20g} {xy:.20g} {xz:.20g} {yz:.20g}")
    lmp.command(f"create_box {len(s.elements)} r")
    n = len(structure)
    wrapped = positions - np.floor(positions @ np.linalg.inv(cell)) @ cell
    types = [s.elements.index(e) + 1 for e in structure.species]
    lmp.create_atoms(n, None, (ctypes.c_int * n)(*types), (ctypes.c_double * (3 * n))(*wrapped.ravel()))
    lmp.command("mass * 1.0e-20")
    lmp.command(
        "pair_style zero 10.0" if pair is None else f"pair_style hybrid/overlay zero 10.0 {pair.styles}"
    )
    lmp.command("pair_coeff * * zero" if pair is not None else "pair_coeff * *")
    for line in () if pair is None else pair.overlay_coeff():
        lmp.command(f"pair_coeff {line}")
    lmp.command("neighbor 1.0e-20 nsq")
    lmp.command("neigh_modify one 10000")
    numbers = " ".join(str(x) for x in (s.rcutfac, s.rfac0, s.twojmax, *s.radelem, *s.wj))
    lmp.command(
        f"compute snap all snap {numbers} rmin0 {s.rmin0} bzeroflag {int(s.bzeroflag)} "
        f"quadraticflag {int(s.quadraticflag)} switchflag {int(s.switchflag)} "
        f"bnormflag {int(s.bnormflag)} wselfallflag {int(s.wselfallflag)}"
        + (f" chem {len(s.elements)} " + " ".join(map(str, range(len(s.elements)))) if s.chemflag else "")
        + (
            " switchinnerflag 1 sinner {} dinner {}".format(
                *(" ".join(map(str, x)) for x in (s.sinner, s.dinner))
            )
            if s.switchinnerflag
            else ""
        )
    )
    lmp.command("run 0")
    array = np.array(lmp.numpy.extract_compute("snap", 0, 2))
    lmp.close()
    return array


def stacked(rows: SnapRows, structure: Structure) -> np.ndarray:
    """Energy, force and virial rows as ``compute snap`` has them."""
    assert rows.stress is not None
    return np.vstack(
        [rows.energy, rows.forces.reshape(3 * len(structure), -1), -rows.stress * structure.volume]
    )


def assert_columns_agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    scale = np.abs(theirs).max(axis=0)
    assert np.all(np.abs(ours - theirs).max(axis=0) <= COLUMN_TOLERANCE * np.where(scale > 0, scale, 1.0))


@pytest.mark.parametrize("elements", [("W",), ("W", "Be")])
@pytest.mark.parametrize("n", [1, 2, 5, 16, 54, 128])
def test_quadratic_rows_equal_lammps(session: Session, n: int, elements: tuple[str, ...]) -> None:
    s = settings(elements, bzeroflag=True)
    structure = random_structure(n, elements, seed=n)
    expected = plain_lammps(structure, s, ZBL[len(elements)])
    rows = BispectrumCalculator(session, s, ZBL[len(elements)]).rows(structure, stress=True)
    assert_columns_agree(stacked(rows, structure), expected[:, :-1])
    assert rows.reference_stress is not None
    assert np.isclose(rows.reference_energy, expected[0, -1], rtol=1e-12, atol=1e-12)
    assert np.allclose(rows.reference_forces.ravel(), expected[1 : 3 * n + 1, -1], atol=1e-10)
    assert np.allclose(-rows.reference_stress * BAR_PER_EV_A3, expected[-6:, -1], rtol=1e-9, atol=1e-6)


QUADRATIC_VARIANTS = {
    "bnorm": {"bnormflag": True},
    "wselfall": {"wselfallflag": True},
    "no switching": {"switchflag": False},
    "rmin0": {"rmin0": 0.4},
    "chem": {"chemflag": True, "twojmax": 2},
    "inner": {"switchinnerflag": True, "sinner": (1.6, 1.3), "dinner": (0.4, 0.3)},
}


@pytest.mark.parametrize("name", sorted(QUADRATIC_VARIANTS))
def test_quadratic_variants_equal_lammps(session: Session, name: str) -> None:
    s = settings(("W", "Be"), **{"twojmax": 4, "bzeroflag": True, **QUADRATIC_VARIANTS[name]})
    structure = random_structure(6, ("W", "Be"), seed=11)
    rows = BispectrumCalculator(session, s).rows(structure, stress=True)
    assert_columns_agree(stacked(rows, structure), plain_lammps(structure, s, None)[:, :-1])
    assert rows.reference_energy == 0.0
    assert not rows.reference_forces.any()


@pytest.mark.parametrize("most_pairs", [1, 200, 900])
def test_rows_are_the_same_in_batches(session: Session, most_pairs: int) -> None:
    s = settings(("W", "Be"))
    structure = random_structure(20, ("W", "Be"), seed=3, rotate=True)
    whole = BispectrumCalculator(session, s, ZBL[2]).rows(structure, stress=True)
    parts = BispectrumCalculator(session, s, ZBL[2], most_pairs=most_pairs).rows(structure, stress=True)
    assert_columns_agree(stacked(parts, structure), stacked(whole, structure))


@pytest.mark.parametrize("moved", [False, True])
def test_equal_surroundings_are_computed_once_and_right(session: Session, moved: bool) -> None:
    """B2 and a displaced atom in it: centres of two types that share descriptors with others or do not."""
    s = settings(("W", "Be"), twojmax=4, bzeroflag=True)
    corners = np.array(list(np.ndindex(4, 4, 4)), dtype=float) * 2.9
    positions = np.concatenate([corners, corners + 1.45])
    if moved:
        positions[0, 0] += 0.01
    structure = Structure(np.eye(3) * 11.6, positions, ("W",) * 64 + ("Be",) * 64)
    rows = BispectrumCalculator(session, s, ZBL[2]).rows(structure, stress=True)
    assert_columns_agree(stacked(rows, structure), plain_lammps(structure, s, ZBL[2])[:, :-1])
    types = np.repeat([1, 2], 64).astype(np.int32)
    (pairs,) = find_pairs(structure, types, np.full((2, 2), s.cutoff), 10**9)
    n_distinct = len(np.unique(pairs.centre[pairs.alike(types)]))
    assert (2 < n_distinct < 128) if moved else n_distinct == 2


def test_dense_cells_slabs_and_isolated_atoms_equal_lammps(session: Session) -> None:
    s = settings(bzeroflag=True)
    dense = Structure(np.eye(3) * 2.3, np.array([[0.0, 0, 0], [1.2, 1.1, 1.15]]), ("W", "W"))
    corners = np.array([[0.0, 0, 0], [1.6, 1.5, 1.6], [0.1, 3.1, 1.4]])
    # Atoms outside the cell are where their images are.
    slab = Structure(np.diag([3.2, 4.6, 30.0]), corners - np.array([0.0, 7.0, 40.0]), ("W",) * 3)
    for structure in (dense, slab):
        rows = BispectrumCalculator(session, s).rows(structure, stress=True)
        assert_columns_agree(stacked(rows, structure), plain_lammps(structure, s, None)[:, :-1])
    alone = Structure(np.eye(3) * 12.0, np.zeros((1, 3)), ("W",))
    rows = BispectrumCalculator(session, settings()).rows(alone, stress=True)
    assert not rows.forces.any()
    assert rows.stress is not None
    assert not rows.stress.any()


@given(st.integers(1, 9), st.integers(1, 2), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_pairs_equal_ases(n: int, n_types: int, most: int, seed: int) -> None:
    structure = random_structure(n, ("W",), seed=seed, rotate=True)
    rng = np.random.default_rng(seed)
    types = rng.integers(1, n_types + 1, n).astype(np.int32)
    cutoffs = rng.uniform(2.0, 6.0, (n_types, n_types))
    cutoffs = np.minimum(cutoffs, cutoffs.T)
    ours = {
        (int(p.atoms[c]), int(m), *(v.round(6) + 0.0).tolist())
        for p in find_pairs(structure, types, cutoffs, most)
        for c, m, v in zip(p.centre, p.mover, p.vectors, strict=True)
    }
    i, j, vectors, distance = primitive_neighbor_list(
        "ijDd", (True,) * 3, structure.cell, structure.positions, float(cutoffs.max()), self_interaction=False
    )
    near = distance < cutoffs[types[i] - 1, types[j] - 1]
    found = zip(i[near].tolist(), j[near].tolist(), (vectors[near].round(6) + 0.0).tolist(), strict=True)
    assert ours == {(a, b, *v) for a, b, v in found} | {(a, a, 0.0, 0.0, 0.0) for a in range(n)}


@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_product_rule_equals_its_definition(n: int, k: int, runs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    b, d = rng.normal(size=(n, k)), rng.normal(size=(n, 3, k))
    starts = np.array([0, *np.sort(rng.integers(0, n + 1, runs - 1)), n])
    out = np.full((runs, 3, k + k * (k + 1) // 2), np.nan)
    quadratic_derivatives(b, d, starts, out)
    pairs = [(i, j) for i in range(k) for j in range(i, k)]
    factor = np.array([0.5 if i == j else 1.0 for i, j in pairs])
    i, j = np.array(pairs).T
    each = np.concatenate([d, factor * (b[:, None, i] * d[:, :, j] + d[:, :, i] * b[:, None, j])], axis=2)
    expected = [each[a:z].sum(axis=0) for a, z in pairwise(starts)]
    assert np.allclose(out, expected, rtol=1e-12, atol=1e-12)
    energy = np.concatenate([b, factor * b[:, i] * b[:, j]], axis=1).sum(axis=0)
    assert np.allclose(quadratic_energy(b), energy, rtol=1e-12, atol=1e-12)


VARIANTS = {
    "linear": {"quadraticflag": False},
    "bzero": {"bzeroflag": True},
    "bnorm": {"bnormflag": True},
    "wselfall": {"quadraticflag": False, "wselfallflag": True},
    "no switching": {"switchflag": False, "quadraticflag": False},
    "rmin0": {"rmin0": 0.4},
    "chem": {"chemflag": True, "quadraticflag": False, "twojmax": 4},
    "inner": {"switchinnerflag": True, "sinner": (1.6, 1.3), "dinner": (0.4, 0.3)},
}


@pytest.mark.parametrize("name", sorted(VARIANTS))
@pytest.mark.parametrize("rotate", [False, True])
def test_force_and_stress_rows_are_derivatives_of_the_energy_row(
    session: Session, name: str, rotate: bool
) -> None:
    s = settings(("W", "Be"), **{"twojmax": 4, **VARIANTS[name]})
    structure = random_structure(5, ("W", "Be"), seed=8, rotate=rotate)
    calculator = BispectrumCalculator(session, s, ZBL[2])
    rows = calculator.rows(structure, stress=True)
    by_product = calculator.rows(structure)
    assert np.allclose(rows.forces, by_product.forces, atol=1e-11 * np.abs(rows.forces).max())
    h = 1.0e-5

    def energies(moved: Structure) -> tuple[np.ndarray, float]:
        r = calculator.rows(moved)
        return r.energy, r.reference_energy

    # Central differences with h = 1e-5 A are good to about 1e-9 of the largest entry; without switching
    # the rows jump where atoms cross the cutoff, which none does here.
    scale = np.abs(rows.forces).max()
    for atom, axis in ((0, 0), (3, 2)):
        step = np.zeros((5, 3))
        step[atom, axis] = h
        up, down = (
            energies(Structure(structure.cell, structure.positions + f * step, structure.species))
            for f in (1, -1)
        )
        assert np.allclose(-(up[0] - down[0]) / (2 * h), rows.forces[atom, axis], atol=1e-7 * scale)
        assert np.isclose(-(up[1] - down[1]) / (2 * h), rows.reference_forces[atom, axis], atol=1e-5)
    assert rows.stress is not None
    assert rows.reference_stress is not None
    for voigt, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5 * h
        strain[j, i] += 0.5 * h
        up, down = (
            energies(
                Structure(
                    structure.cell @ (np.eye(3) + f * strain),
                    structure.positions @ (np.eye(3) + f * strain),
                    structure.species,
                )
            )
            for f in (1, -1)
        )
        volume = structure.volume
        scale = np.abs(rows.stress).max()
        assert np.allclose((up[0] - down[0]) / (2 * h * volume), rows.stress[voigt], atol=1e-7 * scale)
        assert np.isclose((up[1] - down[1]) / (2 * h * volume), rows.reference_stress[voigt], atol=1e-6)


def test_rows_follow_a_rotation(session: Session) -> None:
    structure = random_structure(6, ("W",), seed=4)
    q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q))
    turned = Structure(structure.cell @ q, structure.positions @ q, structure.species)
    calculator = BispectrumCalculator(session, settings(), ZBL[1])
    a, b = calculator.rows(structure, stress=True), calculator.rows(turned, stress=True)
    assert np.allclose(a.energy, b.energy, rtol=1e-10)
    assert np.allclose(np.einsum("nip,ij->njp", a.forces, q), b.forces, atol=1e-10 * np.abs(a.forces).max())
    assert np.allclose(a.reference_forces @ q, b.reference_forces, atol=1e-10)


def test_linear_rows_equal_lammps(session: Session) -> None:
    structure = random_structure(7, ("W",), seed=5)
    s = settings(bzeroflag=True, quadraticflag=False)
    expected = plain_lammps(structure, s, ZBL[1])
    rows = BispectrumCalculator(session, s, ZBL[1]).rows(structure, stress=True)
    assert_columns_agree(stacked(rows, structure), expected[:, :-1])
    assert rows.reference_stress is not None
    assert np.allclose(-rows.reference_stress * BAR_PER_EV_A3, expected[-6:, -1], rtol=1e-9, atol=1e-6)


def test_unknown_element_is_named(session: Session) -> None:
    with pytest.raises(InputError, match="element 'Be' has no SNAP parameters"):
        BispectrumCalculator(session, settings()).rows(random_structure(2, ("Be",), seed=1))


@pytest.mark.parametrize("quadratic", [False, True])
def test_numbers_that_are_not_finite_are_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch, quadratic: bool
) -> None:
    calculator = BispectrumCalculator(session, settings(quadraticflag=quadratic), ZBL[1])
    same_place = Structure(np.eye(3) * 5.0, np.zeros((2, 3)), ("W", "W"))
    with pytest.raises(SimulationError, match="not_finite"):
        calculator.rows(same_place)
    view = session.compute_view
    monkeypatch.setattr(session, "compute_view", lambda name: view(name) * np.nan)
    with pytest.raises(SimulationError, match="compute snap gave NaN"):
        calculator.rows(random_structure(2, ("W",), seed=1))


def configuration(structure: Structure, name: str = "c") -> Configuration:
    return Configuration(
        name, "g", structure, -8.9 * len(structure), np.ones((len(structure), 3)), np.ones(6)
    )


def test_block_holds_energy_per_atom_forces_and_stress(session: Session) -> None:
    structure = random_structure(4, ("W",), seed=2)
    weights = LossWeights(3.0, np.arange(1.0, 5.0), 0.5)
    calculator = BispectrumCalculator(session, settings(), ZBL[1])
    selection, labelled = RowSelection(stress=True), configuration(structure)
    block = make_block(labelled, *compute_rows(calculator, labelled, selection), weights, selection)
    assert block.kind.tolist() == [RowKind.ENERGY] + [RowKind.FORCE] * 12 + [RowKind.STRESS] * 6
    assert block.weight.tolist() == [3.0, *np.repeat(np.arange(1.0, 5.0), 3), *[0.5] * 6]
    assert np.allclose(block.target + block.baseline, [-8.9, *[1.0] * 18], rtol=1e-14)
    assert np.allclose(block.rows[0], calculator.rows(structure).energy / 4, rtol=1e-12)


def test_rows_that_vanish_by_symmetry_are_flagged(session: Session) -> None:
    a = 3.165
    perfect = Structure(np.eye(3) * a, np.array([[0, 0, 0], [a / 2, a / 2, a / 2]]), ("W", "W"))
    # One atom moved along x: its y and z forces still vanish by symmetry.
    moved = Structure(perfect.cell, perfect.positions + np.array([[0.1, 0, 0], [0, 0, 0]]), ("W", "W"))
    calculator = BispectrumCalculator(session, settings(), ZBL[1])
    # One arbitrary metric; the rows of perfect bcc are exact round-off in any.
    scale = np.abs(calculator.rows(moved).energy)
    general = random_structure(5, ("W",), seed=1)
    rows = calculator.rows(general, stress=True)
    assert rows.stress is not None

    def leverage(r: np.ndarray) -> np.ndarray:
        return np.sum((r / scale) ** 2, axis=1)

    typical = [0.0] * len(RowKind)
    typical[RowKind.FORCE] = float(leverage(rows.forces[0])[0])
    typical[RowKind.STRESS] = float(leverage(rows.stress)[3])
    shear, diagonal = [True] * 3, [False] * 3
    cases = (
        (perfect, [True] * 6, diagonal + shear),
        (moved, [False, True, True] * 2, diagonal + shear),
        (general, [False] * 15, diagonal + [False] * 3),
    )
    for structure, forces, stresses in cases:
        weights = LossWeights(1.0, np.ones(len(structure)), 1.0)
        for selection in (RowSelection(stress=True), RowSelection()):
            labelled = configuration(structure)
            block = make_block(labelled, *compute_rows(calculator, labelled, selection), weights, selection)
            flagged = flag_roundoff(calculator, labelled, block, leverage, typical)
            expected = [False, *forces, *(stresses if selection.stress else [])]
            assert flagged.tolist() == expected


def test_chunks_cover_every_labelled_configuration_once() -> None:
    n_rows = [3 * n + 1 for n in (1, 50, 3, 200, 1400, 90, 2)]
    labels = [0, 1, 0, 0, 1, 1, -1]
    chunks = plan_chunks(n_rows, labels)
    assert sorted(i for c in chunks for i in c) == [0, 1, 2, 3, 4, 5]
    assert all(len({labels[i] for i in c}) == 1 for c in chunks)
    assert len(chunks) == 3
