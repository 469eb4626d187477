"""How far a campaign is, read from its folder while nobody or somebody works there."""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path

import pytest
from campaign_driver import tasks

from snapuq.campaign import status as module
from snapuq.campaign.status import read_status, write_plan
from snapuq.core.result import PropertyResult, Quantity
from snapuq.core.task import PropertyTask
from snapuq.errors import InputError
from snapuq.pipeline.status import describe_status
from snapuq.results.journal import Journal

#: Three properties of five potentials: all phase-fcc-Ar, then phase-bcc-Ar, then elastic-fcc-Ar.
TASKS = tasks(3)
#: When the job of the tests started, s since the epoch.
START = 1.7e9


class Calendar:
    """A clock that the tests set."""

    now = START

    def time(self) -> float:
        return self.now


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    found = Calendar()
    monkeypatch.setattr(time, "time", found.time)
    return found


@pytest.fixture
def run_folder(tmp_path: Path, calendar: Calendar) -> Path:
    """A run whose campaign two ranks have just started."""
    write_plan(tmp_path / "journal", TASKS, 2)
    return tmp_path


def append(run_folder: Path, *finished: tuple[PropertyTask, float, str], rank: int = 0) -> None:
    with Journal(run_folder / "journal", rank) as opened:
        for task, seconds, failure in finished:
            values = {} if failure else {"a": Quantity(1.0, "A")}
            opened.append(
                PropertyResult(task.key, task.label, task.member, values, failure=failure, seconds=seconds)
            )


def test_a_campaign_that_has_just_started(run_folder):
    found = read_status(run_folder / "journal")
    assert [(p.label, p.n_tasks, p.n_done) for p in found.properties] == [
        ("phase-fcc-Ar", 5, 0),
        ("phase-bcc-Ar", 5, 0),
        ("elastic-fcc-Ar", 5, 0),
    ]
    assert (found.n_tasks, found.n_done, found.n_ranks, found.started) == (15, 0, 2, START)
    assert (found.rate, found.seconds_left) == (0.0, None)
    assert not found.is_complete


def test_counts_failures_means_and_the_estimate(run_folder, calendar):
    calendar.now += 10.0
    append(run_folder, (TASKS[0], 2.0, ""), (TASKS[1], 4.0, ""), (TASKS[2], 0.1, "lost_atoms"))
    append(
        run_folder, (TASKS[5], 1.0, ""), (TASKS[3], 60.0, "time_limit"), (TASKS[4], 0, "lost_atoms"), rank=7
    )
    found = read_status(run_folder / "journal")
    first, second, third = found.properties
    assert (first.n_done, first.failures) == (5, {"lost_atoms": 2, "time_limit": 1})
    assert (second.n_done, second.failures) == (1, {})
    assert (third.n_done, third.failures) == (0, {})
    # Failures end early or late, and say nothing about the rest.
    assert [p.seconds for p in found.properties] == [3.0, 1.0, None]
    # Four of 1 s, and five that have not run count as the mean of 3 s and 1 s; two ranks.
    assert found.seconds_left == (4 * 1.0 + 5 * 2.0) / 2
    assert found.rate == 6 / 10.0
    assert found.n_done == 6


def test_records_of_other_campaigns_in_the_same_folder_do_not_count(run_folder):
    other = tasks(3, seed=2)
    append(run_folder, *[(task, 1.0, "") for task in other])
    found = read_status(run_folder / "journal")
    assert found.n_done == 0
    assert not found.is_complete


def test_damaged_lines_are_not_done(run_folder):
    append(run_folder, (TASKS[0], 1.0, ""), (TASKS[1], 1.0, ""))
    path = run_folder / "journal" / "rank_0000.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert read_status(run_folder / "journal").n_done == 1


def test_a_complete_campaign_has_no_time_left(run_folder, calendar):
    calendar.now += 5.0
    append(run_folder, *[(task, 1.0, "crashed" if task.member == 2 else "") for task in TASKS])
    found = read_status(run_folder / "journal")
    assert found.is_complete
    assert found.seconds_left == 0.0
    lines, is_complete = describe_status(run_folder)
    assert is_complete
    assert lines[0] == f"{run_folder}: complete"
    assert lines[1] == "done     15 of 15 tasks (100.0 %)"
    assert lines[2] == "failed   3 (3 crashed)"
    assert not any(line.startswith(("rate", "left")) for line in lines)


