"""The report: one self-contained HTML file, with its figures beside it as PNG and SVG."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from snapuq.analysis.calibration import (
    GAUSSIAN_RATIO,
    PointwiseMetrics,
    PropertyScores,
    group_metrics,
    metrics,
    property_scores,
)
from snapuq.analysis.expectation import Comparison, compare
from snapuq.analysis.ranking import rank_correlations
from snapuq.core.design import RowKind
from snapuq.core.pointwise import PointwiseTable
from snapuq.core.result import PropertyResult, PropertySummary
from snapuq.provenance import write_text
from snapuq.report.evaluation import (
    accuracy,
    agreement,
    comparison_rows,
    dominance_tables,
    extrapolation_warnings,
    is_poor_fit,
    poor_fit_warnings,
)
from snapuq.report.failures import failure_rows, is_flagged
from snapuq.report.figures import Drawing, pointwise_drawings
from snapuq.report.fit_tables import calibrated_kinds, fit_rows, further_rows, group_rows, member_rows
from snapuq.report.influence import influence_rows
from snapuq.report.influence_figure import influence_drawings
from snapuq.report.property_figures import property_drawings
from snapuq.report.style import save_figure, styled
from snapuq.report.tables import is_curve_point, metric_rows, property_row, rank_rows
from snapuq.report.text import KINDS, number, percent
from snapuq.report.ways import way_rows
from snapuq.results.failures import FAILED_WARNING, failure_warnings
from snapuq.results.influence import LinearisedQuantity, Share

#: Quantity that tells whether a crystal is elastically stable: positive.
STABILITY = "born_min_eigenvalue"
# Above this share of failed or unstable members an envelope means little.
_TOO_MANY_FAILED = 0.05
# A violation above this is more than the calibration (2 % on average of energies and forces) explains.
_EXPECTED_VIOLATION = 0.05


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Everything that the report shows.

    Parameters
    ----------
    name : str
        Name of the run.
    versions : Mapping
        Package to version.
    config_text : str
        The resolved configuration, YAML.
    diagnostics : Mapping
        Of the fit: plain nested data; its ``warnings`` join those at the top.
    n_members : int
        Members of the ensemble.
    potential : str
        One phrase, for example ``quadratic SNAP for W, twojmax 6``.
    potential_stem : str
        File name of the exported potential without its ending.
    pointwise : PointwiseTable or None
        Predictions at fixed positions.
    pointwise_source : str
        Which configurations these are.
    is_unseen : bool
        Whether the fit has not seen them, so that what was expected of unseen data can be compared.
    summaries : sequence of PropertySummary
        One per quantity.
    results : sequence of PropertyResult
        One per property and member; their failures are named.
    linearised : sequence of LinearisedQuantity
        Error bars to first order.
    shares : sequence of Share
        What sets them.
    warnings : sequence of str
        Shown at the top.
    timings : Mapping or None
        Step to seconds.
    """

    name: str
    versions: Mapping[str, str]
    config_text: str
    diagnostics: Mapping[str, Any]
    n_members: int
    potential: str = "SNAP potential"
    potential_stem: str = "potential"
    pointwise: PointwiseTable | None = None
    pointwise_source: str = "held-out test configurations"
    is_unseen: bool = True
    summaries: Sequence[PropertySummary] = ()
    results: Sequence[PropertyResult] = ()
    linearised: Sequence[LinearisedQuantity] = ()
    shares: Sequence[Share] = ()
    warnings: Sequence[str] = ()
    timings: Mapping[str, float] | None = field(default=None)


