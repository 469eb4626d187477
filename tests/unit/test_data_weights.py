"""Loss weights: the published formula re-derived, FitSNAP's squares, and tables of groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from snapuq.core.dataset import Configuration, Dataset, RowWeights, Structure
from snapuq.data.weights import element_references, exponential_weights, fitsnap_weights
from snapuq.errors import InputError


def configuration(
    name: str,
    species: list[str],
    energy: float,
    seed: int = 0,
    stress: bool = True,
    weights: RowWeights | None = None,
) -> Configuration:
    rng = np.random.default_rng(seed)
    n = len(species)
    positions = 3.0 * np.arange(n)[:, None] * np.array([1.0, 0.0, 0.0])
    structure = Structure(np.diag([3.0 * n, 3.0, 3.0]), positions, tuple(species))
    forces = 10.0 * rng.normal(size=(n, 3))
    return Configuration(
        name, name[0], structure, energy, forces, rng.normal(size=6) if stress else None, weights
    )


def tungsten(n: int = 8) -> Dataset:
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 6, size=n)
    return Dataset(
        tuple(
            configuration(
                f"{'ab'[i % 2]}{i}", ["W"] * k, float(k * (-9 + 3 * rng.random())), i, stress=i % 3 > 0
            )
            for i, k in enumerate(sizes)
        ),
        "made",
    )


def test_published_formula() -> None:
    dataset = tungsten()
    train = np.array([True, False, True, True, True, False, True, True])
    weights = exponential_weights(dataset, train, energy=1.5, force=20.0, energy_ratio=10.0, stress_ratio=2.0)
    lowest = min(c.energy / len(c) for c, t in zip(dataset.configurations, train, strict=True) if t)
    energies, forces, stresses = [], [], []
    for c in dataset.configurations:
        energies.append(np.exp(-(c.energy / len(c) - lowest) / 1.5))
        forces.append([np.exp(-np.sqrt(f @ f) / 20.0) for f in c.forces])
        stresses.append(energies[-1] if c.stress is not None else 0.0)
    of_train = np.flatnonzero(train)
    energy_sum = sum(energies[i] for i in of_train)
    force_sum = 3 * sum(sum(forces[i]) for i in of_train)
    stress_sum = 6 * sum(stresses[i] for i in of_train)
    for i, w in enumerate(weights):
        # The same sums in another order: round-off.
        assert w.energy == pytest.approx(10.0 * energies[i] / energy_sum, rel=1e-13)
        np.testing.assert_allclose(w.force, np.array(forces[i]) / force_sum, rtol=1e-13)
        assert w.stress == pytest.approx(2.0 * stresses[i] / stress_sum, rel=1e-13)


@settings(max_examples=40, deadline=None)
@given(
    ratio=st.floats(1e-3, 1e4),
    stress_ratio=st.floats(1e-3, 1e4),
    a=st.floats(0.1, 50.0),
    b=st.floats(1.0, 200.0),
)
def test_sums_over_the_training_rows(ratio: float, stress_ratio: float, a: float, b: float) -> None:
    dataset = tungsten()
    train = np.arange(8) < 6
    weights = exponential_weights(
        dataset, train, energy=a, force=b, energy_ratio=ratio, stress_ratio=stress_ratio
    )
    used = weights[:6]
    assert sum(w.energy for w in used) == pytest.approx(ratio, rel=1e-12)
    assert sum(3 * w.force.sum() for w in used) == pytest.approx(1.0, rel=1e-12)
    assert sum(6 * w.stress for w in used) == pytest.approx(stress_ratio, rel=1e-12)


def test_defaults_leave_stress_out_and_ignore_the_test_set() -> None:
    dataset = tungsten()
    train = np.arange(8) < 6
    weights = exponential_weights(dataset, train)
    assert all(w.stress == 0.0 for w in weights)
    # A test configuration of absurd energy must not move the others.
    odd = configuration("z", ["W"], -500.0)
    other = Dataset((*dataset.configurations, odd), "made")
    again = exponential_weights(other, np.append(train, False))
    assert [w.energy for w in again[:8]] == [w.energy for w in weights]


def test_alloys_are_compared_with_the_hull_of_their_composition() -> None:
    """Two pure phases that differ by 8 eV/atom are both ground states; so is a compound."""
    compound = 2 * (0.5 * (-9.0 - 1.0) - 0.4)
    data = [
        configuration("w0", ["W", "W"], 2 * -9.0),
        configuration("w1", ["W", "W"], 2 * -8.0),
        configuration("b0", ["Be"], -1.0),
        configuration("b1", ["Be"], -0.5),
        configuration("x0", ["W", "Be"], 2 * (0.5 * (-9.0 - 1.0) + 0.3)),
    ]
    train = np.ones(5, dtype=bool)
    w = exponential_weights(Dataset(tuple(data), "made"), train, energy=2.0)
    relative = np.array([x.energy for x in w]) / w[0].energy
    # The linear programme is solved to 1e-7 eV.
    np.testing.assert_allclose(relative, np.exp(-np.array([0.0, 1.0, 0.0, 0.5, 0.3]) / 2.0), rtol=1e-6)
    data.append(configuration("x1", ["W", "Be"], compound))
    w = exponential_weights(Dataset(tuple(data), "made"), np.ones(6, dtype=bool), energy=2.0)
    assert max(x.energy for x in w) == pytest.approx(w[5].energy, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(3, 40))
def test_reference_plane_touches_the_convex_hull_from_below(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.concatenate([[0.0, 1.0], rng.random(n)])
    e = -5.0 - 4.0 * x + rng.normal(size=n + 2)
    mu = element_references(np.column_stack([x, 1 - x]), e)
    excess = e - (x * mu[0] + (1 - x) * mu[1])
    # The solver's constraints hold to 1e-7, then the plane is moved onto the lowest energy.
    assert excess.min() == pytest.approx(0.0, abs=1e-9)
    assert np.sum(excess < 1e-6) >= 2, "an optimal line is held by two points"
    hull = ConvexHull(np.column_stack([x, e]))
    assert set(np.flatnonzero(excess < 1e-6)) <= set(hull.vertices)


def test_one_element_and_one_composition() -> None:
    assert element_references(np.ones((3, 1)), np.array([-3.0, -5.0, -4.0])) == pytest.approx([-5.0])
    half = np.full((3, 2), 0.5)
    assert half[0] @ element_references(half, np.array([-3.0, -5.0, -4.0])) == pytest.approx(-5.0)


def test_fitsnap_weights_come_from_the_data() -> None:
    c = configuration("a", ["W", "W"], -18.0, weights=RowWeights(4.0, 9.0, 16.0))
    d = configuration("b", ["W"], -9.0, stress=False, weights=RowWeights(1.0, 2.0, 3.0))
    first, second = fitsnap_weights(Dataset((c, d), "made"))
    assert (first.energy, first.force.tolist(), first.stress) == (4.0, [9.0, 9.0], 16.0)
    assert (second.energy, second.force.tolist(), second.stress) == (1.0, [2.0], 0.0)
    with pytest.raises(InputError, match="made: a0: these data come without weights"):
        fitsnap_weights(tungsten())


def test_table_multiplies_rows(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    # With the byte order mark of a spreadsheet.
    table.write_text("\ufeffgroup, energy, force, stress\na, 100, 2, 1e-8\n\nb, 10, 0, 0\n", encoding="utf-8")
    dataset = tungsten()
    for c, w in zip(dataset.configurations, fitsnap_weights(dataset, table), strict=True):
        factors = (100.0, 2.0, 1e-8) if c.group == "a" else (10.0, 0.0, 0.0)
        assert (w.energy, set(w.force)) == (factors[0] ** 2, {factors[1] ** 2})
        # A row in eV/A^3 is 1.6021765e6 times smaller than FitSNAP's in bar.
        expected = 0.0 if c.stress is None else (factors[2] * 1.6021765e6) ** 2
        assert w.stress == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("group,energy,force\na,1,1\n", ["groups.csv:1: wrong header", "group,energy,force,stress"]),
        ("group,energy,force,stress\na,1,1,1\n", ["groups.csv: b: no line for this group"]),
        ("group,energy,force,stress\na,1,1,1\nc,1,1,1\n", ["groups.csv:3: c: unknown group"]),
        ("group,energy,force,stress\na,1,1,1\na,1,1,1\n", ["groups.csv:3: a: group occurs twice"]),
        ("group,energy,force,stress\na,1,x,1\n", ["groups.csv:2: a.force: not a weight; found x"]),
        ("group,energy,force,stress\na,1,1,-1\n", ["groups.csv:2: a.stress: not a weight; found -1"]),
        ("group,energy,force,stress\na,nan,1,1\n", ["groups.csv:2: a.energy: not a weight; found nan"]),
        ("group,energy,force,stress\na,1,1\n", ["groups.csv:2: wrong number of columns; found 3"]),
        ("", ["groups.csv:1: wrong header"]),
        ("group;energy;force;stress\na;1;1;1\n", ["groups.csv:1: columns are separated by semicolons"]),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, words: list[str]) -> None:
    table = tmp_path / "groups.csv"
    table.write_text(text)
    with pytest.raises(InputError) as caught:
        fitsnap_weights(tungsten(), table)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("energy", 0.0), ("force", -1.0), ("energy_ratio", -1.0), ("stress_ratio", float("nan"))],
)
def test_impossible_parameters(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"weights.{name}: impossible value"):
        exponential_weights(tungsten(), np.ones(8, dtype=bool), **{name: value})


def test_nothing_to_train_on_and_no_stress() -> None:
    with pytest.raises(InputError, match="no configuration to train on"):
        exponential_weights(tungsten(), np.zeros(8, dtype=bool))
    bare = Dataset((configuration("a", ["W"], -9.0, stress=False),), "made")
    with pytest.raises(InputError, match="no stress in the training set"):
        exponential_weights(bare, np.array([True]), stress_ratio=1.0)
