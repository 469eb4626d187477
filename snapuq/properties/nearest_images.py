"""Nearest images of the sites of a supercell: which lattice vectors share a force constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.properties.brillouin import SYMMETRY_TOLERANCE

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NearestImages:
    """Lattice vectors from atoms of the primitive cell to the nearest images of all sites of the supercell.

    Images at equal distance share a site. A lattice vector and its negative are listed as one.

    Parameters
    ----------
    atom, site : ndarray of int, shape (E,)
        Which atom and which site.
    share : ndarray, shape (E,)
        Of this image; they add up to one for each atom and site.
    vector : ndarray of int, shape (E,)
        Which of `vectors`.
    is_negative : ndarray of bool, shape (E,)
        Whether it is the negative that is meant.
    vectors : ndarray of int, shape (V, 3)
        In units of the primitive vectors.
    """

    atom: IntArray
    site: IntArray
    share: Array
    vector: IntArray
    is_negative: NDArray[np.bool_]
    vectors: IntArray


def nearest_images(
    cell: Array,
    fractional: Array,
    primitive_sites: IntArray,
    primitive_atom: IntArray,
    in_primitive: IntArray,
) -> NearestImages:
    """Find the nearest images of all sites of a supercell.

    Parameters
    ----------
    cell : ndarray, shape (3, 3)
        Supercell, rows, A.
    fractional : ndarray, shape (N, 3)
        Its sites.
    primitive_sites, primitive_atom, in_primitive : ndarray
        As in `Supercell`.

    Returns
    -------
    NearestImages
        Distances within `SYMMETRY_TOLERANCE` are equal.
    """
    from phonopy.structure.cells import get_smallest_vectors

    shortest, table = get_smallest_vectors(
        np.array(cell), fractional, fractional[primitive_sites], symprec=SYMMETRY_TOLERANCE
    )
    # Sites run over the first axis of the table; each cell holds how many, and the first.
    counts = table[:, :, 0].ravel()
    of_pair = np.repeat(np.arange(counts.size), counts)
    order = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    site, atom = np.divmod(of_pair, len(primitive_sites))
    found = shortest[table[:, :, 1].ravel()[of_pair] + order]
    home = fractional[primitive_sites]
    between = home[primitive_atom[site]] - home[atom]
    lattice = np.rint((found - between) @ in_primitive).astype(np.int64)
    # The first component that is not zero tells a vector from its negative.
    first = np.sign(lattice) @ np.array([9, 3, 1])
    is_negative = first < 0
    vectors, vector = np.unique(
        np.where(is_negative[:, None], -lattice, lattice), axis=0, return_inverse=True
    )
    return NearestImages(atom, site, 1.0 / counts[of_pair], vector.ravel(), is_negative, vectors)
