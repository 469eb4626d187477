"""What a campaign would do, without doing it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from snapuq.campaign.dispatch import learned_costs
from snapuq.config import CampaignConfig
from snapuq.core.potential import SnapSettings
from snapuq.core.task import PropertyTask
from snapuq.data.split import n_held_out
from snapuq.data.weights import excess_energies
from snapuq.lammps.snapfiles import reference_digest
from snapuq.parallel import world
from snapuq.pipeline.campaigning import check_campaign, left_lines, plan_tasks
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.prepare import (
    SMALLEST_TRAINING_SET,
    Prepared,
    check_pair,
    prepare,
    source_of,
)
from snapuq.pipeline.sizes import cell_warnings, cutoff_warnings
from snapuq.pipeline.suspicions import data_warnings
from snapuq.progress import duration
from snapuq.results.journal import load_results
from snapuq.uq.crossval import CALIBRATION_MEMBERS
from snapuq.uq.trust import FEW_CONFIGURATIONS

#: Energy above the lowest, eV/atom, beyond which a configuration tells more about repulsion than bonds.
HIGH_ENERGY = 10.0
# Tantalum with FitSNAP's weights: with eight configurations per coefficient 497 to 500 of 500 members were
# elastically stable, with two to five 366 to 472.
_ENOUGH = 8
# Quadratic SNAP below the first and linear SNAP above the second are seldom worth their coefficients; linear
# SNAP below the third is hardly ever used, however few the data.
_SMALLEST_QUADRATIC, _LARGEST_LINEAR, _SMALLEST_LINEAR = 4, 8, 6


def check(config: CampaignConfig) -> str:
    """Read the data and describe the fit.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.

    Returns
    -------
    str
        A few lines.

    Raises
    ------
    InputError
        When the data cannot be used.
    """

    def describe() -> str:
        prepared = prepare(config)
        lines = check_campaign(config, prepared.settings.elements)
        return "\n".join([*_describe(prepared, config), *lines])

    return world().from_root(describe)


def dry_run(config: CampaignConfig) -> str:
    """Describe the fit and the campaign, task by task.

    Data that would be generated are counted, not made: that takes longer than all the rest.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.

    Returns
    -------
    str
        A few lines.
    """
    ranks = world()

    def describe() -> str:
        settings, lines = _counted(config) or _read(config)
        tasks = plan_tasks(config, settings.elements, None)
        members = config.ensemble.members
        lines.append(f"ensemble: {members} members, seed {config.seed}")
        if config.fit.calibrate is not None and members < CALIBRATION_MEMBERS:
            lines.append(
                f"warning: the calibration is for {CALIBRATION_MEMBERS} members; the envelope of {members} "
                "is narrower and misses more"
            )
        lines += check_campaign(config, settings.elements)
        lines += _about_cost(tasks, config.output, ranks.size)
        lines += left_lines(config, tasks, settings.elements, ranks.size)
        lines.append(f"output: {os.path.relpath(config.output)}")
        return "\n".join(lines)

    return ranks.from_root(describe)


def _read(config: CampaignConfig) -> tuple[SnapSettings, list[str]]:
    """Hyperparameters, and what is known of the fit from the data."""
    prepared = prepare(config)
    return prepared.settings, _describe(prepared, config)


def _counted(config: CampaignConfig) -> tuple[SnapSettings, list[str]] | None:
    """Hyperparameters, and what is known of a fit to generated data before they are; None if too little."""
    data, section = config.dataset, config.potential
    if data.generate is None or data.test.fraction is None or data.exclude is not None or section is None:
        return None
    n = data.generate.configurations
    n_test = n_held_out(n, data.test.fraction)
    if n - n_test < SMALLEST_TRAINING_SET:
        return None
    settings, source = section.to_settings(), source_of(data.generate)
    # The files of the labelling potential are there.
    reference_digest(data.generate.label.to_pair())
    pair = section.to_reference()
    if pair is not None:
        check_pair(config, pair, settings.elements)
    warnings = cell_warnings(config.campaign.properties, settings, pair)
    return settings, [
        f"data: {n} configurations of up to {data.generate.max_atoms} atoms, to be {source}; 'snapuq check' "
        "makes and describes them",
        f"split: {n - n_test} training, {n_test} test",
        _about_potential(settings),
        *_about_numbers(settings, n - n_test, config.fit.calibrate is not None),
        *(f"warning: {text}" for text in warnings),
    ]


def _about_potential(settings: SnapSettings) -> str:
    kind = "quadratic" if settings.quadraticflag else "linear"
    return (
        f"potential: {kind} SNAP for {', '.join(settings.elements)}, twojmax {settings.twojmax}, "
        f"{settings.n_columns} coefficients, cutoff {settings.cutoff:g} A"
    )


def _about_cost(tasks: Sequence[PropertyTask], output: Path, n_ranks: int) -> list[str]:
    """Tasks of each property, and what they take as far as the run's journal knows."""
    costs = learned_costs(load_results(RunFolder(output).journal))
    counts = Counter(task.label for task in tasks)
    total = costs.total(counts, n_ranks)
    known = "" if total is None else f", about {duration(total)} in all"
    lines = [f"campaign: {len(tasks)} tasks on {n_ranks} rank(s){known}"]
    for label, n in counts.items():
        seconds = costs.expected(label)
        lines.append(f"  {label}: {n} tasks" + ("" if seconds is None else f" of {seconds:.3g} s"))
    return lines


