"""Every bad input of a run: one clear line, exit status 2, no traceback, nothing written."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from json_data import write_data

from snapuq.cli import main

pytestmark = pytest.mark.lammps

CAMPAIGN = """name: faults
dataset: {path: data, test: {fraction: 0.2}}
potential:
  rcutfac: 4.7
  twojmax: 2
  elements: {W: {}}
fit: {calibrate: {folds: 2}}
ensemble: {members: 3}
campaign: {properties: [phase: {structures: [bcc]}]}
"""


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A campaign that works, in an empty folder that is the current one."""
    write_data(tmp_path)
    path = tmp_path / "faults.yaml"
    path.write_text(CAMPAIGN)
    monkeypatch.chdir(tmp_path)
    return path


def refused(capfd: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Run ``snapuq`` and return its only line of complaint."""
    capfd.readouterr()
    status = main([str(w) for w in words])
    captured = capfd.readouterr()
    lines = captured.err.splitlines()
    assert status == 2, captured.err
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("snapuq: error: ")
    return lines[0]


def edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Change one record of the fourth file."""

    def apply(group: Path) -> None:
        path = group / "c_03.json"
        document = json.loads(path.read_text().split("\n", 1)[1])
        change(document["Dataset"]["Data"][0])
        path.write_text(json.dumps(document))

    return apply


def cut(group: Path) -> None:
    text = (group / "c_03.json").read_text()
    (group / "c_03.json").write_text(text[: len(text) // 2])


def style(group: Path) -> None:
    text = (group / "c_03.json").read_text()
    (group / "c_03.json").write_text(text.replace('electronvolt"', 'furlong"'))


def empty_group(group: Path) -> None:
    (group.parent / "nothing").mkdir()


# What is done to the data, and what the one line must name.
BAD_DATA: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "malformed JSON": (lambda g: (g / "c_03.json").write_text('{"Dataset": {,}}') and None, ("c_03.json",)),
    "truncated file": (cut, ("c_03.json",)),
    "NaN": (edit(lambda d: d.update(Energy=float("nan"))), ("c_03.json", "Energy")),
    "infinite": (edit(lambda d: d["Forces"][0].__setitem__(0, float("inf"))), ("c_03.json", "Forces")),
    "wrong count": (edit(lambda d: d.update(NumAtoms=3)), ("c_03.json", "NumAtoms")),
    "missing forces": (edit(lambda d: d.pop("Forces")), ("c_03.json", "Forces")),
    "singular cell": (
        edit(lambda d: d["Lattice"].__setitem__(2, d["Lattice"][1])),
        ("c_03.json", "singular"),
    ),
    "left-handed cell": (
        edit(lambda d: d.update(Lattice=[d["Lattice"][i] for i in (1, 0, 2)])),
        ("c_03.json", "left-handed"),
    ),
    "unknown element": (edit(lambda d: d.update(AtomTypes=["W", "Wx"])), ("c_03.json", "Wx")),
    "other element": (edit(lambda d: d.update(AtomTypes=["W", "Be"])), ("Be",)),
    "unknown unit": (style, ("c_03.json", "EnergyStyle", "furlong")),
    "wrong unit": (edit(lambda d: d.update(Energy=-17.8e5)), ("c_03.json", "nergy")),
    "empty group": (empty_group, ("nothing",)),
}


@pytest.mark.parametrize("name", sorted(BAD_DATA))
def test_bad_data(campaign: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    spoil, words = BAD_DATA[name]
    spoil(campaign.parent / "data" / "crystal")
    line = refused(capfd, "run", campaign, "-o", "out")
    for word in words:
        assert word in line
    assert not (campaign.parent / "out").exists()


# What the campaign file says instead, and what the one line must name.
BAD_SETTINGS = {
    "more parameters than rows": (["potential.twojmax=8", "potential.quadraticflag=1"], "more parameters"),
    "unknown key": (["potential.twojmx=4"], "twojmax"),
    "wrong type": (["potential.twojmax=six"], "twojmax"),
    "impossible value": (["dataset.test.fraction=1.5"], "fraction"),
    "unknown property": (["campaign.properties=[elastik: {structure: bcc}]"], "elastic"),
    "unknown crystal": (["campaign.properties=[eos: {structure: bbc}]"], "bcc"),
    "unknown group": (["dataset.test={groups: [cristal]}"], "crystal"),
    "missing reference": (
        ["reference.potential={pair_style: eam/alloy, pair_coeff: ['* * nowhere.eam.alloy W']}"],
        "nowhere",
    ),
    "command in a pair style": (
        ["potential.reference={pair_style: 'zbl 4 5; quit', pair_coeff: ['* *']}"],
        ";",
    ),
    "missing data": (["dataset.path=elsewhere"], "elsewhere"),
}


@pytest.mark.parametrize("name", sorted(BAD_SETTINGS))
def test_bad_settings(campaign: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    overrides, word = BAD_SETTINGS[name]
    words = [w for o in overrides for w in ("--set", o)]
    line = refused(capfd, "run", campaign, "-o", "out", *words)
    assert word in line
    assert not (campaign.parent / "out").exists()


def test_an_output_folder_of_something_else_is_refused(
    campaign: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = campaign.parent / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    assert "holds no snapuq run" in refused(capfd, "run", campaign, "-o", out)
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]


def test_stages_follow_each_other_and_refuse_changed_data(
    campaign: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = campaign.parent / "out"
    assert "run 'snapuq fit' first" in refused(capfd, "sample", campaign, "-o", out)
    for stage in ("fit", "sample", "export", "evaluate", "campaign", "report"):
        assert main([stage, str(campaign), "-o", str(out), "-q"]) == 0, capfd.readouterr().err
    for name in ("posterior.h5", "ensemble.h5", "summary.csv", "results.csv", "report.html", "summary.yaml"):
        assert (out / name).is_file()
    assert "another run" in refused(capfd, "fit", campaign, "-o", out, "--set", "seed=4")
    edit(lambda d: d.update(Energy=d["Energy"] + 0.01))(campaign.parent / "data" / "crystal")
    assert "the data have changed" in refused(capfd, "fit", campaign, "-o", out)
    # The report needs neither data nor LAMMPS.
    (out / "report.html").unlink()
    assert main(["report", str(out), "-q"]) == 0
    assert (out / "report.html").is_file()


def test_damaged_files_are_noticed_and_made_again(campaign: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = campaign.parent / "out"
    assert main(["run", str(campaign), "-o", str(out), "-q"]) == 0, capfd.readouterr().err
    summary = (out / "summary.csv").read_bytes()
    for name, stage in (("posterior.h5", "fit"), ("ensemble.h5", "sample"), ("pointwise.h5", "evaluate")):
        content = bytearray((out / name).read_bytes())
        content[len(content) // 2] ^= 4
        (out / name).write_bytes(content)
        line = refused(capfd, "report", out)
        assert name in line
        assert f"run 'snapuq {stage}' again" in line
        assert main([stage, str(campaign), "-o", str(out), "-q"]) == 0
        assert main(["report", str(out), "-q"]) == 0
    (out / "summary.yaml").write_text("- a\n")
    assert "summary.yaml: is damaged" in refused(capfd, "report", out)
    (out / "summary.yaml").unlink()
    # A member's file that was changed by hand is written again before it is used.
    member = out / "potentials" / "members" / "W_0002.snapcoeff"
    original = member.read_bytes()
    member.write_bytes((out / "potentials" / "W.snapcoeff").read_bytes())
    for file in (out / "journal").iterdir():
        file.unlink()
    assert main(["run", str(campaign), "-o", str(out), "-q"]) == 0
    assert member.read_bytes() == original
    assert (out / "summary.csv").read_bytes() == summary


def test_two_runs_in_one_folder_are_refused(campaign: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = campaign.parent / "out"
    assert main(["fit", str(campaign), "-o", str(out), "-q"]) == 0
    with (out / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert "another run is working in this folder" in refused(capfd, "fit", campaign, "-o", out)
    assert main(["fit", str(campaign), "-o", str(out), "-q"]) == 0
