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
from snapuq.pipeline.prepare import Prepared, prepare
from snapuq.pipeline.suspicions import data_warnings, energy_zero_warning, listed
from snapuq.pipeline.training import _folds

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


def twins_in(campaign: Path) -> None:
    """Write all configurations again, as another group."""
    write_data(campaign.parent / "again")
    (campaign.parent / "again" / "data" / "crystal").rename(campaign.parent / "data" / "twins")


def test_twins_are_told_and_never_on_both_sides(campaign: Path) -> None:
    without = prepared(campaign)
    config = load_config(campaign)
    assert not data_warnings(without, config)
    twins_in(campaign)
    found = prepared(campaign)
    # 20 structures as before, so the same of them are held out.
    assert found.is_test[:20].tolist() == without.is_test.tolist()
    assert found.is_test[20:].tolist() == without.is_test.tolist()
    folds = _folds(found, config)
    assert folds[:20] == folds[20:] == _folds(without, config)
    (line,) = data_warnings(found, config)
    assert line.startswith("20 of 40 configurations repeat the structure of another, first twins/c_00.json")
    assert "that of crystal/c_00.json; they count twice, and are held out together" in line
    assert f"warning: {line}" in check(config)


def test_twins_across_a_split_by_groups_are_told(campaign: Path) -> None:
    twins_in(campaign)
    config = load_config(campaign, ["dataset.test={groups: [twins]}"])
    (line,) = data_warnings(prepare(config), config)
    assert line.endswith("; 20 of the test set are also trained on")


def test_a_group_that_a_random_split_leaves_out_is_told(campaign: Path) -> None:
    found, config = prepared(campaign), load_config(campaign)
    members = np.flatnonzero(~found.is_test)[:5]

    def grouped(n: int) -> Prepared:
        items = [
            replace(c, group="md") if i in members[:n] else c
            for i, c in enumerate(found.dataset.configurations)
        ]
        return replace(found, dataset=replace(found.dataset, configurations=tuple(items)))

    assert data_warnings(grouped(5), config) == ["the random split holds out nothing of md (5)"]
    # Of three, less than one is to be expected.
    assert data_warnings(grouped(3), config) == []
    assert "  crystal: 20 configurations, 5 test" in check(config)


@pytest.mark.parametrize("per_atom", [False, True])
def test_energies_per_atom_are_told(campaign: Path, per_atom: bool) -> None:
    found, config = prepared(campaign), load_config(campaign)
    items = []
    for i, c in enumerate(found.dataset.configurations):
        n = 1 + i % 4
        s = c.structure
        shift = np.arange(n)[:, None, None] * s.cell[0]
        large = replace(
            s,
            cell=np.diag([n, 1.0, 1.0]) @ s.cell,
            positions=(s.positions + shift).reshape(-1, 3),
            species=s.species * n,
        )
        energy = c.energy / 2 if per_atom else n * c.energy
        items.append(replace(c, structure=large, energy=energy, forces=np.tile(c.forces, (n, 1))))
    found = replace(found, dataset=replace(found.dataset, configurations=tuple(items)))
    assert any("look like energies per atom" in line for line in data_warnings(found, config)) == per_atom


def test_long_lists_are_cut() -> None:
    assert listed("abcd") == "a, b, c, d"
    assert listed("abcdef") == "a, b, c, d and 2 more"


def test_lammps_tries_the_reference_pair_style(campaign: Path) -> None:
    """One radius of ZBL is missing; the data are not to blame."""
    bad = 'potential.reference={pair_style: zbl 3.5, pair_coeff: ["* * 74 74"]}'
    for run in (check, prepare):
        with pytest.raises(
            InputError, match=r"--set .*: potential\.reference: LAMMPS refuses it: .*pair_style"
        ):
            run(load_config(campaign, [bad]))
    campaign.write_text(
        CAMPAIGN.replace("W: {}}", 'W: {}}, reference: {pair_style: zbl 3 4, pair_coeff: ["1 1 7"]}')
    )
    with pytest.raises(InputError, match=r"small\.yaml:3: potential\.reference: LAMMPS refuses it: .*zbl"):
        check(load_config(campaign))


def test_a_reference_table_may_be_shared(campaign: Path) -> None:
    campaign.write_text(
        CAMPAIGN + "campaign: {properties: [{eos: {structure: bcc}}]}\nreference: {values: t.csv}\n"
    )
    table = campaign.parent / "t.csv"
    head = "property,quantity,value,unit\neos-bcc,bulk_modulus,310,GPa\n"
    table.write_text(head + "eos-fcc,bulk_modulus,1,GPa\nelastic-bcc,C11,523,GPa\n")
    assert check(load_config(campaign)).endswith(
        "\nreference: 2 rows of properties not asked for: eos-fcc, elastic-bcc"
    )
    for label in ("eos-bc", "eos_bcc", "Eos-bcc", "eos-bcc-W"):
        table.write_text(head + f"{label},volume,16,A^3/atom\n")
        with pytest.raises(InputError, match=rf"t\.csv:3: {label}: .*did you mean 'eos-bcc'"):
            check(load_config(campaign))


@pytest.mark.parametrize("override", ["potential.rcutfac=2.0", "potential.elements={W: {radelem: 0.2}}"])
def test_a_cutoff_without_neighbours_is_refused(campaign: Path, override: str) -> None:
    """Neighbours are some 2.7 A away; lengths in bohr look like this."""
    with pytest.raises(InputError, match=r"potential\.rcutfac: the cutoff .* unless lengths .* not in A"):
        prepared(campaign, override)


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
    with pytest.raises(InputError, match=r"hold W, .*; crystal/c_00\.json is the first with W"):
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
