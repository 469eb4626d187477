"""Append-only journal of finished tasks: the source of truth of a campaign.

One JSON-lines file for each rank. A record counts as written once it is on the disk; each carries a
checksum, so that a torn or damaged line costs its own task and no other.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapuq.core.result import PropertyResult, Quantity
from snapuq.errors import InputError
from snapuq.provenance import canonical_json, digest

#: First word of the failure of a task that met an error nobody foresaw; such a task is run again.
BUG = "bug"

#: Failure of a task that was stopped at its wall-clock limit; it may be run again with a longer one.
TIME_LIMIT = "time_limit"

_CHECK_LENGTH = 16
#: Seconds that ranks of a job that has been killed may hold on to their files.
_PATIENCE = 30.0


@dataclass(frozen=True)
class JournalEntry:
    """One record of the journal.

    Parameters
    ----------
    result : PropertyResult
        The result.
    written : float
        When, s since the epoch.
    """

    result: PropertyResult
    written: float


@dataclass(frozen=True)
class JournalContent:
    """What a journal holds.

    Parameters
    ----------
    results : Mapping
        Key of the task to its result; of several the first, but any before the last `TIME_LIMIT`, and that
        before a `BUG`.
    n_damaged : int
        Lines that could not be read or whose checksum is wrong; their tasks are run again.
    entries : tuple of JournalEntry
        All records, superseded ones included.
    """

    results: Mapping[str, PropertyResult]
    n_damaged: int
    entries: tuple[JournalEntry, ...]


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
        self._file = self.path.open("ab", buffering=0)
        try:
            _lock(self._file.fileno(), self.path)
            _cut_torn_line(self.path)
            _sync(folder)
        except BaseException:
            self._file.close()
            raise

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
        record = {**result_to_plain(result), "written": round(time.time(), 3)}
        line = canonical_json({"check": digest(record)[:_CHECK_LENGTH], "record": record}) + "\n"
        data = line.encode()
        before = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(self._file.fileno())
        except OSError as error:
            # A part of a record would be joined by the next.
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), before)
            raise OSError(error.errno, error.strerror, str(self.path)) from error


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
    entries = []
    damaged = 0
    for line in _lines(folder):
        entry = _read_line(line)
        if entry is None:
            damaged += 1
            continue
        entries.append(entry)
        known = results.get(entry.result.key)
        if known is None or _worth(entry.result) > _worth(known):
            results[entry.result.key] = entry.result
    return JournalContent(results, damaged, tuple(entries))


def _worth(result: PropertyResult) -> tuple[int, int, float]:
    """Order results of one task; the files of the ranks say nothing about which was first."""
    if result.failure.startswith(BUG):
        return 0, 0, 0.0
    if result.failure == TIME_LIMIT:
        return 1, result.attempt, result.seconds
    return 2, 0, 0.0


def _lines(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.glob("rank_*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            if line:
                yield line


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
        "detail": result.detail,
        "attempt": result.attempt,
        "fmax": result.fmax,
        "propagation": result.propagation,
        "fallbacks": result.fallbacks,
        "decrement": result.decrement,
        "evaluations": result.evaluations,
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


def _read_line(line: bytes) -> JournalEntry | None:
    try:
        entry = json.loads(line)
        record = entry["record"]
        if entry["check"] != digest(record)[:_CHECK_LENGTH]:
            return None
        written = record.pop("written")
        return JournalEntry(result_from_plain(record), float(written))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _lock(handle: int, path: Path) -> None:
    """Be the only writer: ranks of a job that was killed may live a little longer than its rank 0."""
    patience = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > patience:
                raise InputError("another run is writing here", file=path, hint="wait for it") from None
            time.sleep(0.1)
        except OSError as error:
            # Some file systems know no locks; the run's own lock has been tried before.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            return
        else:
            return


def _sync(folder: Path) -> None:
    """Wait until new names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cut_torn_line(path: Path) -> None:
    """Remove what a killed writer left after the last complete line; the next record would join it."""
    content = path.read_bytes()
    complete = content.rfind(b"\n") + 1
    if complete != len(content):
        with path.open("r+b") as file:
            file.truncate(complete)
            os.fsync(file.fileno())
