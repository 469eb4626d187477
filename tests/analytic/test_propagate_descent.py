"""Members that do not end where the MLE did: which state they take, and the descent from their own start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from linear_engine import MLE, LinearEngine, linear_rows

from snapuq.core.dataset import Structure
from snapuq.propagate import descent
from snapuq.propagate.choice import SURE, choose
from snapuq.propagate.context import Context
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.descent import descend
from snapuq.propagate.engine import PropagatingEngine
from snapuq.propagate.expansion import expand
from snapuq.propagate.record import Record, RecordingEngine
from snapuq.propagate.store import Predictor, Store
from snapuq.properties.crystals import Crystal
from snapuq.properties.defects import repeated, without

FMAX, SMAX = 1.0e-6, 1.0e-8
#: Two minimisers of one minimum: energies, eV, are of second order in forces of 1e-6 eV/A.
ENERGIES = 1.0e-8
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
    assert metric is not None
    start = vacancy(0.15, seed)
    own, other = LinearEngine(MEMBERS[seed]), LinearEngine(MEMBERS[seed])
    found = descend(own, Degrees(start, None, "all"), metric, fmax=FMAX, smax=SMAX)
    exact = other.relax(start, fmax=FMAX)
    assert found is not None
    assert found.evaluations == own.evaluations < 0.6 * other.evaluations
    assert found.evaluation.energy == pytest.approx(exact.evaluation.energy, abs=ENERGIES)
    assert np.linalg.norm(found.evaluation.forces, axis=1).max() <= FMAX


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
    assert (engine.ways, engine.fallbacks, own.relaxed) == ({"lbfgs"}, 0, [])
    assert own.evaluated[0] is start
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
