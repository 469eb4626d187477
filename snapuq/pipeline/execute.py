"""Run the stages of a campaign in the order of the data path."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from threadpoolctl import threadpool_limits

from snapuq.analysis.calibration import group_metrics, metrics
from snapuq.analysis.pointwise import save_pointwise
from snapuq.config import CampaignConfig
from snapuq.core.dataset import Dataset
from snapuq.core.ensemble import Ensemble
from snapuq.errors import InputError, Stopped
from snapuq.lammps.snapfiles import write_ensemble
from snapuq.parallel import Ranks, world
from snapuq.pipeline.campaigning import check_campaign, run_properties
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.prepare import Prepared, generated_digest, prepare
from snapuq.pipeline.record import read_record, update_record
from snapuq.pipeline.reporting import HELD_OUT, NONE_HELD_OUT, is_current, rebuild_report
from snapuq.pipeline.stability import state_stability
from snapuq.pipeline.suspicions import data_warnings
from snapuq.pipeline.training import fit_posterior, predict_unseen
from snapuq.provenance import atomic_path, sweep_unfinished
from snapuq.report.evaluation import evaluation_lines
from snapuq.report.tables import write_pointwise_csv
from snapuq.stopping import RESUME, StopRequest, enter_stage
from snapuq.units import seconds
from snapuq.uq.ensemble_file import load_ensemble, save_ensemble
from snapuq.uq.hypercube import HypercubePosterior

# Seconds without a change after which nobody writes to a temporary file of a shared folder any more.
_ABANDONED = 3600.0


def execute(
    config: CampaignConfig, stages: Sequence[str], quiet: bool = False, deadline: float | None = None
) -> None:
    """Run some or all stages; what an earlier call finished is not done again.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    stages : sequence of str
        Out of fit, sample, export, evaluate, campaign and report.
    quiet : bool
        No progress.
    deadline : float or None
        `time.monotonic` at which a campaign must have stopped.

    Raises
    ------
    InputError
        When data, configuration and output folder do not go together.
    """
    run = Run(config, RunFolder(Path(config.output)), world(), quiet, deadline)
    enter_stage("preparation", deadline)
    run.root(lambda: run.folder.check(config))
    run.root(lambda: _need_earlier(run.folder, stages))
    # Everything that can be wrong with data, properties and reference is found before anything is written.
    if "fit" in stages or "evaluate" in stages:
        recipe, content = run.data
        if "campaign" in stages:
            elements = run.elements
            for line in run.ranks.from_root(lambda: check_campaign(config, elements)):
                run.say(line)
        run.root(lambda: run.folder.claim(config))
        run.root(lambda: run.folder.note(data=content, generated=recipe))
    else:
        run.root(lambda: run.folder.claim(config))
    # One BLAS thread per rank, whatever the environment says: identical bits at any number of ranks.
    with threadpool_limits(1), run.folder.locked(run.ranks):
        # Other runs may be writing rows to a folder of their own.
        run.root(lambda: sweep_unfinished(run.rows, age=_ABANDONED))
        for stage in stages:
            # The report is drawn in any case: it takes seconds, and the campaign has seen to the clock.
            enter_stage(stage, None if stage == "report" else deadline)
            try:
                run.do(stage)
            except Stopped as stopped:
                run.say(f"stopped ({stopped.reason}); {RESUME}")
                return
    run.say(f"done: {run.folder.path}")


@dataclass(eq=False)
class Run:
    """One call of `execute`: what the stages share.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    folder : RunFolder
        The output folder.
    ranks : Ranks
        The ranks of this run.
    quiet : bool
        No progress.
    deadline : float or None
        `time.monotonic` at which a campaign must have stopped.
    """

    config: CampaignConfig
    folder: RunFolder
    ranks: Ranks
    quiet: bool
    deadline: float | None
    _posterior: HypercubePosterior | None = field(default=None, init=False)
    _ensemble: Ensemble | None = field(default=None, init=False)

    def say(self, text: str) -> None:
        """Print a line on rank 0.

        Parameters
        ----------
        text : str
            The line.
        """
        if self.ranks.is_root and not self.quiet:
            print(f"snapuq: {text}", flush=True)

    def do(self, stage: str) -> None:
        """Run a stage, and record its wall time if there was anything to do.

        Parameters
        ----------
        stage : str
            Its name.
        """
        start = time.monotonic()
        self.say(f"{stage} ...")
        if _STAGES[stage](self):
            seconds = round(time.monotonic() - start, 2)
            self.root(lambda: update_record(self.folder, self.config, timings={stage: seconds}))

    def has(self, path: Path) -> bool:
        """Tell whether an earlier call finished a file; rank 0 decides for all.

        Parameters
        ----------
        path : Path
            The file.

        Returns
        -------
        bool
            The same on every rank, whatever the others have written meanwhile.
        """
        found = self.ranks.from_root(lambda: self.folder.is_sound(path))
        if found:
            self.say(f"{path.name} is there already")
        return found

    def keep(self, path: Path, write: Callable[[Path], object]) -> None:
        """Write a file on rank 0 and seal it.

        Parameters
        ----------
        path : Path
            The file.
        write : callable
            Takes the path.
        """

        def sealed() -> None:
            write(path)
            self.folder.seal(path)

        self.ranks.from_root(sealed)

    def root(self, write: Callable[[], object]) -> None:
        """Write something on rank 0 while the others wait.

        Parameters
        ----------
        write : callable
            Called on rank 0.
        """

        def quietly() -> None:
            write()

        self.ranks.from_root(quietly)

    @cached_property
    def prepared(self) -> Prepared:
        """The data, read on rank 0."""
        self.say("data ...")
        prepared = self.ranks.from_root(lambda: prepare(self.config))
        n_test = int(prepared.is_test.sum())
        self.say(
            f"{len(prepared.dataset)} configurations ({n_test} held out, {prepared.n_excluded} excluded), "
            f"{prepared.settings.n_columns} coefficients"
        )
        for warning in self.ranks.from_root(lambda: data_warnings(prepared, self.config)):
            self.say(f"warning: {warning}")
        self.root(lambda: self.folder.check_data(prepared.digest))
        return prepared

    @cached_property
    def data(self) -> tuple[str, str]:
        """Hash of all that decides generated data (empty for data that are read), and that of the data.

        Data are generated again only if something has changed; data that are read may always have.
        """
        recipe = self.ranks.from_root(lambda: generated_digest(self.config))
        known = self.ranks.from_root(lambda: self.folder.known_data(recipe) if recipe else "")
        return recipe, known or self.prepared.digest

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements of the potential."""
        section = self.config.potential
        return self.prepared.settings.elements if section is None else tuple(section.elements)

    @property
    def rows(self) -> Path:
        """Folder of the design rows."""
        return self.folder.rows if self.config.fit.rows is None else self.config.fit.rows

    @property
    def posterior(self) -> HypercubePosterior:
        """The posterior, of this call or from the folder."""
        if self._posterior is None:
            self._posterior = self.ranks.from_root(
                lambda: HypercubePosterior.load(self.folder.need(self.folder.posterior, "fit"))
            )
        return self._posterior

    @property
    def ensemble(self) -> Ensemble:
        """The ensemble, of this call or from the folder."""
        if self._ensemble is None:
            self._ensemble = self.ranks.from_root(
                lambda: load_ensemble(self.folder.need(self.folder.ensemble, "sample"))
            )
        return self._ensemble


