"""Sites of self-interstitials in bcc, fcc and hcp: where they start, and which one a relaxed defect sits on.

Wigner-Seitz cells of the perfect crystal tell which lattice site holds two atoms. The positions of these
two, relative to the site, are compared with those of each kind: two atoms opposite each other along a
direction (dumbbells, splits), or one on the interstitial site and the other pushed away from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.properties.defects import Host, Occupation

Array = NDArray[np.float64]
Vector = tuple[float, float, float]

#: Closest distance of two atoms at the start, in nearest-neighbour distances: crowded atoms are moved apart
#: like hard spheres of this diameter, which keeps the symmetry of the site.
SPHERE = 0.8
#: Standard deviation of the random displacements at the start, in nearest-neighbour distances.
RATTLE = 0.01
#: Atoms this near to the defect are displaced, in nearest-neighbour distances.
RATTLED = 2.0
#: Root mean square distance of the two atoms from the positions of a kind, in nearest-neighbour distances,
#: beyond which they do not count as that kind; a dumbbell may turn by 15 degrees.
ALIKE = 0.1
#: Name of what is none of the kinds.
OTHER = "other"


@dataclass(frozen=True)
class Site:
    """A kind of self-interstitial.

    Parameters
    ----------
    split : bool
        Whether two atoms share a lattice site, or one sits between lattice sites.
    vectors : tuple of (float, float, float)
        Direction of the split, or from a lattice site (in hcp one of the first atom's kind) to the extra
        atom, in conventional lattice vectors; one of each set that the symmetry of the lattice
        site makes equivalent, and the start is made from the first.
    """

    split: bool
    vectors: tuple[Vector, ...]


def _split(*vector: float) -> Site:
    return Site(True, ((vector[0], vector[1], vector[2]),))


def _between(*vectors: Vector) -> Site:
    return Site(False, vectors)


_T = 1.0 / 3.0
_CUBIC_SPLITS = {
    "dumbbell_100": _split(1, 0, 0),
    "dumbbell_110": _split(1, 1, 0),
    "dumbbell_111": _split(1, 1, 1),
}
#: Crystal to its kinds of self-interstitials. In hcp, basal splits and basal crowdions lie along <11-20>, and
#: the crowdion is between neighbours of different basal planes.
SITES: Mapping[str, Mapping[str, Site]] = {
    "bcc": {
        **_CUBIC_SPLITS,
        "crowdion": _between((0.25, 0.25, 0.25)),
        "octahedral": _between((0.5, 0, 0)),
        "tetrahedral": _between((0.5, 0.25, 0)),
    },
    "fcc": {
        **_CUBIC_SPLITS,
        "crowdion": _between((0.25, 0.25, 0)),
        "octahedral": _between((0.5, 0, 0)),
        "tetrahedral": _between((0.25, 0.25, 0.25)),
    },
    "hcp": {
        "octahedral": _between((-_T, -2 * _T, -0.25)),
        "tetrahedral": _between((0, 0, 0.375), (_T, -_T, 0.125)),
        "basal_octahedral": _between((-_T, -2 * _T, 0)),
        "basal_tetrahedral": _between((_T, -_T, 0)),
        "basal_split": _split(1, 0, 0),
        "c_split": _split(0, 0, 1),
        "crowdion": _between((0.5 * _T, -0.5 * _T, 0.25)),
        "basal_crowdion": _between((0.5, 0, 0)),
    },
}
# One atom too many in a close-packed row: it glides between these with next to no barrier.
_FAMILIES = (
    ("bcc", {"dumbbell_111", "crowdion"}),
    ("fcc", {"dumbbell_110", "crowdion"}),
    ("hcp", {"basal_split", "basal_crowdion"}),
)


def same_family(crystal: str, one: str, other: str) -> bool:
    """Tell whether two kinds count as one defect.

    Parameters
    ----------
    crystal : str
        ``bcc``, ``fcc`` or ``hcp``.
    one, other : str
        Kinds, or `OTHER`.

    Returns
    -------
    bool
        True for equal kinds, and for the crowdion and the dumbbell of one close-packed row.
    """
    return one == other or any(crystal == name and {one, other} == kinds for name, kinds in _FAMILIES)


def place(host: Host, crystal: str, kind: str) -> Structure:
    """Put an extra atom into the perfect crystal.

    Parameters
    ----------
    host : Host
        The perfect crystal.
    crystal : str
        ``bcc``, ``fcc`` or ``hcp``.
    kind : str
        One of `SITES`.

    Returns
    -------
    Structure
        With the symmetry of the site, the extra atom last; atoms nearby are moved apart.
    """
    site = SITES[crystal][kind]
    vector = np.array(site.vectors[0]) @ host.unit.cell
    positions = np.vstack([host.perfect.positions, host.perfect.positions[0]])
    centre = positions[0].copy()
    if site.split:
        half = 0.5 * SPHERE * host.neighbour * vector / np.linalg.norm(vector)
        positions[0] += half
        positions[-1] -= half
    else:
        positions[-1] += vector
        centre += vector
    near = _distances(positions, centre, host.perfect.cell) < 3.0 * host.neighbour
    spread = make_room(positions, host.perfect.cell, SPHERE * host.neighbour, near)
    return Structure(host.perfect.cell, spread, (*host.perfect.species, host.perfect.species[0]))


def perturb(structure: Structure, host: Host, rng: np.random.Generator) -> Structure:
    """Break the symmetry of an interstitial, so that it can leave a point that is no minimum.

    Parameters
    ----------
    structure : Structure
        The extra atom last.
    host : Host
        The perfect crystal.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    Structure
        Atoms near the extra one displaced at random.
    """
    positions = structure.positions.copy()
    near = _distances(positions, positions[-1], structure.cell) < RATTLED * host.neighbour
    positions[near] += RATTLE * host.neighbour * rng.standard_normal((int(near.sum()), 3))
    return Structure(structure.cell, positions, structure.species)


def _distances(positions: Array, point: Array, cell: Array) -> Array:
    """From a point to the nearest images, exact well inside the cell."""
    delta = (positions - point) @ np.linalg.inv(cell)
    distances: Array = np.linalg.norm((delta - np.rint(delta)) @ cell, axis=1)
    return distances


def make_room(positions: Array, cell: Array, diameter: float, near: NDArray[np.bool_]) -> Array:
    """Move atoms apart that are closer than a diameter.

    Parameters
    ----------
    positions : ndarray, shape (N, 3)
        Positions, A; no two coincide.
    cell : ndarray, shape (3, 3)
        Cell vectors as rows, A.
    diameter : float
        Least distance, A.
    near : ndarray of bool, shape (N,)
        Atoms that may move.

    Returns
    -------
    ndarray, shape (N, 3)
        New positions; the distance is reached to within 1 %, or as far as 100 rounds take it.
    """
    moved = positions.copy()
    inverse = np.linalg.inv(cell)
    for _ in range(100):
        delta = (moved[near][:, None] - moved[near][None]) @ inverse
        vectors = (delta - np.rint(delta)) @ cell
        distance = np.linalg.norm(vectors, axis=-1)
        np.fill_diagonal(distance, diameter)
        overlap = np.maximum(diameter - distance, 0.0)
        if overlap.max() < 0.01 * diameter:
            break
        moved[near] += 0.5 * np.einsum("ij,ijk->ik", overlap / distance, vectors)
    return moved


def classify(structure: Structure, host: Host, crystal: str) -> str:
    """Name the self-interstitial of a relaxed structure.

    Parameters
    ----------
    structure : Structure
        One atom more than the perfect crystal.
    host : Host
        The perfect crystal.
    crystal : str
        ``bcc``, ``fcc`` or ``hcp``.

    Returns
    -------
    str
        A kind of `SITES`, or `OTHER` when the two atoms of one site are like none of them, or when more
        than one site is not held by one atom.
    """
    deviations = _deviations(Occupation.of(structure, host.perfect), host, crystal)
    best = min(deviations, key=deviations.__getitem__, default=OTHER)
    return best if deviations.get(best, np.inf) < ALIKE * host.neighbour else OTHER


def unlike(structure: Structure, host: Host, crystal: str) -> str:
    """Describe a self-interstitial that `classify` has no name for.

    Parameters
    ----------
    structure : Structure
        One atom more than the perfect crystal.
    host : Host
        The perfect crystal.
    crystal : str
        ``bcc``, ``fcc`` or ``hcp``.

    Returns
    -------
    str
        The kind that it is least unlike, or how many sites are not held by one atom.
    """
    occupation = Occupation.of(structure, host.perfect)
    deviations = _deviations(occupation, host, crystal)
    if deviations:
        return f"none of the kinds, nearest to {min(deviations, key=deviations.__getitem__)}"
    n_empty, n_shared = int((occupation.count == 0).sum()), int((occupation.count > 1).sum())
    return f"{n_empty} empty and {n_shared} shared sites"


def _deviations(occupation: Occupation, host: Host, crystal: str) -> dict[str, float]:
    """Distance from each kind, A; empty when more than one site is not held by one atom."""
    shared = np.flatnonzero(occupation.count > 1)
    if len(shared) != 1 or occupation.count.min() == 0:
        return {}
    pair = occupation.offset[occupation.site == shared[0]]
    operations = site_group(crystal)
    # The second atom of hcp has the surroundings of the first, inverted.
    if crystal == "hcp" and shared[0] % len(host.unit) == 1:
        operations = -operations
    return {
        kind: min(
            _deviation(pair, site.split, np.array(vector) @ host.unit.cell @ operation)
            for vector in site.vectors
            for operation in operations
        )
        for kind, site in SITES[crystal].items()
    }


def _deviation(pair: Array, split: bool, vector: Array) -> float:
    """Root mean square distance of two atoms from a kind, whose one free distance is fitted."""
    direction = vector / np.linalg.norm(vector)
    best = np.inf
    for first, second in (pair, pair[::-1]):
        if split:
            half = max(0.5 * float((first - second) @ direction), 0.0) * direction
            ideal = half, -half
        else:
            ideal = vector, min(float(second @ direction), 0.0) * direction
        square = np.sum((first - ideal[0]) ** 2) + np.sum((second - ideal[1]) ** 2)
        best = min(best, float(np.sqrt(0.5 * square)))
    return best


def site_group(crystal: str) -> Array:
    """Point group of a lattice site.

    Parameters
    ----------
    crystal : str
        ``bcc``, ``fcc`` or ``hcp`` (the first atom).

    Returns
    -------
    ndarray, shape (n, 3, 3)
        Orthogonal matrices, in the axes of the conventional cell: 48, or 12 in hcp.
    """
    if crystal != "hcp":
        signs = list(product((1.0, -1.0), repeat=3))
        return np.array([np.eye(3)[list(p)] * s for p in permutations(range(3)) for s in signs])
    found = []
    for turn in range(3):
        c, s = np.cos(2 * np.pi * turn / 3), np.sin(2 * np.pi * turn / 3)
        rotation = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        found += [rotation * np.array([x, 1.0, z]) for x, z in product((1.0, -1.0), repeat=2)]
    return np.array(found)
