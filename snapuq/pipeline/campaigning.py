"""From an exported ensemble to property summaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from snapuq.campaign.dispatch import learned_costs
from snapuq.campaign.plan import (
    CHECK,
    PlannedProperty,
    PropertySpec,
    checked,
    expand,
    plan,
    planned_outputs,
)
from snapuq.campaign.recipe import EngineRecipe
from snapuq.campaign.run import collect, plan_work, run_campaign
from snapuq.campaign.status import write_plan
from snapuq.config import CampaignConfig
from snapuq.core.engine import FMAX, SMAX
from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair
from snapuq.core.result import PropertyResult, Quantity
from snapuq.core.task import REFERENCE_MEMBER, PropertyTask
from snapuq.errors import Stopped
from snapuq.lammps.library import lammps_info
from snapuq.lammps.snapfiles import reference_digest, write_ensemble, write_reference
from snapuq.parallel import Ranks
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.record import update_record
from snapuq.pipeline.suspicions import listed
from snapuq.progress import Progress, duration
from snapuq.properties import PROPERTIES
from snapuq.properties.prototypes import PROTOTYPES
from snapuq.provenance import digest
from snapuq.report.tables import is_curve_point
from snapuq.results.failures import failure_warnings
from snapuq.results.implicit import N_CHECKED, estimate_errors
from snapuq.results.journal import JournalContent, load_results
from snapuq.results.reference import check_reference, read_reference_csv
from snapuq.results.table import summarise, write_results_csv, write_summary_csv
from snapuq.stopping import StopRequest
from snapuq.units import seconds
from snapuq.uq.ensemble_file import load_ensemble


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
        Property by property, members in order; then those that check implicit values.

    Raises
    ------
    InputError
        When properties or reference values do not fit the potential.
    """
    parts = _parts(config, elements)
    _other_rows(config, parts, elements)
    pair = _reference_pair(config)
    if ensemble is None:
        members = range(0 if pair is None else REFERENCE_MEMBER, config.ensemble.members + 1)
        tasks = plan(parts, dict.fromkeys(members, ""), config.seed, engine={})
        return tasks + checked(tasks, N_CHECKED)
    potentials = potential_digests(ensemble)
    if pair is not None:
        potentials[REFERENCE_MEMBER] = reference_digest(pair)
    tasks = plan(parts, potentials, config.seed, engine=engine_settings(config))
    return tasks + checked(tasks, N_CHECKED)


def potential_digests(ensemble: Ensemble) -> dict[int, str]:
    """Hash each potential, the files of its reference pair style included.

    Parameters
    ----------
    ensemble : Ensemble
        The members.

    Returns
    -------
    dict
        Member (0 the MLE) to digest.
    """
    pair = ensemble.reference
    beside = "" if pair is None else reference_digest(pair)
    return {i: digest(ensemble.member(i).digest, beside) for i in range(len(ensemble) + 1)}


def check_campaign(config: CampaignConfig, elements: Sequence[str]) -> tuple[str, ...]:
    """Find what would stop the campaign, before the fit.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    elements : sequence of str
        Elements of the potential.

    Returns
    -------
    tuple of str
        One line about true values of properties that are not asked for; none where there are none.

    Raises
    ------
    InputError
        When properties or reference values do not fit the potential, or the reference potential's files
        are missing.
    """
    parts = _parts(config, elements)
    pair = _reference_pair(config)
    if pair is not None:
        with TemporaryDirectory() as folder:
            write_reference(pair, elements, Path(folder))
    others = _other_rows(config, parts, elements)
    if not others:
        return ()
    return (f"reference: {len(others)} rows of properties not asked for: {listed(dict.fromkeys(others))}",)


def _other_rows(
    config: CampaignConfig, parts: Sequence[PlannedProperty], elements: Sequence[str]
) -> tuple[str, ...]:
    """Labels of true values of properties that are not asked for."""
    values = None if config.reference is None else config.reference.values
    if values is None:
        return ()

    def bare(label: str) -> str:
        # With one element, ``eos-fcc-Cu`` is another spelling of ``eos-fcc``.
        return label.replace(f"-{elements[0]}", "") if len(elements) == 1 else label

    asked = {bare(part.label) for part in parts}

    def is_label(text: str) -> bool:
        name, _, rest = text.partition("-")
        return name in PROPERTIES and rest.partition("-")[0] in PROTOTYPES and bare(text) not in asked

    return check_reference(values, planned_outputs(parts), is_label)


def _parts(config: CampaignConfig, elements: Sequence[str]) -> tuple[PlannedProperty, ...]:
    usual = config.campaign.propagation
    specs = [PropertySpec(p.name, p.params, p.propagation or usual) for p in config.campaign.properties]
    return expand(specs, elements)


def left_lines(
    config: CampaignConfig, tasks: Sequence[PropertyTask], elements: Sequence[str], n_ranks: int
) -> tuple[str, ...]:
    """Tell how much of a campaign is left, where a folder holds a part of it.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    tasks : sequence of PropertyTask
        All tasks, as planned without an ensemble.
    elements : sequence of str
        Elements of the potential.
    n_ranks : int
        Ranks that would share them.

    Returns
    -------
    tuple of str
        One line; none where nothing has been sampled yet.

    Raises
    ------
    InputError
        When the output folder holds another run.
    """
    run = RunFolder(Path(config.output))
    run.check(config)
    if not run.is_sound(run.ensemble):
        return ()
    known = plan_tasks(config, elements, load_ensemble(run.ensemble))
    content = load_results(run.journal)
    waiting = {task.key for task in plan_work(known, content, seconds(config.campaign.time_limit)).tasks}
    done = {(task.label, task.member) for task in known if task.key not in waiting}
    left = Counter(task.label for task in tasks if (task.label, task.member) not in done)
    total = learned_costs(content).total(left, n_ranks) if left else 0.0
    about = "" if not total else f", about {duration(total)}"
    return (f"left: {left.total()} of {len(tasks)} tasks{about}",)


