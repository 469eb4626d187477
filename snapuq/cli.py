"""The command line: one YAML file, the same options everywhere, one clear line per error."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snapuq import __version__
from snapuq.errors import InputError, SnapuqError, suggest
from snapuq.stopping import INCOMPLETE, RESUME, STATUS, Watch, enter_stage
from snapuq.units import seconds

if TYPE_CHECKING:
    from snapuq.config import CampaignConfig

#: Stages in the order of the data path; ``run`` does them all.
STAGES = ("fit", "sample", "export", "evaluate", "campaign", "report")
#: One BLAS thread per rank: identical bits at any rank count, and no oversubscribed cores.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: Errors of a disk that has no room.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: Errors of the operating system that the user can cure.
_CURABLE = {*_NO_ROOM, errno.EACCES, errno.EPERM, errno.EROFS}
USER_ERROR = 2
INTERRUPTED = STATUS["SIGINT"]
#: Limits of wall-clock time count from here.
_STARTED = time.monotonic()

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Trustworthy error bars on what SNAP interatomic potentials predict.",
    epilog="Start with 'snapuq doctor', then 'snapuq template > campaign.yaml'.",
)

CampaignFile = Annotated[Path, typer.Argument(metavar="FILE", help="Campaign file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, for example ensemble.members=50."),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Output folder [runs/<name>].")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost; run nothing.")]
TimeLimit = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Stop in time, as in '3 h 50 min' or 3:50:00; run again to go on."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"snapuq {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Trustworthy error bars on what SNAP interatomic potentials predict."""


@app.command("doctor")
def _doctor() -> None:
    """Check MPI, launcher, LAMMPS, BLAS threads and FitSNAP; name the remedy of each problem."""
    from snapuq.doctor import examine, show

    checks = examine()
    show(checks)
    if any(check.status == "missing" for check in checks):
        raise typer.Exit(1)


@app.command("template")
def _template(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Which template.")] = "quickstart",
    names: Annotated[bool, typer.Option("--list", help="List the templates.")] = False,
) -> None:
    """Print a commented campaign file, ready to edit."""
    folder = workflows_folder()
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if names:
        typer.echo("\n".join(known))
    elif name not in known:
        raise InputError(f"unknown template '{name}'", hint=suggest(name, known))
    else:
        typer.echo((folder / f"{name}.yaml").read_text(encoding="utf-8"), nl=False)


@app.command("check")
def _check(file: CampaignFile, overrides: Overrides = None, output: Output = None) -> None:
    """Read the campaign file and its data, and run nothing."""
    config = _load(file, overrides, output)
    from snapuq import pipeline

    _echo(pipeline.check(config))


@app.command("run")
def _run(
    file: CampaignFile,
    overrides: Overrides = None,
    output: Output = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    time_limit: TimeLimit = None,
) -> None:
    """Do everything: fit, sample, export, evaluate, campaign, report."""
    _stages(STAGES, file, overrides, output, dry_run, quiet, time_limit)


def _stage_command(stage: str, text: str) -> None:
    """Add the command of a stage that has no options of its own."""

    @app.command(stage, help=text)
    def command(
        file: CampaignFile,
        overrides: Overrides = None,
        output: Output = None,
        dry_run: DryRun = False,
        quiet: Quiet = False,
    ) -> None:
        _stages((stage,), file, overrides, output, dry_run, quiet)


for _stage, _text in (
    ("fit", "Fit the potential and its posterior (posterior.h5)."),
    ("sample", "Draw the ensemble from the posterior (ensemble.h5)."),
    ("export", "Write the potentials for LAMMPS (potentials/)."),
    ("evaluate", "Compare the ensemble with the test configurations."),
):
    _stage_command(_stage, _text)


@app.command("campaign")
def _campaign(
    file: CampaignFile,
    overrides: Overrides = None,
    output: Output = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    time_limit: TimeLimit = None,
) -> None:
    """Compute the properties of the MLE and of every member."""
    _stages(("campaign",), file, overrides, output, dry_run, quiet, time_limit)


