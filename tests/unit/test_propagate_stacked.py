"""Shortcuts give what the long way gives: several potentials at once, no symmetry search if only scaled."""

from __future__ import annotations

import numpy as np
import pytest

from snapuq.core.dataset import Structure
from snapuq.core.engine import Evaluation
from snapuq.propagate.context import Context
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.expansion import Expansion
from snapuq.propagate.record import Record, Relaxed
from snapuq.properties import identity
from snapuq.properties.base import RelaxedCrystal
from snapuq.properties.crystals import Crystal

STATE = Crystal.parse("hcp:Mg").primitive(3.2, 5.2)


@pytest.mark.parametrize("cell", [None, "isotropic", "axes", "full"])
@pytest.mark.parametrize("directions", ["all", "normal"])
def test_slopes_of_several_potentials(cell, directions) -> None:
    rng = np.random.default_rng(0)
    degrees = Degrees(STATE, cell, directions)
    q = 0.01 * rng.normal(size=degrees.n_free)
    forces, stress = rng.normal(size=(4, 5, len(STATE), 3)), rng.normal(size=(4, 5, 6))
    found = degrees.slopes(forces, stress, q)
    assert found.shape == (4, 5, degrees.n_free)
    for i in np.ndindex(4, 5):
        # Round-off of numbers of about 100.
        one = degrees.slope(Evaluation(0.0, forces[i], stress[i]), q)
        assert found[i] == pytest.approx(one, abs=1.0e-11)


def test_soft_hessians_of_several_potentials() -> None:
    """A potential whose forces are linear has the Hessian that they say, whoever is beside it."""
    rng = np.random.default_rng(1)
    degrees = Degrees(STATE, None, "all")
    matrices = rng.normal(size=(3, 6, 6))
    matrices = degrees.without_drift(degrees.without_drift(matrices + matrices.swapaxes(1, 2)).swapaxes(1, 2))
    expansion = Expansion(degrees, matrices[0] + 10.0 * degrees.without_drift(np.eye(6)))

    def predict(structure: Structure) -> np.ndarray:
        forces = -matrices @ degrees.coordinates(structure)
        return np.concatenate([np.zeros((3, 1)), forces, np.zeros((3, 6))], axis=1)

    context = Context(Record(expansions=(expansion,)), predict)
    modes = expansion.soft_modes()
    assert len(modes) == 3
    for member, matrix in enumerate(matrices):
        assert context.soft_hessian(0, member) == pytest.approx(modes @ matrix @ modes.T, abs=1.0e-10)


def test_the_relaxation_of_the_same_number_comes_first() -> None:
    """Even where another start is nearer; without it, the nearest."""
    starts = [
        Structure(STATE.cell, STATE.positions + shift * np.array([[1.0], [-1.0]]), STATE.species)
        for shift in (0.0, 0.01, 0.02)
    ]
    relaxed = tuple(Relaxed(start, start, None, "all") for start in starts)
    context = Context(Record(relaxed=relaxed), lambda structure: np.zeros((1, 13)))
    for number, expected in ((0, 0), (1, 1), (2, 2), (3, 2)):
        assert context.match(number, starts[2], None, "all") is relaxed[expected]
    assert context.match(0, starts[2], "full", "all") is None


def test_a_scaled_crystal_needs_no_search_for_its_symmetry(monkeypatch) -> None:
    searched: list[Structure] = []
    real = identity.symmetry_of

    def noted(structure: Structure) -> tuple[int, int]:
        searched.append(structure)
        return real(structure)

    monkeypatch.setattr(identity, "symmetry_of", noted)
    crystal = Crystal.parse("A15:W")
    start = crystal.primitive(*crystal.size_guess())
    scaled = Structure(1.03 * start.cell, 1.03 * start.positions, start.species)
    assert identity.how_lost(RelaxedCrystal(crystal, scaled, 0.0)) == ""
    assert searched == []
    positions = scaled.positions.copy()
    positions[0, 0] += 0.1
    moved = Structure(scaled.cell, positions, scaled.species)
    assert "space group" in identity.how_lost(RelaxedCrystal(crystal, moved, 0.0))
    assert searched
