"""From a sampled posterior to error bars without members, and to what sets them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from snapuq.analysis.attribution import Attribution, divide, whitened_gradients
from snapuq.analysis.linear_box import UnitBox
from snapuq.campaign.plan import PlannedProperty, PropertySpec, expand
from snapuq.config import CampaignConfig
from snapuq.errors import InputError, Stopped, nearest
from snapuq.parallel import world
from snapuq.pipeline.execute import Run
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.linearising import Quantities, differentiate, mle_tasks, worst_cases
from snapuq.pipeline.record import update_record
from snapuq.pipeline.rows import assemble
from snapuq.provenance import digest
from snapuq.report.influence import headlines
from snapuq.results.influence import (
    CONFIGURATION,
    GROUP,
    NOBODY,
    LinearisedQuantity,
    Share,
    write_linearised_csv,
    write_shares_csv,
)
from snapuq.stopping import RESUME, enter_stage

#: Configurations that are named for each quantity.
MOST_CONFIGURATIONS = 10
#: What the tables are; those of another version are computed anew.
VERSION = 1


def attribute(config: CampaignConfig, labels: Sequence[str] = (), quiet: bool = False) -> None:
    """Write the error bars of properties to first order, their worst-case members, and what sets them.

    Parameters
    ----------
    config : CampaignConfig
        The configuration of a run that is fitted and sampled.
    labels : sequence of str
        Properties to look at; all by default.
    quiet : bool
        No progress.

    Raises
    ------
    InputError
        When the run is not far enough, or has no such property.
    """
    run = Run(config, RunFolder(Path(config.output)), world(), quiet, None)
    enter_stage("attribute")
    run.root(lambda: run.folder.check(config))
    elements = run.posterior.settings.elements
    parts = run.ranks.from_root(lambda: _parts(config, elements, labels))
    run.root(lambda: run.folder.claim(config))
    with threadpool_limits(1), run.folder.locked(run.ranks):
        start = time.monotonic()
        try:
            is_new = _write(run, parts)
        except Stopped as stopped:
            run.say(f"stopped ({stopped.reason}); {RESUME}")
            return
        if is_new:
            spent = round(time.monotonic() - start, 2)
            run.root(lambda: update_record(run.folder, config, timings={"attribute": spent}))
    run.say(f"done: {run.folder.path}")


def _parts(
    config: CampaignConfig, elements: Sequence[str], labels: Sequence[str]
) -> tuple[PlannedProperty, ...]:
    """Properties to look at; members start from the MLE, whatever the campaign does."""
    parts = expand([PropertySpec(p.name, p.params, "auto") for p in config.campaign.properties], elements)
    known = [part.label for part in parts]
    if not known:
        raise InputError("the campaign has no properties", key="campaign.properties")
    for label in labels:
        if label not in known:
            raise InputError(f"no property '{label}'", key="--properties", hint=nearest(label, known))
    return tuple(part for part in parts if not labels or part.label in labels)


def _write(run: Run, parts: Sequence[PlannedProperty]) -> bool:
    """Write both tables, unless they are there."""
    posterior, ensemble, folder = run.posterior, run.ensemble, run.folder
    tasks = run.ranks.from_root(lambda: mle_tasks(run, parts, ensemble))
    stamp = digest(VERSION, posterior.digest, len(ensemble), [task.key for task in tasks])
    is_known = run.ranks.from_root(lambda: folder.noted("attributed") == stamp)
    if is_known and run.has(folder.linearised) and run.has(folder.attribution):
        return False
    box = UnitBox.of(posterior)
    run.say("derivatives ...")
    quantities = differentiate(run, tasks, ensemble, box)
    if not quantities.names:
        raise InputError("no property could be linearised", file=folder.path, key="campaign.properties")
    run.say("worst-case members ...")
    rows = worst_cases(run, parts, quantities, ensemble, box)
    run.say("attribution ...")
    shares = tuple(_shares(quantities, _divide(run, quantities, box)))
    run.keep(folder.linearised, lambda path: write_linearised_csv(path, rows))
    run.keep(folder.attribution, lambda path: write_shares_csv(path, shares))
    run.root(lambda: folder.note(attributed=stamp))
    _say(run, rows, shares)
    return True


def _divide(run: Run, quantities: Quantities, box: UnitBox) -> Attribution:
    """Divide the variances, from the design rows of the fit; rows that were removed are computed again."""
    posterior, prepared = run.posterior, run.prepared
    gradients = whitened_gradients(
        posterior.fit, posterior.box, posterior.rule, box.along_axes(quantities.slopes)
    )
    labels = np.where(prepared.is_test, -1, 0).tolist()
    stream = assemble(prepared, run.rows, run.ranks, run.quiet).stream(labels)
    return divide(stream, posterior.fit, posterior.rule, gradients)


def _shares(quantities: Quantities, found: Attribution) -> Iterator[Share]:
    groups = found.by_group()
    for i, (label, name, _) in enumerate(quantities.names):
        for group in sorted(groups, key=lambda g, i=i: -groups[g][i]):  # type: ignore[misc]
            yield Share(label, name, GROUP, group, float(groups[group][i]))
        yield Share(label, name, NOBODY, "no configuration", float(found.isotropic[i]))
        for c in np.argsort(-found.shares[i], kind="stable")[:MOST_CONFIGURATIONS]:
            yield Share(label, name, CONFIGURATION, found.identifiers[c], float(found.shares[i, c]))


def _say(run: Run, rows: Sequence[LinearisedQuantity], shares: Sequence[Share]) -> None:
    folder = run.folder
    estimates = sum(row.is_estimate for row in rows)
    told = f"; {estimates} of them are estimates, because they are not linear" if estimates else ""
    run.say(
        f"{len(rows)} quantities to first order{told}: {folder.linearised.name}, {folder.attribution.name}"
    )
    for line in headlines(rows, shares):
        run.say(line)
    run.say(f"'snapuq report {folder.path}' draws them into report.html")
