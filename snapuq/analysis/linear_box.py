"""Envelopes and worst-case members of quantities that are known to first order around the MLE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.uq.envelope import BoxPosterior, Envelope, conditional_mean, envelope

Array = NDArray[np.float64]

#: Probabilities of the quantiles.
LOW, HIGH = 0.05, 0.95


@dataclass(frozen=True, eq=False)
class _Sides:
    axes: Array
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class UnitBox:
    """A posterior in coordinates u relative to its MLE, in which its box has half-widths of 1.

    Parameters
    ----------
    centre : ndarray, shape (P,)
        The MLE.
    directions : ndarray, shape (P, k)
        Change of the coefficients for each coordinate.
    half : ndarray, shape (k',)
        Half-widths along all axes of the posterior, without its scale; those of no width have no coordinate.
    box : object
        Axes and bounds of u.
    scale : float
        Factor on these bounds: none.
    """

    centre: Array
    directions: Array
    half: Array
    box: _Sides
    scale: float = 1.0

    @classmethod
    def of(cls, posterior: BoxPosterior) -> UnitBox:
        """Choose the coordinates; axes along which the box has no width are left out.

        Parameters
        ----------
        posterior : BoxPosterior
            For example a `snapuq.uq.hypercube.HypercubePosterior`.

        Returns
        -------
        UnitBox
            The same distribution.
        """
        box = posterior.box
        half = 0.5 * (box.high - box.low)
        wide = half > 0.0
        sides = _Sides(np.eye(int(wide.sum())), box.low[wide] / half[wide], box.high[wide] / half[wide])
        return cls(posterior.mle, posterior.scale * box.axes[:, wide] * half[wide], half, sides)

    @property
    def mle(self) -> Array:
        """The MLE, which is the origin, shape (k,)."""
        return np.zeros(len(self.box.low))

    def envelope(self, mle: Array, slopes: Array, members: int) -> Envelope:
        """Distribution of quantities to first order.

        Parameters
        ----------
        mle : ndarray, shape (n,)
            Values of the MLE.
        slopes : ndarray, shape (n, k)
            Derivatives by the coordinates.
        members : int
            Size of the ensemble whose expected extremes are wanted.

        Returns
        -------
        Envelope
            With the quantiles `LOW` and `HIGH`.
        """
        return envelope(self, slopes, members, baseline=mle, probabilities=(LOW, HIGH))

    def along_axes(self, slopes: Array) -> Array:
        """Derivatives by lengths along the axes of the posterior, up to its scale.

        Parameters
        ----------
        slopes : ndarray, shape (n, k)
            Derivatives by the coordinates.

        Returns
        -------
        ndarray, shape (n, k')
            Zero along axes without width.
        """
        wide = self.half > 0.0
        found = np.zeros((len(slopes), len(wide)))
        found[:, wide] = slopes / self.half[wide]
        return found

    def at(self, slopes: Array, changes: Array) -> Array:
        """Potentials to expect where quantities differ from the MLE's by given amounts.

        Parameters
        ----------
        slopes : ndarray, shape (n, k)
            Derivatives by the coordinates.
        changes : ndarray, shape (n,)
            Within the box, for example to the expected extremes.

        Returns
        -------
        ndarray, shape (n, P)
            Coefficients, by `snapuq.uq.envelope.conditional_mean`.
        """
        return np.asarray(self.centre + conditional_mean(self, slopes, changes) @ self.directions.T)
