"""POPS: pointwise optimal parameter sets, row by row as published or softly by configuration.

The minimiser of the loss that passes exactly through training point i is theta* + H^-1 x_i e_i / h_i,
with residual e_i and leverage h_i. The posterior is uniform over the smallest box, aligned with the
principal axes of these corrections, that holds all of them.

References
----------
Swinburne and Perez, Mach. Learn.: Sci. Technol. 6, 015008 (2025), doi:10.1088/2632-2153/ad9fce;
Perez et al., npj Comput. Mater. 11, 263 (2025), doi:10.1038/s41524-025-01758-4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock

from .streaming import DesignStream, LeastSquares

Array = NDArray[np.float64]
#: Takes a block and the fit, returns whitened corrections, shape (n, r).
Corrections = Callable[[DesignBlock, LeastSquares], Array]

# A tenth of the mean leverage P / N softens the interpolation of a configuration: with 0.01 to 1 of it the
# unscaled violation of forces goes from 0.3 to 22 %, with the scale it stays at 1 to 2 %.
SOFTNESS = 0.1
# The published form drops axes whose eigenvalue is below this fraction of the largest.
PUBLISHED_AXIS_CUT = 1.0e-8


@dataclass(frozen=True, eq=False)
class Box:
    """A box of coefficient vectors around the minimiser.

    Parameters
    ----------
    axes : ndarray, shape (P, k)
        Change of the coefficients along each axis.
    low, high : ndarray, shape (k,)
        Bounds of the corrections along each axis.
    dropped_variance : float
        Share of the corrections' second moment on axes that were left out.
    n_corrections : int
        Corrections that the box holds.
    """

    axes: Array
    low: Array
    high: Array
    dropped_variance: float
    n_corrections: int


def softness(fit: LeastSquares) -> float:
    """Tau of the soft block form: a fixed share of the mean leverage.

    Parameters
    ----------
    fit : LeastSquares
        The fit.

    Returns
    -------
    float
        Tau, without unit.
    """
    return SOFTNESS * len(fit.whitener) / fit.n_rows


def block_corrections(block: DesignBlock, fit: LeastSquares) -> Array:
    """Least change of the loss that moves a whole configuration towards its data.

    Parameters
    ----------
    block : DesignBlock
        One configuration.
    fit : LeastSquares
        The fit.

    Returns
    -------
    ndarray, shape (1, r)
        Z^T (Z Z^T + tau I)^-1 e in whitened coordinates.
    """
    rows, target = block.weighted()
    if len(rows) == 0:
        return np.zeros((0, fit.rank))
    z = rows @ fit.whitener
    residual = target - rows @ fit.theta
    tau = softness(fit)
    if len(z) <= fit.rank:
        gram = z @ z.T
        gram.flat[:: len(z) + 1] += tau
        return (z.T @ np.linalg.solve(gram, residual))[None]
    moment = z.T @ z
    moment.flat[:: fit.rank + 1] += tau
    return np.linalg.solve(moment, z.T @ residual)[None]


def pointwise_corrections(block: DesignBlock, fit: LeastSquares) -> Array:
    """Correction of each row that makes the model hit that row exactly.

    Parameters
    ----------
    block : DesignBlock
        One configuration.
    fit : LeastSquares
        The fit.

    Returns
    -------
    ndarray, shape (R', r)
        z_i e_i / h_i in whitened coordinates, for the rows of non-zero weight and leverage.
    """
    rows, target = block.weighted()
    z = rows @ fit.whitener
    leverage = np.einsum("ir,ir->i", z, z)
    keep = leverage > 0
    residual = target[keep] - rows[keep] @ fit.theta
    return z[keep] * (residual / leverage[keep])[:, None]


@dataclass(frozen=True)
class Rule:
    """How corrections are made and boxed; its name is stored with every posterior.

    Parameters
    ----------
    name : str
        As in the configuration file.
    corrections : callable
        Whitened corrections of one block.
    loss_metric : bool
        Principal axes in the whitened coordinates, or else in the coefficients.
    axis_cut : float
        Axes whose eigenvalue is below this fraction of the largest are dropped.
    """

    name: str
    corrections: Corrections
    loss_metric: bool
    axis_cut: float


#: The soft block form (default) and the published row-by-row form.
RULES = {
    rule.name: rule
    for rule in (
        Rule("block", block_corrections, loss_metric=True, axis_cut=0.0),
        Rule("pointwise", pointwise_corrections, loss_metric=False, axis_cut=PUBLISHED_AXIS_CUT),
    )
}


def fit_box(stream: DesignStream, fit: LeastSquares, rule: Rule) -> Box:
    """Smallest box along the principal axes of the corrections that holds all of them.

    Parameters
    ----------
    stream : DesignStream
        The training set.
    fit : LeastSquares
        Its fit.
    rule : Rule
        How corrections are made and in which metric the axes are taken.

    Returns
    -------
    Box
        Axes and bounds.
    """

    def gather(blocks: Sequence[DesignBlock]) -> Array:
        return np.concatenate([rule.corrections(block, fit) for block in blocks])

    def second_moment(blocks: Sequence[DesignBlock]) -> Array:
        d = gather(blocks)
        return d.T @ d

    moment = stream.reduce(second_moment, np.add)
    if not rule.loss_metric:
        moment = fit.whitener @ moment @ fit.whitener.T
    values, vectors = np.linalg.eigh(moment)
    vectors = _fixed_signs(vectors)
    keep = values >= rule.axis_cut * values[-1] if rule.axis_cut > 0 else np.ones(len(values), dtype=bool)
    dropped = float(np.clip(values[~keep], 0.0, None).sum() / max(values.sum(), np.finfo(float).tiny))
    vectors = vectors[:, keep]
    axes = fit.whitener @ vectors if rule.loss_metric else vectors
    projector = vectors if rule.loss_metric else fit.whitener.T @ vectors

    def extremes(blocks: Sequence[DesignBlock]) -> Array:
        d = gather(blocks)
        along = d @ projector
        low = along.min(axis=0, initial=np.inf)
        high = along.max(axis=0, initial=-np.inf)
        return np.array([low, high, np.full(len(low), len(d), dtype=float)])

    def wider(a: Array, b: Array) -> Array:
        return np.array([np.minimum(a[0], b[0]), np.maximum(a[1], b[1]), a[2] + b[2]])

    low, high, count = stream.reduce(extremes, wider)
    return Box(axes, low, high, dropped, int(count[0]))


def _fixed_signs(vectors: Array) -> Array:
    """Make the largest component of each eigenvector positive, so that members do not depend on LAPACK."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return vectors * np.where(largest < 0, -1.0, 1.0)
