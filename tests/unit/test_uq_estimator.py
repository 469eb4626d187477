"""The scikit-learn estimator: scikit-learn's own checks, its peers' numbers, and hostile input."""

from __future__ import annotations

import doctest
import re
import tracemalloc
from collections.abc import Callable
from importlib.metadata import metadata
from typing import Any

import numpy as np
import popsregression
import pytest
from popsregression import POPSRegression
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.utils.estimator_checks import parametrize_with_checks

import snapuq.uq.estimator
from snapuq.uq import POPSRegressor

# Round-off times the condition number of the designs below (at most 1e3), squared in explicit inverses.
AGREEMENT = 1.0e-8
POSTERIORS = ("block", "pointwise", "popsregression-0.4", "popsregression-0.5", "hypercube", "ensemble")


def problem(n: int = 150, p: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Powers of numbers in [-1, 1], and a target that is no polynomial."""
    x = np.random.default_rng(seed).uniform(-1.0, 1.0, n)
    return np.vander(x, p), np.sin(4.0 * x) + 0.3 * np.exp(x)


def close(a: np.ndarray, b: np.ndarray, tolerance: float = AGREEMENT) -> bool:
    """Agreement relative to the largest number."""
    return a.shape == b.shape and bool(np.abs(a - b).max() <= tolerance * np.abs(b).max())


@pytest.fixture
def array_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-learn skips one of its checks without it."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")


@parametrize_with_checks(
    [POPSRegressor(posterior=posterior, fit_intercept=i) for posterior in POSTERIORS for i in (False, True)]
)
@pytest.mark.usefixtures("array_api")
def test_scikit_learn_checks(estimator: POPSRegressor, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("weighted", [False, True])
def test_coefficients_are_those_of_bayesian_ridge(posterior: str, weighted: bool) -> None:
    x, y = problem()
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(y)) if weighted else None
    peer = BayesianRidge(fit_intercept=False, compute_score=True).fit(x, y, weight)
    model = POPSRegressor(posterior=posterior, compute_score=True).fit(x, y, weight)
    assert close(model.coef_, peer.coef_)
    assert close(model.sigma_, peer.sigma_)
    assert (model.alpha_, model.lambda_) == pytest.approx((peer.alpha_, peer.lambda_), rel=AGREEMENT)
    assert model.n_iter_ == peer.n_iter_
    assert close(model.scores_[:-1], peer.scores_[:-1])
    epistemic = model.predict(x, return_epistemic_std=True)[1]
    assert close(epistemic, np.sqrt(np.sum(x @ peer.sigma_ * x, axis=1)))


@pytest.mark.parametrize("posterior", ["block", "pointwise"])
def test_intercept_is_that_of_bayesian_ridge(posterior: str) -> None:
    x, y = problem()
    peer = BayesianRidge().fit(x[:, :-1], y + 100.0)
    model = POPSRegressor(posterior=posterior, fit_intercept=True).fit(x[:, :-1], y + 100.0)
    assert close(model.coef_, peer.coef_)
    assert model.intercept_ == pytest.approx(peer.intercept_, rel=AGREEMENT)
    assert model.sigma_.shape == (5, 5)
    assert close(model.sigma_[:-1, :-1], peer.sigma_)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_posterior_is_that_of_popsregression(intercept: bool, weighted: bool) -> None:
    x, y = problem()
    x = x[:, :-1] if intercept else x
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(y)) if weighted else None
    np.random.seed(0)  # noqa: NPY002 - popsregression draws from the global state
    peer = POPSRegression(fit_intercept=intercept, resample_density=400.0).fit(x, y, weight)
    model = POPSRegressor(posterior="popsregression-0.4", fit_intercept=intercept, resample_density=400.0)
    model.set_params(random_state=0).fit(x, y, weight)
    assert close(np.append(model.coef_, model.intercept_ if intercept else []), peer.coef_)
    assert model.n_points_ == peer._leverage_mask.sum()
    sign = np.sign(np.sum(model.hypercube_support_ * peer._hypercube_support, axis=0))
    assert close(model.hypercube_support_ * sign, peer._hypercube_support)
    assert close(np.sort(model.hypercube_bounds_ * sign, axis=0), np.array(peer._hypercube_bounds))
    # The package estimates its moment from 60,000 draws.
    assert close(model.misspecification_sigma_, peer.misspecification_sigma_, tolerance=0.02)
    flags = {"return_std": True, "return_bounds": True, "return_epistemic_std": True}
    for ours, theirs in zip(model.predict(x, **flags), peer.predict(x, **flags), strict=True):
        # Extremes of 60,000 uniform points differ by a few per cent of the width between draws.
        assert close(ours, theirs, tolerance=0.1)


def test_ensemble_is_that_of_popsregression() -> None:
    x, y = problem()
    peer = POPSRegression(posterior="ensemble").fit(x, y)
    model = POPSRegressor(posterior="ensemble").fit(x, y)
    assert close(model.posterior_samples_, peer.posterior_samples_)
    assert close(model.misspecification_sigma_, peer.misspecification_sigma_)
    for ours, theirs in zip(
        model.predict(x, return_std=True, return_bounds=True),
        peer.predict(x, return_std=True, return_bounds=True),
        strict=True,
    ):
        assert close(ours, theirs)


def test_names_of_popsregression_choose_the_release() -> None:
    x, y = problem()

    def bounds(**parameters: Any) -> np.ndarray:
        return POPSRegressor(**parameters).fit(x, y).hypercube_bounds_

    old, new = (bounds(posterior=f"popsregression-0.{release}") for release in (4, 5))
    assert np.array_equal(bounds(posterior="hypercube"), old)
    assert np.array_equal(bounds(posterior="hypercube", minimum_relative_error=0.01), new)
    assert not np.array_equal(old, new)
    all_points = bounds(posterior="hypercube", leverage_percentile=0.0)
    assert np.array_equal(bounds(posterior="pointwise"), all_points)
    assert (
        np.ptp(bounds(posterior="pointwise", percentile_clipping=5.0), axis=0) < np.ptp(all_points, axis=0)
    ).all()


def test_examples_of_popsregression_run_with_the_import_changed() -> None:
    x, y = problem()
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
    names = {
        "X_train": x_train,
        "X_test": x_test,
        "y_train": y_train,
        "y_test": y_test,
        "PolynomialFeatures": PolynomialFeatures,
    }
    readme = str(metadata("popsregression").get_payload())
    examples = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    examples.append(
        "".join(e.source for e in doctest.DocTestParser().get_examples(POPSRegression.__doc__ or ""))
    )
    assert len(examples) >= 3
    for example in examples:
        code = example.replace(
            f"from {popsregression.__name__} import POPSRegression",
            "from snapuq.uq import POPSRegressor as POPSRegression",
        ).replace("X_train, X_test, y_train, y_test = ...", "")
        if "POPSRegression as" not in code:
            names.setdefault("POPSRegression", POPSRegressor)
        exec(code, names)
    assert names["y_pred"].shape == y_test.shape


def test_documented_search_of_popsregression_runs() -> None:
    x, y = problem(60, 2)
    pipe = make_pipeline(PolynomialFeatures(degree=4), POPSRegressor(resampling_method="sobol"))
    grid = {"polynomialfeatures__degree": [2, 3], "popsregressor__posterior": ["hypercube", "ensemble"]}
    search = GridSearchCV(pipe, grid).fit(x, y)
    assert search.best_params_["polynomialfeatures__degree"] == 3


def test_docstring_example() -> None:
    found = doctest.testmod(snapuq.uq.estimator)
    assert found.attempted > 4
    assert found.failed == 0


def test_bounds_hold_the_calibrated_share_of_unseen_rows() -> None:
    x, y = problem(1000, seed=2)
    model = POPSRegressor(random_state=0).fit(x, y)
    unseen, truth = problem(4000, seed=3)
    _, high, low = model.predict(unseen, return_bounds=True)
    outside = float(np.mean((truth < low) | (truth > high)))
    assert model.calibration_ is not None
    assert model.calibration_.energy is not None
    # The target is 2 %; 1,000 rows know their own share to about half a per cent.
    assert 0.005 < outside < 0.04
    assert model.calibration_.energy.violation == pytest.approx(0.02, abs=0.005)


def test_groups_are_corrected_together_and_their_order_does_not_matter() -> None:
    x, y = problem(120, seed=4)
    groups = np.repeat([f"g{i:02}" for i in range(40)], 3)
    model = POPSRegressor(random_state=0).fit(x, y, groups=groups)
    assert model.n_points_ == 40
    order = np.random.default_rng(5).permutation(120)
    shuffled = POPSRegressor(random_state=0).fit(x[order], y[order], groups=groups[order])
    assert close(shuffled.misspecification_sigma_, model.misspecification_sigma_, tolerance=1e-6)


def test_every_row_its_own_group_is_no_groups() -> None:
    x, y = problem(90, seed=6)
    alone = POPSRegressor(calibrate=None).fit(x, y)
    grouped = POPSRegressor(calibrate=None).fit(x, y, groups=np.arange(90))
    assert alone.n_points_ == grouped.n_points_ == 90
    assert close(grouped.misspecification_sigma_, alone.misspecification_sigma_)


@pytest.mark.parametrize("method", ["uniform", "sobol", "latin", "halton"])
@pytest.mark.parametrize("posterior", ["block", "popsregression-0.5"])
def test_members_fill_the_box_and_make_the_bounds(method: str, posterior: str) -> None:
    x, y = problem(300, seed=7)
    model = POPSRegressor(
        posterior=posterior, resampling_method=method, resample_density=4.0, random_state=1
    ).fit(x, y)
    samples = model.posterior_samples_
    expected = 500 if posterior == "block" else 1200
    assert samples.shape == (5, 2 ** int(np.log2(expected)) if method == "sobol" else expected)
    along = np.linalg.lstsq(model.hypercube_support_, samples, rcond=None)[0]
    low, high = model.hypercube_bounds_
    assert (along >= low[:, None] - 1e-9).all()
    assert (along <= high[:, None] + 1e-9).all()
    mean, upper, lower = model.predict(x, return_bounds=True)
    assert close(upper - mean, (x @ samples).max(axis=1))
    assert close(lower - mean, (x @ samples).min(axis=1))
    # A moment of a few hundred draws is good to some per cent.
    assert close(samples @ samples.T / samples.shape[1], model.misspecification_sigma_, tolerance=0.2)


def test_same_seed_same_bits() -> None:
    x, y = problem()
    first, second, other = (POPSRegressor(random_state=s).fit(x, y) for s in (3, 3, 4))
    assert np.array_equal(first.posterior_samples_, second.posterior_samples_)
    assert not np.array_equal(first.posterior_samples_, other.posterior_samples_)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_rows_of_weight_zero_do_not_exist(posterior: str) -> None:
    x, y = problem()
    weight = np.ones(150)
    weight[::7] = 0.0
    wrong = np.where(weight == 0, 1e6, y)
    model = POPSRegressor(posterior=posterior, random_state=0).fit(x, wrong, sample_weight=weight)
    without = POPSRegressor(posterior=posterior, random_state=0).fit(x[weight > 0], y[weight > 0])
    assert close(model.coef_, without.coef_)
    assert close(model.misspecification_sigma_, without.misspecification_sigma_)


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("defect", ["zero column", "constant column", "duplicate column", "zero rows"])
def test_degenerate_data_give_what_bayesian_ridge_gives(posterior: str, defect: str) -> None:
    x, y = problem()
    if defect == "zero rows":
        x[:15] = 0.0
    else:
        x[:, 1] = {"zero column": 0.0, "constant column": 3.0, "duplicate column": x[:, 2]}[defect]
    model = POPSRegressor(posterior=posterior, random_state=0).fit(x, y)
    assert close(model.coef_, BayesianRidge(fit_intercept=False).fit(x, y).coef_)
    for values in model.predict(x, return_std=True, return_bounds=True):
        assert np.isfinite(values).all()


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_fewer_rows_than_columns_give_what_bayesian_ridge_gives(posterior: str) -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(12, 30)), rng.normal(size=12)
    model = POPSRegressor(posterior=posterior, random_state=0).fit(x, y)
    peer = BayesianRidge(fit_intercept=False).fit(x, y)
    assert close(model.predict(x), peer.predict(x))
    assert close(model.sigma_, peer.sigma_)


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_target_in_the_span_of_the_columns_has_no_misspecification(posterior: str, target: float) -> None:
    x, _ = problem()
    y = target * x[:, 2]
    model = POPSRegressor(posterior=posterior, random_state=0).fit(x, y)
    mean, std = model.predict(x, return_std=True)
    assert np.allclose(mean, y, atol=1e-4)
    assert (std < 1e-2).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    x, y = problem()
    x[3, 1] = bad
    with pytest.raises(ValueError, match="Input X contains"):
        POPSRegressor().fit(x, y)
    with pytest.raises(ValueError, match="Input y contains"):
        POPSRegressor().fit(problem()[0], np.where(np.arange(150) == 5, bad, y))


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ({"sample_weight": np.zeros(150)}, "zero"),
        ({"sample_weight": np.full(150, -1.0)}, "Negative values"),
        ({"sample_weight": np.full(150, 1e-3)}, r"weights sum to 0\.15 but the data determine"),
        ({"groups": np.zeros(150)}, r"cannot calibrate on 1 group of n_samples = 150; set calibrate=None"),
        ({"groups": np.zeros(7)}, "inconsistent numbers of samples"),
    ],
)
def test_impossible_weights_and_groups_are_refused(fit: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        POPSRegressor().fit(*problem(), **fit)


@pytest.mark.parametrize(
    "parameters", [{"posterior": "boks"}, {"calibrate": 0.0}, {"folds": 1}, {"resampling_method": "grid"}]
)
def test_impossible_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"The '{next(iter(parameters))}' parameter"):
        POPSRegressor(**parameters).fit(*problem())


def test_order_and_precision_of_the_features_do_not_matter() -> None:
    x, y = problem()
    x = x.astype(np.float32)
    reference = POPSRegressor(random_state=0).fit(x.astype(np.float64), y)
    for same in (x, np.asfortranarray(x), x.astype(np.float64)[::1]):
        model = POPSRegressor(random_state=0).fit(same, y)
        assert np.array_equal(model.coef_, reference.coef_)
        assert np.array_equal(model.misspecification_sigma_, reference.misspecification_sigma_)


@pytest.mark.parametrize("posterior", ["block", "pointwise", "popsregression-0.4", "popsregression-0.5"])
def test_features_are_not_copied(posterior: str) -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(size=(100_000, 40))
    y = np.sin(x[:, 0])
    tracemalloc.start()
    POPSRegressor(posterior=posterior, calibrate=None).fit(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.75 * x.nbytes
