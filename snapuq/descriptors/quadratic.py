"""Exact quadratic SNAP rows from linear descriptors by the product rule; numpy only."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# So many sums of products are packed at a time that they stay in the cache of one core.
_CHUNK = 8


def quadratic_energy(bispectrum: Array) -> Array:
    """Sum the linear and quadratic descriptors of one element's atoms.

    Parameters
    ----------
    bispectrum : ndarray, shape (N, K)
        Bispectrum components of each atom.

    Returns
    -------
    ndarray, shape (K + K (K + 1) / 2,)
        sum_i B_k, then sum_i B_k B_l for k <= l with a factor 1/2 on the diagonal, in LAMMPS's order.

    References
    ----------
    Wood and Thompson, J. Chem. Phys. 148, 241721 (2018), doi:10.1063/1.5017641.
    """
    first, _, diagonal = _packing(bispectrum.shape[1])
    products = np.ravel(bispectrum.T @ bispectrum)
    upper = products[first]
    upper[diagonal] *= 0.5
    return np.concatenate([bispectrum.sum(axis=0), upper])


def quadratic_derivatives(bispectrum: Array, derivatives: Array, starts: Index, out: Array) -> None:
    """Sum the derivatives of linear and quadratic descriptors over runs of pairs.

    Parameters
    ----------
    bispectrum : ndarray, shape (R, K)
        Bispectrum components of the centre of each pair.
    derivatives : ndarray, shape (R, F, K)
        F derivatives of these components; may be a strided view.
    starts : ndarray of int, shape (S + 1,)
        Pairs ``starts[s]:starts[s + 1]`` are summed into row s.
    out : ndarray, shape (S, F, K + K (K + 1) / 2)
        Overwritten by sum dB_k, then sum (B_k dB_l + dB_k B_l) for k <= l, halved on the diagonal.

    References
    ----------
    Product rule on Wood and Thompson, J. Chem. Phys. 148, 241721 (2018), doi:10.1063/1.5017641.
    """
    n_pairs, n_derivatives, k = derivatives.shape
    first, second, diagonal = _packing(k)
    # A last factor of 1 gives the linear part with the same product.
    factors = np.ones((n_pairs, k + 1))
    factors[:, :k] = bispectrum
    by_derivative = derivatives.transpose(1, 0, 2)
    products = np.empty((_CHUNK, n_derivatives, k + 1, k))
    for begin in range(0, len(out), _CHUNK):
        rows = out[begin : begin + _CHUNK]
        for s in range(len(rows)):
            pairs = slice(starts[begin + s], starts[begin + s + 1])
            np.matmul(factors[pairs].T, by_derivative[:, pairs], out=products[s])
        flat = products[: len(rows)].reshape(len(rows), n_derivatives, -1)
        upper = flat.take(first, axis=2)
        upper += flat.take(second, axis=2)
        upper[..., diagonal] *= 0.5
        rows[..., :k] = flat[..., k * k :]
        rows[..., k:] = upper


@lru_cache(maxsize=8)
def _packing(k: int) -> tuple[Index, Index, Index]:
    """Places of (k, l) and of (l, k) in a flat matrix, for k <= l row by row, and which are diagonal."""
    rows, columns = np.triu_indices(k)
    return rows * k + columns, columns * k + rows, np.flatnonzero(rows == columns)
