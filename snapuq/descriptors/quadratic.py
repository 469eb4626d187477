"""Exact quadratic SNAP rows from linear descriptors by the product rule; numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
    products = bispectrum.T @ bispectrum
    return np.concatenate([bispectrum.sum(axis=0), _upper(products[None])[0]])


def quadratic_forces(bispectrum: Array, gradient: Array) -> Array:
    """Rows of force components from the descriptors of one element's atoms.

    Parameters
    ----------
    bispectrum : ndarray, shape (N, K)
        Bispectrum components of each centre.
    gradient : ndarray, shape (F, N, K)
        Minus the derivative of each centre's components by each of F coordinates.

    Returns
    -------
    ndarray, shape (F, K + K (K + 1) / 2)
        -d/dr of what `quadratic_energy` gives.
    """
    products = np.matmul(bispectrum.T, gradient)
    products += np.transpose(products, (0, 2, 1)).copy()
    return np.concatenate([gradient.sum(axis=1), _upper(products)], axis=1)


def _upper(symmetric: Array) -> Array:
    """Upper triangles of (F, K, K) matrices, row by row, with half the diagonal."""
    k = symmetric.shape[-1]
    rows, columns = np.triu_indices(k)
    packed: Array = symmetric.reshape(len(symmetric), k * k).take(rows * k + columns, axis=1)
    packed[:, rows == columns] *= 0.5
    return packed
