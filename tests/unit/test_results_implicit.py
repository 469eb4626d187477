"""Errors of values without a relaxation, estimated from members with one."""

from __future__ import annotations

import numpy as np
import pytest

from snapuq.core.result import PropertyResult, Quantity
from snapuq.results.implicit import COVERAGE, N_CHECKED, SAFETY, estimate_errors

LABEL = "vacancy-bcc"


def result(member: int, value: float, gain: float = 0.0, failure: str = "") -> PropertyResult:
    values = {} if failure else {"formation_energy": Quantity(value, "eV")}
    return PropertyResult("", LABEL, member, values, decrement=gain, failure=failure)


def test_the_third_largest_of_sixty_ratios_sets_the_scale() -> None:
    gains = np.linspace(0.5, 1.5, 100)
    ratios = np.random.default_rng(0).uniform(0.0, 0.1, 100)
    sizes = gains + 0.25 * gains.mean()
    predicted = [result(m, 1.0 + ratios[m - 1] * sizes[m - 1], gains[m - 1]) for m in range(1, 101)]
    checks = [result(m, 1.0) for m in range(1, N_CHECKED + 1)]
    found = estimate_errors([result(0, 1.0), *predicted], checks)
    # 58 of 61 is 95 %.
    scale = SAFETY * np.sort(ratios[:N_CHECKED])[-3]
    assert [found[LABEL, m, "formation_energy"] for m in range(1, 101)] == pytest.approx(scale * sizes)
    assert (LABEL, 0, "formation_energy") not in found


def test_the_largest_of_a_few_ratios_sets_the_scale() -> None:
    members = [result(m, 1.0 + 0.1 * m, 1.0) for m in range(1, 4)]
    found = estimate_errors(members, [result(m, 1.0) for m in range(1, 4)])
    assert found[LABEL, 1, "formation_energy"] == pytest.approx(SAFETY * 0.3)


def test_failed_members_and_properties_without_checks_are_left_out() -> None:
    members = [result(1, 1.1, 1.0), result(2, 0.0, failure="unstable"), result(3, 1.3, 1.0)]
    checks = [result(1, 1.0), result(2, 1.0), result(3, 0.0, failure="crashed")]
    found = estimate_errors(members, checks)
    assert set(found) == {(LABEL, 1, "formation_energy"), (LABEL, 3, "formation_energy")}
    assert found[LABEL, 3, "formation_energy"] == pytest.approx(SAFETY * 0.1)
    assert estimate_errors(members, []) == {}


@pytest.mark.parametrize("tail", ["normal", "heavy"])
def test_estimates_cover_what_they_promise(tail: str) -> None:
    """Errors in proportion to the gain, with a random factor; on average over choices of the checked."""
    rng, covered, size = np.random.default_rng(1), [], []
    for _ in range(50):
        gains = rng.gamma(3.0, 1.0, 300)
        factor = rng.normal(size=300) if tail == "normal" else rng.standard_t(4, size=300)
        errors = factor * gains
        members = [result(m, errors[m - 1], gains[m - 1]) for m in range(1, 301)]
        found = estimate_errors(members, [result(m, 0.0) for m in range(1, N_CHECKED + 1)])
        estimates = np.array([found[LABEL, m, "formation_energy"] for m in range(1, 301)])
        others = slice(N_CHECKED, None)
        covered.append(float((np.abs(errors[others]) <= estimates[others]).mean()))
        size.append(float(estimates.mean() / np.sqrt((errors**2).mean())))
    assert np.mean(covered) >= COVERAGE
    # As asked for: at most four times the rms.
    assert np.mean(size) <= 4.0
