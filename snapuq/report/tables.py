"""Table rows of the report, and the CSV of the pointwise metrics."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapuq.analysis.calibration import GAUSSIAN_RATIO, PointwiseMetrics, finite
from snapuq.analysis.property_scores import error_over_std
from snapuq.core.result import PropertySummary
from snapuq.provenance import write_text
from snapuq.report.counts import is_count
from snapuq.report.soundness import TensorStability
from snapuq.report.text import KINDS, MISSING, decimals, display_unit, fixed, number, percent

#: Quantities of a curve: energy above the minimum (eV/atom) at a volume ratio V/V0.
CURVE_PREFIX = "energy_at_"
#: Points of any other curve.
POINT_PREFIX = "curve_"


def is_curve_point(summary: PropertySummary) -> bool:
    """Tell a point of a curve from a property of its own.

    Parameters
    ----------
    summary : PropertySummary
        One quantity.

    Returns
    -------
    bool
        True for ``energy_at_<ratio>`` and ``curve_<anything>``.
    """
    return is_curve_name(summary.quantity)


def is_curve_name(quantity: str) -> bool:
    """Tell the name of a point of a curve.

    Parameters
    ----------
    quantity : str
        Name of a quantity.

    Returns
    -------
    bool
        True for ``energy_at_<ratio>`` and ``curve_<anything>``.
    """
    return quantity.startswith(POINT_PREFIX) or curve_ratio(quantity) is not None


def curve_ratio(quantity: str) -> float | None:
    """Volume ratio in the name of a curve point.

    Parameters
    ----------
    quantity : str
        For example ``energy_at_0.900``.

    Returns
    -------
    float or None
        V/V0; None for any other quantity.
    """
    if not quantity.startswith(CURVE_PREFIX):
        return None
    try:
        return finite(float(quantity.removeprefix(CURVE_PREFIX)))
    except ValueError:
        return None


@dataclass(frozen=True)
class PropertyRow:
    """One quantity as text, ready for a table.

    Parameters
    ----------
    label, quantity, unit : str
        Which quantity.
    mle, mean, std, minimum, maximum : str
        Numbers, to two digits of the std.
    sound_minimum, sound_maximum : str
        Over the members without a flag; empty where they would repeat `minimum` or `maximum`.
    reference : str
        True value, likewise.
    ratio : str
        \\|reference - MLE\\| / std.
    inside : str
        ``yes``, ``no`` or a dash.
    members : str
        Members that gave a value, of all.
    remarks : str
        Failed, unconverged and reconfigured counts, and the width that the failed are expected to cost; the
        error of implicit values; moduli of unstable crystals.
    is_mle_unsound : bool
        Whether the MLE's value is a modulus of an elastically unstable crystal.
    """

    label: str
    quantity: str
    unit: str
    mle: str
    mean: str
    std: str
    minimum: str
    maximum: str
    sound_minimum: str
    sound_maximum: str
    reference: str
    ratio: str
    inside: str
    members: str
    remarks: str
    is_mle_unsound: bool = False


def property_row(summary: PropertySummary, stability: TensorStability | None = None) -> PropertyRow:
    """Write one quantity as text.

    Parameters
    ----------
    summary : PropertySummary
        The quantity.
    stability : TensorStability, optional
        Of the elastic tensor that it comes from.

    Returns
    -------
    PropertyRow
        Its table row.
    """
    places = decimals(summary.std, summary.mle if summary.mle is not None else summary.reference)
    # Of counts, only mean and std have decimals.
    whole = 0 if is_count(summary) else places
    known = finite(summary.reference) is not None and None not in (
        finite(summary.minimum),
        finite(summary.maximum),
    )
    minimum, maximum = fixed(summary.minimum, whole), fixed(summary.maximum, whole)
    sound = fixed(summary.sound_minimum, whole), fixed(summary.sound_maximum, whole)
    counts = {
        "failed": summary.n_failed,
        "not converged": summary.n_unconverged,
        "reconfigured": summary.n_reconfigured,
    }
    remarks = [f"{n} {what}" for what, n in counts.items() if n]
    if summary.n_failed and summary.narrowing is not None:
        # Unbreakable, so that the number keeps its sign and unit in a narrow column.
        remarks[0] += " " + f"(width −{percent(summary.narrowing)})".replace(" ", "\N{NO-BREAK SPACE}")
    offset = mean_offset(summary)
    if offset is not None and offset > 1.0:
        remarks.append(f"mean {number(offset, 2)} std from the MLE")
    if summary.propagation_error is not None:
        remarks.append(
            f"implicit, ± {number(summary.propagation_error, 2)}".replace(" ", "\N{NO-BREAK SPACE}")
        )
    is_modulus = stability is not None and "modulus" in summary.quantity
    is_mle_unsound = is_modulus and stability is not None and stability.is_mle_unstable
    if is_modulus and stability is not None and stability.n_unstable:
        remarks.append(f"{stability.n_unstable} elastically unstable")
    if is_mle_unsound:
        remarks.append("MLE unstable: no modulus")
    return PropertyRow(
        label=summary.label,
        quantity=summary.quantity,
        unit=display_unit(summary.unit),
        mle=fixed(summary.mle, whole),
        mean=fixed(summary.mean, places),
        std=fixed(summary.std, places),
        minimum=minimum,
        maximum=maximum,
        sound_minimum="" if sound[0] in (minimum, MISSING) else sound[0],
        sound_maximum="" if sound[1] in (maximum, MISSING) else sound[1],
        reference=fixed(summary.reference, whole),
        ratio=number(error_over_std(summary), 2),
        inside=("yes" if summary.inside else "no") if known else MISSING,
        members=f"{summary.n_members - summary.n_failed} of {summary.n_members}",
        remarks=", ".join(remarks),
        is_mle_unsound=is_mle_unsound,
    )


def mean_offset(summary: PropertySummary) -> float | None:
    """Distance between the members' mean and the MLE, in units of their std.

    Parameters
    ----------
    summary : PropertySummary
        The quantity.

    Returns
    -------
    float or None
        None when one of the three is missing or the std is zero.
    """
    mle, mean, std = (finite(x) for x in (summary.mle, summary.mean, summary.std))
    if mle is None or mean is None or not std:
        return None
    return abs(mean - mle) / std


@dataclass(frozen=True)
class MetricRow:
    """One metric of all kinds of rows as text.

    Parameters
    ----------
    name : str
        The metric.
    values : tuple of str
        One per kind.
    meaning : str
        One sentence.
    """

    name: str
    values: tuple[str, ...]
    meaning: str


# Heading, field, form, meaning; the form says how the number is written.
_METRICS = (
    ("Values compared", "count", "count", "Energies per atom, single force and stress components."),
    ("Root mean square error", "rmse", "unit", "Typical error of the MLE; large errors weigh most."),
    (
        "R²",
        "r_squared",
        "plain",
        "Share of the variance of the ab initio values that the MLE explains; 1 is perfect, 0 no fit at all.",
    ),
    ("Mean |error|", "mae", "unit", "Average distance of the MLE from the ab initio value."),
    ("Mean std", "mean_std", "unit", "Average spread of the members about their mean."),
    (
        "Mean |error| / mean std",
        "error_over_std",
        "plain",
        f"{GAUSSIAN_RATIO:.2f} for a calibrated Gaussian; larger when the spread is too narrow.",
    ),
    (
        "Envelope violation",
        "violation",
        "share",
        "Share of true values outside the members' minimum and maximum; falls as members are added.",
    ),
    (
        "its 95 % interval",
        "violation",
        "interval",
        "Exact binomial interval for independent values; those of one configuration are correlated.",
    ),
    (
        "Violation with round-off rows",
        "violation_all",
        "share",
        "The same share when components that vanish by symmetry are counted too.",
    ),
    ("Round-off rows", "n_roundoff", "count", "Components that vanish by symmetry; left out of all else."),
    (
        "Mean predicted / actual error",
        "predicted_over_actual",
        "plain",
        "Half the range from minimum to maximum, over the error; a safe bound is well above 1.",
    ),
    (
        "Rank correlation",
        "spearman",
        "plain",
        "Spearman's, of predicted and actual error; 0 when the spread does not tell which values are worse.",
    ),
    (
        "Miscalibration area",
        "miscalibration_area",
        "plain",
        "0 when Gaussian intervals hold their nominal share of the truth, 0.5 at worst.",
    ),
    ("Errors within 1 std", "within_1std", "share", "68.3 % for a calibrated Gaussian."),
    ("Errors within 2 std", "within_2std", "share", "95.4 % for a calibrated Gaussian."),
    (
        "Beyond the training data",
        "extrapolates",
        "share",
        "Configurations that the training data determine less well than any of their own.",
    ),
)


def metric_rows(rows: Sequence[PointwiseMetrics]) -> tuple[MetricRow, ...]:
    """Write pointwise metrics as text, one row per metric and one column per kind.

    Parameters
    ----------
    rows : sequence of PointwiseMetrics
        One per kind.

    Returns
    -------
    tuple of MetricRow
        Each with its meaning.
    """
    return tuple(
        MetricRow(name, tuple(_metric_text(row, field, form) for row in rows), meaning)
        for name, field, form, meaning in _METRICS
    )


def _metric_text(row: PointwiseMetrics, field: str, form: str) -> str:
    value = getattr(row, field)
    if form == "interval":
        return MISSING if value is None else f"{percent(row.violation_low)} to {percent(row.violation_high)}"
    if form == "count":
        return f"{value:,}"
    if form == "share":
        return percent(value)
    if form == "plain" or value is None:
        return number(value, 2)
    style = KINDS[row.kind]
    return f"{number(value * style.scale)} {style.unit}"


_CSV_SCALED = ("rmse", "mae", "mean_std")
_CSV_PLAIN = (
    "r_squared",
    "error_over_std",
    "n_violations",
    "violation",
    "violation_low",
    "violation_high",
    "n_violations_all",
    "violation_all",
    "predicted_over_actual",
    "spearman",
    "miscalibration_area",
    "within_1std",
    "within_2std",
    "extrapolates",
)


def write_pointwise_csv(path: str | Path, rows: Iterable[PointwiseMetrics]) -> None:
    """Write pointwise metrics as CSV, one line per kind and group.

    Parameters
    ----------
    path : str or Path
        For example ``pointwise_metrics.csv``.
    rows : iterable of PointwiseMetrics
        Over all groups (their ``group`` is empty) and group by group. Energies in eV/atom, forces in
        eV/A, stresses in GPa; shares from 0 to 1.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["kind", "group", "unit", "count", "n_roundoff", *_CSV_SCALED, *_CSV_PLAIN])
    for row in rows:
        style = KINDS[row.kind]
        scaled = [_cell(getattr(row, name), style.csv_scale) for name in _CSV_SCALED]
        plain = [_cell(getattr(row, name)) for name in _CSV_PLAIN]
        head = [row.kind.name.lower(), row.group or "", style.csv_unit, row.count, row.n_roundoff]
        writer.writerow([*head, *scaled, *plain])
    write_text(path, stream.getvalue())


def _cell(value: Any, scale: float = 1.0) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value * scale:.10g}"
