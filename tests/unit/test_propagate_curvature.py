"""A member's curvature from rows: exact along the directions that are followed, and symmetric."""

from __future__ import annotations

import numpy as np
import pytest

from snapuq.core.dataset import Structure
from snapuq.propagate.context import Context
from snapuq.propagate.curvature import N_PILOT, Bend, Curvature, Curvatures
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.expansion import LEFT_OUT, Expansion
from snapuq.propagate.record import Record

#: Round-off of products of matrices of size 1.
EXACT = 1.0e-9
N_ATOMS = 12
rng = np.random.default_rng(3)
STATE = Structure(10.0 * np.eye(3), 10.0 * rng.random((N_ATOMS, 3)), ("W",) * N_ATOMS)
DEGREES = Degrees(STATE, None, "all")


def symmetric(size: float, seed: int) -> np.ndarray:
    """A random Hessian that does not feel a drift."""
    matrix = size * np.random.default_rng(seed).normal(size=(3 * N_ATOMS, 3 * N_ATOMS))
    matrix = DEGREES.without_drift(DEGREES.without_drift(matrix + matrix.T).T)
    return 0.5 * (matrix + matrix.T)


HESSIAN = symmetric(0.2, 0) + DEGREES.without_drift(DEGREES.without_drift(np.diag(np.linspace(3, 9, 36))).T)
EXPANSION = Expansion(DEGREES, HESSIAN)


class Potentials:
    """Energies of third order in the displacement, whose third derivatives act on a few vectors."""

    def __init__(self, count: int, answers: int, bent: float = 0.0) -> None:
        random = np.random.default_rng(7)
        drift_free = DEGREES.without_drift(random.normal(size=(answers, 36)))
        # One by one: the bits of a product depend on the shape of the matrices.
        weights = 0.05 * random.normal(size=(count, answers))
        self.slopes = np.array([w @ drift_free for w in weights])
        self.slopes[0] = 0.0
        self.hessians = np.array([HESSIAN + symmetric(0.1, k) * (k > 0) for k in range(count)])
        self.bends = bent * random.normal(size=count)
        self.vector = DEGREES.without_drift(random.normal(size=36))

    def slope(self, member: int, q: np.ndarray) -> np.ndarray:
        along = self.vector @ q
        cubic = self.bends[member] * along**2 * self.vector
        found: np.ndarray = self.slopes[member] + self.hessians[member] @ q + cubic
        return found

    def __call__(self, structure: Structure) -> np.ndarray:
        q = DEGREES.coordinates(structure)
        forces = -np.array([self.slope(k, q) for k in range(len(self.slopes))])
        nothing = np.zeros((len(forces), 6))
        return np.concatenate([np.zeros((len(forces), 1)), forces, nothing], axis=1)


def test_the_correction_is_exact_along_its_directions_and_symmetric() -> None:
    directions = EXPANSION.soft_modes()[:4]
    other = HESSIAN + symmetric(0.1, 5)
    found = Curvature(EXPANSION, directions, directions @ other, Bend.none(EXPANSION))
    inverse = np.array([found.solve(v) for v in DEGREES.without_drift(np.eye(36))])
    assert inverse == pytest.approx(inverse.T, abs=EXACT)
    # What the corrected Hessian makes of a direction is what the other does: the inverse brings it back.
    for direction in directions:
        assert found.solve(other @ direction) == pytest.approx(DEGREES.without_drift(direction), abs=EXACT)


def test_the_mle_itself_needs_no_correction() -> None:
    found = Curvature.of_mle(EXPANSION)
    slope = DEGREES.without_drift(np.random.default_rng(1).normal(size=36))
    assert np.array_equal(found.solve(slope), EXPANSION.solve(slope))
    q, bent = found.displacement(slope) or (None, None)
    assert q is not None
    assert np.array_equal(q, -EXPANSION.solve(slope))
    assert not np.any(bent)


@pytest.mark.parametrize("answers", [1, 3])
def test_members_that_answer_in_few_directions_are_displaced_by_their_own_hessian(answers: int) -> None:
    """The MLE's Hessian is wrong by a tenth here, and what is followed leaves a hundredth of that."""
    potentials = Potentials(N_PILOT + 1, answers)
    curvatures = Curvatures(EXPANSION, potentials)
    by_mle, left = [], []
    for member in range(1, 6):
        slope = potentials.slopes[member]
        q, _ = curvatures.of(member).displacement(slope) or (np.zeros(36), None)
        left.append(np.linalg.norm(DEGREES.without_drift(potentials.slope(member, q))))
        rough = potentials.slope(member, -EXPANSION.solve(slope))
        by_mle.append(np.linalg.norm(DEGREES.without_drift(rough)))
    assert np.mean(left) < 0.3 * np.mean(by_mle)


def asked_for(count: int) -> list[Structure]:
    """Structures whose rows the curvature of a member takes, of so many potentials."""
    potentials, asked = Potentials(count, 8), []

    def predict(structure: Structure) -> np.ndarray:
        asked.append(structure)
        return potentials(structure)

    Curvatures(EXPANSION, predict).of(1)
    return asked


