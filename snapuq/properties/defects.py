"""What point defects share: supercell, relaxation, energies and volumes, and the site of each atom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX, SMAX, Engine, Relaxation
from snapuq.errors import SimulationError
from snapuq.properties.base import Property, RelaxedCrystal, relax_crystal
from snapuq.properties.cell_lengths import CellLength, repeated_length
from snapuq.properties.checks import check_choice, check_crystals, check_positive, check_within
from snapuq.properties.crystals import Crystal
from snapuq.properties.elastic import elastic_symmetry, elastic_tensor

Array = NDArray[np.float64]
Constant = Literal["volume", "pressure"]

#: Repetitions of the conventional cell, at least and at most.
SUPERCELLS = (2, 20)
#: Distance from its site, in nearest-neighbour distances, beyond which an atom has left it. Neighbours of a
#: vacancy move by less than 0.1, and 0.5 is half-way to the next site.
LEFT_SITE = 0.3
#: Strain for the stiffness of the crystal: the truncation error is below 1e-4 of it.
STRAIN = 1.0e-3
#: Limit on the force evaluations of the first relaxation, which for interstitials may begin near a saddle.
MAX_EVALUATIONS = 3000
#: Corrections of the cell at constant pressure; each leaves about a twentieth of the stress.
ROUNDS = 10


@dataclass(frozen=True)
class DefectParams:
    """Crystal, supercell and boundary condition of a point defect.

    Parameters
    ----------
    structure : str
        Crystal of one element.
    supercell : int
        Repetitions of the conventional cell along each axis.
    constant : {'volume', 'pressure'}
        Whether the cell stays that of the perfect crystal, or relaxes to zero pressure, shape included.
    fmax : float
        Largest force at the end, eV/A.
    """

    structure: str = "bcc"
    supercell: int = 4
    constant: Constant = "volume"
    fmax: float = FMAX

    #: Crystals that a property is defined for; empty means all of one element.
    CRYSTALS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_crystals("structure", self.structure)
        crystal = Crystal.parse(self.structure)
        if crystal.kind.n_species > 1:
            raise ValueError(f"structure: expected a crystal of one element, got {self.structure}")
        if self.CRYSTALS and crystal.prototype not in self.CRYSTALS:
            raise ValueError(f"structure: expected one of {', '.join(self.CRYSTALS)}, got {crystal.label}")
        check_within(self, "supercell", *SUPERCELLS)
        check_choice(self, "constant", get_args(Constant))
        check_positive(self, "fmax")


@dataclass(frozen=True, eq=False)
class Host:
    """The perfect crystal that a defect is made in.

    Parameters
    ----------
    bulk : RelaxedCrystal
        The crystal at zero pressure.
    unit : Structure
        Its conventional cell.
    perfect : Structure
        The supercell; its first atoms are those of `unit`.
    neighbour : float
        Nearest-neighbour distance, A.
    """

    bulk: RelaxedCrystal
    unit: Structure
    perfect: Structure
    neighbour: float

    @classmethod
    def of(cls, engine: Engine, params: DefectParams) -> Host:
        """Relax the crystal and repeat it.

        Parameters
        ----------
        engine : Engine
            The potential.
        params : DefectParams
            Crystal and supercell.

        Returns
        -------
        Host
            At the potential's own lattice.

        Raises
        ------
        SimulationError
            When the crystal has no zero-pressure lattice.
        """
        bulk = relax_crystal(engine, params.structure)
        unit = bulk.conventional()
        return cls(bulk, unit, repeated(unit, params.supercell), unit.nearest_distance())


@dataclass(frozen=True, eq=False)
class RelaxedDefect:
    """A defect after its relaxation.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.
    formation_energy : float
        E(N') - N' e_bulk, eV.
    relaxation_volume : float
        Change of the volume of the supercell at zero pressure, A^3.
    converged : bool
        Whether every relaxation reached its tolerance.
    """

    structure: Structure
    formation_energy: float
    relaxation_volume: float
    converged: bool

    @property
    def values(self) -> dict[str, float]:
        """Both numbers by the name of their quantity."""
        return {name: getattr(self, name) for name in UNITS}


class PointDefect(Property):
    """A property of a supercell of conventional cells, as `DefectParams` tells it."""

    @staticmethod
    def cell_lengths(params: Any) -> tuple[CellLength, ...]:
        """Length of the supercell.

        Parameters
        ----------
        params : Params
            What the user asked for; `structure` and `supercell` among it.

        Returns
        -------
        tuple of CellLength
            One.
        """
        return (repeated_length(params.structure, params.supercell),)


#: Quantities that every point defect gives.
UNITS: Mapping[str, str] = {"formation_energy": "eV", "relaxation_volume": "A^3"}


def relax_defect(engine: Engine, host: Host, start: Structure, params: DefectParams) -> RelaxedDefect:
    """Relax a defect and compare it with the perfect crystal.

    The relaxation volume V(defect) - V(perfect) is that of the supercell, which has as many sites before
    and after (the formation volume adds one atomic volume for each vacancy, and takes one away for each
    interstitial). At constant pressure it is read from the relaxed cell; at constant volume it is
    -V sum_ij S_iij sigma_j (Voigt, i over the normal strains), the linear response to the stress that is
    left, with the compliance S of the potential's own crystal: -V sigma / B in a cubic one.

    Parameters
    ----------
    engine : Engine
        The potential.
    host : Host
        The perfect crystal.
    start : Structure
        The defect in the cell of `host.perfect`.
    params : DefectParams
        Boundary condition and tolerance.

    Returns
    -------
    RelaxedDefect
        Energies, volume and structure.

    Raises
    ------
    SimulationError
        When the engine fails, or at constant pressure the crystal is elastically unstable.

    References
    ----------
    Clouet, Varvenne and Jourdan, Comput. Mater. Sci. 147, 49 (2018), doi:10.1016/j.commatsci.2018.01.053.
    """
    relaxed = engine.relax(start, fmax=params.fmax, max_evaluations=MAX_EVALUATIONS)
    symmetry = elastic_symmetry(host.bulk.crystal)
    tensor = elastic_tensor(engine, host.bulk.primitive, symmetry, STRAIN, relax_ions=True)
    converged = tensor.converged
    if params.constant == "pressure":
        relaxed, settled = relax_cell(engine, relaxed, tensor.stiffness, params.fmax)
        converged = converged and settled
        change = relaxed.structure.volume - host.perfect.volume
    else:
        strain = -np.linalg.pinv(tensor.stiffness) @ relaxed.evaluation.stress
        change = start.volume * float(strain[:3].sum())
    energy = relaxed.evaluation.energy - len(start) * host.bulk.energy
    return RelaxedDefect(relaxed.structure, energy, change, converged and relaxed.converged)


def relax_cell(engine: Engine, relaxed: Relaxation, stiffness: Array, fmax: float) -> tuple[Relaxation, bool]:
    """Bring a supercell with a defect to zero pressure, with the stiffness of the crystal as its own.

    A joint minimisation over cell and atoms is ill-conditioned in a large cell, and goes astray there.

    Parameters
    ----------
    engine : Engine
        The potential.
    relaxed : Relaxation
        In the cell of the perfect crystal.
    stiffness : ndarray, shape (6, 6)
        Voigt matrix, eV/A^3.
    fmax : float
        Largest force at the end, eV/A.

    Returns
    -------
    relaxed : Relaxation
        The last relaxation at fixed cell.
    converged : bool
        Whether the stress is below its tolerance.

    Raises
    ------
    SimulationError
        ``unstable`` when the crystal is; what the engine raises.
    """
    if np.linalg.eigvalsh(stiffness)[0] <= 0.0:
        raise SimulationError("unstable", "the crystal is elastically unstable")
    for _ in range(ROUNDS):
        stress = relaxed.evaluation.stress
        if np.abs(stress).max() <= SMAX:
            break
        strain = -np.linalg.solve(stiffness, stress)
        xx, yy, zz, yz, xz, xy = strain * (1.0, 1.0, 1.0, 0.5, 0.5, 0.5)
        gradient = np.eye(3) + np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        cell, positions = relaxed.structure.cell @ gradient, relaxed.structure.positions @ gradient
        relaxed = engine.relax(Structure(cell, positions, relaxed.structure.species), fmax=fmax)
    return relaxed, bool(np.abs(relaxed.evaluation.stress).max() <= SMAX)


@dataclass(frozen=True, eq=False)
class Occupation:
    """Which site of the perfect crystal each atom belongs to: the one whose Wigner-Seitz cell it is in.

    Parameters
    ----------
    site : ndarray of int, shape (N',)
        Index of the site of each atom.
    offset : ndarray, shape (N', 3)
        Atom relative to its site, A.
    count : ndarray of int, shape (N,)
        Number of atoms of each site.
    """

    site: NDArray[np.intp]
    offset: Array
    count: NDArray[np.intp]

    @classmethod
    def of(cls, structure: Structure, perfect: Structure) -> Occupation:
        """Assign atoms to sites.

        Parameters
        ----------
        structure : Structure
            The defect; a strained cell carries its sites along.
        perfect : Structure
            The perfect crystal.

        Returns
        -------
        Occupation
            A common drift of all atoms is taken out.
        """
        sites = perfect.positions @ np.linalg.inv(perfect.cell)
        atoms = structure.positions @ np.linalg.inv(structure.cell)
        drift = np.zeros(3)
        for _ in range(2):
            nearest = [_nearest(atom - drift, sites, structure.cell) for atom in atoms]
            site = np.array([i for i, _ in nearest], dtype=np.intp)
            offset = np.array([vector for _, vector in nearest])
            drift = drift + np.median(offset, axis=0) @ np.linalg.inv(structure.cell)
        return cls(site, offset, np.bincount(site, minlength=len(sites)))

    def is_vacant_at(self, sites: set[int], neighbour: float) -> bool:
        """Tell whether the crystal is whole but for some vacancies.

        Parameters
        ----------
        sites : set of int
            Sites that should be empty.
        neighbour : float
            Nearest-neighbour distance, A.

        Returns
        -------
        bool
            True if these sites are empty, all others hold one atom, and no atom has left its own.
        """
        return not self.departure(sites, neighbour)

    def departure(self, sites: set[int], neighbour: float) -> str:
        """Say what is wrong with a crystal that should be whole but for some vacancies.

        Parameters
        ----------
        sites : set of int
            Sites that should be empty.
        neighbour : float
            Nearest-neighbour distance, A.

        Returns
        -------
        str
            Whether other sites are empty, some are shared, or an atom is far from its own; empty when nothing
            is wrong.
        """
        empty, shared = set(np.flatnonzero(self.count == 0).tolist()), int((self.count > 1).sum())
        if shared:
            return f"relaxed to {len(empty)} empty and {shared} shared sites"
        if empty != sites:
            return "a vacancy moved to another site"
        farthest = float(np.linalg.norm(self.offset, axis=1).max()) / neighbour
        return "" if farthest < LEFT_SITE else f"an atom moved by {farthest:.1f} neighbour distances"


def _nearest(atom: Array, sites: Array, cell: Array) -> tuple[int, Array]:
    """Nearest site and the vector from it; rounding finds the nearest image as atoms are close to sites."""
    delta = atom - sites
    vectors = (delta - np.rint(delta)) @ cell
    index = int(np.argmin(np.einsum("ij,ij->i", vectors, vectors)))
    return index, vectors[index]


def repeated(structure: Structure, n: int) -> Structure:
    """Repeat a cell along its three vectors.

    Parameters
    ----------
    structure : Structure
        The cell.
    n : int
        Repetitions along each.

    Returns
    -------
    Structure
        The supercell, cell by cell.
    """
    steps = np.array([(i, j, k) for i in range(n) for j in range(n) for k in range(n)], dtype=float)
    positions = (steps @ structure.cell)[:, None, :] + structure.positions[None]
    return Structure(n * structure.cell, positions.reshape(-1, 3), structure.species * len(steps))


def without(structure: Structure, atoms: set[int]) -> Structure:
    """Remove atoms.

    Parameters
    ----------
    structure : Structure
        The crystal.
    atoms : set of int
        Indices, fewer than all.

    Returns
    -------
    Structure
        The others.
    """
    keep = [i for i in range(len(structure)) if i not in atoms]
    return Structure(structure.cell, structure.positions[keep], tuple(structure.species[i] for i in keep))
