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
from snapuq.errors import InputError
from snapuq.provenance import write_text
from snapuq.results.csv_rows import Row, read_rows
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
    for line, row in read_rows(path, RESULT_COLUMNS):
        with Row(path, line):
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
    for line, row in read_rows(path, SUMMARY_COLUMNS):
        with Row(path, line):
            pairs = zip(QUANTILES, _QUANTILE_COLUMNS, strict=True)
            fields: dict[str, Any] = {name: _number(row[name]) for name in (*_NUMBERS, "reference")}
            fields |= {name: int(row[name]) for name in _COUNTS}
            fields["quantiles"] = {q: float(row[column]) for q, column in pairs if row[column]}
            failures = json.loads(row["failures"]) if row["failures"] else {}
            fields["failures"] = {k: tuple(v) for k, v in failures.items()}
            summaries.append(PropertySummary(row["property"], row["quantity"], row["unit"], **fields))
    return tuple(summaries)


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
