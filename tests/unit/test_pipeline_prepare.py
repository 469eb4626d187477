"""Filter, split, weights and model of a campaign, before any row is computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_data import write_data

from snapuq.config import load_config
from snapuq.core.potential import SnapSettings
from snapuq.errors import InputError
from snapuq.pipeline.inspect import check, dry_run, recommended
from snapuq.pipeline.prepare import Prepared, energy_zero_warning, prepare

CAMPAIGN = """name: small
dataset: {path: data, test: {fraction: 0.25}}
potential: {rcutfac: 4.7, twojmax: 2, elements: {W: {}}}
"""


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    write_data(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(CAMPAIGN)
    return path


def prepared(path: Path, *overrides: str) -> Prepared:
    return prepare(load_config(path, overrides))


def test_random_split_and_rows(campaign: Path) -> None:
    found = prepared(campaign)
    assert found.is_test.sum() == 5
    assert found.n_training_rows == 15 * (1 + 3 * 2)
    assert not found.selection.stress


def test_excluded_configurations_are_counted(campaign: Path) -> None:
    energies = sorted(c.energy / 2 for c in prepared(campaign).dataset.configurations)
    limit = energies[12] - energies[0] + 1e-9
    found = prepared(campaign, f"dataset.exclude.max_energy_above_minimum={limit}")
    assert len(found.dataset) == 13
    assert found.n_excluded == 7
    with pytest.raises(InputError, match="crystal"):
        prepared(campaign, "dataset.exclude.groups=[crystall]")


def test_total_energy_rows_weigh_the_square_of_the_atoms(campaign: Path) -> None:
    plain, total = prepared(campaign), prepared(campaign, "dataset.energy_rows=total")
    assert np.allclose([w.energy for w in total.weights], [4 * w.energy for w in plain.weights])
    assert plain.digest != total.digest


def test_group_weights_multiply_rows(campaign: Path) -> None:
    table = campaign.parent / "groups.csv"
    table.write_text("group,energy,force,stress\ncrystal,10,2,0\n")
    found = prepared(campaign, f"dataset.weights={{scheme: fitsnap, file: {table}}}")
    assert {w.energy for w in found.weights} == {100.0}
    assert {x for w in found.weights for x in w.force} == {4.0}


def test_separate_test_set(campaign: Path) -> None:
    other = campaign.parent / "other"
    write_data(other, n=4, first_seed=100)
    found = prepared(campaign, f"dataset.test={{path: {other / 'data'}}}")
    assert found.is_test.tolist() == [False] * 20 + [True] * 4
    with pytest.raises(InputError, match="the same calculation"):
        prepared(campaign, f"dataset.test={{path: {campaign.parent / 'data'}}}")


def test_whole_groups_held_out_leave_something_to_train_on(campaign: Path) -> None:
    with pytest.raises(InputError, match="nothing is left"):
        prepared(campaign, "dataset.test={groups: [crystal]}")


def test_elements_without_parameters_are_named(campaign: Path) -> None:
    with pytest.raises(InputError, match="hold W"):
        prepared(campaign, "potential.elements={Be: {}}")


def n_coefficients(twojmax: int, quadratic: bool, n_elements: int) -> int:
    """Closed form for even twojmax: sum of squares up to twojmax / 2 + 1."""
    m = twojmax // 2 + 1
    k = m * (m + 1) * (2 * m + 1) // 6
    return n_elements * (k + k * (k + 1) // 2 if quadratic else k)


@given(st.integers(0, 20), st.booleans(), st.integers(1, 3), st.integers(1, 5000))
def test_recommended_potential_is_the_largest_that_fits(
    twojmax: int, quadratic: bool, n_elements: int, n_training: int
) -> None:
    elements = ("W", "Be", "Ta")[:n_elements]
    ones = (1.0,) * n_elements
    found = recommended(SnapSettings(elements, 4.7, twojmax, ones, ones, quadraticflag=quadratic), n_training)
    candidates = [(t, True) for t in (4, 6, 8, 10, 12, 14, 16, 18, 20) if quadratic and t <= twojmax]
    candidates = [*candidates[::-1], (8, False), (6, False)]
    fitting = [c for c in candidates if n_coefficients(*c, n_elements) <= n_training / 8]
    expected = next(iter(fitting), (6, False))
    asked = SnapSettings(elements, 4.7, twojmax, ones, ones, quadraticflag=quadratic).n_columns
    fewer = n_coefficients(*expected, n_elements) < asked
    assert (None if found is None else (found.twojmax, found.quadraticflag)) == (expected if fewer else None)


@pytest.mark.parametrize(
    ("n_training", "expected"),
    # 363 are those of the tantalum set, whose measured results rest on linear SNAP with twojmax 6.
    [(20, (6, False)), (109, (6, False)), (363, (6, False)), (440, (8, False)), (952, (4, True))],
)
def test_recommended_for_small_sets(n_training: int, expected: tuple[int, bool]) -> None:
    asked = SnapSettings(("Ta",), 4.7, 6, (1.0,), (1.0,), quadraticflag=True)
    found = recommended(asked, n_training)
    assert found is not None
    assert (found.twojmax, found.quadraticflag) == expected


def test_check_recommends_and_warns(campaign: Path) -> None:
    text = check(load_config(campaign, ["potential.twojmax=8"]))
    # 15 of 20 configurations train; 20 x 7 rows of 55 columns are kept.
    for part in (
        "0.27 training configurations per coefficient",
        f"disk: {8e-9 * 140 * 55:.2f} GB",
        "recommended: twojmax 6, quadraticflag 0 (30 coefficients for 15 configurations)",
        "warning: even that has fewer configurations than coefficients",
        "warning: 15 training configurations; below 100 the calibration is uncertain",
    ):
        assert part in text, part
    least = check(load_config(campaign, ["potential.twojmax=6"]))
    assert "recommended: more data" in least and "even that" not in least
    small = check(load_config(campaign, ["potential.twojmax=2", "fit.calibrate=false"]))
    assert "recommended" not in small and "uncertain" not in small


def test_dry_run_says_what_fewer_members_mean(campaign: Path) -> None:
    warning = "the calibration is for 500 members"
    assert warning in dry_run(load_config(campaign, ["ensemble.members=20"]))
    assert warning not in dry_run(load_config(campaign, ["ensemble.members=500"]))


@pytest.mark.parametrize(("lowest", "is_told"), [(-8.9, False), (0.0, False), (3.0, True), (-49000.0, True)])
def test_energies_from_another_zero_are_warned_of(campaign: Path, lowest: float, is_told: bool) -> None:
    found = prepared(campaign)
    shift = lowest - min(c.energy / len(c) for c in found.dataset.configurations)
    moved = [replace(c, energy=c.energy + shift * len(c)) for c in found.dataset.configurations]
    found = replace(found, dataset=replace(found.dataset, configurations=tuple(moved)))
    assert bool(energy_zero_warning(found)) == is_told
    # A constant takes it up.
    assert not energy_zero_warning(replace(found, settings=replace(found.settings, bzeroflag=False)))
