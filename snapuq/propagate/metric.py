"""What quasi-Newton steps need to know of the MLE's curvature at a stationary point."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from snapuq.propagate.degrees import Degrees

Array = NDArray[np.float64]

#: Curvatures below this, in units of the typical one, are too small to balance coordinates with: those of
#: modes that may have either sign.
LEAST = 1.0e-1


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

    def solve(self, slope: Array) -> Array:
        """Apply the inverse Hessian.

        Parameters
        ----------
        slope : ndarray, shape (D,)
            Derivative of the energy.

        Returns
        -------
        ndarray, shape (D,)
            Coordinates; without a drift of all atoms.
        """

    def balanced(self, q: Array) -> Array:
        """Turn coordinates into such as have curvatures of about 1 and -1.

        Parameters
        ----------
        q : ndarray, shape (..., D)
            Coordinates.

        Returns
        -------
        ndarray, shape (..., D)
            Square roots of eV.
        """

    def balanced_slope(self, slope: Array) -> Array:
        """Turn derivatives by the coordinates into those by the balanced ones.

        Parameters
        ----------
        slope : ndarray, shape (..., D)
            Derivative of the energy.

        Returns
        -------
        ndarray, shape (..., D)
            Square roots of eV.
        """

    def from_balanced(self, x: Array) -> Array:
        """Turn balanced coordinates back.

        Parameters
        ----------
        x : ndarray, shape (D,)
            Balanced.

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
            Displacements of unit length; none where rows are not used.
        """

    def to_arrays(self) -> dict[str, Array]:
        """Turn into arrays for a file.

        Returns
        -------
        dict
            Name to array.
        """
