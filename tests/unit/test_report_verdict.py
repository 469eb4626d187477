"""The verdict: never good where the MLE cannot hold a crystal, or where data were not fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from snapuq.analysis.calibration import metrics
from snapuq.analysis.property_scores import property_scores
from snapuq.core.design import RowKind
from snapuq.core.pointwise import PointwiseTable
from snapuq.core.result import PropertyResult, PropertySummary, Quantity
from snapuq.report.evaluation import evaluation_lines, poor_fit_warnings
from snapuq.report.inputs import ReportInputs
from snapuq.report.soundness import is_meant_stable, tensor_stability
from snapuq.report.tables import property_row
from snapuq.report.verdict import verdict


def elastic(label: str, *eigenvalues: float, first: int = 0) -> list[PropertyResult]:
    """Results of the MLE (or the reference, with `first` -1), then of the members."""
    return [
        PropertyResult("", label, member, {"born_min_eigenvalue": Quantity(value, "GPa")})
        for member, value in enumerate(eigenvalues, first)
    ]


def phases(**above: float) -> list[PropertyResult]:
    """An entry of phases, of the MLE; the first is the ground state."""
    first = next(iter(above))
    return [
        PropertyResult(
            "", f"phase-{name}", 0, {"a" if name == first else f"energy_above_{first}": Quantity(value, "")}
        )
        for name, value in above.items()
    ]


def told(results: list[PropertyResult], std: float = 0.1, **changes) -> list[tuple[str, str]]:
    summary = PropertySummary("p", "q", "eV", 1.0, 1.0, std, 0.0, 2.0, {}, 1.1, 10, 0, 0, 0, {})
    inputs = ReportInputs("x", {}, "", {}, 10, results=results, **changes)
    return list(verdict(inputs, property_scores([summary]), (), ()))


@pytest.mark.parametrize(("std", "level"), [(0.1, "good"), (0.49, "good"), (0.8, "warn")])
def test_an_envelope_as_wide_as_the_values_is_not_good(std: float, level: str):
    assert told([], std)[0][0] == level


def test_an_unstable_mle_is_poor_in_a_host():
    host = [PropertyResult("", "vacancy-fcc", 0, {})]
    properties, stability = told([*elastic("elastic-fcc", -187.0, -3.0, 5.0), *host])
    assert properties[0] == "bad" and "cannot hold a crystal" in properties[1]
    assert stability[0] == "bad"
    assert "the MLE itself is elastically unstable in elastic-fcc" in stability[1]
    assert "1 of 2 members" in stability[1]
    # Found when the members were drawn, where no elastic constants were asked for.
    properties, stability = told(host, unstable=["fcc", "bcc"])
    assert (properties[0], stability[0]) == ("bad", "bad") and "unstable in fcc" in stability[1]


def test_a_crystal_that_is_unstable_in_reality_too_is_no_fault_of_the_fit():
    results = elastic("elastic-B2-Cu-Ni", -14.0, -3.0)
    # Alone, it is taken for the ground state.
    assert [level for level, _ in told(results)] == ["bad", "bad"]
    lower = phases(**{"B2-Cu-Ni": 0.0, "L1_0-Cu-Ni": -0.1})
    properties, stability = told([*results, *lower])
    assert (properties[0], stability[0]) == ("good", "warn") and "as the real crystal may be" in stability[1]
    properties, stability = told(elastic("elastic-B2-Cu-Ni", -9.0, -14.0, -3.0, first=-1))
    assert (properties[0], stability[0]) == ("good", "warn") and "and the reference" in stability[1]


def test_which_crystals_are_meant_to_be_stable():
    entries = [*phases(fcc=0.0, hcp=0.1), *phases(**{"bcc-Ni": 0.0, "fcc-Ni": -0.2})]
    assert [is_meant_stable(c, entries) for c in ("fcc", "hcp", "bcc-Ni", "fcc-Ni", "A15")] == [
        True,
        False,
        False,
        True,
        True,
    ]
    surface = PropertyResult("", "surface-hcp-001", 0, {})
    assert is_meant_stable("hcp", [*entries, surface])


def test_moduli_of_an_unstable_tensor_are_marked():
    (stability,) = tensor_stability(elastic("elastic-fcc", -187.0, -3.0, 5.0))
    modulus = PropertySummary(
        "elastic-fcc", "shear_modulus", "GPa", 2224.0, 20.0, 100.0, -300.0, 700.0, {}, None, 2, 0, 0, 0, {}
    )
    row = property_row(modulus, stability)
    assert row.is_mle_unsound and "1 elastically unstable, MLE unstable: no modulus" in row.remarks
    constant = property_row(replace(modulus, quantity="C11"), stability)
    assert not constant.is_mle_unsound and "unstable" not in constant.remarks


def stresses(sign: float, leverage: float) -> PointwiseTable:
    rng = np.random.default_rng(0)
    mle = rng.normal(0.0, 1.0, 200)
    truth = sign * mle + 0.01 * rng.normal(size=200)
    return PointwiseTable(
        identifier=np.array([f"c{i}" for i in range(200)]),
        group=np.full(200, "bulk"),
        kind=np.full(200, RowKind.STRESS, dtype=np.int8),
        truth=truth,
        mle=mle,
        mean=mle,
        std=np.full(200, 0.0125),
        minimum=mle - 0.05,
        maximum=mle + 0.05,
        leverage=np.full(200, leverage),
        is_roundoff=np.zeros(200, dtype=bool),
    )


def test_fitted_stresses_of_the_wrong_sign_are_warned_of():
    assert poor_fit_warnings(metrics(stresses(1.0, 0.5))) == []
    flipped = stresses(-1.0, 0.5)
    (warning,) = poor_fit_warnings(metrics(flipped))
    assert "opposite signs (correlation -1.00)" in warning and "positive under tension" in warning
    assert f"warning: {warning}" in evaluation_lines(flipped, None, 500)
    inputs = ReportInputs("x", {}, "", {}, 10)
    levels = [level for level, _ in verdict(inputs, property_scores([]), metrics(flipped), ())]
    assert levels == ["none", "bad", "bad"]


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_stresses_that_are_not_fitted_are_never_good(sign: float):
    # Relative to training rows that there are none of, a leverage is infinite.
    part = stresses(sign, np.inf)
    assert poor_fit_warnings(metrics(part)) == []
    assert evaluation_lines(part, None, 500)[0].startswith("stresses (not fitted): RMSE")
    inputs = ReportInputs("x", {}, "", {}, 10)
    found = list(verdict(inputs, property_scores([]), metrics(part), ()))
    assert [level for level, _ in found] == ["none", "none"]
    assert "Stresses: not fitted (weight 0), RMSE" in found[1][1]
