"""Members that do not end where the MLE did: which state they take, and the descent from their own start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from linear_engine import MLE, LinearEngine, linear_rows

from snapuq.core.dataset import Structure
from snapuq.propagate import descent
from snapuq.propagate.choice import SURE, SaddleGuess, choose, saddle_guesses
from snapuq.propagate.context import Context
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.descent import LARGEST_MOVE, Valley, _Model, descend, updated
from snapuq.propagate.engine import PropagatingEngine
from snapuq.propagate.expansion import Expansion, expand
from snapuq.propagate.krylov import KrylovExpansion
from snapuq.propagate.record import Record, RecordingEngine
from snapuq.propagate.store import Predictor, Store
from snapuq.properties.crystals import Crystal
from snapuq.properties.defects import repeated, without

FMAX, SMAX = 1.0e-6, 1.0e-8
#: Two minimisers of one minimum: energies, eV, are of second order in forces of 1e-6 eV/A.
ENERGIES = 1.0e-8
#: Of products of small matrices.
ROUNDING = 1.0e-9
MEMBERS = MLE * (1.0 + np.array([0.004, -0.003, 0.05]) * np.random.default_rng(5).normal(size=(4, 3)))
PERFECT = repeated(Crystal.parse("fcc:Cu@3.6").conventional(3.573, 3.573), 2)
#: Forces below this say that an interstitial has settled, eV/A, as the property has it.
SETTLED = 1.0e-2


def vacancy(noise: float, seed: int) -> Structure:
    start = without(PERFECT, {0})
    shifts = noise * np.random.default_rng(seed).normal(size=start.positions.shape)
    return Structure(start.cell, start.positions + shifts, start.species)


@pytest.mark.parametrize("seed", range(3))
def test_a_descent_ends_where_another_minimiser_does_in_fewer_evaluations(seed: int) -> None:
    state = LinearEngine(MLE).relax(vacancy(0.0, 0), fmax=FMAX).structure
    metric = expand(LinearEngine(MLE), state, None, "all")
    assert isinstance(metric, Expansion)
    modes = metric.soft_modes()
    start = vacancy(0.15, seed)
    own, other = LinearEngine(MEMBERS[seed]), LinearEngine(MEMBERS[seed])
    valley = Valley(metric, modes @ metric.hessian @ modes.T)
    found = descend(own, Degrees(start, None, "all"), [valley], fmax=FMAX, smax=SMAX)
    exact = other.relax(start, fmax=FMAX)
    assert found is not None
    assert found.evaluations == own.evaluations < 0.6 * other.evaluations
    assert found.evaluation.energy == pytest.approx(exact.evaluation.energy, abs=ENERGIES)
    assert np.linalg.norm(found.evaluation.forces, axis=1).max() <= FMAX


def test_a_descent_without_a_matrix_ends_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a cell of too many coordinates."""
    monkeypatch.setattr("snapuq.propagate.expansion.LARGEST_DENSE", 10)
    state = LinearEngine(MLE).relax(vacancy(0.0, 0), fmax=FMAX).structure
    metric = expand(LinearEngine(MLE), state, None, "all", [LinearEngine(m) for m in MEMBERS])
    assert isinstance(metric, KrylovExpansion)
    start, own, other = vacancy(0.15, 1), LinearEngine(MEMBERS[0]), LinearEngine(MEMBERS[0])
    valley = Valley(metric, np.zeros((0, 0)))
    found = descend(own, Degrees(start, None, "all"), [valley], fmax=FMAX, smax=SMAX)
    exact = other.relax(start, fmax=FMAX)
    assert found is not None
    assert own.evaluations < other.evaluations
    assert found.evaluation.energy == pytest.approx(exact.evaluation.energy, abs=ENERGIES)


def context_of(ask: Any, folder: Path) -> Context:
    recording = RecordingEngine(LinearEngine(MLE))
    ask(recording)
    return Context(recording.record(), Predictor(linear_rows, np.vstack([MLE, MEMBERS]), Store(folder)))


def test_where_an_mle_without_a_settled_site_was_reconfigured_members_go_their_own_way(
    tmp_path: Path,
) -> None:
    start = vacancy(0.1, 1)

    def ask(engine: RecordingEngine) -> None:
        engine.relax(start)
        # The property says so; the engine cannot tell.
        engine.reconfigured = True

    own = LinearEngine(MEMBERS[0])
    engine = PropagatingEngine(own, 1, context_of(ask, tmp_path), "auto")
    found = engine.relax(start)
    exact = LinearEngine(MEMBERS[0]).relax(start, fmax=FMAX)
    assert (engine.ways, engine.fallbacks, own.relaxed) == ({"descent"}, 0, [])
    # From there, with what is stiff of the displacements relaxed.
    assert np.linalg.norm(own.evaluated[0].positions - start.positions, axis=1).max() < 0.5
    assert found.evaluation.energy == pytest.approx(exact.evaluation.energy, abs=1.0e-6)


