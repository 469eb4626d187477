"""Energy along transformation paths from bcc at constant volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.properties.base import PROPERTIES, Property, PropertyOutput, quantities, relax_crystal
from snapuq.properties.checks import check_crystals, check_items, check_within
from snapuq.properties.crystals import Crystal

#: Paths and the parameter p at their end; it is 1 in bcc.
PATHS = {
    "tetragonal": 2.0,
    "trigonal": 4.0,
    "orthorhombic": 2.0**0.5,
    "hexagonal": 2.0**0.5,
}


@PROPERTIES.register("path")
class TransformationPath(Property):
    """Energy per atom above bcc along paths from the potential's own bcc, at its volume; nothing is relaxed.

    The parameter p grows from 1 (bcc) in equal ratios, so that the middle point is the structure given here:

    - ``tetragonal`` (Bain): p = c/a; fcc at sqrt 2, up to 2.
    - ``trigonal``: elongation along [111] relative to its normal; simple cubic at 2, fcc at 4.
    - ``orthorhombic``: [001] stretched by p, [110] by 1/p; tetragonal at 2^(1/4), bcc again at sqrt 2,
      which is left out as p = 1 is.
    - ``hexagonal``: [001], [1-10] and [110] go to a, sqrt 3 a and c of ideal hcp at sqrt 2, their logarithms
      in proportion to that of p; every other (110) plane shifts along [1-10] in the same proportion.

    ``energy_max`` is the highest of the points.

    References
    ----------
    Paidar et al., Model. Simul. Mater. Sci. Eng. 7, 369 (1999), doi:10.1088/0965-0393/7/3/306.
    """

    split_by = "paths"

    @dataclass(frozen=True)
    class Params:
        """Crystal and paths.

        Parameters
        ----------
        structure : str
            A bcc crystal.
        paths : tuple of str
            Names of the paths.
        points : int
            Number of points of each, both ends included; odd.
        """

        structure: str = "bcc"
        paths: tuple[str, ...] = tuple(PATHS)
        points: int = 17

        def __post_init__(self) -> None:
            check_crystals("structure", self.structure)
            if Crystal.parse(self.structure).prototype != "bcc":
                raise ValueError(f"structure: the paths start from bcc, got {self.structure}")
            check_items("paths", "path", self.paths, PATHS)
            check_within(self, "points", 3, 101, odd=True)

        @property
        def steps(self) -> tuple[float, ...]:
            """Parameter p at the points that are not bcc, of one task."""
            grid = np.linspace(0.0, 1.0, self.points)[1:]
            if self.paths[0] == "orthorhombic":
                # Its end is bcc again: zero but for round-off, which no envelope holds.
                grid = grid[:-1]
            return tuple((PATHS[self.paths[0]] ** grid).tolist())

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """One energy for each point, and the highest.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        return dict.fromkeys(["energy_max", *map(_curve_name, params.steps)], "eV/atom")

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Evaluate the points.

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
        bcc = relax_crystal(engine, params.structure)
        energies = []
        for p in params.steps:
            cell = deformed(bcc.primitive, bcc.a, params.paths[0], p)
            energies.append(engine.evaluate(cell).energy / len(cell) - bcc.energy)
        values = {_curve_name(p): e for p, e in zip(params.steps, energies, strict=True)}
        values["energy_max"] = max(0.0, *energies)
        return PropertyOutput(quantities(values, TransformationPath.outputs(params)))


def _curve_name(p: float) -> str:
    return f"curve_path_{p:.3f}"


def deformed(primitive: Structure, a: float, path: str, p: float) -> Structure:
    """Bcc deformed at constant volume.

    Parameters
    ----------
    primitive : Structure
        Primitive cell of bcc, in the axes of the conventional one.
    a : float
        Lattice parameter, A.
    path : str
        One of `PATHS`.
    p : float
        Its parameter.

    Returns
    -------
    Structure
        The deformed crystal.
    """
    if path == "hexagonal":
        return _towards_hcp(primitive.species[0], a, np.log(p) / np.log(PATHS[path]))
    if path == "tetragonal":
        gradient = np.diag([1.0, 1.0, p]) * p ** (-1.0 / 3.0)
    elif path == "trigonal":
        gradient = (np.eye(3) + (p - 1.0) * np.full((3, 3), 1.0 / 3.0)) * p ** (-1.0 / 3.0)
    else:
        along = np.array([1.0, 1.0, 0.0]) / np.sqrt(2.0)
        gradient = np.diag([1.0, 1.0, p]) + (1.0 / p - 1.0) * np.outer(along, along)
    # The gradients are symmetric, so rows are deformed from the right.
    return Structure(primitive.cell @ gradient, primitive.positions @ gradient, primitive.species)


def _towards_hcp(element: str, a: float, fraction: float) -> Structure:
    """Four atoms in the orthorhombic cell along [001], [1-10] and [110]; hcp at fraction 1."""
    bcc = a * np.sqrt([1.0, 2.0, 2.0])
    # Edges a, sqrt 3 a and sqrt(8/3) a with the volume of bcc.
    hcp = a * 2.0 ** (-1.0 / 6.0) * np.sqrt([1.0, 3.0, 8.0 / 3.0])
    edges = bcc * (hcp / bcc) ** fraction
    shift = fraction / 6.0
    sites = np.array(
        [[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5 + shift, 0.5], [0.5, (1.0 + shift) % 1.0, 0.5]]
    )
    return Structure(np.diag(edges), sites * edges, (element,) * 4)
