"""Ridge and Bayesian ridge from the triangular factor of the design, so at any number of rows.

With X = Q R everything that the marginal likelihood needs is in R and Q^T y: the fixed point costs one
singular value decomposition of a P x P matrix, however many rows there are.

References
----------
MacKay, Neural Comput. 4, 415 (1992), doi:10.1162/neco.1992.4.3.415;
Tipping, J. Mach. Learn. Res. 1, 211 (2001), doi:10.1162/15324430152748236.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock
from snapuq.errors import InputError

from .leastsquares import Factor, LeastSquares, merge_factors, solve
from .streaming import DesignStream

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EvidencePrior:
    """Gamma hyperpriors, start and end of the fixed point, as of scikit-learn's BayesianRidge.

    Parameters
    ----------
    alpha_1, alpha_2 : float
        Shape and rate of the prior of the noise precision.
    lambda_1, lambda_2 : float
        Shape and rate of the prior of the coefficients' precision.
    alpha_init : float or None
        First noise precision; None is the inverse variance of the target.
    lambda_init : float or None
        First precision of the coefficients; None is 1.
    max_iter : int
        Largest number of steps.
    tol : float
        The end is a change of the coefficients, summed over them, below this.
    """

    alpha_1: float = 1.0e-6
    alpha_2: float = 1.0e-6
    lambda_1: float = 1.0e-6
    lambda_2: float = 1.0e-6
    alpha_init: float | None = None
    lambda_init: float | None = None
    max_iter: int = 300
    tol: float = 1.0e-3


@dataclass(frozen=True, eq=False)
class Evidence:
    """Hyperparameters of largest marginal likelihood, and the most probable coefficients under them.

    Parameters
    ----------
    noise_precision : float
        Alpha, the inverse variance of the noise.
    weight_precision : float
        Lambda, the inverse prior variance of the coefficients.
    theta : ndarray, shape (P,)
        Most probable coefficients.
    n_iter : int
        Steps taken.
    scores : ndarray, shape (n_iter + 1,)
        Log marginal likelihood before each step and at the end.
    """

    noise_precision: float
    weight_precision: float
    theta: Array
    n_iter: int
    scores: Array

    @property
    def ridge(self) -> float:
        """The ridge lambda / alpha."""
        return self.weight_precision / self.noise_precision


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """The regression in the basis of the right singular vectors of the design."""

    singular: Array  # shape (P,)
    right: Array  # shape (P, P)
    target: Array  # shape (P,), the target along the left singular vectors
    unreachable: float  # squared norm of the target outside the columns

    @classmethod
    def of(cls, triangle: Array) -> _Spectrum:
        """Decompose an upper triangular [X y] with y as last column."""
        left, singular, right = np.linalg.svd(triangle[:-1, :-1])
        return cls(singular, right, left.T @ triangle[:-1, -1], float(triangle[-1, -1] ** 2))

    def coefficients(self, ridge: float) -> tuple[Array, float]:
        """Ridge coefficients and their sum of squared residuals."""
        denominator = self.singular**2 + ridge
        along = self.singular * self.target / denominator
        missed = ridge * self.target / denominator
        return self.right.T @ along, self.unreachable + float(missed @ missed)


def maximise_evidence(
    factor: Factor,
    weight_sum: float,
    target_variance: float,
    prior: EvidencePrior | None = None,
    n_free: int = 0,
) -> Evidence:
    """Maximise the marginal likelihood of Bayesian ridge regression by MacKay's fixed point.

    Steps, hyperpriors and end are those of scikit-learn's ``BayesianRidge``, so its numbers come out.

    Parameters
    ----------
    factor : Factor
        Triangular factor of the weighted design with the target as last column.
    weight_sum : float
        Number of rows, or the sum of their weights if weights stand for repeated rows.
    target_variance : float
        Variance of the target; the first noise precision is its inverse.
    prior : EvidencePrior, optional
        Hyperpriors.
    n_free : int
        Leading columns without prior. A leading column of ones is the intercept: what remains of the factor
        below it belongs to the centred columns, as in scikit-learn.

    Returns
    -------
    Evidence
        Precisions and coefficients.

    Raises
    ------
    InputError
        When the weights sum to less than the number of coefficients that the data determine.
    """
    prior = prior or EvidencePrior()
    spectrum = _Spectrum.of(factor.triangle[n_free:, n_free:])
    squares = spectrum.singular**2
    alpha = 1.0 / (target_variance + np.finfo(float).eps) if prior.alpha_init is None else prior.alpha_init
    lambda_ = 1.0 if prior.lambda_init is None else prior.lambda_init
    previous: Array | None = None
    scores = []
    n_iter = 0
    while n_iter < prior.max_iter:
        n_iter += 1
        theta, error = spectrum.coefficients(lambda_ / alpha)
        scores.append(_log_evidence(squares, weight_sum, alpha, lambda_, theta, error, prior))
        determined = float(np.sum(alpha * squares / (lambda_ + alpha * squares)))
        noise = weight_sum - determined + 2.0 * prior.alpha_1
        if noise <= 0:
            raise InputError(
                f"weights sum to {weight_sum:.4g} but the data determine {determined:.4g} coefficients",
                key="sample_weight",
                hint="scale the weights so that they sum to the number of rows",
            )
        lambda_ = (determined + 2.0 * prior.lambda_1) / (float(theta @ theta) + 2.0 * prior.lambda_2)
        alpha = noise / (error + 2.0 * prior.alpha_2)
        if previous is not None and np.abs(previous - theta).sum() < prior.tol:
            break
        previous = theta
    theta, error = spectrum.coefficients(lambda_ / alpha)
    scores.append(_log_evidence(squares, weight_sum, alpha, lambda_, theta, error, prior))
    return Evidence(alpha, lambda_, _with_free(factor.triangle, theta, n_free), n_iter, np.array(scores))


def _with_free(triangle: Array, theta: Array, n_free: int) -> Array:
    """Coefficients with those of the leading columns, which follow from the others without a prior."""
    top = triangle[:n_free]
    free = scipy.linalg.solve_triangular(top[:, :n_free], top[:, -1] - top[:, n_free:-1] @ theta)
    return np.concatenate([free, theta])


def _log_evidence(
    squares: Array,
    weight_sum: float,
    alpha: float,
    lambda_: float,
    theta: Array,
    error: float,
    prior: EvidencePrior,
) -> float:
    """Log marginal likelihood with the log density of the hyperpriors, up to a constant."""
    hyper = prior.lambda_1 * np.log(lambda_) - prior.lambda_2 * lambda_
    hyper += prior.alpha_1 * np.log(alpha) - prior.alpha_2 * alpha
    fit = (
        len(theta) * np.log(lambda_) + weight_sum * np.log(alpha) - alpha * error - lambda_ * (theta @ theta)
    )
    spread = np.log(lambda_ + alpha * squares).sum() + weight_sum * np.log(2.0 * np.pi)
    return float(hyper + 0.5 * (fit - spread))


def ridge_fit(factor: Factor, ridge: float, n_free: int = 0) -> LeastSquares:
    """Ridge regression from the triangular factor: the penalty is P more rows below it.

    Parameters
    ----------
    factor : Factor
        Triangular factor of the weighted design with the target as last column.
    ridge : float
        Factor of the squared norm of the coefficients in the loss; 0 is least squares.
    n_free : int
        Leading columns without penalty, such as an intercept.

    Returns
    -------
    LeastSquares
        The minimiser; whitened rows have the leverage x . (X^T X + ridge I)^-1 x.
    """
    penalty = np.full(len(factor.triangle), np.sqrt(ridge))
    penalty[:n_free] = penalty[-1] = 0.0
    return solve(merge_factors(factor, Factor(np.diag(penalty), 0)))


def bayesian_fit(
    stream: DesignStream, factor: Factor, prior: EvidencePrior | None = None
) -> tuple[LeastSquares, Evidence]:
    """Bayesian ridge regression of a whole stream.

    The weighted rows are the data, so that the noise precision does not depend on how loss weights are
    normalised.

    Parameters
    ----------
    stream : DesignStream
        The training set.
    factor : Factor
        Its triangular factor.
    prior : EvidencePrior, optional
        Hyperpriors.

    Returns
    -------
    fit : LeastSquares
        The most probable coefficients, the whitener of X^T X + lambda / alpha I, and the noise.
    evidence : Evidence
        The hyperparameters.
    """

    def total(blocks: Sequence[DesignBlock]) -> Array:
        return np.array([sum(float(block.weighted()[1].sum()) for block in blocks)])

    mean = stream.reduce(total, np.add)[0] / factor.n_rows
    square = float(np.sum(factor.triangle[:, -1] ** 2)) / factor.n_rows
    evidence = maximise_evidence(factor, factor.n_rows, max(square - mean**2, 0.0), prior)
    fit = ridge_fit(factor, evidence.ridge)
    return replace(fit, theta=evidence.theta, noise=evidence.noise_precision**-0.5), evidence
