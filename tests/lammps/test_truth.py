"""Checks before and after a LAMMPS run: distances, states, reasons."""

from __future__ import annotations

import ase.build
import numpy as np
import pytest
from raw_scripts import published_snap, run_script, structure, vacancy

from snapuq.core.dataset import Structure
from snapuq.errors import SimulationError
from snapuq.lammps.engine import LammpsEngine
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.session import reason_of
from snapuq.lammps.templates import Workspace
from snapuq.lammps.truth import (
    SMALLEST_DISTANCE,
    State,
    check_relaxed,
    check_start,
    free_stress,
    is_converged,
    nearest_distance,
)


def brute_force(cell: np.ndarray, positions: np.ndarray) -> float:
    """Over far more images than a nearest pair can need in cells like those below."""
    images = np.array(np.meshgrid(*[range(-6, 7)] * 3)).reshape(3, -1).T
    best = np.inf
    for i in range(len(positions)):
        for j in range(i + 1):
            distances = np.linalg.norm(positions[i] - positions[j] + images @ cell, axis=1)
            best = min(best, distances[images.any(axis=1)].min() if i == j else distances.min())
    return best


@pytest.mark.parametrize("seed", range(40))
def test_nearest_distance_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    cell = np.diag(rng.uniform(2.0, 9.0, 3)) @ (np.eye(3) + 0.2 * rng.normal(size=(3, 3)))
    inside = rng.random((n, 3)) @ cell
    expected = brute_force(cell, inside)
    # Atoms may lie in any cell.
    moved = inside + rng.integers(-9, 10, size=(n, 3)) @ cell
    assert nearest_distance(cell, moved) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["sc", "bcc", "fcc"])
def test_the_nearest_image_of_a_single_atom(kind):
    """Neighbours of fcc are as far apart as they can be; a skewed cell of the same lattice is the same."""
    a = 4.0
    cell = ase.build.bulk("W", kind, a=a).cell.array
    expected = {"sc": a, "bcc": a * 0.75**0.5, "fcc": a * 0.5**0.5}[kind]
    for skew in (np.eye(3), [[1, 0, 0], [7, 1, 0], [-3, 5, 1]]):
        assert nearest_distance(skew @ cell, np.full((1, 3), 0.3)) == pytest.approx(expected, rel=1e-12)


def test_atoms_closer_than_the_smallest_distance_are_refused():
    cell = 6.0 * np.eye(3)
    for distance, fine in ((0.0, False), (0.9 * SMALLEST_DISTANCE, False), (1.1 * SMALLEST_DISTANCE, True)):
        for shift in (0.0, 6.0, -12.0):  # the same atom in another cell
            s = Structure(cell, np.array([[0.0, 0, 0], [shift + distance, 0, 0]]), ("W", "W"))
            if fine:
                assert check_start(LammpsFrame.of(s)) == pytest.approx(distance)
                continue
            with pytest.raises(SimulationError, match="coincident_atoms"):
                check_start(LammpsFrame.of(s))
    assert check_start(LammpsFrame.of(structure(ase.build.bulk("W", a=3.18)))) == pytest.approx(
        2.754, abs=1e-3
    )


def test_a_dense_structure_is_refused():
    small = Structure(0.9 * np.eye(3), np.zeros((1, 3)), ("W",))
    with pytest.raises(SimulationError, match="bad_box"):
        check_start(LammpsFrame.of(small))


def state(cell: np.ndarray, positions: np.ndarray, force: float = 0.0, stress: float = 0.0) -> State:
    forces = np.zeros_like(positions)
    forces[0] = force / 3**0.5
    return State(0.0, forces, np.full(6, stress), cell, positions)


def test_a_relaxation_that_runs_away_or_collapses_is_refused():
    cell = 6.0 * np.eye(3)
    positions = np.array([[0.0, 0, 0], [3.0, 0, 0]])
    start = LammpsFrame.of(Structure(cell, positions, ("W", "W")))
    check_relaxed(start, 3.0, state(1.2 * cell, 1.2 * positions))
    for factor in (0.79, 1.27):
        with pytest.raises(SimulationError, match="runaway"):
            check_relaxed(start, 3.0, state(factor * cell, factor * positions))
    with pytest.raises(SimulationError, match="collapsed"):
        check_relaxed(start, 3.0, state(cell, 0.59 * positions))


def test_converged_means_every_tolerance():
    cell, positions = 6.0 * np.eye(3), np.zeros((1, 3))
    inside = state(cell, positions, 0.9e-4, 0.9e-6)
    assert is_converged(inside, 1e-4, "full", 1e-6)
    assert not is_converged(state(cell, positions, 1.1e-4, 0.0), 1e-4, "full", 1e-6)
    assert not is_converged(state(cell, positions, 0.0, 1.1e-6), 1e-4, "axes", 1e-6)
    assert is_converged(state(cell, positions, 0.0, 1.0), 1e-4, None, 1e-6)


