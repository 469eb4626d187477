"""What the benchmark of propagation calls agreement."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from snapuq.core.result import Quantity


@pytest.fixture(scope="module")
def tasks():
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        yield import_module("propagation_tasks")
    finally:
        sys.path.pop(0)


def run(tasks, energy: float | None, flags=(True, False, ""), failure: str = ""):
    values = None if energy is None else {"formation_energy": Quantity(energy, "eV")}
    return tasks.Run(0.1, 0.05, 3, values, flags, failure)


def agreement(tasks, ours, theirs):
    return tasks.compare("vacancy", {"supercell": 2}, dict(enumerate(ours)), dict(enumerate(theirs)))


def test_the_largest_difference_counts_in_units_of_its_tolerance(tasks) -> None:
    found = agreement(tasks, [run(tasks, 3.0), run(tasks, 3.0 + 5.0e-7)], [run(tasks, 3.0), run(tasks, 3.0)])
    assert found.agreement == pytest.approx(0.5, rel=1.0e-6)
    assert (found.compared, found.worst[0].member) == (2, 1)
    assert agreement(tasks, [run(tasks, 3.1)], [run(tasks, 3.0)]).agreement > 1.0


def test_another_basin_counts_only_where_it_is_told(tasks) -> None:
    lost = run(tasks, 2.0, (True, True, "an atom left its site"))
    found = agreement(tasks, [run(tasks, 3.0), run(tasks, 3.0)], [run(tasks, 3.0), lost])
    assert (found.compared, found.others, found.agreement) == (1, (1,), 0.0)
    # Nothing compared is no agreement.
    assert agreement(tasks, [run(tasks, 3.0)], [lost]).agreement == float("inf")


def test_failures_agree_for_the_same_reason_alone(tasks) -> None:
    ours = [run(tasks, 3.0), run(tasks, None, failure="no_minimum")]
    same = agreement(tasks, ours, [run(tasks, 3.0), run(tasks, None, failure="no_minimum")])
    assert (same.compared, same.failed, same.agreement) == (1, (1,), 0.0)
    for other in (run(tasks, None, failure="crashed"), run(tasks, 3.0)):
        assert agreement(tasks, ours, [run(tasks, 3.0), other]).agreement == float("inf")


def test_tolerances_are_those_of_the_issue(tasks) -> None:
    assert tasks.tolerance("vacancy", "formation_energy", "eV", 3.0, {}) == 1.0e-6
    assert tasks.tolerance("barrier", "barrier", "eV", 1.8, {}) == 1.0e-3
    assert tasks.tolerance("elastic", "C44", "GPa", 160.0, {}) == 0.1
    assert tasks.tolerance("phonon", "f_N_1", "THz", 4.0, {}) == 0.005
    assert tasks.tolerance("phase", "volume", "A^3/atom", 16.0, {}) == pytest.approx(1.6e-4)


def test_what_tells_of_the_search_is_not_compared(tasks) -> None:
    def barrier(value: float, rest: float):
        values = {"barrier": Quantity(value, "eV"), "negative_modes_first": Quantity(rest, "")}
        return tasks.Run(0.1, 0.05, 3, values, (True, False, ""), "")

    found = tasks.compare("barrier", {}, {1: barrier(1.8, 0.0)}, {1: barrier(1.8, 1.0)})
    assert (found.compared, found.agreement) == (1, 0.0)
    assert [d.quantity for d in found.worst] == ["barrier"]
    assert tasks.compare("barrier", {}, {1: barrier(1.8, 0.0)}, {1: barrier(1.9, 0.0)}).agreement > 1.0
