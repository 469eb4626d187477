"""Whole LAMMPS scripts with declared variables, run in process."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from snapuq.errors import EnvironmentProblem, InputError, SimulationError, nearest
from snapuq.lammps.memory_files import MemoryFile
from snapuq.lammps.session import Session

_OPTIONAL = re.compile(r"^variable\s+(\w+)\s+index\s+(\S+)\s+#\s*(.+)$", re.MULTILINE)
_REQUIRED = re.compile(r"^#\s{3}(\w+): (.+)$", re.MULTILINE)
# What a value may hold: nothing that LAMMPS's parser gives a meaning to.
_SAFE_VALUE = re.compile(r"[A-Za-z0-9_./+:\-]+")
_EVALUATIONS = re.compile(r"Iterations, force evaluations = \d+ (\d+)")
_TIMER = re.compile(r"^\s*timer\s.*\btimeout\b", re.MULTILINE)


@dataclass(frozen=True)
class Template:
    """A LAMMPS script and the variables that it declares.

    Parameters
    ----------
    name : str
        File name without ``.lmp``.
    text : str
        The script.
    required : Mapping
        Variable to description, for those without a default.
    optional : Mapping
        Variable to default.
    """

    name: str
    text: str
    required: Mapping[str, str]
    optional: Mapping[str, str]

    @classmethod
    def parse(cls, name: str, text: str) -> Template:
        """Read the declarations of a script.

        Parameters
        ----------
        name : str
            Its name.
        text : str
            Its content: ``#   NAME: meaning`` lines in the header declare required variables,
            ``variable NAME index DEFAULT  # meaning`` commands optional ones.

        Returns
        -------
        Template
            The script with its variables.
        """
        optional = {m[1]: m[2] for m in _OPTIONAL.finditer(text)}
        return cls(name, text, {m[1]: m[2] for m in _REQUIRED.finditer(text)}, optional)

    def checked(self, values: Mapping[str, str]) -> dict[str, str]:
        """Check values against the declarations.

        Parameters
        ----------
        values : Mapping
            Variable to value.

        Returns
        -------
        dict
            The values.

        Raises
        ------
        InputError
            When a variable is unknown, a required one is not set, or a value holds characters with a
            meaning to LAMMPS's parser.
        """
        known = [*self.required, *self.optional]
        for key, value in values.items():
            if key not in known:
                raise InputError(f"{self.name}.lmp has no variable '{key}'", hint=nearest(key, known))
            check_value(key, value)
        missing = [key for key in self.required if key not in values]
        if missing:
            raise InputError(
                f"{self.name}.lmp needs the variable '{missing[0]}'", expected=self.required[missing[0]]
            )
        return dict(values)


def check_value(key: str, value: str) -> None:
    """Refuse a variable's value that LAMMPS's parser would give a meaning to.

    Parameters
    ----------
    key : str
        The variable, for the message.
    value : str
        Its value.

    Raises
    ------
    InputError
        When it is empty or holds other characters than letters, digits and ``_./+:-``.
    """
    if not _SAFE_VALUE.fullmatch(value):
        raise InputError(
            "not allowed in a LAMMPS variable", key=key, found=value, expected="letters, digits and _./+:-"
        )


@lru_cache(maxsize=1)
def template_folder() -> Path:
    """Folder of the scripts, in an installed package or in a source tree.

    Returns
    -------
    Path
        The folder ``lammps_inputs``.

    Raises
    ------
    EnvironmentProblem
        When it is missing, because the installation is damaged.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "lammps_inputs", package.parent / "lammps_inputs"):
        if (folder / "static.lmp").is_file():
            return folder
    raise EnvironmentProblem("the folder lammps_inputs is missing; install snapuq again")


def template_names() -> tuple[str, ...]:
    """Names of all scripts.

    Returns
    -------
    tuple of str
        Sorted, without ``.lmp``.
    """
    return tuple(sorted(p.stem for p in template_folder().glob("*.lmp")))


@lru_cache(maxsize=32)
def load_template(name: str) -> Template:
    """Read a script by name.

    Parameters
    ----------
    name : str
        For example ``relax_ions``.

    Returns
    -------
    Template
        The script.

    Raises
    ------
    InputError
        When there is none of that name.
    """
    if name not in template_names():
        raise InputError(f"unknown LAMMPS template '{name}'", hint=nearest(name, template_names()))
    return Template.parse(name, (template_folder() / f"{name}.lmp").read_text(encoding="utf-8"))


class Workspace:
    """One LAMMPS session and the files that it reads and writes, shared by all potentials of a process.

    The files have no name on any disk, so that nothing is left of them when the process is killed.

    Parameters
    ----------
    options : sequence of str
        Words of LAMMPS's command line that pass `check_options`.
    comm : mpi4py.MPI.Comm, optional
        Ranks that run LAMMPS together, calling every method in step; by default this one alone.

    Raises
    ------
    EnvironmentProblem
        When the system has no ``/proc``.

    Examples
    --------
    >>> with Workspace() as workspace:  # doctest: +SKIP
    ...     workspace.run(load_template("static"), {"data": "a.data", "potential": "W.mod"})
    """

    def __init__(self, options: Sequence[str] = (), comm: Any = None) -> None:
        self.options, self.comm = tuple(options), comm
        #: For the structure that the next script reads.
        self.data = MemoryFile("snapuq_data")
        self._log = MemoryFile("snapuq_log")
        self._session: Session | None = None

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the session and forget the files."""
        self._restart()
        self.data.close()
        self._log.close()

    @property
    def session(self) -> Session:
        """The LAMMPS session, opened when first needed."""
        if self._session is None:
            self._session = Session(self.options, self.comm)
        return self._session

    def _restart(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def run(
        self, template: Template, values: Mapping[str, str], extra: Mapping[str, str] | None = None
    ) -> None:
        """Run a script in a cleared session, exactly as ``lmp -in`` would.

        Parameters
        ----------
        template : Template
            The script.
        values : Mapping
            Its variables.
        extra : Mapping, optional
            Variables of the potential's own file.

        Raises
        ------
        InputError
            When a variable is unknown or missing.
        SimulationError
            With a typed reason when LAMMPS stops.
        """
        settings = template.checked(values)
        for key, value in (extra or {}).items():
            check_value(key, value)
        settings.update(extra or {})
        session = self.session
        try:
            # Index variables outlive 'clear' and would shadow the next values.
            for name in session.raw.available_ids("variable"):
                session.command(f"variable {name} delete")
            # Ends a time limit of the script before, too: LAMMPS would skip every run from then on.
            session.command("clear")
            session.command(f"log {self._log.path}")
            for key, value in settings.items():
                session.command(f"variable {key} index {value}")
            session.guarded(session.raw.commands_string, template.text)
            session.command("log none")
            if _TIMER.search(template.text) and session.equal("timeremain") == 0.0:
                raise SimulationError("time_limit", f"{template.name}.lmp ran out of the time that it sets")
        except SimulationError:
            # A failed 'include' leaves LAMMPS one file deeper, for good: begin again with a new instance.
            self._restart()
            raise

    def evaluations(self) -> int:
        """Count the force evaluations of the last script.

        Returns
        -------
        int
            Those of its minimisations.
        """
        count = sum(int(m[1]) for m in _EVALUATIONS.finditer(self._log.read()))
        # Only the first rank writes a log.
        return count if self.comm is None else int(self.comm.bcast(count, root=0))
