"""Supercell of a crystal: sites, symmetry and displacements, found once for all potentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.properties.brillouin import SYMMETRY_TOLERANCE, commensurate_points, irreducible, phonopy_atoms
from snapuq.properties.crystals import Crystal
from snapuq.properties.nearest_images import NearestImages, nearest_images

if TYPE_CHECKING:
    from phonopy import Phonopy

    from snapuq.properties.brillouin import BrillouinZone, WaveVectors

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Distance below which a relaxed atom counts as at the site that the prototype gives it, A: what relaxations
#: leave of sites that symmetry fixes is far less.
SAME_SITE = 1.0e-6


@dataclass(frozen=True, eq=False)
class EquivalentDisplacements:
    """All displacements of one atom that symmetry makes of those computed, and where the forces are found.

    Parameters
    ----------
    displacement : ndarray of int, shape (E,)
        Which of those computed.
    rotation : ndarray of int, shape (E,)
        Which of the supercell's rotations turns it into this one.
    source : ndarray of int, shape (E, N)
        For each site, the site whose force, rotated, it feels.
    """

    displacement: IntArray
    rotation: IntArray
    source: IntArray


@dataclass(frozen=True, eq=False)
class Supercell:
    """What a crystal's supercells have in common at any size.

    Parameters
    ----------
    unit : Structure
        Cell of `Crystal.primitive` at which symmetry was sought.
    matrix : ndarray of int, shape (3, 3)
        Rows are the supercell's vectors in units of the cell's.
    species : tuple of str
        Of the sites, N of them.
    fractional : ndarray, shape (N, 3)
        Sites in units of the supercell's vectors.
    unit_atom, primitive_atom : ndarray of int, shape (N,)
        Atom of the cell, and of the primitive cell, that each site is a copy of.
    primitive_sites : ndarray of int, shape (n,)
        Sites that are the atoms of the primitive cell.
    in_primitive : ndarray of int, shape (3, 3)
        Rows are the supercell's vectors in units of the primitive ones.
    masses : ndarray, shape (n,)
        Of the atoms of the primitive cell, u; natural abundance.
    displaced : ndarray of int, shape (K,)
        Site that each displacement moves.
    displacements : ndarray, shape (K, 3)
        In units of the supercell's vectors.
    rotations : ndarray of int, shape (R, 3, 3)
        Point group, on fractional coordinates of the supercell.
    equivalent : tuple of EquivalentDisplacements
        For each atom of the primitive cell.
    reverse : ndarray of int, shape (n, N)
        Site that lies from the primitive copy of the second site as the first atom does from the second.
    unit_operations : (ndarray of int, shape (M,), ndarray of int, shape (M, A))
        Rotation of each operation of the space group, and where it sends the atoms of the cell.
    images : NearestImages
        At the shape of `unit`.
    to_thz : float
        THz of the square root of 1 eV/A^2/u.
    """

    unit: Structure
    matrix: IntArray
    species: tuple[str, ...]
    fractional: Array
    unit_atom: IntArray
    primitive_atom: IntArray
    primitive_sites: IntArray
    in_primitive: IntArray
    masses: Array
    displaced: IntArray
    displacements: Array
    rotations: IntArray
    equivalent: tuple[EquivalentDisplacements, ...]
    reverse: IntArray
    unit_operations: tuple[IntArray, IntArray]
    images: NearestImages
    to_thz: float

    def point_group(self) -> IntArray:
        """Rotations on fractional coordinates of the primitive cell.

        Returns
        -------
        ndarray of int, shape (R, 3, 3)
            Those of the supercell.
        """
        columns = self.in_primitive.T
        return np.rint(columns @ self.rotations @ np.linalg.inv(columns)).astype(np.int64)

    def commensurate(self) -> WaveVectors:
        """Wave vectors that fit into the supercell, where frequencies do not depend on its size.

        Returns
        -------
        WaveVectors
            The irreducible ones, zero first.
        """
        count = len(self.species) // len(self.primitive_sites)
        return irreducible(commensurate_points(self.in_primitive), self.point_group(), count)

    def offsets(self, structure: Structure) -> Array:
        """How far the atoms of a relaxed cell are from where the prototype has them.

        Parameters
        ----------
        structure : Structure
            The cell of `unit`, relaxed.

        Returns
        -------
        ndarray, shape (A, 3)
            In units of the cell's vectors; exactly zero within `SAME_SITE`, so that the supercells of all
            potentials have the same fractional coordinates wherever symmetry fixes them.
        """
        found = structure.positions @ np.linalg.inv(structure.cell)
        found = found - self.unit.positions @ np.linalg.inv(self.unit.cell)
        found -= np.rint(found)
        # Where the crystal as a whole lies makes no difference.
        found -= found.mean(axis=0)
        return np.zeros_like(found) if np.abs(found @ structure.cell).max() < SAME_SITE else found

    def has_symmetry_of(self, structure: Structure) -> bool:
        """Tell whether a relaxed cell has the symmetry that the supercell was found to have.

        Parameters
        ----------
        structure : Structure
            The cell of `unit`, relaxed.

        Returns
        -------
        bool
            Within `SYMMETRY_TOLERANCE`.
        """
        cartesian = self.cartesian_rotations(structure.cell)
        strain = np.abs(cartesian @ cartesian.transpose(0, 2, 1) - np.eye(3)).max()
        if strain * np.linalg.norm(structure.cell, axis=1).max() > SYMMETRY_TOLERANCE:
            return False
        offsets = self.offsets(structure) @ structure.cell
        rotation, images = self.unit_operations
        apart = offsets[images] - offsets @ cartesian[rotation].transpose(0, 2, 1)
        return bool(np.abs(apart).max() < SYMMETRY_TOLERANCE)

    def cartesian_rotations(self, cell: Array) -> Array:
        """Rotations in Cartesian coordinates.

        Parameters
        ----------
        cell : ndarray, shape (3, 3)
            Relaxed cell of `unit`, rows, A.

        Returns
        -------
        ndarray, shape (R, 3, 3)
            They act on columns.
        """
        columns = (self.matrix @ cell).T
        return np.array(columns @ self.rotations @ np.linalg.inv(columns))

    def displaced_structures(self, structure: Structure) -> list[Structure]:
        """Supercells of a relaxed cell, each with one atom displaced.

        Parameters
        ----------
        structure : Structure
            The cell of `unit`, relaxed.

        Returns
        -------
        list of Structure
            In the order of `displacements`.
        """
        cell = self.matrix @ structure.cell
        sites = self._sites(self.offsets(structure))
        found = []
        for site, displacement in zip(self.displaced, self.displacements, strict=True):
            moved = sites.copy()
            moved[site] += displacement
            found.append(Structure(cell, moved @ cell, self.species))
        return found

    def images_in(self, structure: Structure) -> NearestImages:
        """Nearest images in the supercell of a relaxed cell.

        Parameters
        ----------
        structure : Structure
            The cell of `unit`, relaxed.

        Returns
        -------
        NearestImages
            Those at hand when only the size differs.
        """
        offsets = self.offsets(structure)
        scale = (structure.volume / self.unit.volume) ** (1.0 / 3.0)
        if not offsets.any() and np.abs(structure.cell - scale * self.unit.cell).max() < SAME_SITE:
            return self.images
        cell = self.matrix @ structure.cell
        return nearest_images(
            cell, self._sites(offsets), self.primitive_sites, self.primitive_atom, self.in_primitive
        )

    def _sites(self, offsets: Array) -> Array:
        """Fractional coordinates of the supercell; `fractional` to the last bit when offsets are zero."""
        return self.fractional + (offsets @ np.linalg.inv(self.matrix))[self.unit_atom]


def supercell_matrix(crystal: Crystal, length: float) -> IntArray:
    """Repeat the conventional cell until periodic images are far enough apart.

    Parameters
    ----------
    crystal : Crystal
        With elements.
    length : float
        Least distance between opposite faces, A, at the first guess of the size.

    Returns
    -------
    ndarray, shape (3, 3)
        Rows are the supercell's vectors in units of those of `Crystal.primitive`.
    """
    a, c = crystal.size_guess()
    conventional = crystal.conventional(a, c).cell
    widths = 1.0 / np.linalg.norm(np.linalg.inv(conventional), axis=0)
    # Not one repeat more because of round-off.
    repeats = np.ceil(length / widths - 1.0e-9)
    matrix = repeats[:, None] * (conventional @ np.linalg.inv(crystal.primitive(a, c).cell))
    return np.rint(matrix).astype(np.int64)


def build_supercell(unit: Structure, matrix: IntArray, zone: BrillouinZone, distance: float) -> Supercell:
    """Find the symmetry of a supercell and the displacements that suffice.

    Parameters
    ----------
    unit : Structure
        Cell of `Crystal.primitive`.
    matrix : ndarray of int, shape (3, 3)
        Rows are the supercell's vectors in units of the cell's.
    zone : BrillouinZone
        Of the same crystal.
    distance : float
        Displacement at the size of `unit`, A; it changes with the size of the cell.

    Returns
    -------
    Supercell
        With both signs of each displacement.

    References
    ----------
    Togo et al., J. Phys.: Condens. Matter 35, 353001 (2023), doi:10.1088/1361-648X/acd831.
    """
    from phonopy import Phonopy

    # phonopy's matrices hold vectors as columns.
    phonons = Phonopy(
        phonopy_atoms(unit),
        supercell_matrix=matrix.T,
        primitive_matrix=zone.primitive_matrix,
        symprec=SYMMETRY_TOLERANCE,
    )
    phonons.generate_displacements(distance=distance, is_plusminus=True)
    first_atoms = phonons.dataset["first_atoms"]
    displaced = np.array([d["number"] for d in first_atoms])
    cartesian = np.array([d["displacement"] for d in first_atoms])
    cell = matrix @ unit.cell
    sites = np.array(phonons.supercell.scaled_positions)
    unit_atom = np.array([phonons.supercell.u2u_map[s] for s in phonons.supercell.s2u_map])
    primitive = phonons.primitive
    primitive_sites = np.array(primitive.p2s_map)
    primitive_atom = np.array([primitive.p2p_map[s] for s in primitive.s2p_map])
    in_primitive = np.rint(matrix @ np.linalg.inv(zone.primitive_matrix).T).astype(np.int64)

    operations = phonons.symmetry.symmetry_operations["rotations"]
    permutations = phonons.symmetry.atomic_permutations
    rotations, rotation = np.unique(operations.reshape(-1, 9), axis=0, return_inverse=True)
    rotation = rotation.ravel()
    on_unit = unit_atom[permutations[:, phonons.supercell.u2s_map]]
    distinct = np.unique(np.column_stack([rotation, on_unit]), axis=0)
    return Supercell(
        unit=unit,
        matrix=matrix,
        species=tuple(phonons.supercell.symbols),
        fractional=sites,
        unit_atom=unit_atom,
        primitive_atom=primitive_atom,
        primitive_sites=primitive_sites,
        in_primitive=in_primitive,
        masses=np.array(primitive.masses),
        displaced=displaced,
        displacements=cartesian @ np.linalg.inv(cell),
        rotations=rotations.reshape(-1, 3, 3).astype(np.int64),
        equivalent=tuple(
            _equivalent_displacements(site, displaced, permutations, rotation) for site in primitive_sites
        ),
        reverse=_reverse(phonons, primitive_sites, primitive_atom),
        unit_operations=(distinct[:, 0], distinct[:, 1:]),
        images=nearest_images(cell, sites, primitive_sites, primitive_atom, in_primitive),
        to_thz=float(phonons.unit_conversion_factor),
    )


def _equivalent_displacements(
    site: int, displaced: IntArray, permutations: IntArray, rotation: IntArray
) -> EquivalentDisplacements:
    """Operations that send a displaced atom to a site; one sends site i to its ``permutation[i]``."""
    pairs = [
        (k, s) for k, moved in enumerate(displaced) for s in np.flatnonzero(permutations[:, moved] == site)
    ]
    displacement, operation = np.array(pairs, dtype=np.int64).T
    # An operation's inverse permutation tells where the force on a site came from.
    return EquivalentDisplacements(
        displacement, rotation[operation], np.argsort(permutations[operation], axis=1)
    )


def _reverse(phonons: Phonopy, primitive_sites: IntArray, primitive_atom: IntArray) -> IntArray:
    translations = phonons.primitive.atomic_permutations
    targets = primitive_sites[primitive_atom]
    back = np.array([np.flatnonzero(translations[:, j] == target)[0] for j, target in enumerate(targets)])
    return np.array(translations[back][:, primitive_sites].T)
