"""The fit stage on real descriptors: every rule by name, cached rows, groups left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snapuq.config import CampaignConfig, load_config
from snapuq.parallel import SERIAL
from snapuq.pipeline.prepare import Prepared, prepare
from snapuq.pipeline.training import fit_posterior, predict_unseen
from snapuq.uq.hypercube import HypercubePosterior
from snapuq.uq.rules import RULES

pytestmark = pytest.mark.lammps

CAMPAIGN = """
name: small
seed: 3
dataset:
  generate:
    elements: [W]
    structures: [bcc, fcc]
    configurations: 90
    max_atoms: 9
    label: {pair_style: eam/alloy, pair_coeff: ["* * W_zhou.eam.alloy W"]}
  test: {fraction: 0.2, by: configuration}
potential: {rcutfac: 4.7, twojmax: 2, quadraticflag: 1, elements: {W: {}}}
fit: {calibrate: {violation: 0.05, folds: 3}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fit")
    (made / "small.yaml").write_text(CAMPAIGN)
    return made


def configured(folder: Path, *overrides: str) -> CampaignConfig:
    return load_config(folder / "small.yaml", overrides, output=folder / "run")


@pytest.fixture(scope="module")
def prepared(folder: Path) -> Prepared:
    return prepare(configured(folder))


def fitted(folder: Path, prepared: Prepared, *overrides: str) -> HypercubePosterior:
    return fit_posterior(prepared, configured(folder, *overrides), folder / "rows", SERIAL, quiet=True)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_fits_by_name(folder: Path, prepared: Prepared, rule: str) -> None:
    posterior = fitted(folder, prepared, f"fit.posterior={rule}", "fit.calibrate=false")
    assert posterior.rule == rule
    assert posterior.scale == 1.0
    members = posterior.sample(20, 1)
    table = predict_unseen(prepared, posterior, members, folder / "rows", SERIAL, quiet=True)
    assert np.isfinite(table.std).all()
    assert (table.std > 0).any()
    again = fitted(folder, prepared, f"fit.posterior={rule}", "fit.calibrate=false")
    assert again.digest == posterior.digest


def test_bayesian_spread_is_the_epistemic_covariance(folder: Path, prepared: Prepared) -> None:
    posterior = fitted(folder, prepared, "fit.posterior=bayesian", "fit.calibrate=false")
    fit = posterior.fit
    assert fit.noise is not None
    covariance = fit.noise**2 * fit.whitener @ fit.whitener.T
    found = np.cov(posterior.sample(4000, 1).coefficients.T)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    # The error of a correlation from 4,000 draws is about 1/sqrt(4000) = 1.6 %; the largest of 21 x 21.
    assert np.abs((found - covariance) / scale).max() < 0.08


@pytest.mark.parametrize("ridge", ["evidence", "1.0e-6"])
def test_ridge_shrinks_the_coefficients(folder: Path, prepared: Prepared, ridge: str) -> None:
    plain = fitted(folder, prepared, "fit.calibrate=false")
    shrunk = fitted(folder, prepared, "fit.calibrate=false", f"fit.ridge={ridge}")
    assert np.linalg.norm(shrunk.mle) < np.linalg.norm(plain.mle)


def test_rows_are_reused_and_repaired(folder: Path, prepared: Prepared) -> None:
    first = fitted(folder, prepared)
    files = sorted((folder / "rows").iterdir())
    assert files
    before = [f.stat().st_mtime_ns for f in files]
    assert fitted(folder, prepared, "seed=3").digest == first.digest
    assert [f.stat().st_mtime_ns for f in files] == before
    files[0].write_bytes(files[0].read_bytes()[:-1000])
    assert fitted(folder, prepared).digest == first.digest
    assert sorted((folder / "rows").iterdir()) == files


def test_groups_are_left_out_in_turn(folder: Path, prepared: Prepared) -> None:
    posterior = fitted(folder, prepared)
    left_out = posterior.diagnostics["left_out_groups"]
    training = [
        c.group for c, t in zip(prepared.dataset.configurations, prepared.is_test, strict=True) if not t
    ]
    large = {g for g in training if training.count(g) >= 30}
    assert {group["group"] for group in left_out} == (large if len(set(training)) > 1 else set())
    assert fitted(folder, prepared, "fit.calibrate.groups=false").diagnostics["left_out_groups"] == []
    assert posterior.scale == fitted(folder, prepared, "fit.calibrate.groups=false").scale
