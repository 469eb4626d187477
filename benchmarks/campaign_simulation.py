"""A campaign on many ranks in simulated time, by the code that runs real ones.

Rank 0 runs the real loop with the real `Master` and `Dispatcher`, every other rank is a real `Supervisor`;
workers, journal and network are simulated. The processor time that rank 0's code takes here is charged to its
simulated clock as it is spent, and each message costs what it was measured to cost between two real ranks.
Left out are the start of processes, signs of life during long tasks, and connections that MPI sets up.
"""

from __future__ import annotations

import gc
import heapq
import io
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from snapuq.campaign.master import Master, Work
from snapuq.campaign.recipe import EngineRecipe
from snapuq.campaign.run import _TICK, _TICK_BUSY, _loop
from snapuq.campaign.supervisor import Supervisor
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.progress import Progress
from snapuq.results.journal import result_to_plain
from snapuq.stopping import StopRequest

RECIPE = EngineRecipe("", {})
NO_LIMIT = 1.0e9
# Mean wall times, s, of a campaign on tungsten, and their spread (of the logarithm).
MIX = {"phase-bcc": 0.02, "phase-fcc": 0.02, "phase-hcp": 0.02, "phase-A15": 0.06, "eos-bcc": 0.1}
MIX |= {"elastic-bcc": 0.15, "vacancy-bcc": 2.0, "surface-bcc-100": 5.0, "surface-bcc-110": 5.0}
MIX_SPREAD = 0.25


@dataclass(frozen=True)
class Costs:
    """What things take, s.

    ``send``, ``receive`` and ``probe`` are rank 0's processor time for a message out, a message in, and a
    look at an empty mailbox; ``between`` is the pause of a worker between two tasks. ``latency`` of the
    network and ``append``, a record on the disk, are those of a busy cluster.
    """

    send: float
    receive: float
    probe: float
    between: float
    latency: float = 20.0e-6
    append: float = 5.0e-3


@dataclass(frozen=True)
class Simulated:
    """How a simulated campaign went: its wall time, rank 0's busy time, messages, and tasks not done once."""

    wall: float
    busy: float
    messages: int
    wrong: int


