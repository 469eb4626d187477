"""Streamed least squares against scipy on the whole matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from polynomial import blocks, stream

from snapuq.core.design import DesignBlock
from snapuq.errors import InputError
from snapuq.uq.leastsquares import RANK_TOLERANCE, fold_factors, least_squares, merge_all
from snapuq.uq.streaming import DesignStream, plan_lanes

# Two orthogonal factorisations of the same matrix agree to round-off times its condition number (< 1e3).
PREDICTION_TOLERANCE = 1.0e-10


def whole(items: list[DesignBlock]) -> tuple[np.ndarray, np.ndarray]:
    parts = [b.weighted() for b in items]
    return np.concatenate([r for r, _ in parts]), np.concatenate([t for _, t in parts])


def test_minimiser_equals_scipy() -> None:
    items = blocks(60, seed=1)
    rows, target = whole(items)
    expected = scipy.linalg.lstsq(rows, target)[0]
    fit = least_squares(stream(items))
    assert np.abs(rows @ (fit.theta - expected)).max() < PREDICTION_TOLERANCE
    assert fit.rank == 6


def test_leverages_are_the_hat_matrix_diagonal() -> None:
    items = blocks(30, seed=2)
    rows, _ = whole(items)
    hat = rows @ np.linalg.pinv(rows)
    fit = least_squares(stream(items))
    assert np.allclose(np.sum((rows @ fit.whitener) ** 2, axis=1), np.diag(hat), atol=1e-12)


def test_result_does_not_depend_on_chunk_size_beyond_roundoff() -> None:
    items = blocks(50, seed=3)
    a, b = (least_squares(stream(items, per_chunk=n)).theta for n in (2, 50))
    assert np.allclose(a, b, rtol=0, atol=1e-11)


def test_wildly_different_column_scales_are_harmless() -> None:
    items = blocks(60, seed=4)
    factors = 10.0 ** np.array([-12.0, -6.0, 0.0, 6.0, 9.0, 12.0])
    scaled = [replace(b, rows=b.rows * factors) for b in items]
    plain, other = least_squares(stream(items)), least_squares(stream(scaled))
    assert other.rank == 6
    assert np.allclose(other.theta * factors, plain.theta, rtol=1e-9)


@pytest.mark.parametrize("defect", ["zero", "duplicate", "constant"])
def test_rank_deficient_columns_predict_like_scipy(defect: str) -> None:
    items = blocks(40, seed=5)

    def spoil(rows: np.ndarray) -> np.ndarray:
        spoilt = rows.copy()
        spoilt[:, 4] = {"zero": 0.0, "duplicate": rows[:, 1], "constant": rows[:, 0]}[defect]
        return spoilt

    items = [replace(b, rows=spoil(b.rows)) for b in items]
    rows, target = whole(items)
    fit = least_squares(stream(items))
    expected = scipy.linalg.lstsq(rows, target, cond=RANK_TOLERANCE)[0]
    assert fit.rank == 5
    assert np.abs(rows @ (fit.theta - expected)).max() < PREDICTION_TOLERANCE


def test_rows_of_weight_zero_do_not_count() -> None:
    items = blocks(40, seed=6)
    spoilt = [replace(b, weight=np.where(np.arange(len(b.weight)) == 1, 0.0, b.weight)) for b in items]
    wrong = [replace(b, target=np.where(b.weight == 0, 1e6, b.target)) for b in spoilt]
    assert np.array_equal(least_squares(stream(spoilt)).theta, least_squares(stream(wrong)).theta)


def test_fewer_rows_than_columns_give_the_solution_of_least_norm_in_scaled_columns() -> None:
    items = blocks(1, seed=7)
    rows, target = whole(items)
    fit = least_squares(stream(items, folds=1))
    norms = np.linalg.norm(rows, axis=0)
    expected = scipy.linalg.lstsq(rows / norms, target)[0] / norms
    assert fit.rank == 4
    assert np.allclose(fit.theta, expected, rtol=1e-8)


def test_lanes_cover_every_chunk_once_whatever_their_number() -> None:
    items = blocks(90, seed=10)
    expected = whole(items)[0].sum(axis=0)
    for n_lanes in (1, 2, 3, 8, 64):
        s = replace(stream(items), n_lanes=n_lanes)
        found = s.reduce(lambda bs: sum(b.weighted()[0].sum(axis=0) for b in bs), np.add)
        assert np.allclose(found, expected, rtol=1e-12)
        assert np.allclose(least_squares(s).theta, least_squares(stream(items)).theta, atol=1e-11)


def test_merging_factors_equals_factoring_the_stacked_rows() -> None:
    items = blocks(60, seed=11)
    factors = fold_factors(stream(items))
    rows, target = whole(items)
    expected = np.linalg.qr(np.column_stack([rows, target]), mode="r")
    merged = merge_all(list(factors.values()))
    assert merged.n_rows == len(rows)
    assert np.allclose(np.abs(merged.triangle), np.abs(expected), atol=1e-11)
    # The factors are used again for other subsets of folds, so merging leaves them alone.
    again = merge_all(list(factors.values()))
    assert np.array_equal(merged.triangle, again.triangle)


def test_whitening_by_triangle_equals_the_plain_product() -> None:
    items = blocks(60, seed=12)
    fit = least_squares(stream(items))
    rows, _ = whole(items)
    before = rows.copy()
    assert np.allclose(fit.whiten(rows), rows @ fit.whitener, atol=1e-12)
    assert np.array_equal(rows, before)
    assert fit.whiten(rows[:0]).shape == (0, 6)


@given(n_rows=st.integers(0, 10**9), n_columns=st.integers(1, 20_000), n_chunks=st.integers(1, 10**6))
def test_lanes_are_planned_from_the_problem_alone(n_rows: int, n_columns: int, n_chunks: int) -> None:
    assert 1 <= plan_lanes(n_rows, n_columns, n_chunks) <= min(n_chunks, 64)


def test_infinite_row_names_the_configuration() -> None:
    items = blocks(10, seed=8)
    rows = items[3].rows.copy()
    rows[1, 1] = np.inf
    items[3] = replace(items[3], rows=rows)
    with pytest.raises(InputError, match="c3"):
        least_squares(stream(items))


def test_folds_are_kept_and_left_out_whole() -> None:
    full: DesignStream = stream(blocks(50, seed=9))

    def names(part: DesignStream) -> set[str]:
        return {b.identifier for i in part.held for b in part.chunks[i]}

    assert len(names(full.without(2))) == 40
    assert len(names(full.only(2))) == 10
    assert names(full.without(2)) | names(full.only(2)) == names(full)
