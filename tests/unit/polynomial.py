"""A misspecified model with known truth: a polynomial fitted to a smooth function it cannot represent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snapuq.core.design import DesignBlock, RowKind
from snapuq.core.potential import SnapSettings
from snapuq.reduction import SERIAL_REDUCER
from snapuq.uq.crossval import assign_folds
from snapuq.uq.streaming import DesignStream

DEGREE = 5


def truth(x: np.ndarray) -> np.ndarray:
    """Smooth, and no polynomial."""
    return np.sin(4.0 * x) + 0.3 * np.exp(x)


def truth_slope(x: np.ndarray) -> np.ndarray:
    """Derivative of `truth`."""
    return 4.0 * np.cos(4.0 * x) + 0.3 * np.exp(x)


def columns(degree: int = DEGREE) -> SnapSettings:
    """Settings with as many columns as the polynomial has coefficients (6 or fewer)."""
    # twojmax 2 has 5 bispectrum components; a constant makes 6.
    assert degree == DEGREE
    return SnapSettings(("W",), 4.7, 2, (0.5,), (1.0,), bzeroflag=False)


def block(x: np.ndarray, name: str, *, force_weight: float = 1.0) -> DesignBlock:
    """One "configuration": the value at x[0] and slopes at all x."""
    powers = np.arange(DEGREE + 1)
    value = x[:1, None] ** powers
    slope = powers * x[:, None] ** np.maximum(powers - 1, 0)
    rows = np.concatenate([value, slope])
    target = np.concatenate([truth(x[:1]), truth_slope(x)])
    n = len(rows)
    weight = np.r_[10.0, np.full(n - 1, force_weight)]
    kind = np.array([RowKind.ENERGY] + [RowKind.FORCE] * (n - 1), dtype=np.int8)
    return DesignBlock(
        name, "polynomial", n - 1, rows, target, np.zeros(n), weight, kind, np.zeros(n, dtype=bool)
    )


def blocks(n: int, seed: int, points: int = 3) -> list[DesignBlock]:
    """Blocks at random points of [-1, 1]."""
    rng = np.random.default_rng(seed)
    return [block(rng.uniform(-1, 1, points), f"c{i}") for i in range(n)]


def stream(items: Sequence[DesignBlock], folds: int = 5, per_chunk: int = 7) -> DesignStream:
    """Cut blocks into folds and chunks."""
    labels = assign_folds(len(items), folds, seed=3)
    chunks, owners = {}, {}
    for fold in range(folds):
        mine = [b for b, f in zip(items, labels, strict=True) if f == fold]
        for start in range(0, len(mine), per_chunk):
            owners[len(chunks)] = fold
            chunks[len(chunks)] = tuple(mine[start : start + per_chunk])
    return DesignStream(chunks, owners, SERIAL_REDUCER, n_lanes=3)
