"""LAMMPS as an `Engine`: evaluate and relax structures with one potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX, SMAX, Band, CellFreedom, Directions, Evaluation, Relaxation
from snapuq.errors import InputError, SimulationError
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.memory_files import plain_name
from snapuq.lammps.neb import run_band
from snapuq.lammps.templates import Workspace, load_template
from snapuq.lammps.truth import State, check_relaxed, check_start, is_converged, read_state
from snapuq.parallel import Ranks
from snapuq.units import BAR_PER_EV_A3

_FREEDOM = {"isotropic": "iso", "axes": "aniso", "full": "tri"}


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
        Session and private files, shared between potentials.

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
            When atoms coincide, the result is not finite or LAMMPS stops.
        """
        frame = LammpsFrame.of(structure)
        check_start(frame)
        return _evaluation(frame, self._run("static", frame, structure.species, {}))

    def relax(
        self,
        structure: Structure,
        *,
        cell: CellFreedom | None = None,
        directions: Directions = "all",
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
            Freedom of the cell; ``axes`` is meant for rectangular and hexagonal cells.
        directions : {'all', 'normal'}
            Which way atoms may move, in a fixed cell; ``normal`` is along the normal of the plane of the
            first two cell vectors, LAMMPS's z, and forces within the plane are then given as zero.
        fmax : float
            Tolerance on the largest force on an atom, eV/A.
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
            When atoms coincide, energies or forces stop being finite, atoms are lost or fall into each other,
            or the volume runs away.
        ValueError
            When the cell is free and the directions are not.
        """
        values = {"fmax": f"{fmax:.17g}", "max_evaluations": str(max_evaluations)}
        if cell is None:
            values["directions"] = directions
        elif directions != "all":
            raise ValueError("directions: expected 'all' where the cell is free")
        else:
            values |= {"pmax": f"{smax * BAR_PER_EV_A3:.17g}", "freedom": _FREEDOM[cell]}
        frame = LammpsFrame.of(structure)
        nearest = check_start(frame)
        template = "relax_ions" if cell is None else "relax_cell"
        state = self._run(template, frame, structure.species, values)
        check_relaxed(frame, nearest, state)
        return Relaxation(
            frame.structure_back(state.cell, state.positions, structure.species),
            _evaluation(frame, state),
            is_converged(state, fmax, cell, smax),
            1 + self._workspace.evaluations(),
        )

    def neb(self, images: Sequence[Structure], *, fmax: float, max_steps: int = 500) -> Band:
        """Relax a band with a climbing image by LAMMPS's ``neb``, in a job of one process for each image.

        Parameters
        ----------
        images : sequence of Structure
            Start; the same atoms in the same cell, relaxed states at the ends, no jumps across the cell.
        fmax : float
            Tolerance on the largest force of the band on an atom, eV/A.
        max_steps : int
            Limit on steps before climbing, and again while climbing.

        Returns
        -------
        Band
            Converged or not; its residual tells.

        Raises
        ------
        SimulationError
            When atoms of an image coincide, a replica fails, or it takes too long.
        EnvironmentProblem
            When there is no ``mpirun``, or LAMMPS has no ``neb``.
        """
        frames = [LammpsFrame.of(image) for image in images]
        for frame in frames:
            check_start(frame)
        first, species = frames[0], images[0].species
        # All images as the first one is wrapped: its own cell may have moved an atom to the other side.
        positions = np.array(
            [image.positions @ first.rotation - first.shifts @ first.cell for image in images]
        )
        relaxed, residual, evaluations = Ranks(self._workspace.comm).from_root(
            lambda: run_band(
                self.files.include,
                self.files.variables,
                self._workspace.options,
                data_text(first, self._kinds(species), self.files.elements),
                positions,
                cell=first.cell,
                fmax=fmax,
                max_steps=max_steps,
            )
        )
        return Band(
            tuple(first.structure_back(first.cell, image, species) for image in relaxed),
            residual,
            evaluations,
        )

    def _kinds(self, species: tuple[str, ...]) -> np.ndarray:
        try:
            return np.array([self._types[s] for s in species])
        except KeyError as error:
            known = ", ".join(self._types)
            raise SimulationError("unknown_element", f"the potential knows {known}, not {error}") from error

    def _run(
        self, template: str, frame: LammpsFrame, species: tuple[str, ...], values: Mapping[str, str]
    ) -> State:
        types = self._kinds(species)
        workspace = self._workspace
        workspace.data.write(data_text(frame, types, self.files.elements))
        with plain_name(self.files.include.parent) as folder:
            potential = f"{folder}/{self.files.include.name}"
            values = {"data": workspace.data.path, "potential": potential, **values}
            workspace.run(load_template(template), values, {"snapdir": folder, **self.files.variables})
        return read_state(workspace.session, len(species))


def _evaluation(frame: LammpsFrame, state: State) -> Evaluation:
    return Evaluation(state.energy, frame.vectors_back(state.forces), frame.stress_back(state.stress))
