"""The line that sums up a campaign: every task is counted once, and what spoils all of it is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from json_data import write_data

from snapuq.config import CampaignConfig, load_config
from snapuq.core.result import PropertyResult, Quantity
from snapuq.core.task import PropertyTask
from snapuq.pipeline.campaigning import _summarise, plan_tasks
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.record import read_record
from snapuq.results.journal import JournalContent

CAMPAIGN = """name: summary
dataset: {path: data}
potential: {rcutfac: 4.7, twojmax: 2, elements: {W: {}}}
ensemble: {members: 3}
campaign: {properties: [phase: {structures: [bcc, fcc]}]}
reference: {potential: {pair_style: lj/cut 5.0, pair_coeff: ["* * 0.1 2.5"]}}
"""
FAILED = {"values": {}, "failure": "runaway", "converged": False}


@pytest.fixture
def config(tmp_path: Path) -> CampaignConfig:
    write_data(tmp_path)
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN)
    return load_config(path, output=tmp_path / "out")


def result(task: PropertyTask) -> PropertyResult:
    return PropertyResult(task.key, task.label, task.member, {"a": Quantity(3.0 + 0.1 * task.member, "A")})


def summary(config: CampaignConfig, changes: dict[tuple[str, int], dict]) -> str:
    """The first line for results that are sound but for some of them, by label and member."""
    # Without digests all members would have the same key.
    tasks = [replace(t, potential_digest=str(t.member)) for t in plan_tasks(config, ("W",), None)]
    results = {t.key: replace(result(t), **changes.get((t.label, t.member), {})) for t in tasks}
    assert len(results) == 10
    return _summarise(config, RunFolder(Path(config.output)), tasks, JournalContent(results, 0, ()))[0]


def test_a_failed_task_is_not_counted_as_not_converged_too(config: CampaignConfig) -> None:
    text = summary(config, {("phase-bcc", 1): FAILED, ("phase-bcc", 2): {"converged": False}})
    assert text.startswith("10 tasks, 1 failed, 1 not converged; ")
    counts = read_record(RunFolder(Path(config.output)))["campaign"]
    assert (counts["failed"], counts["unconverged"], counts["failures"]) == (1, 1, {"runaway": 1})


def test_a_reference_potential_that_fails_is_named(config: CampaignConfig) -> None:
    both = {(label, -1): FAILED for label in ("phase-bcc", "phase-fcc")}
    assert "; the reference potential itself failed in every property" in summary(config, both)
    one = summary(config, {("phase-fcc", -1): FAILED})
    assert "; the reference potential itself failed in phase-fcc" in one
    assert "itself failed" not in summary(config, {("phase-fcc", 2): FAILED})
    assert "; the MLE itself failed in phase-bcc" in summary(config, {("phase-bcc", 0): FAILED})
