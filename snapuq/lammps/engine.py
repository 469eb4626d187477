"""LAMMPS as an `Engine`: evaluate and relax structures with one potential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from snapuq.core.dataset import Structure
from snapuq.core.engine import CellFreedom, Evaluation, Relaxation
from snapuq.errors import InputError, SimulationError
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.templates import Workspace, load_template
from snapuq.units import BAR_PER_EV_A3

_FREEDOM = {"isotropic": "iso", "axes": "aniso", "full": "tri"}
# LAMMPS lists pressures as xx yy zz xy xz yz.
_TO_VOIGT = [0, 1, 2, 5, 4, 3]
#: Change of volume, either way, beyond which a relaxation has run away.
LARGEST_VOLUME_RATIO = 2.0
#: Shortest distance after a relaxation, relative to before, below which atoms have fallen into each other:
#: a potential without a repulsive core has energies there that mean nothing.
SMALLEST_DISTANCE_RATIO = 0.6
#: Volume per atom, A^3, below which LAMMPS's neighbour lists overrun their memory before they say so.
SMALLEST_VOLUME = 1.0


@dataclass(frozen=True)
class PotentialFiles:
    """A potential as LAMMPS reads it.

    Parameters
    ----------
    include : Path
        File with ``pair_style`` and ``pair_coeff``.
    elements : tuple of str
        Chemical symbols in the order of LAMMPS's atom types.
    variables : Mapping
        Variables of that file that name others beside it, for example
        ``{"snapcoeff": "members/W_0007.snapcoeff"}``.
    """

    include: Path
    elements: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for element in self.elements:
            check_element(element)


def check_element(symbol: str, file: Path | None = None, line: int | None = None) -> None:
    """Refuse what is not a chemical symbol.

    Parameters
    ----------
    symbol : str
        For example ``W``.
    file : Path, optional
        Where it was read, for the message.
    line : int, optional
        Line of that file.

    Raises
    ------
    InputError
        When it is not one.
    """
    if symbol not in atomic_numbers or symbol == "X":
        raise InputError(f"'{symbol}' is not a chemical element", file=file, line=line)


def data_text(frame: LammpsFrame, types: np.ndarray, elements: tuple[str, ...]) -> str:
    """Write a structure as a LAMMPS data file, exact to the last bit.

    Parameters
    ----------
    frame : LammpsFrame
        The structure in LAMMPS's frame.
    types : ndarray of int, shape (N,)
        Atom types, from 1.
    elements : tuple of str
        Chemical symbol of each type.

    Returns
    -------
    str
        The file's content.
    """
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = frame.cell.tolist()
    lines = ["snapuq structure", "", f"{len(types)} atoms", f"{len(elements)} atom types", ""]
    lines += [f"0 {length:.17g} {a}lo {a}hi" for a, length in zip("xyz", (lx, ly, lz), strict=True)]
    lines += [f"{xy:.17g} {xz:.17g} {yz:.17g} xy xz yz", "", "Masses", ""]
    masses = [float(atomic_masses[atomic_numbers[e]]) for e in elements]
    lines += [f"{i} {mass:.17g}" for i, mass in enumerate(masses, 1)]
    lines += ["", "Atoms # atomic", ""]
    rows = enumerate(zip(types.tolist(), frame.positions.tolist(), strict=True), 1)
    lines += [f"{i} {kind} {x:.17g} {y:.17g} {z:.17g}" for i, (kind, (x, y, z)) in rows]
    return "\n".join(lines) + "\n"


class LammpsEngine:
    """One potential in a shared LAMMPS session; see `snapuq.core.engine.Engine`.

    Every call starts from a cleared session, so that its result does not depend on what ran before.

    Parameters
    ----------
    files : PotentialFiles
        The potential.
    workspace : Workspace
        Session and private folder, shared between potentials.

    Raises
    ------
    InputError
        When a file is missing.
    """

    def __init__(self, files: PotentialFiles, workspace: Workspace) -> None:
        for path in (files.include, *(files.include.parent / v for v in files.variables.values())):
            if not path.is_file():
                raise InputError("potential file not found", file=path)
        self.files = files
        self._workspace = workspace
        self._types = {element: i for i, element in enumerate(files.elements, 1)}
        folder = workspace.link(files.include.parent)
        self._potential = f"{folder}/{files.include.name}"
        self._variables = {"snapdir": str(folder), **files.variables}

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
            When the result is not finite or LAMMPS stops.
        """
        frame = self._run("static", structure, {})
        return self._evaluation(frame, len(structure))[0]

    def relax(
        self,
        structure: Structure,
        *,
        cell: CellFreedom | None = None,
        fmax: float = 1.0e-4,
        smax: float = 1.0e-6,
        max_evaluations: int = 1000,
    ) -> Relaxation:
        """Relax positions, and the cell if asked to.

        Parameters
        ----------
        structure : Structure
            Start.
        cell : {'isotropic', 'axes', 'full'} or None
            Freedom of the cell; ``axes`` is meant for rectangular and hexagonal cells.
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
            When energies or forces stop being finite, atoms are lost or fall into each other, or the volume
            runs away.
        """
        values = {"fmax": f"{fmax:.17g}", "max_evaluations": str(max_evaluations)}
        if cell is None:
            frame = self._run("relax_ions", structure, values)
        else:
            values |= {"pmax": f"{smax * BAR_PER_EV_A3:.17g}", "freedom": _FREEDOM[cell]}
            frame = self._run("relax_cell", structure, values)
        evaluation, stress = self._evaluation(frame, len(structure))
        relaxed = self._structure(frame, structure)
        ratio = relaxed.volume / structure.volume
        if not 1.0 / LARGEST_VOLUME_RATIO < ratio < LARGEST_VOLUME_RATIO:
            raise SimulationError("runaway", f"the relaxation changed the volume by a factor of {ratio:.3g}")
        closest = relaxed.nearest_distance()
        if closest < SMALLEST_DISTANCE_RATIO * structure.nearest_distance():
            raise SimulationError("collapsed", f"the relaxation brought two atoms within {closest:.3g} A")
        # The length of the force: a component would depend on the frame.
        converged = bool(np.linalg.norm(evaluation.forces, axis=1).max() <= fmax)
        if cell is not None:
            converged = converged and free_stress(stress, cell) <= smax
        return Relaxation(relaxed, evaluation, converged, 1 + self._workspace.evaluations())

    def _run(self, template: str, structure: Structure, values: Mapping[str, str]) -> LammpsFrame:
        try:
            types = np.array([self._types[s] for s in structure.species])
        except KeyError as error:
            known = ", ".join(self._types)
            raise SimulationError("unknown_element", f"the potential knows {known}, not {error}") from error
        if structure.volume < SMALLEST_VOLUME * len(structure):
            raise SimulationError("bad_box", f"{structure.volume / len(structure):.3g} A^3 per atom")
        frame = LammpsFrame.of(structure)
        data = self._workspace.folder / "structure.data"
        data.write_text(data_text(frame, types, self.files.elements), encoding="utf-8")
        values = {"data": str(data), "potential": self._potential, **values}
        self._workspace.run(load_template(template), values, self._variables)
        return frame

    def _evaluation(self, frame: LammpsFrame, n_atoms: int) -> tuple[Evaluation, np.ndarray]:
        lmp = self._workspace.session.raw
        if int(lmp.get_natoms()) != n_atoms:
            raise SimulationError("lost_atoms", f"LAMMPS kept {int(lmp.get_natoms())} of {n_atoms} atoms")
        energy = float(lmp.extract_compute("thermo_pe", 0, 0))
        forces = np.array(lmp.gather_atoms("f", 1, 3), dtype=np.float64).reshape(n_atoms, 3)
        pressure = np.array(lmp.extract_compute("thermo_press", 0, 1)[:6], dtype=np.float64)
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(pressure).all()):
            raise SimulationError("not_finite", "energy, forces or pressure are not finite")
        stress = -pressure[_TO_VOIGT] / BAR_PER_EV_A3
        return Evaluation(energy, frame.vectors_back(forces), frame.stress_back(stress)), stress

    def _structure(self, frame: LammpsFrame, start: Structure) -> Structure:
        lmp = self._workspace.session.raw
        low, high, xy, yz, xz = lmp.extract_box()[:5]
        lx, ly, lz = (h - b for h, b in zip(high, low, strict=True))
        cell = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
        positions = np.array(lmp.gather_atoms("x", 1, 3), dtype=np.float64).reshape(-1, 3)
        images = np.array(lmp.gather_atoms("image", 0, 3), dtype=np.float64).reshape(-1, 3)
        if not (np.isfinite(cell).all() and np.isfinite(positions).all()):
            raise SimulationError("not_finite", "positions or cell are not finite")
        return frame.structure_back(cell, positions - np.array(low) + images @ cell, start.species)


def free_stress(stress: np.ndarray, cell: CellFreedom) -> float:
    """Largest stress component that a relaxation is free to remove.

    Parameters
    ----------
    stress : ndarray, shape (6,)
        Voigt stress, in the frame of the relaxation.
    cell : {'isotropic', 'axes', 'full'}
        Freedom of the cell.

    Returns
    -------
    float
        Its magnitude.
    """
    if cell == "isotropic":
        return abs(float(stress[:3].mean()))
    return float(np.abs(stress[:3] if cell == "axes" else stress).max())
