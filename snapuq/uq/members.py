"""Members of a posterior as changes of the coefficients, a slice at a time so that none need be stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.seeds import derive_seed

Array = NDArray[np.float64]

# Members that are made at a time; a power of 2, because Sobol sequences are balanced in these.
AT_ONCE = 1024
METHODS = ("uniform", "sobol", "latin", "halton")


@dataclass(frozen=True, eq=False)
class BoxMembers:
    """Points spread over a box.

    Parameters
    ----------
    axes : ndarray, shape (p, k)
        Change of the coefficients along each axis.
    low, high : ndarray, shape (k,)
        Bounds along the axes.
    n : int
        Number of members; Sobol sequences are cut to a power of 2.
    method : str
        ``uniform``, ``sobol``, ``latin`` or ``halton``.
    seed : int
        The same seed gives the same members.
    """

    axes: Array
    low: Array
    high: Array
    n: int
    method: str
    seed: int

    def project(self, rows: Array) -> Array:
        """Change of predictions along each axis.

        Parameters
        ----------
        rows : ndarray, shape (R, p)
            Features.

        Returns
        -------
        ndarray, shape (R, k)
            One column for each coordinate of `points`.
        """
        return np.asarray(rows @ self.axes)

    def points(self) -> Iterator[Array]:
        """Coordinates of the members along the axes.

        Yields
        ------
        ndarray, shape (m, k)
            The next members.
        """
        n, k = self.n, len(self.low)
        if self.method == "sobol":
            n = 2 ** int(np.log2(n))
        if k == 0:
            yield np.zeros((n, 0))
            return
        # scipy.stats takes long to import, and a campaign that has finished draws nothing.
        from scipy.stats import qmc

        rng = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "members")))
        if self.method == "uniform":
            parts = (rng.random((min(AT_ONCE, n - start), k)) for start in range(0, n, AT_ONCE))
        elif self.method == "latin":
            # A Latin hypercube exists only as a whole.
            parts = (part for part in [qmc.LatinHypercube(k, seed=rng).random(n)])
        else:
            engine = (qmc.Sobol if self.method == "sobol" else qmc.Halton)(k, seed=rng)
            parts = (engine.random(min(AT_ONCE, n - start)) for start in range(0, n, AT_ONCE))
        for unit in parts:
            yield self.low + unit * (self.high - self.low)

    def second_moment(self) -> Array:
        """Second moment of the uniform distribution over the box, about the coefficients.

        Returns
        -------
        ndarray, shape (p, p)
            Covariance plus the outer product of the mean with itself.
        """
        mean = self.axes @ (0.5 * (self.low + self.high))
        spread = self.axes * ((self.high - self.low) / np.sqrt(12.0))
        return np.asarray(spread @ spread.T + np.outer(mean, mean))

    def samples(self) -> Array:
        """All members.

        Returns
        -------
        ndarray, shape (p, n)
            Changes of the coefficients.
        """
        return np.concatenate([self.axes @ points.T for points in self.points()], axis=1)


@dataclass(frozen=True, eq=False)
class BareMembers:
    """The corrections themselves.

    Parameters
    ----------
    corrections : ndarray, shape (p, n)
        Changes of the coefficients.
    """

    corrections: Array

    def project(self, rows: Array) -> Array:
        """The rows themselves: members are given by their coefficients.

        Parameters
        ----------
        rows : ndarray, shape (R, p)
            Features.

        Returns
        -------
        ndarray, shape (R, p)
            The same.
        """
        return rows

    def points(self) -> Iterator[Array]:
        """Coefficients of the members.

        Yields
        ------
        ndarray, shape (m, p)
            The next members.
        """
        for start in range(0, self.corrections.shape[1], AT_ONCE):
            yield self.corrections[:, start : start + AT_ONCE].T

    def second_moment(self) -> Array:
        """Mean over the members of the outer product with itself.

        Returns
        -------
        ndarray, shape (p, p)
            The moment.
        """
        return np.asarray(self.corrections @ self.corrections.T / self.corrections.shape[1])

    def samples(self) -> Array:
        """All members.

        Returns
        -------
        ndarray, shape (p, n)
            Changes of the coefficients.
        """
        return self.corrections


def extremes(members: BoxMembers | BareMembers, rows: Array) -> tuple[Array, Array]:
    """Smallest and largest change of predictions among the members.

    Parameters
    ----------
    members : BoxMembers or BareMembers
        The members.
    rows : ndarray, shape (R, p)
        Features.

    Returns
    -------
    low, high : ndarray, shape (R,)
        The extremes.
    """
    along = members.project(rows)
    low, high = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
    for points in members.points():
        for start in range(0, len(rows), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            values = along[part] @ points.T
            low[part] = np.minimum(low[part], values.min(axis=1))
            high[part] = np.maximum(high[part], values.max(axis=1))
    return low, high


def deviations(rows: Array, covariance: Array) -> Array:
    """Standard deviations of predictions.

    Parameters
    ----------
    rows : ndarray, shape (R, p)
        Features.
    covariance : ndarray, shape (p, p)
        Of the coefficients.

    Returns
    -------
    ndarray, shape (R,)
        The deviations.
    """
    # In slices, because the product is as large as the rows.
    parts = (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE))
    variance = [np.einsum("ip,ip->i", part @ covariance, part) for part in parts]
    return np.sqrt(np.clip(np.concatenate(variance), 0.0, None))
