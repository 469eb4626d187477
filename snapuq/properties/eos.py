"""Energy against volume, and the bulk modulus from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.errors import SimulationError
from snapuq.properties.base import PROPERTIES, Property, PropertyOutput, quantities, relax_crystal
from snapuq.properties.checks import check_crystals
from snapuq.properties.identity import how_lost
from snapuq.units import GPA_PER_EV_A3

Array = NDArray[np.float64]

#: Change of volume, either way, that the Birch-Murnaghan curve is fitted to.
FIT_RANGE = 0.03
#: Largest distance from that curve, relative to the range of its energies.
LARGEST_RESIDUAL = 2.0e-3


@PROPERTIES.register("eos")
class EquationOfState(Property):
    """Energies at volumes relative to the potential's own, ions relaxed and the cell's shape kept.

    Volume, bulk modulus and its pressure derivative are those of a third-order Birch-Murnaghan fit to the
    points within `FIT_RANGE` of the minimum: there the bulk modulus is within 0.2 % of that from the stress
    for smooth potentials (W and Cu EAM, W SNAP; over 10 % of the volume it was up to 4 % off). Points further
    than `LARGEST_RESIDUAL` from the fitted curve mean unconverged. In crystals that are not cubic the modulus
    is that at fixed shape, which is larger than the one of the elastic tensor.

    References
    ----------
    Birch, Phys. Rev. 71, 809 (1947), doi:10.1103/PhysRev.71.809.
    """

    version = 2

    @dataclass(frozen=True)
    class Params:
        """Crystal and range of volumes.

        Parameters
        ----------
        structure : str
            Crystal.
        volume_range : float
            Largest relative change of volume, either way.
        points : int
            Number of volumes, the crystal's own included; with 13 the fit has seven.
        """

        structure: str = "bcc"
        volume_range: float = 0.06
        points: int = 13

        def __post_init__(self) -> None:
            check_crystals("structure", self.structure)
            if not 0 < self.volume_range <= 0.5:
                raise ValueError(f"volume_range: expected 0 to 0.5, got {self.volume_range}")
            if self.points < 5 or self.points % 2 == 0:
                raise ValueError(f"points: expected an odd number from 5, got {self.points}")

        @property
        def ratios(self) -> tuple[float, ...]:
            """Volumes relative to the crystal's own."""
            steps = np.linspace(-1.0, 1.0, self.points)
            return tuple(float(1.0 + self.volume_range * s) for s in steps)

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Volume, moduli and one energy for each volume.

        Parameters
        ----------
        params : Params
            The parameters.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        units = {"volume": "A^3/atom", "bulk_modulus": "GPa", "bulk_modulus_derivative": ""}
        return units | {_curve_name(r): "eV/atom" for r in params.ratios if r != 1.0}

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Evaluate the curve and fit it.

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
        n = len(bulk.primitive)
        energies, converged = [], True
        for ratio in params.ratios:
            scale = ratio ** (1.0 / 3.0)
            cell = bulk.primitive
            scaled = Structure(cell.cell * scale, cell.positions * scale, cell.species)
            relaxed = engine.relax(scaled)
            energies.append(relaxed.evaluation.energy / n)
            converged = converged and relaxed.converged
        above = np.array(energies) - bulk.energy
        fitted = _near_the_minimum(params.ratios)
        fit = birch_murnaghan(np.array(params.ratios)[fitted] * bulk.volume, above[fitted])
        converged = converged and fit.residual <= LARGEST_RESIDUAL
        values = {
            "volume": fit.volume,
            "bulk_modulus": fit.bulk_modulus,
            "bulk_modulus_derivative": fit.derivative,
        }
        curve = zip(params.ratios, above.tolist(), strict=True)
        values |= {_curve_name(r): e for r, e in curve if r != 1.0}
        lost = how_lost(bulk)
        return PropertyOutput(
            quantities(values, EquationOfState.outputs(params)), converged, bool(lost), lost
        )


def _near_the_minimum(ratios: Sequence[float]) -> list[int]:
    """Indices of the volumes within `FIT_RANGE`, and in any case of the five nearest."""
    distance = np.abs(np.array(ratios) - 1.0)
    reach = max(FIT_RANGE, float(np.sort(distance)[4]))
    return [int(i) for i in np.flatnonzero(distance <= reach + 1.0e-9)]


def _curve_name(ratio: float) -> str:
    return f"energy_at_{ratio:.3f}"


@dataclass(frozen=True)
class BirchMurnaghan:
    """Third-order Birch-Murnaghan equation of state.

    Parameters
    ----------
    volume : float
        At zero pressure, A^3/atom.
    bulk_modulus : float
        There, GPa.
    derivative : float
        Its pressure derivative there.
    residual : float
        Largest distance of an energy from the curve, relative to the range of the energies.
    """

    volume: float
    bulk_modulus: float
    derivative: float
    residual: float


def birch_murnaghan(volumes: Array, energies: Array) -> BirchMurnaghan:
    """Fit the third-order Birch-Murnaghan equation of state, a cubic in V^(-2/3).

    The least-squares problem is linear, and its curve is that of ASE's ``EquationOfState``, whose iteration
    fails for energies close to zero.

    Parameters
    ----------
    volumes : ndarray, shape (n,)
        Volumes per atom, A^3; at least five.
    energies : ndarray, shape (n,)
        Energies per atom, eV.

    Returns
    -------
    BirchMurnaghan
        The curve.

    Raises
    ------
    SimulationError
        When it has no minimum within the range.
    """
    scale = float(np.median(volumes))
    x = (scale / volumes) ** (2.0 / 3.0) - 1.0
    # About x = 0, where the minimum is, so that the least-squares problem is well conditioned.
    fit = np.polynomial.Polynomial(np.polynomial.polynomial.polyfit(x, energies, 3))
    slope, curvature, third = (fit.deriv(k) for k in (1, 2, 3))
    roots = [r.real for r in slope.roots() if abs(r.imag) < 1.0e-12 and x.min() < r.real < x.max()]
    minima = [r for r in roots if curvature(r) > 0]
    span = float(np.ptp(energies))
    if not minima or not span > 0:
        raise SimulationError("no_minimum", "the energy-volume curve has no minimum in its range")
    at = min(minima, key=abs)
    v0 = float(scale * (at + 1.0) ** -1.5)
    # Chain rule for x(V): dx/dV = -2(x + 1) / 3V, d2x/dV2 = 10(x + 1) / 9V^2; dE/dx = 0.
    first, second = -2.0 * (at + 1.0) / (3.0 * v0), 10.0 * (at + 1.0) / (9.0 * v0**2)
    e2 = curvature(at) * first**2
    e3 = third(at) * first**3 + 3.0 * curvature(at) * first * second
    residual = float(np.abs(fit(x) - energies).max()) / span
    return BirchMurnaghan(v0, float(v0 * e2 * GPA_PER_EV_A3), float(-1.0 - v0 * e3 / e2), residual)
