"""What one displaced supercell tells of its image by inversion, and what is no image."""

from __future__ import annotations

import numpy as np
import pytest
from linear_engine import MLE, LinearEngine, linear_rows

from snapuq.core.dataset import Structure
from snapuq.propagate.context import Context
from snapuq.propagate.family import FORCE_ERROR, Family, Inverted, Shape, inverted, predict_all
from snapuq.propagate.record import Record
from snapuq.properties.crystals import Crystal
from snapuq.properties.defects import repeated

THETA = MLE * (1.0 + 0.02 * np.random.default_rng(0).normal(size=(3, 3)))
FCC = repeated(Crystal.parse("fcc:Cu@3.6").conventional(3.6, 3.6), 2)
#: Sites of hcp have no inversion symmetry.
HCP = repeated(Crystal.parse("hcp:Cu@2.55").conventional(2.55, 2.55 * 1.633), 2)
STEP = np.array([0.011, 0.004, -0.007])


def predict(structure: Structure) -> np.ndarray:
    return predict_all(*linear_rows(structure), THETA)


def moved(perfect: Structure, atoms: dict[int, np.ndarray], species: tuple[str, ...] = ()) -> Structure:
    positions = perfect.positions.copy()
    for atom, step in atoms.items():
        positions[atom] += step
    return Structure(perfect.cell, positions, species or perfect.species)


def image(first: Structure, second: Structure) -> Inverted | None:
    return inverted(Shape.of(second)[0], Family(*Shape.of(first), predict))


@pytest.mark.parametrize("atom", [0, 5, 31])
def test_an_atom_displaced_the_other_way(atom: int) -> None:
    there, back = (moved(FCC, {atom: sign * STEP}) for sign in (1.0, -1.0))
    found = image(there, back)
    assert found is not None
    _, size = Shape.of(back)
    for member, theta in enumerate(THETA):
        exact = LinearEngine(theta).evaluate(back)
        answer = found.evaluate(member, size)
        assert answer is not None
        assert answer.forces == pytest.approx(exact.forces, abs=FORCE_ERROR)
        assert answer.energy == pytest.approx(exact.energy, abs=1.0e-9)
        assert answer.stress == pytest.approx(exact.stress, abs=1.0e-9)
        # Forces differ from those of the first structure by far more.
        assert np.abs(exact.forces - LinearEngine(theta).evaluate(there).forces).max() > 100 * FORCE_ERROR


def test_what_is_no_image() -> None:
    there = moved(FCC, {0: STEP})
    assert image(there, moved(FCC, {0: -1.001 * STEP})) is None
    assert image(there, moved(FCC, {0: -STEP, 1: STEP})) is None
    assert image(there, there) is None
    assert image(there, moved(FCC, {0: -STEP}, ("Ag", *FCC.species[1:]))) is None
    # Half a cell away an atom is its own image; the nearest neighbour is not.
    half = int(np.argmin(np.linalg.norm(FCC.fractional - [0.5, 0.0, 0.0], axis=1)))
    for other, has_image in ((half, True), (1, False)):
        species = tuple("Ag" if i == other else "Cu" for i in range(len(FCC)))
        pair = moved(FCC, {0: STEP}, species), moved(FCC, {0: -STEP}, species)
        assert (image(*pair) is not None) == has_image
    pair = moved(FCC, {0: STEP, 1: 0.1 * STEP}), moved(FCC, {0: -STEP, 1: 0.1 * STEP})
    assert image(*pair) is None
    assert image(moved(HCP, {0: STEP}), moved(HCP, {0: -STEP})) is None


def test_rows_of_the_image_are_not_computed() -> None:
    asked: list[Structure] = []

    def counted(structure: Structure) -> np.ndarray:
        asked.append(structure)
        return predict(structure)

    both = tuple(moved(FCC, {0: sign * STEP}) for sign in (1.0, -1.0))
    context = Context(Record(evaluated=both), counted)
    first = context.evaluate(both[0], 1)
    n = len(asked)
    second = context.evaluate(both[1], 1)
    assert first is not None
    assert second is not None
    assert len(asked) == n
    assert first.energy == second.energy