def test_directions_are_those_of_the_first_members() -> None:
    """So that a member has the same bits however many there are; few members get soft modes alone."""
    n_soft = len(EXPANSION.soft_modes())
    few, enough, many = (asked_for(n) for n in (N_PILOT, N_PILOT + 1, N_PILOT + 30))
    assert len(few) == 1 + n_soft
    # The state, its soft modes, eight answers, and both signs of three bent directions, alone and in pairs.
    assert len(enough) == 1 + n_soft + 8 + 2 * 6
    assert [s.digest for s in enough] == [s.digest for s in many]


def test_responses_leave_out_what_does_not_matter() -> None:
    """Slopes of two directions, one of them a thousandth of the other."""
    stiff = EXPANSION.hessian @ np.linalg.eigh(HESSIAN)[1][:, [-1, -3]]
    sizes = np.random.default_rng(2).normal(size=(30, 2)) * [1.0, 0.1 * LEFT_OUT]
    assert len(EXPANSION.responses(sizes @ stiff.T, 5)) == 1
    assert len(EXPANSION.responses(np.zeros((0, 36)), 5)) == 0
    assert len(EXPANSION.responses(np.zeros((5, 36)), 5)) == 0


def test_third_derivatives_bend_the_displacement() -> None:
    """Members move along the vector that the third derivatives act on: what is left is of fourth order."""
    potentials = Potentials(N_PILOT + 1, 1, bent=0.02)
    potentials.hessians[:] = HESSIAN
    left = []
    for size in (1.0, 0.5):
        potentials.slopes = (
            size * 0.02 * np.linspace(0.5, 1.0, N_PILOT + 1)[:, None] * (HESSIAN @ potentials.vector)
        )
        curvature = Curvatures(EXPANSION, potentials).of(N_PILOT)
        q, bent = curvature.displacement(potentials.slopes[N_PILOT]) or (np.zeros(36), np.zeros(36))
        straight = potentials.slope(N_PILOT, -curvature.solve(potentials.slopes[N_PILOT]))
        left.append(np.linalg.norm(potentials.slope(N_PILOT, q)))
        assert np.linalg.norm(bent) > 0.5 * np.linalg.norm(straight)
        assert left[-1] < 0.2 * np.linalg.norm(straight)


def test_a_displacement_that_does_not_settle_is_none() -> None:
    """The slope s + x + k x^2 has no zero where 4 k s > 1."""
    potentials = Potentials(N_PILOT + 1, 1)
    potentials.bends[:] = 50.0
    potentials.hessians[:] = HESSIAN
    potentials.slopes = np.linspace(0.5, 1.0, N_PILOT + 1)[:, None] * (HESSIAN @ potentials.vector)
    assert Curvatures(EXPANSION, potentials).of(N_PILOT).displacement(potentials.slopes[N_PILOT]) is None


def test_balanced_coordinates_have_unit_curvature_and_come_back() -> None:
    q = DEGREES.without_drift(np.random.default_rng(4).normal(size=36))
    x = EXPANSION.balanced(q)
    assert EXPANSION.from_balanced(x) == pytest.approx(q, abs=EXACT)
    slope = HESSIAN @ q
    # The same product in both, and no curvature above 1.
    assert EXPANSION.balanced_slope(slope) @ x == pytest.approx(slope @ q, rel=1.0e-9)
    assert x @ x == pytest.approx(q @ HESSIAN @ q, rel=0.2)
    assert x @ x >= q @ HESSIAN @ q * (1.0 - 1.0e-12)


def test_the_context_gives_curvatures_where_there_are_rows() -> None:
    context = Context(Record(expansions=(EXPANSION,)), Potentials(9, 2))
    found = context.curvature(0, 3)
    assert found is not None
    assert found is context.curvature(0, 3)


def test_a_displacement_is_settled_in_all_but_the_soft_modes() -> None:
    """For the potential whose Hessian it is, the slope then has no part that is stiff."""
    random = np.random.default_rng(9)
    q = DEGREES.without_drift(random.normal(size=36))
    slope = DEGREES.without_drift(random.normal(size=36))
    found = EXPANSION.settled(q, slope)
    modes = EXPANSION.soft_modes()
    amounts = EXPANSION.dual(modes) @ q
    # Modes are without drift but for their scales, which differ.
    assert found == pytest.approx(
        DEGREES.without_drift(amounts @ modes) + EXPANSION.settled(np.zeros(36), slope), abs=EXACT
    )
    left = EXPANSION.balanced_slope(slope + HESSIAN @ EXPANSION.settled(np.zeros(36), slope))
    soft = EXPANSION.balanced(modes)
    soft /= np.linalg.norm(soft, axis=1)[:, None]
    assert left - soft.T @ (soft @ left) == pytest.approx(np.zeros(36), abs=EXACT)
