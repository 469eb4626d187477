"""Calibration in words: terminal lines and tables of the fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from snapuq.analysis.calibration import metrics
from snapuq.analysis.expectation import compare
from snapuq.analysis.property_scores import property_scores
from snapuq.core.pointwise import PointwiseTable
from snapuq.report.evaluation import (
    agreement,
    comparison_rows,
    evaluation_lines,
    is_poor_fit,
    poor_fit_warnings,
)
from snapuq.report.fit_tables import fit_rows, group_rows, member_rows
from snapuq.report.inputs import ReportInputs
from snapuq.report.verdict import verdict


def table(n: int, n_outside: int) -> PointwiseTable:
    """Energies with an envelope from -1 to 1 about a fit that follows them."""
    truth = np.where(np.arange(n) < n_outside, 2.0, 0.5)
    trend, one = np.arange(n) % 9 - 4.0, np.ones(n)
    return PointwiseTable(
        identifier=np.array([f"c{i}" for i in range(n)]),
        group=np.where(np.arange(n) % 2, "bulk", "surface"),
        kind=np.zeros(n, dtype=np.int8),
        truth=truth + trend,
        mle=trend,
        mean=trend,
        std=one,
        minimum=trend - one,
        maximum=trend + one,
        leverage=0.5 * one,
        is_roundoff=np.zeros(n, dtype=bool),
    )


def calibration(violation: float) -> dict[str, object]:
    energy = {
        "violation": violation,
        "low": violation / 2,
        "high": 2 * violation,
        "ratio": 0.5,
        "n_rows": 400,
        "unscaled": 0.3,
        "by_members": [[20, 5 * violation], [100, 2 * violation], [500, violation], [2000, 0.0]],
    }
    return {
        "scale": 2.0,
        "target": 0.02,
        "members": 500,
        "folds": 5,
        "fold_scales": [1.0, 3e9],
        "energy": energy,
        "force": None,
    }


def test_terminal_lines():
    part = table(1000, 10)
    accuracy = "RMSE 536 meV/atom, R^2 0.997"
    assert evaluation_lines(part, calibration(0.008), 500) == [
        f"energies: {accuracy}; 1.0 % outside the envelope (expected 0.80 %, 0.40 to 1.6 %), |error|/std 0.52"
    ]
    assert evaluation_lines(part, calibration(0.008), 100) == [
        f"energies: {accuracy}; 1.0 % outside the envelope (expected 1.6 % of 100 members), |error|/std 0.52"
    ]
    assert evaluation_lines(part, None, 500) == [
        f"energies: {accuracy}; 1.0 % outside the envelope, |error|/std 0.52"
    ]


def test_a_poor_fit_is_warned_of_and_never_good():
    part = table(1000, 10)
    assert poor_fit_warnings(metrics(part)) == []
    # As where forces were labelled with the wrong sign: the error is twice the truth.
    flipped = replace(part, truth=-part.truth)
    (energy,) = metrics(flipped)
    assert energy.r_squared == pytest.approx(1.0 - np.var(part.truth + part.mle) / np.var(part.truth))
    (warning,) = poor_fit_warnings([energy])
    assert "describe a poor fit" in warning and "R^2 -" in warning
    assert f"warning: {warning}" in evaluation_lines(flipped, None, 500)
    # Wide error bars hold all of these values, and yet nothing is good.
    wide = replace(flipped, std=10.0 * flipped.std, minimum=flipped.mle - 40.0, maximum=flipped.mle + 40.0)
    overall = metrics(wide)
    scores = property_scores(())
    inputs = ReportInputs("x", {}, "", {}, 500, pointwise=wide)
    told = list(verdict(inputs, scores, overall, compare(calibration(0.0), overall, 500)))
    assert [level for level, text in told if text.startswith("Fit: energies: RMSE")] == ["bad"]
    assert "good" not in [level for level, _ in told]
    assert "good" in [level for level, _ in verdict(inputs, scores, metrics(part), ())]


def test_values_that_are_all_alike_have_no_variance_to_explain():
    part = table(10, 0)
    (found,) = metrics(replace(part, truth=np.ones(10)))
    assert found.r_squared is None and not is_poor_fit(found)


def test_groups_that_extrapolate_are_warned_about():
    part = table(100, 0)
    far = replace(part, leverage=np.where(part.group == "surface", 3.0, 0.5))
    assert evaluation_lines(far, None, 500)[1:] == [
        "warning: test group 'surface' lies beyond the training data in 100 % of its configurations: "
        "its envelope may miss"
    ]


def test_rows_of_roundoff_alone_give_no_line():
    part = replace(table(10, 0), is_roundoff=np.ones(10, dtype=bool))
    assert evaluation_lines(part, calibration(0.01), 500) == []


@pytest.mark.parametrize(
    ("n_outside", "level", "words"),
    [
        (10, "good", "as many energies lie outside the envelope as"),
        (90, "warn", "energies lie outside the envelope more often (9.0 % instead of 1.0 %)"),
        (0, "warn", "energies lie outside the envelope less often (0 % instead of 1.0 %)"),
    ],
)
def test_agreement_in_words(n_outside, level, words):
    told = agreement(compare(calibration(0.01), metrics(table(1000, n_outside)), 500))
    assert told is not None and told[0] == level and words in told[1]


def test_nothing_to_compare_says_nothing():
    assert agreement(compare(None, metrics(table(10, 0)), 500)) is None


def test_comparison_table():
    found = metrics(table(1000, 80))
    rows = comparison_rows(compare(calibration(0.01), found, 500), calibration(0.01), found)
    cells = {row.name: tuple(c.replace("\N{NO-BREAK SPACE}", " ") for c in row.cells) for row in rows}
    # Clopper and Pearson's interval of 80 in 1000 is 6.4 to 9.9 %.
    assert cells["Outside the envelope"] == ("1.0 % (0.50 to 2.0 %)", "8.0 % (6.4 to 9.9 %)", "no: more")
    assert cells["Mean |error| / mean std"] == ("0.50", "0.62", "yes")
    assert cells["Values"] == ("400", "1,000", "")
    assert all(row.meaning.endswith(".") for row in rows)


@pytest.mark.parametrize(
    ("members", "row"),
    [
        (100, ("100", ("2.0 %",), "this run", True)),
        (500, ("500", ("1.0 %",), "this run, calibrated", True)),
        (300, ("300", ("1.3 %",), "this run, interpolated", True)),
        (2000, ("2,000", ("0 %",), "this run, extrapolated", True)),
        (5, ("5", ("–",), "this run, unknown", True)),
        (9000, ("9,000", ("–",), "this run, unknown", True)),
    ],
)
def test_the_runs_own_number_of_members_is_marked(members, row):
    rows = member_rows(calibration(0.01), members)
    assert [(r.members, r.shares, r.remark, r.is_run) for r in rows if r.is_run] == [row]
    assert [int(r.members.replace(",", "")) for r in rows] == sorted({20, 100, 500, 2000, members})


def test_a_calibration_without_rows_has_no_table():
    assert member_rows({**calibration(0.01), "energy": None}, 500) == ()


def test_doubtful_groups():
    def group(violation, extrapolates):
        ratios = {"ratio_energy": None, "ratio_force": 0.7}
        shares = {"violation_energy": None, "violation_force": violation, "extrapolates": extrapolates}
        return {"group": "g", "n_configurations": 1234, **ratios, **shares}

    rows = group_rows([group(0.1, 0.5), group(0.11, 0.0), group(None, 0.51)])
    assert [r.is_doubtful for r in rows] == [False, True, True]
    assert rows[0].violations == ("–", "10.0 %") and rows[0].configurations == "1,234"


def test_fit_numbers_leave_out_what_is_missing():
    assert list(fit_rows({})) == []
    found = {name: value for name, value, _ in fit_rows({"scale": 2e6, "calibration": calibration(0.01)})}
    assert found["Scale"] == "> 10⁶"
    assert found["Scales of the folds alone"] == "1.00, > 10⁶"
    assert found["Share outside at scale 1"] == "energies 30.0 %"
    found = {
        n: v for n, v, _ in fit_rows({"n_configurations": 30, "n_columns": 60, "n_rows": 0, "box_rank": 7})
    }
    assert found["Configurations per coefficient"] == "0.50 (30 / 60)"
    assert found["Directions with uncertainty"] == "7 of 60"
