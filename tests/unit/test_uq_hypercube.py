"""The scaled box: calibration on a misspecified polynomial, sampling, files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from polynomial import blocks, columns, stream

from snapuq.core.potential import ReferencePair
from snapuq.errors import InputError
from snapuq.uq.calibrate import critical_quantile
from snapuq.uq.crossval import assign_folds
from snapuq.uq.hypercube import HypercubePosterior, fit_hypercube
from snapuq.uq.leastsquares import fold_factors, merge_all
from snapuq.uq.leverage import LeverageScale
from snapuq.uq.rules import RULES

REFERENCE = ReferencePair("zbl 4.0 4.8", ("* * 74 74",))


def posterior(rule: str = "block", violation: float | None = 0.02, n: int = 300) -> HypercubePosterior:
    s = stream(blocks(n, seed=11))
    return fit_hypercube(
        s,
        RULES[rule].solve(s, merge_all(list(fold_factors(s).values()))),
        rule=RULES[rule],
        settings=columns(),
        reference=REFERENCE,
        leverage=LeverageScale((0.1, 0.1, 0.0), (1.0, 1.0, 0.0)),
        violation=violation,
        seed=1,
    )


def test_calibrated_envelope_holds_unseen_data_at_the_target() -> None:
    post = posterior()
    members = post.sample(500, seed=5).coefficients
    test = blocks(1500, seed=99)
    found = []
    for kind in (0, 1):
        rows = np.concatenate([b.rows[b.kind == kind] for b in test])
        target = np.concatenate([b.target[b.kind == kind] for b in test])
        spread = rows @ members.T
        found.append(np.mean((target < spread.min(axis=1)) | (target > spread.max(axis=1))))
    # 300 training configurations pin a 2 % violation to within about a factor of three.
    assert 0.005 < np.mean(found) < 0.06
    expected = post.diagnostics["calibration"]
    mean = 0.5 * (expected["energy"]["violation"] + expected["force"]["violation"])
    assert np.isclose(mean, 0.02, atol=1.0 / 300)


def test_uncalibrated_scale_is_one() -> None:
    assert posterior("pointwise", None).scale == 1.0


def test_a_larger_ensemble_begins_with_the_same_members() -> None:
    post = posterior()
    large = post.sample(300, seed=3).coefficients
    # Odd numbers: BLAS treats the last rows of a product by other instructions.
    for n in (1, 7, 63, 64, 65, 101, 299):
        assert np.array_equal(post.sample(n, seed=3).coefficients, large[:n])


def test_members_are_uniform_in_the_box() -> None:
    post = posterior()
    n = 20000
    along = np.linalg.lstsq(post.box.axes, (post.sample(n, seed=2).coefficients - post.mle).T, rcond=None)[
        0
    ].T
    low, high = post.scale * post.box.low, post.scale * post.box.high
    assert (along >= low - 1e-9).all()
    assert (along <= high + 1e-9).all()
    sigma = (high - low) / np.sqrt(12.0)
    assert np.all(np.abs(along.mean(axis=0) - 0.5 * (low + high)) < 5 * sigma / np.sqrt(n))
    assert np.allclose(along.std(axis=0), sigma, rtol=0.03)
    assert np.allclose(
        post.sample(n, seed=2).coefficients.mean(axis=0),
        post.mean,
        atol=5 * np.abs(post.box.axes @ sigma).max() / np.sqrt(n) + 1e-2,
    )


def test_same_seed_same_members_and_exactly_as_many() -> None:
    post = posterior()
    a, b, c = post.sample(37, 4), post.sample(37, 4), post.sample(37, 5)
    assert len(a) == 37
    assert np.array_equal(a.coefficients, b.coefficients)
    assert not np.array_equal(a.coefficients, c.coefficients)
    with pytest.raises(InputError, match="members"):
        post.sample(0, 1)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_file_round_trip(tmp_path: Path, rule: str) -> None:
    post = posterior(rule)
    post.save(tmp_path / "posterior.h5")
    again = HypercubePosterior.load(tmp_path / "posterior.h5")
    assert again.digest == post.digest
    assert again.rule == rule
    assert dict(again.diagnostics) == dict(post.diagnostics)
    assert np.array_equal(again.sample(10, 1).coefficients, post.sample(10, 1).coefficients)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "posterior.h5"
    posterior().save(path)
    with h5py.File(path, "r+") as file:
        file["mle"][0] += 1.0
    with pytest.raises(InputError, match="does not match its digest"):
        HypercubePosterior.load(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        HypercubePosterior.load(path)


def test_few_configurations_are_warned_about() -> None:
    texts = " ".join(posterior(n=20).diagnostics["warnings"])
    assert "20 configurations" in texts


def test_critical_quantile_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.exponential(size=300), rng.exponential(size=41) * 2.0]
    for target in (0.001, 0.02, 0.1, 0.5):
        scale = critical_quantile(groups, target)

        def violation(s: float) -> float:
            return float(np.mean([(g > s).mean() for g in groups]))

        assert violation(scale) <= target
        smaller = max(v for g in groups for v in g if v < scale)
        assert violation(smaller) > target


def test_folds_are_even_and_seeded() -> None:
    folds = assign_folds(103, 5, seed=1)
    assert sorted(np.bincount(folds)) == [20, 20, 21, 21, 21]
    assert np.array_equal(folds, assign_folds(103, 5, seed=1))
    assert not np.array_equal(folds, assign_folds(103, 5, seed=2))
