"""The fit on real tungsten data: minimiser, published corrections, calibration on unseen data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from snapuq.analysis.calibration import metrics
from snapuq.config import CampaignConfig, load_config
from snapuq.core.design import DesignBlock, RowKind
from snapuq.descriptors.assemble import compute_rows, make_block
from snapuq.descriptors.bispectrum import BispectrumCalculator
from snapuq.lammps.session import Session
from snapuq.parallel import SERIAL
from snapuq.pipeline.prepare import Prepared, prepare
from snapuq.pipeline.training import fit_posterior, predict_unseen
from snapuq.reduction import SERIAL_REDUCER
from snapuq.uq.hypercube import HypercubePosterior
from snapuq.uq.leastsquares import RANK_TOLERANCE, least_squares
from snapuq.uq.pops import ZERO_LEVERAGE, pointwise_box, pointwise_corrections
from snapuq.uq.streaming import DesignStream

pytestmark = [pytest.mark.lammps, pytest.mark.data]

# Every 12th of the 9,897 configurations, which keeps all large groups, and the quadratic model of the
# workflow with a smaller band limit so that there are more configurations than columns.
EVERY = 12
CAMPAIGN = """
name: tungsten
dataset: {path: W, test: {fraction: 0.3}}
potential:
  rcutfac: 4.73442
  twojmax: 4
  quadraticflag: 1
  bzeroflag: 0
  elements: {W: {}}
  reference: {pair_style: zbl 4.0 4.8, pair_coeff: ["* * 74 74"]}
"""
# The bars: predictions of the minimiser and each correction at its own point, relative.
MINIMISER_TOLERANCE = 1.0e-8
OWN_POINT_TOLERANCE = 1.0e-8


@pytest.fixture(scope="module")
def config(dft_data: Path, tmp_path_factory: pytest.TempPathFactory) -> CampaignConfig:
    folder = tmp_path_factory.mktemp("campaign")
    for number, file in enumerate(sorted((dft_data / "tungsten").glob("*/*.json"))):
        if number % EVERY == 0:
            group = folder / "W" / file.parent.name
            group.mkdir(parents=True, exist_ok=True)
            (group / file.name).symlink_to(file)
    (folder / "w.yaml").write_text(CAMPAIGN)
    return load_config(folder / "w.yaml")


@pytest.fixture(scope="module")
def prepared(config: CampaignConfig) -> Prepared:
    return prepare(config)


@pytest.fixture(scope="module")
def rows_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def posterior(prepared: Prepared, config: CampaignConfig, rows_folder: Path) -> HypercubePosterior:
    return fit_posterior(prepared, config, rows_folder, SERIAL, quiet=True)


@pytest.fixture(scope="module")
def training(prepared: Prepared, session: Session) -> list[DesignBlock]:
    calculator = BispectrumCalculator(session, prepared.settings, prepared.reference)
    return [
        make_block(c, *compute_rows(calculator, c, prepared.selection), w, prepared.selection)
        for c, w, test in zip(
            prepared.dataset.configurations, prepared.weights, prepared.is_test, strict=True
        )
        if not test
    ]


def test_minimiser_equals_scipy(posterior: HypercubePosterior, training: list[DesignBlock]) -> None:
    parts = [b.weighted() for b in training]
    rows, target = np.concatenate([r for r, _ in parts]), np.concatenate([t for _, t in parts])
    scale = np.linalg.norm(rows, axis=0)
    expected = rows @ (scipy.linalg.lstsq(rows / scale, target, cond=RANK_TOLERANCE)[0] / scale)
    error = np.abs(rows @ posterior.mle - expected).max()
    assert error <= MINIMISER_TOLERANCE * np.abs(expected).max()


def test_published_corrections_hit_their_points_and_fill_the_box(training: list[DesignBlock]) -> None:
    stream = DesignStream({0: tuple(training)}, {0: 0}, SERIAL_REDUCER)
    fit = least_squares(stream)
    box = pointwise_box(stream, fit)
    n_zero = 0
    extremes = np.array([box.low, box.high])
    for block in training:
        rows, target = block.weighted()
        shifts = pointwise_corrections([block], fit) @ fit.whitener.T
        zero = ZERO_LEVERAGE * fit.rank / fit.n_rows
        has_leverage = np.sum(fit.whiten(rows) ** 2, axis=1) > zero
        n_zero += int((~has_leverage).sum())
        residual = (target - rows @ fit.theta)[has_leverage]
        reached = np.einsum("ip,ip->i", rows[has_leverage], shifts)
        # Round-off of the residual itself, for the points that the minimiser hits by chance.
        noise = 4 * np.finfo(float).eps * (np.abs(rows[has_leverage]) @ np.abs(fit.theta))
        error = np.abs(reached - residual)
        assert np.all(error <= OWN_POINT_TOLERANCE * np.abs(residual) + noise), block.identifier
        # The kept axes are orthonormal in the coefficients, so their transpose projects.
        along = pointwise_corrections([block], fit) @ (fit.whitener.T @ box.axes)
        slack = 1e-12 * (box.high - box.low)
        assert np.all(along >= extremes[0] - slack)
        assert np.all(along <= extremes[1] + slack)
    assert fit.n_rows - box.n_corrections == n_zero
    assert n_zero > 0  # one-atom cells have forces that vanish to rounding
    assert 0 <= box.dropped_variance < 1e-6


def test_calibrated_envelopes_hold_unseen_energies_and_forces(
    prepared: Prepared, posterior: HypercubePosterior, rows_folder: Path
) -> None:
    members = posterior.sample(500, 1)
    table = predict_unseen(prepared, posterior, members, rows_folder, SERIAL, quiet=True)
    by_kind = {m.kind: m for m in metrics(table)}
    assert len(table) == sum(
        1 + 3 * len(prepared.dataset.configurations[i]) for i in np.flatnonzero(prepared.is_test)
    )
    expected = posterior.diagnostics["calibration"]
    for kind, name in ((RowKind.ENERGY, "energy"), (RowKind.FORCE, "force")):
        m = by_kind[int(kind)]
        assert m.violation is not None
        assert m.error_over_std is not None
        # The bars, with the binomial error of about 250 test energies on top.
        assert 0.0 <= m.violation < 0.06
        assert 0.5 < m.error_over_std < 1.3
        assert expected[name]["violation"] < 0.05
    assert by_kind[int(RowKind.FORCE)].violation_all >= by_kind[int(RowKind.FORCE)].violation
