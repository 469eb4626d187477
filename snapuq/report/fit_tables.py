"""The fit as tables: its numbers, other numbers of members, groups left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from snapuq.analysis.expectation import violation_of
from snapuq.core.design import RowKind
from snapuq.report.text import KINDS, MISSING, number, percent
from snapuq.uq.trust import is_doubtful

# Lists longer than this are shown by their first entries and their length.
_LONGEST_LIST = 24
# A scale beyond this says only that no scale is enough.
_LARGEST_SCALE = 1.0e6

_RULES: Mapping[str, str] = {
    "block": "POPS by whole configurations",
    "pointwise": "POPS row by row, as published",
    "bayesian": "Bayesian ridge regression",
}

# What further diagnostics mean, by the last part of their name.
_MEANINGS: Mapping[str, str] = {
    "tau": "Softness with which a configuration draws the fit towards its own data.",
    "n_corrections": "Changes of the coefficients towards single data, which the members' box holds.",
    "dropped_variance": "Share of these changes that the box leaves out.",
    "n_zero_rows": "Rows that do not depend on the coefficients.",
}
# Shown elsewhere, in words.
_TOLD = (
    "warnings",
    "rule",
    "scale",
    "n_configurations",
    "n_rows",
    "n_columns",
    "rank",
    "condition_number",
    "box_rank",
    "n_roundoff_rows",
    "calibration",
    "left_out_groups",
)


@dataclass(frozen=True)
class MemberRow:
    """What to expect of a number of members.

    Parameters
    ----------
    members : str
        How many.
    shares : tuple of str
        Violation of each kind.
    remark : str
        What is special about the number.
    is_run : bool
        Whether this run has so many.
    """

    members: str
    shares: tuple[str, ...]
    remark: str
    is_run: bool


def member_rows(calibration: Mapping[str, Any], n_members: int) -> tuple[MemberRow, ...]:
    """Violation to expect of several numbers of members and of the run's own.

    Parameters
    ----------
    calibration : Mapping
        `snapuq.uq.calibrate.Calibration` as plain data.
    n_members : int
        Members of the run.

    Returns
    -------
    tuple of MemberRow
        In increasing order; the run's number is interpolated, or a dash outside the known numbers.
    """
    kinds = calibrated_kinds(calibration)
    if not kinds:
        return ()
    known = [int(m) for m, _ in calibration[kinds[0]]["by_members"]]
    rows = []
    for m in sorted({*known, n_members}):
        remarks = ["this run"] if m == n_members else []
        remarks += ["calibrated"] if m == calibration["members"] else []
        if m > calibration["members"]:
            remarks.append("extrapolated" if m in known else "unknown" if m > known[-1] else "interpolated")
        elif m not in known:
            remarks.append("interpolated" if m > known[0] else "unknown")
        shares = tuple(percent(violation_of(calibration[k]["by_members"], m)) for k in kinds)
        rows.append(MemberRow(f"{m:,}", shares, ", ".join(remarks), m == n_members))
    return tuple(rows)


def calibrated_kinds(calibration: Mapping[str, Any]) -> list[str]:
    """Names of the kinds of rows that the calibration looked at.

    Parameters
    ----------
    calibration : Mapping
        `snapuq.uq.calibrate.Calibration` as plain data.

    Returns
    -------
    list of str
        Out of ``energy`` and ``force``.
    """
    return [k.name.lower() for k in RowKind if calibration.get(k.name.lower()) is not None]


@dataclass(frozen=True)
class GroupRow:
    """A group predicted by a fit to all others, as text.

    Parameters
    ----------
    group, configurations : str
        Which, and how large.
    violations, ratios : tuple of str
        Share outside the envelope and mean \\|error\\| over mean std, for energies and forces.
    extrapolates : str
        Share of configurations beyond the data of all other groups.
    is_doubtful : bool
        Whether a fit to the others does not cover it.
    """

    group: str
    configurations: str
    violations: tuple[str, str]
    ratios: tuple[str, str]
    extrapolates: str
    is_doubtful: bool


def group_rows(groups: Sequence[Mapping[str, Any]]) -> tuple[GroupRow, ...]:
    """Write groups that were left out in turn as text.

    Parameters
    ----------
    groups : sequence of Mapping
        `snapuq.uq.calibrate.GroupExpected` as plain data.

    Returns
    -------
    tuple of GroupRow
        In the same order.
    """
    return tuple(
        GroupRow(
            str(g["group"]),
            f"{g['n_configurations']:,}",
            (percent(g["violation_energy"]), percent(g["violation_force"])),
            (number(g["ratio_energy"], 2), number(g["ratio_force"], 2)),
            percent(g["extrapolates"]),
            is_doubtful(g),
        )
        for g in groups
    )


def fit_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Numbers of the fit with a sentence on each.

    Parameters
    ----------
    found : Mapping
        Diagnostics of a posterior; what is missing is left out.

    Yields
    ------
    name, value, meaning : str
        One row per number.
    """
    if "rule" in found:
        rule = str(found["rule"])
        yield "Method", _RULES.get(rule, rule), "How alternatives to the best fit were made from its errors."
    if "scale" in found:
        yield (
            "Scale",
            _scale_text(found["scale"]),
            "Factor by which cross-validation widened (above 1) or narrowed the spread of the members; "
            "1 where nothing was calibrated.",
        )
    if found.get("calibration"):
        yield from _calibration_rows(found["calibration"])
    yield from _size_rows(found)


