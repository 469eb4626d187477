"""The report: one self-contained HTML file, with its figures beside it as PNG and SVG."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from snapuq.analysis.calibration import PointwiseMetrics, group_metrics, metrics
from snapuq.analysis.expectation import Comparison, compare
from snapuq.analysis.property_scores import property_scores
from snapuq.analysis.ranking import rank_correlations
from snapuq.core.design import RowKind
from snapuq.core.pointwise import PointwiseTable
from snapuq.core.result import PropertySummary
from snapuq.provenance import write_text
from snapuq.report.counts import alike_line, is_alike
from snapuq.report.evaluation import (
    agreement,
    comparison_rows,
    dominance_tables,
    extrapolation_warnings,
    poor_fit_warnings,
)
from snapuq.report.failures import failure_rows
from snapuq.report.figures import Drawing, pointwise_drawings
from snapuq.report.fit_tables import calibrated_kinds, fit_rows, further_rows, group_rows, member_rows
from snapuq.report.influence import influence_rows
from snapuq.report.influence_figure import influence_drawings
from snapuq.report.inputs import ReportInputs
from snapuq.report.orders import rank_rows
from snapuq.report.property_figures import property_drawings
from snapuq.report.soundness import tensor_stability
from snapuq.report.style import save_figure, styled
from snapuq.report.tables import is_curve_point, metric_rows, property_row
from snapuq.report.text import KINDS, number, percent
from snapuq.report.verdict import verdict
from snapuq.report.ways import way_rows
from snapuq.results.failures import FAILED_WARNING, failure_warnings


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
    stability = {s.label: s for s in tensor_stability(inputs.results)}
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
        property_rows=[property_row(s, stability.get(s.label)) for s in own if not is_alike(s)],
        alike=alike_line(s for s in own if is_alike(s)),
        curve_rows=[property_row(s) for s in curve],
        property_figures=property_figures,
        rank_rows=rank_rows(rank_correlations(inputs.results, _references(inputs.summaries))),
        failures=failure_rows(inputs.results, inputs.summaries),
        ways=way_rows(inputs.results),
        has_implicit=any(s.propagation_error is not None for s in inputs.summaries),
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
