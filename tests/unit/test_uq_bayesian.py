"""Ridge and evidence from the triangular factor against scikit-learn on the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polynomial import blocks, stream
from sklearn.linear_model import BayesianRidge, Ridge

from snapuq.errors import InputError
from snapuq.uq.bayesian import EvidencePrior, bayesian_fit, maximise_evidence, ridge_fit
from snapuq.uq.leastsquares import Factor, least_squares, triangular_factor

# Both factorise backward stably; what is left is round-off times the condition number (1e5) of the design.
AGREEMENT = 1.0e-9


def problem(n: int, p: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features over five orders of magnitude, and a target that they cannot represent."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.logspace(0, -5, p) @ rng.normal(size=(p, p))
    return x, np.tanh(x[:, 0]) + 0.1 * rng.normal(size=n) ** 2 + 2.0


def factor(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> Factor:
    """Triangular factor by numpy, padded as the streamed one is."""
    root = np.sqrt(np.ones(len(y)) if weight is None else weight)
    size = x.shape[1] + 1
    padded = np.vstack([np.column_stack([x, y]) * root[:, None], np.zeros((size, size))])
    return Factor(np.asfortranarray(np.linalg.qr(padded, mode="r")), int((root > 0).sum()))


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Agreement relative to the largest number."""
    return bool(np.abs(a - b).max() <= AGREEMENT * np.abs(b).max())


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 60),
    p=st.integers(1, 20),
    seed=st.integers(0, 10_000),
    intercept=st.booleans(),
    weighted=st.booleans(),
)
def test_evidence_equals_scikit_learn(n: int, p: int, seed: int, intercept: bool, weighted: bool) -> None:
    x, y = problem(n, p, seed)
    # Weights below 1 may sum to less than the number of coefficients, where scikit-learn gives nonsense.
    weight = np.random.default_rng(seed).uniform(1.0, 2.0, n) if weighted else np.ones(n)
    peer = BayesianRidge(fit_intercept=intercept, compute_score=True)
    peer.fit(x, y, sample_weight=weight if weighted else None)
    columns = np.column_stack([np.ones(n), x]) if intercept else x
    mean = np.average(y, weights=weight)
    variance = np.average((y - mean) ** 2, weights=weight)
    found = maximise_evidence(factor(columns, y, weight), weight.sum(), variance, n_free=int(intercept))
    assert found.n_iter == peer.n_iter_
    assert found.noise_precision == pytest.approx(peer.alpha_, rel=AGREEMENT)
    assert found.weight_precision == pytest.approx(peer.lambda_, rel=AGREEMENT)
    assert close(np.append(found.theta[int(intercept) :], 1.0), np.append(peer.coef_, 1.0))
    if intercept:
        assert found.theta[0] == pytest.approx(peer.intercept_, rel=1e-7)
    # scikit-learn's last score mixes new precisions with the coefficients of the step before.
    assert np.allclose(found.scores[:-1], peer.scores_[:-1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [8, 300])
def test_whitener_is_the_epistemic_covariance(n: int) -> None:
    x, y = problem(n, 12, seed=1)
    peer = BayesianRidge(fit_intercept=False).fit(x, y)
    evidence = maximise_evidence(factor(x, y), n, y.var())
    fit = ridge_fit(factor(x, y), evidence.ridge)
    assert close(fit.whitener @ fit.whitener.T / evidence.noise_precision, peer.sigma_)
    assert close(x @ fit.theta, x @ peer.coef_)


@pytest.mark.parametrize("ridge", [1.0e-6, 0.1, 100.0])
@pytest.mark.parametrize("intercept", [False, True])
def test_ridge_equals_scikit_learn(ridge: float, intercept: bool) -> None:
    x, y = problem(50, 7, seed=2)
    peer = Ridge(alpha=ridge, fit_intercept=intercept, solver="svd").fit(x, y)
    columns = np.column_stack([np.ones(50), x]) if intercept else x
    fit = ridge_fit(factor(columns, y), ridge, n_free=int(intercept))
    assert close(columns @ fit.theta, peer.predict(x))


def test_no_ridge_is_least_squares() -> None:
    items = stream(blocks(40, seed=3))
    assert close(ridge_fit(triangular_factor(items), 0.0).theta, least_squares(items).theta)


def test_streamed_fit_equals_scikit_learn_on_the_weighted_rows() -> None:
    items = blocks(80, seed=4)
    parts = [b.weighted() for b in items]
    rows, target = np.concatenate([r for r, _ in parts]), np.concatenate([t for _, t in parts])
    peer = BayesianRidge(fit_intercept=False).fit(rows, target)
    fit, evidence = bayesian_fit(stream(items), triangular_factor(stream(items)))
    assert close(fit.theta, peer.coef_)
    assert evidence.noise_precision == pytest.approx(peer.alpha_, rel=AGREEMENT)
    assert fit.noise == pytest.approx(peer.alpha_**-0.5, rel=AGREEMENT)


@pytest.mark.parametrize("defect", ["zero", "duplicate", "scaled"])
def test_rank_deficient_columns_share_their_coefficient_as_in_scikit_learn(defect: str) -> None:
    x, y = problem(40, 5, seed=5)
    x[:, 4] = {"zero": 0.0, "duplicate": x[:, 1], "scaled": 10.0 * x[:, 1]}[defect]
    peer = BayesianRidge(fit_intercept=False).fit(x, y)
    assert close(maximise_evidence(factor(x, y), 40, y.var()).theta, peer.coef_)


def test_hyperpriors_and_starts_are_used() -> None:
    x, y = problem(40, 5, seed=6)
    names = {
        "alpha_1": 0.3,
        "alpha_2": 0.2,
        "lambda_1": 0.5,
        "lambda_2": 2.0,
        "alpha_init": 3.0,
        "lambda_init": 0.1,
    }
    peer = BayesianRidge(fit_intercept=False, max_iter=4, tol=1e-12, **names).fit(x, y)
    found = maximise_evidence(factor(x, y), 40, y.var(), EvidencePrior(**names, max_iter=4, tol=1e-12))
    assert found.n_iter == peer.n_iter_ == 4
    assert close(found.theta, peer.coef_)


def test_weights_that_sum_to_less_than_the_coefficients_are_refused() -> None:
    x, y = problem(40, 5, seed=7)
    with pytest.raises(InputError, match=r"weights sum to 0\.4 but the data determine .* coefficients"):
        maximise_evidence(factor(x, y, np.full(40, 0.01)), 0.4, y.var(), EvidencePrior(lambda_init=1e-9))
