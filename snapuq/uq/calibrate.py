"""One scale of the box from cross-validation, and what it lets one expect of unseen data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import RowKind
from snapuq.errors import InputError

from .crossval import CALIBRATION_MEMBERS, OTHER_MEMBERS, HeldOut

Array = NDArray[np.float64]

#: Groups smaller than this tell too little when they are left out.
SMALLEST_GROUP = 30


@dataclass(frozen=True)
class Expected:
    """What to expect of one kind of rows on unseen data.

    Parameters
    ----------
    violation : float
        Share of held-out rows outside the envelope.
    low, high : float
        95 % interval of that share; rows of one configuration count as far as they are independent.
    ratio : float or None
        Mean \\|error\\| over mean std; None without width.
    n_rows : int
        Held-out rows.
    unscaled : float
        The violation at scale 1.
    by_members : tuple of (int, float)
        Number of members and the violation to expect of them, at the same scale.
    """

    violation: float
    low: float
    high: float
    ratio: float | None
    n_rows: int
    unscaled: float
    by_members: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class GroupExpected:
    """A group of configurations predicted by a fit to all the others, at the calibrated scale.

    Parameters
    ----------
    group : str
        Its name.
    n_configurations : int
        Its size.
    violation_energy, violation_force : float or None
        Shares outside the envelope; None without such rows.
    ratio_energy, ratio_force : float or None
        Mean \\|error\\| over mean std.
    extrapolates : float
        Share of configurations whose energy has a leverage beyond all of the other groups.
    """

    group: str
    n_configurations: int
    violation_energy: float | None
    violation_force: float | None
    ratio_energy: float | None
    ratio_force: float | None
    extrapolates: float


@dataclass(frozen=True)
class Calibration:
    """A scale and what cross-validation expects of it.

    Parameters
    ----------
    scale : float
        Factor on the box.
    target : float
        Mean envelope violation of energies and forces that was asked for.
    members : int
        Number of members that it is for.
    folds : int
        Number of folds.
    fold_scales : tuple of float
        The scale that each fold alone would ask for.
    energy, force : Expected or None
        What to expect; None without such rows.
    """

    scale: float
    target: float
    members: int
    folds: int
    fold_scales: tuple[float, ...]
    energy: Expected | None
    force: Expected | None


def calibrate(held: HeldOut, target: float) -> Calibration:
    """Find the scale at which the mean violation of energies and forces is the target.

    At each held-out row the members' extremes grow in proportion to the scale, so the scale at which the row
    would be just inside is known, and the answer is a quantile of these scales.

    Parameters
    ----------
    held : HeldOut
        From `cross_validate`.
    target : float
        Wanted mean violation.

    Returns
    -------
    Calibration
        The scale, and the violations to expect.

    Raises
    ------
    InputError
        When no held-out row is left.
    """
    critical = held.critical()
    kinds = [held.kind == kind for kind in (RowKind.ENERGY, RowKind.FORCE)]
    if not any(k.any() for k in kinds):
        raise InputError(
            "cross-validation has no energy or force to look at: all have weight zero or vanish by symmetry",
            key="fit.calibrate",
            hint="set calibrate: false",
        )

    def scale_of(rows: NDArray[np.bool_]) -> float:
        return critical_quantile([critical[k & rows] for k in kinds if (k & rows).any()], target)

    scale = scale_of(np.ones(len(critical), dtype=bool))
    folds = np.unique(held.fold)
    alone = tuple(scale_of(held.fold == f) for f in folds if any((k & (held.fold == f)).any() for k in kinds))
    energy, force = (_expected(held, k, scale) if k.any() else None for k in kinds)
    return Calibration(scale, target, CALIBRATION_MEMBERS, len(folds), alone, energy, force)


def leave_groups_out(held: HeldOut, names: Mapping[int, str], scale: float) -> tuple[GroupExpected, ...]:
    """Sum up groups that were left out in turn.

    Parameters
    ----------
    held : HeldOut
        From `cross_validate` with groups as folds.
    names : Mapping
        Fold to name of the group.
    scale : float
        The calibrated scale.

    Returns
    -------
    tuple of GroupExpected
        One per group, in the order of their folds.
    """
    outside = held.critical() > scale
    found = []
    for fold in np.unique(held.fold):
        here = held.fold == fold
        energy, force = (here & (held.kind == kind) for kind in (RowKind.ENERGY, RowKind.FORCE))
        configurations = np.unique(held.configuration[here])
        beyond = np.unique(held.configuration[here & (held.leverage > 1.0)])
        found.append(
            GroupExpected(
                names[int(fold)],
                len(configurations),
                _share(outside[energy]),
                _share(outside[force]),
                _error_ratio(held, energy, scale),
                _error_ratio(held, force, scale),
                len(beyond) / len(configurations),
            )
        )
    return tuple(found)


def critical_quantile(groups: Sequence[Array], target: float) -> float:
    """Smallest scale at which the mean over groups of the share of larger critical scales is the target.

    Parameters
    ----------
    groups : sequence of ndarray
        Critical scales of each kind of row.
    target : float
        Wanted mean share.

    Returns
    -------
    float
        The scale; the largest finite critical scale when the target cannot be reached.
    """
    values = np.concatenate(groups)
    share = np.concatenate([np.full(len(g), 1.0 / (len(g) * len(groups))) for g in groups])
    order = np.argsort(values, kind="stable")[::-1]
    above = np.cumsum(share[order])
    # The scale is the largest critical value whose removal would push the violation over the target.
    index = int(np.searchsorted(above, target * (1 + 1e-12), side="right"))
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return 1.0
    return float(min(values[order[min(index, len(values) - 1)]], finite.max()))


def clustered_interval(outside: NDArray[np.bool_], cluster: NDArray[np.int64]) -> tuple[float, float]:
    """95 % interval of a share whose trials come in clusters.

    The number of trials is divided by the design effect, the ratio of the variance between clusters to that
    of independent trials, and the exact binomial interval is taken.

    Parameters
    ----------
    outside : ndarray of bool, shape (R,)
        Outcome of each trial.
    cluster : ndarray of int, shape (R,)
        Cluster of each trial.

    Returns
    -------
    low, high : float
        Bounds.

    References
    ----------
    Clopper and Pearson, Biometrika 26, 404 (1934), doi:10.1093/biomet/26.4.404;
    Kish, Survey Sampling (Wiley, 1965), chapter 8 (design effect).
    """
    n, share = len(outside), float(outside.mean())
    _, index = np.unique(cluster, return_inverse=True)
    size = np.bincount(index)
    hits = np.bincount(index, weights=outside)
    independent = n * share * (1.0 - share)
    # Without variance to look at, rows of a configuration count as one.
    effect = n / len(size)
    if independent > 0:
        effect = max(1.0, float(np.sum((hits - share * size) ** 2)) / independent)
    # scipy.stats takes long to import, and only calibrations need it.
    from scipy.stats import beta

    trials = n / effect
    successes = share * trials
    low = 0.0 if successes == 0 else float(beta.ppf(0.025, successes, trials - successes + 1.0))
    high = 1.0 if share == 1 else float(beta.ppf(0.975, successes + 1.0, trials - successes))
    return low, high


def _expected(held: HeldOut, rows: NDArray[np.bool_], scale: float) -> Expected:
    outside = held.critical()[rows] > scale
    low, high = clustered_interval(outside, held.configuration[rows])
    return Expected(
        violation=float(outside.mean()),
        low=low,
        high=high,
        ratio=_error_ratio(held, rows, scale),
        n_rows=int(rows.sum()),
        unscaled=float((held.critical()[rows] > 1.0).mean()),
        by_members=tuple((m, float((held.critical(m)[rows] > scale).mean())) for m in OTHER_MEMBERS),
    )


def _share(outside: NDArray[np.bool_]) -> float | None:
    return float(outside.mean()) if len(outside) else None


def _error_ratio(held: HeldOut, rows: NDArray[np.bool_], scale: float) -> float | None:
    width = scale * float(held.std[rows].mean()) if rows.any() else 0.0
    return float(np.abs(held.error[rows]).mean()) / width if width > 0 else None
