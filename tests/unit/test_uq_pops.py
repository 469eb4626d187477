"""POPS corrections and boxes against their definition, a formula-free search, and popsregression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
from polynomial import blocks, stream
from popsregression import POPSRegression

from snapuq.core.design import DesignBlock
from snapuq.uq.pops import (
    RULES,
    block_corrections,
    fit_box,
    pointwise_corrections,
    softness,
)
from snapuq.uq.streaming import LeastSquares, least_squares

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
        shift = pointwise_corrections(item, fit) @ fit.whitener.T
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
    expected = fit.theta + (pointwise_corrections(items[0], fit) @ fit.whitener.T)[1]
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
    ours = np.concatenate([pointwise_corrections(b, fit) for b in items]) @ fit.whitener.T
    assert np.allclose(ours, peer._pointwise_correction, rtol=1e-6, atol=1e-9)
    lower, upper = peer._hypercube_bounds
    box = fit_box(stream(items), fit, RULES["pointwise"])
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
        shift = fit.whitener @ block_corrections(item, fit)[0]
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
    assert np.allclose(block_corrections(item, fit)[0], z.T @ np.linalg.solve(gram, residual), atol=1e-12)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_correction_lies_in_the_box(rule: str) -> None:
    items = blocks(80, seed=6)
    fit = least_squares(stream(items))
    box = fit_box(stream(items), fit, RULES[rule])
    shifts = np.concatenate([RULES[rule].corrections(b, fit) for b in items]) @ fit.whitener.T
    along = np.linalg.lstsq(box.axes, shifts.T, rcond=None)[0].T
    slack = 1e-9 * (box.high - box.low).max()
    assert (along >= box.low - slack).all()
    assert (along <= box.high + slack).all()
    touched = np.isclose(along.min(axis=0), box.low, atol=slack)
    assert touched.all(), "the box is not the smallest"
    assert box.n_corrections == (len(items) if rule == "block" else sum(len(b.rows) for b in items))


def test_rows_without_leverage_have_no_correction() -> None:
    items = blocks(30, seed=7)
    fit = least_squares(stream(items))
    zero = items[0]
    object.__setattr__(zero, "rows", np.where(np.arange(len(zero.rows))[:, None] == 2, 0.0, zero.rows))
    assert len(pointwise_corrections(zero, fit)) == len(zero.rows) - 1
    assert len(pointwise_corrections(zero, fit) @ fit.whitener.T) == len(zero.rows) - 1


def test_dropped_variance_is_reported() -> None:
    items = blocks(80, seed=8)
    fit = least_squares(stream(items))
    wide = LeastSquares(fit.theta, fit.whitener * np.r_[1e-9, np.ones(5)], fit.n_rows, fit.condition)
    box = fit_box(stream(items), wide, RULES["pointwise"])
    assert box.axes.shape[1] < 6
    assert 0 <= box.dropped_variance < 1e-7
    assert fit_box(stream(items), fit, RULES["block"]).dropped_variance == 0.0
