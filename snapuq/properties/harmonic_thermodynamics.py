"""Density of states, zero-point energy, free energy and heat capacity of harmonic modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.constants import Boltzmann, Planck, elementary_charge

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Energy of one quantum of 1 THz, eV.
EV_PER_THZ = 1.0e12 * Planck / elementary_charge
_K_B = Boltzmann / elementary_charge


def quantile(frequencies: Array, weights: IntArray, levels: Sequence[float]) -> Array:
    """Frequencies below which given shares of the modes lie: the integrated density of states, inverted.

    Parameters
    ----------
    frequencies : ndarray, shape (Q, B)
        Modes of each wave vector, THz.
    weights : ndarray of int, shape (Q,)
        How often each wave vector counts.
    levels : sequence of float
        Shares, from 0 to 1.

    Returns
    -------
    ndarray, shape (len(levels),)
        THz; what ``numpy.quantile`` gives by the method ``hazen`` for modes repeated by their weights.
    """
    flat = frequencies.ravel()
    order = np.argsort(flat)
    counts = np.cumsum(np.repeat(weights, frequencies.shape[1])[order])
    at = np.clip(np.asarray(levels) * counts[-1] - 0.5, 0.0, counts[-1] - 1.0)
    below = np.floor(at)
    low, high = (flat[order[np.searchsorted(counts, k, side="right")]] for k in (below, np.ceil(at)))
    return low + (at - below) * (high - low)


def zero_point_energy(frequencies: Array, weights: IntArray) -> float:
    """Zero-point energy of real modes.

    Parameters
    ----------
    frequencies : ndarray, shape (Q, B)
        THz; those that are not positive are left out.
    weights : ndarray of int, shape (Q,)
        How often each wave vector counts.

    Returns
    -------
    float
        Per primitive cell, eV.
    """
    return 0.5 * EV_PER_THZ * _mean_over_waves(np.maximum(frequencies, 0.0), weights)


def free_energy(frequencies: Array, weights: IntArray, temperature: float) -> float:
    """Helmholtz free energy of real modes, zero-point energy included.

    Parameters
    ----------
    frequencies : ndarray, shape (Q, B)
        THz; those that are not positive are left out.
    weights : ndarray of int, shape (Q,)
        How often each wave vector counts.
    temperature : float
        K.

    Returns
    -------
    float
        Per primitive cell, eV.
    """
    thermal = _K_B * temperature
    is_real = frequencies > 0
    quanta = np.where(is_real, EV_PER_THZ * frequencies / thermal, 1.0)
    entropic = np.where(is_real, np.log(-np.expm1(-quanta)), 0.0)
    return zero_point_energy(frequencies, weights) + thermal * _mean_over_waves(entropic, weights)


def heat_capacity(frequencies: Array, weights: IntArray, temperature: float) -> float:
    """Heat capacity of real modes at constant volume.

    Parameters
    ----------
    frequencies : ndarray, shape (Q, B)
        THz; those that are not positive are left out.
    weights : ndarray of int, shape (Q,)
        How often each wave vector counts.
    temperature : float
        K.

    Returns
    -------
    float
        Per primitive cell, in units of the Boltzmann constant.
    """
    is_real = frequencies > 0
    half = np.where(is_real, 0.5 * EV_PER_THZ * frequencies / (_K_B * temperature), 1.0)
    # x / sinh(x) without overflow at low temperatures.
    ratio = 2.0 * half * np.exp(-half) / -np.expm1(-2.0 * half)
    return _mean_over_waves(np.where(is_real, ratio**2, 0.0), weights)


def _mean_over_waves(values: Array, weights: IntArray) -> float:
    """Sum over branches, mean over wave vectors."""
    return float(weights @ values.sum(axis=1) / weights.sum())
