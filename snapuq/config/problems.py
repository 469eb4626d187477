"""Where a value was written, and errors located there: one line each, all reported at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapuq.errors import InputError

# Keys and list positions from the top of the file.
Key = tuple[str | int, ...]


def dotted(key: Key) -> str:
    """Write a key as in ``--set``.

    Parameters
    ----------
    key : tuple of str and int
        Keys and list positions from the top.

    Returns
    -------
    str
        For example ``campaign.properties.0.eos``.
    """
    return ".".join(str(part) for part in key)


@dataclass(frozen=True)
class Origin:
    """Where a value was written.

    Parameters
    ----------
    file : str
        File, or the override as typed.
    line : int or None
        Line from 1; None for an override.
    folder : Path
        Folder that relative paths start from.
    """

    file: str
    line: int | None
    folder: Path

    def error(self, problem: str, **details: Any) -> InputError:
        """Build an error located here.

        Parameters
        ----------
        problem : str
            What is wrong.
        **details : object
            ``key``, ``found``, ``expected``, ``hint`` of `InputError`.

        Returns
        -------
        InputError
            To be raised or collected.
        """
        return InputError(problem, file=self.file, line=self.line, **details)


class InputErrors(InputError):
    """Several problems of one file; one line each.

    Parameters
    ----------
    problems : sequence of InputError
        At least one.
    """

    def __init__(self, problems: Sequence[InputError]) -> None:
        first = problems[0]
        super().__init__("", file=first.file, line=first.line, key=first.key)
        self.problems = tuple(problems)
        self.args = ("\n".join(str(p) for p in self.problems),)

    def __reduce__(self) -> tuple[type[InputErrors], tuple[tuple[InputError, ...]]]:
        """Travel between MPI ranks as the list of problems."""
        return InputErrors, (self.problems,)


def raise_all(problems: Sequence[InputError]) -> None:
    """Raise what was collected, if anything.

    Parameters
    ----------
    problems : sequence of InputError
        The problems, in any order; they are raised in the order of the file.

    Raises
    ------
    InputError
        One problem, or an `InputErrors` with several.
    """
    if not problems:
        return
    ordered = sorted(problems, key=lambda p: (p.line is None, p.line or 0))
    raise ordered[0] if len(ordered) == 1 else InputErrors(ordered)
