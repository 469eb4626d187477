"""Which training configurations set the error bar of a quantity.

The box of the default posterior has the covariance (1 - a) sum_c w_c d_c d_c^T + a m I in whitened
coordinates, with the corrections d_c of the training configurations, their weights, and a small isotropic
part. With the gradient h of a quantity in these coordinates, its variance is a sum over configurations of
(1 - a) w_c (h . d_c)^2, and of a m |h|^2, which belongs to none. Boxes made of extremes of corrections row by
row have no such sum: there, shares are those of the corrections' second moment along the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock
from snapuq.uq.leastsquares import LeastSquares
from snapuq.uq.pops import (
    ISOTROPIC_SHARE,
    SCATTER_POWER,
    Box,
    block_corrections,
    pointwise_corrections,
)
from snapuq.uq.popsregression import POINT_RULES, choose_points
from snapuq.uq.streaming import DesignStream

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Shares of variances; for each quantity they sum to 1.

    Parameters
    ----------
    identifiers, groups : tuple of str
        Training configurations, and the group of each.
    shares : ndarray, shape (n, C)
        Of each quantity's variance.
    isotropic : ndarray, shape (n,)
        Share that belongs to no configuration.
    """

    identifiers: tuple[str, ...]
    groups: tuple[str, ...]
    shares: Array
    isotropic: Array

    def by_group(self) -> dict[str, Array]:
        """Sum over the configurations of each group.

        Returns
        -------
        dict
            Group to shares, shape (n,).
        """
        found = {name: np.zeros(len(self.shares)) for name in self.groups}
        for group, share in zip(self.groups, self.shares.T, strict=True):
            found[group] += share
        return found


def whitened_gradients(fit: LeastSquares, box: Box, rule: str, slopes: Array) -> Array:
    """Gradients in the coordinates in which the loss is a sphere.

    Parameters
    ----------
    fit : LeastSquares
        The fit.
    box : Box
        The box around it.
    rule : str
        Name of the rule that made it.
    slopes : ndarray, shape (n, k)
        Derivatives by the coordinates along the axes of the box.

    Returns
    -------
    ndarray, shape (n, r)
        Their products with whitened corrections are changes of the quantities.
    """
    if rule in POINT_RULES or rule == "pointwise":
        # Orthonormal axes in the coefficients.
        return np.asarray(slopes @ (box.axes.T @ fit.whitener))
    # The axes are the whitener times an orthogonal matrix; it is triangular where the design has full rank.
    if fit.whitener.shape[0] == fit.rank:
        turn = np.linalg.solve(fit.whitener, box.axes)
    else:
        turn = np.linalg.lstsq(fit.whitener, box.axes, rcond=None)[0]
    return np.asarray(slopes @ turn.T)


def divide(stream: DesignStream, fit: LeastSquares, rule: str, gradients: Array) -> Attribution:
    """Divide variances among the training configurations, one configuration at a time.

    Parameters
    ----------
    stream : DesignStream
        The training set.
    fit : LeastSquares
        Its fit.
    rule : str
        Name of the rule that made the box; ``bayesian`` uses no corrections, so that nothing belongs to a
        configuration.
    gradients : ndarray, shape (n, r)
        From `whitened_gradients`.

    Returns
    -------
    Attribution
        The same on every rank.
    """
    if rule in POINT_RULES:
        stream = choose_points(stream, fit, POINT_RULES[rule])
    # A robust scatter weighs each correction by a power of its length.
    power = SCATTER_POWER if rule == "block" else 0.0

    def one(block: DesignBlock) -> tuple[str, str, Array]:
        return block.identifier, block.group, _moments(_corrections(block, fit, rule), gradients, power)

    parts = {i: [one(block) for block in stream.chunks[i]] for i in stream.held}
    found = [item for part in stream.reducer.concatenate(parts, tuple(stream.folds)) for item in part]
    identifiers, groups, moments = zip(*found, strict=True)
    table = np.array(moments)
    along, isotropic = table[:, 1:].T, np.zeros(len(gradients))
    if rule in ("block", "bayesian"):
        share = ISOTROPIC_SHARE if rule == "block" else 1.0
        level = table[:, 0].sum() / fit.rank if rule == "block" else 1.0
        along, isotropic = (1.0 - share) * along, share * level * (gradients**2).sum(axis=1)
    total = along.sum(axis=1) + isotropic
    total = np.where(total > 0.0, total, 1.0)
    return Attribution(identifiers, groups, along / total[:, None], isotropic / total)


def _corrections(block: DesignBlock, fit: LeastSquares, rule: str) -> Array:
    """Whitened corrections of one configuration that enter the box, shape (m, r)."""
    if rule == "block":
        return block_corrections([block], fit)
    if rule == "pointwise":
        return pointwise_corrections([block], fit)
    if rule == "bayesian":
        return np.zeros((0, fit.rank))
    rows, factors = block.weighted()
    return np.asarray(fit.whiten(rows) * factors[:, None])


def _moments(d: Array, gradients: Array, power: float) -> Array:
    """Weighted squares of the corrections, and of the changes that they make, shape (1 + n,)."""
    length = np.linalg.norm(d, axis=1)
    d, length = d[length > 0], length[length > 0]
    weight = length**-power
    return np.concatenate([[np.sum(weight * length**2)], (gradients @ d.T) ** 2 @ weight])
