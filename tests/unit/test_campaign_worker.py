"""A worker answers tasks, and tells a sick machine from a failed simulation."""

from __future__ import annotations

import errno
from typing import Any

import campaign_engines
import pytest
from campaign_engines import lennard_jones
from campaign_fakes import TASKS

from snapuq.campaign import worker as module
from snapuq.errors import EnvironmentProblem
from snapuq.parallel import SERIAL
from snapuq.properties import PROPERTIES
from snapuq.properties.base import PropertyOutput
from snapuq.results.journal import result_from_plain


class Script:
    """The pipe of a worker: orders to come, and what was answered."""

    def __init__(self, *orders: dict[str, Any]) -> None:
        self._orders = list(orders)
        self.answers: list[dict[str, Any]] = []

    def next(self) -> dict[str, Any] | None:
        return self._orders.pop(0) if self._orders else None

    def write(self, message: dict[str, Any]) -> None:
        self.answers.append(message)


def served(*indices: int, **arguments: Any) -> list[dict[str, Any]]:
    opened = {"factory": "campaign_engines:open_engines", "arguments": arguments}
    script = Script(opened, *(TASKS[index].to_plain() for index in indices))
    module.serve(script, SERIAL)
    return script.answers


def test_a_worker_answers_each_task_in_order():
    ready, *answers = served(0, 6)
    assert list(ready) == ["ready"]
    found = [result_from_plain(answer["result"]) for answer in answers]
    assert found == [module.execute(TASKS[i], lennard_jones) for i in (0, 6)]
    assert not any(answer["leaving"] for answer in answers)


def test_what_a_property_says_of_its_final_state_is_kept(monkeypatch):
    def run(engine, params, rng):
        return PropertyOutput({}, reconfigured=True, detail="relaxed to crowdion" + 500 * "!")

    monkeypatch.setattr(PROPERTIES[TASKS[0].property], "run", staticmethod(run))
    (answer,) = served(0)[1:]
    found = result_from_plain(answer["result"])
    assert found.reconfigured
    assert found.detail == "relaxed to crowdion" + 281 * "!"


def test_a_worker_that_has_grown_leaves_after_its_task(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_GROWTH", -1)
    assert [answer.get("leaving") for answer in served(0, 1)] == [None, True]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (EnvironmentProblem("no LAMMPS"), {"unable": "no LAMMPS"}),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.lmp"),
            {"unable": "No space left on device: x.lmp"},
        ),
        (MemoryError("16 GiB"), {"out_of_memory": "16 GiB"}),
        (MemoryError(), {"out_of_memory": "no memory left"}),
    ],
)
def test_what_is_wrong_with_the_machine_is_no_result(monkeypatch, error, answer):
    def fail() -> None:
        raise error

    monkeypatch.setitem(campaign_engines.DEEDS, "error", fail)
    assert served(1, 0, deeds={"-1": "error"})[2:] == [answer]


def test_a_worker_without_an_order_ends():
    script = Script()
    module.serve(script, SERIAL)
    assert script.answers == []