def test_a_descent_that_takes_too_long_is_left_to_brute_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "MOST_EVALUATIONS", 3)
    start = vacancy(0.1, 1)

    def ask(engine: RecordingEngine) -> None:
        engine.relax(start)
        engine.reconfigured = True

    own = LinearEngine(MEMBERS[0])
    engine = PropagatingEngine(own, 1, context_of(ask, tmp_path), "auto")
    found = engine.relax(start)
    assert (engine.ways, engine.fallbacks, len(own.relaxed)) == ({"brute"}, 1, 1)
    assert found.converged


def test_members_follow_an_mle_that_its_site_did_not_hold(tmp_path: Path) -> None:
    """The tetrahedral interstitial of fcc is a saddle; both relaxations are those of the property."""
    corner = np.full((1, 3), 0.25 * 3.573)
    start = Structure(PERFECT.cell, np.vstack([PERFECT.positions, corner]), ("Cu",) * (len(PERFECT) + 1))

    def ask(engine: Any) -> Any:
        settled = engine.relax(start, fmax=SETTLED).structure
        shifts = 0.02 * np.random.default_rng(1).normal(size=settled.positions.shape)
        return engine.relax(Structure(settled.cell, settled.positions + shifts, settled.species))

    def ask_mle(engine: RecordingEngine) -> None:
        ask(engine)
        engine.reconfigured = True

    context = context_of(ask_mle, tmp_path)
    site, end = context.record.relaxed
    assert context.record.expansions[site.expansion].n_negative > 0
    assert context.record.expansions[end.expansion].n_negative == 0
    for number, theta in enumerate(MEMBERS, 1):
        own, other = LinearEngine(theta), LinearEngine(theta)
        engine = PropagatingEngine(own, number, context, "auto")
        found, exact = ask(engine), ask(other)
        assert (engine.ways, engine.fallbacks) == ({"newton"}, 0)
        assert own.evaluations < 0.3 * other.evaluations
        assert found.evaluation.energy == pytest.approx(exact.evaluation.energy, abs=1.0e-6)


class Told(Context):
    """A context that is told the curvatures of member 1: at the site, and where the MLE went."""

    def __init__(self, record: Record, site: list[float], end: list[float]) -> None:
        self.record = record
        numbers = [r.expansion for r in record.relaxed]
        self.known = dict(zip(numbers, (np.diag(site), np.diag(end)), strict=True))

    def soft_hessian(self, number: int, member: int) -> np.ndarray:
        return self.known[number]


@pytest.mark.parametrize(
    ("site", "end", "expected"),
    [
        ([0.2, 0.3], [0.1, 0.3], "site"),
        ([0.2, 0.3], [-0.1, 0.3], "site"),
        ([-0.2, 0.3], [0.1, 0.3], "end"),
        ([-0.2, -0.3], [0.1, 0.3], "end"),
        ([-0.2, 0.3], [-0.1, 0.3], None),
        ([0.5 * SURE, 0.3], [0.1, 0.3], None),
        ([-0.5 * SURE, 0.3], [0.1, 0.3], None),
    ],
)
def test_curvatures_at_the_site_choose_the_state(
    site: list[float], end: list[float], expected: str | None, tmp_path: Path
) -> None:
    corner = np.full((1, 3), 0.25 * 3.573)
    start = Structure(PERFECT.cell, np.vstack([PERFECT.positions, corner]), ("Cu",) * (len(PERFECT) + 1))

    def ask(engine: RecordingEngine) -> None:
        settled = engine.relax(start, fmax=SETTLED).structure
        shifts = 0.02 * np.random.default_rng(1).normal(size=settled.positions.shape)
        engine.relax(Structure(settled.cell, settled.positions + shifts, settled.species))

    record = context_of(ask, tmp_path).record
    first, last = record.relaxed
    found = choose(Told(record, site, end), last, 1)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.expansion == {"site": first, "end": last}[expected].expansion
        assert found.state is {"site": first, "end": last}[expected].state
        assert found.start is last.start


@pytest.mark.parametrize("seed", range(4))
def test_an_updated_hessian_is_symmetric_and_tells_the_change(seed: int) -> None:
    """Of any signature, and with steps along which the energy curves downwards."""
    rng = np.random.default_rng(seed)
    hessian = rng.normal(size=(6, 6))
    hessian = hessian + hessian.T
    step, change = rng.normal(size=(2, 6))
    found = updated(hessian, step, change)
    assert found == pytest.approx(found.T, abs=ROUNDING)
    assert found @ step == pytest.approx(change, abs=ROUNDING)
    # A Hessian that told the change already stays as it is.
    assert updated(hessian, step, hessian @ step) == pytest.approx(hessian, abs=ROUNDING)


