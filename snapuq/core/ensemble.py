"""An ensemble of coefficient vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snapuq.core.potential import Potential, ReferencePair, SnapSettings
from snapuq.provenance import digest


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members drawn from a posterior; exactly as many as were asked for.

    Parameters
    ----------
    settings : SnapSettings
        Hyperparameters shared by all members.
    reference : ReferencePair or None
        Reference pair style shared by all members.
    mle : ndarray, shape (P,)
        Minimiser of the loss.
    mean : ndarray, shape (P,)
        Mean of the posterior, which is not the MLE.
    coefficients : ndarray, shape (M, P)
        The members.
    seed : int
        Seed that drew them.
    fit_digest : str
        Digest of the posterior they were drawn from.

    Raises
    ------
    ValueError
        When shapes disagree or a number is not finite.
    """

    settings: SnapSettings
    reference: ReferencePair | None
    mle: NDArray[np.float64]
    mean: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    seed: int
    fit_digest: str

    def __post_init__(self) -> None:
        p = self.settings.n_columns
        shapes = {"mle": (p,), "mean": (p,), "coefficients": (len(self.coefficients), p)}
        for name, shape in shapes.items():
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name}: expected finite numbers")
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.coefficients)

    def member(self, index: int) -> Potential:
        """One member as a potential.

        Parameters
        ----------
        index : int
            0 is the MLE; 1 to M are the members, numbered as in the exported files.

        Returns
        -------
        Potential
            The potential.
        """
        if not 0 <= index <= len(self):
            raise IndexError(f"member {index}: expected 0 (the MLE) to {len(self)}")
        theta = self.mle if index == 0 else self.coefficients[index - 1]
        return Potential(self.settings, theta, self.reference)

    @cached_property
    def digest(self) -> str:
        """Hash of the coefficients and where they come from."""
        return digest(self.fit_digest, self.seed, self.mle, self.coefficients)
