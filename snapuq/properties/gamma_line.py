"""Generalised stacking-fault energies along lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import Engine
from snapuq.properties.base import (
    J_M2_PER_EV_A2,
    PROPERTIES,
    PropertyOutput,
    has_moved,
    quantities,
    relax_crystal,
)
from snapuq.properties.checks import check_items, check_within
from snapuq.properties.crystals import PROTOTYPES, Crystal
from snapuq.properties.prototypes import CENTRING
from snapuq.properties.slabs import Index, SlabParams, SlabProperty, check_index, usual_slab

#: Lines that are looked at unless others are asked for. Those of fcc and hcp end in the intrinsic fault.
USUAL = {
    "bcc": ("(110)[1-11]/2", "(112)[11-1]/2"),
    "fcc": ("(111)[11-2]/6",),
    "hcp": ("(001)[1-10]/3",),
}
_TEXT = re.compile(r"\(([-\d ]+)\)\[([-\d ]+)\](?:/([1-9]\d*))?")


@dataclass(frozen=True)
class Line:
    """A line of displacements of one half of a crystal against the other.

    Parameters
    ----------
    plane : tuple of int
        Miller indices; the half on the side of the plane's normal is displaced.
    direction : tuple of int
        Direction in the conventional cell.
    divisor : int
        The line ends at direction / divisor.
    """

    plane: Index
    direction: Index
    divisor: int

    @classmethod
    def parse(cls, text: str) -> Line:
        """Read ``(hkl)[uvw]/n``, with spaces between indices of more than one digit.

        Parameters
        ----------
        text : str
            For example ``(110)[1-11]/2``.

        Returns
        -------
        Line
            The line.

        Raises
        ------
        ValueError
            When the text cannot be read or the direction does not lie in the plane.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' is no line; write for example (110)[1-11]/2")
        plane, direction = (_index(part, text) for part in match.groups()[:2])
        if sum(h * u for h, u in zip(plane, direction, strict=True)) != 0:
            raise ValueError(f"'{text}': the direction does not lie in the plane")
        return cls(plane, direction, int(match[3] or 1))

    @property
    def label(self) -> str:
        """Name for labels: ``110-1_-1_1``."""
        return "-".join(
            ("" if all(0 <= i <= 9 for i in index) else "_").join(map(str, index))
            for index in (self.plane, self.direction)
        )

    @property
    def end(self) -> NDArray[np.float64]:
        """Last displacement, in units of the conventional cell's vectors."""
        return np.array(self.direction) / self.divisor

    def closes(self, centring: str) -> bool:
        """Tell whether the line ends at a lattice vector, where there is no fault again.

        Parameters
        ----------
        centring : str
            Centring of the conventional cell, a key of `CENTRING`.

        Returns
        -------
        bool
            True if it does.
        """
        return is_lattice_vector(self.end, centring)


def _index(part: str, text: str) -> Index:
    found = re.findall(r"-?\d+", part) if " " in part else re.findall(r"-?\d", part)
    if len(found) != 3 or "".join(found) != part.replace(" ", ""):
        raise ValueError(f"'{text}': expected three indices in '{part}'")
    h, k, i = map(int, found)
    check_index(f"'{text}'", (h, k, i))
    return h, k, i


