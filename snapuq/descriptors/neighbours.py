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
# Surroundings are alike where vectors agree to this, A; rounding leaves 1e-14. They are looked for on a grid
# that no simple fraction of a lattice parameter falls half-way between.
_ALIKE, _GRID = 1.0e-12, 1.2345678e-9
# Odd numbers that mix the bits of three coordinates and a type.
_MIXERS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], dtype=np.uint64
)
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

    def alike(self, types: NDArray[np.int32]) -> Index:
        """Find centres that see the same: all atoms of a perfect crystal, or far from a displaced one.

        Parameters
        ----------
        types : ndarray of int32, shape (N,)
            Atom types.

        Returns
        -------
        ndarray of int, shape (R,)
            The pair that stands for each: that of the first centre whose neighbours are of the same types in
            the same places, or itself.
        """
        kinds = types[self.mover]
        marks = np.rint(self.vectors / _GRID).astype(np.int64).astype(np.uint64) @ _MIXERS[:3]
        marks = (marks ^ (marks >> np.uint64(31))) * _MIXERS[3] + kinds.astype(np.uint64) * _MIXERS[0]
        order = np.lexsort((marks, self.centre))
        counts = np.bincount(self.centre, minlength=len(self.atoms))
        begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
        sums = np.add.reduceat(marks[order], begins) + types[self.atoms].astype(np.uint64) * _MIXERS[1]
        _, first, group = np.unique(sums, return_index=True, return_inverse=True)
        other = first[group]
        other = np.where(counts[other] == counts, other, np.arange(len(counts)))
        within = np.arange(len(order)) - np.repeat(begins, counts)
        found = order[np.repeat(begins[other], counts) + within]
        gaps = np.abs(self.vectors[found] - self.vectors[order]).max(axis=1)
        same = (gaps <= _ALIKE) & (kinds[found] == kinds[order])
        same &= np.repeat(types[self.atoms[other]] == types[self.atoms], counts)
        standing = np.arange(len(order))
        standing[order] = np.where(np.repeat(np.logical_and.reduceat(same, begins), counts), found, order)
        return standing


def set_apart(centre: Index, vectors: Array, cutoff: float) -> tuple[Array, float]:
    """Place every centre with its neighbours as a cluster of its own.

    Parameters
    ----------
    centre : ndarray of int, shape (R,)
        Centre of each pair, any numbers.
    vectors : ndarray, shape (R, 3)
        From the centre, A.
    cutoff : float
        Largest distance of a neighbour, A.

    Returns
    -------
    positions : ndarray, shape (R, 3)
        Of the mover of each pair, in clusters that do not see each other, A.
    half_length : float
        Of a cubic box about the origin that holds all, A.
    """
    names, place = np.unique(centre, return_inverse=True)
    side = int(np.ceil(np.cbrt(len(names))))
    grid = np.stack(np.unravel_index(np.arange(len(names)), (side,) * 3), axis=-1)
    # Centred, because small coordinates round off less.
    centres = (grid - 0.5 * (side - 1)) * (_APART * cutoff)
    return centres[place] + vectors, 0.5 * (side + 1) * _APART * cutoff


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
