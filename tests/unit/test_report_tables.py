"""Numbers as text, table rows, and the CSV."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.analysis.calibration import PointwiseMetrics
from snapuq.core.design import RowKind
from snapuq.core.result import PropertySummary
from snapuq.report.counts import alike_line, is_alike
from snapuq.report.tables import (
    curve_ratio,
    metric_rows,
    property_row,
    write_pointwise_csv,
)
from snapuq.report.text import (
    decimals,
    display_unit,
    fixed,
    member_ranges,
    number,
    percent,
    percent_range,
)
from snapuq.units import GPA_PER_EV_A3


def summary(**changes) -> PropertySummary:
    values = {
        "label": "elastic bcc",
        "quantity": "C11",
        "unit": "GPa",
        "mle": 521.234,
        "mean": 515.9,
        "std": 24.31,
        "minimum": 443.2,
        "maximum": 589.7,
        "quantiles": {},
        "reference": 552.1,
        "n_members": 500,
        "n_failed": 3,
        "n_unconverged": 0,
        "n_reconfigured": 1,
        "failures": {"unstable": (1, 2, 9)},
    }
    return PropertySummary(**{**values, **changes})


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 3, "0"),
        (0.12345, 3, "0.123"),
        (-3.2, 3, "−3.20"),
        (123456.0, 3, "123456"),
        (1.23e-9, 3, "1.23e−09"),
        (1.23e12, 3, "1.23e+12"),
        (None, 3, "–"),
        (float("nan"), 3, "–"),
    ],
)
def test_number(value, digits, text):
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.0234, "2.3 %"),
        (0.0007, "0.07 %"),
        (1e-6, "< 0.01 %"),
        (0.9997, "> 99.9 %"),
        (None, "–"),
    ],
)
def test_percent_never_rounds_to_none_or_all(share, text):
    assert percent(share) == text


def test_percent_range_names_the_unit_once():
    assert percent_range(0.005, 0.012) == "0.50 to 1.2 %"
    assert percent_range(0.0, 1.0) == "0 to 100 %"


def test_decimals_follow_the_spread():
    assert fixed(3.27654, decimals(0.0931)) == "3.277"
    assert fixed(521.234, decimals(24.3)) == "521"
    assert fixed(-0.0001, 2) == "0.00"
    assert decimals(None, 12.5) == 2
    assert decimals(0.0, 0.0) == 3
    assert decimals(float("nan"), None) == 3


def test_units_are_typeset():
    assert display_unit("A^3") == "Å³"
    assert display_unit("J/m^2") == "J/m²"
    assert display_unit("eV/A") == "eV/Å"
    assert display_unit("A") == "Å"
    assert display_unit("GPa") == "GPa"
    assert display_unit("") == ""


@given(st.sets(st.integers(-1, 60)))
def test_member_ranges_name_every_member(members):
    found: set[int] = set()
    for part in filter(None, member_ranges(members).split(", ")):
        if part in ("reference", "MLE"):
            found.add(-1 if part == "reference" else 0)
        else:
            first, _, last = part.partition("–")
            found |= set(range(int(first), int(last or first) + 1))
    assert found == members


def test_property_row_writes_to_two_digits_of_the_std():
    row = property_row(summary())
    assert (row.mle, row.mean, row.std, row.minimum, row.maximum) == ("521", "516", "24", "443", "590")
    assert (row.reference, row.ratio, row.inside) == ("552", "1.3", "yes")
    assert (row.members, row.remarks) == ("497 of 500", "3 failed, 1 reconfigured")
    assert (row.sound_minimum, row.sound_maximum) == ("", "")
    assert property_row(summary(reference=700.0)).inside == "no"


def test_property_row_shows_the_envelope_without_flagged_members_where_it_differs():
    row = property_row(summary(sound_minimum=443.4, sound_maximum=561.0, narrowing=0.0123))
    assert (row.minimum, row.sound_minimum) == ("443", "")
    assert (row.maximum, row.sound_maximum) == ("590", "561")
    assert row.remarks.replace("\N{NO-BREAK SPACE}", " ") == "3 failed (width −1.2 %), 1 reconfigured"
    assert "width" not in property_row(summary(n_failed=0, narrowing=0.0)).remarks


def test_counts_have_no_decimals_and_those_that_say_nothing_are_in_one_line():
    count = {"unit": "", "quantity": "negative_modes", "n_failed": 0, "n_reconfigured": 0, "failures": {}}
    same = summary(**count, mle=1.0, mean=1.0, std=0.0, minimum=1.0, maximum=1.0, reference=None)
    assert is_alike(same) and alike_line([same]) == "elastic bcc: negative_modes 1"
    assert property_row(same).mle == "1"
    assert not is_alike(replace(same, reference=2.0)) and not is_alike(replace(same, mle=None))
    row = property_row(replace(same, mean=0.75, std=0.43, minimum=0.0))
    assert (row.mle, row.minimum, row.mean) == ("1", "0", "0.75")
    # A number with a unit is no count, even if it happens to be whole.
    assert not is_alike(replace(same, unit="GPa"))


def test_the_error_of_implicit_values_stands_beside_them():
    assert "implicit" not in property_row(summary()).remarks
    assert "implicit, ± 0.034" in property_row(summary(propagation_error=0.0341)).remarks.replace("\xa0", " ")


def test_property_row_without_numbers():
    nothing = dict.fromkeys(("mle", "mean", "std", "minimum", "maximum"))
    row = property_row(summary(**nothing, n_failed=500))
    assert (row.mle, row.std, row.inside, row.ratio, row.members) == ("–", "–", "–", "–", "0 of 500")
    assert property_row(summary(reference=None)).inside == "–"


def test_curve_points_are_recognised():
    assert curve_ratio("energy_at_0.900") == pytest.approx(0.9)
    assert curve_ratio("energy_at_rest") is None
    assert curve_ratio("energy_at_nan") is None
    assert curve_ratio("bulk_modulus") is None


def metric(kind: RowKind, group: str | None, rmse: float | None = 0.01) -> PointwiseMetrics:
    return PointwiseMetrics(
        kind,
        group,
        1000,
        7,
        rmse,
        0.008,
        0.01,
        0.8,
        22,
        0.022,
        0.0138,
        0.0331,
        29,
        0.0288,
        3.1,
        0.5,
        0.02,
        0.68,
        0.95,
        0.125,
    )


def test_metric_rows_carry_units():
    rows = {
        r.name: r.values for r in metric_rows([metric(RowKind.ENERGY, None), metric(RowKind.STRESS, None)])
    }
    assert rows["Root mean square error"] == ("10.0 meV/atom", f"{0.01 * GPA_PER_EV_A3:.2f} GPa")
    assert rows["Envelope violation"] == ("2.2 %", "2.2 %")
    assert rows["Beyond the training data"] == ("12.5 %", "12.5 %")
    assert rows["its 95 % interval"][0] == "1.4 % to 3.3 %"
    assert metric_rows([metric(RowKind.FORCE, None, rmse=None)])[1].values == ("–",)


def test_csv_round_trip(tmp_path: Path):
    path = tmp_path / "pointwise_metrics.csv"
    hostile = 'a,"b"\n<script>'
    write_pointwise_csv(path, [metric(RowKind.STRESS, None), metric(RowKind.FORCE, hostile, rmse=None)])
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["kind"], r["group"], r["unit"]) for r in rows] == [
        ("stress", "", "GPa"),
        ("force", hostile, "eV/A"),
    ]
    # Ten digits are written.
    assert float(rows[0]["rmse"]) == pytest.approx(0.01 * GPA_PER_EV_A3, rel=1e-9)
    assert rows[1]["rmse"] == ""
    assert rows[0]["n_violations"] == "22"
    assert rows[0]["extrapolates"] == "0.125"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
