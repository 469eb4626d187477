"""Tables of error bars to first order and of what sets them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from snapuq.results.csv_rows import Row, read_rows
from snapuq.results.table import _number, _text, _write

#: A linearised extreme further from the exact one than this share of the latter's deviation from the MLE is
#: an estimate.
LARGEST_MISS = 0.1
#: Kinds of shares.
GROUP, CONFIGURATION, NOBODY = "group", "configuration", "none"


@dataclass(frozen=True)
class LinearisedQuantity:
    """A quantity to first order around the MLE, and at its two worst-case members.

    Parameters
    ----------
    label, quantity, unit : str
        Which quantity.
    mle, std, q05, q95 : float
        Value of the MLE; standard deviation and quantiles over the posterior.
    expected_min, expected_max : float
        Expected extremes of the ensemble.
    exact_min, exact_max : float or None
        Values of the members to expect there; None for a member that gave none.
    members : int
        Size of the ensemble.
    """

    label: str
    quantity: str
    unit: str
    mle: float
    std: float
    q05: float
    q95: float
    expected_min: float
    expected_max: float
    exact_min: float | None
    exact_max: float | None
    members: int

    @property
    def is_estimate(self) -> bool:
        """Whether an exact extreme is missing or further than `LARGEST_MISS` from the linearised one."""
        pairs = ((self.expected_min, self.exact_min), (self.expected_max, self.exact_max))
        return any(
            exact is None or abs(expected - exact) > LARGEST_MISS * abs(exact - self.mle)
            for expected, exact in pairs
        )


@dataclass(frozen=True)
class Share:
    """A share of the variance of a quantity.

    Parameters
    ----------
    label, quantity : str
        Which quantity.
    kind : {'group', 'configuration', 'none'}
        Whose share; ``none`` is what belongs to no configuration.
    name : str
        Name of the group or of the configuration.
    share : float
        From 0 to 1; those of all groups and ``none`` sum to 1.
    """

    label: str
    quantity: str
    kind: str
    name: str
    share: float


# The last two may be missing.
_NUMBERS = tuple(f.name for f in fields(LinearisedQuantity)[3:-1])
LINEARISED_COLUMNS = ("property", "quantity", "unit", *_NUMBERS, "members", "is_estimate")
SHARE_COLUMNS = ("property", "quantity", "kind", "name", "share")


def write_linearised_csv(path: Path, rows: Iterable[LinearisedQuantity]) -> None:
    """Write one row for each quantity.

    Parameters
    ----------
    path : Path
        The file.
    rows : iterable of LinearisedQuantity
        The quantities.
    """
    table = []
    for r in rows:
        numbers = [_text(getattr(r, name)) for name in _NUMBERS]
        table.append([r.label, r.quantity, r.unit, *numbers, r.members, int(r.is_estimate)])
    _write(path, LINEARISED_COLUMNS, table)


def read_linearised_csv(path: Path) -> tuple[LinearisedQuantity, ...]:
    """Read what `write_linearised_csv` wrote.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    tuple of LinearisedQuantity
        The quantities.

    Raises
    ------
    InputError
        When a row is malformed.
    """
    found = []
    for line, row in read_rows(path, LINEARISED_COLUMNS):
        with Row(path, line):
            head = (row["property"], row["quantity"], row["unit"])
            numbers: dict[str, Any] = {name: float(row[name]) for name in _NUMBERS[:-2]}
            numbers |= {name: _number(row[name]) for name in _NUMBERS[-2:]}
            found.append(LinearisedQuantity(*head, members=int(row["members"]), **numbers))
    return tuple(found)


def write_shares_csv(path: Path, rows: Iterable[Share]) -> None:
    """Write one row for each share.

    Parameters
    ----------
    path : Path
        The file.
    rows : iterable of Share
        The shares.
    """
    _write(path, SHARE_COLUMNS, [[*astuple(r)[:-1], repr(r.share)] for r in rows])


def read_shares_csv(path: Path) -> tuple[Share, ...]:
    """Read what `write_shares_csv` wrote.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    tuple of Share
        The shares.

    Raises
    ------
    InputError
        When a row is malformed.
    """
    found = []
    for line, row in read_rows(path, SHARE_COLUMNS):
        with Row(path, line):
            head = (row["property"], row["quantity"], row["kind"], row["name"])
            found.append(Share(*head, float(row["share"])))
    return tuple(found)
