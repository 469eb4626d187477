"""Curvature in large cells: what the Hessian does to a few vectors, and members that start from it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from linear_engine import MLE, LinearEngine, linear_rows

import snapuq.propagate.expansion as expansion_module
from snapuq.campaign.plan import PropertySpec, expand, plan
from snapuq.core.dataset import Structure
from snapuq.core.engine import CellFreedom, Evaluation, Relaxation
from snapuq.core.task import PropertyTask
from snapuq.errors import SimulationError
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.engine import Mode, PropagatingEngine
from snapuq.propagate.krylov import DEPTH, N_MEMBERS, KrylovExpansion, expand_in_krylov_space
from snapuq.propagate.newton import find_stationary
from snapuq.propagate.propagator import Propagator
from snapuq.propagate.record import Record, RecordingEngine
from snapuq.propagate.store import Predictor, Store
from snapuq.properties import PROPERTIES, build_params

#: Forces of a quadratic model are right to 1e-13 eV/A, and differences of them over 2e-3 A to 1e-10; products
#: of the last vectors of a space carry some orders more.
EXACT = 1.0e-6
#: Products are differences on one side of the state.
GUIDES = 0.02
#: Evaluations of a member: one for its slope, one for the curvature, three or four steps.
FEW = 7
MEMBERS = MLE * (1.0 + np.array([0.004, -0.003, 0.05]) * np.random.default_rng(5).normal(size=(5, 3)))
VACANCY = {"structure": "fcc:Cu@3.6", "supercell": 2}


class Quadratic:
    """0.5 u H u - f u, with displacements u from a state; forces without drift."""

    def __init__(self, state: Structure, hessian: np.ndarray, force: np.ndarray | None = None) -> None:
        self.state, self.hessian = state, hessian
        self.force = np.zeros(3 * len(state)) if force is None else force

    def evaluate(self, structure: Structure) -> Evaluation:
        fractional = structure.positions @ np.linalg.inv(structure.cell)
        u = (fractional @ self.state.cell - self.state.positions).ravel()
        slope = self.hessian @ u - self.force
        energy = float(0.5 * u @ self.hessian @ u - self.force @ u)
        return Evaluation(energy, -slope.reshape(-1, 3), np.zeros(6))

    def relax(self, structure: Structure, **options: Any) -> Relaxation:
        raise AssertionError("it is not asked to")


class Broken(Quadratic):
    def evaluate(self, structure: Structure) -> Evaluation:
        raise SimulationError("not_finite", "lost")


def model(n: int, lowest: float = 0.5) -> tuple[Structure, np.ndarray, list[np.ndarray]]:
    """Some atoms, curvatures to 30 eV/A^2 beside that of a drift, and forces of four members."""
    rng = np.random.default_rng(n)
    state = Structure(9.0 * np.eye(3), 9.0 * rng.random((n, 3)), ("Cu",) * n)
    drift = np.tile(np.eye(3), (n, 1)) / np.sqrt(n)
    frame, _ = np.linalg.qr(np.concatenate([drift, rng.normal(size=(3 * n, 3 * n - 3))], axis=1))
    values = np.linspace(0.5, 30.0, 3 * n - 3)
    values[0] = lowest
    hessian = (frame[:, 3:] * values) @ frame[:, 3:].T
    forces = rng.normal(size=(N_MEMBERS, 3 * n)) * 0.1
    return state, 0.5 * (hessian + hessian.T), [f - drift @ (drift.T @ f) for f in forces]


def krylov(state: Structure, hessian: np.ndarray, forces: list[np.ndarray]) -> KrylovExpansion:
    others = [Quadratic(state, hessian, f) for f in forces]
    return expand_in_krylov_space(Quadratic(state, hessian), Degrees(state, None, "all"), others)


@pytest.mark.parametrize("lowest", [0.5, -2.0])
def test_a_space_that_is_everything_gives_the_inverse(lowest: float) -> None:
    state, hessian, forces = model(14, lowest)
    found = krylov(state, hessian, forces)
    assert found.basis.shape == (42, 39)
    assert found.n_negative == (lowest < 0.0)
    # The random vector reaches modes that no member's force has a part of.
    slope = found.degrees.without_drift(np.random.default_rng(1).normal(size=42))
    assert found.solve(slope) == pytest.approx(np.linalg.pinv(hessian) @ slope, abs=EXACT)
    values, vectors = np.linalg.eigh(hessian)
    softest = vectors[:, np.argmin(np.where(np.abs(values) < 1.0e-9, np.inf, values))]
    along = abs(found.probe @ softest) / np.linalg.norm(found.probe)
    assert along == pytest.approx(1.0, abs=EXACT)


def test_a_small_space_is_exact_within_and_definite_beyond() -> None:
    state, hessian, forces = model(100)
    found = krylov(state, hessian, forces)
    # The model's forces do not change with the volume, so there is no vector from that.
    k = (N_MEMBERS + 1) * DEPTH
    assert found.basis.shape == (300, k)
    assert found.basis.T @ found.basis == pytest.approx(np.eye(k), abs=1.0e-10)
    assert found.products == pytest.approx(hessian @ found.basis, abs=EXACT)
    for vector, product in zip(found.basis.T, found.products.T, strict=True):
        assert found.solve(product) == pytest.approx(vector, abs=EXACT)
    for slope in np.random.default_rng(2).normal(size=(20, 300)):
        assert found.degrees.without_drift(slope) @ found.solve(slope) > 0.0
    # What members ask for, of curvatures that are all alike in number: a step along the forces leaves 0.9.
    exact = np.linalg.pinv(hessian) @ np.array(forces).T
    steps = np.array([found.solve(f) for f in forces]).T
    assert np.linalg.norm(steps - exact) < 0.05 * np.linalg.norm(exact)
    assert found.n_negative == 0


@pytest.mark.parametrize("n", [14, 100])
def test_balanced_coordinates_come_back_and_are_stiff_by_about_one(n: int) -> None:
    state, hessian, forces = model(n)
    found = krylov(state, hessian, forces)
    q = found.degrees.without_drift(np.random.default_rng(3).normal(size=3 * n))
    x, slope = found.balanced(q), hessian @ q
    assert found.from_balanced(x) == pytest.approx(q, abs=EXACT)
    assert found.balanced_slope(slope) @ x == pytest.approx(slope @ q, rel=EXACT)
    # Curvatures from 0.5 to 30 eV/A^2 without; the lowest count as a tenth of the typical one.
    ratio = (slope @ q) / (x @ x)
    assert 0.5 < ratio < (1.0 + EXACT if n == 14 else 2.0)
    assert found.balanced(np.array([q, -q])) == pytest.approx(np.array([x, -x]), abs=EXACT)


def test_one_that_fails_is_left_out() -> None:
    state, hessian, forces = model(14)
    others = [Broken(state, hessian), *(Quadratic(state, hessian, f) for f in forces[1:])]
    degrees = Degrees(state, None, "all")
    found = expand_in_krylov_space(Quadratic(state, hessian), degrees, others)
    fewer = expand_in_krylov_space(Quadratic(state, hessian), degrees, others[1:])
    assert np.array_equal(found.basis, fewer.basis)
    with pytest.raises(SimulationError):
        expand_in_krylov_space(Broken(state, hessian), degrees, others)


@pytest.mark.parametrize("is_stable", [True, False])
def test_a_member_that_is_unstable_along_the_softest_mode_is_in_doubt(is_stable: bool) -> None:
    """Its force has no part in that mode, so no step would tell."""
    state, hessian, forces = model(14)
    found = krylov(state, hessian, forces)
    values, vectors = np.linalg.eigh(hessian)
    softest = vectors[:, 3]
    assert values[3] == pytest.approx(0.5)
    own = hessian + (0.1 if is_stable else -0.6) * np.outer(softest, softest)
    member = Quadratic(state, own, forces[0] - softest * (softest @ forces[0]))
    at = find_stationary(member, found.degrees, found, np.zeros(42), fmax=1.0e-4, smax=1.0e-6)
    assert (at is not None) == is_stable
    if at is not None:
        assert np.abs(at.evaluation.forces).max() < 1.0e-4
        # The slope, one step, and the curvature.
        assert at.evaluations == 3


@pytest.mark.parametrize("cell", ["isotropic", "full"])
def test_a_free_cell_is_solved_as_by_the_matrix(cell: CellFreedom) -> None:
    engine = LinearEngine(MLE)
    rng = np.random.default_rng(4)
    cubic = 3.573106644 * np.diag([2.0, 1.0, 1.0])
    corners = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2.0 * 3.573106644
    positions = np.concatenate([corners, corners + cubic[0] / 2.0])[1:]
    start = Structure(cubic, positions + 0.02 * rng.normal(size=(7, 3)), ("Cu",) * 7)
    state = engine.relax(start, cell=cell, fmax=1.0e-5, smax=1.0e-7).structure
    dense = expansion_module.expand(engine, state, cell, "all")
    assert dense is not None
    found = expand_in_krylov_space(engine, dense.degrees, [LinearEngine(m) for m in MEMBERS])
    assert found.n_negative == dense.n_negative == 0
    for member in MEMBERS[:2]:
        degrees = dense.degrees
        slope = degrees.slope(LinearEngine(member).evaluate(state), np.zeros(degrees.n_free))
        expected = dense.solve(slope)
        assert found.solve(slope) == pytest.approx(expected, abs=GUIDES * np.abs(expected).max())


def test_a_record_holds_it_to_the_last_bit() -> None:
    found = krylov(*model(14))
    again = Record.from_arrays(Record(expansions=(found,)).to_arrays()).expansions[0]
    slope = np.random.default_rng(3).normal(size=42)
    assert np.array_equal(again.solve(slope), found.solve(slope))
    assert not again.uses_rows
    assert again.probe is not None
    assert np.array_equal(again.probe, found.probe)


def tasks(mode: Mode) -> dict[int, PropertyTask]:
    spec = PropertySpec("vacancy", build_params("vacancy", VACANCY), mode)
    potentials = {m: f"digest {m}" for m in range(-1, 6)}
    return {t.member: t for t in plan(expand([spec], ("Cu",)), potentials, 1, engine={"name": "linear"})}


def rows_of_small_cells(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    assert len(structure) < 31, "rows of the vacancy"
    return linear_rows(structure)


def formation_energy(engine: Any, task: PropertyTask) -> tuple[float, float]:
    params, rng = build_params("vacancy", VACANCY), np.random.default_rng(task.seed)
    found = PROPERTIES["vacancy"].run(engine, params, rng).values
    return found["formation_energy"].value, found["relaxation_volume"].value


@pytest.mark.parametrize("mode", ["auto", "newton", "implicit"])
def test_members_agree_with_brute_force_without_rows_of_the_cell(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion_module, "LARGEST_DENSE", 60)
    made = {m: LinearEngine(MLE if m == 0 else MEMBERS[m - 1]) for m in range(6)}
    predictor = Predictor(rows_of_small_cells, np.vstack([MLE, MEMBERS]), Store(tmp_path))
    opener = Propagator(lambda member: made[member], predictor)
    planned = tasks(mode)
    with opener.engine(planned[0]) as engine:
        assert isinstance(engine, RecordingEngine)
        formation_energy(engine, planned[0])
    # Member 5 is not among those whose forces span the space.
    for member in (1, 5):
        with opener.engine(planned[member]) as engine:
            assert isinstance(engine, PropagatingEngine)
            before = len(made[member].evaluated)
            found = formation_energy(engine, planned[member])
        exact = formation_energy(LinearEngine(MEMBERS[member - 1]), planned[member])
        # Of second and of first order in the forces that are left, 1e-4 eV/A; first-order positions are right
        # to a few 1e-3 A, and their energy to the square of that times the stiffness.
        energies, volumes = (1.0e-4, 0.05) if mode == "implicit" else (1.0e-6, 1.0e-3)
        assert found[0] == pytest.approx(exact[0], abs=energies)
        assert found[1] == pytest.approx(exact[1], abs=volumes)
        assert engine.fallbacks == 0
        assert ("implicit" if mode == "implicit" else "newton") in engine.ways
        # Beside the vacancy, `newton` evaluates crystals by the potential itself.
        large = [s for s in made[member].evaluated[before:] if len(s) == 31]
        assert 2 <= len(large) <= FEW
        assert not [s for s in made[member].relaxed if len(s) == 31]


def test_a_large_saddle_is_left_to_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion_module, "LARGEST_DENSE", 0)
    engine = LinearEngine(MLE)
    state, _, _ = model(14)
    assert expansion_module.expand(engine, state, None, "all") is None
    assert engine.evaluations == 0


class Springs:
    """A simple cubic crystal of springs between neighbours, held in place by weaker ones; no matrix."""

    def __init__(self, state: Structure, shape: tuple[int, int, int], force: np.ndarray) -> None:
        self.state, self.shape, self.force = state, shape, force

    def evaluate(self, structure: Structure) -> Evaluation:
        fractional = structure.positions @ np.linalg.inv(structure.cell)
        u = (fractional @ self.state.cell - self.state.positions).reshape(*self.shape, 3)
        pull = -1.0 * u
        for axis in range(3):
            pull += 5.0 * (np.roll(u, 1, axis) + np.roll(u, -1, axis) - 2.0 * u)
        return Evaluation(0.0, pull.reshape(-1, 3) + self.force, np.zeros(6))

    def relax(self, structure: Structure, **options: Any) -> Relaxation:
        raise AssertionError("it is not asked to")


def test_memory_is_that_of_a_few_vectors() -> None:
    shape = (20, 10, 10)
    sites = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    n = len(sites)
    state = Structure(3.0 * np.diag(np.array(shape, dtype=float)), 3.0 * sites, ("W",) * n)
    # Forces as around a defect, without drift.
    forces = 0.1 * np.random.default_rng(1).normal(size=(N_MEMBERS, n, 3))
    forces *= np.exp(-np.linalg.norm(sites - sites.mean(axis=0), axis=1))[:, None]
    forces -= forces.mean(axis=1, keepdims=True)
    others = [Springs(state, shape, f) for f in forces]
    degrees = Degrees(state, None, "all")
    tracemalloc.start()
    try:
        found = expand_in_krylov_space(Springs(state, shape, np.zeros((n, 3))), degrees, others)
        at = find_stationary(others[0], degrees, found, np.zeros(3 * n), fmax=1.0e-4, smax=1.0e-6)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert at is not None
    assert at.evaluations <= FEW
    # Basis and products, once as they grow and once as arrays; a matrix would take 288 MB.
    vectors = found.basis.nbytes + found.products.nbytes
    assert vectors <= 2 * (N_MEMBERS + 2) * DEPTH * 3 * n * 8
    assert peak < 3.0 * vectors