def test_tasks_that_another_run_tries_again_are_told(run_folder):
    late = {task.key: 1 + i for i, task in enumerate(t for t in TASKS if t.member == 2)}
    with Journal(run_folder / "journal", 0) as opened:
        for task in TASKS:
            how = {"failure": "time_limit", "attempt": min(late[task.key], 2)} if task.key in late else {}
            opened.append(PropertyResult(task.key, task.label, task.member, {}, seconds=1.0, **how))
    # Three ran into the limit, two of them for the second time.
    assert read_status(run_folder / "journal").n_second == 1
    lines, is_complete = describe_status(run_folder)
    assert not is_complete
    assert lines[0] == f"{run_folder}: complete but for 1 to try again"
    assert lines[3].startswith("again    1 that ran into the time limit; the next run tries")


def test_the_rate_is_that_of_the_present_job_lately(run_folder, calendar, monkeypatch):
    monkeypatch.setattr(module, "RECENT_SECONDS", 100.0)
    # An earlier job did two; this one did one long ago and four in its last 100 s.
    calendar.now = START - 50.0
    append(run_folder, (TASKS[0], 1.0, ""), (TASKS[1], 1.0, ""))
    calendar.now = START + 10.0
    append(run_folder, (TASKS[2], 1.0, ""))
    for index, late in enumerate((1000.0, 1020.0, 1050.0, 1100.0)):
        calendar.now = START + late
        append(run_folder, (TASKS[3 + index], 1.0, ""))
    assert read_status(run_folder / "journal").rate == 4 / 100.0
    assert read_status(run_folder / "journal").n_done == 7


def test_another_job_on_the_same_campaign(run_folder, calendar):
    append(run_folder, (TASKS[0], 1.0, ""))
    calendar.now += 1e5
    write_plan(run_folder / "journal", TASKS, 8)
    found = read_status(run_folder / "journal")
    assert (found.n_ranks, found.started, found.rate, found.n_done) == (8, START + 1e5, 0.0, 1)


def test_lines_of_a_campaign_that_is_not_running(run_folder, calendar):
    calendar.now += 30.0
    append(run_folder, (TASKS[0], 20.0, ""), (TASKS[1], 0.0, "lost_atoms"), (TASKS[2], 0.0, "lost_atoms"))
    append(run_folder, (TASKS[3], 0.0, "crashed"))
    lines, is_complete = describe_status(run_folder)
    assert not is_complete
    assert lines[0].startswith(f"{run_folder}: not running; last 2 ranks on ")
    assert f"started {time.strftime('%Y-%m-%d %H:%M', time.localtime(START))}" in lines[0]
    assert lines[1] == "done     4 of 15 tasks (26.7 %)"
    assert lines[2] == "failed   3 (2 lost_atoms, 1 crashed)"
    assert lines[3] == "rate     8 tasks a minute"
    # 11 tasks of 20 s on two ranks.
    assert lines[4] == "left     about 1 min 50 s on 2 ranks"
    assert [line.split() for line in lines[5:]] == [
        ["property", "done", "failed", "left", "s/task"],
        ["phase-fcc-Ar", "4", "3", "1", "20"],
        ["phase-bcc-Ar", "0", "0", "5"],
        ["elastic-fcc-Ar", "0", "0", "5"],
    ]


def test_what_cannot_be_told_is_unknown(run_folder):
    lines, _ = describe_status(run_folder)
    assert "failed   0" in lines
    assert "left     unknown on 2 ranks" in lines


def test_a_job_that_holds_the_lock_is_running_and_is_left_alone(run_folder):
    before = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    with (run_folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        lines, _ = describe_status(run_folder)
    assert lines[0].startswith(f"{run_folder}: running, 2 ranks on ")
    (run_folder / ".lock").unlink()
    assert {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()} == before


def test_a_lock_that_is_left_over_is_no_job(run_folder):
    (run_folder / ".lock").touch()
    assert "not running" in describe_status(run_folder)[0][0]


def one_line(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        describe_status(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


def test_an_unknown_folder_is_one_clear_error(tmp_path):
    assert "no such run folder" in one_line(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "no such run folder" in one_line(tmp_path / "file")
    assert "no campaign has been started here" in one_line(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"job": {}}',
        '{"job": {}, "tasks": 3}',
        '{"job": {}, "tasks": []}',
        '{"job": {"host": "x", "ranks": "y", "started": 0}, "tasks": []}',
        '{"job": {}, "tasks": ["abc"]}',
    ],
)
def test_a_damaged_plan_is_one_clear_error(run_folder, content):
    path = run_folder / "journal" / "plan.json"
    assert set(json.loads(path.read_text())) == {"job", "tasks"}
    path.write_text(content)
    text = one_line(run_folder)
    assert "plan.json" in text
    assert "cannot be read" in text
