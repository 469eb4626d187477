"""POPS as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from snapuq.errors import InputError

from .bayesian import EvidencePrior, maximise_evidence, ridge_fit
from .calibrate import calibrate
from .crossval import CALIBRATION_MEMBERS, cross_validate
from .leastsquares import Factor, LeastSquares, fold_factors, merge_all, triangular_factor
from .members import METHODS, BareMembers, BoxMembers, deviations, extremes
from .pops import Box, block_box
from .popsregression import POINT_RULES, PointRule, choose_points, fit_points, slices
from .rows import Table, row_corrections, table_stream
from .rules import Rule
from .streaming import DesignStream

Array = NDArray[np.float64]
BoxMaker = Callable[[DesignStream, LeastSquares], Box]

# Fewest members, as in popsregression.
FEWEST_MEMBERS = 100
_PRECISIONS = ("alpha", "lambda")


class POPSRegressor(RegressorMixin, BaseEstimator):
    """Bayesian ridge regression with error bars for a model that cannot represent the target exactly.

    The coefficients are those of `sklearn.linear_model.BayesianRidge`. Their misspecification uncertainty is
    a uniform distribution over a box, made of the corrections with which the model would meet its training
    data (POPS). Parameters, attributes and predictions are those of ``popsregression.POPSRegression``; code
    written for it runs with the import changed. X is neither copied nor written: memory beyond it is a few
    P x P matrices, except for ``ensemble``, whose members are as many as the rows.

    Parameters
    ----------
    posterior : str, default="block"
        ``block``: one correction for all rows of a group, softly, and a box in the metric of the loss that is
        scaled by cross-validation. ``pointwise``: one for every row, unscaled, as published.
        ``popsregression-0.4`` and ``popsregression-0.5``: the boxes of these releases. ``hypercube`` and
        ``ensemble``: their own names for the box and for the bare corrections; the points are chosen by
        `minimum_relative_error` if it is given (0.5), else by `leverage_percentile` (0.4).
    calibrate : float or None, default=0.02
        Share of unseen rows that may lie outside the bounds of ``block``; None leaves the box unscaled.
    folds : int, default=5
        Folds of the cross-validation; groups are spread over them at random.
    fit_intercept : bool, default=False
        Whether to add an intercept.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of the members.
    max_iter, tol, alpha_1, alpha_2, lambda_1, lambda_2, alpha_init, lambda_init, compute_score, verbose :
        As in `sklearn.linear_model.BayesianRidge`.
    copy_X : bool, default=True
        Taken for compatibility; X is never written.
    mode_threshold : float, default=1e-8
        Axes whose eigenvalue is at most this fraction of the largest are dropped; not for ``block``.
    resample_density : float, default=1.0
        Members per training row, at least 100 in all; ``block`` always has the 500 that it is calibrated for.
    resampling_method : {"uniform", "sobol", "latin", "halton"}, default="uniform"
        How members are spread over the box.
    percentile_clipping : float, default=0.0
        The box reaches from this percentile of the corrections to 100 minus it; not for ``block``.
    leverage_percentile : float, default=50.0
        Rows of lower leverage than this percentile have no corrections: ``popsregression-0.4``.
    minimum_relative_error : float or None, default=None
        Rows of a smaller residual than this times the root mean square have none: ``popsregression-0.5``,
        which takes None for 0.01.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients.
    intercept_ : float
        Intercept; 0.0 without one.
    alpha_, lambda_ : float
        Precision of the noise and of the coefficients.
    sigma_ : ndarray of shape (p, p)
        Epistemic covariance of the coefficients; p is the number of features, plus one for an intercept,
        which comes last.
    misspecification_sigma_ : ndarray of shape (p, p)
        Second moment of the box about the coefficients.
    posterior_samples_ : ndarray of shape (p, n_members)
        Members minus the coefficients; made when it is asked for.
    hypercube_support_ : ndarray of shape (p, k)
        Axes of the box; not for ``ensemble``.
    hypercube_bounds_ : ndarray of shape (2, k)
        Its lower and upper bounds along the axes, scale included.
    calibration_ : snapuq.uq.calibrate.Calibration or None
        The scale, and the violations that cross-validation expects; None if uncalibrated.
    n_points_ : int
        Corrections that the box holds.
    scores_ : ndarray of shape (n_iter_ + 1,)
        Log marginal likelihood before each step and at the end, if `compute_score`.
    n_iter_ : int
        Steps to the hyperparameters.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    Differences from popsregression 0.4.0, for every `posterior`:

    ============================ ============================== ================================
    what                         popsregression                 here
    ============================ ============================== ================================
    default posterior            upper half by leverage         soft box by groups, calibrated
    ``misspecification_sigma_``  moment of the members drawn    moment of the box, without noise
    ``posterior_samples_``       stored, as large as X          drawn again when asked for
    random draws                 numpy's global state           ``random_state``
    ``fit_intercept=True``       last of ``coef_``, with prior  ``intercept_``; prior only in
                                                                popsregression's posteriors
    rows of weight zero          count in percentile and rms    do not exist
    float32 features             single precision               double precision
    last of ``scores_``          coefficients one step behind   final coefficients
    ============================ ============================== ================================

    References
    ----------
    Swinburne and Perez, Mach. Learn.: Sci. Technol. 6, 015008 (2025), doi:10.1088/2632-2153/ad9fce.

    Examples
    --------
    >>> import numpy as np
    >>> from snapuq.uq import POPSRegressor
    >>> x = np.linspace(-1.0, 1.0, 200)
    >>> X, y = np.vander(x, 4), np.sin(5.0 * x)
    >>> model = POPSRegressor(random_state=0).fit(X, y)
    >>> mean, std, high, low = model.predict(X, return_std=True, return_bounds=True)
    >>> bool(np.mean((y < low) | (y > high)) < 0.05)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "posterior": [StrOptions({"block", "pointwise", "hypercube", "ensemble", *POINT_RULES})],
        "calibrate": [Interval(Real, 0.0, 1.0, closed="neither"), None],
        "folds": [Interval(Integral, 2, None, closed="left")],
        "fit_intercept": ["boolean"],
        "random_state": ["random_state"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="neither")],
        **{f"{name}_{i}": [Interval(Real, 0.0, None, closed="left")] for name in _PRECISIONS for i in (1, 2)},
        **{f"{name}_init": [Interval(Real, 0.0, None, closed="neither"), None] for name in _PRECISIONS},
        "compute_score": ["boolean"],
        "copy_X": ["boolean"],
        "verbose": ["verbose"],
        "mode_threshold": [Interval(Real, 0.0, None, closed="neither")],
        "resample_density": [Interval(Real, 0.0, None, closed="neither")],
        "resampling_method": [StrOptions(set(METHODS))],
        "percentile_clipping": [Interval(Real, 0.0, 50.0, closed="both")],
        "leverage_percentile": [Interval(Real, 0.0, 100.0, closed="left")],
        "minimum_relative_error": [Interval(Real, 0.0, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        posterior: str = "block",
        calibrate: float | None = 0.02,
        folds: int = 5,
        fit_intercept: bool = False,
        random_state: Any = None,
        max_iter: int = 300,
        tol: float = 1.0e-3,
        alpha_1: float = 1.0e-6,
        alpha_2: float = 1.0e-6,
        lambda_1: float = 1.0e-6,
        lambda_2: float = 1.0e-6,
        alpha_init: float | None = None,
        lambda_init: float | None = None,
        compute_score: bool = False,
        verbose: bool = False,
        copy_X: bool = True,
        mode_threshold: float = 1.0e-8,
        resample_density: float = 1.0,
        resampling_method: str = "uniform",
        percentile_clipping: float = 0.0,
        leverage_percentile: float = 50.0,
        minimum_relative_error: float | None = None,
    ) -> None:
        self.posterior = posterior
        self.calibrate = calibrate
        self.folds = folds
        self.fit_intercept = fit_intercept
        self.random_state = random_state
        self.max_iter = max_iter
        self.tol = tol
        self.alpha_1 = alpha_1
        self.alpha_2 = alpha_2
        self.lambda_1 = lambda_1
        self.lambda_2 = lambda_2
        self.alpha_init = alpha_init
        self.lambda_init = lambda_init
        self.compute_score = compute_score
        self.verbose = verbose
        self.copy_X = copy_X
        self.mode_threshold = mode_threshold
        self.resample_density = resample_density
        self.resampling_method = resampling_method
        self.percentile_clipping = percentile_clipping
        self.leverage_percentile = leverage_percentile
        self.minimum_relative_error = minimum_relative_error

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> POPSRegressor:
        """Fit the coefficients and their uncertainty.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,)
            Target.
        sample_weight : array-like of shape (n_samples,), optional
            Weights; as in scikit-learn a weight of 2 counts like the row twice.
        groups : array-like of shape (n_samples,), optional
            Rows of a group are corrected together by ``block``, and are in one fold of its calibration.
            Without groups every row is its own.

        Returns
        -------
        POPSRegressor
            The estimator.

        Raises
        ------
        ValueError
            When the data are not finite, no row has weight, the weights sum to less than the number of
            coefficients that the data determine, or there are too few groups to calibrate.
        """
        self._validate_params()
        features, target = validate_data(self, X, y, dtype=[np.float64, np.float32], y_numeric=True)
        weight = _check_sample_weight(sample_weight, features, dtype=np.float64, ensure_non_negative=True)
        if not weight.any():
            raise ValueError("sample_weight is zero for every row")
        labels = None if groups is None else column_or_1d(groups)
        check_consistent_length(features, labels)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        table = Table(features, np.asarray(target, dtype=np.float64), weight, bool(self.fit_intercept))
        self._n_rows = len(table.y)
        if self.posterior == "block":
            stream = table_stream(table, self.folds, labels, seed)
            factors = fold_factors(stream)
            fit = self._fit_mode(merge_all(list(factors.values())), table)
            make_box = block_box if labels is not None else partial(block_box, corrections=row_corrections)
            box = make_box(stream, fit)
            self.n_points_ = box.n_corrections
            scale = self._calibrate(stream, factors, make_box, seed)
            box = replace(box, low=scale * box.low, high=scale * box.high)
            self._members: BoxMembers | BareMembers = self._box_members(box, CALIBRATION_MEMBERS, seed)
        else:
            stream = table_stream(table)
            fit = self._fit_mode(triangular_factor(stream), table)
            self._members = self._point_members(stream, fit, seed)
        self.misspecification_sigma_ = self._members.second_moment()
        return self

    @property
    def _n_free(self) -> int:
        """Leading columns without prior; popsregression treats the constant as a feature, prior included."""
        return int(self.fit_intercept and self.posterior in ("block", "pointwise"))

    def _fit_mode(self, factor: Factor, table: Table) -> LeastSquares:
        """Coefficients and hyperparameters, as in scikit-learn's BayesianRidge."""
        names = ("alpha_1", "alpha_2", "lambda_1", "lambda_2", "alpha_init", "lambda_init", "max_iter", "tol")
        prior = EvidencePrior(**{name: getattr(self, name) for name in names})
        mean = np.average(table.y, weights=table.weight)
        variance = float(np.average((table.y - mean) ** 2, weights=table.weight))
        try:
            evidence = maximise_evidence(factor, table.weight.sum(), variance, prior, self._n_free)
        except InputError as error:
            raise ValueError(str(error)) from error
        fit = ridge_fit(factor, evidence.ridge, self._n_free)
        if self.verbose:
            print(f"Convergence after {evidence.n_iter} iterations")
        self.alpha_, self.lambda_ = evidence.noise_precision, evidence.weight_precision
        self.n_iter_ = evidence.n_iter
        if self.compute_score:
            self.scores_ = evidence.scores
        first = int(table.constant)
        self.coef_ = evidence.theta[first:]
        self.intercept_ = float(evidence.theta[0]) if table.constant else 0.0
        self.sigma_ = self._intercept_last(fit.whitener @ fit.whitener.T / evidence.noise_precision, n_axes=2)
        return replace(fit, theta=evidence.theta)

    def _calibrate(
        self, stream: DesignStream, factors: Mapping[int, Factor], make_box: BoxMaker, seed: int
    ) -> float:
        """Scale of the box from cross-validation, every fold with the same prior."""
        self.calibration_ = None
        if self.calibrate is None:
            return 1.0
        if len(factors) < 2:
            raise ValueError(f"cannot calibrate on 1 group of n_samples = {self._n_rows}; set calibrate=None")
        n_free, ridge = self._n_free, self.lambda_ / self.alpha_
        rule = Rule("block", lambda _, factor: ridge_fit(factor, ridge, n_free), make_box)
        self.calibration_ = calibrate(cross_validate(stream, rule, seed, factors), self.calibrate)
        return self.calibration_.scale

    def _point_members(self, stream: DesignStream, fit: LeastSquares, seed: int) -> BoxMembers | BareMembers:
        """Corrections row by row, boxed or bare."""
        points = choose_points(stream, fit, self._point_rule())
        self.calibration_ = None
        if self.posterior == "ensemble":
            corrections = [
                ((rows @ fit.whitener) @ fit.whitener.T * factor[:, None]).T
                for index in points.chunks
                for rows, factor in slices(points.chunks[index])
            ]
            self.n_points_ = sum(part.shape[1] for part in corrections)
            return BareMembers(self._intercept_last(np.concatenate(corrections, axis=1)))
        box = fit_points(points, fit, self._point_rule())
        self.n_points_ = box.n_corrections
        n = max(FEWEST_MEMBERS, int(self.resample_density * self._n_rows))
        return self._box_members(box, n, seed)

    def _point_rule(self) -> PointRule:
        """Which rows are corrected, from the name of the posterior and the parameters."""
        chosen = POINT_RULES.get(self.posterior, PointRule())
        if self.posterior in ("hypercube", "ensemble"):
            release = "0.4" if self.minimum_relative_error is None else "0.5"
            chosen = POINT_RULES[f"popsregression-{release}"]
        if chosen.leverage_percentile is not None:
            chosen = replace(chosen, leverage_percentile=self.leverage_percentile)
        elif chosen.minimum_relative_error is not None and self.minimum_relative_error is not None:
            chosen = replace(chosen, minimum_relative_error=self.minimum_relative_error)
        return replace(chosen, axis_cut=self.mode_threshold, percentile_clipping=self.percentile_clipping)

    def _box_members(self, box: Box, n: int, seed: int) -> BoxMembers:
        axes = self._intercept_last(box.axes)
        self.hypercube_support_ = axes
        self.hypercube_bounds_ = np.stack([box.low, box.high])
        return BoxMembers(axes, box.low, box.high, n, self.resampling_method, seed)

    def _intercept_last(self, matrix: Array, n_axes: int = 1) -> Array:
        """Move the constant, first in the fit, behind the features, where popsregression has it."""
        return np.roll(matrix, -1, axis=tuple(range(n_axes))) if self.fit_intercept else matrix

    @property
    def posterior_samples_(self) -> Array:
        """Members minus the coefficients, shape (p, n_members); made anew from the seed at each call."""
        check_is_fitted(self)
        return self._members.samples()

    def predict(
        self,
        X: ArrayLike,
        return_std: bool = False,
        return_bounds: bool = False,
        return_epistemic_std: bool = False,
    ) -> Array | tuple[Array, ...]:
        """Predict, with error bars if asked for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        return_std : bool, default=False
            Add the standard deviation, misspecification and epistemic.
        return_bounds : bool, default=False
            Add the largest and the smallest prediction of the members.
        return_epistemic_std : bool, default=False
            Add the epistemic standard deviation.

        Returns
        -------
        ndarray or tuple of ndarray, each of shape (n_samples,)
            Prediction of the coefficients; then, each if asked for and in this order, standard deviation,
            upper bound, lower bound, epistemic standard deviation.
        """
        check_is_fitted(self)
        rows: Array = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        result = [rows @ self.coef_ + self.intercept_]
        if self.fit_intercept:
            rows = np.column_stack([rows, np.ones(len(rows))])
        if return_std:
            result.append(deviations(rows, self.misspecification_sigma_ + self.sigma_))
        if return_bounds:
            low, high = extremes(self._members, rows)
            result += [result[0] + high, result[0] + low]
        if return_epistemic_std:
            result.append(deviations(rows, self.sigma_))
        return result[0] if len(result) == 1 else tuple(result)
