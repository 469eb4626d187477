"""Ensemble predictions of single energies, forces and stresses beside their true values."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PointwiseTable:
    """One entry per row of the design; all arrays have shape (R,).

    Parameters
    ----------
    identifier, group : ndarray of str
        Configuration and group of each row.
    kind : ndarray of int8
        `snapuq.core.design.RowKind`: energies in eV/atom, forces in eV/A, stresses in eV/A^3.
    truth : ndarray
        Ab initio value.
    mle : ndarray
        Prediction of the MLE.
    mean, std, minimum, maximum : ndarray
        Of the members' predictions; std about the members' mean.
    leverage : ndarray
        Leverage over the largest of its kind in the training set; above 1 a prediction extrapolates.
    is_roundoff : ndarray of bool
        Rows that vanish by symmetry and hold nothing but round-off.

    Raises
    ------
    ValueError
        When the lengths differ.
    """

    identifier: NDArray[np.str_]
    group: NDArray[np.str_]
    kind: NDArray[np.int8]
    truth: NDArray[np.float64]
    mle: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    leverage: NDArray[np.float64]
    is_roundoff: NDArray[np.bool_]

    def __post_init__(self) -> None:
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"PointwiseTable: expected equal lengths, got {lengths}")

    def __len__(self) -> int:
        return len(self.truth)

    def select(self, mask: NDArray[np.bool_]) -> PointwiseTable:
        """Rows where `mask` holds.

        Parameters
        ----------
        mask : ndarray of bool, shape (R,)
            Which rows.

        Returns
        -------
        PointwiseTable
            The selected rows.
        """
        return PointwiseTable(*(getattr(self, f.name)[mask] for f in fields(self)))