@PROPERTIES.register("gamma_line")
class GammaLine(SlabProperty):
    """(E_displaced - E_slab) / A of a slab whose upper half is displaced along a line within a plane.

    Atoms relax along the normal of the plane alone. Displacements are given as fractions of the line, and the
    first one is left out because its energy is zero; so is the last one where it is a lattice vector.
    ``gamma_max`` is the vertex of the parabola through the highest point and its neighbours.
    ``stacking_fault_energy`` is that of the last point of a line from fcc or hcp to the intrinsic fault.

    A slab half as thick again changed no energy of the usual lines by more than 4e-4 J/m^2 for tungsten (EAM,
    SNAP), molybdenum (SNAP), copper (EAM) and zirconium (EAM).

    References
    ----------
    Vitek, Philos. Mag. 18, 773 (1968), doi:10.1080/14786436808227500.
    """

    version = 2
    split_by = "lines"
    # 25 A of tungsten.
    usual_thickness = 10.0

    @dataclass(frozen=True)
    class Params(SlabParams):
        """Crystal, lines and slab.

        Parameters
        ----------
        structure : str
            Crystal.
        thickness : float, optional
            Least thickness of the slab, A, at the first guess of the crystal's size; by default ten times the
            cube root of the volume per atom.
        vacuum : float
            Empty space between slabs, A, likewise; more than the cutoff of the potential.
        fmax : float
            Largest force along the normal at the end, eV/A.
        lines : tuple of str
            Planes and displacements in the conventional cell (of three axes for hcp), as ``(110)[1-11]/2``;
            by default (110)[1-11]/2 and (112)[11-1]/2 of bcc, (111)[11-2]/6 of fcc, (001)[1-10]/3 of hcp.
        points : int
            Number of displacements, both ends included.
        """

        lines: tuple[str, ...] = ()
        points: int = 13

        def __post_init__(self) -> None:
            super().__post_init__()
            check_within(self, "points", 3, 101)
            if not self.lines:
                usual = USUAL.get(_common_name(self.structure))
                if usual is None:
                    said = f"{self.structure} has no usual line; write for example (110)[1-11]/2"
                    raise ValueError(f"lines: {said}")
                object.__setattr__(self, "lines", usual)
            try:
                labels = [Line.parse(text).label for text in self.lines]
            except ValueError as error:
                raise ValueError(f"lines: {error}") from error
            check_items("lines", "line", labels)

        @property
        def fractions(self) -> tuple[float, ...]:
            """Displacements at which there is a fault, as fractions of the line, of one task."""
            centring = Crystal.parse(self.structure).kind.centring
            steps = np.linspace(0.0, 1.0, self.points)[1:].tolist()
            return tuple(steps[:-1] if Line.parse(self.lines[0]).closes(centring) else steps)

    @staticmethod
    def label(params: Params) -> str:
        """Name the crystal and the line.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        str
            For example ``gamma_line-bcc-110-1_-1_1``.
        """
        return f"gamma_line-{Crystal.parse(params.structure).label}-{Line.parse(params.lines[0]).label}"

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """One energy for each displacement, their maximum, and the intrinsic fault where the line ends in it.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        names = ["gamma_max", *(_curve_name(f) for f in params.fractions)]
        if ends_in_fault(params.structure, Line.parse(params.lines[0])):
            names.insert(1, "stacking_fault_energy")
        return dict.fromkeys(names, "J/m^2")

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Relax the slab, then once more for each displacement of its upper half.

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
        line = Line.parse(params.lines[0])
        slab = usual_slab(bulk, line.plane, params.thickness, GammaLine.usual_thickness, params.vacuum)
        relaxed = engine.relax(slab.structure, directions="normal", fmax=params.fmax)
        origin, zero = relaxed.structure, relaxed.evaluation.energy
        converged, moved = relaxed.converged, has_moved(slab.structure, origin)
        end = slab.upper[:, None] * (line.end @ bulk.conventional().cell)
        gammas = []
        for fraction in params.fractions:
            start = Structure(origin.cell, origin.positions + fraction * end, origin.species)
            relaxed = engine.relax(start, directions="normal", fmax=params.fmax)
            gammas.append((relaxed.evaluation.energy - zero) / slab.area * J_M2_PER_EV_A2)
            converged = converged and relaxed.converged
            moved = moved or has_moved(start, relaxed.structure)
        values = {_curve_name(f): g for f, g in zip(params.fractions, gammas, strict=True)}
        closed = [] if params.fractions[-1] == 1.0 else [0.0]
        values["gamma_max"] = highest([0.0, *gammas, *closed])
        if ends_in_fault(params.structure, line):
            values["stacking_fault_energy"] = gammas[-1]
        return PropertyOutput(quantities(values, GammaLine.outputs(params)), converged, moved)


def _curve_name(fraction: float) -> str:
    return f"curve_gamma_{fraction:.3f}"


def _common_name(structure: str) -> str:
    """Name of the prototype; none for a structure file, whatever it is called."""
    crystal = Crystal.parse(structure)
    return crystal.prototype if crystal.kind is PROTOTYPES.get(crystal.prototype) else ""


def ends_in_fault(structure: str, line: Line) -> bool:
    """Tell whether a line leads from fcc or hcp to the intrinsic fault of its close-packed planes.

    Parameters
    ----------
    structure : str
        Crystal.
    line : Line
        The line.

    Returns
    -------
    bool
        False too where it leads to the fault with atoms on top of each other.
    """
    crystal, name = Crystal.parse(structure), _common_name(structure)
    if name == "fcc" and all(abs(i) == 1 for i in line.plane):
        # From one layer to the next leads the end and a third of the cell's diagonal.
        across = np.array(line.plane) / 3.0
    elif name == "hcp" and line.plane in ((0, 0, 1), (0, 0, -1)):
        # The slab is cut above its layer A; the layer above, B, comes to C, as far from B as B is from A.
        (_, low), (_, high) = sorted(crystal.kind.basis, key=lambda atom: atom[1][2])
        across = np.subtract(low, high) * line.plane[2] * (1.0, 1.0, 0.0)
    else:
        return False
    return is_lattice_vector(line.end + across, crystal.kind.centring)


def is_lattice_vector(vector: NDArray[np.float64], centring: str) -> bool:
    """Tell whether a vector leads from one lattice point to another.

    Parameters
    ----------
    vector : ndarray, shape (3,)
        In units of the conventional cell's vectors.
    centring : str
        Centring of the conventional cell, a key of `CENTRING`.

    Returns
    -------
    bool
        True if it does.
    """
    remainders = vector - np.array(CENTRING[centring])
    return bool((np.abs(remainders - np.rint(remainders)) < 1.0e-9).all(axis=1).any())


def highest(gammas: Sequence[float]) -> float:
    """Maximum of a curve.

    Parameters
    ----------
    gammas : sequence of float
        Energies at equidistant points.

    Returns
    -------
    float
        The vertex of the parabola through the highest point and its neighbours; an end where that is highest.
    """
    top = int(np.argmax(gammas))
    if top in (0, len(gammas) - 1):
        return gammas[top]
    left, middle, right = gammas[top - 1 : top + 2]
    curvature = left - 2.0 * middle + right
    return middle if curvature == 0 else middle - (right - left) ** 2 / (8.0 * curvature)
