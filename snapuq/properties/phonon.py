"""Phonons: dispersion, density of states and harmonic thermodynamics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.properties.base import PROPERTIES, Property, PropertyOutput, quantities, relax_crystal
from snapuq.properties.brillouin import BrillouinZone, PathPoint, WaveVectors, brillouin_zone
from snapuq.properties.cell_lengths import CellLength, spanned_length
from snapuq.properties.checks import check_at_most, check_crystals, check_within
from snapuq.properties.crystals import Crystal
from snapuq.properties.harmonic_thermodynamics import (
    free_energy,
    heat_capacity,
    quantile,
    zero_point_energy,
)
from snapuq.properties.lattice_dynamics import harmonic_crystal
from snapuq.properties.supercell import Supercell, build_supercell, supercell_matrix

Array = NDArray[np.float64]

#: Shares of all modes at which the integrated density of states is given.
DOS_LEVELS = tuple(k / 20 for k in range(1, 20))
#: Frequencies above minus this are real, THz: what phonon codes agree to.
IMAGINARY = 0.02
#: Largest violation of the acoustic sum rule, relative to the largest force constant.
SUM_RULE = 1.0e-2


@PROPERTIES.register("phonon")
class Phonon(Property):
    """Harmonic phonons at the potential's own zero-pressure volume, by finite displacements.

    Imaginary frequencies are given as negative numbers. Branches are numbered from the lowest frequency at
    each wave vector. Masses are phonopy's, natural abundance. What depends on the crystal alone (symmetry,
    displacements, wave vectors and their phases) is found in the first run and used again by those that
    follow.

    References
    ----------
    Togo et al., J. Phys.: Condens. Matter 35, 353001 (2023), doi:10.1088/1361-648X/acd831.
    """

    version = 2

    @dataclass(frozen=True)
    class Params:
        """Crystal, supercell and what to report.

        Parameters
        ----------
        structure : str
            Crystal.
        supercell_length : float
            The conventional cell is repeated until opposite faces are this far apart, A. Between special
            points the default is within 0.008 THz of 18 A for W and Cu (EAM), W and Mo (SNAP) and Si
            (quadratic SNAP), where 12.6 A is up to 0.05 THz off. Waves that fit into the supercell do not
            depend on its size.
        displacement : float
            Of one atom, both signs, A, at the first guess of the size; it scales with the cell, so that it is
            the same for all potentials in fractional coordinates.
        path_points : int
            About so many points on the path.
        temperatures : tuple of float
            Where the free energy and the heat capacity are wanted, K.
        """

        structure: str = "bcc"
        supercell_length: float = 14.0
        displacement: float = 0.01
        path_points: int = 60
        temperatures: tuple[float, ...] = (300.0,)

        def __post_init__(self) -> None:
            check_crystals("structure", self.structure)
            check_at_most(self, "supercell_length", 100.0, "A")
            check_at_most(self, "displacement", 0.1, "A")
            check_within(self, "path_points", 2, 1000)
            if not all(0 < t < 1.0e5 for t in self.temperatures):
                raise ValueError(f"temperatures: expected positive numbers, got {self.temperatures}")

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Frequencies, energies, and points of the dispersion and of the integrated density of states.

        ``f_N_1`` is the lowest branch at N; at the zone centre the acoustic branches, which are zero, are
        left out, and the optical ones start from 4. ``lowest_frequency`` and ``highest_frequency`` are over
        the path, a mesh and all waves that fit into the supercell; ``n_imaginary`` counts the imaginary modes
        of the last. A negative lowest frequency without any such comes from waves between them: a larger
        supercell tells whether it is real. Energies and heat capacities are of the real modes alone, and no
        properties of a crystal that has imaginary ones. ``curve_band_0.2500_H-N_1`` is the lowest branch at
        a quarter of the path's length, between H and N; ``curve_dos_0.50`` the frequency below which half of
        all modes lie.

        Parameters
        ----------
        params : Params
            The parameters.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        return dict(_units(params))

    @staticmethod
    def cell_lengths(params: Params) -> tuple[CellLength, ...]:
        """Length of the supercell.

        Parameters
        ----------
        params : Params
            What the user asked for.

        Returns
        -------
        tuple of CellLength
            One.
        """
        return (spanned_length(params.structure, params.supercell_length),)

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Displace atoms, and solve for the frequencies.

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
            The quantities of `outputs`; not converged when the sum rule is violated by more than `SUM_RULE`.
        """
        bulk = relax_crystal(engine, params.structure)
        plan = _plan(params)
        if not plan.supercell.has_symmetry_of(bulk.primitive):
            plan = _plan_at(params, bulk.primitive)
        crystal = harmonic_crystal(engine, bulk.primitive, plan.supercell)
        bands, special, fitting, mesh = np.split(crystal.frequencies(plan.q), plan.ends)
        first, others = _without_acoustic(fitting[0]), fitting[1:]
        extremes = np.concatenate([bands[bands != 0.0], mesh.ravel(), first, others.ravel()])
        imaginary = (others < -IMAGINARY).sum(axis=1) @ plan.fitting.weights[1:] + (first < -IMAGINARY).sum()
        values = _special_frequencies(plan.zone, special)
        values |= {
            "lowest_frequency": float(extremes.min()),
            "highest_frequency": float(extremes.max()),
            "n_imaginary": float(imaginary),
        }
        values |= _thermodynamics(mesh, plan.mesh.weights, params.temperatures, plan.zone.n_atoms)
        shares = quantile(mesh, plan.mesh.weights, DOS_LEVELS)
        values |= dict(zip((f"curve_dos_{level:.2f}" for level in DOS_LEVELS), shares.tolist(), strict=True))
        values |= dict(zip(_band_names(plan.path, plan.zone), bands.ravel().tolist(), strict=True))
        converged = crystal.residual <= SUM_RULE * crystal.stiffness
        return PropertyOutput(quantities(values, _units(params)), converged)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What all potentials share: the supercell, and the wave vectors of which frequencies are wanted."""

    zone: BrillouinZone
    supercell: Supercell
    path: tuple[PathPoint, ...]
    fitting: WaveVectors
    mesh: WaveVectors
    #: All of them: path, special points, waves that fit into the supercell, mesh; `ends` is where to split.
    q: Array
    ends: tuple[int, ...]


@lru_cache(maxsize=4)
def _plan(params: Phonon.Params) -> _Plan:
    crystal = Crystal.parse(params.structure)
    return _plan_at(params, crystal.primitive(*crystal.size_guess()))


def _plan_at(params: Phonon.Params, unit: Structure) -> _Plan:
    """Plan for the symmetry that a cell has, the first guess or one that lost symmetry."""
    crystal = Crystal.parse(params.structure)
    zone = brillouin_zone(params.structure)
    a, c = crystal.size_guess()
    scale = (unit.volume / crystal.primitive(a, c).volume) ** (1.0 / 3.0)
    matrix = supercell_matrix(crystal, params.supercell_length)
    supercell = build_supercell(unit, matrix, zone, scale * params.displacement)
    path = zone.path(params.path_points)
    fitting, mesh = supercell.commensurate(), zone.mesh(a, supercell.point_group())
    parts = [np.array([point.q for point in path]), np.array(list(zone.special.values())), fitting.q, mesh.q]
    ends = np.cumsum([len(part) for part in parts[:-1]])
    return _Plan(zone, supercell, path, fitting, mesh, np.concatenate(parts), tuple(ends.tolist()))


@lru_cache(maxsize=64)
def _units(params: Phonon.Params) -> Mapping[str, str]:
    zone = brillouin_zone(params.structure)
    units = {f"f_{name}_{k + 1}": "THz" for name, k in _special_modes(zone)}
    units |= dict.fromkeys(("lowest_frequency", "highest_frequency"), "THz")
    units |= {"n_imaginary": "", "zero_point_energy": "eV/atom"}
    for t in params.temperatures:
        units |= {f"free_energy_{t:g}K": "eV/atom", f"heat_capacity_{t:g}K": "k_B/atom"}
    units |= {f"curve_dos_{level:.2f}": "THz" for level in DOS_LEVELS}
    return units | dict.fromkeys(_band_names(zone.path(params.path_points), zone), "THz")


def _band_names(path: tuple[PathPoint, ...], zone: BrillouinZone) -> Iterator[str]:
    for point in path:
        for k in range(3 * zone.n_atoms):
            yield f"curve_band_{point.x:.4f}_{point.where}_{k + 1}"


def _special_modes(zone: BrillouinZone) -> Iterator[tuple[str, int]]:
    """Special points and branches, from 0, without the acoustic ones of the zone centre."""
    for name, q in zone.special.items():
        for k in range(0 if any(q) else 3, 3 * zone.n_atoms):
            yield name, k


def _special_frequencies(zone: BrillouinZone, frequencies: Array) -> dict[str, float]:
    found = dict(zip(zone.special, frequencies, strict=True))
    for name, q in zone.special.items():
        if not any(q):
            found[name] = np.concatenate([np.zeros(3), _without_acoustic(found[name])])
    return {f"f_{name}_{k + 1}": float(found[name][k]) for name, k in _special_modes(zone)}


def _without_acoustic(frequencies: Array) -> Array:
    """Leave the three zeros of the zone centre out; the rest stays in order."""
    return np.delete(frequencies, np.argsort(np.abs(frequencies), kind="stable")[:3])


def _thermodynamics(
    mesh: Array, weights: NDArray[np.int64], temperatures: tuple[float, ...], n_atoms: int
) -> dict[str, float]:
    values = {"zero_point_energy": zero_point_energy(mesh, weights) / n_atoms}
    for t in temperatures:
        values[f"free_energy_{t:g}K"] = free_energy(mesh, weights, t) / n_atoms
        values[f"heat_capacity_{t:g}K"] = heat_capacity(mesh, weights, t) / n_atoms
    return values
