"""Predictions of every member at fixed positions, and the table that keeps their envelope."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock
from snapuq.core.ensemble import Ensemble
from snapuq.core.pointwise import PointwiseTable
from snapuq.errors import InputError
from snapuq.provenance import atomic_hdf5

#: Predictions held at a time in `predict`: 4 million, 32 MB.
_CHUNK_ENTRIES = 4_000_000

_FORMAT = "snapuq pointwise table 2"
_NAMES = ("identifier", "group")
_DTYPES: dict[str, Any] = {"kind": np.int8, "is_roundoff": np.bool_}
_COLUMNS = tuple(f.name for f in fields(PointwiseTable) if f.name not in _NAMES)


@lru_cache(maxsize=1)
def _member_shifts(ensemble: Ensemble) -> NDArray[np.float64]:
    # One block follows another with the same ensemble: the (P, M) difference is formed once.
    return np.ascontiguousarray((ensemble.coefficients - ensemble.mle).T)


def predict(
    block: DesignBlock, ensemble: Ensemble, leverage: NDArray[np.float64] | None = None
) -> PointwiseTable:
    """Predict one configuration's rows with the MLE and every member.

    The members enter as differences from the MLE, rows . (theta_m - theta_MLE), so that a spread far
    below the prediction itself keeps its digits.

    Parameters
    ----------
    block : DesignBlock
        Unweighted rows, targets and reference pair style's part.
    ensemble : Ensemble
        At least one member.
    leverage : ndarray, shape (R,), optional
        Leverage of each row over the largest of the training set; unknown (NaN) by default.

    Returns
    -------
    PointwiseTable
        One entry per row: eV/atom, eV/A, eV/A^3; std about the members' mean with divisor M.

    Raises
    ------
    InputError
        When the ensemble has no member or another number of columns than the rows.
    """
    n_rows, n_columns = block.rows.shape
    if len(ensemble) == 0:
        raise InputError("the ensemble has no member", expected="at least one")
    if n_columns != len(ensemble.mle):
        raise InputError(
            "rows and ensemble differ in their number of columns",
            key=block.identifier,
            found=n_columns,
            expected=str(len(ensemble.mle)),
            hint="evaluate with the settings that the ensemble was fitted with",
        )
    mle = block.rows @ ensemble.mle + block.baseline
    shifts = _member_shifts(ensemble)
    mean, std, low, high = np.empty((4, n_rows))
    step = max(1, _CHUNK_ENTRIES // len(ensemble))
    for start in range(0, n_rows, step):
        part = slice(start, start + step)
        deviation = block.rows[part] @ shifts
        mean[part] = deviation.mean(axis=1)
        std[part] = deviation.std(axis=1)
        low[part] = deviation.min(axis=1)
        high[part] = deviation.max(axis=1)
    return PointwiseTable(
        identifier=np.full(n_rows, block.identifier),
        group=np.full(n_rows, block.group),
        kind=block.kind,
        truth=block.target + block.baseline,
        mle=mle,
        mean=mle + mean,
        std=std,
        minimum=mle + low,
        maximum=mle + high,
        leverage=np.full(n_rows, np.nan) if leverage is None else leverage,
        is_roundoff=block.is_roundoff,
    )


def concatenate(tables: Iterable[PointwiseTable]) -> PointwiseTable:
    """Join tables in the order given.

    Parameters
    ----------
    tables : iterable of PointwiseTable
        Any number of them.

    Returns
    -------
    PointwiseTable
        One table; empty when there was none.
    """
    parts = list(tables)
    if not parts:
        empty = {name: np.empty(0, dtype=_DTYPES.get(name, np.float64)) for name in _COLUMNS}
        return PointwiseTable(identifier=np.empty(0, np.str_), group=np.empty(0, np.str_), **empty)
    names = [f.name for f in fields(PointwiseTable)]
    return PointwiseTable(**{name: np.concatenate([getattr(t, name) for t in parts]) for name in names})


def r_squared(table: PointwiseTable) -> float | None:
    """Share of the variance of the true values that the MLE explains.

    Parameters
    ----------
    table : PointwiseTable
        Rows of one kind.

    Returns
    -------
    float or None
        1 - variance of (truth - MLE) over variance of the truth; None where there is none to explain.
    """
    if len(table) < 2 or np.ptp(table.truth) == 0.0:
        return None
    return float(1.0 - np.var(table.truth - table.mle) / np.var(table.truth))


def envelope_violation(table: PointwiseTable) -> NDArray[np.bool_]:
    """Rows whose true value lies outside the members' minimum and maximum.

    Parameters
    ----------
    table : PointwiseTable
        Any rows.

    Returns
    -------
    ndarray of bool, shape (R,)
        True where the envelope misses the truth.
    """
    return (table.truth < table.minimum) | (table.truth > table.maximum)


def save_pointwise(path: str | Path, table: PointwiseTable) -> None:
    """Write a table to HDF5; the same table gives the same bytes.

    Each name is stored once, as UTF-8, and the rows hold its number.

    Parameters
    ----------
    path : str or Path
        The file.
    table : PointwiseTable
        What to write.
    """
    with atomic_hdf5(path) as file:
        file.attrs["format"] = _FORMAT
        for name in _NAMES:
            unique, index = np.unique(getattr(table, name), return_inverse=True)
            _write(file, f"{name}_names", unique.astype(object), h5py.string_dtype("utf-8"))
            _write(file, f"{name}_index", index.astype(np.int32), np.int32, compression="gzip", shuffle=True)
        for name in _COLUMNS:
            values = getattr(table, name)
            _write(file, name, values, _DTYPES.get(name, np.float64))


def _write(file: h5py.File, name: str, data: NDArray[Any], dtype: Any, **options: Any) -> None:
    if len(data) == 0:
        options = {}  # HDF5 cannot chunk, hence not compress, an empty array
    file.create_dataset(name, data=data, dtype=dtype, track_times=False, **options)


def load_pointwise(path: str | Path) -> PointwiseTable:
    """Read a table that `save_pointwise` wrote.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    PointwiseTable
        The table.

    Raises
    ------
    InputError
        When the file is missing, is no such table or is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT:
                raise InputError("not a table of pointwise predictions", file=path, expected=_FORMAT)
            columns: dict[str, Any] = {name: _read_names(file, name) for name in _NAMES}
            for name in _COLUMNS:
                columns[name] = file[name][()].astype(_DTYPES.get(name, np.float64))
        return PointwiseTable(**columns)
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "damaged table of pointwise predictions",
            file=path,
            found=str(error),
            hint="evaluate again to rewrite it",
        ) from None


def _read_names(file: h5py.File, name: str) -> NDArray[np.str_]:
    unique = np.array(file[f"{name}_names"].asstr()[()].tolist(), dtype=np.str_)
    index = file[f"{name}_index"][()]
    if index.size and (index.min() < 0 or index.max() >= len(unique)):
        raise IndexError(f"{name}: numbers outside the list of {len(unique)} names")
    return unique[index]