def engine_settings(config: CampaignConfig) -> dict[str, Any]:
    """What decides a task's numbers besides its potential and parameters.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.

    Returns
    -------
    dict
        Plain data, part of each task's key.
    """
    lammps = config.campaign.lammps
    version = lammps_info()["version"]
    tolerances = {"fmax": FMAX, "smax": SMAX}
    return {"lammps": version, "options": list(lammps.options), "ranks": lammps.ranks, **tolerances}


def run_properties(
    config: CampaignConfig,
    run: RunFolder,
    ensemble: Ensemble,
    ranks: Ranks,
    stop: StopRequest,
    quiet: bool = False,
) -> tuple[bool, tuple[str, ...]]:
    """Run the campaign on the exported potentials, and summarise it once it is complete.

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
    stop : StopRequest
        Signals and the clock of this run.
    quiet : bool
        No progress.

    Returns
    -------
    is_new : bool
        Whether a task had no result yet; workers are started only then.
    lines : tuple of str
        How it went, on every rank.

    Raises
    ------
    Stopped
        When it was asked to stop before every task had a result; on every rank.
    """
    tasks: tuple[PropertyTask, ...] = ()
    limit = seconds(config.campaign.time_limit)

    def plan_all() -> tuple[str, ...] | None:
        nonlocal tasks
        tasks = plan_tasks(config, ensemble.settings.elements, ensemble)
        write_plan(run.journal, tasks, ranks.size)
        content = load_results(run.journal)
        is_complete = not plan_work(tasks, content, limit).tasks
        return _summarise(config, run, tasks, content) if is_complete else None

    finished = ranks.from_root(plan_all)
    if finished is not None:
        return False, finished
    recipe = ranks.from_root(lambda: export_for_workers(config, run, ensemble))
    silent = quiet or not ranks.is_root
    with stop, Progress("campaign", len(tasks), silent=silent) as progress:
        outcome = run_campaign(tasks, recipe, run.journal, ranks, progress, stop, limit)
        if not outcome.is_complete:
            raise Stopped(outcome.reason)
    return True, ranks.from_root(lambda: _summarise(config, run, tasks, load_results(run.journal)))


def _summarise(
    config: CampaignConfig, run: RunFolder, tasks: Sequence[PropertyTask], content: JournalContent
) -> tuple[str, ...]:
    """Build the tables from the journal, and say what stands out."""
    found = collect(tasks, content)
    results = [r for r in found if not r.label.endswith(CHECK)]
    checks = [replace(r, label=r.label.removesuffix(CHECK)) for r in found if r.label.endswith(CHECK)]
    errors = estimate_errors(results, checks)
    summaries = summarise(results, _reference_values(config), errors)
    counts = _counts(results)
    write_results_csv(run.results, results, errors)
    write_summary_csv(run.summary, summaries)
    update_record(run, config, campaign=counts)
    # Points of the energy-volume curve are correlated; as in the report, they are not counted.
    inside = [s.inside for s in summaries if s.inside is not None and not is_curve_point(s)]
    more = f" (and {len(checks)} that check implicit values)" if checks else ""
    text = f"{len(results)} tasks{more}, {counts['failed']} failed, {counts['unconverged']} not converged"
    if counts["fallbacks"]:
        text += f", {counts['fallbacks']} fell back to brute force"
    if content.n_damaged:
        text += f"; {content.n_damaged} damaged lines of the journal were run again"
    for member, name in ((0, "the MLE"), (REFERENCE_MEMBER, "the reference potential")):
        own = [r for r in results if r.member == member]
        lost = sorted({r.label for r in own if r.failure})
        if lost:
            where = "every property" if len(lost) == len(own) else ", ".join(lost)
            text += f"; {name} itself failed in {where}"
    text += f"; {sum(inside)} of {len(inside)} reference values inside the envelope" if inside else ""
    return (text, *(f"warning: {line}" for line in failure_warnings(summaries)))


def export_for_workers(config: CampaignConfig, run: RunFolder, ensemble: Ensemble) -> EngineRecipe:
    """Write all potentials, and tell workers where they are.

    What runs is what the ensemble holds, whatever has happened to files of an earlier export.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    run : RunFolder
        Folder of the ensemble.
    ensemble : Ensemble
        The members.

    Returns
    -------
    EngineRecipe
        For `run_campaign`.
    """
    elements = ensemble.settings.elements
    write_ensemble(ensemble, run.potentials, "-".join(elements))
    pair = _reference_pair(config)
    reference = None
    if pair is not None:
        reference = str(write_reference(pair, elements, run.potentials / "reference").include.resolve())
    lammps = config.campaign.lammps
    arguments = {
        "folder": str(run.potentials.resolve()),
        "name": "-".join(elements),
        "members": len(ensemble),
        "elements": list(elements),
        "reference": reference,
        "options": list(lammps.options),
        "ensemble": str(run.ensemble.resolve()),
        "propagation": str(run.propagation.resolve()),
    }
    return EngineRecipe(
        "snapuq.lammps.member_engines:open_engines",
        arguments,
        lammps.ranks,
        "snapuq.pipeline.prediction:open_predictor",
    )


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
        # Tasks that failed have no value that could be converged or not.
        "unconverged": sum(not r.converged and not r.failure for r in results),
        "reconfigured": sum(r.reconfigured and not r.failure for r in results),
        "fallbacks": sum(bool(r.fallbacks) for r in results),
        "propagation": dict(Counter(r.propagation for r in results if r.member > 0)),
        "failures": failures,
    }
