"""Which configurations decide a mean error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snapuq.core.design import RowKind
from snapuq.core.pointwise import PointwiseTable

# Configurations that together hold this share of the summed error are said to dominate it.
_DOMINATING_SHARE = 0.5


@dataclass(frozen=True)
class Outlier:
    """One configuration among those that hold most of the error.

    Parameters
    ----------
    identifier, group : str
        Which configuration.
    share : float
        Its share of the summed \\|error\\|.
    error, std : float
        Mean over its rows, in the unit of the kind.
    ratio : float
        Their ratio; infinite without width.
    """

    identifier: str
    group: str
    share: float
    error: float
    std: float
    ratio: float


@dataclass(frozen=True)
class Dominance:
    """How few configurations hold most of the error of one kind of rows.

    Parameters
    ----------
    kind : RowKind
        Which kind.
    n_configurations : int
        Configurations with such rows.
    n_dominating : int
        The fewest of them that together hold half of the summed \\|error\\|.
    outliers : tuple of Outlier
        Those of the latter whose error is the most surprising, worst first.
    """

    kind: RowKind
    n_configurations: int
    n_dominating: int
    outliers: tuple[Outlier, ...]


def dominance(table: PointwiseTable, kind: RowKind, most: int = 5) -> Dominance | None:
    """Name the configurations that dominate the mean error and are the least covered by their std.

    Parameters
    ----------
    table : PointwiseTable
        Any rows; those of round-off do not count.
    kind : RowKind
        Energies, forces or stresses.
    most : int
        How many to name at most.

    Returns
    -------
    Dominance or None
        None when there is no error to share out.
    """
    part = table.select((table.kind == kind) & ~table.is_roundoff)
    names, first, index = np.unique(part.identifier, return_index=True, return_inverse=True)
    rows = np.bincount(index)
    error = np.bincount(index, weights=np.abs(part.truth - part.mle))
    std = np.bincount(index, weights=part.std)
    if not error.sum() > 0:
        return None
    share = error / error.sum()
    order = np.argsort(-share, kind="stable")
    n = int(np.searchsorted(np.cumsum(share[order]), _DOMINATING_SHARE * (1.0 - 1.0e-12))) + 1
    ratio = np.divide(error, std, out=np.full(len(error), np.inf), where=std > 0)
    worst = order[:n][np.argsort(-ratio[order[:n]], kind="stable")][:most]
    outliers = [
        Outlier(
            str(names[i]),
            str(part.group[first[i]]),
            float(share[i]),
            float(error[i] / rows[i]),
            float(std[i] / rows[i]),
            float(ratio[i]),
        )
        for i in worst
    ]
    return Dominance(kind, len(names), n, tuple(outliers))
