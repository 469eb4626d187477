"""Elastic constants at zero pressure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.properties.base import PROPERTIES, Property, PropertyOutput, quantities, relax_crystal
from snapuq.properties.checks import check_at_most, check_crystals
from snapuq.properties.crystals import Crystal
from snapuq.properties.elastic_tensor import VOIGT, ElasticSymmetry, averages
from snapuq.properties.identity import how_lost
from snapuq.units import GPA_PER_EV_A3

Array = NDArray[np.float64]

#: Strains relative to the largest, which the linear fit goes through.
SIZES = (1.0, 0.5)
#: Largest residual of that fit, as a share of the stress; a cubic term that changes the constants by 0.7 %
#: leaves as much.
LARGEST_RESIDUAL = 2.0e-3


@PROPERTIES.register("elastic")
class Elastic(Property):
    """Elastic tensor by finite strains of the stress, ions relaxed, symmetric under the point group.

    At zero pressure the derivative of the Cauchy stress is the elastic constant. Each strain that the
    crystal's symmetry needs is applied at two sizes and with both signs; what is odd in the strain is fitted
    by a straight line, and a residual above `LARGEST_RESIDUAL` means unconverged. Moduli by Voigt, Reuss and
    Hill; the crystal is stable if the smallest Born eigenvalue is positive. Axes: a along x, and b in the
    plane of x and y, so that c is along z and the unique axis of monoclinic crystals along y.

    References
    ----------
    Mouhat and Coudert, Phys. Rev. B 90, 224104 (2014), doi:10.1103/PhysRevB.90.224104.
    """

    version = 2

    @dataclass(frozen=True)
    class Params:
        """Crystal and strain.

        Parameters
        ----------
        structure : str
            Crystal.
        strain : float
            Size of the larger finite strain; 1e-3 leaves a truncation error below 1e-4 of the constants and a
            noise below that.
        relax_ions : bool
            Whether atoms follow the strain; without, the clamped-ion constants.
        """

        structure: str = "bcc"
        strain: float = 1.0e-3
        relax_ions: bool = True

        def __post_init__(self) -> None:
            check_crystals("structure", self.structure)
            check_at_most(self, "strain", 0.05)

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Independent constants of the point group, moduli and stability.

        Parameters
        ----------
        params : Params
            The parameters.

        Returns
        -------
        Mapping
            Quantity name to unit; ``bulk_modulus`` and ``shear_modulus`` are Hill's.
        """
        names = [*elastic_symmetry(Crystal.parse(params.structure)).names]
        for modulus in ("bulk_modulus", "shear_modulus"):
            names += [modulus, f"{modulus}_voigt", f"{modulus}_reuss"]
        return dict.fromkeys([*names, "born_min_eigenvalue"], "GPa")

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Strain the crystal.

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
        tensor = elastic_tensor(
            engine, bulk.primitive, elastic_symmetry(bulk.crystal), params.strain, params.relax_ions
        )
        stiffness = tensor.stiffness * GPA_PER_EV_A3
        mean = averages(stiffness)
        values = {name: float(stiffness[int(name[1]) - 1, int(name[2]) - 1]) for name in tensor.names}
        values |= {
            "bulk_modulus": mean.bulk,
            "bulk_modulus_voigt": mean.bulk_voigt,
            "bulk_modulus_reuss": mean.bulk_reuss,
            "shear_modulus": mean.shear,
            "shear_modulus_voigt": mean.shear_voigt,
            "shear_modulus_reuss": mean.shear_reuss,
            "born_min_eigenvalue": float(np.linalg.eigvalsh(stiffness)[0]),
        }
        converged = tensor.converged and tensor.residual <= LARGEST_RESIDUAL
        lost = how_lost(bulk)
        return PropertyOutput(quantities(values, Elastic.outputs(params)), converged, bool(lost), lost)


