"""What every uncertainty quantification method returns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from snapuq.core.ensemble import Ensemble


class Posterior(Protocol):
    """A distribution over coefficient vectors, with the rule that made it."""

    @property
    def rule(self) -> str:
        """Name of the rule, as in the configuration file."""

    @property
    def mle(self) -> NDArray[np.float64]:
        """Minimiser of the loss, shape (P,)."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the distribution, shape (P,)."""

    @property
    def diagnostics(self) -> Mapping[str, Any]:
        """Numbers that tell how far the fit can be trusted; plain data."""

    @property
    def digest(self) -> str:
        """Hash of everything that `sample` depends on."""

    def sample(self, n: int, seed: int) -> Ensemble:
        """Draw members.

        Parameters
        ----------
        n : int
            How many.
        seed : int
            Seed.

        Returns
        -------
        Ensemble
            Exactly `n` members.
        """

    def save(self, path: str | Path) -> None:
        """Write to HDF5.

        Parameters
        ----------
        path : str or Path
            The file.
        """
