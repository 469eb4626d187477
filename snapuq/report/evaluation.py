"""Expectation and finding on unseen data in words: for the report, and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snapuq.analysis.calibration import PointwiseMetrics, extrapolating_groups, metrics
from snapuq.analysis.dominance import dominance
from snapuq.analysis.expectation import Comparison, compare
from snapuq.core.design import RowKind
from snapuq.core.pointwise import PointwiseTable
from snapuq.report.text import KINDS, MISSING, number, percent, percent_range

#: A fit that explains less of the variance of energies, forces or fitted stresses is poor, whatever its error
#: bars.
LEAST_R_SQUARED = 0.5
#: Said of rows that the training set gives no weight.
NOT_FITTED = "not fitted"
# A correlation of truth and MLE below this is that of data with the other sign.
_OTHER_SIGN = -0.5
_SIGN_HINTS = {
    RowKind.ENERGY: "energies of binding are negative",
    RowKind.FORCE: "forces are minus the gradient of the energy",
    RowKind.STRESS: "ASE's stress is positive under tension, a virial, a pressure or FitSNAP's stress under "
    "compression",
}

_NAMED_EXTRAPOLATION = (
    "test group '{group}' lies beyond the training data in {share} of its configurations: "
    "its envelope may miss"
)


def evaluation_lines(
    table: PointwiseTable, calibration: Mapping[str, Any] | None, n_members: int
) -> list[str]:
    """Sum up an evaluation for the terminal.

    Parameters
    ----------
    table : PointwiseTable
        Predictions of unseen configurations.
    calibration : Mapping or None
        `snapuq.uq.calibrate.Calibration` as plain data; None when nothing was calibrated.
    n_members : int
        Members of the ensemble.

    Returns
    -------
    list of str
        One line per kind of rows, then warnings.
    """
    lines, overall = [], metrics(table)
    for c, m in zip(compare(calibration, overall, n_members), overall, strict=True):
        if c.found is None:
            continue
        expected = ""
        if c.expected is not None:
            known = c.expected_interval
            more = f", {percent_range(*known)}" if known else f" of {n_members} members"
            expected = f" (expected {percent(c.expected)}{more})"
        ratio = "" if c.found_ratio is None else f", |error|/std {number(c.found_ratio, 2)}"
        name = KINDS[c.kind].name.lower() + ("" if m.is_fitted else f" ({NOT_FITTED})")
        lines.append(f"{name}: {accuracy(m)}; {percent(c.found)} outside the envelope{expected}{ratio}")
    told = [*poor_fit_warnings(overall), *extrapolation_warnings(table)]
    return lines + [f"warning: {text}" for text in told]


def accuracy(m: PointwiseMetrics) -> str:
    """Root mean square error and R^2 of the MLE as text.

    Parameters
    ----------
    m : PointwiseMetrics
        Of one kind of rows.

    Returns
    -------
    str
        For example ``RMSE 12 meV/atom, R^2 0.998``.
    """
    style = KINDS[m.kind]
    rmse = MISSING if m.rmse is None else f"{number(m.rmse * style.scale)} {style.unit}"
    return f"RMSE {rmse}, R^2 {MISSING if m.r_squared is None else f'{m.r_squared:.3f}'}"


def is_poor_fit(m: PointwiseMetrics) -> bool:
    """Tell whether the MLE explains too little of one kind of rows.

    Parameters
    ----------
    m : PointwiseMetrics
        Of one kind of rows; stresses are judged only if they are fitted.

    Returns
    -------
    bool
        True if R^2 is below `LEAST_R_SQUARED`.
    """
    is_judged = m.is_fitted or m.kind is not RowKind.STRESS
    return is_judged and m.r_squared is not None and m.r_squared < LEAST_R_SQUARED


def poor_fit_warnings(overall: Sequence[PointwiseMetrics]) -> list[str]:
    """Name the kinds of rows that the MLE does not describe.

    Parameters
    ----------
    overall : sequence of PointwiseMetrics
        One per kind.

    Returns
    -------
    list of str
        One sentence each.
    """
    return [
        f"{KINDS[m.kind].name.lower()}: {accuracy(m)}; the error bars describe a poor fit: {_advice(m)}"
        for m in overall
        if is_poor_fit(m)
    ]


def _advice(m: PointwiseMetrics) -> str:
    if m.correlation is not None and m.correlation < _OTHER_SIGN:
        return (
            f"data and predictions have opposite signs (correlation {m.correlation:.2f}); look at the sign "
            f"convention of the data: {_SIGN_HINTS[m.kind]}"
        )
    return "look at the units and signs of the data, the weights and the potential"


def extrapolation_warnings(table: PointwiseTable) -> list[str]:
    """Name the groups that lie beyond the training data.

    Parameters
    ----------
    table : PointwiseTable
        Predictions of unseen configurations.

    Returns
    -------
    list of str
        One sentence per group of which most configurations do.
    """
    return [
        _NAMED_EXTRAPOLATION.format(group=group, share=percent(share))
        for group, share in extrapolating_groups(table)
    ]


@dataclass(frozen=True)
class ComparisonRow:
    """One quantity, expected and found, as text.

    Parameters
    ----------
    name : str
        The quantity.
    cells : tuple of str
        Expected, found and whether they agree, kind after kind.
    meaning : str
        One sentence.
    """

    name: str
    cells: tuple[str, ...]
    meaning: str


def comparison_rows(
    comparisons: Sequence[Comparison], calibration: Mapping[str, Any], found: Sequence[PointwiseMetrics]
) -> tuple[ComparisonRow, ...]:
    """Write expectation and finding as text.

    Parameters
    ----------
    comparisons : sequence of Comparison
        One per kind.
    calibration : Mapping
        `snapuq.uq.calibrate.Calibration` as plain data.
    found : sequence of PointwiseMetrics
        One per kind, for the numbers of values.

    Returns
    -------
    tuple of ComparisonRow
        Violation without and with round-off rows, ratio, number of values.
    """
    counts = {m.kind: m.count for m in found}

    def values(c: Comparison) -> tuple[str, str, str]:
        expected = calibration.get(c.kind.name.lower())
        known = MISSING if expected is None else f"{expected['n_rows']:,}"
        return known, f"{counts.get(c.kind, 0):,}", ""

    forms = (
        (
            "Outside the envelope",
            lambda c: (
                _share(c.expected, c.expected_interval),
                _share(c.found, c.found_interval),
                _answer(c.agrees, c.expected, c.found),
            ),
            "Share of ab initio values below the lowest or above the highest prediction of the members; in "
            "brackets its 95 % interval.",
        ),
        (
            "… with round-off values",
            lambda c: (MISSING, _share(c.found_all, c.found_all_interval), MISSING),
            "The same share when components that vanish by symmetry are counted, of which error and "
            "envelope are both rounding noise; nothing is expected of it.",
        ),
        (
            "Mean |error| / mean std",
            lambda c: (
                number(c.expected_ratio, 2),
                number(c.found_ratio, 2),
                _answer(c.ratio_agrees, c.expected_ratio, c.found_ratio),
            ),
            "Error of the best fit in units of its error bar: 0.80 is right, less is too wide, more is too "
            "narrow.",
        ),
        ("Values", values, "Single energies and force components that the shares are taken from."),
    )
    return tuple(
        ComparisonRow(name, tuple(cell for c in comparisons for cell in form(c)), meaning)
        for name, form, meaning in forms
    )


def agreement(comparisons: Sequence[Comparison]) -> tuple[str, str] | None:
    """Say in one sentence whether the test bears out the cross-validation.

    Parameters
    ----------
    comparisons : sequence of Comparison
        One per kind.

    Returns
    -------
    level, sentence : str
        ``good`` or ``warn``, and the sentence; None when nothing can be compared.
    """
    known = [c for c in comparisons if c.agrees is not None]
    if not known:
        return None
    off = [
        f"{KINDS[c.kind].name.lower()} lie outside the envelope {'more' if _more(c) else 'less'} often "
        f"({percent(c.found)} instead of {percent(c.expected)})"
        for c in known
        if not c.agrees
    ]
    if not off:
        names = " and ".join(KINDS[c.kind].name.lower() for c in known)
        return "good", f"Calibration: as many {names} lie outside the envelope as cross-validation expected."
    return "warn", f"Calibration: against what cross-validation expected, {' and '.join(off)}."


def dominance_tables(table: PointwiseTable) -> Iterator[dict[str, Any]]:
    """Name the configurations that dominate the mean error of each kind of rows.

    Parameters
    ----------
    table : PointwiseTable
        Predictions of unseen configurations.

    Yields
    ------
    dict
        Heading, unit, counts and rows for the template.
    """
    for kind, style in KINDS.items():
        found = dominance(table, kind)
        if found is None:
            continue
        rows = [
            (
                o.identifier,
                o.group,
                percent(o.share),
                number(o.error * style.scale),
                number(o.std * style.scale),
                number(o.ratio, 2),
            )
            for o in found.outliers
        ]
        yield {
            "name": style.name,
            "unit": style.unit,
            "n": found.n_dominating,
            "of": found.n_configurations,
            "rows": rows,
        }


def _more(c: Comparison) -> bool:
    return c.found is not None and c.expected is not None and c.found > c.expected


def _share(share: float | None, interval: tuple[float, float] | None) -> str:
    parts = [percent(share)] if interval is None else [percent(share), f"({percent_range(*interval)})"]
    # A line may break between the share and its interval only.
    return " ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)


def _answer(agrees: bool | None, expected: float | None, found: float | None) -> str:
    if agrees is None or expected is None or found is None:
        return MISSING
    return "yes" if agrees else "no: more" if found > expected else "no: less"
