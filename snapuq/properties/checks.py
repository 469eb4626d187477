"""Checks of parameters at construction: each raises ValueError with the name of the field."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from snapuq.errors import nearest
from snapuq.properties.crystals import Crystal


def check_crystals(field: str, *texts: str) -> None:
    """Check the crystals of a ``Params``.

    Parameters
    ----------
    field : str
        Name of the field, for the message.
    *texts : str
        What the user wrote.

    Raises
    ------
    ValueError
        When one cannot be read.
    """
    for text in texts:
        try:
            Crystal.parse(text)
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from error


def check_positive(params: Any, *names: str) -> None:
    """Check that fields of a ``Params`` are positive.

    Parameters
    ----------
    params : Params
        The parameters.
    *names : str
        Names of the fields.

    Raises
    ------
    ValueError
        When one is not.
    """
    for name in names:
        if not getattr(params, name) > 0:
            raise ValueError(f"{name}: expected a positive number, got {getattr(params, name)}")


def check_within(params: Any, name: str, least: int, most: int, *, odd: bool = False) -> None:
    """Check that a number of things is neither too small nor too large.

    Parameters
    ----------
    params : Params
        The parameters.
    name : str
        Name of the field.
    least, most : int
        Smallest and largest number allowed.
    odd : bool
        Whether it must be odd.

    Raises
    ------
    ValueError
        When it is not.
    """
    found = getattr(params, name)
    if not least <= found <= most or (odd and found % 2 == 0):
        kind = "an odd number from " if odd else ""
        raise ValueError(f"{name}: expected {kind}{least} to {most}, got {found}")


def check_at_most(params: Any, name: str, most: float, unit: str = "") -> None:
    """Check that a field of a ``Params`` is positive and not too large.

    Parameters
    ----------
    params : Params
        The parameters.
    name : str
        Name of the field.
    most : float
        Largest value allowed.
    unit : str
        Its unit, for the message.

    Raises
    ------
    ValueError
        When it is not.
    """
    check_positive(params, name)
    if getattr(params, name) > most:
        raise ValueError(
            f"{name}: expected at most {f'{most:g} {unit}'.rstrip()}, got {getattr(params, name)}"
        )


def check_choice(params: Any, name: str, choices: Iterable[str]) -> None:
    """Check that a field of a ``Params`` is one of a few words.

    Parameters
    ----------
    params : Params
        The parameters.
    name : str
        Name of the field.
    choices : iterable of str
        What is allowed.

    Raises
    ------
    ValueError
        When it is another.
    """
    allowed = tuple(choices)
    if getattr(params, name) not in allowed:
        raise ValueError(f"{name}: expected {' or '.join(allowed)}, got {getattr(params, name)}")


def check_items(field: str, noun: str, items: Sequence[Any], known: Collection[str] | None = None) -> None:
    """Check a list of which every item becomes a task.

    Parameters
    ----------
    field : str
        Name of the field, for the message.
    noun : str
        What one item is, likewise.
    items : sequence
        What the user asked for, or what tells the items apart.
    known : collection of str, optional
        What is allowed.

    Raises
    ------
    ValueError
        When there is none, one is not known, or one is given twice.
    """
    if not items:
        raise ValueError(f"{field}: expected at least one {noun}, got none")
    if known is not None:
        for item in items:
            if item not in known:
                raise ValueError(f"{field}: unknown {noun} '{item}'; {nearest(item, known)}")
    if len(set(items)) != len(items):
        raise ValueError(f"{field}: a {noun} is given twice")
