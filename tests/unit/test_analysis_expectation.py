"""Expectation beside finding, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.analysis.calibration import PointwiseMetrics, binomial_interval
from snapuq.analysis.expectation import compare, violation_of
from snapuq.core.design import RowKind

BY_MEMBERS = [[20, 0.16], [100, 0.08], [500, 0.02], [2000, 0.0]]
EXPECTED = {
    "violation": 0.02,
    "low": 0.01,
    "high": 0.05,
    "ratio": 0.8,
    "n_rows": 500,
    "unscaled": 0.1,
    "by_members": BY_MEMBERS,
}
CALIBRATION = {"members": 500, "energy": EXPECTED, "force": None}


def found(n_outside: int, n: int, ratio: float | None = 0.8) -> PointwiseMetrics:
    nothing = dict.fromkeys(PointwiseMetrics.__dataclass_fields__)
    low, high = binomial_interval(n_outside, n)
    counts = {"count": n, "n_roundoff": 10, "n_violations": n_outside, "n_violations_all": n_outside + 10}
    shares = {"violation": n_outside / n, "violation_low": low, "violation_high": high}
    shares["violation_all"] = (n_outside + 10) / (n + 10)
    return PointwiseMetrics(
        **{**nothing, **counts, **shares, "kind": RowKind.ENERGY, "error_over_std": ratio}
    )


@pytest.mark.parametrize(
    ("n_outside", "n", "agrees"),
    [
        (40, 1000, True),  # a factor of two
        (49, 1000, True),  # inside the expected interval
        (0, 100, True),  # the expectation is inside the interval of the test, 0 to 3.6 %
        (0, 1000, False),  # 0 to 0.37 % and 1 to 5 %
        (80, 1000, False),
    ],
)
def test_shares_agree_within_a_factor_or_an_interval(n_outside, n, agrees):
    (c,) = compare(CALIBRATION, [found(n_outside, n)], 500)
    assert (c.expected, c.expected_interval, c.agrees) == (0.02, (0.01, 0.05), agrees)
    assert c.found_all_interval == binomial_interval(n_outside + 10, n + 10)


def test_other_numbers_of_members_have_their_own_expectation():
    (c,) = compare(CALIBRATION, [found(80, 1000)], 100)
    assert (c.expected, c.expected_interval, c.agrees) == (0.08, None, True)
    (c,) = compare(CALIBRATION, [found(80, 1000)], 5)
    assert (c.expected, c.agrees) == (None, None)


@pytest.mark.parametrize(("ratio", "agrees"), [(1.6, True), (1.61, False), (0.39, False), (None, None)])
def test_ratios_agree_within_a_factor_of_two(ratio, agrees):
    (c,) = compare(CALIBRATION, [found(10, 1000, ratio)], 500)
    assert c.ratio_agrees is agrees


def test_what_was_only_expected_or_only_found_is_kept():
    force = replace(found(1, 10), kind=RowKind.FORCE)
    a, b = compare(CALIBRATION, [force], 500)
    assert (a.kind, a.expected, a.found, a.agrees) == (RowKind.ENERGY, 0.02, None, None)
    assert (b.kind, b.expected, b.found, b.agrees) == (RowKind.FORCE, None, 0.1, None)
    assert compare(None, [force], 500)[0].expected is None
    assert compare(None, [], 500) == ()


@given(st.integers(1, 5000))
def test_violation_of_any_number_of_members(members):
    share = violation_of(BY_MEMBERS, members)
    if not 20 <= members <= 2000:
        assert share is None
        return
    assert share is not None
    i = max(k for k, (m, _) in enumerate(BY_MEMBERS[:-1]) if m <= members)
    (m0, v0), (m1, v1) = BY_MEMBERS[i], BY_MEMBERS[i + 1]
    # A straight line in the logarithm; rounding only.
    assert share == pytest.approx(v0 + (v1 - v0) * np.log(members / m0) / np.log(m1 / m0), abs=1e-12)