def test_free_stress_looks_at_what_is_free():
    stress = np.array([1.0, -2.0, 4.0, 0.0, -8.0, 0.0])
    assert [free_stress(stress, f) for f in ("isotropic", "axes", "full")] == [1.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("ERROR: Lost atoms: original 15 current 0", "lost_atoms"),
        ("ERROR: Did not assign all atoms correctly", "lost_atoms"),
        ("ERROR on proc 0: Neighbor list overflow, boost neigh_modify one", "neighbor_overflow"),
        ("ERROR on proc 0: Neighbor (ghost) list overflow, boost neigh_modify one", "neighbor_overflow"),
        ("ERROR: Non-numeric atom coords - simulation unstable", "not_finite"),
        ("ERROR: Non-numeric box dimensions - simulation unstable", "not_finite"),
        ("ERROR: Illegal simulation box", "bad_box"),
        ("ERROR: Domain too large for neighbor bins", "bad_box"),
        ("ERROR: Cannot use neighbor bins - box size << cutoff", "bad_box"),
        ("ERROR: Fix nph has tilted box too far in one step", "bad_box"),
        ("ERROR on proc 0: Cannot open SNAP coefficient file nothere:", "missing_file"),
        ("ERROR on proc 0: Cannot open input script W.mod", "missing_file"),
        ("ERROR: Incorrect format in SNAP coefficient file", "bad_potential"),
        ("ERROR: Incorrect SNAP parameter file", "bad_potential"),
        ("ERROR on proc 0: Missing line in eam/alloy potential file!", "bad_potential"),
        ("ERROR: Unrecognized pair style 'nonsense'", "bad_potential"),
        ("ERROR: All pair coeffs are not set. Status:", "bad_potential"),
        ("ERROR: Numeric index 2 is out of bounds\nLast input line: pair_coeff 2 2 1 1", "bad_potential"),
        ("ERROR: Unknown command: no_such", "lammps_error"),
        ("ERROR: Energy was not tallied on needed timestep", "lammps_error"),
    ],
)
def test_what_lammps_says_is_typed(message, reason):
    """Messages as LAMMPS 22 Jul 2025 gives them; the next test and the faults provoke most of them."""
    assert reason_of(message) == reason


@pytest.mark.lammps
def test_malformed_potentials_are_typed(tmp_path):
    """Broken by hand or by a full disk after they were written; errors name the folder, not a descriptor."""
    with Workspace() as workspace:
        for number, (name, old, new, reason) in enumerate(
            [
                ("W_2940_2017_2.snapcoeff", "W 0.5 1", "W 0.5", "bad_potential"),
                ("W_2940_2017_2.snapcoeff", "W 0.5 1", "Ta 0.5 1", "bad_potential"),
                ("W_2940_2017_2.snapparam", "twojmax 8", "twojmax 6", "bad_potential"),
                ("W_2940_2017_2.snapparam", "twojmax 8", "twojmx 8", "bad_potential"),
                ("W.mod", "pair_coeff * * zbl 74 74", "", "bad_potential"),
                ("W.mod", "pair_style hybrid/overlay", "pair_style hybrid/over", "bad_potential"),
                ("W.mod", "2.snapparam", "3.snapparam", "missing_file"),
            ]
        ):
            folder = tmp_path / f"potential {number}"
            files = published_snap(folder)
            text = (folder / name).read_text()
            assert old in text
            (folder / name).write_text(text.replace(old, new, 1))
            with pytest.raises(SimulationError) as caught:
                LammpsEngine(files, workspace).evaluate(vacancy())
            assert (name, new, caught.value.reason) == (name, new, reason)
        assert str(folder) in caught.value.detail
        files = published_snap(tmp_path / "gone")
        engine = LammpsEngine(files, workspace)
        assert np.isfinite(engine.evaluate(vacancy()).energy)
        files.include.parent.rename(tmp_path / "elsewhere")
        with pytest.raises(SimulationError, match="missing_file"):
            engine.evaluate(vacancy())


@pytest.mark.lammps
def test_coefficients_that_are_not_finite_are_refused(tmp_path):
    """LAMMPS reads them without complaint."""
    files = published_snap(tmp_path)
    path = tmp_path / "W_2940_2017_2.snapcoeff"
    lines = path.read_text().splitlines()
    lines[10] = "nan"
    path.write_text("\n".join(lines) + "\n")
    with Workspace() as workspace:
        engine = LammpsEngine(files, workspace)
        for ask in (engine.evaluate, engine.relax, lambda s: engine.relax(s, cell="full")):
            with pytest.raises(SimulationError, match="not_finite"):
                ask(vacancy())


@pytest.mark.lammps
@pytest.mark.parametrize("which", [1, 7, 15])
def test_an_atom_that_went_unnoticed_is_missed(which, tmp_path):
    with Workspace() as workspace:
        body = f"group one id {which}\ndelete_atoms group one compress no\nrun 0\n"
        with pytest.raises(SimulationError, match="lost_atoms: LAMMPS kept 14 of 15"):
            run_script(workspace, published_snap(tmp_path), body, vacancy())