@dataclass
class Simulation:
    """Simulated time, the events to come, and what rank 0 and all others share.

    ``now`` is the time of whoever acts: of rank 0, or of the event that is being dealt with.
    """

    n_ranks: int
    costs: Costs
    seconds: Sequence[float]
    template: Mapping[str, Any]
    now: float = 0.0
    rank: int = 0
    busy: float = 0.0
    messages: int = 0
    done: list[int] = field(default_factory=list)
    inbox: deque[Any] = field(default_factory=deque)
    supervisors: list[Supervisor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._events: list[tuple[float, int, int, object]] = []
        self._n_events = 0
        self._latest = [0.0] * self.n_ranks
        self._delays = np.random.default_rng(0).random(1 << 16).tolist()
        self._mark = time.thread_time()

    def at(self, when: float, rank: int, message: object = None) -> None:
        """Plan that a rank gets a message, or looks at its worker."""
        self._n_events += 1
        heapq.heappush(self._events, (when, self._n_events, rank, message))

    def enter(self) -> None:
        """Charge rank 0 for what its code has taken since `leave`."""
        spent = time.thread_time() - self._mark
        self.now += spent
        self.busy += spent

    def leave(self) -> None:
        """Give control back to rank 0's code."""
        self._mark = time.thread_time()

    def spend(self, seconds: float) -> None:
        """Charge rank 0 for what was measured elsewhere."""
        self.now += seconds
        self.busy += seconds

    def until(self, when: float) -> None:
        """Let all others act up to a time, which then is rank 0's."""
        while self._events and self._events[0][0] <= when:
            self.now, _, self.rank, message = heapq.heappop(self._events)
            if self.rank == 0:
                self.inbox.append(message)
                continue
            supervisor = self.supervisors[self.rank]
            if message is not None:
                supervisor.take(message)
            supervisor.step(0.0)
        self.now, self.rank = when, 0

    def sleep(self, seconds: float) -> None:
        """`time.sleep` of a rank without worker; the others act when something happens."""
        if self.rank == 0:
            self.enter()
            self.until(self.now + seconds)
            self.leave()

    def deliver(self, message: object, rank: int) -> None:
        """Send from rank 0; the receiver sees it at its next look."""
        self.enter()
        self.spend(self.costs.send)
        self.messages += 1
        tick = _TICK_BUSY if self.supervisors[rank].is_busy else _TICK
        delay = self._delays[self._n_events % len(self._delays)] * tick
        # Messages of one sender come in order.
        self._latest[rank] = max(self._latest[rank], self.now + self.costs.latency + delay)
        self.at(self._latest[rank], rank, message)
        self.leave()

    def receive(self) -> object | None:
        """Take what has come to rank 0 by now."""
        self.enter()
        self.until(self.now)
        message = self.inbox.popleft() if self.inbox else None
        self.spend(self.costs.probe if message is None else self.costs.receive)
        self.messages += message is not None
        self.leave()
        return message

    def send(self, message: object, rank: int) -> None:
        """Send to rank 0, from any other."""
        self.at(self.now + self.costs.latency, rank, message)

    def append(self, result: PropertyResult) -> None:
        """Journal of any rank: wait for the disk."""
        if self.rank == 0:
            self.enter()
        self.done.append(int(result.key))
        self.now += self.costs.append
        if self.rank == 0:
            self.leave()


class RootMailbox:
    """Rank 0's mailbox, as `_loop` and `Master` use it."""

    rank = 0

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._own: deque[object] = deque()
        self.is_alone = simulation.n_ranks == 1

    @property
    def has_own(self) -> bool:
        """Whether a message of this rank to itself is waiting."""
        return bool(self._own)

    def send(self, message: object, rank: int) -> None:
        """Send without waiting."""
        if rank == 0:
            self._own.append(message)
        else:
            self._simulation.deliver(message, rank)

    def receive(self) -> object | None:
        """Take the next message."""
        if self._own:
            return self._own.popleft()
        return None if self.is_alone else self._simulation.receive()


class SimulatedWorker:
    """Ready at once; every task takes its time and succeeds."""

    pid = 0

    def __init__(self, simulation: Simulation) -> None:
        self.is_ready = False
        self._simulation = simulation
        self._rank = simulation.rank
        self._free = simulation.now
        self._answers: deque[tuple[float, dict[str, Any]]] = deque([(self._free, {"ready": self.pid})])
        self._wake(self._free)

    def _wake(self, when: float) -> None:
        # Rank 0 waits in `messages`; the others are woken.
        if self._rank > 0:
            self._simulation.at(when, self._rank)

    def send(self, task: Mapping[str, Any]) -> None:
        """Run a task after those that are waiting; its seed is its number."""
        simulation, index = self._simulation, task["seed"]
        seconds = simulation.seconds[index]
        self._free = max(self._free, simulation.now) + simulation.costs.between + seconds
        known = {"key": str(index), "label": task["label"], "member": task["member"], "seconds": seconds}
        self._answers.append((self._free, {"result": {**simulation.template, **known}, "leaving": False}))
        self._wake(self._free)

    def messages(self, wait: float) -> tuple[list[dict[str, Any]], bool]:
        """Wait for answers, as `snapuq.campaign.process.Worker` does."""
        simulation = self._simulation
        if self._rank == 0:
            simulation.enter()
            end = simulation.now + wait
            first = self._answers[0][0] if self._answers else end
            simulation.until(min(end, max(simulation.now, first)))
        found = []
        while self._answers and self._answers[0][0] <= simulation.now:
            found.append(self._answers.popleft()[1])
        if self._rank == 0:
            simulation.leave()
        return found, True

    def dismiss(self) -> None:
        """End."""


def simulate(
    tasks: Sequence[PropertyTask],
    seconds: Sequence[float],
    example: PropertyResult,
    n_ranks: int,
    costs: Costs,
) -> Simulated:
    """Run tasks of known wall times, whose seeds are their numbers."""
    simulation = Simulation(n_ranks, costs, seconds, result_to_plain(example))
    clock = SimpleNamespace(monotonic=lambda: simulation.now, sleep=simulation.sleep)
    mailbox, stop = RootMailbox(simulation), StopRequest()
    with (
        patch("snapuq.campaign.master.time", clock),
        patch("snapuq.campaign.supervisor.time", clock),
        patch("snapuq.campaign.supervisor.Worker", lambda _: SimulatedWorker(simulation)),
    ):
        for rank in range(n_ranks):
            post = simulation if rank else mailbox
            simulation.supervisors.append(Supervisor(rank, RECIPE, simulation, post, stop))
            if rank:
                # Its first request; later it acts when something happens.
                simulation.at(_TICK * rank / n_ranks, rank)
        progress = Progress("campaign", len(tasks), stream=io.StringIO())
        master = Master(Work(tasks, {}, NO_LIMIT), n_ranks, mailbox, simulation, stop, progress)
        # What is here already is no garbage of rank 0.
        gc.collect()
        gc.freeze()
        simulation.leave()
        _loop(simulation.supervisors[0], master, mailbox)
        gc.unfreeze()
    times_done = np.bincount(simulation.done, minlength=len(tasks))
    return Simulated(
        simulation.now, simulation.busy, simulation.messages, int(np.count_nonzero(times_done != 1))
    )


def mixed(template: Sequence[PropertyTask]) -> tuple[list[PropertyTask], list[float]]:
    """All kinds of tasks of a campaign for each potential of a template, and their wall times."""
    rng = np.random.default_rng(0)
    tasks: list[PropertyTask] = []
    seconds: list[float] = []
    for label, mean in MIX.items():
        first = len(tasks)
        tasks += [replace(task, label=label, seed=first + i) for i, task in enumerate(template)]
        # The mean of this lognormal law is one.
        factor = rng.lognormal(-0.5 * MIX_SPREAD**2, MIX_SPREAD, size=len(template))
        seconds += (mean * factor).tolist()
    return tasks, seconds


def alike(template: Sequence[PropertyTask], times: Sequence[float]) -> tuple[list[PropertyTask], list[float]]:
    """Tasks of one kind, whose wall times are drawn from those given."""
    tasks = [replace(task, seed=i) for i, task in enumerate(template)]
    return tasks, np.random.default_rng(0).choice(times, size=len(tasks)).tolist()


def without_cost(seconds_in_order: Sequence[float], n_ranks: int) -> float:
    """Wall time when each rank that is free takes the next task at once."""
    free = [0.0] * n_ranks
    for seconds in seconds_in_order:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)
