"""Rows of a CSV file, with the line that each stands in."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from snapuq.errors import InputError


class Row:
    """Context that names the file and line of a number that cannot be read.

    Parameters
    ----------
    path : Path
        The file.
    line : int
        Line of the row.
    """

    def __init__(self, path: Path, line: int) -> None:
        self._path = path
        self._line = line

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ValueError | TypeError | AttributeError):
            raise InputError(f"malformed row: {error}", file=self._path, line=self._line) from error


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a table with a header.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        Columns that must be there.

    Returns
    -------
    list of (int, dict)
        Line and cells, by column, of each row.

    Raises
    ------
    InputError
        When the file cannot be read, or a column or a cell is missing.
    """
    try:
        # Excel's "CSV UTF-8" starts with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from error
    reader = csv.DictReader(io.StringIO(text))
    header = reader.fieldnames or []
    missing = [c for c in columns if c not in header]
    if missing and any(";" in name for name in header):
        raise InputError(
            "columns are separated by semicolons",
            file=path,
            line=1,
            found=",".join(header),
            expected=",".join(columns),
        )
    if missing:
        raise InputError(f"has no column '{missing[0]}'", file=path, expected=", ".join(columns))
    rows = []
    for row in reader:
        if None in row or None in row.values():
            raise InputError("wrong number of columns", file=path, line=reader.line_num)
        rows.append((reader.line_num, row))
    return rows
