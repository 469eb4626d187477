"""Files and plain folder names that exist only as long as this process: a kill leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from snapuq.errors import EnvironmentProblem, SimulationError

# Open descriptors of this process as paths; LAMMPS runs in the same process.
_DESCRIPTORS = Path("/proc/self/fd")


class MemoryFile:
    """A file without a name on any disk, which LAMMPS reads and writes by `path`.

    Parameters
    ----------
    label : str
        Shown by tools that list open files.

    Raises
    ------
    EnvironmentProblem
        When the system has no ``/proc/self/fd``.
    """

    def __init__(self, label: str) -> None:
        if not _DESCRIPTORS.is_dir():
            raise EnvironmentProblem(f"snapuq needs {_DESCRIPTORS}, which Linux has; mount /proc")
        self._file = _unnamed(label)
        #: For a child process that inherits it.
        self.descriptor = self._file.fileno()
        self.path = f"{_DESCRIPTORS}/{self.descriptor}"

    def write(self, text: str) -> None:
        """Replace the content.

        Parameters
        ----------
        text : str
            The new content.
        """
        Path(self.path).write_text(text, encoding="utf-8")

    def read(self) -> str:
        """Give the content.

        Returns
        -------
        str
            With a replacement character for every byte that is no text.
        """
        return Path(self.path).read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """Forget the content; the path names nothing afterwards."""
        self._file.close()


def _unnamed(label: str) -> IO[bytes]:
    try:
        return os.fdopen(os.memfd_create(label), "r+b", buffering=0)
    except (AttributeError, OSError):
        # Pythons built for old kernels lack memfd_create, and hardened kernels refuse it.
        return tempfile.TemporaryFile(buffering=0)


@contextmanager
def plain_name(folder: Path) -> Iterator[str]:
    """Give a folder whose own name LAMMPS may not be able to read a plain one, for a while.

    Parameters
    ----------
    folder : Path
        Any folder.

    Yields
    ------
    str
        A path to it of plain characters.

    Raises
    ------
    SimulationError
        ``missing_file`` when it cannot be opened; those from inside name the folder itself.
    """
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise SimulationError("missing_file", f"{folder}: {error.strerror}") from error
    name = f"{_DESCRIPTORS}/{descriptor}"
    try:
        yield name
    except SimulationError as error:
        raise SimulationError(error.reason, error.detail.replace(f"{name}/", f"{folder}/")) from error
    finally:
        os.close(descriptor)
