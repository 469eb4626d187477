"""POPS: pointwise optimal parameter sets, row by row as published or softly by configuration.

The minimiser of the loss that passes exactly through training point i is theta* + H^-1 x_i e_i / h_i,
with residual e_i and leverage h_i. As published, the posterior is uniform over the smallest box, aligned
with the principal axes of these corrections, that holds all of them. By default a whole configuration is one
soft point, and the box has the variance of a robust scatter of the corrections instead of their extremes.

References
----------
Swinburne and Perez, Mach. Learn.: Sci. Technol. 6, 015008 (2025), doi:10.1088/2632-2153/ad9fce;
Perez et al., npj Comput. Mater. 11, 263 (2025), doi:10.1038/s41524-025-01758-4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock

from .leastsquares import LeastSquares
from .streaming import DesignStream, batches

Array = NDArray[np.float64]
#: Takes the blocks of a chunk and the fit, returns whitened corrections, shape (n, r).
Corrections = Callable[[Sequence[DesignBlock], LeastSquares], Array]

# The softness of the interpolation of a configuration, in units of the mean leverage P / N. On tungsten,
# tantalum and tungsten-beryllium any value from 0.03 to 1 gives the same calibration within its noise.
SOFTNESS = 0.1
# Weight of a correction in the scatter, as a power of its inverse length: 0 is the covariance, 1 the scatter
# of a multivariate Laplace law. Half-way, a few outlying configurations do not set the shape of the box.
SCATTER_POWER = 0.5
# Share of an isotropic scatter in the loss metric: directions that no correction reaches keep some width.
ISOTROPIC_SHARE = 0.1
# A row whose leverage is this far below the mean is zero to the rounding of double precision: 1e-13 of a
# typical row in amplitude. The published form has no correction for zero rows.
ZERO_LEVERAGE = 1.0e-26
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
        Corrections that the box was made from.
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


def whitened(blocks: Sequence[DesignBlock], fit: LeastSquares) -> Iterator[tuple[Array, Array]]:
    """Whitened rows and residuals of each block that has rows of non-zero weight.

    Parameters
    ----------
    blocks : sequence of DesignBlock
        Blocks of a chunk.
    fit : LeastSquares
        The fit.

    Yields
    ------
    z : ndarray, shape (R', r)
        Weighted rows in coordinates in which the loss is a sphere.
    residual : ndarray, shape (R',)
        Weighted residuals.
    """
    for group in batches(blocks):
        parts = [block.weighted() for block in group]
        rows = np.concatenate([rows for rows, _ in parts])
        residual = np.concatenate([target for _, target in parts]) - rows @ fit.theta
        # One product for the whole group: single configurations are too small for BLAS.
        z = fit.whiten(rows, overwrite=True)
        start = 0
        for part, _ in parts:
            stop = start + len(part)
            if stop > start:
                yield z[start:stop], residual[start:stop]
            start = stop


def block_corrections(blocks: Sequence[DesignBlock], fit: LeastSquares) -> Array:
    """Least change of the loss that moves a whole configuration towards its data, for each configuration.

    Parameters
    ----------
    blocks : sequence of DesignBlock
        Blocks of a chunk.
    fit : LeastSquares
        The fit.

    Returns
    -------
    ndarray, shape (C, r)
        Z^T (Z Z^T + tau I)^-1 e in whitened coordinates; configurations without weight give none.
    """
    tau = softness(fit)
    found = []
    for z, residual in whitened(blocks, fit):
        if len(z) <= fit.rank:
            gram = z @ z.T
            gram.flat[:: len(z) + 1] += tau
            found.append(z.T @ np.linalg.solve(gram, residual))
        else:
            moment = z.T @ z
            moment.flat[:: fit.rank + 1] += tau
            found.append(np.linalg.solve(moment, z.T @ residual))
    return np.array(found).reshape(-1, fit.rank)


def pointwise_corrections(blocks: Sequence[DesignBlock], fit: LeastSquares) -> Array:
    """Correction of each row that makes the model hit that row exactly.

    Parameters
    ----------
    blocks : sequence of DesignBlock
        Blocks of a chunk.
    fit : LeastSquares
        The fit.

    Returns
    -------
    ndarray, shape (R', r)
        z_i e_i / h_i in whitened coordinates, for the rows of non-zero weight that are not zero to rounding.
    """
    found = [np.zeros((0, fit.rank))]
    for z, residual in whitened(blocks, fit):
        leverage = np.einsum("ir,ir->i", z, z)
        keep = leverage > ZERO_LEVERAGE * fit.rank / fit.n_rows
        found.append(z[keep] * (residual[keep] / leverage[keep])[:, None])
    return np.concatenate(found)


def block_box(stream: DesignStream, fit: LeastSquares, corrections: Corrections = block_corrections) -> Box:
    """Box with the variance of a robust, shrunken scatter of the corrections of whole configurations.

    With corrections d_c of length l_c in the loss metric, the scatter is the sum of d_c d_c^T / l_c^p
    times the mean of l_c^p over the number of corrections, mixed with a small isotropic part. The box lies
    along its principal axes, and a uniform distribution over it has the scatter as covariance.

    Parameters
    ----------
    stream : DesignStream
        The training set.
    fit : LeastSquares
        Its fit.
    corrections : callable, optional
        Whitened corrections of the blocks of a chunk; by default one per block.

    Returns
    -------
    Box
        Axes and bounds, symmetric about the minimiser.

    References
    ----------
    Ollila and Tyler, IEEE Trans. Signal Process. 62, 6059 (2014), doi:10.1109/TSP.2014.2360826 (shrunken
    robust scatter).
    """

    def scatter(blocks: Sequence[DesignBlock]) -> Array:
        d = corrections(blocks, fit)
        length = np.linalg.norm(d, axis=1)
        d, length = d[length > 0], length[length > 0]
        weighted = d * (length ** (-0.5 * SCATTER_POWER))[:, None]
        # The last row carries the number of corrections and the sum of l^p along with the matrix.
        total = np.zeros((fit.rank + 1, max(fit.rank, 2)))
        total[:-1, : fit.rank] = weighted.T @ weighted
        total[-1, :2] = len(d), np.sum(length**SCATTER_POWER)
        return total

    total = stream.reduce(scatter, np.add)
    n, lengths = total[-1, :2]
    moment = total[:-1, : fit.rank] * (lengths / max(n, 1.0) ** 2)
    values, vectors = np.linalg.eigh(moment)
    values = np.clip(values, 0.0, None)
    values = (1.0 - ISOTROPIC_SHARE) * values + ISOTROPIC_SHARE * values.mean()
    half = np.sqrt(3.0 * values)
    return Box(fit.whitener @ _fixed_signs(vectors), -half, half, 0.0, int(n))


def pointwise_box(stream: DesignStream, fit: LeastSquares) -> Box:
    """Smallest box along the principal axes of the row-by-row corrections, as published.

    Parameters
    ----------
    stream : DesignStream
        The training set.
    fit : LeastSquares
        Its fit.

    Returns
    -------
    Box
        Axes and bounds.
    """

    def second_moment(blocks: Sequence[DesignBlock]) -> Array:
        d = pointwise_corrections(blocks, fit)
        return d.T @ d

    moment = fit.whitener @ stream.reduce(second_moment, np.add) @ fit.whitener.T
    values, vectors = np.linalg.eigh(moment)
    keep = values >= PUBLISHED_AXIS_CUT * values[-1]
    dropped = float(np.clip(values[~keep], 0.0, None).sum() / max(values.sum(), np.finfo(float).tiny))
    axes = _fixed_signs(vectors[:, keep])
    projector = fit.whitener.T @ axes

    def extremes(blocks: Sequence[DesignBlock]) -> Array:
        along = pointwise_corrections(blocks, fit) @ projector
        low = along.min(axis=0, initial=np.inf)
        high = along.max(axis=0, initial=-np.inf)
        return np.array([low, high, np.full(len(low), len(along), dtype=float)])

    def wider(a: Array, b: Array) -> Array:
        return np.array([np.minimum(a[0], b[0]), np.maximum(a[1], b[1]), a[2] + b[2]])

    low, high, count = stream.reduce(extremes, wider)
    return Box(axes, low, high, dropped, int(count[0]))


def _fixed_signs(vectors: Array) -> Array:
    """Make the largest component of each eigenvector positive, so that members do not depend on LAPACK."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return vectors * np.where(largest < 0, -1.0, 1.0)
