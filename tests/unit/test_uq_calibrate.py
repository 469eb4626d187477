"""Calibration: the scale against brute force, what it lets expect, and groups left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polynomial import block, blocks, stream
from scipy.stats import binomtest

from snapuq.core.design import RowKind
from snapuq.errors import InputError
from snapuq.uq import crossval
from snapuq.uq.calibrate import calibrate, clustered_interval, leave_groups_out
from snapuq.uq.crossval import CALIBRATION_MEMBERS, OTHER_MEMBERS, cross_validate, draw
from snapuq.uq.leastsquares import least_squares
from snapuq.uq.rules import RULES
from snapuq.uq.streaming import DesignStream

BLOCK = RULES["block"]


def test_held_out_rows_equal_a_fit_without_them() -> None:
    items = blocks(40, seed=1)
    s = stream(items)
    held = cross_validate(s, BLOCK, seed=4)
    rest = s.without(2)
    fit = least_squares(rest)
    members = draw(BLOCK.box(rest, fit), CALIBRATION_MEMBERS, 4, "calibration")
    shifts = members @ BLOCK.box(rest, fit).axes.T
    mine = [b for i in s.only(2).held for b in s.chunks[i]]
    rows, target = np.concatenate([b.rows for b in mine]), np.concatenate([b.target for b in mine])
    error, deviation = target - rows @ fit.theta, rows @ shifts.T
    here = held.fold == 2
    # The fit above merges the factors of the folds in the same order, but not from one factor of the rest.
    assert np.allclose(held.error[here], error, atol=1e-10)
    assert np.allclose(held.std[here], deviation.std(axis=1), rtol=1e-6)
    reach = np.where(error < 0, -deviation.min(axis=1), deviation.max(axis=1))
    assert np.allclose(held.reach[here, OTHER_MEMBERS.index(500)], reach, rtol=1e-6)
    assert len(held.error) == sum(len(b.rows) for b in items)


def test_scale_is_the_smallest_that_meets_the_target() -> None:
    held = cross_validate(stream(blocks(150, seed=2)), BLOCK, seed=1)
    found = calibrate(held, 0.03)

    def violation(scale: float) -> float:
        outside = np.abs(held.error) > scale * held.reach[:, OTHER_MEMBERS.index(500)]
        return float(np.mean([outside[held.kind == k].mean() for k in (RowKind.ENERGY, RowKind.FORCE)]))

    assert violation(found.scale * (1 + 1e-12)) <= 0.03
    assert violation(found.scale * (1 - 1e-9)) > 0.03
    assert found.energy is not None
    assert found.force is not None
    assert found.energy.low <= found.energy.violation <= found.energy.high
    assert np.isclose(0.5 * (found.energy.violation + found.force.violation), violation(found.scale))
    assert len(found.fold_scales) == 5


def test_more_members_miss_less_at_the_same_scale() -> None:
    found = calibrate(cross_validate(stream(blocks(150, seed=3)), BLOCK, seed=1), 0.02)
    for expected in (found.energy, found.force):
        assert expected is not None
        shares = dict(expected.by_members)
        assert list(shares) == list(OTHER_MEMBERS)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert shares[500] == expected.violation
    assert found.force is not None
    assert dict(found.force.by_members)[20] > found.force.violation


def test_reach_of_more_members_than_drawn_agrees_with_drawing_them() -> None:
    rng = np.random.default_rng(4)
    # 300 rows on 60 axes of very different width.
    rows = rng.normal(size=(300, 60)) * np.geomspace(1.0, 0.01, 60)
    deviation = rows @ rng.uniform(-1, 1, (60, 2000))
    estimated, drawn = (crossval._reaches(deviation[:, :n]) for n in (500, 2000))
    ratio = estimated[-1].mean() / drawn[-1].mean()
    # Few axes decide, so the rows share the luck of one draw: 2 % is about its spread.
    assert ratio == pytest.approx(1.0, abs=0.04)
    assert drawn[-1].mean() > 1.05 * drawn[OTHER_MEMBERS.index(500)].mean()


def test_roundoff_and_weightless_rows_do_not_calibrate() -> None:
    items = blocks(100, seed=5)
    spoilt = [
        replace(
            b,
            target=np.where(np.arange(len(b.target)) == 1, 1e3, b.target),
            weight=np.where((np.arange(len(b.target)) == 1) & (i % 2 == 0), 0.0, b.weight),
            is_roundoff=(np.arange(len(b.target)) == 1) & (i % 2 == 1),
        )
        for i, b in enumerate(items)
    ]
    held = cross_validate(stream(spoilt), BLOCK, seed=1)
    assert len(held.error) == sum(len(b.target) - 1 for b in items)


def test_nothing_to_calibrate_on_is_an_error() -> None:
    items = [replace(b, is_roundoff=np.ones(len(b.target), dtype=bool)) for b in blocks(30, seed=6)]
    with pytest.raises(InputError, match="no energy or force to look at"):
        calibrate(cross_validate(stream(items), BLOCK, seed=1), 0.02)
    one = [replace(b, weight=np.zeros(len(b.weight))) for b in blocks(30, seed=7)]
    s = stream(one)
    first = {i: s.chunks[i] for i in s.chunks}
    first[0] = tuple(blocks(5, seed=8))
    with pytest.raises(InputError, match="in one cross-validation fold"):
        cross_validate(replace(s, chunks=first), BLOCK, seed=1)


def test_a_group_beyond_the_others_is_found() -> None:
    rng = np.random.default_rng(9)
    inside = [block(rng.uniform(-1, 0.4, 3), f"i{k}") for k in range(60)]
    near = [block(rng.uniform(-1, 0.4, 3), f"n{k}") for k in range(40)]
    far = [block(rng.uniform(0.8, 1.0, 3), f"f{k}") for k in range(40)]
    chunks = dict(enumerate(map(tuple, (inside, near, far))))
    s = DesignStream(chunks, {i: i for i in chunks}, stream(inside).reducer)
    scale = calibrate(cross_validate(stream([*inside, *near, *far]), BLOCK, seed=1), 0.02).scale
    held = cross_validate(s, BLOCK, seed=1, held_out=(1, 2), extrapolation=True)
    found = {g.group: g for g in leave_groups_out(held, {1: "near", 2: "far"}, scale)}
    assert found["near"].n_configurations == 40
    assert found["near"].extrapolates < 0.2
    assert found["far"].extrapolates == 1.0
    assert found["far"].violation_force is not None
    assert found["near"].violation_force is not None
    assert found["near"].violation_force < 0.1


def test_interval_of_independent_trials_is_the_exact_binomial_one() -> None:
    rng = np.random.default_rng(0)
    outside = rng.random(400) < 0.03
    low, high = clustered_interval(outside, np.arange(400))
    expected = binomtest(int(outside.sum()), 400).proportion_ci(0.95, "exact")
    # The design effect of independent trials is 1 but for n / (n - 1).
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=0.01)


def test_interval_of_clusters_is_that_of_the_clusters() -> None:
    rng = np.random.default_rng(1)
    outside = rng.random(60) < 0.2
    repeated, cluster = np.repeat(outside, 25), np.repeat(np.arange(60), 25)
    few, many = clustered_interval(outside, np.arange(60)), clustered_interval(repeated, cluster)
    assert many == pytest.approx(few, rel=0.02)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 7))
def test_interval_holds_the_share(outside: list[bool], size: int) -> None:
    values = np.array(outside)
    low, high = clustered_interval(values, np.arange(len(values)) // size)
    assert 0.0 <= low <= values.mean() <= high <= 1.0
