"""Tables of results and of their summary; written atomically, with exact numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from snapuq.core.reasons import NOT_CONVERGED, RECONFIGURED
from snapuq.core.result import PropertyResult, PropertySummary, Quantity
from snapuq.core.task import REFERENCE_MEMBER
from snapuq.errors import InputError, nearest
from snapuq.provenance import write_text
from snapuq.results.failures import narrowing
from snapuq.results.implicit import Errors

#: Probabilities of the quantiles in a summary.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

RESULT_COLUMNS = (
    "property",
    "member",
    "quantity",
    "value",
    "unit",
    "error",
    "converged",
    "reconfigured",
    "fmax",
    "evaluations",
    "propagation",
    "fallbacks",
    "failure",
    "detail",
)
_NUMBERS = (
    "mle",
    "mean",
    "std",
    "minimum",
    "maximum",
    "sound_minimum",
    "sound_maximum",
    "sound_std",
    "narrowing",
    "propagation_error",
)
_COUNTS = ("n_members", "n_failed", "n_unconverged", "n_reconfigured")
_QUANTILE_COLUMNS = tuple(f"quantile_{q:g}" for q in QUANTILES)
SUMMARY_COLUMNS = (
    "property",
    "quantity",
    "unit",
    *_NUMBERS,
    *_QUANTILE_COLUMNS,
    "reference",
    "inside",
    *_COUNTS,
    "failures",
)

Reference = Mapping[tuple[str, str], Quantity]


def summarise(
    results: Iterable[PropertyResult], reference: Reference | None = None, errors: Errors | None = None
) -> tuple[PropertySummary, ...]:
    """Summarise each quantity over the ensemble.

    Parameters
    ----------
    results : iterable of PropertyResult
        In any order of members; properties keep the order of first appearance.
    reference : Mapping, optional
        True values by (property label, quantity); they take precedence over results of a reference
        potential.
    errors : Mapping, optional
        Estimated errors of propagation.

    Returns
    -------
    tuple of PropertySummary
        One for each quantity; a property without a single value has one without a quantity.

    Raises
    ------
    InputError
        When a true value is in another unit.
    """
    by_label: dict[str, list[PropertyResult]] = {}
    for result in results:
        by_label.setdefault(result.label, []).append(result)
    estimates: dict[tuple[str, str], list[float]] = {}
    for (label, _, name), error in (errors or {}).items():
        estimates.setdefault((label, name), []).append(error)
    summaries = []
    for label, group in by_label.items():
        group = sorted(group, key=lambda r: r.member)
        units = {name: q.unit for r in reversed(group) for name, q in r.values.items()}
        order = max((list(r.values) for r in group), key=len)
        names = sorted(units, key=lambda n: (order.index(n) if n in order else len(order), n))
        for name in names or [""]:
            summary = _summary(label, name, units.get(name, ""), group, reference or {})
            known = estimates.get((label, name))
            summaries.append(replace(summary, propagation_error=float(np.mean(known)) if known else None))
    return tuple(summaries)


def _summary(
    label: str, name: str, unit: str, group: Sequence[PropertyResult], reference: Reference
) -> PropertySummary:
    members = [r for r in group if r.member > 0]
    values = np.array([r.values[name].value for r in members if name in r.values])
    sound = np.array([r.values[name].value for r in members if name in r.values and not _reasons(r)])
    single = {r.member: r.values[name].value for r in group if r.member <= 0 and name in r.values}
    true = single.get(REFERENCE_MEMBER)
    given = reference.get((label, name))
    if given is not None:
        if given.unit != unit:
            raise InputError(
                "reference value in another unit", key=f"{label} {name}", found=given.unit, expected=unit
            )
        true = given.value
    failures: dict[str, list[int]] = {}
    for result in members:
        for reason in _reasons(result):
            failures.setdefault(reason, []).append(result.member)
    known, any_sound = len(values) > 0, len(sound) > 0
    return PropertySummary(
        label=label,
        quantity=name,
        unit=unit,
        mle=single.get(0),
        mean=float(values.mean()) if known else None,
        std=float(values.std()) if known else None,
        minimum=float(values.min()) if known else None,
        maximum=float(values.max()) if known else None,
        quantiles={q: float(np.quantile(values, q)) for q in QUANTILES} if known else {},
        reference=true,
        n_members=len(members),
        n_failed=sum(bool(r.failure) for r in members),
        n_unconverged=sum(not r.converged and not r.failure for r in members),
        n_reconfigured=sum(r.reconfigured and not r.failure for r in members),
        failures={reason: tuple(numbers) for reason, numbers in sorted(failures.items())},
        sound_minimum=float(sound.min()) if any_sound else None,
        sound_maximum=float(sound.max()) if any_sound else None,
        sound_std=float(sound.std()) if any_sound else None,
        narrowing=narrowing(values, len(members) - len(values)),
    )


def _reasons(result: PropertyResult) -> list[str]:
    """Why a result is missing, or not to be trusted, in machine words; empty when it is sound."""
    if result.failure:
        # Errors that nobody foresaw carry their text after the word.
        return [result.failure.partition(": ")[0]]
    flags = {NOT_CONVERGED: not result.converged, RECONFIGURED: result.reconfigured}
    return [reason for reason, is_raised in flags.items() if is_raised]


def write_results_csv(path: Path, results: Iterable[PropertyResult], errors: Errors | None = None) -> None:
    """Write one row for each (property, member, quantity).

    Parameters
    ----------
    path : Path
        The file.
    results : iterable of PropertyResult
        A failure is one row without a quantity.
    errors : Mapping, optional
        Estimated errors of propagation; those of exact values are left empty.
    """
    known = errors or {}
    rows = []
    for r in results:
        cost = ["" if r.fmax is None else repr(r.fmax), r.evaluations, r.propagation, r.fallbacks]
        state = [int(r.converged), int(r.reconfigured), *cost, r.failure, r.detail]
        for name, q in r.values.items():
            error = _text(known.get((r.label, r.member, name)))
            rows.append([r.label, r.member, name, repr(q.value), q.unit, error, *state])
        if not r.values:
            rows.append([r.label, r.member, "", "", "", "", *state])
    _write(path, RESULT_COLUMNS, rows)


def write_summary_csv(path: Path, summaries: Iterable[PropertySummary]) -> None:
    """Write one row for each (property, quantity).

    Parameters
    ----------
    path : Path
        The file; holds no timings, so it is the same to the last digit for any number of ranks.
    summaries : iterable of PropertySummary
        The summaries.
    """
    rows = []
    for s in summaries:
        numbers = [_text(getattr(s, name)) for name in _NUMBERS]
        quantiles = [_text(s.quantiles.get(q)) for q in QUANTILES]
        inside = "" if s.inside is None else int(s.inside)
        counts = [getattr(s, name) for name in _COUNTS]
        failures = json.dumps({k: list(v) for k, v in s.failures.items()}) if s.failures else ""
        row = [s.label, s.quantity, s.unit, *numbers, *quantiles, _text(s.reference), inside, *counts]
        rows.append([*row, failures])
    _write(path, SUMMARY_COLUMNS, rows)


def read_results_csv(path: Path) -> tuple[PropertyResult, ...]:
    """Read what `write_results_csv` wrote.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    tuple of PropertyResult
        With empty keys and no timings.

    Raises
    ------
    InputError
        When a row is malformed.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for line, row in _read(path, RESULT_COLUMNS):
        with _Row(path, line):
            key = (row["property"], int(row["member"]))
            entry = found.setdefault(key, {"values": {}})
            entry["converged"] = bool(int(row["converged"]))
            entry["reconfigured"] = bool(int(row["reconfigured"]))
            entry["failure"] = row["failure"]
            entry["detail"] = row["detail"]
            entry["fmax"] = float(row["fmax"]) if row["fmax"] else None
            entry["evaluations"] = int(row["evaluations"])
            entry["propagation"] = row["propagation"]
            entry["fallbacks"] = int(row["fallbacks"])
            if row["quantity"]:
                entry["values"][row["quantity"]] = Quantity(float(row["value"]), row["unit"])
    return tuple(PropertyResult("", label, member, **e) for (label, member), e in found.items())


