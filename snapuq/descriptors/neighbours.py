"""Each atom's neighbours within the descriptors' cutoff, periodic images included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from snapuq.core.dataset import Structure

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Pairs at the cutoff are left to LAMMPS, whose distances differ by rounding.
_MARGIN = 1.0 + 1.0e-12
# A; LAMMPS counts nothing closer than this as a neighbour.
_SAME_PLACE = 1.0e-10
# Cutoffs from centre to centre: with two, none would see another's neighbours; three leave LAMMPS fewer
# candidates to search, measured 3 % of the total.
_APART = 3.0


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a centre and one image of an atom that it feels, the centre itself included.

    They are sorted by the type of the centre, then by the atom that moves.

    Parameters
    ----------
    atoms : ndarray of int, shape (C,)
        The atoms that are centres, ascending.
    centre : ndarray of int, shape (R,)
        Place in `atoms` of each pair's centre.
    mover : ndarray of int, shape (R,)
        The other atom of each pair.
    vectors : ndarray, shape (R, 3)
        From the centre to the image of the mover, A; exactly zero for the centre itself.
    starts : ndarray of int, shape (E, N + 1)
        Pairs ``starts[e, j]:starts[e, j + 1]`` have a centre of type e + 1 and move with atom j.
    own : ndarray of int, shape (C,)
        Place of each centre's pair with itself.
    """

    atoms: Index
    centre: Index
    mover: Index
    vectors: Array
    starts: Index
    own: Index

    def __len__(self) -> int:
        return len(self.centre)

    def apart(self, cutoff: float) -> tuple[Array, float]:
        """Place every centre with its neighbours as a cluster of its own.

        Parameters
        ----------
        cutoff : float
            Largest distance of a neighbour, A.

        Returns
        -------
        positions : ndarray, shape (R, 3)
            Of the mover of each pair, in clusters that do not see each other, A.
        half_length : float
            Of a cubic box about the origin that holds all, A.
        """
        n = len(self.atoms)
        side = int(np.ceil(np.cbrt(n)))
        grid = np.stack(np.unravel_index(np.arange(n), (side,) * 3), axis=-1)
        # Centred, because small coordinates round off less.
        centres = (grid - 0.5 * (side - 1)) * (_APART * cutoff)
        return centres[self.centre] + self.vectors, 0.5 * (side + 1) * _APART * cutoff


def find_pairs(
    structure: Structure, types: NDArray[np.int32], cutoffs: Array, most: int
) -> tuple[Pairs, ...]:
    """Find all neighbours of all atoms.

    Parameters
    ----------
    structure : Structure
        Any periodic cell.
    types : ndarray of int32, shape (N,)
        Atom types, from 1.
    cutoffs : ndarray, shape (E, E)
        Cutoff of each pair of types, A.
    most : int
        About so many pairs are put together at most; a centre is never divided.

    Returns
    -------
    tuple of Pairs
        Each atom is a centre in one of them.
    """
    n, reach = len(structure), float(cutoffs.max()) * _MARGIN
    inverse = np.linalg.inv(structure.cell)
    wrapped = structure.positions @ inverse
    wrapped -= np.floor(wrapped)
    # Images further out than this in fractional coordinates are beyond the cutoff of every atom.
    margin = reach * np.linalg.norm(inverse, axis=0)
    low, high = wrapped.min(axis=0) - margin, wrapped.max(axis=0) + margin
    ranges = [np.arange(np.floor(a), np.floor(b) + 1.0) for a, b in zip(low, high, strict=True)]
    shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    images = (shifts + wrapped).reshape(-1, 3)
    near = np.flatnonzero(((images >= low) & (images <= high)).all(axis=1))
    atoms, points = wrapped @ structure.cell, images[near] @ structure.cell
    found = cKDTree(atoms).sparse_distance_matrix(cKDTree(points), reach, output_type="ndarray")
    centre, point = found["i"], found["j"]
    limits = cutoffs[types[centre] - 1, types[near[point] % n] - 1] * _MARGIN
    kept = (found["v"] > _SAME_PLACE) & (found["v"] < limits)
    centre, point = centre[kept], point[kept]
    mover, vectors = near[point] % n, points[point] - atoms[centre]
    batches = np.array_split(np.arange(n), min(n, -(-len(centre) // most) or 1))
    if len(batches) == 1:
        return (_sorted(batches[0], centre, mover, vectors, types, len(cutoffs)),)
    parts = [np.flatnonzero((centre >= b[0]) & (centre <= b[-1])) for b in batches]
    return tuple(
        _sorted(b, centre[p], mover[p], vectors[p], types, len(cutoffs))
        for b, p in zip(batches, parts, strict=True)
    )


def _sorted(
    atoms: Index, centre: Index, mover: Index, vectors: Array, types: NDArray[np.int32], n_types: int
) -> Pairs:
    """Add each centre itself, and sort by the type of the centre, then by mover."""
    n = len(types)
    centre, mover = np.concatenate([atoms, centre]), np.concatenate([atoms, mover])
    vectors = np.concatenate([np.zeros((len(atoms), 3)), vectors])
    run = (types[centre] - 1) * n + mover
    order = np.argsort(run, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(run, minlength=n_types * n))])
    starts = np.stack([bounds[e * n : (e + 1) * n + 1] for e in range(n_types)])
    # The sort is stable and each centre itself came first in its run.
    own = bounds[run[: len(atoms)]]
    return Pairs(atoms, centre[order] - atoms[0], mover[order], vectors[order], starts, own)
