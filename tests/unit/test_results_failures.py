"""What missing and flagged members do to an envelope: against brute force, and in words."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.core.result import PropertyResult, Quantity
from snapuq.results.failures import failure_warnings, narrowing
from snapuq.results.table import summarise

# Sums of at most 9 terms of size one, each with a few roundings.
ROUNDING = 1e-14


@given(
    values=st.lists(st.integers(-50, 50), min_size=2, max_size=9).filter(lambda v: len(set(v)) > 1),
    data=st.data(),
)
def test_narrowing_is_the_mean_over_all_subsets(values, data):
    missing = data.draw(st.integers(0, len(values) - 1))
    ranges = [max(s) - min(s) for s in combinations(values, len(values) - missing)]
    expected = 1.0 - np.mean(ranges) / (max(values) - min(values))
    assert narrowing(np.array(values, float), missing) == pytest.approx(expected, abs=ROUNDING)


def test_narrowing_of_a_uniform_sample_agrees_with_the_known_expectation():
    # E[range] of m uniform numbers is (m - 1) / (m + 1); the mean over samples must lead there.
    rng = np.random.default_rng(1)
    kept, missing, samples = 45, 5, 4000
    values = rng.random((samples, kept + missing))
    lost = [narrowing(v, missing) * np.ptp(v) for v in values]
    expected = 49 / 51 - 44 / 46
    # Four standard errors of the mean.
    assert np.mean(lost) == pytest.approx(expected, abs=4 * np.std(lost) / np.sqrt(samples))


def test_narrowing_where_nothing_can_be_said():
    assert narrowing(np.array([]), 0) is None
    assert narrowing(np.array([1.0]), 0) is None
    assert narrowing(np.array([2.0, 2.0, 2.0]), 1) is None
    assert narrowing(np.array([1.0, 2.0]), 2) is None
    assert narrowing(np.array([1.0, 2.0]), 0) == 0.0
    assert narrowing(np.array([1.0, np.nan, 2.0]), 1) is None


def test_narrowing_of_many_members_neither_overflows_nor_leaves_its_range():
    values = np.random.default_rng(0).standard_normal(5000)
    lost = [narrowing(values, f) for f in (1, 10, 100, 2500, 4999)]
    assert lost == sorted(lost) and lost[0] > 0 and lost[-1] == 1.0


def results(n: int = 100, quantities: int = 1, **changes) -> list[PropertyResult]:
    """Members 1 to n with values 1 to n, in which ``changes`` names the members concerned."""
    found = []
    for m in range(1, n + 1):
        state: dict[str, object] = {}
        if m in changes.get("unconverged", ()):
            state["converged"] = False
        if m in changes.get("reconfigured", ()):
            state["reconfigured"] = True
        values = {f"q{i}": Quantity(m / 10 ** (2 * i), "eV") for i in range(quantities)}
        for reason in ("time_limit", "crashed"):
            if m in changes.get(reason, ()):
                state, values = {"failure": reason, "converged": False}, {}
        found.append(PropertyResult(f"v{m}", "vacancy", m, values, **state))
    return found


def test_two_percent_are_no_warning_and_more_are():
    assert failure_warnings(summarise(results(time_limit=(1, 2)))) == ()
    assert len(failure_warnings(summarise(results(time_limit=(1, 2, 3))))) == 1
    assert (
        len(failure_warnings(summarise(results(time_limit=(1,), unconverged=(2,), reconfigured=(3,))))) == 1
    )
    # One member with two flags is one member.
    both = results(unconverged=(1, 2), reconfigured=(1, 2))
    assert failure_warnings(summarise(both)) == ()


def test_a_warning_names_counts_reasons_and_the_effect():
    lines = failure_warnings(
        summarise(results(reconfigured=range(91, 101), time_limit=(40, 41), crashed=(42,)))
    )
    (line,) = lines
    # Of 97 equidistant values 94 at random lose 3 / 95 of a step at each end; the width is 99 steps.
    assert line == (
        "vacancy: 13 of 100 members gave no sound value (10 reconfigured, 2 time_limit, 1 crashed); "
        "without the 10 flagged the envelope of q0 is [1.0, 90.0] instead of [1.0, 100.0] eV; "
        "the envelope lacks the 3 without a value, about 0.064 % of its width if they are like the others, "
        "more if not"
    )


def test_one_line_for_a_property_of_several_quantities_shows_the_worst():
    found = results(quantities=3, reconfigured=range(91, 101))
    wild = dict(found[99].values) | {"q1": Quantity(50.0, "eV")}
    found[99] = PropertyResult("v", "vacancy", 100, wild, reconfigured=True)
    (line,) = failure_warnings(summarise(found))
    assert "the envelope of q1, which changes most, is [0.0, 0.9] instead of [0.0, 50.0] eV" in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reconfigured": range(40, 50)}, "leaving out the 10 flagged changes no envelope"),
        ({"reconfigured": range(1, 101)}, "no member with a value is free of flags"),
        ({"crashed": range(1, 101)}, "no envelope is known"),
        ({"crashed": range(1, 61)}, "the envelope lacks the 60 without a value and may be far too narrow"),
    ],
)
def test_extreme_cases_are_said_in_words(changes, said):
    (line,) = failure_warnings(summarise(results(**changes)))
    assert line.endswith(said)
    assert "None" not in line and "nan" not in line
