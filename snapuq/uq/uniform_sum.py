r"""Distribution of a sum of independent uniform variables, to a stated absolute error.

X = sum_j a_j V_j with V_j uniform in [-1, 1]. The characteristic function prod_j sin(a_j t) / (a_j t) is
inverted as a Fourier series over a period that holds the support, or all of it but 1e-17. Where few terms
dominate it decays too slowly, so the r <= 3 largest are convolved exactly: an r-fold finite difference of
K_r(x) = E[sgn(x - Y) (x - Y)^r] / (2 r!), Y the sum of the others, whose series gains r powers of frequency.

References
----------
Gil-Pelaez, Biometrika 38, 481 (1951), doi:10.1093/biomet/38.3-4.481;
Abate and Whitt, Queueing Syst. 10, 5 (1992), doi:10.1007/BF01158520.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

# Bound on the part of the distribution function that the truncated series leaves out.
TRUNCATION = 1.0e-11
# The period, in standard deviations: X is strictly sub-Gaussian, P(|X| > 9 sigma) <= 2 exp(-81 / 2) = 5e-18.
HALF_PERIOD = 9.0
# Exact convolution of at most so many terms, and with at most this rounding error in the finite difference.
MOST_PEELED = 3
ROUNDING = 1.0e-11
# A series this short is not worth shortening.
SHORT = 64
# Numbers of terms that a series may have.
LENGTHS = np.unique(np.round(2.0 ** np.arange(3.0, 14.5, 0.5)).astype(np.int64))
# Terms below this share of the largest are left out: together they move X by less than rounding does.
NEGLIGIBLE_TERM = 1.0e-16
# F^M between this and 1 minus this is integrated for the expected maximum, in panels of a Gauss rule.
NEGLIGIBLE_TAIL = 1.0e-10
PANELS = 8
NODES, COARSE_NODES = 12, 8
# Numbers held at once while series are summed (16 MB).
CHUNK = 2_000_000


@dataclass(frozen=True, eq=False)
class UniformSum:
    """Sums of unit variance that need the same length of series, one per row.

    Parameters
    ----------
    peeled : ndarray, shape (n, r)
        Largest half-widths, convolved exactly.
    support : ndarray, shape (n,)
        Sum of all half-widths, the largest value of X.
    variance, fourth : ndarray, shape (n,)
        Second and fourth moment of the rest Y.
    half_period : ndarray, shape (n,)
        Y lies within plus and minus this (but for 1e-17); 0 where nothing is left.
    characteristic : ndarray, shape (n, N)
        Characteristic function of Y at pi m / half_period, m = 1 to N.
    error : ndarray, shape (n,)
        Bound on the error of the distribution function.
    """

    peeled: Array
    support: Array
    variance: Array
    fourth: Array
    half_period: Array
    characteristic: Array
    error: Array

    def tail_and_density(self, x: Array) -> tuple[Array, Array]:
        """Probability above `x`, and density.

        Parameters
        ----------
        x : ndarray, shape (n, q)
            Points, in standard deviations from the centre.

        Returns
        -------
        tuple of ndarray, shape (n, q)
            P(X > x) and the density of X at x.
        """
        order = self.peeled.shape[1]
        below, density = np.zeros_like(x), np.zeros_like(x)
        for signs in itertools.product((1.0, -1.0), repeat=order):
            corner = x + (self.peeled @ np.array(signs))[:, None]
            below += math.prod(signs) * self._kernel(order, corner)
            density += math.prod(signs) * self._kernel(order - 1, corner)
        norm = np.prod(2.0 * self.peeled, axis=1)[:, None]
        return np.clip(0.5 - below / norm, 0.0, 1.0), np.maximum(density / norm, 0.0)

    def quantile(self, probability: Array) -> tuple[Array, Array]:
        """Quantiles with their errors.

        Parameters
        ----------
        probability : ndarray, shape (q,)
            Between 0 and 1, both excluded.

        Returns
        -------
        tuple of ndarray, shape (n, q)
            Quantiles in standard deviations from the centre, and bounds on their errors.
        """
        # The sum is symmetric, and its logarithmic tail is concave: Newton's method converges from the right.
        target = np.tile(np.minimum(probability, 1.0 - probability), (len(self.support), 1))
        low = np.zeros_like(target)
        high = np.minimum(self.support[:, None], np.sqrt(-2.0 * np.log(target)))
        x = np.clip(-ndtri(target), low, high)
        for _ in range(100):
            tail, density = self.tail_and_density(x)
            low, high = np.where(tail > target, x, low), np.where(tail > target, high, x)
            with np.errstate(all="ignore"):
                step = x + tail / density * np.log(tail / target)
            inside = (step >= low) & (step <= high)
            step, x = x, np.where(inside, step, 0.5 * (low + high))
            if np.abs(step - x).max(initial=0.0) < 1.0e-13:
                break
        tail, density = self.tail_and_density(x)
        missed = (self.error[:, None] + np.abs(tail - target)) / np.maximum(tail, np.finfo(float).tiny)
        with np.errstate(divide="ignore", invalid="ignore"):
            # A log-concave tail falls at least as fast further out as it does here.
            outward = np.where(missed < 1.0, -np.log1p(-np.minimum(missed, 1.0)) * tail / density, np.inf)
        error = np.fmin(outward, 2.0 * self.support[:, None])
        return np.where(probability < 0.5, -x, x), error

    def expected_maximum(self, members: int) -> tuple[Array, Array]:
        """Expected largest of independent draws, the support's end minus the integral of F^M.

        Parameters
        ----------
        members : int
            How many draws.

        Returns
        -------
        tuple of ndarray, shape (n,)
            In standard deviations from the centre, and an estimate of the error.
        """
        low = self.quantile(np.array([NEGLIGIBLE_TAIL ** (1.0 / members)]))[0]
        high = np.minimum(self.support[:, None], math.sqrt(2.0 * math.log(members / NEGLIGIBLE_TAIL)))
        # The distribution is smooth between the corners of the peeled terms, blurred by the rest.
        corners = [
            self.peeled @ np.array(s) for s in itertools.product((1.0, -1.0), repeat=self.peeled.shape[1])
        ]
        blur = self.half_period[:, None]
        corner = np.stack(corners, axis=1)
        even = low + (high - low) * np.linspace(0.0, 1.0, PANELS + 1)
        edges = np.concatenate([even, corner - blur, corner, corner + blur], axis=1)
        edges = np.sort(np.clip(edges, low, high), axis=1)
        fine, coarse = (self._integral(edges, members, nodes) for nodes in (NODES, COARSE_NODES))
        # Below `low` F^M is negligible, above `high` 1 - F^M is, over a length of not more than 2 high + 1.
        ends = NEGLIGIBLE_TAIL * (2.0 * high[:, 0] + 1.0)
        error = np.abs(fine - coarse) + members * self.error * (high - low)[:, 0] + ends
        return high[:, 0] - fine, error

    def _integral(self, edges: Array, members: int, nodes: int) -> Array:
        """Integral of F^M over the panels, by a Gauss rule in each."""
        at, weight = np.polynomial.legendre.leggauss(nodes)
        half = 0.5 * np.diff(edges, axis=1)[:, :, None]
        x = edges[:, :-1, None] + half * (1.0 + at)
        tail = self.tail_and_density(x.reshape(len(x), -1))[0].reshape(x.shape)
        with np.errstate(divide="ignore"):
            power = np.exp(members * np.log1p(-tail))
        return np.asarray((power * weight * half).sum(axis=(1, 2)))

    def _kernel(self, order: int, x: Array) -> Array:
        """K_order at points of shape (n, q); its derivative is the kernel of the order below."""
        sign, size, var, fourth = np.sign(x), np.abs(x), self.variance[:, None], self.fourth[:, None]
        outside = (
            0.5 * sign,
            0.5 * size,
            0.25 * sign * (x * x + var),
            size * (x * x + 3.0 * var) / 12.0,
            np.zeros_like(x),  # order -1, the density of Y
        )[order]
        if not self.characteristic.shape[1]:
            return outside
        period = self.half_period[:, None]
        z = np.clip(x, -period, period)
        # Constants of integration, from the moments of Y at the end of the period.
        first = period / 6.0 + var / (4.0 * period)
        third = (
            (period**3 + 6.0 * period * var + fourth / period) / 48.0
            - period**3 / 240.0
            - first * period**2 / 6.0
        )
        polynomial = (
            z / (2.0 * period),
            z**2 / (4.0 * period) + first,
            z**3 / (12.0 * period) + first * z,
            z**4 / (48.0 * period) + 0.5 * first * z**2 + third,
            np.broadcast_to(0.5 / period, z.shape),
        )[order]
        return np.where(size < period, polynomial + self._series(order, z), outside)

    def _series(self, order: int, z: Array) -> Array:
        """Sum over frequencies of the Fourier series of K_order."""
        frequency = np.pi * np.arange(1, self.characteristic.shape[1] + 1) / self.half_period[:, None]
        sign = -1.0 if order in (1, 2) else 1.0
        coefficient = sign * self.characteristic / (self.half_period[:, None] * frequency ** (order + 1))
        wave = np.sin if order in (0, 2) else np.cos
        total = np.empty_like(z)
        rows = max(1, CHUNK // max(1, z.shape[1] * frequency.shape[1]))
        for start in range(0, len(z), rows):
            part = slice(start, start + rows)
            total[part] = np.einsum(
                "nqm,nm->nq", wave(z[part, :, None] * frequency[part, None]), coefficient[part]
            )
        return total


def uniform_sums(half_widths: Array) -> Iterator[tuple[Indices, UniformSum]]:
    """Prepare sums of uniform variables, in groups that share a method.

    Parameters
    ----------
    half_widths : ndarray, shape (n, k)
        Of the terms, not negative, at least one positive in each row; the centre of each sum is 0.

    Yields
    ------
    indices : ndarray
        Rows of the group.
    group : UniformSum
        These rows, divided by their standard deviations sqrt(sum_j a_j^2 / 3).
    """
    n, k = half_widths.shape
    rows = max(1, CHUNK // max(1, k * len(LENGTHS)))
    for start in range(0, n, rows):
        a = np.sort(half_widths[start : start + rows], axis=1)[:, ::-1]
        a = np.where(a < NEGLIGIBLE_TERM * a[:, :1], 0.0, a) / a[:, :1]
        a = a / np.sqrt((a * a).sum(axis=1, keepdims=True) / 3.0)
        peeled, length, error = _plan(a)
        for r, m in sorted(set(zip(peeled.tolist(), length.tolist(), strict=True))):
            mine = np.flatnonzero((peeled == r) & (length == m))
            yield start + mine, _prepare(a[mine], r, m, error[mine])


def _prepare(a: Array, peeled: int, length: int, error: Array) -> UniformSum:
    """Moments and characteristic function of what is left when the largest terms are peeled off."""
    rest, half_period = a[:, peeled:], _half_period(a, peeled)
    variance = (rest**2).sum(axis=1) / 3.0
    # The fourth cumulant of a uniform variable in [-a, a] is -2 a^4 / 15.
    fourth = 3.0 * variance**2 - 2.0 / 15.0 * (rest**4).sum(axis=1)
    characteristic = np.empty((len(a), length))
    if length:
        frequency = np.arange(1, length + 1) / half_period[:, None]
        rows = max(1, CHUNK // (max(1, rest.shape[1]) * length))
        for start in range(0, len(a), rows):
            part = slice(start, start + rows)
            characteristic[part] = np.sinc(rest[part, :, None] * frequency[part, None]).prod(axis=1)
    return UniformSum(a[:, :peeled], a.sum(axis=1), variance, fourth, half_period, characteristic, error)


def _half_period(a: Array, peeled: int) -> Array:
    rest = a[:, peeled:]
    return np.minimum(rest.sum(axis=1), HALF_PERIOD * np.sqrt((rest**2).sum(axis=1) / 3.0))


def _plan(a: Array) -> tuple[Indices, Indices, Array]:
    """Terms to peel, length of the series and bound on the error, for half-widths in falling order."""
    n, k = a.shape
    best_peeled, best_length = np.zeros((2, n), dtype=np.int64)
    best_error, best_cost = np.ones(n), np.full(n, np.inf)
    for r in range(min(MOST_PEELED, k) + 1):
        rounding = _rounding(a, r)
        open_rows = np.flatnonzero((best_cost > SHORT) & (rounding <= ROUNDING))
        if not len(open_rows):
            continue
        length, truncation = _series_length(a[open_rows], r)
        cost = 2.0**r * length
        better = cost < best_cost[open_rows]
        rows = open_rows[better]
        best_peeled[rows], best_length[rows], best_cost[rows] = r, length[better], cost[better]
        aliasing = 2.0 * math.exp(-0.5 * HALF_PERIOD**2)
        best_error[rows] = truncation[better] + rounding[rows] + aliasing
    return best_peeled, best_length, best_error


def _rounding(a: Array, r: int) -> Array:
    """Rounding error of the finite difference: 2^r terms as large as the kernel at its farthest corner."""
    farthest = np.minimum(a.sum(axis=1), HALF_PERIOD) + a[:, :r].sum(axis=1)
    with np.errstate(divide="ignore"):
        largest = farthest**r / (2.0 * math.factorial(r) * a[:, :r].prod(axis=1))
    return np.asarray(np.finfo(float).eps * (4.0 + largest))


def _series_length(a: Array, r: int) -> tuple[Indices, Array]:
    """Fewest terms that bring the truncation below its limit, and the bound that they reach.

    With the bound b on |sin x / x|, the terms of the series of F are below prod_j b(a_j w) / (pi m) at
    frequency w = pi m / T; b is monotone, so the bound at the start of a block bounds the whole block.
    """
    half_period = _half_period(a, r)
    length, bound = np.zeros((2, len(a)))
    rows = np.flatnonzero(half_period)
    if len(rows):
        x = a[rows, :, None] * (np.pi * LENGTHS / half_period[rows, None])[:, None, :]
        # A peeled term is not bounded by 1: its corners may lie outside the period.
        log_bound = _log_sinc_bound(x[:, r:]).sum(axis=1) - np.log(x[:, :r]).sum(axis=1)
        # Beyond the last length the terms fall at least as 1 / w^2: less than another factor of 2 in all.
        block = np.append(np.diff(np.log(LENGTHS)), 2.0 * math.log(2.0)) / np.pi
        left_out = np.cumsum((np.exp(log_bound) * block)[:, ::-1], axis=1)[:, ::-1]
        enough = left_out <= TRUNCATION
        enough[:, -1] = True
        first = enough.argmax(axis=1)
        length[rows], bound[rows] = LENGTHS[first], left_out[np.arange(len(rows)), first]
    return length.astype(np.int64), bound


def _log_sinc_bound(x: Array) -> Array:
    """Logarithm of a falling bound on |sin x / x|: exp(-x^2 / 6) holds up to pi, 1 / x everywhere."""
    return np.where(x <= 3.0, -x * x / 6.0, np.minimum(-1.5, -np.log(np.maximum(x, 3.0))))
