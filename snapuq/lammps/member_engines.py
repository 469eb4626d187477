"""Engines of exported potentials from plain data, for processes that run nothing but tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snapuq.core.engine import Engine
from snapuq.core.task import REFERENCE_MEMBER
from snapuq.errors import InputError
from snapuq.lammps.engine import LammpsEngine, PotentialFiles
from snapuq.lammps.snapfiles import member_files
from snapuq.lammps.templates import Workspace
from snapuq.parallel import load_mpi


@contextmanager
def open_engines(arguments: Mapping[str, Any]) -> Iterator[Callable[[int], Engine]]:
    """Open one LAMMPS session on all ranks of this process's world, for every member in turn.

    All ranks must ask the engines for the same things in the same order, and are told the same numbers.

    Parameters
    ----------
    arguments : Mapping
        Plain data, as JSON holds them: ``folder`` (str, of the exported potentials), ``name`` (str, first
        part of the file names), ``members`` (int, without the MLE), ``elements`` (list of str, in the order
        of LAMMPS's atom types), ``reference`` (str or None, file with the pair style of the reference
        potential) and ``options`` (list of str, see `snapuq.lammps.library.check_options`).

    Yields
    ------
    callable
        Gives the engine of a member: -1 the reference potential, 0 the MLE, 1 to M the members.

    Raises
    ------
    InputError
        When an option, an element, a member or a file is not what it must be.
    """
    folder, members = Path(arguments["folder"]), int(arguments["members"])
    elements = tuple(arguments["elements"])
    reference = arguments["reference"]

    def files(member: int) -> PotentialFiles:
        if member == REFERENCE_MEMBER and reference is not None:
            return PotentialFiles(Path(reference), elements)
        if not 0 <= member <= members:
            raise InputError("no such member", found=member, expected=f"0 to {members}")
        return member_files(folder, arguments["name"], member, members, elements)

    with Workspace(arguments["options"], load_mpi().COMM_WORLD) as workspace:
        # Starts LAMMPS: options that it refuses show here, not in the first task.
        workspace.session.command("clear")
        yield lambda member: LammpsEngine(files(member), workspace)
