"""From prepared data to a posterior, and from a posterior to predictions on unseen data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snapuq.analysis.pointwise import concatenate, predict
from snapuq.config import CampaignConfig
from snapuq.core.ensemble import Ensemble
from snapuq.core.pointwise import PointwiseTable
from snapuq.data.split import structure_numbers
from snapuq.parallel import Ranks
from snapuq.pipeline.prepare import Prepared
from snapuq.pipeline.rows import AssembledRows, assemble, share
from snapuq.uq.calibrate import SMALLEST_GROUP
from snapuq.uq.crossval import assign_folds
from snapuq.uq.hypercube import HypercubePosterior, fit_hypercube
from snapuq.uq.leastsquares import fold_factors, merge_all
from snapuq.uq.leverage import leverage_scale, leverages
from snapuq.uq.rules import RULES, regularised
from snapuq.uq.streaming import DesignStream


def fit_posterior(
    prepared: Prepared, config: CampaignConfig, folder: Path, ranks: Ranks, quiet: bool = False
) -> HypercubePosterior:
    """Assemble the training rows and fit.

    Parameters
    ----------
    prepared : Prepared
        The data.
    config : CampaignConfig
        The configuration.
    folder : Path
        Where rows are cached.
    ranks : Ranks
        The ranks of this run.
    quiet : bool
        No progress.

    Returns
    -------
    HypercubePosterior
        The same bits on every rank and for any number of ranks.
    """
    section = config.fit
    rule = regularised(RULES[section.posterior], section.ridge)
    folds = _folds(prepared, config)
    rows = assemble(prepared, folder, ranks, quiet)
    stream = rows.stream(folds)
    factors = fold_factors(stream)
    fit = rule.solve(stream, merge_all(list(factors.values())))
    scale = leverage_scale(stream, fit)
    rows = rows.flagged(np.flatnonzero(np.array(folds) >= 0).tolist(), fit, scale)
    calibrate = section.calibrate
    groups = None if calibrate is None or not calibrate.groups else _groups(prepared, rows)
    return fit_hypercube(
        rows.stream(folds),
        fit,
        rule=rule,
        settings=prepared.settings,
        reference=prepared.reference,
        leverage=scale,
        violation=None if calibrate is None else calibrate.violation,
        seed=config.seed,
        factors=factors,
        groups=groups,
    )


def predict_unseen(
    prepared: Prepared,
    posterior: HypercubePosterior,
    ensemble: Ensemble,
    folder: Path,
    ranks: Ranks,
    quiet: bool = False,
) -> PointwiseTable:
    """Predict every test configuration, or the training set when none is held out.

    Parameters
    ----------
    prepared : Prepared
        The data.
    posterior : HypercubePosterior
        Its leverages tell round-off rows and extrapolation.
    ensemble : Ensemble
        The members.
    folder : Path
        Where rows are cached.
    ranks : Ranks
        The ranks of this run.
    quiet : bool
        No progress.

    Returns
    -------
    PointwiseTable
        In data-set order, on every rank.
    """
    wanted = prepared.is_test if prepared.is_test.any() else ~prepared.is_test
    indices = np.flatnonzero(wanted).tolist()
    rows = assemble(prepared, folder, ranks, quiet).flagged(indices, posterior.fit, posterior.leverage)
    largest = np.array(posterior.leverage.largest)

    def predicted(place: int) -> PointwiseTable:
        block = rows.block(indices[place])
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = leverages(block.rows, posterior.fit) / largest[block.kind]
        return predict(block, ensemble, relative)

    parts = share(predicted, len(indices), ranks, "predictions", quiet)
    return concatenate(ranks.concatenate(parts, range(len(indices))))


def _folds(prepared: Prepared, config: CampaignConfig) -> list[int]:
    """Cross-validation fold of each training configuration, the same for twins; -1 for those held out."""
    training = np.flatnonzero(~prepared.is_test)
    _, of = np.unique(structure_numbers(prepared.dataset)[training], return_inverse=True)
    n = int(of.max()) + 1
    calibrate = config.fit.calibrate
    n_folds = 1 if calibrate is None else min(calibrate.folds, n)
    folds = np.full(len(prepared.dataset), -1)
    folds[training] = assign_folds(n, n_folds, config.seed)[of]
    return folds.tolist()


def _groups(prepared: Prepared, rows: AssembledRows) -> tuple[DesignStream, dict[int, str]] | None:
    """Training set with groups as folds, and the groups that are worth leaving out."""
    training = ~prepared.is_test
    names = list(prepared.dataset.groups)
    of = np.array([names.index(c.group) for c in prepared.dataset.configurations])
    of[~training] = -1
    sizes = np.bincount(of[training], minlength=len(names))
    large = {i: name for i, name in enumerate(names) if sizes[i] >= SMALLEST_GROUP}
    if not large or np.count_nonzero(sizes) < 2:
        return None
    return rows.stream(of.tolist()), large
