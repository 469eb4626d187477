"""Append-only journal of finished tasks: the source of truth of a campaign.

One JSON-lines file for each rank. A record counts as written once it is on the disk; each carries a
checksum, so that a torn or damaged line costs its own task and no other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapuq.core.result import PropertyResult, Quantity
from snapuq.provenance import canonical_json, digest

#: First word of the failure of a task that met an error nobody foresaw; such a task is run again.
BUG = "bug"

_CHECK_LENGTH = 16


@dataclass(frozen=True)
class JournalContent:
    """What a journal holds.

    Parameters
    ----------
    results : Mapping
        Key of the task to its result; of several the first, but any before one that is a `BUG`.
    n_damaged : int
        Lines that could not be read or whose checksum is wrong; their tasks are run again.
    """

    results: Mapping[str, PropertyResult]
    n_damaged: int


class Journal:
    """Writer of one rank's file; use it as a context manager.

    Parameters
    ----------
    folder : Path
        Folder of the journal; made if missing.
    rank : int
        The only rank that writes this file.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"rank_{rank:04d}.jsonl"
        _cut_torn_line(self.path)
        self._file = self.path.open("ab")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, result: PropertyResult) -> None:
        """Write a result and wait until it is on the disk.

        Parameters
        ----------
        result : PropertyResult
            The result.

        Raises
        ------
        OSError
            When the disk is full or the file cannot be written: the result is not in the journal.
        """
        record = result_to_plain(result)
        line = canonical_json({"check": digest(record)[:_CHECK_LENGTH], "record": record}) + "\n"
        self._file.write(line.encode())
        self._file.flush()
        os.fsync(self._file.fileno())


def load_results(folder: Path) -> JournalContent:
    """Read the files of all ranks, whatever their number was.

    Parameters
    ----------
    folder : Path
        Folder of the journal; a missing one is empty.

    Returns
    -------
    JournalContent
        Results and the number of damaged lines.
    """
    results: dict[str, PropertyResult] = {}
    damaged = 0
    for path in sorted(folder.glob("rank_*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            if not line:
                continue
            result = _read_line(line)
            if result is None:
                damaged += 1
            elif result.key not in results or results[result.key].failure.startswith(BUG):
                results[result.key] = result
    return JournalContent(results, damaged)


def result_to_plain(result: PropertyResult) -> dict[str, Any]:
    """Turn a result into plain data.

    Parameters
    ----------
    result : PropertyResult
        The result.

    Returns
    -------
    dict
        Nested dicts, lists, strings and numbers.
    """
    return {
        "key": result.key,
        "label": result.label,
        "member": result.member,
        # A list, because sorted JSON would lose the order in which the property names its quantities.
        "values": [[name, q.value, q.unit] for name, q in result.values.items()],
        "converged": result.converged,
        "reconfigured": result.reconfigured,
        "failure": result.failure,
        "seconds": result.seconds,
    }


def result_from_plain(record: Mapping[str, Any]) -> PropertyResult:
    """Rebuild a result from plain data.

    Parameters
    ----------
    record : Mapping
        What `result_to_plain` gave.

    Returns
    -------
    PropertyResult
        The result.
    """
    values = {name: Quantity(value, unit) for name, value, unit in record["values"]}
    return PropertyResult(**{**record, "values": values})


def _read_line(line: bytes) -> PropertyResult | None:
    try:
        entry = json.loads(line)
        record = entry["record"]
        if entry["check"] != digest(record)[:_CHECK_LENGTH]:
            return None
        return result_from_plain(record)
    except (ValueError, KeyError, TypeError):
        return None


def _cut_torn_line(path: Path) -> None:
    """Remove what a killed writer left after the last complete line; the next record would join it."""
    if not path.exists():
        return
    content = path.read_bytes()
    complete = content.rfind(b"\n") + 1
    if complete != len(content):
        with path.open("r+b") as file:
            file.truncate(complete)
            os.fsync(file.fileno())
