"""What quasi-Newton steps need to know of the MLE's curvature at a stationary point."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from snapuq.propagate.degrees import Degrees

Array = NDArray[np.float64]


class Metric(Protocol):
    """Second derivatives of the MLE's energy: a matrix, or what they do to some vectors."""

    degrees: Degrees

    @property
    def uses_rows(self) -> bool:
        """Whether design rows of all coordinates at the point are small enough to be formed."""

    @property
    def n_negative(self) -> int:
        """Number of negative modes."""

    @property
    def probe(self) -> Array | None:
        """Displacement, shape (D,), along which a member's own curvature is to be measured, if any."""

    def solve(self, slope: Array, soft: Array | None = None) -> Array:
        """Apply the inverse Hessian.

        Parameters
        ----------
        slope : ndarray, shape (D,)
            Derivative of the energy.
        soft : ndarray, shape (k, k), optional
            Hessian of another potential in the soft modes, to be used for them.

        Returns
        -------
        ndarray, shape (D,)
            Coordinates; without a drift of all atoms.
        """

    def precondition(self, slope: Array) -> Array:
        """Apply the inverse of the Hessian with all curvatures positive.

        Parameters
        ----------
        slope : ndarray, shape (D,)
            Derivative of the energy.

        Returns
        -------
        ndarray, shape (D,)
            Coordinates; without a drift of all atoms.
        """

    def soft_modes(self) -> Array:
        """Modes whose curvature is followed for every member by rows.

        Returns
        -------
        ndarray, shape (k, D)
            Displacements; none where rows are not used.
        """

    def project(self, changes: Array) -> Array:
        """Hessian in the soft modes, from how a slope changes along them.

        Parameters
        ----------
        changes : ndarray, shape (k, D)
            Slope displaced by each of `soft_modes`, minus the slope without.

        Returns
        -------
        ndarray, shape (k, k)
            Symmetric.
        """

    def to_arrays(self) -> dict[str, Array]:
        """Turn into arrays for a file.

        Returns
        -------
        dict
            Name to array.
        """
