"""Cross-validation of a box inside the training set: errors and envelopes of rows that a fit has not seen."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from snapuq.core.design import DesignBlock, RowKind
from snapuq.errors import InputError
from snapuq.seeds import generator

from .leastsquares import Factor, LeastSquares, fold_factors, merge_all
from .leverage import leverage_scale, leverages
from .pops import Box
from .rules import Rule
from .streaming import DesignStream, Leaf, batches

Array = NDArray[np.float64]

#: The calibration is for this number of members; drawing more or fewer never changes the scale.
CALIBRATION_MEMBERS = 500
#: Other numbers of members for which the violation to expect is stored.
OTHER_MEMBERS = (20, 50, 100, 200, 500, 1000, 2000)
_TREND_FROM = 100
_COLUMNS = ("kind", "configuration", "error", "std", "mean", "leverage")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out energy and force rows, each predicted by a box of scale 1 fitted without its fold.

    Parameters
    ----------
    fold : ndarray of int, shape (R,)
        Fold of each row.
    kind : ndarray of int, shape (R,)
        `RowKind`.
    configuration : ndarray of int, shape (R,)
        Number that the rows of a configuration share.
    error : ndarray, shape (R,)
        Signed error of the minimiser, eV/atom or eV/A.
    std, mean : ndarray, shape (R,)
        Of the members' deviations from the minimiser.
    leverage : ndarray, shape (R,)
        Leverage of the unweighted energy row over the largest in the other folds; NaN unless asked for.
    reach : ndarray, shape (R, len(OTHER_MEMBERS))
        Distance of the envelope from the minimiser on the side of the error, for several numbers of members.
    """

    fold: NDArray[np.int64]
    kind: NDArray[np.int64]
    configuration: NDArray[np.int64]
    error: Array
    std: Array
    mean: Array
    leverage: Array
    reach: Array

    def critical(self, members: int = CALIBRATION_MEMBERS) -> Array:
        """Scale at which each row is just inside the envelope.

        Parameters
        ----------
        members : int
            One of `OTHER_MEMBERS`.

        Returns
        -------
        ndarray, shape (R,)
            Infinite where the envelope has no width on the side of the error.
        """
        reach, size = self.reach[:, OTHER_MEMBERS.index(members)], np.abs(self.error)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(reach > 0, size / reach, np.inf)
        return np.where(size == 0, 0.0, scale)


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


def cross_validate(
    stream: DesignStream,
    rule: Rule,
    seed: int,
    factors: Mapping[int, Factor] | None = None,
    held_out: Sequence[int] | None = None,
    extrapolation: bool = False,
) -> HeldOut:
    """Predict each fold by a box fitted to the others.

    Members are drawn with common random numbers. Rows of pure round-off or of weight zero are left out.

    Parameters
    ----------
    stream : DesignStream
        The training set, in two or more folds.
    rule : Rule
        How the box is made.
    seed : int
        Seed of the members.
    factors : Mapping, optional
        Triangular factors of the folds, where they are known already.
    held_out : sequence of int, optional
        Folds to predict; by default all.
    extrapolation : bool
        Whether leverages of energies are compared with those of the other folds.

    Returns
    -------
    HeldOut
        All held-out rows, fold by fold, the same on every rank.

    Raises
    ------
    InputError
        When a fold holds all rows of non-zero weight.
    """
    factors = fold_factors(stream) if factors is None else factors
    parts: list[Array] = []
    labels: list[NDArray[np.int64]] = []
    for fold in factors if held_out is None else held_out:
        others = [factor for f, factor in factors.items() if f != fold]
        if sum(f.n_rows for f in others) == 0:
            raise InputError(
                "all rows of non-zero weight are in one cross-validation fold",
                key="fit.calibrate",
                hint="add data, or set calibrate: false",
            )
        rest = stream.without(fold)
        fit = rule.solve(rest, merge_all(others))
        box = rule.box(rest, fit)
        # A configuration has one energy, so this costs little; forces seldom tell more.
        limit = (
            leverage_scale(rest, fit, (RowKind.ENERGY,)).largest[RowKind.ENERGY] if extrapolation else None
        )
        shifts = draw(box, CALIBRATION_MEMBERS, seed, "calibration") @ box.axes.T
        parts.append(stream.only(fold).concatenate(_held_out_leaf(fit, shifts, limit)))
        labels.append(np.full(len(parts[-1]), fold))
    table = np.concatenate(parts)
    named = dict(zip(_COLUMNS, table.T, strict=False))
    return HeldOut(
        np.concatenate(labels),
        named["kind"].astype(np.int64),
        named["configuration"].astype(np.int64),
        named["error"],
        named["std"],
        named["mean"],
        named["leverage"],
        table[:, len(_COLUMNS) :],
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


def _held_out_leaf(fit: LeastSquares, shifts: Array, limit: float | None) -> Leaf[Array]:
    """Columns of `HeldOut` for every sound energy and force row of a chunk."""

    def some(blocks: Sequence[DesignBlock]) -> Array:
        sound = [~b.is_roundoff & (b.kind != RowKind.STRESS) & (b.weight > 0) for b in blocks]
        pairs = list(zip(blocks, sound, strict=True))
        rows = np.concatenate([b.rows[keep] for b, keep in pairs])
        kind = np.concatenate([b.kind[keep] for b, keep in pairs])
        number = np.repeat(
            [float(zlib.crc32(b.identifier.encode())) for b in blocks], [k.sum() for k in sound]
        )
        error = np.concatenate([b.target[keep] for b, keep in pairs]) - rows @ fit.theta
        deviation = rows @ shifts.T
        mean, std = deviation.mean(axis=1), deviation.std(axis=1)
        deviation *= np.where(error < 0, -1.0, 1.0)[:, None]
        leverage = np.full(len(rows), np.nan)
        if limit is not None:
            energies = kind == RowKind.ENERGY
            with np.errstate(divide="ignore", invalid="ignore"):
                leverage[energies] = leverages(rows[energies], fit) / limit
        columns = [kind.astype(float), number, error, std, mean, leverage]
        return np.column_stack([*columns, *_reaches(deviation)])

    def leaf(blocks: Sequence[DesignBlock]) -> Array:
        return np.concatenate([some(group) for group in batches(blocks)])

    return leaf


def _reaches(deviation: Array) -> list[Array]:
    """Largest deviation among the first members, and among more of them than were drawn."""
    drawn = deviation.shape[1]
    reach = {m: deviation[:, :m].max(axis=1) for m in OTHER_MEMBERS if m <= drawn}
    for m in OTHER_MEMBERS:
        if m > drawn:
            # The extremes go on to grow as they did, in proportion to those of a normal distribution.
            before = _TREND_FROM
            growth = _normal_extreme(m) - _normal_extreme(drawn)
            growth /= _normal_extreme(drawn) - _normal_extreme(before)
            reach[m] = reach[drawn] + growth * (reach[drawn] - reach[before])
    return [reach[m] for m in OTHER_MEMBERS]


@lru_cache
def _normal_extreme(n: int) -> float:
    """Expected largest of n standard normal numbers, by Blom's formula."""
    return float(ndtri((n - 0.375) / (n + 0.25)))