def render_report(inputs: ReportInputs, folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png, *.svg``.

    Parameters
    ----------
    inputs : ReportInputs
        What to show.
    folder : str or Path
        The run's folder.

    Returns
    -------
    Path
        The HTML file; it needs no other file and no network.
    """
    folder = Path(folder)
    table = inputs.pointwise if inputs.pointwise is not None and len(inputs.pointwise) else None
    own = [s for s in inputs.summaries if not is_curve_point(s)]
    curve = [s for s in inputs.summaries if is_curve_point(s)]
    scores, curve_scores = property_scores(own), property_scores(curve)
    overall = metrics(table) if table is not None else ()
    calibration = inputs.diagnostics.get("calibration")
    unseen = overall if inputs.is_unseen else ()
    comparisons = compare(calibration, unseen, inputs.n_members)
    failed, told = failure_warnings(inputs.summaries), inputs.diagnostics.get("warnings", ())
    beyond = extrapolation_warnings(table) if table is not None else []
    poor = poor_fit_warnings(overall)
    with styled():
        property_figures = [_embedded(d, folder) for d in property_drawings(inputs.summaries, inputs.results)]
        influence_figures = [
            _embedded(d, folder) for d in influence_drawings(inputs.linearised, inputs.shares)
        ]
        drawings = pointwise_drawings(table) if table is not None else ()
        pointwise_figures = [_embedded(d, folder) for d in drawings]
    environment = Environment(
        loader=PackageLoader("snapuq.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    html = environment.get_template("report.html.j2").render(
        inputs=inputs,
        warnings=list(dict.fromkeys([*poor, *inputs.warnings, *failed, *told, *beyond])),
        verdict=list(verdict(inputs, scores, overall, comparisons)),
        scores=scores,
        curve_scores=curve_scores,
        property_rows=[property_row(s) for s in own],
        curve_rows=[property_row(s) for s in curve],
        property_figures=property_figures,
        rank_rows=rank_rows(rank_correlations(inputs.results, _references(inputs.summaries))),
        failures=failure_rows(inputs.results, inputs.summaries),
        ways=way_rows(inputs.results),
        influence_rows=influence_rows(inputs.linearised, inputs.shares),
        influence_figures=influence_figures,
        kinds=[KINDS[m.kind].name for m in overall],
        metric_rows=metric_rows(overall),
        group_tables=_group_tables(table) if table is not None else [],
        pointwise_figures=pointwise_figures,
        dominance_tables=list(dominance_tables(table)) if table is not None else [],
        calibration=_calibration(inputs, comparisons, unseen) if calibration else None,
        left_out=group_rows(inputs.diagnostics.get("left_out_groups", ())),
        fit_rows=list(fit_rows(inputs.diagnostics)),
        further_rows=list(further_rows(inputs.diagnostics)),
        timings=[(step, f"{seconds:.1f} s") for step, seconds in (inputs.timings or {}).items()],
        member_file=f"members/{inputs.potential_stem}_{1:04d}.snapcoeff",
        number=number,
        percent=percent,
        failed_warning=FAILED_WARNING,
    )
    path = folder / "report.html"
    write_text(path, html)
    return path


def _references(summaries: Iterable[PropertySummary]) -> dict[tuple[str, str], float]:
    return {(s.label, s.quantity): s.reference for s in summaries if s.reference is not None}


def _calibration(
    inputs: ReportInputs, comparisons: Sequence[Comparison], unseen: Sequence[PointwiseMetrics]
) -> dict[str, Any]:
    calibration = inputs.diagnostics["calibration"]
    return {
        "folds": calibration["folds"],
        "members": calibration["members"],
        "kinds": [KINDS[c.kind].name for c in comparisons],
        "rows": comparison_rows(comparisons, calibration, unseen),
        "agreement": agreement(comparisons),
        "by_members": member_rows(calibration, inputs.n_members),
        "by_kinds": [KINDS[k].name for k in RowKind if k.name.lower() in calibrated_kinds(calibration)],
    }


def _embedded(drawing: Drawing, folder: Path) -> dict[str, str]:
    png, _ = save_figure(drawing.figure, folder / "figures", drawing.name)
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    return {"name": drawing.name, "title": drawing.title, "caption": drawing.caption, "png": data}


def _group_tables(table: PointwiseTable) -> list[dict[str, Any]]:
    rows = group_metrics(table)
    kinds = dict.fromkeys(m.kind for m in rows)
    return [
        {
            "name": KINDS[k].name,
            "unit": KINDS[k].unit,
            "scale": KINDS[k].scale,
            "rows": [m for m in rows if m.kind == k],
        }
        for k in kinds
    ]


def verdict(
    inputs: ReportInputs,
    scores: PropertyScores,
    overall: Iterable[PointwiseMetrics],
    comparisons: Sequence[Comparison],
) -> Iterator[tuple[str, str]]:
    """State in plain words whether the error bars can be trusted.

    Parameters
    ----------
    inputs : ReportInputs
        What was run.
    scores : PropertyScores
        Of the properties.
    overall : iterable of PointwiseMetrics
        One per kind of rows.
    comparisons : sequence of Comparison
        What cross-validation expected of them.

    Yields
    ------
    level : {'good', 'warn', 'bad', 'none'}
        For the colour beside the sentence.
    sentence : str
        One sentence.
    """
    if scores.share_inside is None:
        what = "no property was computed" if not scores.n_quantities else "no reference value is known"
        yield "none", f"Properties: {what}, so no envelope can be checked against the truth."
    else:
        level = "good" if scores.share_inside >= 0.95 else "warn" if scores.share_inside >= 0.8 else "bad"
        text = (
            f"Properties: the envelope of the {inputs.n_members} members holds {scores.n_inside} of "
            f"{scores.n_reference} reference values ({percent(scores.share_inside)})"
        )
        if scores.median_relative_std is not None:
            text += f"; the median error bar (std) is {percent(scores.median_relative_std)} of the value"
        yield level, text + "."
    yield from _campaign_verdict(inputs)
    overall = [m for m in overall if m.violation is not None]
    is_poor = any(map(is_poor_fit, overall))
    if overall:
        parts = "; ".join(f"{KINDS[m.kind].name.lower()}: {accuracy(m)}" for m in overall)
        text = f"Fit: {parts.replace('R^2', 'R²')}"
        yield ("bad", f"{text}; the error bars describe a poor fit.") if is_poor else ("good", f"{text}.")
    for m in overall:
        level, words = _calibration_words(m)
        yield (
            level,
            f"{KINDS[m.kind].name}: {percent(m.violation)} of {m.count:,} true values lie outside the "
            f"envelope and the mean error is {number(m.error_over_std, 2)} of the mean std "
            f"({GAUSSIAN_RATIO:.2f} when calibrated); {words}.",
        )
    told = agreement(comparisons)
    if told is not None and not (is_poor and told[0] == "good"):
        yield told


def _campaign_verdict(inputs: ReportInputs) -> Iterator[tuple[str, str]]:
    """Failed tasks and unstable members, which change what the envelopes mean."""
    members = [r for r in inputs.results if r.member > 0]
    best = [r for r in inputs.results if r.member == 0]
    lost = sorted({r.label for r in best if r.failure})
    doubtful = sorted({r.label for r in best if is_flagged(r)})
    if lost:
        yield "bad", f"Campaign: the best fit itself has no value for {', '.join(lost)}."
    if doubtful:
        where = ", ".join(doubtful)
        text = f"Campaign: the best fit itself did not converge or was reconfigured in {where}; "
        yield "bad", text + "its values there are not to be quoted."
    failed, flagged = sum(bool(r.failure) for r in members), sum(map(is_flagged, members))
    if failed or flagged:
        parts = []
        if failed:
            parts.append(
                f"{failed:,} gave no value, so their envelopes are over the others alone and the true ones "
                "may be wider"
            )
        if flagged:
            parts.append(f"{flagged:,} did not converge or were reconfigured; their values are kept")
        yield (
            "bad" if failed + flagged > _TOO_MANY_FAILED * len(members) else "warn",
            f"Campaign: of {len(members):,} property calculations of members, {', and '.join(parts)}. "
            "The reasons are below.",
        )
    for label in dict.fromkeys(r.label for r in members if STABILITY in r.values):
        values = [r.values[STABILITY].value for r in members if r.label == label and STABILITY in r.values]
        unstable = sum(v <= 0 for v in values)
        if unstable:
            share = unstable / len(values)
            yield (
                "bad" if share > _TOO_MANY_FAILED else "warn",
                f"Stability: {unstable} of {len(values)} members are elastically unstable in {label}; what "
                "they give for other properties of that crystal may mean little.",
            )


def _calibration_words(m: PointwiseMetrics) -> tuple[str, str]:
    ratio = m.error_over_std
    if ratio is None:
        return "bad", "the members do not differ"
    if is_poor_fit(m):
        return "bad", "they describe a poor fit"
    if ratio > 1.3:
        return "bad", "the error bars are too narrow"
    if m.violation_low is not None and m.violation_low > _EXPECTED_VIOLATION:
        return "warn", "more true values lie outside than the calibration aims at"
    if ratio < 0.5:
        if m.violation is not None and m.violation > _EXPECTED_VIOLATION:
            return "warn", "the error bars are dominated by a few configurations"
        return "warn", "the error bars are safe but wider than needed"
    return "good", "the error bars tell the size of the error"