def _need_earlier(folder: RunFolder, stages: Sequence[str]) -> None:
    """Refuse a stage in a new folder whose files an earlier stage makes: nothing must be left there."""
    if "fit" not in stages and not folder.is_claimed:
        folder.need(folder.posterior, "fit")


def _fit(run: Run) -> bool:
    if run.has(run.folder.posterior):
        return False
    prepared = run.prepared
    if run.config.dataset.generate is not None:
        run.root(lambda: _write_dataset(run.folder.dataset, prepared.dataset))
    posterior = fit_posterior(prepared, run.config, run.rows, run.ranks, run.quiet)
    run.keep(run.folder.posterior, posterior.save)
    run._posterior = posterior
    for warning in posterior.diagnostics["warnings"]:
        run.say(f"warning: {warning}")
    return True


def _sample(run: Run) -> bool:
    is_new = not (run.has(run.folder.ensemble) and len(run.ensemble) == run.config.ensemble.members)
    if is_new:
        posterior = run.posterior
        drawn = run.ranks.from_root(lambda: posterior.sample(run.config.ensemble.members, run.config.seed))
        run.keep(run.folder.ensemble, lambda path: save_ensemble(path, drawn))
        run._ensemble = drawn
    ensemble = run.ensemble
    for line in run.ranks.from_root(lambda: state_stability(run.config, run.folder, ensemble, is_new)):
        run.say(line)
    return is_new


