"""The named ways to make a posterior: how the coefficients are found, and how their box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from snapuq.errors import InputError

from .bayesian import bayesian_fit, ridge_fit
from .leastsquares import Factor, LeastSquares, solve
from .pops import Box, block_box, pointwise_box
from .popsregression import POINT_RULES, PointRule, choose_points, fit_points
from .streaming import DesignStream

#: Takes a training set and its triangular factor.
Solver = Callable[[DesignStream, Factor], LeastSquares]


@dataclass(frozen=True)
class Rule:
    """How a posterior is made; its name is stored with every posterior.

    Parameters
    ----------
    name : str
        As in the configuration file.
    solve : callable
        Takes a training set and its triangular factor, returns the fit.
    box : callable
        Takes a training set and its fit, returns the box at scale 1.
    """

    name: str
    solve: Solver
    box: Callable[[DesignStream, LeastSquares], Box]


def _unregularised(stream: DesignStream, factor: Factor) -> LeastSquares:
    return solve(factor)


def _evidence(stream: DesignStream, factor: Factor) -> LeastSquares:
    return bayesian_fit(stream, factor)[0]


def _ridge(stream: DesignStream, factor: Factor, ridge: float) -> LeastSquares:
    return ridge_fit(factor, ridge)


def _chosen_points(stream: DesignStream, fit: LeastSquares, rule: PointRule) -> Box:
    return fit_points(choose_points(stream, fit, rule), fit, rule)


def _epistemic(stream: DesignStream, fit: LeastSquares) -> Box:
    """Box with the covariance of Bayesian regression, sigma^2 H^-1, and none of misspecification."""
    if fit.noise is None:
        raise InputError("the rule 'bayesian' needs the noise level", key="fit.ridge", expected="evidence")
    half = np.full(fit.rank, np.sqrt(3.0) * fit.noise)
    return Box(fit.whitener, -half, half, 0.0, fit.n_rows)


#: The default; POPS as published; the packages; Bayesian regression, which ignores misspecification.
RULES = {
    rule.name: rule
    for rule in (
        Rule("block", _unregularised, block_box),
        Rule("pointwise", _unregularised, pointwise_box),
        *(Rule(name, _evidence, partial(_chosen_points, rule=rule)) for name, rule in POINT_RULES.items()),
        Rule("bayesian", _evidence, _epistemic),
    )
}


def regularised(rule: Rule, ridge: float | str | None) -> Rule:
    """Give a rule another way to find the coefficients.

    Parameters
    ----------
    rule : Rule
        Any rule.
    ridge : float, 'evidence' or None
        Factor of the squared norm of the coefficients in the loss, or the one of largest evidence; None
        leaves the rule as it is.

    Returns
    -------
    Rule
        The same box around another fit.
    """
    if ridge is None:
        return rule
    solver = _evidence if ridge == "evidence" else partial(_ridge, ridge=float(ridge))
    return replace(rule, solve=solver)
