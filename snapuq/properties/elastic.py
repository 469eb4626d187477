"""Elastic constants at zero pressure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.properties.base import (
    PROPERTIES,
    Property,
    PropertyOutput,
    check_crystals,
    check_positive,
    quantities,
    relax_crystal,
)
from snapuq.properties.crystals import Crystal, System
from snapuq.units import GPA_PER_EV_A3

Matrix = NDArray[np.float64]

# Independent constants, each the mean of the entries that symmetry makes equal (Nye, 1957).
_CONSTANTS: dict[System, dict[str, tuple[tuple[int, int], ...]]] = {
    "cubic": {
        "C11": ((0, 0), (1, 1), (2, 2)),
        "C12": ((0, 1), (0, 2), (1, 2)),
        "C44": ((3, 3), (4, 4), (5, 5)),
    },
    "hexagonal": {
        "C11": ((0, 0), (1, 1)),
        "C12": ((0, 1),),
        "C13": ((0, 2), (1, 2)),
        "C33": ((2, 2),),
        "C44": ((3, 3), (4, 4)),
    },
    "tetragonal": {
        "C11": ((0, 0), (1, 1)),
        "C12": ((0, 1),),
        "C13": ((0, 2), (1, 2)),
        "C33": ((2, 2),),
        "C44": ((3, 3), (4, 4)),
        "C66": ((5, 5),),
    },
}
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@PROPERTIES.register("elastic")
class Elastic(Property):
    """Elastic constants by central finite strain of the stress, ions relaxed.

    At zero pressure the derivative of the Cauchy stress is the elastic constant. Bulk modulus by Voigt,
    Reuss and Hill; the crystal is stable if the smallest Born eigenvalue is positive.

    References
    ----------
    Mouhat and Coudert, Phys. Rev. B 90, 224104 (2014), doi:10.1103/PhysRevB.90.224104.
    """

    @dataclass(frozen=True)
    class Params:
        """Crystal and strain.

        Parameters
        ----------
        structure : str
            Crystal.
        strain : float
            Size of the finite strain; 1e-3 leaves a truncation error below 1e-4 of the constants and a
            noise below that.
        relax_ions : bool
            Whether atoms follow the strain; without, the clamped-ion constants.
        """

        structure: str = "bcc"
        strain: float = 1.0e-3
        relax_ions: bool = True

        def __post_init__(self) -> None:
            check_crystals("structure", self.structure)
            check_positive(self, "strain")
            if self.strain > 0.05:
                raise ValueError(f"strain: expected at most 0.05, got {self.strain}")

    @staticmethod
    def label(params: Params) -> str:
        """Name the crystal.

        Parameters
        ----------
        params : Params
            The parameters.

        Returns
        -------
        str
            For example ``elastic-bcc``.
        """
        return f"elastic-{Crystal.parse(params.structure).label}"

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Independent constants of the crystal system, bulk modulus and stability.

        Parameters
        ----------
        params : Params
            The parameters.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        names = [*_CONSTANTS[Crystal.parse(params.structure).kind.system]]
        return dict.fromkeys([*names, "bulk_modulus", "born_min_eigenvalue"], "GPa")

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Strain the crystal in six ways, both signs.

        Parameters
        ----------
        engine : Engine
            The potential.
        params : Params
            The parameters.
        rng : numpy.random.Generator
            Not used.

        Returns
        -------
        PropertyOutput
            The quantities of `outputs`.
        """
        bulk = relax_crystal(engine, params.structure)
        stiffness, converged = stiffness_matrix(engine, bulk.primitive, params.strain, params.relax_ions)
        stiffness *= GPA_PER_EV_A3
        constants = _CONSTANTS[bulk.crystal.kind.system]
        values = {
            name: float(np.mean([stiffness[at] for at in entries])) for name, entries in constants.items()
        }
        values["bulk_modulus"] = hill_bulk_modulus(stiffness)
        values["born_min_eigenvalue"] = float(np.linalg.eigvalsh(stiffness)[0])
        return PropertyOutput(quantities(values, Elastic.outputs(params)), converged)


def stiffness_matrix(
    engine: Engine, structure: Structure, strain: float, relax_ions: bool
) -> tuple[Matrix, bool]:
    """Differentiate the stress by the strain.

    Parameters
    ----------
    engine : Engine
        The potential.
    structure : Structure
        Crystal at zero pressure.
    strain : float
        Size of the finite strain (engineering strain for shears).
    relax_ions : bool
        Whether atoms follow.

    Returns
    -------
    stiffness : ndarray, shape (6, 6)
        Symmetrised Voigt matrix, eV/A^3.
    converged : bool
        Whether every relaxation reached its tolerance.
    """
    stiffness = np.empty((6, 6))
    converged = True
    for k, (i, j) in enumerate(_VOIGT):
        stresses = []
        for sign in (1.0, -1.0):
            deformation = np.eye(3)
            deformation[i, j] += 0.5 * sign * strain
            deformation[j, i] += 0.5 * sign * strain
            strained = Structure(
                structure.cell @ deformation, structure.positions @ deformation, structure.species
            )
            if relax_ions:
                # A force f left over changes the constants by about f / (2 strain d^2), d a distance.
                relaxed = engine.relax(strained, fmax=1.0e-3 * strain)
                converged = converged and relaxed.converged
                stresses.append(relaxed.evaluation.stress)
            else:
                stresses.append(engine.evaluate(strained).stress)
        stiffness[:, k] = (stresses[0] - stresses[1]) / (2.0 * strain)
    return 0.5 * (stiffness + stiffness.T), converged


def hill_bulk_modulus(stiffness: Matrix) -> float:
    """Mean of the Voigt and Reuss averages of the bulk modulus.

    Parameters
    ----------
    stiffness : ndarray, shape (6, 6)
        Voigt matrix.

    Returns
    -------
    float
        In the unit of `stiffness`.
    """
    voigt = stiffness[:3, :3].sum() / 9.0
    try:
        reuss = 1.0 / np.linalg.inv(stiffness)[:3, :3].sum()
    except np.linalg.LinAlgError:
        return float("nan")
    return float(0.5 * (voigt + reuss))
