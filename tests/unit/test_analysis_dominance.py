"""Which configurations hold most of the error."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.analysis.dominance import dominance
from snapuq.core.design import RowKind
from snapuq.core.pointwise import PointwiseTable


def table(names, error, std, kind=0, roundoff=False) -> PointwiseTable:
    n, error = len(names), np.asarray(error, dtype=float)
    zero = np.zeros(n)
    return PointwiseTable(
        identifier=np.asarray(list(names), dtype=np.str_),
        group=np.array([f"group of {name}" for name in names], dtype=np.str_),
        kind=np.broadcast_to(np.int8(kind), n),
        truth=error,
        mle=zero,
        mean=zero,
        std=np.broadcast_to(std, n).astype(float),
        minimum=zero,
        maximum=zero,
        leverage=zero,
        is_roundoff=np.broadcast_to(roundoff, n),
    )


def test_the_least_covered_of_the_dominating_come_first():
    # Summed errors 6, 5, 5, 4 of 20: two hold 11, and b has the smaller std.
    names = list("aabbccdd")
    found = dominance(table(names, [3, -3, 5, 0, 1, 4, 2, 2], [3, 3, 1, 1, 9, 9, 0.1, 0.1]), RowKind.ENERGY)
    assert found is not None
    assert (found.n_configurations, found.n_dominating) == (4, 2)
    assert [o.identifier for o in found.outliers] == ["b", "a"]
    first = found.outliers[0]
    assert (first.group, first.share, first.error, first.std) == ("group of b", 0.25, 2.5, 1.0)
    assert first.ratio == pytest.approx(2.5)


def test_only_sound_rows_of_the_kind_count():
    assert dominance(table("ab", [1, 1], 1.0, kind=1), RowKind.ENERGY) is None
    assert dominance(table("ab", [1, 1], 1.0, roundoff=True), RowKind.ENERGY) is None
    assert dominance(table("ab", [0, 0], 1.0), RowKind.ENERGY) is None
    assert dominance(table([], [], 1.0), RowKind.ENERGY) is None


def test_no_width_is_the_worst_of_all():
    found = dominance(table("ab", [1, 1.5], [0, 0]), RowKind.ENERGY)
    assert found is not None and found.outliers[0].ratio == np.inf


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9))
def test_no_fewer_configurations_hold_half(errors):
    found = dominance(table([f"c{i}" for i in range(len(errors))], errors, 1.0), RowKind.ENERGY)
    assert found is not None
    fewest = next(
        n
        for n in range(1, len(errors) + 1)
        if any(2 * sum(some) >= sum(errors) for some in combinations(errors, n))
    )
    assert found.n_dominating == fewest
    assert len(found.outliers) == min(5, fewest)