@pytest.mark.parametrize("curvatures", [[0.5, 0.8], [-0.3, 0.8], [1.0e-7, 0.5]])
@pytest.mark.parametrize("radius", [0.05, 0.5, 50.0])
def test_a_limited_step_is_the_lowest_within_its_radius(curvatures: list[float], radius: float) -> None:
    """Against points of the sphere and within it, drawn at random."""
    state = vacancy(0.0, 0)
    metric = expand(LinearEngine(MLE), LinearEngine(MLE).relax(state, fmax=FMAX).structure, None, "all")
    assert isinstance(metric, Expansion)
    soft = metric.soft_modes()
    scaled = np.linalg.norm(metric.balanced(soft), axis=1)
    own = np.diag([*curvatures, *np.ones(len(soft) - 2)]) * np.outer(scaled, scaled)
    degrees = Degrees(state, None, "all")
    rng = np.random.default_rng(0)
    slope = degrees.without_drift(0.02 * rng.normal(size=degrees.n_free))
    step, held, length, expected = _Model(Valley(metric, own), []).limited_step(degrees, slope, radius)
    modes = metric.balanced(soft) / scaled[:, None]

    def energy(x: np.ndarray) -> float:
        along = modes @ x
        return float(metric.balanced_slope(slope) @ x + 0.5 * (x @ x - along @ along)) + 0.5 * float(
            np.array([*curvatures, *np.ones(len(soft) - 2)]) @ along**2
        )

    x = metric.balanced(step)
    assert np.linalg.norm(x) == pytest.approx(length, rel=1.0e-6)
    assert length <= held * (1.0 + 1.0e-6)
    assert held <= radius
    assert degrees.reach(step) <= 1.01 * LARGEST_MOVE
    assert energy(x) == pytest.approx(expected, rel=1.0e-6)
    for _ in range(200):
        other = x + 0.3 * length * metric.balanced(degrees.without_drift(rng.normal(size=len(x)))) / 50.0
        other *= min(1.0, length / float(np.linalg.norm(other)))
        assert energy(other) >= expected - 1.0e-9


@pytest.mark.parametrize(
    ("middle", "saddle", "was_saddle", "expected"),
    [
        # The middle of the hop is a minimum, as it is for the MLE.
        ([0.2, 0.3], [-0.3, 0.2], False, [(1, 0, True)]),
        # It is a saddle of the member, whatever it is of the MLE.
        ([-0.2, 0.3], [-0.3, 0.2], False, [(0, 1, True)]),
        ([-0.2, 0.3], [0.3, 0.2], True, [(0, 1, True)]),
        # Too flat to tell.
        ([0.1 * SURE, 0.3], [-0.3, 0.2], False, [(0, 1, False), (1, 0, True)]),
        ([-0.1 * SURE, 0.3], [-0.3, 0.2], False, [(0, 1, False), (1, 0, True)]),
        ([0.1 * SURE, 0.3], [0.3, 0.2], False, [(0, 1, False)]),
        # The middle was a saddle and is none, or has two falls; the other saddle is none.
        ([0.2, 0.3], [-0.3, 0.2], True, []),
        ([-0.2, -0.1], [-0.3, 0.2], False, []),
        ([0.2, 0.3], [0.3, 0.2], False, []),
    ],
)
def test_curvatures_half_way_tell_where_a_saddle_may_be(
    middle: list[float],
    saddle: list[float],
    was_saddle: bool,
    expected: list[tuple[int, int, bool]],
) -> None:
    class Hop(Context):
        def __init__(self) -> None:
            degrees = Degrees(vacancy(0.0, 0), None, "all")
            signs = np.ones(degrees.n_free)
            signs[0] = -1.0 if was_saddle else 1.0
            expansions = (Expansion(degrees, np.diag(signs)), Expansion(degrees, np.eye(degrees.n_free)))
            self.record = Record(expansions=expansions, saddles=((1, 0, 0),))

        def soft_hessian(self, number: int, member: int) -> np.ndarray:
            return np.diag(saddle if number else middle)

    assert saddle_guesses(Hop(), 1) == [SaddleGuess(*guess) for guess in expected]


def test_a_record_without_one_saddle_gives_no_guess() -> None:
    class Empty(Context):
        def __init__(self) -> None:
            self.record = Record(saddles=((1, -1, 0),))

    assert saddle_guesses(Empty(), 1) == []