def _export(run: Run) -> bool:
    ensemble = run.ensemble
    name = "-".join(ensemble.settings.elements)
    is_new = run.ranks.from_root(lambda: not (run.folder.potentials / f"{name}.mod").exists())
    # Written again in any case, in case someone has edited them.
    run.root(lambda: write_ensemble(ensemble, run.folder.potentials, name))
    return is_new


def _evaluate(run: Run) -> bool:
    posterior, ensemble = run.posterior, run.ensemble
    known = run.ranks.from_root(lambda: read_record(run.folder).get("evaluated_members"))
    if known == len(ensemble) and run.has(run.folder.pointwise):
        return False
    table = predict_unseen(run.prepared, posterior, ensemble, run.rows, run.ranks, run.quiet)
    held_out = bool(run.prepared.is_test.any())
    # What cross-validation expects, it expects of unseen data.
    calibration = posterior.diagnostics["calibration"] if held_out else None

    def write() -> None:
        write_pointwise_csv(run.folder.pointwise_metrics, [*metrics(table), *group_metrics(table)])
        on = HELD_OUT if held_out else NONE_HELD_OUT
        update_record(run.folder, run.config, evaluated_on=on, evaluated_members=len(ensemble))
        for line in evaluation_lines(table, calibration, len(ensemble)):
            run.say(line)

    run.root(write)
    run.keep(run.folder.pointwise, lambda path: save_pointwise(path, table))
    return True


def _campaign(run: Run) -> bool:
    n_members, wanted = len(run.ensemble), run.config.ensemble.members
    if n_members != wanted:
        raise InputError(
            f"holds {n_members} members",
            file=run.folder.ensemble,
            expected=f"{wanted}, as the campaign file says",
            hint="run 'snapuq sample' first",
        )
    stop = StopRequest(run.deadline, seconds(run.config.campaign.drain))
    is_new, lines = run_properties(run.config, run.folder, run.ensemble, run.ranks, stop, run.quiet)
    for line in lines:
        run.say(line)
    return is_new


def _report(run: Run) -> bool:
    if run.ranks.from_root(lambda: is_current(run.folder)):
        run.say("report.html is up to date")
        return False
    run.root(lambda: rebuild_report(run.folder.path))
    return True


def _write_dataset(path: Path, dataset: Dataset) -> None:
    """Keep generated data as extended XYZ, so that the fit can be repeated elsewhere."""
    # ASE's formats take long to import, and only runs that make data write any.
    import ase.io
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for c in dataset.configurations:
        atoms = Atoms(c.structure.species, positions=c.structure.positions, cell=c.structure.cell, pbc=True)
        atoms.calc = SinglePointCalculator(atoms, energy=c.energy, forces=c.forces, stress=c.stress)
        atoms.info["config_type"] = c.group
        frames.append(atoms)
    with atomic_path(path) as temporary:
        # ASE finds mpi4py and would wait for the other ranks.
        ase.io.write(temporary, frames, format="extxyz", parallel=False)


# Each tells whether there was anything to do.
_STAGES: dict[str, Callable[[Run], bool]] = {
    "fit": _fit,
    "sample": _sample,
    "export": _export,
    "evaluate": _evaluate,
    "campaign": _campaign,
    "report": _report,
}
