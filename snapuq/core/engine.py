"""What a property may ask of a simulation engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure

CellFreedom = Literal["isotropic", "axes", "full"]
#: Which way atoms may move in a fixed cell; ``normal``: of the plane of the first two cell vectors.
Directions = Literal["all", "normal"]

#: Tolerance of relaxations on the length of a force, eV/A.
FMAX = 1.0e-4
#: Tolerance of relaxations on the largest free stress component, eV/A^3.
SMAX = 1.0e-6


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Energy and its derivatives at fixed positions.

    Parameters
    ----------
    energy : float
        Total energy, eV.
    forces : ndarray, shape (N, 3)
        Forces, eV/A.
    stress : ndarray, shape (6,)
        Stress, eV/A^3, Voigt xx yy zz yz xz xy, tension positive.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Result of a relaxation, with what tells whether to trust it.

    Parameters
    ----------
    structure : Structure
        Relaxed structure, atoms in the order given.
    evaluation : Evaluation
        Energy, forces and stress there.
    converged : bool
        Whether the largest force component (and, with a free cell, the largest free stress component)
        is below the tolerance asked for.
    evaluations : int
        Force evaluations used.
    """

    structure: Structure
    evaluation: Evaluation
    converged: bool
    evaluations: int


class Engine(Protocol):
    """A potential that can be evaluated and relaxed; LAMMPS, or an analytic model in tests."""

    def evaluate(self, structure: Structure) -> Evaluation:
        """Energy, forces and stress at fixed positions.

        Parameters
        ----------
        structure : Structure
            Any right-handed periodic cell.

        Returns
        -------
        Evaluation
            In the frame of the structure given.

        Raises
        ------
        SimulationError
            When the result is not finite or the simulation fails.
        """

    def relax(
        self,
        structure: Structure,
        *,
        cell: CellFreedom | None = None,
        directions: Directions = "all",
        fmax: float = FMAX,
        smax: float = SMAX,
        max_evaluations: int = 1000,
    ) -> Relaxation:
        """Relax positions, and the cell if asked to.

        Parameters
        ----------
        structure : Structure
            Start.
        cell : {'isotropic', 'axes', 'full'} or None
            Freedom of the cell: none, one common scale, the three lengths, all six parameters.
        directions : {'all', 'normal'}
            Which way atoms may move, in a fixed cell; ``normal`` is along the normal of the plane of the
            first two cell vectors, and forces within the plane are then given as zero.
        fmax : float
            Tolerance on the largest force component, eV/A.
        smax : float
            Tolerance on the largest free stress component, eV/A^3.
        max_evaluations : int
            Limit on force evaluations.

        Returns
        -------
        Relaxation
            Converged or not; the flag says which.

        Raises
        ------
        SimulationError
            When energies or forces stop being finite, or atoms are lost.
        ValueError
            When the cell is free and the directions are not.
        """


@dataclass(frozen=True, eq=False)
class Band:
    """A chain of images between two states, with what tells whether to trust it.

    Parameters
    ----------
    images : tuple of Structure
        The same atoms in the same cell, end states included, without jumps across the cell.
    residual : float
        Largest force of the band on an atom of an image between the ends, eV/A.
    evaluations : int
        Force evaluations used, over all images.
    """

    images: tuple[Structure, ...]
    residual: float
    evaluations: int


@runtime_checkable
class BandEngine(Engine, Protocol):
    """An engine with a nudged elastic band of its own."""

    def neb(self, images: Sequence[Structure], *, fmax: float, max_steps: int = 500) -> Band:
        """Relax a band with a climbing image; the images at its ends are relaxed states and stay.

        Parameters
        ----------
        images : sequence of Structure
            Start, at least three.
        fmax : float
            Tolerance on the largest force of the band on an atom, eV/A.
        max_steps : int
            Limit on steps before climbing, and again while climbing.

        Returns
        -------
        Band
            Converged or not; its residual tells.

        Raises
        ------
        SimulationError
            When energies or forces stop being finite, a replica fails, or it takes too long.
        EnvironmentProblem
            When several processes cannot be started here.
        """


@dataclass(frozen=True, eq=False)
class Saddle:
    """The highest point of a path between two states.

    Parameters
    ----------
    energy : float
        eV.
    negative : int
        Number of negative modes found there.
    converged : bool
        Whether it, and all that led to it, met the tolerance.
    first_negative : int
        Number of negative modes where the first band came to rest.
    structure : Structure
        The point.
    first : Structure
        Where the first band came to rest.
    """

    energy: float
    negative: int
    converged: bool
    first_negative: int
    structure: Structure
    first: Structure


@runtime_checkable
class SaddleEngine(Engine, Protocol):
    """An engine that may know a saddle without a search."""

    def saddle(self, first: Structure, last: Structure, search: Callable[[], Saddle]) -> Saddle:
        """Give the highest saddle between two states.

        Parameters
        ----------
        first, last : Structure
            Relaxed states, the same atoms in the same cell without jumps across it.
        search : callable
            Finds it where it is not known.

        Returns
        -------
        Saddle
            Verified: one negative mode.

        Raises
        ------
        SimulationError
            What the search raises.
        """
