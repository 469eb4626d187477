"""Metrics against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, norm, spearmanr

from snapuq.analysis.calibration import (
    GAUSSIAN_RATIO,
    binomial_interval,
    extrapolating_groups,
    extrapolating_share,
    gaussian_coverage,
    group_metrics,
    metrics,
    miscalibration_area,
)
from snapuq.analysis.property_scores import error_over_std, property_scores
from snapuq.core.design import RowKind
from snapuq.core.pointwise import PointwiseTable
from snapuq.core.result import PropertySummary


def table(error, std, half_range, kind=0, group=None, roundoff=None) -> PointwiseTable:
    error = np.asarray(error, dtype=float)
    n = len(error)
    std, half_range = np.broadcast_to(std, n).astype(float), np.broadcast_to(half_range, n).astype(float)
    return PointwiseTable(
        identifier=np.array([f"c{i}" for i in range(n)]),
        group=np.full(n, "g") if group is None else np.asarray(group),
        kind=np.broadcast_to(np.int8(kind), n),
        truth=error,
        mle=np.zeros(n),
        mean=np.zeros(n),
        std=std,
        minimum=-half_range,
        maximum=half_range,
        leverage=np.full(n, 0.5),
        is_roundoff=np.zeros(n, bool) if roundoff is None else np.asarray(roundoff),
    )


def gaussian(n: int) -> np.ndarray:
    """Quantiles of a standard normal: its statistics without its noise."""
    return norm.ppf((np.arange(n) + 0.5) / n)


def test_gaussian_errors_give_the_textbook_numbers():
    n = 20_001
    std = 0.3
    (m,) = metrics(table(std * gaussian(n), std, 2.5 * std))
    # Quantiles instead of draws: what remains is the discretisation of the tails, of order 1/n.
    assert m.rmse == pytest.approx(std, rel=1e-3)
    assert m.error_over_std == pytest.approx(np.sqrt(2 / np.pi), rel=1e-3)
    assert m.within_1std == pytest.approx(norm.cdf(1) - norm.cdf(-1), abs=1e-4)
    assert m.within_2std == pytest.approx(norm.cdf(2) - norm.cdf(-2), abs=1e-4)
    assert m.violation == pytest.approx(2 * norm.sf(2.5), abs=1e-4)
    assert m.miscalibration_area == pytest.approx(0.0, abs=1e-4)
    assert m.predicted_over_actual == pytest.approx(2.5 / GAUSSIAN_RATIO, rel=1e-3)
    assert m.spearman is None  # one width for all tells nothing about the order


@pytest.mark.parametrize("factor", [0.25, 0.8, 1.6, 5.0])
def test_miscalibration_area_of_a_wrong_width(factor):
    def gap(p: float) -> float:
        observed = 2 * norm.cdf(factor * norm.ppf((1 + p) / 2)) - 1
        return abs(observed - p)

    expected = quad(gap, 0, 1, limit=200)[0]
    (m,) = metrics(table(gaussian(20_001), factor, 1.0))
    assert m.miscalibration_area == pytest.approx(expected, abs=1e-4)  # 1/n discretisation


@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_miscalibration_area_equals_a_fine_grid(n):
    coverage = np.random.default_rng(n).random(n) ** 2
    p = (np.arange(400_000) + 0.5) / 400_000
    observed = np.searchsorted(np.sort(coverage), p, side="right") / n
    # Midpoint rule on a step function: the error is at most n steps of 2.5e-6.
    assert miscalibration_area(coverage) == pytest.approx(np.mean(np.abs(observed - p)), abs=n * 2.5e-6)


def test_worst_cases_of_the_area():
    assert miscalibration_area(np.zeros(5)) == pytest.approx(0.5)
    assert miscalibration_area(np.ones(5)) == pytest.approx(0.5)
    assert miscalibration_area(np.empty(0)) is None


def test_zero_std_is_quiet_and_extreme():
    coverage = gaussian_coverage(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0]))
    assert coverage.tolist() == pytest.approx([0.0, 1.0, norm.cdf(1) - norm.cdf(-1)])
    (m,) = metrics(table([0.0, 1e-17, 1e-17], 0.0, 0.0, roundoff=[True, True, True]))
    assert (m.count, m.n_roundoff, m.n_violations, m.n_violations_all) == (0, 3, 0, 2)
    assert m.violation is None and m.rmse is None and m.violation_all == pytest.approx(2 / 3)


def test_roundoff_rows_count_in_one_figure_only():
    m = metrics(
        table([0.5, 2.0, 1e-15, 0.1], [1, 1, 0, 1], [1, 1, 0, 1], roundoff=np.array([0, 0, 1, 0], bool))
    )[0]
    assert (m.count, m.n_roundoff) == (3, 1)
    assert m.violation == pytest.approx(1 / 3)
    assert m.violation_all == pytest.approx(2 / 4)
    assert m.mae == pytest.approx(2.6 / 3)


@pytest.mark.parametrize(("k", "n"), [(0, 20), (3, 50), (49, 50), (20, 20), (45, 3000)])
def test_binomial_interval_is_clopper_pearson(k, n):
    low, high = binomial_interval(k, n)
    # Clopper and Pearson's bounds as quantiles of a beta distribution; the root finder stops at 1e-12.
    assert low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0.0, abs=1e-9)
    assert high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1.0, abs=1e-9)
    (m,) = metrics(table(np.r_[np.full(k, 2.0), np.zeros(n - k)], 1.0, 1.0))
    assert (m.n_violations, m.violation_low, m.violation_high) == (k, low, high)


def test_no_trial_no_interval():
    assert binomial_interval(0, 0) == (None, None)


def test_spearman_equals_scipy():
    rng = np.random.default_rng(2)
    width = np.exp(rng.normal(size=300))
    error = width * rng.normal(size=300)
    (m,) = metrics(table(error, width, 3 * width))
    assert m.spearman == pytest.approx(spearmanr(np.abs(error), width).statistic, rel=1e-12)


def test_kinds_and_groups_are_kept_apart():
    kind = np.array([0, 0, 1, 1, 1], dtype=np.int8)
    data = table([1.0, 3.0, 10.0, 20.0, 30.0], 1.0, 2.0, kind=kind, group=["b", "a", "a", "b", "b"])
    both = metrics(data)
    assert [(m.kind, m.group, m.count) for m in both] == [(RowKind.ENERGY, None, 2), (RowKind.FORCE, None, 3)]
    parts = group_metrics(data)
    assert [(m.kind, m.group, m.mae) for m in parts] == [
        (RowKind.ENERGY, "a", 3.0),
        (RowKind.ENERGY, "b", 1.0),
        (RowKind.FORCE, "a", 10.0),
        (RowKind.FORCE, "b", 25.0),
    ]


def with_leverage(leverage, names, groups, roundoff=None) -> PointwiseTable:
    part = table(np.ones(len(names)), 1.0, 2.0, group=groups, roundoff=roundoff)
    return replace(part, identifier=np.array(names), leverage=np.asarray(leverage, dtype=float))


def test_configurations_extrapolate_by_any_row():
    names, groups = list("aaabbcdd"), list("xxxxxxyy")
    leverage = [0.2, 1.5, 9.0, 0.1, 1.0, np.nan, 0.1, 1.1]
    data = with_leverage(leverage, names, groups)
    (m,) = metrics(data)
    # c is unknown, b is as large as the largest of training, a and d are larger.
    assert m.extrapolates == pytest.approx(2 / 3)
    assert [(g.group, g.extrapolates) for g in group_metrics(data)] == [("x", 0.5), ("y", 1.0)]
    assert extrapolating_groups(data) == (("y", 1.0),)


def test_roundoff_rows_and_unknown_leverages_tell_nothing():
    rows = (list("ab"), list("xy"))
    assert extrapolating_share(with_leverage([9.0, 0.5], *rows, roundoff=[True, False])) == 0.0
    unknown = with_leverage([np.nan, np.nan], *rows)
    assert extrapolating_share(unknown) is None and extrapolating_groups(unknown) == ()
    # No such row in training: the relative leverage is infinite.
    assert extrapolating_share(with_leverage([np.inf, 0.5], *rows)) == 0.5


def test_no_row_no_metric():
    assert metrics(table([], 1.0, 1.0)) == ()
    assert group_metrics(table([], 1.0, 1.0)) == ()


def summary(quantity: str, mle, std, low, high, reference) -> PropertySummary:
    return PropertySummary("p", quantity, "eV", mle, mle, std, low, high, {}, reference, 10, 0, 0, 0, {})


def test_property_scores_by_hand():
    scores = property_scores(
        [
            summary("inside", 10.0, 1.0, 7.0, 13.0, 12.0),
            summary("outside", -4.0, 0.2, -4.5, -3.5, -3.0),
            summary("no_reference", 2.0, 0.1, 1.0, 3.0, None),
            summary("all_failed", None, None, None, None, 1.0),
            summary("nan", 1.0, float("nan"), float("nan"), float("nan"), 1.0),
            summary("exact", 0.0, 0.0, 0.0, 0.0, 0.0),
        ]
    )
    assert (scores.n_quantities, scores.n_reference, scores.n_inside) == (6, 5, 2)
    assert scores.share_inside == pytest.approx(0.4)
    assert scores.outside == ("p: outside",)
    assert scores.undecided == ("p: all_failed", "p: nan")
    assert scores.median_relative_std == pytest.approx(0.05)  # of 0.1, 0.05, 0.05
    assert scores.mean_error_over_std == pytest.approx((2.0 + 5.0) / 2)
    assert scores.median_error_over_std == pytest.approx(3.5)


def test_property_scores_of_nothing():
    scores = property_scores([])
    assert (scores.n_quantities, scores.share_inside, scores.median_relative_std) == (0, None, None)


def test_numpy_numbers_count_like_python_ones():
    numbers = [np.float64(v) for v in (1.0, 0.5, 0.0, 2.0, 1.5)]
    assert property_scores([summary("q", *numbers)]).n_inside == 1
    assert error_over_std(summary("q", *numbers)) == pytest.approx(1.0)
