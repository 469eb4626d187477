"""What a property may ask of a simulation engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure

CellFreedom = Literal["isotropic", "axes", "full"]

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
        """
