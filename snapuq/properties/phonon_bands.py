"""Lattice dynamics of a crystal: force constants, frequencies, path, mesh and thermodynamics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
import seekpath
from ase.data import chemical_symbols
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.harmonic.dynmat_to_fc import get_commensurate_points
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import guess_primitive_matrix
from scipy.constants import Boltzmann, Planck, elementary_charge

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.properties.crystals import Crystal

Array = NDArray[np.float64]

#: Distance within which atoms are equivalent, A; relaxed positions are good to a hundredth of it.
SYMMETRY_TOLERANCE = 1.0e-3
#: Energy of one quantum of 1 THz, eV.
EV_PER_THZ = 1.0e12 * Planck / elementary_charge
_K_B = Boltzmann / elementary_charge
# Real-space length that the mesh of the Brillouin zone resolves, A. Against 160 A, free energies of W, Cu and
# Si change by less than 1e-6 eV/atom, zero-point energies by less than 1e-7, quantiles by less than 0.01 THz.
_MESH_LENGTH = 60.0


@dataclass(frozen=True)
class PathPoint:
    """A wave vector on the path.

    Parameters
    ----------
    x : float
        Distance along the path, from 0 to 1; jumps between segments have no length.
    where : str
        Name of a special point, or of the two that it lies between: ``N`` or ``H-N``.
    q : tuple of float
        Wave vector in units of the primitive reciprocal vectors.
    """

    x: float
    where: str
    q: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class BrillouinZone:
    """What follows from the prototype alone, so that it is the same for all potentials.

    Parameters
    ----------
    primitive_matrix : ndarray, shape (3, 3)
        Columns are the primitive vectors in units of those of `Crystal.primitive`.
    special : dict
        Name to wave vector, in units of the primitive reciprocal vectors.
    segments : tuple of (str, str)
        The path.
    reciprocal : ndarray, shape (3, 3)
        Rows are reciprocal vectors without 2 pi, in units of 1 / a.
    n_atoms : int
        Atoms of the primitive cell.
    """

    primitive_matrix: Array
    special: dict[str, tuple[float, float, float]]
    segments: tuple[tuple[str, str], ...]
    reciprocal: Array
    n_atoms: int

    def path(self, points: int) -> tuple[PathPoint, ...]:
        """Sample the path.

        Parameters
        ----------
        points : int
            About so many, spread by length.

        Returns
        -------
        tuple of PathPoint
            Each segment has both ends and a point between them at least; a point that two segments share
            comes once.
        """
        ends = [np.array([self.special[name] for name in segment]) for segment in self.segments]
        lengths = [float(np.linalg.norm((b - a) @ self.reciprocal)) for a, b in ends]
        total, done = sum(lengths), 0.0
        found: list[PathPoint] = []
        for (first, last), (a, b), length in zip(self.segments, ends, lengths, strict=True):
            steps = max(2, round(points * length / total))
            for i in range(steps + 1):
                t = i / steps
                where = {0: first, steps: last}.get(i, f"{first}-{last}")
                if i == 0 and found and found[-1].where == first:
                    continue
                q = a + t * (b - a)
                found.append(PathPoint((done + t * length) / total, where, (q[0], q[1], q[2])))
            done += length
        return tuple(found)

    def mesh(self, a: float) -> Array:
        """Wave vectors spread evenly over the zone, none of them zero.

        Parameters
        ----------
        a : float
            Size of the crystal, A.

        Returns
        -------
        ndarray, shape (Q, 3)
            One of each pair q and -q.
        """
        widths = np.linalg.norm(self.reciprocal, axis=1) / a
        half = [max(1, math.ceil(0.5 * _MESH_LENGTH * w)) for w in widths]
        axes = [(np.arange(2 * n) + 0.5) / (2 * n) - 0.5 for n in half]
        return np.array(list(product(axes[0][half[0] :], axes[1], axes[2])))


@lru_cache(maxsize=64)
def brillouin_zone(text: str) -> BrillouinZone:
    """Find the primitive cell and the path of a crystal from the shape of its prototype.

    Parameters
    ----------
    text : str
        Crystal, as `Crystal.parse` reads it; its elements matter only in being the same or not, and its size
        not at all.

    Returns
    -------
    BrillouinZone
        With the path of Hinuma et al. and its names.

    References
    ----------
    Hinuma et al., Comput. Mater. Sci. 128, 140 (2017), doi:10.1016/j.commatsci.2016.10.015.
    """
    crystal = Crystal.parse(text)
    species = crystal.elements or tuple(map(str, range(crystal.kind.n_species)))
    # Any elements will do, the same where they are the same; a size far above the tolerance of symmetry.
    stand_ins = tuple(chemical_symbols[1 + species.index(s)] for s in species)
    crystal = replace(crystal, elements=stand_ins, lattice_constant=5.0)
    a, c = crystal.size_guess()
    unit = _phonopy_atoms(crystal.primitive(a, c))
    matrix = guess_primitive_matrix(unit, symprec=SYMMETRY_TOLERANCE)
    primitive = Phonopy(
        unit, np.eye(3, dtype=int), primitive_matrix=matrix, symprec=SYMMETRY_TOLERANCE
    ).primitive
    found = seekpath.get_path_orig_cell(
        (primitive.cell, primitive.scaled_positions, primitive.numbers), symprec=SYMMETRY_TOLERANCE
    )
    segments = tuple((first, last) for first, last in found["path"])
    named = {name for segment in segments for name in segment}
    special = {
        k: (float(x), float(y), float(z)) for k, (x, y, z) in found["point_coords"].items() if k in named
    }
    reciprocal = a * np.linalg.inv(primitive.cell).T
    return BrillouinZone(matrix, special, segments, reciprocal, len(primitive))


def _phonopy_atoms(structure: Structure) -> PhonopyAtoms:
    return PhonopyAtoms(symbols=list(structure.species), cell=structure.cell, positions=structure.positions)


def supercell_matrix(crystal: Crystal, length: float) -> NDArray[np.int64]:
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


@dataclass(frozen=True, eq=False)
class HarmonicCrystal:
    """Force constants of a crystal.

    Parameters
    ----------
    phonons : Phonopy
        With force constants that obey the sum rule.
    residual : float
        Largest sum of force constants over all atoms before it was made zero, eV/A^2.
    stiffness : float
        Largest force constant of an atom with itself, eV/A^2.
    """

    phonons: Phonopy
    residual: float
    stiffness: float

    def frequencies(self, q: Sequence[Sequence[float]] | Array) -> Array:
        """Frequencies of all branches.

        Parameters
        ----------
        q : array, shape (Q, 3)
            Wave vectors in units of the primitive reciprocal vectors.

        Returns
        -------
        ndarray, shape (Q, B)
            THz, ascending; negative for imaginary ones. The three acoustic ones at q = 0 are zero.
        """
        points = np.asarray(q, dtype=np.float64)
        self.phonons.run_qpoints(points)
        found = np.array(self.phonons.qpoints.frequencies, dtype=np.float64)
        for k in np.flatnonzero(np.abs(points - np.rint(points)).max(axis=1) < 1.0e-9):
            found[k, np.argsort(np.abs(found[k]), kind="stable")[:3]] = 0.0
        found.sort(axis=1)
        return found

    def commensurate(self) -> Array:
        """Wave vectors that fit into the supercell, where frequencies do not depend on its size.

        Returns
        -------
        ndarray, shape (Q, 3)
            Zero first.
        """
        ratio = np.linalg.inv(self.phonons.primitive_matrix) @ self.phonons.supercell_matrix
        return np.array(get_commensurate_points(np.rint(ratio).astype(int)), dtype=np.float64)


def harmonic_crystal(
    engine: Engine, structure: Structure, matrix: NDArray[np.int64], zone: BrillouinZone, distance: float
) -> HarmonicCrystal:
    """Compute force constants from forces on displaced supercells, both signs of each displacement.

    Parameters
    ----------
    engine : Engine
        The potential.
    structure : Structure
        Relaxed cell, one of `Crystal.primitive`.
    matrix : ndarray, shape (3, 3)
        Rows are the supercell's vectors in units of the cell's.
    zone : BrillouinZone
        Of the same crystal.
    distance : float
        Displacement, A.

    Returns
    -------
    HarmonicCrystal
        The force constants.

    Raises
    ------
    SimulationError
        When the engine fails.

    References
    ----------
    Togo et al., J. Phys.: Condens. Matter 35, 353001 (2023), doi:10.1088/1361-648X/acd831.
    """
    # phonopy's matrices hold vectors as columns.
    phonons = Phonopy(
        _phonopy_atoms(structure),
        supercell_matrix=matrix.T,
        primitive_matrix=zone.primitive_matrix,
        symprec=SYMMETRY_TOLERANCE,
    )
    phonons.generate_displacements(distance=distance, is_plusminus=True)
    phonons.forces = [
        engine.evaluate(Structure(s.cell, s.positions, tuple(s.symbols))).forces
        for s in phonons.supercells_with_displacements
    ]
    phonons.produce_force_constants(show_drift=False)
    constants = phonons.force_constants
    # One sum tells how accurate forces are, the other how harmonic the displacements are.
    residual = max(float(np.abs(constants.sum(axis=i)).max()) for i in (0, 1))
    itself = np.arange(len(constants))
    stiffness = float(np.abs(constants[itself, itself]).max())
    phonons.symmetrize_force_constants(show_drift=False)
    return HarmonicCrystal(phonons, residual, stiffness)


def quantile(frequencies: Array, levels: Sequence[float]) -> Array:
    """Frequencies below which given shares of the modes lie: the integrated density of states, inverted.

    Parameters
    ----------
    frequencies : ndarray
        Modes of equal weight, any shape, THz.
    levels : sequence of float
        Shares, from 0 to 1.

    Returns
    -------
    ndarray, shape (len(levels),)
        THz.
    """
    return np.quantile(frequencies, levels, method="hazen")


def zero_point_energy(frequencies: Array) -> float:
    """Zero-point energy of real modes.

    Parameters
    ----------
    frequencies : ndarray, shape (Q, B)
        THz; those that are not positive are left out.

    Returns
    -------
    float
        Per primitive cell, eV.
    """
    return float(0.5 * EV_PER_THZ * frequencies[frequencies > 0].sum() / len(frequencies))


def free_energy(frequencies: Array, temperature: float) -> float:
    """Helmholtz free energy of real modes, zero-point energy included.

    Parameters
    ----------
    frequencies : ndarray, shape (Q, B)
        THz; those that are not positive are left out.
    temperature : float
        K.

    Returns
    -------
    float
        Per primitive cell, eV.
    """
    thermal = _K_B * temperature
    quanta = EV_PER_THZ * frequencies[frequencies > 0] / thermal
    thermal_part = thermal * float(np.log(-np.expm1(-quanta)).sum()) / len(frequencies)
    return zero_point_energy(frequencies) + thermal_part


def heat_capacity(frequencies: Array, temperature: float) -> float:
    """Heat capacity of real modes at constant volume.

    Parameters
    ----------
    frequencies : ndarray, shape (Q, B)
        THz; those that are not positive are left out.
    temperature : float
        K.

    Returns
    -------
    float
        Per primitive cell, in units of the Boltzmann constant.
    """
    half = 0.5 * EV_PER_THZ * frequencies[frequencies > 0] / (_K_B * temperature)
    # x / sinh(x) without overflow at low temperatures.
    ratio = 2.0 * half * np.exp(-half) / -np.expm1(-2.0 * half)
    return float((ratio**2).sum() / len(frequencies))