def _calibration_rows(c: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield (
        "Scales of the folds alone",
        ", ".join(map(_scale_text, c["fold_scales"])),
        f"What each of the {c['folds']} parts of the training set alone would ask for; where they differ "
        "much, a few configurations decide.",
    )
    yield (
        "Wanted share outside",
        percent(c["target"]),
        f"Aim of the scale: this share of unseen values, as the mean of energies and forces, outside the "
        f"envelope of {c['members']} members.",
    )
    unscaled = [
        f"{KINDS[k].name.lower()} {percent(c[k.name.lower()]['unscaled'])}"
        for k in RowKind
        if c.get(k.name.lower()) is not None
    ]
    yield "Share outside at scale 1", ", ".join(unscaled), "What would lie outside without the scale."


def _size_rows(d: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    configurations, columns, rows = (d.get(k) for k in ("n_configurations", "n_columns", "n_rows"))
    if configurations is not None and columns:
        yield (
            "Configurations per coefficient",
            f"{number(configurations / columns, 2)} ({configurations:,} / {columns:,})",
            "Training configurations over coefficients of the potential; below 1 some combinations of "
            "coefficients rest on next to nothing, above 2 is comfortable.",
        )
    if rows and "n_roundoff_rows" in d:
        yield (
            "Values that vanish by symmetry",
            f"{percent(d['n_roundoff_rows'] / rows)} ({d['n_roundoff_rows']:,} of {rows:,})",
            "Force and stress components of the training set that are zero for any coefficients; the "
            "calibration leaves them out.",
        )
    if "box_rank" in d:
        yield (
            "Directions with uncertainty",
            _of(d["box_rank"], columns),
            "Combinations of coefficients in which the members differ; all others carry no uncertainty.",
        )
    if "rank" in d:
        yield (
            "Directions that the data fix",
            _of(d["rank"], columns),
            "Combinations of coefficients that the training set determines.",
        )
    if "condition_number" in d:
        yield (
            "Condition number",
            number(d["condition_number"], 2),
            "How much the fit amplifies rounding errors; below 10¹² it does no harm.",
        )


def _of(count: int, columns: int | None) -> str:
    return f"{count:,}" if columns is None else f"{count:,} of {columns:,}"


def _scale_text(scale: float) -> str:
    return "> 10⁶" if scale > _LARGEST_SCALE else number(scale)


def further_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Diagnostics that no other table shows.

    Parameters
    ----------
    found : Mapping
        Diagnostics of a posterior.

    Returns
    -------
    iterator of (str, str, str)
        Name, value and meaning.
    """
    return diagnostic_rows({k: v for k, v in found.items() if k not in _TOLD})


def diagnostic_rows(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Flatten nested plain data into readable rows.

    Parameters
    ----------
    data : Mapping
        Nested mappings, sequences, numbers, strings, booleans and None.
    prefix : str
        Name of the enclosing mapping.

    Yields
    ------
    name, value, meaning : str
        One row per number or list.
    """
    for key, value in data.items():
        name = f"{prefix} · {key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            yield from diagnostic_rows(value, name)
        elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
            parts = ({str(i + 1): v} for i, v in enumerate(value))
            yield from chain.from_iterable(diagnostic_rows(part, name) for part in parts)
        else:
            yield name.replace("_", " "), _value_text(value), _MEANINGS.get(str(key), "")


def _value_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        shown = ", ".join(_value_text(v) for v in value[:_LONGEST_LIST])
        more = f", … ({len(value)} in all)" if len(value) > _LONGEST_LIST else ""
        return (shown + more) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value, 4)
    return MISSING if value is None or value == {} else str(value)
