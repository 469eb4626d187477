"""The command line: exit status, one clear line per error, no traceback unless it is a bug."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import snapuq
from snapuq import cli
from snapuq.config import load_config
from snapuq.errors import EnvironmentProblem, InputError

COMMANDS = ("doctor", "template", "check", "run", "fit", "sample", "evaluate", "campaign", "report", "export")
FILE = "name: w\ndataset: {path: .}\npotential: {rcutfac: 4.7, twojmax: 6, elements: {W: {}}}\n"


class FakePipeline(SimpleNamespace):
    """Stands for `snapuq.pipeline`; records calls, and raises what a test asks for."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.error: BaseException | None = None

    def execute(self, config: Any, stages: tuple[str, ...], quiet: bool, deadline: float | None) -> None:
        self.calls.append((config, stages, quiet))
        if self.error is not None:
            raise self.error

    def check(self, config: Any) -> str:
        return f"check of {config.name}"

    def dry_run(self, config: Any) -> str:
        return f"plan of {config.name} with {config.ensemble.members} members"

    def rebuild_report(self, folder: Path) -> Path:
        self.calls.append(folder)
        return folder / "report.html"


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    fake = FakePipeline()
    monkeypatch.setitem(sys.modules, "snapuq.pipeline", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(snapuq, "pipeline", fake, raising=False)
    return fake


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    path = tmp_path / "campaign.yaml"
    path.write_text(FILE)
    return path


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snapuq", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_help_version_and_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"snapuq {snapuq.__version__}\n"
    assert cli.main([]) == 0
    overview = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command} " in overview
        assert cli.main([command, "--help"]) == 0
        assert "\x1b" not in capsys.readouterr().out


def test_help_loads_neither_lammps_nor_mpi_nor_numpy() -> None:
    probe = (
        "import sys; from snapuq.cli import main; main(['--help']);"
        "sys.exit(any(m in sys.modules for m in ('lammps', 'mpi4py', 'numpy', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode == 0


def test_run_does_all_stages_and_each_command_its_own(pipeline: FakePipeline, campaign: Path) -> None:
    for command in ("run", "fit", "sample", "evaluate", "campaign", "export"):
        assert cli.main([command, str(campaign), "--quiet"]) == 0
        _, stages, quiet = pipeline.calls.pop()
        assert stages == (cli.STAGES if command == "run" else (command,))
        assert quiet


def test_options_reach_the_configuration(pipeline: FakePipeline, campaign: Path) -> None:
    words = ["--set", "ensemble.members=7", "--set", "seed=3", "-o", "out"]
    assert cli.main(["run", str(campaign), *words]) == 0
    config, _, quiet = pipeline.calls.pop()
    assert (config.ensemble.members, config.seed, quiet) == (7, 3, False)
    assert config.output == Path.cwd() / "out"


def test_dry_run_and_check_print_and_run_nothing(
    pipeline: FakePipeline, campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(campaign), "--dry-run", "--set", "ensemble.members=7"]) == 0
    assert cli.main(["check", str(campaign)]) == 0
    assert capsys.readouterr().out == "plan of w with 7 members\ncheck of w\n"
    assert pipeline.calls == []


def test_report_takes_a_folder_or_a_campaign_file(
    pipeline: FakePipeline, campaign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path)]) == 0
    assert cli.main(["report", str(campaign), "-o", str(tmp_path / "out")]) == 0
    assert pipeline.calls == [tmp_path, tmp_path / "out"]
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "report.html")
    assert cli.main(["report", str(tmp_path), "--set", "seed=2"]) == 2


def test_user_errors_are_one_line_with_status_2(
    pipeline: FakePipeline, campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/results.csv")
    errors = {
        "f.yaml:3: k: bad": InputError("bad", file="f.yaml", line=3, key="k"),
        "install it": EnvironmentProblem("install it"),
        "/disk/results.csv: No space left on device; make room and run the same command again: "
        "what is finished is kept": full,
    }
    for text, error in errors.items():
        pipeline.error = error
        assert cli.main(["run", str(campaign)]) == 2
        assert capsys.readouterr().err == f"snapuq: error: {text}\n"


def test_several_problems_are_a_line_each(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaign.write_text(FILE.replace("twojmax: 6", "twojmx: 6, rcutfak: 1"))
    assert cli.main(["run", str(campaign)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"snapuq: error: {campaign}:3: potential.") for line in lines)


def test_other_ranks_leave_without_a_word(
    campaign: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign.write_text("nonsense: 1\n")
    monkeypatch.setenv("PMI_RANK", "1")
    assert cli.main(["run", str(campaign)]) == 2
    assert capsys.readouterr().err == ""


def test_interruption_gives_130(pipeline: FakePipeline, campaign: Path) -> None:
    pipeline.error = KeyboardInterrupt()
    assert cli.main(["run", str(campaign)]) == 130


def test_a_bug_shows_its_traceback(
    pipeline: FakePipeline, campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.error = ZeroDivisionError("a bug")
    assert cli.main(["run", str(campaign)]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error and "ZeroDivisionError: a bug" in error and "please report" in error


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument"),
        (["run", "--sett", "a=1", "f.yaml"], "No such option: --sett"),
        (["template", "quikstart"], "unknown template 'quikstart'; did you mean 'quickstart'?"),
        (["run", "missing.yaml"], "missing.yaml: cannot be read: No such file or directory"),
        (["report", "missing"], "missing: no such run folder"),
    ],
)
def test_wrong_usage_from_a_shell(words: list[str], text: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("snapuq: error: ")
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_templates_are_listed_printed_and_load(tmp_path: Path) -> None:
    names = run("template", "--list").stdout.split()
    assert {"quickstart", "tungsten_dft", "tantalum_fitsnap"} <= set(names)
    assert run("template").stdout == run("template", "quickstart").stdout
    for name in names:
        text = run("template", name, PYTHONUTF8="1").stdout
        path = tmp_path / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        assert text.startswith("#")
        assert load_config(path, need_inputs=False).seed == 1


def test_the_report_needs_neither_lammps_nor_mpi(tmp_path: Path) -> None:
    shim = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('lammps', 'mpi4py'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
    )
    (tmp_path / "sitecustomize.py").write_text(shim)
    done = run("report", str(tmp_path), PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "holds no snapuq run" in done.stderr
