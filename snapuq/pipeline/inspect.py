"""What a campaign would do, without doing it."""

from __future__ import annotations

import os

import numpy as np

from snapuq.config import CampaignConfig
from snapuq.data.weights import excess_energies
from snapuq.parallel import world
from snapuq.pipeline.campaigning import check_campaign, plan_tasks
from snapuq.pipeline.prepare import Prepared, prepare
from snapuq.uq.calibrate import CALIBRATION_MEMBERS

#: Energy above the lowest, eV/atom, beyond which a configuration tells more about repulsion than bonds.
HIGH_ENERGY = 10.0


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
        check_campaign(config, prepared.settings.elements)
        return "\n".join(_describe(prepared))

    return world().from_root(describe)


def dry_run(config: CampaignConfig) -> str:
    """Describe the fit and the campaign, task by task.

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
        prepared = prepare(config)
        lines = _describe(prepared)
        tasks = plan_tasks(config, prepared.settings.elements, None)
        members = config.ensemble.members
        lines.append(f"ensemble: {members} members, seed {config.seed}")
        if config.fit.calibrate is not None and members < CALIBRATION_MEMBERS:
            lines.append(
                f"warning: the calibration is for {CALIBRATION_MEMBERS} members; the envelope of {members} "
                "is narrower and misses more"
            )
        lines.append(f"campaign: {len(tasks)} tasks on {ranks.size} rank(s)")
        for label in dict.fromkeys(t.label for t in tasks):
            lines.append(f"  {label}: {sum(t.label == label for t in tasks)} tasks")
        lines.append(f"output: {os.path.relpath(config.output)}")
        return "\n".join(lines)

    return ranks.from_root(describe)


def _describe(prepared: Prepared) -> list[str]:
    dataset, settings = prepared.dataset, prepared.settings
    training = [c for c, t in zip(dataset.configurations, prepared.is_test, strict=True) if not t]
    rows = prepared.n_training_rows
    kind = "quadratic" if settings.quadraticflag else "linear"
    sizes = np.array([len(c) for c in dataset.configurations])
    lines = [
        f"data: {len(dataset)} configurations of {sizes.min()} to {sizes.max()} atoms from {dataset.source}",
        f"split: {len(training)} training, {int(prepared.is_test.sum())} test, "
        f"{prepared.n_excluded} excluded",
        f"potential: {kind} SNAP for {', '.join(settings.elements)}, twojmax {settings.twojmax}, "
        f"{settings.n_columns} coefficients, cutoff {settings.cutoff:g} A",
        f"design: {rows} rows x {settings.n_columns} columns, {8e-9 * rows * settings.n_columns:.2f} GB",
    ]
    excess = excess_energies(dataset, np.ones(len(dataset), dtype=bool))
    force = max(float(np.linalg.norm(c.forces, axis=1).max()) for c in dataset.configurations)
    lines.append(
        f"range: energies up to {excess.max():.2f} eV/atom above the lowest, forces up to {force:.1f} eV/A"
    )
    if excess.max() > HIGH_ENERGY:
        n_high = int((excess > HIGH_ENERGY).sum())
        lines.append(
            f"warning: {n_high} configurations lie more than {HIGH_ENERGY:g} eV/atom above the lowest "
            "and can dominate the error bars; see dataset.exclude.max_energy_above_minimum"
        )
    for group in dataset.groups:
        n = sum(c.group == group for c in dataset.configurations)
        lines.append(f"  {group}: {n} configurations")
    if len(training) < settings.n_columns:
        lines.append(
            f"warning: {len(training)} training configurations for {settings.n_columns} coefficients; "
            "a smaller twojmax or linear SNAP is safer"
        )
    return lines
