"""From prepared data to a posterior, and from a posterior to predictions on unseen data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from snapuq.analysis.envelope import concatenate, predict
from snapuq.config import CampaignConfig
from snapuq.core.design import DesignBlock
from snapuq.core.ensemble import Ensemble
from snapuq.core.pointwise import PointwiseTable
from snapuq.descriptors.assemble import assemble_block, flag_roundoff, plan_chunks
from snapuq.descriptors.bispectrum import BispectrumCalculator
from snapuq.lammps.session import Session
from snapuq.parallel import Ranks
from snapuq.pipeline.prepare import Prepared
from snapuq.progress import Progress
from snapuq.uq.calibrate import assign_folds
from snapuq.uq.hypercube import HypercubePosterior, fit_hypercube
from snapuq.uq.streaming import DesignStream, LeastSquares, least_squares, mean_leverages

T = TypeVar("T")


def fit_posterior(
    prepared: Prepared, config: CampaignConfig, ranks: Ranks, quiet: bool = False
) -> HypercubePosterior:
    """Assemble the training rows and fit.

    Parameters
    ----------
    prepared : Prepared
        The data.
    config : CampaignConfig
        The configuration.
    ranks : Ranks
        The ranks of this run.
    quiet : bool
        No progress.

    Returns
    -------
    HypercubePosterior
        The same bits on every rank and for any number of ranks.
    """
    folds = _folds(prepared, config)
    plan = plan_chunks(prepared.dataset.configurations, folds)
    with Session() as session:
        calculator = BispectrumCalculator(session, prepared.settings, prepared.reference)

        def assembled(i: int) -> tuple[DesignBlock, ...]:
            return tuple(_block(prepared, calculator, index) for index in plan[i])

        chunks = _over_chunks(assembled, plan, ranks, "descriptors", quiet)
        stream = DesignStream(chunks, {i: folds[c[0]] for i, c in enumerate(plan)}, ranks)
        fit = least_squares(stream)
        means = mean_leverages(stream, fit)

        def flagged(i: int) -> tuple[DesignBlock, ...]:
            pairs = zip(plan[i], chunks[i], strict=True)
            return tuple(_flag(prepared, calculator, index, b, fit, means) for index, b in pairs)

        chunks = _over_chunks(flagged, plan, ranks, "round-off rows", quiet)
    calibrate = config.fit.calibrate
    return fit_hypercube(
        DesignStream(chunks, stream.folds, ranks),
        fit,
        rule=config.fit.posterior,
        settings=prepared.settings,
        reference=prepared.reference,
        mean_leverages=means,
        violation=None if calibrate is None else calibrate.violation,
        seed=config.seed,
    )


def predict_unseen(
    prepared: Prepared,
    posterior: HypercubePosterior,
    ensemble: Ensemble,
    ranks: Ranks,
    quiet: bool = False,
) -> PointwiseTable:
    """Predict every test configuration, or the training set when none is held out.

    Parameters
    ----------
    prepared : Prepared
        The data.
    posterior : HypercubePosterior
        Its leverages tell round-off rows.
    ensemble : Ensemble
        The members.
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
    plan = plan_chunks(prepared.dataset.configurations, np.where(wanted, 0, -1).tolist())
    with Session() as session:
        calculator = BispectrumCalculator(session, prepared.settings, prepared.reference)

        def predicted(i: int) -> PointwiseTable:
            tables = []
            for index in plan[i]:
                block = _block(prepared, calculator, index)
                block = _flag(prepared, calculator, index, block, posterior.fit, posterior.mean_leverages)
                tables.append(predict(block, ensemble))
            return concatenate(tables)

        parts = _over_chunks(predicted, plan, ranks, "predictions", quiet)
    return concatenate(ranks.concatenate(parts, range(len(plan))))


def _over_chunks(
    work: Callable[[int], T], plan: Sequence[Sequence[int]], ranks: Ranks, title: str, quiet: bool
) -> dict[int, T]:
    """Do the work of this rank's chunks; an error on one rank is raised on all."""

    def mine() -> dict[int, T]:
        done = {}
        total = sum(len(c) for c in plan)
        with Progress(title, total, share=ranks.size, silent=quiet or not ranks.is_root) as progress:
            for i in ranks.mine(len(plan)):
                done[i] = work(i)
                progress.advance(len(plan[i]))
        return done

    return ranks.together(mine)


def _folds(prepared: Prepared, config: CampaignConfig) -> list[int]:
    """Cross-validation fold of each training configuration; -1 for those held out."""
    training = np.flatnonzero(~prepared.is_test)
    calibrate = config.fit.calibrate
    n_folds = 1 if calibrate is None else min(calibrate.folds, len(training))
    folds = np.full(len(prepared.dataset), -1)
    folds[training] = assign_folds(len(training), n_folds, config.seed)
    return folds.tolist()


def _block(prepared: Prepared, calculator: BispectrumCalculator, index: int) -> DesignBlock:
    configuration = prepared.dataset.configurations[index]
    return assemble_block(calculator, configuration, prepared.weights[index], prepared.selection)


def _flag(
    prepared: Prepared,
    calculator: BispectrumCalculator,
    index: int,
    block: DesignBlock,
    fit: LeastSquares,
    means: Mapping[int, float],
) -> DesignBlock:
    configuration = prepared.dataset.configurations[index]
    return flag_roundoff(calculator, configuration, block, lambda rows: rows @ fit.whitener, means)
