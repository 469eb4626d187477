"""Energy of free surfaces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import ase.build
import numpy as np
from ase import Atoms

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX, Engine
from snapuq.properties.base import (
    J_M2_PER_EV_A2,
    PROPERTIES,
    Property,
    PropertyOutput,
    check_crystals,
    check_positive,
    has_moved,
    quantities,
    relax_crystal,
)
from snapuq.properties.crystals import Crystal


@PROPERTIES.register("surface")
class Surface(Property):
    """(E_slab - N e_bulk) / 2A of a slab cut from the potential's own crystal, ions relaxed.

    References
    ----------
    Tran et al., Sci. Data 3, 160080 (2016), doi:10.1038/sdata.2016.80.
    """

    ranked = ("surface_energy",)

    @dataclass(frozen=True)
    class Params:
        """Crystal, surfaces and slab.

        Parameters
        ----------
        structure : str
            Crystal.
        miller : tuple of (int, int, int)
            Miller indices of the surfaces, in the conventional cell.
        thickness : float
            Least thickness of the slab, A.
        vacuum : float
            Empty space between slabs, A; more than the cutoff of the potential.
        fmax : float
            Largest force at the end, eV/A.
        """

        structure: str = "bcc"
        miller: tuple[tuple[int, int, int], ...] = ((1, 0, 0), (1, 1, 0))
        thickness: float = 15.0
        vacuum: float = 12.0
        fmax: float = FMAX

        def __post_init__(self) -> None:
            check_crystals("structure", self.structure)
            check_positive(self, "thickness", "vacuum", "fmax")
            if not self.miller:
                raise ValueError("miller: expected at least one surface, got none")
            for index in self.miller:
                if len(index) != 3 or math.gcd(*index) != 1:
                    raise ValueError(
                        f"miller: expected three integers without common factor, got {list(index)}"
                    )
            if len(set(self.miller)) != len(self.miller):
                raise ValueError("miller: a surface is given twice")

    @staticmethod
    def expand(params: Params) -> tuple[Params, ...]:
        """One task for each surface.

        Parameters
        ----------
        params : Params
            All surfaces.

        Returns
        -------
        tuple of Params
            One surface each.
        """
        return tuple(replace(params, miller=(index,)) for index in params.miller)

    @staticmethod
    def label(params: Params) -> str:
        """Name the crystal and the surface.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        str
            For example ``surface-bcc-100``.
        """
        index = params.miller[0]
        separator = "" if all(0 <= i <= 9 for i in index) else "_"
        return f"surface-{Crystal.parse(params.structure).label}-{separator.join(map(str, index))}"

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Surface energy.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        return {"surface_energy": "J/m^2"}

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Cut the slab and relax its atoms in the fixed cell.

        Parameters
        ----------
        engine : Engine
            The potential.
        params : Params
            Of one task.
        rng : numpy.random.Generator
            Not used.

        Returns
        -------
        PropertyOutput
            The quantities of `outputs`.
        """
        bulk = relax_crystal(engine, params.structure)
        unit = bulk.crystal.conventional(1.0, 1.0) if bulk.is_cubic else bulk.primitive
        vectors = bulk.primitive.cell @ np.linalg.inv(unit.cell * (bulk.a if bulk.is_cubic else 1.0))
        start = slab(bulk.primitive, primitive_index(params.miller[0], vectors), params)
        relaxed = engine.relax(start, fmax=params.fmax)
        area = float(np.linalg.norm(np.cross(start.cell[0], start.cell[1])))
        energy = (relaxed.evaluation.energy - len(start) * bulk.energy) / (2.0 * area)
        return PropertyOutput(
            quantities({"surface_energy": energy * J_M2_PER_EV_A2}, Surface.outputs(params)),
            relaxed.converged,
            has_moved(start, relaxed.structure),
        )


def primitive_index(miller: tuple[int, int, int], vectors: np.ndarray) -> tuple[int, int, int]:
    """Miller indices of the same plane in the primitive cell.

    Parameters
    ----------
    miller : tuple of int
        Indices in the conventional cell.
    vectors : ndarray, shape (3, 3)
        Primitive vectors in units of the conventional ones, as rows; multiples of 1/2.

    Returns
    -------
    tuple of int
        Indices without common factor.
    """
    index = np.rint(2.0 * vectors @ np.array(miller)).astype(int)
    factor = math.gcd(*index.tolist())
    h, k, i = (index // factor).tolist()
    return h, k, i


def slab(crystal: Structure, index: tuple[int, int, int], params: Surface.Params) -> Structure:
    """Cut a slab of whole primitive cells, so of the crystal's composition, at the widest gap between layers.

    Parameters
    ----------
    crystal : Structure
        Primitive cell.
    index : tuple of int
        Miller indices in that cell.
    params : Surface.Params
        Thickness and vacuum.

    Returns
    -------
    Structure
        Surface normal along z.
    """
    atoms = Atoms(crystal.species, positions=crystal.positions, cell=crystal.cell, pbc=True)
    one = ase.build.surface(atoms, index, layers=1, periodic=True)
    layers = max(1, math.ceil(params.thickness / float(one.cell[2, 2])))
    # Planes of the lattice are 1 / |G| apart, G being their reciprocal vector.
    reciprocal = np.linalg.inv(crystal.cell) @ np.array(index)
    cut = widest_gap(one.get_scaled_positions()[:, 2]) / float(reciprocal @ reciprocal)
    atoms.positions -= cut * reciprocal
    atoms.wrap()
    whole = ase.build.surface(atoms, index, layers=layers, vacuum=0.5 * params.vacuum, periodic=True)
    return Structure(whole.cell.array, whole.positions, tuple(whole.get_chemical_symbols()))


def widest_gap(heights: np.ndarray) -> float:
    """Height in the middle of the widest gap between the layers of a periodic crystal.

    Cutting there breaks the fewest bonds, and symmetry-equivalent planes are cut alike.

    Parameters
    ----------
    heights : ndarray, shape (N,)
        Fractional heights of the atoms.

    Returns
    -------
    float
        Fractional height; the lowest of several gaps that are alike.
    """
    levels = np.sort(heights % 1.0)
    gaps = np.diff(levels, append=levels[0] + 1.0)
    # Gaps that differ by round-off alone are alike; the first is taken.
    widest = int(np.flatnonzero(gaps > gaps.max() - 1.0e-6)[0])
    return float(levels[widest] + 0.5 * gaps[widest])
