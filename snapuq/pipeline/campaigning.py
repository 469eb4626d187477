"""From an exported ensemble to property summaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from snapuq.campaign.plan import PropertySpec, expand, plan, planned_outputs
from snapuq.campaign.run import run_campaign
from snapuq.config import CampaignConfig
from snapuq.core.engine import Engine
from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair
from snapuq.core.result import PropertyResult, Quantity
from snapuq.core.task import REFERENCE_MEMBER, PropertyTask
from snapuq.lammps.engine import LammpsEngine, PotentialFiles
from snapuq.lammps.snapfiles import member_files, reference_digest, write_reference
from snapuq.lammps.templates import Workspace
from snapuq.parallel import Ranks
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.record import update_record
from snapuq.progress import Progress
from snapuq.report.tables import is_curve_point
from snapuq.results.journal import load_results
from snapuq.results.table import (
    check_reference,
    read_reference_csv,
    summarise,
    write_results_csv,
    write_summary_csv,
)


def plan_tasks(
    config: CampaignConfig, elements: Sequence[str], ensemble: Ensemble | None
) -> tuple[PropertyTask, ...]:
    """Plan every property for the reference potential, the MLE and every member.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    elements : sequence of str
        Elements of the potential.
    ensemble : Ensemble or None
        None plans without digests, to count tasks.

    Returns
    -------
    tuple of PropertyTask
        Property by property, members in order.

    Raises
    ------
    InputError
        When properties or reference values do not fit the potential.
    """
    specs = [PropertySpec(p.name, p.params) for p in config.campaign.properties]
    parts = expand(specs, elements)
    check_reference(_reference_values(config), planned_outputs(parts))
    n_members = config.ensemble.members if ensemble is None else len(ensemble)
    potentials = {i: "" if ensemble is None else ensemble.member(i).digest for i in range(n_members + 1)}
    pair = _reference_pair(config)
    if pair is not None:
        potentials[REFERENCE_MEMBER] = reference_digest(pair)
    return plan(parts, potentials, config.seed)


def check_campaign(config: CampaignConfig, elements: Sequence[str]) -> None:
    """Find what would stop the campaign, before the fit.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    elements : sequence of str
        Elements of the potential.

    Raises
    ------
    InputError
        When properties or reference values do not fit the potential, or the reference potential's files
        are missing.
    """
    plan_tasks(config, elements, None)
    pair = _reference_pair(config)
    if pair is not None:
        with TemporaryDirectory() as folder:
            write_reference(pair, elements, Path(folder))


def run_properties(
    config: CampaignConfig, run: RunFolder, ensemble: Ensemble, ranks: Ranks, quiet: bool = False
) -> str:
    """Run the campaign on the exported potentials and summarise it.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    run : RunFolder
        The output folder.
    ensemble : Ensemble
        The members, exported before.
    ranks : Ranks
        The ranks of this run.
    quiet : bool
        No progress.

    Returns
    -------
    str
        One line on how it went.
    """
    elements = ensemble.settings.elements
    name = "-".join(elements)
    tasks = ranks.from_root(lambda: plan_tasks(config, elements, ensemble))
    with Workspace() as workspace:
        make = _engines(run.potentials, name, ensemble, _reference_pair(config), workspace)
        with Progress(
            "campaign", len(tasks), share=ranks.size, silent=quiet or not ranks.is_root
        ) as progress:
            results = run_campaign(tasks, make, run.journal, ranks, progress)
    summaries = summarise(results, _reference_values(config))

    counts = _counts(results)
    n_damaged = ranks.from_root(lambda: load_results(run.journal).n_damaged)

    def write() -> None:
        write_results_csv(run.results, results)
        write_summary_csv(run.summary, summaries)
        update_record(run, config, campaign=counts)

    ranks.from_root(write)
    # Points of the energy-volume curve are correlated; as in the report, they are not counted.
    inside = [s.inside for s in summaries if s.inside is not None and not is_curve_point(s)]
    text = f"{len(results)} tasks, {counts['failed']} failed, {counts['unconverged']} not converged"
    if n_damaged:
        text += f"; {n_damaged} damaged lines of the journal were run again"
    best = sorted({r.label for r in results if r.member == 0 and r.failure})
    text += f"; the MLE itself failed in {', '.join(best)}" if best else ""
    return text + (f"; {sum(inside)} of {len(inside)} reference values inside the envelope" if inside else "")


def _engines(
    folder: Path,
    name: str,
    ensemble: Ensemble,
    reference: ReferencePair | None,
    workspace: Workspace,
) -> Callable[[int], Engine]:
    """Give each member the engine that runs its exported files."""
    elements = ensemble.settings.elements

    def files(member: int) -> PotentialFiles:
        if member != REFERENCE_MEMBER:
            return member_files(folder, name, member, len(ensemble), elements)
        assert reference is not None
        return write_reference(reference, elements, workspace.folder / "reference")

    return lambda member: LammpsEngine(files(member), workspace)


def _reference_pair(config: CampaignConfig) -> ReferencePair | None:
    section = config.reference
    return None if section is None or section.potential is None else section.potential.to_pair()


def _reference_values(config: CampaignConfig) -> Mapping[tuple[str, str], Quantity]:
    section = config.reference
    return {} if section is None or section.values is None else read_reference_csv(section.values)


def _counts(results: Sequence[PropertyResult]) -> dict[str, Any]:
    """Count outcomes over all tasks."""
    failures: dict[str, int] = {}
    for result in results:
        if result.failure:
            failures[result.failure] = failures.get(result.failure, 0) + 1
    return {
        "tasks": len(results),
        "failed": sum(failures.values()),
        "unconverged": sum(not r.converged for r in results),
        "reconfigured": sum(r.reconfigured for r in results),
        "failures": failures,
    }