def recommended(settings: SnapSettings, n_training: int) -> SnapSettings | None:
    """Largest potential that has eight training configurations for each coefficient, or the smallest of use.

    Parameters
    ----------
    settings : SnapSettings
        What was asked for; all but twojmax and quadraticflag is kept.
    n_training : int
        Training configurations.

    Returns
    -------
    SnapSettings or None
        Quadratic if that was asked for and fits with twojmax 4 or more, else linear with twojmax 8, or with 6
        even where that has fewer; None when it would have no fewer coefficients than what was asked for.
    """
    top = settings.twojmax - settings.twojmax % 2
    quadratic = [(t, True) for t in range(top, _SMALLEST_QUADRATIC - 1, -2) if settings.quadraticflag]
    linear = [(t, False) for t in range(_LARGEST_LINEAR, _SMALLEST_LINEAR - 1, -2)]
    candidates = [replace(settings, twojmax=t, quadraticflag=flag) for t, flag in quadratic + linear]
    fitting = (c for c in candidates if _ENOUGH * c.n_columns <= n_training)
    found = next(fitting, candidates[-1])
    return found if found.n_columns < settings.n_columns else None


def _about_size(prepared: Prepared, n_training: int) -> list[str]:
    """What the rows need in memory and on disk."""
    settings, rows = prepared.settings, prepared.n_training_rows
    columns = settings.n_columns
    # Rows of weight zero and of the test set are kept as well.
    cached = sum(prepared.selection.n_rows(c) for c in prepared.dataset.configurations)
    return [
        f"design: {rows} rows x {columns} columns, {8e-9 * rows * columns:.2f} GB; "
        f"{n_training / columns:.2g} training configurations per coefficient",
        f"disk: {8e-9 * cached * columns:.2f} GB for the rows of all configurations",
    ]


def _about_numbers(settings: SnapSettings, n_training: int, is_calibrated: bool) -> list[str]:
    """Coefficients against configurations."""
    lines, columns = [], settings.n_columns
    if n_training < columns:
        lines.append(
            f"warning: {n_training} training configurations for {columns} coefficients; "
            "a smaller twojmax or linear SNAP is safer"
        )
        lines += _about_fewer(recommended(settings, n_training), n_training)
    if is_calibrated and n_training < FEW_CONFIGURATIONS:
        lines.append(
            f"warning: {n_training} training configurations; below {FEW_CONFIGURATIONS} the calibration "
            "is uncertain"
        )
    return lines


def _about_fewer(smaller: SnapSettings | None, n_training: int) -> list[str]:
    """What to do about fewer configurations than coefficients."""
    if smaller is None:
        return ["recommended: more data, because a potential with fewer coefficients is seldom worth fitting"]
    lines = [
        f"recommended: twojmax {smaller.twojmax}, quadraticflag {int(smaller.quadraticflag)} "
        f"({smaller.n_columns} coefficients for {n_training} configurations)"
    ]
    if n_training < smaller.n_columns:
        lines.append(
            "warning: even that has fewer configurations than coefficients, and combinations of coefficients "
            "that no configuration corrects carry next to no uncertainty; add data"
        )
    return lines


def _describe(prepared: Prepared, config: CampaignConfig) -> list[str]:
    dataset, settings = prepared.dataset, prepared.settings
    training = [c for c, t in zip(dataset.configurations, prepared.is_test, strict=True) if not t]
    sizes = np.array([len(c) for c in dataset.configurations])
    lines = [
        f"data: {len(dataset)} configurations of {sizes.min()} to {sizes.max()} atoms from {dataset.source}",
        f"split: {len(training)} training, {int(prepared.is_test.sum())} test, "
        f"{prepared.n_excluded} excluded",
        _about_potential(settings),
        *_about_size(prepared, len(training)),
        *_about_numbers(settings, len(training), config.fit.calibrate is not None),
    ]
    excess = excess_energies(dataset, np.ones(len(dataset), dtype=bool))
    force = max(float(np.linalg.norm(c.forces, axis=1).max()) for c in dataset.configurations)
    lines.append(
        f"range: energies up to {excess.max():.2f} eV/atom above the lowest, forces up to {force:.1f} eV/A"
    )
    warnings = data_warnings(prepared, config)
    warnings += cutoff_warnings(dataset, settings)
    warnings += cell_warnings(config.campaign.properties, settings, prepared.reference)
    lines += [f"warning: {text}" for text in warnings]
    if excess.max() > HIGH_ENERGY:
        n_high = int((excess > HIGH_ENERGY).sum())
        lines.append(
            f"warning: {n_high} configurations lie more than {HIGH_ENERGY:g} eV/atom above the lowest "
            "and can dominate the error bars; see dataset.exclude.max_energy_above_minimum"
        )
    sizes_of = Counter(c.group for c in dataset.configurations)
    trained = Counter(c.group for c in training)
    lines += [f"  {g}: {n} configurations, {n - trained[g]} test" for g, n in sizes_of.items()]
    return lines
