"""Stand-ins for what supervisors and rank 0 deal with: a clock, a post box and a worker."""

from __future__ import annotations

from typing import Any

from campaign_driver import tasks

from snapuq.campaign.messages import Assignment
from snapuq.core.result import PropertyResult, Quantity
from snapuq.results.journal import Journal, load_results, result_to_plain

TASKS = tasks(3)
#: Usual wall-clock limit of a task, s.
LIMIT = 10.0


class Clock:
    """Stands in for the module `time`; moves when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Box:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, int]] = []

    def send(self, message: object, rank: int) -> None:
        self.sent.append((message, rank))

    def empty(self) -> list[Any]:
        """Give and forget what was sent to anyone."""
        sent, self.sent = [message for message, _ in self.sent], []
        return sent


class FakeWorker:
    """What the supervisor sees of a worker."""

    def __init__(self) -> None:
        self.is_ready = False
        self.sent: list[dict[str, Any]] = []
        self.says: list[dict[str, Any]] = []
        self.alive = True
        self.end = ""

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def messages(self, wait: float) -> tuple[list[dict[str, Any]], bool]:
        said, self.says = self.says, []
        return said, self.alive

    def kill(self) -> None:
        self.end = "killed"

    def dismiss(self) -> None:
        self.end = "dismissed"

    def epitaph(self) -> str:
        self.end = "buried"
        return "worker killed by SIGSEGV"

    def answer(self, index: int, leaving: bool = False) -> None:
        task = TASKS[index]
        result = PropertyResult(task.key, task.label, task.member, {"a": Quantity(1.0, "A")}, seconds=0.5)
        self.says.append({"result": result_to_plain(result), "leaving": leaving})


def assign(index: int, attempt: int = 1, limit: float = LIMIT) -> Assignment:
    """What rank 0 sends for one of `TASKS`."""
    return Assignment(index, TASKS[index].to_plain(), attempt, limit)


def recorded(journal: Journal) -> list[PropertyResult]:
    """What is in the journal."""
    return [entry.result for entry in load_results(journal.path.parent).entries]