def read_summary_csv(path: Path) -> tuple[PropertySummary, ...]:
    """Read what `write_summary_csv` wrote.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    tuple of PropertySummary
        The summaries.

    Raises
    ------
    InputError
        When a row is malformed.
    """
    summaries = []
    for line, row in _read(path, SUMMARY_COLUMNS):
        with _Row(path, line):
            pairs = zip(QUANTILES, _QUANTILE_COLUMNS, strict=True)
            fields: dict[str, Any] = {name: _number(row[name]) for name in (*_NUMBERS, "reference")}
            fields |= {name: int(row[name]) for name in _COUNTS}
            fields["quantiles"] = {q: float(row[column]) for q, column in pairs if row[column]}
            failures = json.loads(row["failures"]) if row["failures"] else {}
            fields["failures"] = {k: tuple(v) for k, v in failures.items()}
            summaries.append(PropertySummary(row["property"], row["quantity"], row["unit"], **fields))
    return tuple(summaries)


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
    for line, row in _read(path, ("property", "quantity", "value", "unit")):
        key = (row["property"].strip(), row["quantity"].strip())
        if key in known:
            raise InputError("given twice", file=path, line=line, key=" ".join(key))
        with _Row(path, line):
            quantity = Quantity(float(row["value"]), row["unit"].strip())
        if not np.isfinite(quantity.value):
            raise InputError("not a finite number", file=path, line=line, found=row["value"])
        known.add(key)
        rows.append((line, key, quantity))
    return rows


def check_reference(path: Path, outputs: Mapping[tuple[str, str], str]) -> None:
    """Check, before a campaign, that true values belong to its quantities.

    Parameters
    ----------
    path : Path
        Table of true values; see `read_reference_csv`.
    outputs : Mapping
        (property label, quantity) to unit, of the campaign; see `snapuq.campaign.plan.planned_outputs`.

    Raises
    ------
    InputError
        When one does not, or has another unit; with its line.
    """
    for line, key, quantity in _reference_rows(path):
        name = " ".join(key)
        if key not in outputs:
            hint = nearest(name, [" ".join(k) for k in outputs])
            raise InputError("the campaign has no such quantity", file=path, line=line, key=name, hint=hint)
        if quantity.unit != outputs[key]:
            unit = outputs[key] or "none"
            raise InputError("wrong unit", file=path, line=line, key=name, found=quantity.unit, expected=unit)


class _Row:
    """Name the file and line of a number that cannot be read."""

    def __init__(self, path: Path, line: int) -> None:
        self._path = path
        self._line = line

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ValueError | TypeError | AttributeError):
            raise InputError(f"malformed row: {error}", file=self._path, line=self._line) from error


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _number(text: str) -> float | None:
    return float(text) if text else None


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def _read(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from error
    reader = csv.DictReader(io.StringIO(text))
    missing = [c for c in columns if c not in (reader.fieldnames or [])]
    if missing:
        raise InputError(f"has no column '{missing[0]}'", file=path, expected=", ".join(columns))
    rows = []
    for row in reader:
        if None in row or None in row.values():
            raise InputError("wrong number of columns", file=path, line=reader.line_num)
        rows.append((reader.line_num, row))
    return rows
