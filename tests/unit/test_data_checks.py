"""Coincident atoms, against a search over explicit images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapuq.core.dataset import Structure
from snapuq.data.checks import coincident


def nearest_pair(structure: Structure) -> float:
    """Shortest distance between atoms and images up to four cells away."""
    shifts = np.array(list(itertools.product(range(-4, 5), repeat=3))) @ structure.cell
    delta = structure.positions[:, None, None] - structure.positions[None, :, None] + shifts
    distance = np.sqrt((delta**2).sum(axis=-1))
    distance[distance == 0.0] = np.inf
    return float(distance.min())


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 5), skew=st.floats(0.0, 1.5), gap=st.floats(0.02, 0.3))
def test_agrees_with_explicit_images(seed: int, n: int, skew: float, gap: float) -> None:
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2.0, 4.0, 3)) + skew * np.tril(rng.normal(size=(3, 3)), -1)
    fractions = rng.random((n, 3))
    direction = rng.normal(size=3)
    # The last atom sits near an image of the first, some cells away.
    planted = fractions[0] @ cell + gap * direction / np.linalg.norm(direction)
    positions = np.vstack([fractions @ cell, planted + rng.integers(-3, 4, 3) @ cell])
    structure = Structure(cell, positions, ("W",) * (n + 1))
    wrapped = Structure(cell, (np.linalg.solve(cell.T, positions.T).T % 1.0) @ cell, structure.species)
    truth = nearest_pair(wrapped)
    if abs(truth - 0.1) < 1e-9:
        return
    found = coincident(structure)
    assert (found is not None) == (truth < 0.1)
    if found is not None:
        # Wrapping by up to 3 cells of 4 A loses 1e-15.
        assert found[2] == pytest.approx(truth, abs=1e-12)


def test_extreme_but_legal_cells_pass() -> None:
    """A primitive cell described by far too long vectors has small heights but no close atoms."""
    primitive = 1.6 * np.array([[-1.0, 1, 1], [1, -1, 1], [1, 1, -1]])
    long = np.array([[1, 0, 0], [40, 1, 0], [700, 30, 1]]) @ primitive
    assert coincident(Structure(long, np.zeros((1, 3)), ("W",))) is None


def test_many_atoms_take_blocks() -> None:
    grid = np.array(list(itertools.product(range(11), repeat=3)), dtype=float)
    cell = 22.0 * np.eye(3)
    assert coincident(Structure(cell, 2.0 * grid, ("W",) * len(grid))) is None
    moved = 2.0 * grid
    moved[1200] = moved[300] + [0.0, 22.05, 0.0]
    found = coincident(Structure(cell, moved, ("W",) * len(grid)))
    assert found is not None
    assert found[:2] == (300, 1200)
