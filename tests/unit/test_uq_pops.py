"""POPS corrections and boxes against their definition, a formula-free search, and popsregression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
from polynomial import blocks, stream
from popsregression import POPSRegression

from snapuq.core.design import DesignBlock
from snapuq.uq.leastsquares import LeastSquares, least_squares
from snapuq.uq.pops import (
    ISOTROPIC_SHARE,
    SCATTER_POWER,
    block_box,
    block_corrections,
    pointwise_box,
    pointwise_corrections,
    softness,
)

# The bar of the published form: a correction hits its own point to 1e-8 of the residual.
OWN_POINT = 1.0e-8


def weighted(items: list[DesignBlock]) -> tuple[np.ndarray, np.ndarray]:
    parts = [b.weighted() for b in items]
    return np.concatenate([r for r, _ in parts]), np.concatenate([t for _, t in parts])


def test_pointwise_optimum_hits_its_own_point() -> None:
    items = blocks(40, seed=1)
    fit = least_squares(stream(items))
    for item in items:
        rows, target = item.weighted()
        residual = target - rows @ fit.theta
        shift = pointwise_corrections([item], fit) @ fit.whitener.T
        assert np.all(np.abs(np.einsum("ip,ip->i", rows, shift) - residual) <= OWN_POINT * np.abs(residual))


def test_pointwise_optimum_is_the_constrained_minimiser_of_the_loss() -> None:
    items = blocks(12, seed=2)
    rows, target = weighted(items)
    fit = least_squares(stream(items))
    first = items[0].weighted()[0][1]
    constraint = {"type": "eq", "fun": lambda t: first @ t - items[0].weighted()[1][1]}
    found = scipy.optimize.minimize(
        lambda t: np.sum((rows @ t - target) ** 2),
        fit.theta,
        jac=lambda t: 2 * rows.T @ (rows @ t - target),
        constraints=[constraint],
        options={"ftol": 1e-14},
    )
    expected = fit.theta + (pointwise_corrections(items[:1], fit) @ fit.whitener.T)[1]
    # SLSQP stops at about the square root of its tolerance.
    assert np.allclose(found.x, expected, atol=1e-5)


def test_corrections_agree_with_popsregression() -> None:
    items = blocks(200, seed=3)
    rows, target = weighted(items)
    peer = POPSRegression(fit_intercept=False, leverage_percentile=0.0).fit(rows, target)
    # popsregression adds the ridge of its Bayesian prior; rows of the same ridge give us the same Hessian.
    ridge = np.sqrt(peer.lambda_ / peer.alpha_) * np.eye(6)
    prior = replace(
        items[0],
        identifier="prior",
        rows=ridge,
        target=np.zeros(6),
        baseline=np.zeros(6),
        weight=np.ones(6),
        kind=np.ones(6, dtype=np.int8),
        is_roundoff=np.zeros(6, dtype=bool),
    )
    fit = least_squares(stream([*items, prior]))
    assert np.allclose(fit.theta, peer.coef_, rtol=1e-8)
    ours = pointwise_corrections(items, fit) @ fit.whitener.T
    assert np.allclose(ours, peer._pointwise_correction, rtol=1e-6, atol=1e-9)
    lower, upper = peer._hypercube_bounds
    box = pointwise_box(stream(items), fit)
    # Axes agree up to sign, so compare the set of box widths.
    assert np.allclose(np.sort(box.high - box.low), np.sort(upper - lower), rtol=1e-6)


def test_block_correction_without_softness_fits_the_whole_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = blocks(60, seed=4)
    fit = least_squares(stream(items))
    monkeypatch.setattr("snapuq.uq.pops.SOFTNESS", 1e-13)
    for item in items[:10]:
        rows, target = item.weighted()
        shift = fit.whitener @ block_corrections([item], fit)[0]
        # Nearly parallel rows leave a remainder of about tau over the smallest eigenvalue of G.
        assert np.allclose(rows @ (fit.theta + shift), target, atol=1e-6)


def test_both_forms_of_the_block_solve_agree() -> None:
    items = blocks(60, seed=5, points=9)
    fit = least_squares(stream(items))
    item = items[0]
    rows, target = item.weighted()
    z, residual = rows @ fit.whitener, target - rows @ fit.theta
    gram = z @ z.T + softness(fit) * np.eye(len(z))
    assert len(z) > fit.rank
    assert np.allclose(block_corrections([item], fit)[0], z.T @ np.linalg.solve(gram, residual), atol=1e-12)


def test_every_pointwise_correction_lies_in_the_smallest_box() -> None:
    items = blocks(80, seed=6)
    fit = least_squares(stream(items))
    box = pointwise_box(stream(items), fit)
    shifts = pointwise_corrections(items, fit) @ fit.whitener.T
    along = np.linalg.lstsq(box.axes, shifts.T, rcond=None)[0].T
    slack = 1e-9 * (box.high - box.low).max()
    assert (along >= box.low - slack).all()
    assert (along <= box.high + slack).all()
    assert np.isclose(along.min(axis=0), box.low, atol=slack).all(), "the box is not the smallest"
    assert box.n_corrections == sum(len(b.rows) for b in items)


def test_block_box_has_the_covariance_of_the_robust_scatter() -> None:
    items = blocks(80, seed=6)
    fit = least_squares(stream(items))
    box = block_box(stream(items), fit)
    d = block_corrections(items, fit)
    length = np.linalg.norm(d, axis=1) ** SCATTER_POWER
    scatter = sum(np.outer(x, x) / w for x, w in zip(d, length, strict=True)) / len(d) * length.mean()
    scatter = (1 - ISOTROPIC_SHARE) * scatter + ISOTROPIC_SHARE * np.trace(scatter) / 6 * np.eye(6)
    # A uniform number in [-a, a] has the variance a^2 / 3.
    covariance = box.axes @ np.diag(box.high**2 / 3.0) @ box.axes.T
    expected = fit.whitener @ scatter @ fit.whitener.T
    assert np.allclose(covariance, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    assert np.array_equal(box.low, -box.high)
    assert box.n_corrections == len(items)


def test_an_outlier_moves_the_box_less_than_a_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    items = blocks(80, seed=6)
    odd = [replace(items[0], target=items[0].target + 100.0), *items[1:]]

    def growth() -> float:
        plain, moved = (block_box(stream(x), least_squares(stream(x))) for x in (items, odd))
        return float(moved.high.max() / plain.high.max())

    robust = growth()
    monkeypatch.setattr("snapuq.uq.pops.SCATTER_POWER", 0.0)
    assert robust < 0.8 * growth()


def test_block_box_of_scaled_errors_scales() -> None:
    items = blocks(50, seed=9)
    fit = least_squares(stream(items))
    twice = [replace(b, target=2 * b.target) for b in items]
    a, b = block_box(stream(items), fit), block_box(stream(twice), least_squares(stream(twice)))
    assert np.allclose(b.high, 2 * a.high, rtol=1e-8)


def test_rows_without_leverage_have_no_correction() -> None:
    items = blocks(30, seed=7)
    fit = least_squares(stream(items))
    zero = items[0]
    object.__setattr__(zero, "rows", np.where(np.arange(len(zero.rows))[:, None] == 2, 0.0, zero.rows))
    assert len(pointwise_corrections([zero], fit)) == len(zero.rows) - 1
    assert len(pointwise_corrections([zero], fit) @ fit.whitener.T) == len(zero.rows) - 1


def test_dropped_variance_is_reported() -> None:
    items = blocks(80, seed=8)
    fit = least_squares(stream(items))
    wide = LeastSquares(fit.theta, fit.whitener * np.r_[1e-9, np.ones(5)], fit.n_rows, fit.condition)
    box = pointwise_box(stream(items), wide)
    assert box.axes.shape[1] < 6
    assert 0 <= box.dropped_variance < 1e-7
    assert block_box(stream(items), fit).dropped_variance == 0.0
