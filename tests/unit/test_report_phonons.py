"""The figure of phonons: branches, jumps of the path, ticks and what is left out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from snapuq.core.result import PropertySummary
from snapuq.report.phonon_figures import phonon_drawings
from snapuq.report.property_figures import property_drawings
from snapuq.report.spreads import Spreads
from snapuq.report.style import styled
from snapuq.report.tables import is_curve_point

PATH = [
    *((0.0, "GAMMA"), (0.3, "GAMMA-X"), (0.6, "X"), (0.7, "X-U"), (0.8, "U")),
    *((0.8, "K"), (0.9, "K-SIGMA_0"), (1.0, "SIGMA_0")),
]


def summary(quantity, mle, reference=None, label="phonon-fcc"):
    low, high = mle - 0.1, mle + 0.1
    return PropertySummary(label, quantity, "THz", mle, mle, 0.05, low, high, {}, reference, 20, 0, 0, 0, {})


@pytest.fixture
def summaries():
    bands = [
        summary(f"curve_band_{x:.4f}_{where}_{k}", k * x, k * x + (0.05 if x < 0.5 else 0.5))
        for x, where in PATH
        for k in (1, 2)
    ]
    return [*bands, *(summary(f"curve_dos_{x:.2f}", 2 * x) for x in (0.25, 0.5, 0.75))]


def drawn(summaries):
    with styled():
        return list(phonon_drawings(summaries, Spreads(summaries)))


def test_branches_are_cut_where_the_path_jumps(summaries):
    (drawing,) = drawn(summaries)
    assert drawing.title == "Phonons: fcc"
    left, right = drawing.figure.axes
    lines = [line.get_xdata() for line in left.lines if line.get_label() == "MLE"]
    assert [list(x) for x in lines] == 2 * [[0.0, 0.3, 0.6, 0.7, 0.8], [0.8, 0.9, 1.0]]
    ticks = dict(zip(left.get_xticks(), (t.get_text() for t in left.get_xticklabels()), strict=True))
    assert ticks == {0.0: "Γ", 0.6: "X", 0.8: "U|K", 1.0: "Σ₀"}
    assert list(right.lines[0].get_xdata()) == [0.25, 0.5, 0.75]


def test_references_are_told_apart(summaries):
    (drawing,) = drawn(summaries)
    points = {"reference, inside": 0, "reference, outside": 0}
    for line in drawing.figure.axes[0].lines:
        if line.get_label() in points:
            points[line.get_label()] += len(line.get_xdata())
    assert points == {"reference, inside": 4, "reference, outside": 12}


def test_a_point_without_value_is_left_out(summaries):
    summaries[2] = dataclasses.replace(summaries[2], mle=None)
    summaries[4] = dataclasses.replace(summaries[4], minimum=float("nan"))
    (drawing,) = drawn(summaries)
    first = next(line for line in drawing.figure.axes[0].lines if line.get_label() == "MLE")
    assert list(first.get_xdata()) == [0.0, 0.7, 0.8]
    assert np.isfinite(first.get_ydata()).all()


def test_a_failed_crystal_and_other_properties_have_no_figure(summaries):
    gone = [dataclasses.replace(s, mle=None, minimum=None, maximum=None) for s in summaries]
    assert drawn(gone) == []
    assert drawn([summary("f_X_1", 4.0), summary("energy_at_0.9", 0.1, label="eos-bcc")]) == []


def test_points_are_no_properties_of_their_own(summaries):
    assert all(is_curve_point(s) for s in summaries)
    assert not is_curve_point(summary("f_X_1", 4.0))
    with styled():
        names = [d.name for d in property_drawings([*summaries, summary("f_X_1", 4.0, 4.05)])]
    assert names == ["phonon_1"]
