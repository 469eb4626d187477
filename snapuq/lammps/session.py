"""One LAMMPS instance used for many structures, with typed failures."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snapuq.errors import SimulationError
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.library import open_lammps
from snapuq.parallel import abort

# What LAMMPS's messages mean for a campaign; the first that is found counts, else ``lammps_error``.
_REASONS = {
    r"Lost atoms|Did not assign all atoms|Atom count is inconsistent": "lost_atoms",
    r"Neighbor (\(ghost\) )?(list|history) overflow": "neighbor_overflow",
    r"Non-numeric": "not_finite",
    r"Illegal (simulation )?box|Box bounds are invalid|negative volume|riclinic box skew|"
    r"tilted box too far|neighbor bins": "bad_box",
    r"[Cc]an ?not open|[Cc]ould not open": "missing_file",
    r"potential file|SNAP (coefficient|coeff|parameter) file|[Pp]air[ _](coeff|style|hybrid)|"
    r"Last input line: (mass|pair_)": "bad_potential",
}


def reason_of(message: str) -> str:
    """Name the kind of failure that a message of LAMMPS reports.

    Parameters
    ----------
    message : str
        Text of LAMMPS's error.

    Returns
    -------
    str
        ``lost_atoms``, ``neighbor_overflow``, ``not_finite``, ``bad_box``, ``missing_file``,
        ``bad_potential`` or ``lammps_error``.
    """
    return next((reason for text, reason in _REASONS.items() if re.search(text, message)), "lammps_error")


class Session:
    """A LAMMPS instance; `clear` makes it as good as new.

    Parameters
    ----------
    options : sequence of str
        Words of LAMMPS's command line that pass `check_options`.
    comm : mpi4py.MPI.Comm, optional
        Ranks that run it together, calling every method in step; by default this one alone.
    replicas : int
        Partitions of equal size that the ranks are divided into, each with atoms of its own.

    Examples
    --------
    >>> with Session() as session:  # doctest: +SKIP
    ...     session.command("units metal")
    """

    def __init__(self, options: Sequence[str] = (), comm: Any = None, replicas: int = 1) -> None:
        self._lmp = open_lammps(options, comm, replicas)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the instance; it cannot be used afterwards."""
        if self._lmp is not None:
            self._lmp.close()
            self._lmp = None

    @property
    def raw(self) -> Any:
        """The ``lammps.lammps`` object, for what this class does not wrap."""
        return self._lmp

    def command(self, text: str) -> None:
        """Run one command.

        Parameters
        ----------
        text : str
            The command.

        Raises
        ------
        SimulationError
            With a typed reason when LAMMPS refuses it.
        """
        self.guarded(self._lmp.command, text)

    def guarded(self, call: Any, *arguments: Any) -> Any:
        """Call into LAMMPS and turn its exceptions into typed ones.

        Parameters
        ----------
        call : callable
            A method of the ``lammps.lammps`` object.
        *arguments : object
            Its arguments.

        Returns
        -------
        object
            What it returned.

        Raises
        ------
        SimulationError
            With a typed reason.
        """
        try:
            return call(*arguments)
        except Exception as error:
            # LAMMPS's module raises Exception itself, not a class of its own.
            if type(error) is not Exception and not type(error).__module__.startswith("lammps"):
                raise
            failure = SimulationError(reason_of(str(error)), getattr(error, "message", str(error)))
            if type(error).__name__ == "MPIAbortException":
                # It failed on this rank alone; the others wait in a collective call that only an abort ends.
                print(f"snapuq: {failure}", file=sys.stderr)
                abort(1)
            raise failure from error

    def clear(self) -> None:
        """Forget everything but variables, and set metal units in a periodic box."""
        for text in (
            "clear",
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 2.0",
            "boundary p p p",
            "box tilt large",
        ):
            self.command(text)

    def create(self, frame: LammpsFrame, types: NDArray[np.int32], n_types: int) -> None:
        """Make the box and atoms of a structure in a cleared instance.

        Parameters
        ----------
        frame : LammpsFrame
            The structure.
        types : ndarray of int32, shape (N,)
            Atom types, from 1.
        n_types : int
            Number of types.

        Raises
        ------
        SimulationError
            When LAMMPS does not take every atom.
        """
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = frame.cell
        numbers = " ".join(f"0 {length:.17g}" for length in (lx, ly, lz))
        self.command(f"region cell prism {numbers} {xy:.17g} {xz:.17g} {yz:.17g}")
        self.command(f"create_box {n_types} cell")
        self.add_atoms(types, frame.positions)
        self.command("mass * 1.0")

    def add_atoms(
        self, types: NDArray[np.int32], positions: NDArray[np.float64], ids: NDArray[np.intp] | None = None
    ) -> None:
        """Add atoms to the box that exists.

        Parameters
        ----------
        types : ndarray of int32, shape (N,)
            Atom types, from 1.
        positions : ndarray, shape (N, 3)
            Inside the box, A.
        ids : ndarray of int, shape (N,), optional
            Atom IDs, from 1; by default those that follow the largest so far.

        Raises
        ------
        SimulationError
            When LAMMPS does not take every atom.
        """
        before, n = int(self._lmp.get_natoms()), len(types)
        numbers = None if ids is None else ids.tolist()
        self.guarded(self._lmp.create_atoms, n, numbers, types.tolist(), positions.ravel().tolist())
        created = int(self._lmp.get_natoms()) - before
        if created != n:
            raise SimulationError("lost_atoms", f"LAMMPS kept {created} of {n} atoms")

    def equal(self, formula: str) -> float:
        """Value of a formula as an equal-style variable takes it.

        Parameters
        ----------
        formula : str
            A thermo keyword such as ``press``, or ``count(all)``.

        Returns
        -------
        float
            In LAMMPS's units.

        Raises
        ------
        SimulationError
            When there is no such keyword; LAMMPS's own ``get_thermo`` would give 0.
        """
        self.command(f"variable snapuq_value equal {formula}")
        return float(self.guarded(self._lmp.extract_variable, "snapuq_value"))

    def compute_scalar(self, name: str) -> float:
        """Global scalar of a compute.

        Parameters
        ----------
        name : str
            ID of the compute.

        Returns
        -------
        float
            In LAMMPS's units.

        Raises
        ------
        SimulationError
            When there is no such compute, or it is not current.
        """
        return float(self.guarded(self._lmp.extract_compute, name, 0, 0))

    def compute_vector(self, name: str) -> NDArray[np.float64]:
        """Copy the global vector of a compute.

        Parameters
        ----------
        name : str
            ID of the compute.

        Returns
        -------
        ndarray, shape (length,)
            A copy, safe to keep.

        Raises
        ------
        SimulationError
            When there is no such compute, or it is not current.
        """
        return np.array(self.guarded(self._lmp.numpy.extract_compute, name, 0, 1))

    def compute_view(self, name: str) -> NDArray[np.float64]:
        """Look at a global array of a compute without copying it.

        Parameters
        ----------
        name : str
            ID of the compute.

        Returns
        -------
        ndarray, shape (rows, columns)
            LAMMPS's own memory: gone with the next `clear`.
        """
        view: NDArray[np.float64] = self.guarded(self._lmp.numpy.extract_compute, name, 0, 2)
        return view

    def compute_array(self, name: str) -> NDArray[np.float64]:
        """Copy a global array of a compute.

        Parameters
        ----------
        name : str
            ID of the compute.

        Returns
        -------
        ndarray, shape (rows, columns)
            A copy, safe to keep.
        """
        return np.array(self.compute_view(name))
