"""Coordinates of a relaxation: slopes against differences of an energy, and when a relaxation may end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_engine import MLE, LinearEngine
from structures import random_structure

from snapuq.core.dataset import Structure
from snapuq.core.engine import CellFreedom, Directions, Evaluation
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.truth import State, is_converged
from snapuq.propagate.degrees import Degrees

#: Every freedom that an engine knows.
FREEDOMS: list[tuple[CellFreedom | None, Directions]] = [
    (None, "all"),
    (None, "normal"),
    ("isotropic", "all"),
    ("axes", "all"),
    ("full", "all"),
]
N_STRAINS = {None: 0, "isotropic": 1, "axes": 3, "full": 6}
#: Step of a central difference, A or strain, and what third derivatives (1e4 eV) and round-off leave of it.
STEP, DIFFERENCE = 1.0e-5, 2.0e-6
#: Round-off of a rotation.
ROTATION = 1.0e-12


def skewed(rotate: bool = True) -> Structure:
    """Five atoms in a cell without symmetry, turned out of LAMMPS's frame."""
    return random_structure(5, ("Cu",), 3, rotate)


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize(("cell", "directions"), FREEDOMS)
def test_slopes_are_derivatives_of_the_energy(
    cell: CellFreedom | None, directions: Directions, rotate: bool
) -> None:
    engine, degrees = LinearEngine(MLE), Degrees(skewed(rotate), cell, directions)
    assert degrees.n_free == N_STRAINS[cell] + (15 if directions == "all" else 5)
    rng = np.random.default_rng(1)
    # Away from the known state, where strain and displacement mix.
    q = np.concatenate(
        [rng.normal(0, 0.02, degrees.n_strains), rng.normal(0, 0.05, degrees.n_free - degrees.n_strains)]
    )

    def energy(x: np.ndarray) -> float:
        return engine.evaluate(degrees.structure(x)).energy

    steps = STEP * np.eye(degrees.n_free)
    expected = [(energy(q + s) - energy(q - s)) / (2 * STEP) for s in steps]
    slope = degrees.slope(engine.evaluate(degrees.structure(q)), q)
    assert slope == pytest.approx(expected, abs=DIFFERENCE)
    # Or it would be easy to be right.
    assert np.abs(slope).min() > 10 * DIFFERENCE


@pytest.mark.parametrize("kind", ["isotropic", "axes", "full"])
def test_strains_are_those_that_the_freedom_allows(kind: CellFreedom) -> None:
    degrees = Degrees(skewed(), kind, "all")
    for k in range(degrees.n_strains):
        q = np.zeros(degrees.n_free)
        q[k] = 0.01
        gradient = np.linalg.inv(degrees.state.cell) @ degrees.structure(q).cell
        assert gradient == pytest.approx(gradient.T, abs=ROTATION)
        turned = degrees.axes @ gradient @ degrees.axes.T
        if kind == "isotropic":
            assert turned == pytest.approx(1.01 * np.eye(3), abs=ROTATION)
        if kind == "axes":
            expected = np.eye(3)
            expected[k, k] += 0.01
            assert turned == pytest.approx(expected, abs=ROTATION)
    # All six of them together make any symmetric strain.
    assert np.linalg.matrix_rank(degrees.strains.reshape(degrees.n_strains, 9)) == N_STRAINS[kind]


def test_normal_is_that_of_the_first_two_cell_vectors() -> None:
    degrees = Degrees(skewed(), None, "normal")
    moved = degrees.structure(np.arange(1.0, 6.0) * 0.1).positions - degrees.state.positions
    assert moved @ degrees.state.cell[:2].T == pytest.approx(np.zeros((5, 2)), abs=ROTATION)
    assert np.linalg.norm(moved, axis=1) == pytest.approx(np.arange(1.0, 6.0) * 0.1)
    assert (moved @ degrees.state.cell[2] > 0).all()
    assert degrees.reach(-np.arange(1.0, 6.0)) == pytest.approx(5.0)


@pytest.mark.parametrize(("cell", "directions"), FREEDOMS)
def test_coordinates_of_a_structure(cell: CellFreedom | None, directions: Directions) -> None:
    degrees = Degrees(skewed(), cell, directions)
    q = np.zeros(degrees.n_free)
    q[degrees.n_strains :] = np.random.default_rng(2).normal(0, 0.1, degrees.n_free - degrees.n_strains)
    assert degrees.coordinates(degrees.structure(q)) == pytest.approx(q, abs=ROTATION)


def test_a_drift_is_taken_out_of_displacements_alone() -> None:
    degrees = Degrees(skewed(), "full", "all")
    q = np.random.default_rng(3).normal(size=(2, degrees.n_free))
    q[:, 6:] += np.tile([1.0, 2.0, 3.0], 5)
    still = degrees.without_drift(q)
    assert still[:, :6] == pytest.approx(q[:, :6])
    assert still[:, 6:].reshape(2, 5, 3).mean(axis=1) == pytest.approx(np.zeros((2, 3)), abs=ROTATION)
    assert degrees.without_drift(still) == pytest.approx(still)
    assert (still - q)[:, 6:9] == pytest.approx((still - q)[:, 9:12])


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(FREEDOMS),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.booleans(),
)
def test_a_relaxation_ends_where_lammps_would(
    seed: int,
    freedom: tuple[CellFreedom | None, Directions],
    force: float,
    stress: float,
    one: bool,
) -> None:
    """Forces and stresses a decade either side of the tolerances, in any frame, by the rule of `truth`."""
    cell, directions = freedom
    fmax, smax = 1.0e-4, 1.0e-6
    structure = random_structure(3, ("Cu",), seed, rotate=True)
    rng = np.random.default_rng(seed)
    # Also on a single component: a rule that looks at the wrong ones shows.
    forces = rng.normal(size=(3, 3))
    voigt = np.eye(6)[rng.integers(6)] if one else rng.normal(size=6)
    found = Evaluation(0.0, forces * fmax * 10**force, voigt * smax * 10**stress)
    degrees = Degrees(structure, cell, directions)

    frame = LammpsFrame.of(structure)
    turned = found.forces @ frame.rotation
    if directions == "normal":
        # As `fix setforce` of the engine does.
        turned[:, :2] = 0.0
    xx, yy, zz, yz, xz, xy = found.stress
    tensor = frame.rotation.T @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ frame.rotation
    inside = np.array([tensor[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])
    state = State(0.0, turned, inside, frame.cell, frame.positions)
    assert degrees.is_converged(found, fmax, smax) == is_converged(state, fmax, cell, smax)

    kept = degrees.masked(found)
    assert kept.forces @ frame.rotation == pytest.approx(turned, abs=1.0e-15)
    assert np.array_equal(kept.stress, found.stress)
