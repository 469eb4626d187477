"""Rows of the design matrix, one block per configuration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class RowKind(IntEnum):
    """What a row predicts."""

    ENERGY = 0  #: energy per atom, eV
    FORCE = 1  #: one force component, eV/A
    STRESS = 2  #: one stress component, eV/A^3


@dataclass(frozen=True, eq=False)
class DesignBlock:
    """Rows of one configuration: energy, then forces atom by atom (x y z), then stress.

    Parameters
    ----------
    identifier : str
        The configuration.
    group : str
        Its group.
    n_atoms : int
        Number of atoms.
    rows : ndarray, shape (R, P)
        row . theta is the prediction minus the reference pair style's part.
    target : ndarray, shape (R,)
        Ab initio value minus the reference pair style's part.
    baseline : ndarray, shape (R,)
        The reference pair style's part: target + baseline is the ab initio value.
    weight : ndarray, shape (R,)
        Loss weight of each row; rows are multiplied by its square root.
    kind : ndarray of int8, shape (R,)
        `RowKind` of each row.
    is_roundoff : ndarray of bool, shape (R,)
        Rows that vanish by symmetry and hold nothing but round-off.

    Raises
    ------
    ValueError
        When shapes disagree.
    """

    identifier: str
    group: str
    n_atoms: int
    rows: NDArray[np.float64]
    target: NDArray[np.float64]
    baseline: NDArray[np.float64]
    weight: NDArray[np.float64]
    kind: NDArray[np.int8]
    is_roundoff: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = self.rows.shape[0]
        for name in ("target", "baseline", "weight", "kind", "is_roundoff"):
            if getattr(self, name).shape != (n,):
                raise ValueError(f"{name}: expected shape ({n},), got {getattr(self, name).shape}")

    def weighted(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows and targets multiplied by the square root of the loss weight.

        Returns
        -------
        rows : ndarray, shape (R', P)
            Weighted rows, those of weight zero left out.
        target : ndarray, shape (R',)
            Weighted targets.
        """
        keep = self.weight > 0
        if keep.all():  # spares a copy
            root = np.sqrt(self.weight)
            return self.rows * root[:, None], self.target * root
        root = np.sqrt(self.weight[keep])
        return self.rows[keep] * root[:, None], self.target[keep] * root
