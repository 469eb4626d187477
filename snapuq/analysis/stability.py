"""Elastic constants of a cubic crystal for all members at once, from energies at fixed positions.

Linear models share their rows, so that the energies of all members are one matrix product. Each volume is
evaluated as it is and under two strains that keep it; volume and curvature give the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial.polynomial import polyder, polyfit, polyval
from numpy.typing import NDArray

from snapuq.units import GPA_PER_EV_A3

Array = NDArray[np.float64]

#: Size of the strains. The modulus changes with the strain squared, by 1e-4 at this size unless a shell of
#: neighbours lies at the cutoff, and the energy of about 1e-5 eV is a million times its round-off.
STRAIN = 1.0e-3
#: Fewer stable members than this, or a wider relative spread of the bulk modulus, deserve a warning.
LEAST_STABLE = 0.98
LARGEST_SPREAD = 0.15
#: Points on either side of a minimum that the polynomial through it needs.
REACH = 2
# Quadratic convergence from within the distance of two points: five would do.
_NEWTON_STEPS = 20
_TINY = np.finfo(np.float64).tiny
_QUANTITIES = {
    "lattice_constant": "A",
    "bulk_modulus": "GPa",
    "C11": "GPa",
    "C12": "GPa",
    "C44": "GPa",
}


def volume_conserving(strain: float) -> Array:
    """Deformations whose energies `cubic_constants` takes.

    Parameters
    ----------
    strain : float
        Size e of the true (logarithmic) strain.

    Returns
    -------
    ndarray, shape (3, 3, 3)
        Symmetric gradients of determinant 1: none, exp(e) along x and exp(-e) along y, and the same along
        the diagonals of x and y. Both strained cells have the energy 2 V C e^2 per volume V, with C the
        shear modulus (C11 - C12) / 2 or C44; in the point group m-3m it is even in e.

    References
    ----------
    Mehl, Osburn, Papaconstantopoulos and Klein, Phys. Rev. B 41, 10311 (1990),
    doi:10.1103/PhysRevB.41.10311.
    """
    cosh, sinh = np.cosh(strain), np.sinh(strain)
    stretch = np.diag([np.exp(strain), np.exp(-strain), 1.0])
    shear = np.array([[cosh, sinh, 0.0], [sinh, cosh, 0.0], [0.0, 0.0, 1.0]])
    return np.stack([np.eye(3), stretch, shear])


def nearest_minimum(energies: Array, start: int) -> NDArray[np.intp]:
    """Find the local minimum of each curve that is nearest to a point of the grid.

    Parameters
    ----------
    energies : ndarray, shape (n, M)
        One curve per column.
    start : int
        Index of the point.

    Returns
    -------
    ndarray of int, shape (M,)
        Index of the minimum; -1 where there is none inside the grid.
    """
    middle = energies[1:-1]
    is_minimum = (middle < energies[:-2]) & (middle <= energies[2:])
    distance = np.abs(np.arange(1, len(energies) - 1) - start)
    nearest = np.argmin(np.where(is_minimum, distance[:, None], len(energies)), axis=0) + 1
    return np.where(is_minimum.any(axis=0), nearest, -1)


@dataclass(frozen=True, eq=False)
class CubicConstants:
    """Elastic constants at zero pressure, one per member; NaN where the energy has no minimum.

    Parameters
    ----------
    energy : ndarray, shape (M,)
        Energy per atom, eV.
    lattice_constant : ndarray, shape (M,)
        Length of the conventional cell, A.
    bulk_modulus, shear_modulus, c44 : ndarray, shape (M,)
        B, (C11 - C12) / 2 and C44, GPa.
    """

    energy: Array
    lattice_constant: Array
    bulk_modulus: Array
    shear_modulus: Array
    c44: Array

    @property
    def c11(self) -> Array:
        """Elastic constant C11, GPa."""
        return self.bulk_modulus + 4.0 / 3.0 * self.shear_modulus

    @property
    def c12(self) -> Array:
        """Elastic constant C12, GPa."""
        return self.bulk_modulus - 2.0 / 3.0 * self.shear_modulus

    @property
    def is_stable(self) -> NDArray[np.bool_]:
        """Whether the Born conditions of cubic crystals hold.

        References
        ----------
        Mouhat and Coudert, Phys. Rev. B 90, 224104 (2014), doi:10.1103/PhysRevB.90.224104.
        """
        # A member without a minimum has NaN, which is not positive.
        return (self.bulk_modulus > 0.0) & (self.shear_modulus > 0.0) & (self.c44 > 0.0)


def cubic_constants(
    lattice_constants: Array, energies: Array, atoms_per_cell: int, strain: float, start: int
) -> CubicConstants:
    """Elastic constants of every member at its own zero-pressure volume.

    A polynomial in a^-2 of fourth order through the five points around a minimum gives its place and
    curvature, exactly for a Birch-Murnaghan curve; the shear moduli are interpolated in the same way.

    Parameters
    ----------
    lattice_constants : ndarray, shape (n,)
        Lengths a of the conventional cell, A, ascending; at least five.
    energies : ndarray, shape (3, n, M)
        Energies per atom under the deformations of `volume_conserving`, eV.
    atoms_per_cell : int
        Atoms of the conventional cell.
    strain : float
        Size of those deformations.
    start : int
        Index of the lattice constant whose nearest minimum is meant.

    Returns
    -------
    CubicConstants
        Of all members.

    Raises
    ------
    ValueError
        When there are fewer than five lattice constants.

    References
    ----------
    Birch, Phys. Rev. 71, 809 (1947), doi:10.1103/PhysRev.71.809.
    """
    n = len(lattice_constants)
    if n < 2 * REACH + 1:
        raise ValueError(f"lattice_constants: expected at least {2 * REACH + 1}, got {n}")
    volumes = lattice_constants**3 / atoms_per_cell
    moduli = (energies[1:] - energies[0]) / (2.0 * strain**2 * volumes[:, None])
    minima = nearest_minimum(energies[0], start)
    found = np.full((5, energies.shape[2]), np.nan)
    for minimum in np.unique(minima[minima >= 0]):
        centre = int(np.clip(minimum, REACH, n - 1 - REACH))
        near, who = slice(centre - REACH, centre + REACH + 1), minima == minimum
        curves = np.concatenate([energies[None, 0], moduli])[:, near, who]
        found[:, who] = _at_minimum(lattice_constants[near], curves, int(minimum) - near.start)
    energy, a, curvature, shear, c44 = found
    # B = V E''(V), and d(a^-2)/dV = -2 a^-5 / 3 times the atoms of the cell.
    bulk = 4.0 * atoms_per_cell / (9.0 * a**7) * curvature
    return CubicConstants(energy, a, *(GPA_PER_EV_A3 * c for c in (bulk, shear, c44)))


def _at_minimum(lattice_constants: Array, curves: Array, minimum: int) -> Array:
    """Energy, lattice constant, second derivative by a^-2, and both moduli at the minimum, shape (5, M)."""
    powers = lattice_constants**-2.0
    unit = 0.5 * (powers[0] - powers[-1])
    # Of order 1 on the five points, so that the fit through them is exact to round-off.
    x = (powers - powers[REACH]) / unit
    fits = [polyfit(x, curve - curve[minimum], 2 * REACH) for curve in curves]
    slope, curvature = polyder(fits[0]), polyder(fits[0], 2)
    at = np.full(curves.shape[2], x[minimum])
    # Newton's steps stay between the neighbours, where the energy has its minimum.
    low, high = np.sort([x[minimum - 1], x[minimum + 1]])
    for _ in range(_NEWTON_STEPS):
        steepness = np.maximum(np.abs(polyval(at, curvature, tensor=False)), _TINY)
        at = np.clip(at - polyval(at, slope, tensor=False) / steepness, low, high)
    energy, shear, c44 = np.stack([polyval(at, f, tensor=False) for f in fits]) + curves[:, minimum]
    second = polyval(at, curvature, tensor=False) / unit**2
    return np.stack([energy, (powers[REACH] + unit * at) ** -0.5, second, shear, c44])


@dataclass(frozen=True)
class Stability:
    """How many members hold a crystal together, and how far their elastic constants spread.

    Parameters
    ----------
    crystal : str
        For example ``bcc W``.
    n_members, n_stable : int
        Members, and those of them that are elastically stable.
    is_mle_stable : bool
        Whether the MLE is.
    mle, mean, std : Mapping
        Lattice constant (A), bulk modulus, C11, C12 and C44 (GPa): of the MLE, and mean and standard
        deviation of the members that have a minimum; empty when none has.
    """

    crystal: str
    n_members: int
    n_stable: int
    is_mle_stable: bool
    mle: Mapping[str, float]
    mean: Mapping[str, float]
    std: Mapping[str, float]

    @property
    def spread(self) -> float:
        """Standard deviation of the bulk modulus relative to its mean; NaN without any."""
        if not self.mean:
            return float("nan")
        return self.std["bulk_modulus"] / abs(self.mean["bulk_modulus"])

    @property
    def text(self) -> str:
        """One line: ``bcc W: 500 of 500 members elastically stable; B = 310 +- 6 GPa (1.9 %)``."""
        line = f"{self.crystal}: {self.n_stable} of {self.n_members} members elastically stable"
        if not self.mean:
            return line
        mean, std = self.mean["bulk_modulus"], self.std["bulk_modulus"]
        # As many decimals as show the spread.
        digits = 0 if std >= 2.0 else 1 if std >= 0.2 else 2
        return f"{line}; B = {mean:.{digits}f} +- {std:.{digits}f} GPa ({100.0 * self.spread:.1f} %)"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What deserves attention, one line each."""
        found = []
        if not self.is_mle_stable:
            # Then its members being unstable is no news: some real crystals are, such as fcc tungsten.
            found.append(f"the MLE is elastically unstable in {self.crystal}; is the real crystal?")
        elif self.n_stable < LEAST_STABLE * self.n_members:
            found.append(
                f"{self.n_members - self.n_stable} of {self.n_members} members are elastically unstable in "
                f"{self.crystal} and the MLE is not; their properties will fail or mean little"
            )
        if self.spread > LARGEST_SPREAD:
            found.append(
                f"the members' bulk moduli of {self.crystal} spread by {100.0 * self.spread:.0f} %; "
                "the data say too little about this crystal"
            )
        return tuple(found)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``summary.yaml``.

        Returns
        -------
        dict
            Counts, values with their units, spread of the bulk modulus and warnings.
        """
        values = {name: dict(getattr(self, name)) for name in ("mle", "mean", "std")}
        counts = {"members": self.n_members, "stable": self.n_stable, "mle_stable": self.is_mle_stable}
        spread = self.spread if self.mean else None
        return {
            **counts,
            **values,
            "units": dict(_QUANTITIES),
            "spread": spread,
            "warnings": list(self.warnings),
        }


def summarise_stability(crystal: str, constants: CubicConstants) -> Stability:
    """Count and average over the members.

    Parameters
    ----------
    crystal : str
        For example ``bcc W``.
    constants : CubicConstants
        Of the MLE, which has a minimum, and then of every member.

    Returns
    -------
    Stability
        The summary.
    """
    c = constants
    values = np.stack([c.lattice_constant, c.bulk_modulus, c.c11, c.c12, c.c44])
    members = values[:, 1:]
    members = members[:, np.isfinite(members[0])]

    def named(numbers: Array) -> dict[str, float]:
        return {name: float(number) for name, number in zip(_QUANTITIES, numbers, strict=True)}

    known = members.shape[1] > 0
    return Stability(
        crystal=crystal,
        n_members=values.shape[1] - 1,
        n_stable=int(c.is_stable[1:].sum()),
        is_mle_stable=bool(c.is_stable[0]),
        mle=named(values[:, 0]),
        mean=named(members.mean(axis=1)) if known else {},
        std=named(members.std(axis=1)) if known else {},
    )
