"""One scale of the box from K-fold cross-validation by configuration, inside the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock, RowKind
from snapuq.errors import InputError
from snapuq.seeds import generator

from .pops import Box, Rule, fit_box
from .streaming import DesignStream, Leaf, LeastSquares, column_norms, count_rows, solve, triangular_factor

Array = NDArray[np.float64]

#: The calibration is for this number of members; drawing more or fewer never changes the scale.
CALIBRATION_MEMBERS = 500


@dataclass(frozen=True)
class Calibration:
    """A scale and what cross-validation expects of it.

    Parameters
    ----------
    scale : float
        Factor on the box.
    target : float
        Mean envelope violation of energies and forces that was asked for.
    violation_energy, violation_force : float or None
        Cross-validated violations at that scale; None without such rows.
    unscaled_energy, unscaled_force : float or None
        The same at scale 1.
    folds : int
        Number of folds.
    """

    scale: float
    target: float
    violation_energy: float | None
    violation_force: float | None
    unscaled_energy: float | None
    unscaled_force: float | None
    folds: int


def assign_folds(n: int, folds: int, seed: int) -> NDArray[np.int64]:
    """Spread configurations over folds at random, as evenly as possible.

    Parameters
    ----------
    n : int
        Number of configurations.
    folds : int
        Number of folds.
    seed : int
        Seed.

    Returns
    -------
    ndarray of int, shape (n,)
        Fold of each configuration.
    """
    return generator(seed, "folds").permutation(np.arange(n) % folds)


def calibrate(stream: DesignStream, rule: Rule, target: float, seed: int) -> Calibration:
    """Find the scale at which the mean violation of energies and forces is the target.

    Each fold in turn is predicted by a box fitted to the others. At each held-out row the members' extremes
    grow in proportion to the scale, so the scale at which the row would be just inside is known, and
    the answer is a quantile of these scales. Members are drawn with common random numbers. Rows of pure
    round-off or of weight zero are left out.

    Parameters
    ----------
    stream : DesignStream
        The training set, in folds.
    rule : Rule
        How the box is made.
    target : float
        Wanted violation, between 0 and 1.
    seed : int
        Seed of the members.

    Returns
    -------
    Calibration
        The scale and the cross-validated violations.

    Raises
    ------
    InputError
        When a fold leaves nothing to train on.
    """
    folds = sorted(set(stream.folds.values()))
    critical = []
    for fold in folds:
        training, held_out = _split(stream, fold)
        n_rows = count_rows(training)
        if n_rows == 0:
            raise InputError(
                "all rows of non-zero weight are in one cross-validation fold",
                key="fit.calibrate",
                hint="add data, or set calibrate: false",
            )
        norms = column_norms(training)
        fit = solve(triangular_factor(training, norms), norms, n_rows)
        box = fit_box(training, fit, rule)
        shifts = draw(box, CALIBRATION_MEMBERS, seed, "calibration") @ box.axes.T
        critical.append(held_out.concatenate(_critical_leaf(fit, shifts)))
    kinds, scales = np.concatenate(critical).T
    energy, force = (scales[kinds == kind] for kind in (RowKind.ENERGY, RowKind.FORCE))
    scale = critical_quantile([s for s in (energy, force) if len(s)], target)
    return Calibration(
        scale=scale,
        target=target,
        violation_energy=_violation(energy, scale),
        violation_force=_violation(force, scale),
        unscaled_energy=_violation(energy, 1.0),
        unscaled_force=_violation(force, 1.0),
        folds=len(folds),
    )


def draw(box: Box, n: int, seed: int, purpose: str) -> Array:
    """Draw points uniformly from an unscaled box.

    Parameters
    ----------
    box : Box
        The box.
    n : int
        How many.
    seed : int
        Seed.
    purpose : str
        Label of the random stream.

    Returns
    -------
    ndarray, shape (n, k)
        Coordinates along the axes.
    """
    u = generator(seed, purpose).random((n, len(box.low)))
    return np.asarray(box.low + u * (box.high - box.low))


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


def _split(stream: DesignStream, fold: int) -> tuple[DesignStream, DesignStream]:
    """Training and held-out chunks of one fold."""
    return stream.subset(lambda f: f != fold), stream.subset(lambda f: f == fold)


def _critical_leaf(fit: LeastSquares, shifts: Array) -> Leaf:
    """Kind and critical scale of every sound energy and force row of a chunk."""

    def leaf(blocks: Sequence[DesignBlock]) -> Array:
        parts = []
        for block in blocks:
            keep = ~block.is_roundoff & (block.kind != RowKind.STRESS) & (block.weight > 0)
            rows = block.rows[keep]
            error = block.target[keep] - rows @ fit.theta
            spread = rows @ shifts.T
            reach = np.where(error > 0, spread.max(axis=1), -spread.min(axis=1))
            with np.errstate(divide="ignore", invalid="ignore"):
                scale = np.where(reach > 0, np.abs(error) / reach, np.inf)
            scale[error == 0] = 0.0
            parts.append(np.column_stack([block.kind[keep].astype(float), scale]))
        return np.concatenate(parts)

    return leaf


def _violation(scales: Array, scale: float) -> float | None:
    """Share of rows outside the envelope at a scale."""
    return float((scales > scale).mean()) if len(scales) else None
