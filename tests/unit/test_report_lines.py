"""Figures of gamma lines and transformation paths."""

from __future__ import annotations

import numpy as np
import pytest

from snapuq.core.result import PropertySummary
from snapuq.report.property_figures import property_drawings
from snapuq.report.style import styled
from snapuq.report.tables import is_curve_point


def point(label, quantity, unit, mle, reference=None):
    low, high = mle - 0.1, mle + 0.1
    return PropertySummary(label, quantity, unit, mle, mle, 0.05, low, high, {}, reference, 20, 0, 0, 0, {})


def drawn(summaries):
    with styled():
        return {drawing.name: drawing for drawing in property_drawings(summaries)}


def curve(ax):
    (line,) = (line for line in ax.lines if line.get_label() == "MLE")
    return np.array(line.get_xydata()).tolist()


def test_one_figure_for_each_family_with_a_panel_for_each_line():
    gamma = [point("gamma_line-bcc-110", f"curve_gamma_{x:.3f}", "J/m^2", x) for x in (0.25, 0.5, 0.75)]
    fault = [point("gamma_line-fcc-111", f"curve_gamma_{x:.3f}", "J/m^2", x) for x in (0.5, 1.0)]
    path = [point("path-bcc-trigonal", f"curve_path_{x:.3f}", "eV/atom", x) for x in (4.0, 2.0)]
    assert all(map(is_curve_point, [*gamma, *fault, *path]))
    found = drawn([*gamma, *fault, *path])
    assert list(found) == ["paths", "gamma_lines"]
    first, second = found["gamma_lines"].figure.axes
    # A closed line comes back to zero; one that ends in a fault does not.
    assert curve(first) == [[0, 0], [0.25, 0.25], [0.5, 0.5], [0.75, 0.75], [1, 0]]
    assert curve(second) == [[0, 0], [0.5, 0.5], [1, 1]]
    assert "J/m" in first.get_ylabel()
    shown, hidden = found["paths"].figure.axes
    assert curve(shown) == [[1, 0], [2, 2], [4, 4]]
    assert not hidden.get_visible()


@pytest.mark.parametrize("mle", [None, float("nan")])
def test_points_without_a_value_are_left_out(mle):
    points = [
        point("path-bcc-trigonal", f"curve_path_{x:.3f}", "eV/atom", x, x + 0.2) for x in (2.0, 3.0, 4.0)
    ]
    nothing = PropertySummary(
        "path-bcc-trigonal",
        "curve_path_2.500",
        "eV/atom",
        mle,
        None,
        None,
        None,
        None,
        {},
        None,
        0,
        20,
        0,
        0,
        {},
    )
    ax = drawn([*points, nothing])["paths"].figure.axes[0]
    assert [x for x, _ in curve(ax)] == [1.0, 2.0, 3.0, 4.0]
    outside = [line for line in ax.lines if line.get_label() == "reference, outside"]
    assert [len(line.get_xdata()) for line in outside] == [3]
    assert drawn([nothing]) == {}