@app.command("attribute")
def _attribute(
    file: CampaignFile,
    overrides: Overrides = None,
    output: Output = None,
    properties: Annotated[
        str | None,
        typer.Option(metavar="LABEL,LABEL", help="Labels of properties, as in summary.csv [all]."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Error bars to first order (linearised.csv), and which training data set them (attribution.csv)."""
    config = _load(file, overrides, output)
    from snapuq import pipeline

    labels = () if properties is None else tuple(word.strip() for word in properties.split(","))
    pipeline.attribute(config, labels, quiet=quiet)


@app.command("status")
def _status(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    quiet: Quiet = False,
) -> None:
    """Tell how far a campaign is, running or not; exit status 3 if tasks are left or will be tried again."""
    from snapuq import pipeline

    lines, is_complete = pipeline.describe_status(folder)
    if not quiet:
        _echo("\n".join(lines))
    if not is_complete:
        raise typer.Exit(INCOMPLETE)


@app.command("report")
def _report(
    target: Annotated[Path, typer.Argument(metavar="FOLDER|FILE", help="A run folder or campaign file.")],
    overrides: Overrides = None,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Rebuild the report of a finished run; needs neither LAMMPS nor MPI."""
    enter_stage("report")
    folder = target
    if not target.is_dir():
        if target.suffix not in (".yaml", ".yml"):
            raise InputError(
                "no such run folder or campaign file", file=target, expected="a run's folder, or a .yaml file"
            )
        from snapuq.config import load_config

        folder = load_config(target, overrides or (), output=output, need_inputs=False).output
    elif overrides or output is not None:
        raise InputError("--set and --output go with a campaign file, not with a run folder", file=target)
    from snapuq import pipeline

    page = pipeline.rebuild_report(folder)
    if not quiet:
        _echo(page)


def workflows_folder() -> Path:
    """Find the campaign files that come with the package.

    Returns
    -------
    Path
        Inside the installed package, or beside it in a source tree.
    """
    package = Path(__file__).resolve().parent
    installed = package / "workflows"
    return installed if installed.is_dir() else package.parent / "workflows"


def _load(file: Path, overrides: Sequence[str] | None, output: Path | None) -> CampaignConfig:
    """Read the file on rank 0 alone, so that all ranks see the same content."""
    from snapuq.config import load_config
    from snapuq.parallel import exit_channel, world

    ranks = world()
    exit_channel()
    enter_stage("preparation")
    return ranks.from_root(lambda: load_config(file, overrides or (), output=output))


def _stages(
    stages: tuple[str, ...],
    file: Path,
    overrides: Sequence[str] | None,
    output: Path | None,
    dry_run: bool,
    quiet: bool,
    time_limit: str | None = None,
) -> None:
    deadline = None if time_limit is None else _STARTED + _seconds(time_limit)
    config = _load(file, overrides, output)
    if time_limit is not None and _seconds(time_limit) <= seconds(config.campaign.drain):
        raise InputError(
            "leaves no time for tasks",
            key="--time-limit",
            found=time_limit,
            expected=f"more than campaign.drain ({config.campaign.drain})",
        )
    from snapuq import pipeline

    if dry_run:
        _echo(pipeline.dry_run(config))
    else:
        pipeline.execute(config, stages=stages, quiet=quiet, deadline=deadline)


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise InputError(str(error), key="--time-limit") from error


def _echo(text: object) -> None:
    from snapuq.parallel import launcher_rank

    if launcher_rank() == 0 and text is not None:
        typer.echo(str(text))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after ``snapuq``; by default those of this process.

    Returns
    -------
    int
        Exit status: 0, 1 (a bug, or ``doctor`` found something missing), 2 (bad input or
        environment), 3 (``status``: tasks are left; stopped by SIGUSR1 or the clock outside a campaign),
        130 (interrupted), 143 (stopped by SIGTERM outside a campaign).
    """
    for name in _THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    with Watch():
        return _answer(words)


def _answer(words: list[str]) -> int:
    try:
        return int(app(args=words, prog_name="snapuq", standalone_mode=False) or 0)
    except SnapuqError as error:
        return _stop(str(error))
    except typer.BadParameter.__base__ as error:  # type: ignore[misc]  # every usage error
        return _stop(_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        # The second Ctrl-C of a campaign.
        _say_once(f"snapuq: stopped by SIGINT; {RESUME}")
        _abort(INTERRUPTED)
        return INTERRUPTED
    except OSError as error:
        return _stop(_cure(error)) if error.errno in _CURABLE else _bug()
    except Exception:  # noqa: BLE001 - a bug: shown in full, and other ranks must not hang
        return _bug()


def _cure(error: OSError) -> str:
    """Say in one line what the system refused, where, and what to do; HDF5's own texts are dumps."""
    assert error.errno is not None
    where = f"{error.filename}: " if error.filename else ""
    what = os.strerror(error.errno)
    if error.errno not in _NO_ROOM:
        return f"{where}{what}"
    which = "" if where else " for the output or for temporary files (TMPDIR)"
    return f"{where}{what}{which}; make room and run the same command again: what is finished is kept"


def _say_once(text: str) -> None:
    from snapuq.parallel import launcher_rank

    if launcher_rank() == 0:
        print(text, file=sys.stderr, flush=True)


def _usage(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", None) or "snapuq"
    message = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    return f"{message}; see '{command} --help'"


def _stop(text: str) -> int:
    """Print an error once; if other ranks still wait for this one, end them too."""
    from snapuq.parallel import all_leave, launcher_rank

    together = all_leave()
    if launcher_rank() == 0 or not together:
        for line in text.splitlines():
            print(f"snapuq: error: {line}", file=sys.stderr, flush=True)
    if not together:
        _abort(USER_ERROR)
    return USER_ERROR


def _bug() -> int:
    traceback.print_exc()
    print("snapuq: this is a bug; please report it with the lines above", file=sys.stderr, flush=True)
    _abort(1)
    return 1


def _abort(code: int) -> None:
    from snapuq.parallel import abort

    abort(code)
