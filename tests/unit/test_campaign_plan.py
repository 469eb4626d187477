"""What the tasks of a campaign are, and which of them the journal lacks."""

from __future__ import annotations

import dataclasses
import json

import pytest
from campaign_driver import SPECS, tasks

from snapuq.campaign.plan import PropertySpec, expand, plan
from snapuq.campaign.run import SECOND_CHANCE, plan_work
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.errors import InputError
from snapuq.properties import PROPERTIES
from snapuq.results.journal import BUG, TIME_LIMIT, JournalContent, JournalEntry

#: Usual wall-clock limit of a task, s.
LIMIT = 60.0
TASKS = tasks(3)
#: One for each of the five potentials.
FEW = TASKS[:5]


def test_plan_is_property_major_deterministic_and_has_unique_keys():
    assert tasks(3) == TASKS
    assert [t.label for t in TASKS[::5]] == ["phase-fcc-Ar", "phase-bcc-Ar", "elastic-fcc-Ar"]
    assert [t.member for t in TASKS[:5]] == [-1, 0, 1, 2, 3]
    assert len({t.key for t in TASKS}) == len(TASKS) == 15
    assert len({t.seed for t in TASKS}) == 15


@pytest.mark.parametrize(
    "change",
    [
        {"property": "eos"},
        {"label": "elastic-2"},
        {"parameters": {**TASKS[-1].parameters, "strain": 0.001 * (1 + 2**-52)}},
        {"member": 4},
        {"potential_digest": "digest 4"},
        {"seed": TASKS[-1].seed + 1},
        {"version": TASKS[-1].version + 1},
        {"propagation": "hessian"},
        {"engine": {"name": "lj", "lammps": "20250722"}},
        {"engine": {"name": "lj", "options": ["-sf", "omp"]}},
        {"engine": {"name": "lj", "fmax": 1e-4}},
        {"engine": {}},
    ],
)
def test_whatever_decides_a_result_is_part_of_its_key(change):
    (name,) = change
    assert getattr(TASKS[-1], name) != change[name]
    assert dataclasses.replace(TASKS[-1], **change).key != TASKS[-1].key


def test_every_field_of_a_task_is_tried_above():
    fields = {f.name for f in dataclasses.fields(PropertyTask)}
    (mark,) = test_whatever_decides_a_result_is_part_of_its_key.pytestmark
    assert {name for change in mark.args[1] for name in change} == fields


def test_a_key_survives_the_way_to_a_worker():
    for task in TASKS:
        assert PropertyTask(**json.loads(json.dumps(task.to_plain()))).key == task.key


def test_editing_one_property_leaves_the_other_keys():
    changed = [SPECS[0], PropertySpec("elastic", dataclasses.replace(SPECS[1].params, strain=2e-3))]
    potentials = {t.member: t.potential_digest for t in FEW}
    new = plan(expand(changed, ("Ar",)), potentials, 1, engine={"name": "lj"})
    old = {t.key for t in TASKS}
    assert [t.key in old for t in new] == [True] * 10 + [False] * 5


def test_a_new_version_of_one_property_leaves_the_other_keys(monkeypatch):
    monkeypatch.setattr(PROPERTIES["elastic"], "version", PROPERTIES["elastic"].version + 1)
    old = {t.key for t in TASKS}
    assert [t.key in old for t in tasks(3)] == [True] * 10 + [False] * 5


def test_adding_members_leaves_the_keys_of_the_first():
    old = {t.key for t in TASKS}
    assert {t.member for t in tasks(5) if t.key not in old} == {4, 5}
    assert old <= {t.key for t in tasks(5)}


def test_the_same_label_twice_is_refused():
    with pytest.raises(InputError, match="elastic-fcc-Ar"):
        expand([SPECS[1], SPECS[1]], ("Ar",))


def failed(task: PropertyTask, failure: str, seconds: float, attempt: int = 1) -> PropertyResult:
    known = {"key": task.key, "label": task.label, "member": task.member}
    return PropertyResult(**known, values={}, failure=failure, seconds=seconds, attempt=attempt)


def content(*known: PropertyResult) -> JournalContent:
    return JournalContent({r.key: r for r in known}, 0, tuple(JournalEntry(r, 0.0) for r in known))


def test_an_empty_journal_lacks_everything():
    work = plan_work(TASKS, content(), LIMIT)
    assert tuple(work.tasks) == TASKS
    assert (work.limits, work.limit, work.n_before) == ({}, LIMIT, 0)


@pytest.mark.parametrize(
    ("attempt", "had", "limit", "again"),
    [
        (1, 60.0, 60.0, SECOND_CHANCE * 60.0),
        (1, 60.0, 90.0, 90.0),
        (2, 120.0, 60.0, None),
        (2, 120.0, 120.0, None),
        (2, 120.0, 121.0, 121.0),
        (2, 60.0, 60.0, None),
    ],
)
def test_a_time_limit_has_one_second_chance_and_then_needs_a_longer_one(attempt, had, limit, again):
    work = plan_work(FEW, content(failed(FEW[2], TIME_LIMIT, had, attempt)), limit)
    assert (FEW[2] in work.tasks) == (again is not None)
    # Only this one has a limit of its own.
    assert work.limits == ({} if again is None else {2: again})
    assert work.limit == limit
    assert work.n_before == len(FEW) - len(work.tasks)


def test_limits_belong_to_the_tasks_that_are_left():
    known = [failed(t, "lost_atoms", 1.0) for t in FEW[:3]] + [failed(FEW[4], TIME_LIMIT, LIMIT)]
    work = plan_work(FEW, content(*known), LIMIT)
    assert list(work.tasks) == [FEW[3], FEW[4]]
    assert work.limits == {1: SECOND_CHANCE * LIMIT}


def test_bugs_are_run_again_and_other_failures_are_not():
    reasons = (f"{BUG}: x", "crashed", "out_of_memory")
    known = [failed(t, reason, 1.0) for t, reason in zip(FEW[:3], reasons, strict=True)]
    work = plan_work(FEW, content(*known), LIMIT)
    assert [t.member for t in work.tasks] == [-1, 2, 3]
    assert work.limits == {}


def test_costs_are_learned_from_what_gave_a_value():
    pairs = ((FEW[0], 1.0), (FEW[1], 3.0))
    known = [PropertyResult(t.key, t.label, t.member, {}, seconds=s) for t, s in pairs]
    # Superseded records count too.
    entries = content(*known, failed(FEW[2], "crashed", 900.0), dataclasses.replace(known[0], seconds=5.0))
    costs = plan_work(TASKS, entries, LIMIT).costs
    assert costs.expected("phase-fcc-Ar") == 3.0
    assert costs.expected("elastic-fcc-Ar") is None
