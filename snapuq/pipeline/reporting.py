"""Rebuild the report of a run from its folder alone; needs neither LAMMPS nor MPI."""

from __future__ import annotations

from pathlib import Path

from snapuq.analysis.pointwise import load_pointwise
from snapuq.errors import InputError
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.record import read_record
from snapuq.report.html import ReportInputs, render_report
from snapuq.results.table import read_results_csv, read_summary_csv
from snapuq.uq.ensemble_file import load_ensemble
from snapuq.uq.hypercube import HypercubePosterior

#: What ``summary.yaml`` says of the configurations that were evaluated.
HELD_OUT = "held-out test configurations"
NONE_HELD_OUT = "training configurations (none are held out)"


def rebuild_report(path: str | Path) -> Path:
    """Write ``report.html`` and its figures.

    Parameters
    ----------
    path : str or Path
        The run's folder.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    InputError
        When the folder holds no run that is far enough.
    """
    run = RunFolder(Path(path))
    if not run.config.is_file():
        raise InputError("holds no snapuq run", file=run.path, expected="a folder with config.yaml")
    posterior = HypercubePosterior.load(run.need(run.posterior, "fit"))
    ensemble = load_ensemble(run.need(run.ensemble, "sample"))
    record = read_record(run)
    source = record.get("evaluated_on", HELD_OUT)
    settings = posterior.settings
    kind = "quadratic" if settings.quadraticflag else "linear"
    inputs = ReportInputs(
        name=record.get("name", run.path.name),
        versions=record.get("versions", {}),
        config_text=run.config.read_text(encoding="utf-8", errors="replace"),
        diagnostics=posterior.diagnostics,
        n_members=len(ensemble),
        potential=f"{kind} SNAP for {'-'.join(settings.elements)}, twojmax {settings.twojmax}",
        potential_stem="-".join(settings.elements),
        pointwise=load_pointwise(run.need(run.pointwise, "evaluate")) if run.pointwise.is_file() else None,
        pointwise_source=source,
        is_unseen=source != NONE_HELD_OUT,
        summaries=read_summary_csv(run.summary) if run.summary.is_file() else (),
        results=read_results_csv(run.results) if run.results.is_file() else (),
        timings=record.get("timings"),
    )
    return render_report(inputs, run.path)
