"""Rebuild the report of a run from its folder alone; needs neither LAMMPS nor MPI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from snapuq.analysis.pointwise import load_pointwise
from snapuq.errors import InputError
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.record import read_record
from snapuq.provenance import digest, versions
from snapuq.results.influence import read_linearised_csv, read_shares_csv
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
    # matplotlib and jinja2 take long to import, and a report that is up to date is not drawn again.
    from snapuq.report.html import render_report
    from snapuq.report.inputs import ReportInputs

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
        linearised=read_linearised_csv(run.linearised) if run.linearised.is_file() else (),
        shares=read_shares_csv(run.attribution) if run.attribution.is_file() else (),
        warnings=_stability_warnings(record.get("stability", {})),
        unstable=_unstable(record.get("stability", {}), settings.elements),
        timings=record.get("timings"),
    )
    page = render_report(inputs, run.path)
    run.note(report=_stamp(run))
    return page


def is_current(run: RunFolder) -> bool:
    """Tell whether the report shows what the folder holds, as the last call of `rebuild_report` left it.

    Parameters
    ----------
    run : RunFolder
        The output folder.

    Returns
    -------
    bool
        False when anything that it is made from has changed, or it or one of its figures has.
    """
    return (run.path / "report.html").is_file() and run.noted("report") == _stamp(run)


def _stability_warnings(stability: Mapping[str, Any]) -> list[str]:
    """What `sample` has said of unstable members; a file that someone edited may hold anything."""
    entries = [entry for entry in stability.values() if isinstance(entry, dict)]
    return [str(text) for entry in entries for text in entry.get("warnings") or ()]


def _unstable(stability: Mapping[str, Any], elements: Sequence[str]) -> list[str]:
    """Crystals in which `sample` found the MLE unstable, as labels of properties name them."""
    found = [
        k for k, entry in stability.items() if isinstance(entry, dict) and entry.get("mle_stable") is False
    ]
    # Of a single element, labels may leave it out.
    return [str(k).removesuffix(f"-{elements[0]}") if len(elements) == 1 else str(k) for k in found]


def _stamp(run: RunFolder) -> dict[str, Any]:
    """What the report is made from, and what it consists of."""
    tables = (run.results, run.summary, run.linearised, run.attribution)
    sources = (run.config, run.posterior, run.ensemble, run.pointwise, *tables)
    record = read_record(run)
    # How long it took to draw the page is not known while it is drawn.
    timings = {k: v for k, v in record.get("timings", {}).items() if k != "report"}
    files = [run.path / "report.html", *sorted((run.path / "figures").glob("*"))]
    return {
        # As text, because a file that someone edited may hold what JSON cannot.
        "from": digest(_contents(sources), repr({**record, "timings": timings}), dict(versions())),
        "files": _contents(files),
    }


def _contents(paths: Iterable[Path]) -> dict[str, str]:
    return {p.name: sha256(p.read_bytes()).hexdigest() for p in paths if p.is_file()}
