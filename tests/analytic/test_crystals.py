"""Prototypes against crystallography and ASE's own builders."""

from __future__ import annotations

import ase.build
import numpy as np
import pytest
from ase.spacegroup import crystal

from snapuq.properties.crystals import PROTOTYPES, Crystal

SYMBOLS = ("W", "Be")


def named(name: str) -> Crystal:
    return Crystal.parse(f"{name}:{','.join(SYMBOLS[: PROTOTYPES[name].n_species])}")


def distances(structure, shells: float) -> np.ndarray:
    """Sorted distances from every atom within a radius, with the species pair."""
    n = 4
    steps = np.array(np.meshgrid(*[np.arange(-n, n + 1)] * 3)).reshape(3, -1).T @ np.asarray(structure.cell)
    delta = structure.positions[:, None, None] - structure.positions[None, :, None] - steps[None, None]
    r = np.linalg.norm(delta, axis=-1).reshape(len(structure.positions), -1)
    return np.array([np.sort(row[(row > 1e-6) & (row < shells)]).sum() for row in r])


@pytest.mark.parametrize("name", [n for n in PROTOTYPES if PROTOTYPES[n].system == "cubic"])
def test_primitive_and_conventional_are_the_same_crystal(name):
    c = named(name)
    small, large = c.primitive(4.0, 4.0), c.conventional(4.0, 4.0)
    assert small.volume / len(small) == pytest.approx(large.volume / len(large), rel=1e-12)
    assert len(large) % len(small) == 0
    assert np.unique(distances(small, 6.0).round(6)).tolist() == pytest.approx(
        np.unique(distances(large, 6.0).round(6)).tolist(), abs=2e-6
    )


@pytest.mark.parametrize("name", list(PROTOTYPES))
def test_no_two_atoms_touch_at_the_first_guess(name):
    c = named(name)
    cell = c.primitive(*c.size_guess())
    # Nearest neighbours of real crystals are 0.65 to 1.2 of the cube root of the volume per atom.
    assert 0.65 < cell.nearest_distance() / (cell.volume / len(cell)) ** (1 / 3) < 1.2


@pytest.mark.parametrize("name", ["sc", "bcc", "fcc", "diamond", "hcp"])
def test_against_ase_bulk(name):
    c = named(name)
    a = 3.3
    other = ase.build.bulk("W", name, a=a, c=1.6 * a) if name == "hcp" else ase.build.bulk("W", name, a=a)
    mine = c.primitive(a, 1.6 * a if name == "hcp" else a)
    assert len(mine) == len(other)
    assert distances(mine, 6.0) == pytest.approx(distances(other, 6.0), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "spacegroup", "sites"),
    [
        ("A15", 223, [("W", (0, 0, 0)), ("W", (0.25, 0, 0.5))]),
        ("C15", 227, [("W", (0.125, 0.125, 0.125)), ("Be", (0.5, 0.5, 0.5))]),
        ("D0_3", 225, [("Be", (0, 0, 0)), ("W", (0.5, 0.5, 0.5)), ("W", (0.25, 0.25, 0.25))]),
        ("L1_2", 221, [("Be", (0, 0, 0)), ("W", (0, 0.5, 0.5))]),
        ("B32", 227, [("W", (0.125, 0.125, 0.125)), ("Be", (0.375, 0.375, 0.375))]),
        ("C14", 194, [("W", (1 / 3, 2 / 3, 0.062)), ("Be", (0, 0, 0)), ("Be", (0.83, 1.66, 0.25))]),
        (
            "D2_b",
            139,
            [("W", (0, 0, 0)), ("Be", (0.25, 0.25, 0.25)), ("Be", (0.361, 0, 0)), ("Be", (0.277, 0.5, 0))],
        ),
        ("betaSn", 141, [("W", (0, 0, 0))]),
        ("omega", 191, [("W", (0, 0, 0)), ("W", (1 / 3, 2 / 3, 0.5))]),
    ],
)
def test_against_space_groups(name, spacegroup, sites):
    """The conventional cell is what the space group makes of the published Wyckoff positions."""
    c = named(name)
    a, size_c = 5.0, 5.0 * PROTOTYPES[name].c_over_a
    mine = c.conventional(a, size_c)
    gamma = 120 if PROTOTYPES[name].system == "hexagonal" else 90
    other = crystal(
        [s for s, _ in sites],
        [p for _, p in sites],
        spacegroup=spacegroup,
        setting=2 if name in ("C15", "B32") else 1,
        cellpar=[a, a, size_c, 90, 90, gamma],
    )
    assert sorted(mine.species) == sorted(other.get_chemical_symbols())
    assert sorted(distances(mine, 5.0)) == pytest.approx(sorted(distances(other, 5.0)), rel=1e-7)


@pytest.mark.parametrize("text", ["bcc", "hcp:Be", "B2:W,Be", "fcc:Ar@5.3", "hcp:Be@2.29,1.57"])
def test_text_round_trip(text):
    assert Crystal.parse(text).text == text
