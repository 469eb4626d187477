"""Where a value was written, and errors located there: one line each, all reported at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Written:
    """Where the keys of a campaign file were written; no part of their values, so any two compare equal.

    Parameters
    ----------
    origins : Mapping
        Key to origin; the empty key is the file itself. Empty for a configuration that no file holds.
    """

    origins: Mapping[Key, Origin] = field(default_factory=dict, compare=False)

    def error(self, problem: str, key: Key, **details: Any) -> InputError:
        """Build an error located at a key, or at the nearest section that was written.

        Parameters
        ----------
        problem : str
            What is wrong.
        key : tuple of str and int
            The key.
        **details : object
            ``found``, ``expected``, ``hint`` of `InputError`.

        Returns
        -------
        InputError
            To be raised.
        """
        above = (self.origins.get(key[:n]) for n in range(len(key), -1, -1))
        origin = next((o for o in above if o is not None), None)
        if origin is None:
            return InputError(problem, key=dotted(key), **details)
        return origin.error(problem, key=dotted(key), **details)


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
