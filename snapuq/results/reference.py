"""True values from a table, to compare with."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from snapuq.core.result import Quantity
from snapuq.errors import InputError, nearest
from snapuq.results.csv_rows import Row, read_rows

# A label that is no property's, and as like one that is asked for as this, is misspelt.
_MISSPELT = 0.8


def read_reference_csv(path: Path) -> dict[tuple[str, str], Quantity]:
    """Read true values from a table with the columns property, quantity, value and unit.

    Parameters
    ----------
    path : Path
        The file; ``property`` is the label that the campaign gives, for example ``elastic-bcc``.

    Returns
    -------
    dict
        (property label, quantity) to value and unit.

    Raises
    ------
    InputError
        When a column is missing, a number cannot be read, or a quantity is given twice.
    """
    return {key: quantity for _, key, quantity in _reference_rows(path)}


def _reference_rows(path: Path) -> list[tuple[int, tuple[str, str], Quantity]]:
    """Line, key and value of each true value."""
    rows: list[tuple[int, tuple[str, str], Quantity]] = []
    known: set[tuple[str, str]] = set()
    for line, row in read_rows(path, ("property", "quantity", "value", "unit")):
        key = (row["property"].strip(), row["quantity"].strip())
        if key in known:
            raise InputError("given twice", file=path, line=line, key=" ".join(key))
        with Row(path, line):
            quantity = Quantity(float(row["value"]), row["unit"].strip())
        if not np.isfinite(quantity.value):
            raise InputError("not a finite number", file=path, line=line, found=row["value"])
        known.add(key)
        rows.append((line, key, quantity))
    return rows


def check_reference(
    path: Path, outputs: Mapping[tuple[str, str], str], is_label: Callable[[str], bool]
) -> tuple[str, ...]:
    """Check, before a campaign, the true values of its properties.

    A table may hold values of other properties, so that several campaigns can share it.

    Parameters
    ----------
    path : Path
        Table of true values; see `read_reference_csv`.
    outputs : Mapping
        (property label, quantity) to unit, of the campaign; see `snapuq.campaign.plan.planned_outputs`.
    is_label : callable
        Whether some campaign could give a property this label.

    Returns
    -------
    tuple of str
        Label of each row that belongs to no property of the campaign.

    Raises
    ------
    InputError
        When a property of the campaign has no such quantity or another unit, or a label looks like a misspelt
        one of the campaign; with its line.
    """
    others = []
    labels = {label for label, _ in outputs}
    for line, key, quantity in _reference_rows(path):
        label, name = key[0], " ".join(key)
        if label not in labels:
            close = difflib.get_close_matches(label, sorted(labels), n=1, cutoff=_MISSPELT)
            if close and not is_label(label):
                hint = f"did you mean '{close[0]}'?"
                raise InputError(
                    "the campaign has no such property", file=path, line=line, key=label, hint=hint
                )
            others.append(label)
            continue
        if key not in outputs:
            hint = nearest(name, [" ".join(k) for k in outputs if k[0] == label])
            raise InputError("the campaign has no such quantity", file=path, line=line, key=name, hint=hint)
        if quantity.unit != outputs[key]:
            found, unit = quantity.unit or "nothing", outputs[key] or "nothing"
            raise InputError("wrong unit", file=path, line=line, key=name, found=found, expected=unit)
    return tuple(others)
