"""Rank correlations over families of properties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from snapuq.analysis.ranking import rank_correlations
from snapuq.core.result import PropertyResult, Quantity

NAMES = ["bcc", "fcc", "hcp", "A15"]


def results(
    member: int, energies: list[float], family: str = "phase", names: list[str] = NAMES
) -> list[PropertyResult]:
    found = []
    for name, e in zip(names, energies, strict=False):
        values = (
            {"energy": e} if name == names[0] else {"energy": e, f"energy_above_{names[0]}": e - energies[0]}
        )
        quantities = {key: Quantity(v, "eV/atom") for key, v in values.items()}
        found.append(PropertyResult("", f"{family}-{name}", member, quantities))
    return found


def test_orders_that_agree_differ_and_are_reversed():
    data = results(0, [1, 2, 3, 4]) + results(1, [1, 2, 3, 9]) + results(2, [4, 3, 2, 1])
    # 1 - 6 * sum d^2 / (n (n^2 - 1)) with d = 1, -1, 0, 0.
    data += results(3, [2, 1, 3, 4])
    (found,) = rank_correlations(data)
    assert (found.family, found.quantity, found.n_members) == ("phase", "energy", 3)
    assert found.labels == tuple(f"phase-{n}" for n in NAMES)
    assert found.members_mle == pytest.approx((-1.0, 0.8, 1.0))
    assert found.mle_reference is None
    assert found.members_reference is None


def test_a_reference_potential_and_given_values():
    data = results(0, [1, 2, 3, 4]) + results(1, [1, 2, 3, 4]) + results(-1, [4, 3, 2, 1])
    assert rank_correlations(data)[0].mle_reference == pytest.approx(-1.0)
    given = {(f"phase-{n}", "energy"): float(i) for i, n in enumerate(NAMES)}
    (found,) = rank_correlations(data, given)
    assert found.mle_reference == pytest.approx(1.0)
    assert found.members_reference == pytest.approx((1.0, 1.0, 1.0))
    # An incomplete reference is none.
    del given["phase-hcp", "energy"]
    assert (
        rank_correlations(results(0, [1, 2, 3, 4]) + results(1, [1, 2, 4, 3]), given)[0].mle_reference is None
    )


def test_members_without_all_values_are_not_counted():
    data = results(0, [1, 2, 3, 4]) + results(1, [1, 2, 3]) + results(2, [1, 2, 3, 4])
    assert rank_correlations(data)[0].n_members == 1
    assert rank_correlations(results(0, [1, 2, 3, 4]) + results(1, [1, 2, 3])) == ()


@pytest.mark.parametrize("energies", [[1.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
def test_nothing_is_said_of_too_few_or_equal_items(energies):
    assert rank_correlations(results(0, energies) + results(1, energies)) == ()


def test_only_what_properties_declare_is_ranked():
    assert rank_correlations(results(0, [1, 2, 3], "eos") + results(1, [1, 2, 3], "eos")) == ()
    assert rank_correlations(results(0, [1, 2, 3], "made_up") + results(1, [1, 2, 3], "made_up")) == ()


def test_the_sign_is_that_of_another_measure_of_order():
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = rng.permutation(4.0 + np.arange(4)), rng.permutation(np.arange(4))
        (found,) = rank_correlations(results(0, list(first)) + results(1, list(second)))
        tau = kendalltau(first, second).statistic
        assert abs(found.members_mle[1] - tau) < 0.5


def test_phases_of_different_composition_have_no_order():
    # As of Cu, Ni and CuNi: two crystals each, six in all.
    pairs = (["fcc-Cu", "hcp-Cu"], ["fcc-Ni", "bcc-Ni"], ["B2-Cu-Ni", "L1_0-Cu-Ni"])
    data = [r for m in (0, 1) for names in pairs for r in results(m, [1.0, 2.0], names=names)]
    assert rank_correlations(data) == ()
    # An entry with enough crystals has one of its own, and names its ground state.
    more = [r for m in (0, 1) for r in results(m, [1.0, 3.0, 2.0], names=["fcc-Al", "hcp-Al", "bcc-Al"])]
    (found,) = rank_correlations(data + more)
    assert (found.group, len(found.labels)) == ("fcc-Al", 3)


def test_surfaces_of_different_elements_are_ranked_apart():
    def surfaces(member: int, element: str, energies: list[float]) -> list[PropertyResult]:
        planes = ("100", "110", "111")
        return [
            PropertyResult(
                "", f"surface-fcc-{element}-{plane}", member, {"surface_energy": Quantity(e, "J/m^2")}
            )
            for plane, e in zip(planes, energies, strict=True)
        ]

    data = [r for m in (0, 1) for x in ("Cu", "Ni") for r in surfaces(m, x, [1.0, 2.0, 3.0])]
    assert [(r.group, len(r.labels)) for r in rank_correlations(data)] == [("Cu", 3), ("Ni", 3)]
