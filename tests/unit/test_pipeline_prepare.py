"""Filter, split, weights and model of a campaign, before any row is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from json_data import write_data

from snapuq.config import load_config
from snapuq.errors import InputError
from snapuq.pipeline.prepare import Prepared, prepare

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
