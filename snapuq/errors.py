"""Exceptions with one clear line each; nothing else in the package formats errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class SnapuqError(Exception):
    """Base of every error that a user can cause or cure; its text is one line."""


class InputError(SnapuqError):
    """Bad input: says where, what was found, what was expected and what to do.

    Parameters
    ----------
    problem : str
        What is wrong, in a few words.
    file : str or Path, optional
        File in which it was found.
    line : int, optional
        Line of that file, counted from 1.
    key : str, optional
        Key, record or field.
    found : object, optional
        What was found.
    expected : str, optional
        What was expected.
    hint : str, optional
        What to do.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        key: str | None = None,
        found: object = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.file = None if file is None else str(file)
        self.line = line
        self.key = key
        where = "" if file is None else str(file) + ("" if line is None else f":{line}") + ": "
        what = f"{key}: " if key else ""
        text = f"{where}{what}{problem}"
        if found is not None:
            text += f"; found {_short(found)}"
        if expected:
            text += f"; expected {expected}"
        if hint:
            text += f"; {hint}"
        # Names that are no valid text, as a file system may hold, must not break the message about them.
        printable = text.encode("utf-8", "backslashreplace").decode("utf-8")
        super().__init__(" ".join(printable.split()))


class EnvironmentProblem(SnapuqError):
    """Something that must be installed or set up is missing; the text holds the remedy."""


class Stopped(Exception):
    """A campaign stopped because it was asked to; its state is saved.

    Parameters
    ----------
    reason : str
        Name of a signal, or ``time limit``.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class SimulationError(SnapuqError):
    """A simulation gave no trustworthy result; counted and named, never dropped.

    Parameters
    ----------
    reason : str
        Short machine-readable reason, for example ``lost_atoms`` or ``not_converged``.
    detail : str
        One line for people.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = " ".join(detail.split())
        super().__init__(f"{reason}: {self.detail}" if self.detail else reason)


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Hint naming the candidate closest to a misspelt name.

    Parameters
    ----------
    name : str
        What was written.
    candidates : iterable of str
        What is known.

    Returns
    -------
    str
        ``did you mean 'x'?``, or the list of known names.
    """
    known = sorted(candidates)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else "known: " + ", ".join(known)


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Hint naming the candidate closest to a misspelt name, and all others.

    Parameters
    ----------
    name : str
        What was written.
    candidates : iterable of str
        What is known; few enough for one line.

    Returns
    -------
    str
        ``did you mean 'x'? known: ...``, or the list alone.
    """
    known = sorted(candidates)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean '{close[0]}'? " if close else "") + "known: " + ", ".join(known)


def _short(value: object, limit: int = 120) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
