"""Random structures."""

from __future__ import annotations

import numpy as np

from snapuq.core.dataset import Structure

VOLUME_PER_ATOM = 15.8  # A^3, tungsten


def random_structure(n: int, elements: tuple[str, ...], seed: int, rotate: bool = False) -> Structure:
    """A skewed cell of a noisy grid; `rotate` turns it out of LAMMPS's frame."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:n] / side
    length = (n * VOLUME_PER_ATOM) ** (1 / 3)
    cell = np.tril(length * (np.eye(3) + 0.15 * rng.normal(size=(3, 3))))
    cell[np.diag_indices(3)] = np.abs(np.diag(cell)).clip(0.7 * length)
    positions = (grid + 0.1 / side * rng.normal(size=(n, 3))) @ cell
    if rotate:
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        q *= np.sign(np.linalg.det(q))
        cell, positions = cell @ q, positions @ q
    return Structure(cell, positions, tuple(elements[i % len(elements)] for i in range(n)))
