"""The boxes of popsregression: 0.4 against the package itself, 0.5 against its definition on whole arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from polynomial import blocks, stream
from popsregression import POPSRegression
from sklearn.linear_model import BayesianRidge

from snapuq.core.design import DesignBlock
from snapuq.uq.bayesian import bayesian_fit
from snapuq.uq.leastsquares import triangular_factor
from snapuq.uq.pops import Box
from snapuq.uq.popsregression import POINT_RULES, PointRule, choose_points, fit_points
from snapuq.uq.streaming import DesignStream

# Round-off times the condition number of the polynomial (1e2), squared in the package's explicit inverse.
AGREEMENT = 1.0e-9


def whole(items: list[DesignBlock]) -> tuple[np.ndarray, np.ndarray]:
    parts = [b.weighted() for b in items]
    return np.concatenate([r for r, _ in parts]), np.concatenate([t for _, t in parts])


def box_of(items: DesignStream, rule: PointRule) -> Box:
    fit, _ = bayesian_fit(items, triangular_factor(items))
    return fit_points(choose_points(items, fit, rule), fit, rule)


def definition(rows: np.ndarray, target: np.ndarray, relative: float) -> tuple[np.ndarray, np.ndarray]:
    """Corrections of popsregression 0.5 from its documentation, and which of them enter."""
    peer = BayesianRidge(fit_intercept=False).fit(rows, target)
    direction = rows @ (peer.alpha_ * peer.sigma_)
    error = target - rows @ peer.coef_
    leverage = np.maximum(np.sum(direction * rows, axis=1), 1.0e-6)
    enters = np.abs(error) >= relative * np.sqrt(np.mean(error**2))
    return direction * (error / leverage)[:, None], enters


def assert_same_box(box: Box, axes: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Same axes up to their signs, and the same bounds."""
    sign = np.sign(np.sum(box.axes * axes, axis=0))
    assert np.allclose(box.axes * sign, axes, atol=AGREEMENT)
    ours = np.sort([sign * box.low, sign * box.high], axis=0)
    assert np.allclose(ours, [low, high], atol=AGREEMENT * np.abs([low, high]).max())


@pytest.mark.parametrize("percentile", [0.0, 50.0, 90.0])
@pytest.mark.parametrize("clipping", [0.0, 3.0])
def test_same_posterior_as_popsregression_0_4(percentile: float, clipping: float) -> None:
    items = blocks(150, seed=1)
    peer = POPSRegression(leverage_percentile=percentile, percentile_clipping=clipping).fit(*whole(items))
    rule = replace(
        POINT_RULES["popsregression-0.4"], leverage_percentile=percentile, percentile_clipping=clipping
    )
    box = box_of(stream(items), rule)
    assert box.n_corrections == peer._leverage_mask.sum()
    assert_same_box(box, peer._hypercube_support, *peer._hypercube_bounds)


def test_default_of_0_4_is_the_default_of_the_package() -> None:
    defaults = POPSRegression()
    rule = POINT_RULES["popsregression-0.4"]
    assert rule.leverage_percentile == defaults.leverage_percentile
    assert rule.axis_cut == defaults.mode_threshold
    assert rule.percentile_clipping == defaults.percentile_clipping
    assert rule.leverage_floor == 0.0


@pytest.mark.parametrize("relative", [0.0, 0.01, 1.0])
def test_same_posterior_as_popsregression_0_5_is_documented(relative: float) -> None:
    items = blocks(150, seed=2)
    corrections, enters = definition(*whole(items), relative)
    chosen = corrections[enters]
    values, axes = np.linalg.eigh(chosen.T @ chosen)
    axes = axes[:, values > 1.0e-8 * values[-1]]
    box = box_of(stream(items), replace(POINT_RULES["popsregression-0.5"], minimum_relative_error=relative))
    assert box.n_corrections == len(chosen)
    assert_same_box(box, axes, (chosen @ axes).min(axis=0), (chosen @ axes).max(axis=0))


def test_small_leverages_of_0_5_are_floored() -> None:
    items = blocks(60, seed=3)
    tiny = replace(items[0], rows=items[0].rows * 1e-4)
    items[0] = tiny
    corrections, _ = definition(*whole(items), 0.0)
    n = len(tiny.rows)
    fit, _ = bayesian_fit(stream(items), triangular_factor(stream(items)))
    rows, target = tiny.weighted()
    z = fit.whiten(rows)
    leverage = np.einsum("ir,ir->i", z, z)
    assert (leverage < 1.0e-6).any()
    factor = POINT_RULES["popsregression-0.5"].factors(leverage, target - rows @ fit.theta)
    assert np.allclose(
        (z * factor[:, None]) @ fit.whitener.T, corrections[:n], atol=1e-9 * np.abs(corrections).max()
    )


def test_no_qualifying_point_means_all() -> None:
    items = blocks(40, seed=4)
    rule = replace(POINT_RULES["popsregression-0.5"], minimum_relative_error=1.0e9)
    assert box_of(stream(items), rule).n_corrections == len(whole(items)[1])


def test_zero_rows_have_zero_corrections() -> None:
    items = blocks(40, seed=5)
    items[0] = replace(items[0], rows=np.zeros_like(items[0].rows))
    peer = POPSRegression(leverage_percentile=0.0).fit(*whole(items))
    box = box_of(stream(items), PointRule(leverage_percentile=0.0))
    assert box.n_corrections == len(peer._leverage_mask)
    assert_same_box(box, peer._hypercube_support, *peer._hypercube_bounds)


def test_rows_of_weight_zero_do_not_exist() -> None:
    items = blocks(60, seed=6)
    zero = replace(items[0], weight=np.zeros(len(items[0].weight)))
    with_zero = box_of(stream([*items, zero], folds=1), POINT_RULES["popsregression-0.4"])
    without = box_of(stream(items, folds=1), POINT_RULES["popsregression-0.4"])
    assert with_zero.n_corrections == without.n_corrections
    assert np.allclose(np.abs(with_zero.axes), np.abs(without.axes), atol=AGREEMENT)


@pytest.mark.parametrize("name", sorted(POINT_RULES))
def test_chunks_do_not_matter(name: str) -> None:
    items = blocks(90, seed=7)
    a, b = (box_of(stream(items, folds=1, per_chunk=n), POINT_RULES[name]) for n in (3, 90))
    assert a.n_corrections == b.n_corrections
    assert np.allclose(np.abs(a.axes), np.abs(b.axes), atol=AGREEMENT)


def test_perfect_fit_has_an_empty_box() -> None:
    items = [replace(b, target=np.zeros_like(b.target)) for b in blocks(40, seed=8)]
    box = box_of(stream(items), POINT_RULES["popsregression-0.4"])
    assert box.axes.shape == (6, 0)
    assert len(box.low) == 0