@lru_cache(maxsize=64)
def elastic_symmetry(crystal: Crystal) -> ElasticSymmetry:
    """Independent elastic constants of a crystal.

    Parameters
    ----------
    crystal : Crystal
        The crystal.

    Returns
    -------
    ElasticSymmetry
        Of its point group.
    """
    return ElasticSymmetry.of(crystal.kind.point_group)


@dataclass(frozen=True, eq=False)
class ElasticTensor:
    """Elastic tensor of a crystal.

    Parameters
    ----------
    stiffness : ndarray, shape (6, 6)
        Voigt matrix, eV/A^3, with the symmetry of the point group.
    names : tuple of str
        Independent constants.
    residual : float
        Largest distance of the stresses from the linear fit, one strain at a time, as a share of the stress.
    converged : bool
        Whether every relaxation reached its tolerance.
    """

    stiffness: Array
    names: tuple[str, ...]
    residual: float
    converged: bool


def elastic_tensor(
    engine: Engine, structure: Structure, symmetry: ElasticSymmetry, strain: float, relax_ions: bool
) -> ElasticTensor:
    """Fit the elastic tensor to the stress of strained crystals.

    Parameters
    ----------
    engine : Engine
        The potential.
    structure : Structure
        Crystal at zero pressure, in the axes of `symmetry`.
    symmetry : ElasticSymmetry
        Of its point group.
    strain : float
        Size of the larger strain (engineering strain for shears).
    relax_ions : bool
        Whether atoms follow.

    Returns
    -------
    ElasticTensor
        The tensor and how well it fits.
    """
    sizes = strain * np.array(SIZES)
    measured, converged = [], True
    for component in symmetry.strains:
        odd, ok = _odd_stress(engine, structure, component, sizes, relax_ions)
        measured.append(odd)
        converged = converged and ok
    stresses = np.array(measured)
    columns = np.einsum("s,ksi->ki", sizes, stresses) / np.sum(sizes**2)
    stiffness = symmetry.stiffness(symmetry.fit(columns))
    fitted = sizes[:, None] * stiffness[list(symmetry.strains)][:, None]
    misfit = np.linalg.norm(stresses - fitted, axis=(1, 2))
    size = np.maximum(np.linalg.norm(stresses, axis=(1, 2)), np.finfo(float).tiny)
    return ElasticTensor(stiffness, symmetry.names, float((misfit / size).max()), converged)


def _odd_stress(
    engine: Engine, structure: Structure, component: int, sizes: Sequence[float] | Array, relax_ions: bool
) -> tuple[Array, bool]:
    """Half the difference of the stresses at both signs of one Voigt strain, shape (len(sizes), 6)."""
    cell, converged = structure.cell, True
    rest = structure.positions @ np.linalg.inv(cell)
    # Fractional displacement per strain: known from the first relaxation, it starts all later ones.
    response: Array | None = None
    found = np.empty((len(sizes), 6))
    for at, size in enumerate(sizes):
        stresses = []
        for step in (float(size), -float(size)):
            strained = cell @ _deformation(component, step)
            guess = rest if response is None else rest + step * response
            start = Structure(strained, guess @ strained, structure.species)
            if not relax_ions:
                stresses.append(engine.evaluate(start).stress)
                continue
            # A force f left over changes the constants by about f / (2 strain d^2), d a distance.
            relaxed = engine.relax(start, fmax=1.0e-3 * float(size))
            converged = converged and relaxed.converged
            stresses.append(relaxed.evaluation.stress)
            if response is None:
                response = (relaxed.structure.positions @ np.linalg.inv(strained) - rest) / step
        found[at] = 0.5 * (stresses[0] - stresses[1])
    return found, converged


def _deformation(component: int, strain: float) -> Array:
    """Symmetric deformation gradient of one Voigt strain."""
    i, j = VOIGT[component]
    gradient = np.eye(3)
    gradient[i, j] += 0.5 * strain
    gradient[j, i] += 0.5 * strain
    return gradient
