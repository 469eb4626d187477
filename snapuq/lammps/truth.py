"""What makes a LAMMPS result trustworthy: checks before a run, while it is read, and after a relaxation.

LAMMPS returns plausible numbers for impossible input: pair styles skip pairs that coincide, minimisers report
vanishing forces on NaN, and atoms can be lost in silence. Nothing leaves the engine without these checks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from snapuq.core.dataset import SHORTEST_EDGE
from snapuq.core.engine import CellFreedom
from snapuq.errors import SimulationError
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.session import Session
from snapuq.units import BAR_PER_EV_A3

Array = NDArray[np.float64]

#: Shortest distance that is run, A. No two nuclei of a solid come closer at any pressure (H2: 0.74 A), and an
#: atom listed twice, or written with two digits, does. SNAP skips pairs closer than 1e-10 A without a word.
SMALLEST_DISTANCE = SHORTEST_EDGE
#: Volume per atom, A^3, below which LAMMPS's neighbour lists overrun their memory before they say so.
SMALLEST_VOLUME = 1.0
#: Tilt of a cell, in lengths, up to which LAMMPS was seen to be exact; far beyond it is wrong or hangs.
LARGEST_TILT = 30.0
#: Change of volume, either way, beyond which a relaxation has run away.
LARGEST_VOLUME_RATIO = 2.0
#: Shortest distance after a relaxation, relative to before, below which atoms have fallen into each other:
#: a potential without a repulsive core has energies there that mean nothing.
SMALLEST_DISTANCE_RATIO = 0.6
# Nearest neighbours are never further apart than in a close packing, 2^(1/6) (V/N)^(1/3) (Kepler's
# conjecture, doi:10.4007/annals.2005.162.1065); the rest is for rounding.
_CLOSE_PACKED = 1.13
# LAMMPS lists pressures as xx yy zz xy xz yz.
_TO_VOIGT = [0, 1, 2, 5, 4, 3]


@dataclass(frozen=True, eq=False)
class State:
    """What LAMMPS holds after a script, all of it finite, in LAMMPS's frame.

    Parameters
    ----------
    energy : float
        Potential energy, eV.
    forces : ndarray, shape (N, 3)
        Forces, eV/A.
    stress : ndarray, shape (6,)
        Stress, eV/A^3, Voigt xx yy zz yz xz xy, tension positive.
    cell : ndarray, shape (3, 3)
        Cell vectors as rows, A.
    positions : ndarray, shape (N, 3)
        Unwrapped positions relative to the corner of the cell, A, in the order of the atoms.
    """

    energy: float
    forces: Array
    stress: Array
    cell: Array
    positions: Array


def nearest_distance(cell: Array, positions: Array) -> float:
    """Shortest distance between two atoms, all periodic images included.

    Parameters
    ----------
    cell : ndarray, shape (3, 3)
        Cell vectors as rows, A.
    positions : ndarray, shape (N, 3)
        Positions, A, inside the cell or not.

    Returns
    -------
    float
        A; for a single atom, the distance to its nearest image.
    """
    inverse = np.linalg.inv(cell)
    reach = _CLOSE_PACKED * (abs(float(np.linalg.det(cell))) / len(positions)) ** (1 / 3)
    # How far the reach goes in units of the distance between opposite faces.
    margins = reach * np.linalg.norm(inverse, axis=0)
    inside = positions @ inverse
    inside -= np.floor(inside)
    points = inside
    for axis, margin in enumerate(margins):
        turns = np.arange(-np.ceil(margin), np.ceil(margin) + 1)
        points = (points[:, None] + turns[:, None] * np.eye(3)[axis]).reshape(-1, 3)
        points = points[(points[:, axis] >= -margin) & (points[:, axis] <= 1 + margin)]
    # The nearest point to an atom is the atom itself.
    return float(KDTree(points @ cell).query(inside @ cell, k=2)[0][:, 1].min())


def check_start(frame: LammpsFrame) -> float:
    """Refuse a structure that LAMMPS cannot or must not run.

    Parameters
    ----------
    frame : LammpsFrame
        The structure.

    Returns
    -------
    float
        Its shortest distance, A.

    Raises
    ------
    SimulationError
        ``bad_box`` when it is too dense for neighbour lists, ``coincident_atoms`` when two atoms coincide.
    """
    volume = float(np.linalg.det(frame.cell)) / len(frame.positions)
    if volume < SMALLEST_VOLUME:
        raise SimulationError("bad_box", f"{volume:.3g} A^3 per atom")
    nearest = nearest_distance(frame.cell, frame.positions)
    if nearest < SMALLEST_DISTANCE:
        raise SimulationError("coincident_atoms", f"two atoms are {nearest:.3g} A apart")
    return nearest


def read_state(session: Session, n_atoms: int) -> State:
    """Read energy, forces, stress, cell and positions, and refuse them unless all are sound.

    Parameters
    ----------
    session : Session
        After a script.
    n_atoms : int
        Number of atoms that went in.

    Returns
    -------
    State
        The same on every rank of the session.

    Raises
    ------
    SimulationError
        ``lost_atoms``, ``not_finite``, ``bad_box``, or ``lammps_error`` when LAMMPS has no such number.
    """
    lmp = session.raw
    # Counted anew: LAMMPS's own number of atoms goes on including those that it was told to ignore.
    kept = round(session.equal("count(all)"))
    if kept != n_atoms:
        raise SimulationError("lost_atoms", f"LAMMPS kept {kept} of {n_atoms} atoms")

    def gather(name: str, kind: int) -> Array:
        found = session.guarded(lmp.gather_atoms, name, kind, 3)
        return np.array(found, dtype=np.float64).reshape(n_atoms, 3)

    low, high, xy, yz, xz = session.guarded(lmp.extract_box)[:5]
    lx, ly, lz = np.subtract(high, low)
    cell = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
    positions = gather("x", 1) - np.array(low) + gather("image", 0) @ cell
    if not (np.isfinite(cell).all() and np.isfinite(positions).all()):
        raise SimulationError("not_finite", "positions or cell are not finite")
    tilt = max(abs(xy / lx), abs(xz / lx), abs(yz / ly))
    if tilt > LARGEST_TILT:
        raise SimulationError("bad_box", f"the cell is tilted by {tilt:.3g} times its length")
    energy = session.compute_scalar("thermo_pe")
    forces = gather("f", 1)
    pressure = session.compute_vector("thermo_press")
    if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(pressure).all()):
        raise SimulationError("not_finite", "energy, forces or pressure are not finite")
    return State(energy, forces, -pressure[_TO_VOIGT] / BAR_PER_EV_A3, cell, positions)


def check_relaxed(start: LammpsFrame, nearest: float, state: State) -> None:
    """Refuse a relaxation that left the range in which a potential means anything.

    Parameters
    ----------
    start : LammpsFrame
        Structure before.
    nearest : float
        Its shortest distance, A.
    state : State
        Structure after.

    Raises
    ------
    SimulationError
        ``runaway`` when the volume changed too much, ``collapsed`` when atoms fell into each other.
    """
    ratio = float(np.linalg.det(state.cell) / np.linalg.det(start.cell))
    if not 1.0 / LARGEST_VOLUME_RATIO < ratio < LARGEST_VOLUME_RATIO:
        raise SimulationError("runaway", f"the relaxation changed the volume by a factor of {ratio:.3g}")
    closest = nearest_distance(state.cell, state.positions)
    if closest < max(SMALLEST_DISTANCE_RATIO * nearest, SMALLEST_DISTANCE):
        raise SimulationError("collapsed", f"the relaxation brought two atoms within {closest:.3g} A")


def is_converged(state: State, fmax: float, cell: CellFreedom | None, smax: float) -> bool:
    """Tell whether a relaxation reached its tolerances.

    Parameters
    ----------
    state : State
        Structure after.
    fmax : float
        Tolerance on the largest force on an atom, eV/A.
    cell : {'isotropic', 'axes', 'full'} or None
        Freedom of the cell.
    smax : float
        Tolerance on the largest free stress component, eV/A^3.

    Returns
    -------
    bool
        Whether forces, and the free stress if the cell was free, are within them.
    """
    # The length of the force: a component would depend on the frame.
    largest = float(np.linalg.norm(state.forces, axis=1).max())
    return largest <= fmax and (cell is None or free_stress(state.stress, cell) <= smax)


def free_stress(stress: Array, cell: CellFreedom) -> float:
    """Largest stress component that a relaxation is free to remove.

    Parameters
    ----------
    stress : ndarray, shape (6,)
        Voigt stress, in the frame of the relaxation.
    cell : {'isotropic', 'axes', 'full'}
        Freedom of the cell.

    Returns
    -------
    float
        Its magnitude.
    """
    if cell == "isotropic":
        return abs(float(stress[:3].mean()))
    return float(np.abs(stress[:3] if cell == "axes" else stress).max())
