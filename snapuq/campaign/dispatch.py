"""Which task a rank gets next: pure bookkeeping, without clock, MPI or processes."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Protocol

from snapuq.results.journal import JournalContent

#: Workers that a task may end before it is at fault; one may have been killed by someone else.
LARGEST_DEATHS = 3
#: With fewer waiting tasks than this for each rank, none is handed out in advance.
LEAST_WAITING = 2
#: While so many tasks wait for each rank, it stays with a property as long as no other's take so many times
#: longer: its worker has read what the MLE left there. With fewer, the longest come first, lest ranks run out
#: of work at different times.
MANY_WAITING, MUCH_LONGER = 50, 3.0
_SHORTEST = 1.0e-6


class Dispatchable(Protocol):
    """What the dispatcher must know of a task."""

    @property
    def label(self) -> str:
        """Label of its property: tasks of one label cost about the same."""

    @property
    def member(self) -> int:
        """Its potential."""


class _Mean:
    """A mean that numbers are added to."""

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def add(self, number: float) -> None:
        self._total, self._count = self._total + number, self._count + 1

    @property
    def value(self) -> float:
        return self._total / self._count


class CostModel:
    """Mean wall time of the members' tasks of each property, learned from those that have run."""

    def __init__(self) -> None:
        self._members: dict[str, _Mean] = defaultdict(_Mean)
        self._first: dict[str, _Mean] = defaultdict(_Mean)

    def learn(self, label: str, seconds: float, member: int = 1) -> None:
        """Take in a measurement.

        Parameters
        ----------
        label : str
            Label of the property.
        seconds : float
            Wall time.
        member : int
            Whose; the MLE and the reference potential prepare what members start from, and take longer.
        """
        (self._members if member > 0 else self._first)[label].add(seconds)

    def expected(self, label: str) -> float | None:
        """Mean wall time of a member.

        Parameters
        ----------
        label : str
            Label of the property.

        Returns
        -------
        float or None
            Seconds; where no member has run yet, from the MLE's by what members of other properties take
            of theirs; None when nothing has run.
        """
        if label in self._members:
            return self._members[label].value
        if label not in self._first:
            return None
        both = self._first.keys() & self._members.keys()
        shares = [self._members[k].value / max(self._first[k].value, _SHORTEST) for k in both]
        return self._first[label].value * (median(shares) if shares else 1.0)

    def total(self, counts: Mapping[str, float], n_ranks: int) -> float | None:
        """Estimate the wall time of many tasks.

        Parameters
        ----------
        counts : Mapping
            Label to number of tasks.
        n_ranks : int
            Ranks that share them.

        Returns
        -------
        float or None
            Seconds; labels that have not run count as the mean of all that has; None when nothing has.
        """
        measured = self._members.keys() | self._first.keys()
        if not measured:
            return None if counts else 0.0
        usual = fmean(self.expected(label) or 0.0 for label in sorted(measured))
        return sum((self.expected(label) or usual) * n for label, n in counts.items()) / n_ranks


def learned_costs(content: JournalContent) -> CostModel:
    """Learn from the tasks of a journal that gave a result.

    Parameters
    ----------
    content : JournalContent
        The journal.

    Returns
    -------
    CostModel
        Mean wall times.
    """
    costs = CostModel()
    for entry in content.entries:
        if not entry.result.failure:
            costs.learn(entry.result.label, entry.result.seconds, entry.result.member)
    return costs


class _Queue:
    """Waiting tasks of one label: those of potentials that no rank knows yet, and the others by rank."""

    def __init__(self) -> None:
        # Taking the first of a plain dict again and again takes quadratic time.
        self.fresh: OrderedDict[int, int] = OrderedDict()
        self.known: OrderedDict[int, deque[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.fresh) + sum(len(queue) for queue in self.known.values())

    def claim(self, member: int, rank: int) -> None:
        index = self.fresh.pop(member, None)
        if index is not None:
            self.known.setdefault(rank, deque()).append(index)

    def take(self, rank: int) -> int:
        if rank not in self.known and self.fresh:
            return self.fresh.popitem(last=False)[1]
        # Nothing of its own and nothing fresh: take from another.
        owner = rank if rank in self.known else next(iter(self.known))
        index = self.known[owner].popleft()
        if not self.known[owner]:
            del self.known[owner]
        return index


class Dispatcher:
    """Hand out tasks: best fit and reference first, then the longest first.

    The first two show early whether a property works at all, and what it costs. As long as there are many, a
    rank stays with a property until others are much longer. Where there is a choice, it is given the
    potentials that it has seen, because its worker remembers their relaxed crystals.

    Parameters
    ----------
    tasks : sequence of Dispatchable
        What is to be done.
    costs : CostModel
        What is known of their wall times.
    n_ranks : int
        Number of ranks that ask for work.
    """

    def __init__(self, tasks: Sequence[Dispatchable], costs: CostModel, n_ranks: int) -> None:
        self._tasks = tasks
        self._costs = costs
        self._n_ranks = n_ranks
        self._first: deque[int] = deque(i for i, task in enumerate(tasks) if task.member <= 0)
        self._queues: dict[str, _Queue] = {}
        self._again: list[int] = []
        self._deaths: dict[int, list[int]] = defaultdict(list)
        self._running: dict[int, int] = {}
        self._claimed: set[int] = set()
        self._label: dict[int, str] = {}
        # Members of a label start from what its MLE left, and would wait for it.
        self._unprepared: set[str] = {task.label for task in tasks if task.member == 0}
        self._n_done = 0
        for index, task in enumerate(tasks):
            if task.member > 0:
                self._queues.setdefault(task.label, _Queue()).fresh[task.member] = index

    @property
    def n_done(self) -> int:
        """Tasks that have a result."""
        return self._n_done

    @property
    def n_running(self) -> int:
        """Tasks that a rank has."""
        return len(self._running)

    @property
    def n_waiting(self) -> int:
        """Tasks that no rank has."""
        return len(self._tasks) - self._n_done - len(self._running)

    @property
    def is_scarce(self) -> bool:
        """Whether too few tasks wait for any to be handed out in advance."""
        return self.n_waiting < LEAST_WAITING * self._n_ranks

    @property
    def is_done(self) -> bool:
        """Whether every task has a result."""
        return self._n_done == len(self._tasks)

    def next(self, rank: int, ahead: bool = False) -> int | None:
        """Give a task to a rank.

        Parameters
        ----------
        rank : int
            Who asks.
        ahead : bool
            Whether it still has one to run.

        Returns
        -------
        int or None
            Index of the task; None when there is none for this rank at present.
        """
        if ahead and self.is_scarce:
            return None
        index = self._pick(rank)
        if index is not None:
            self._running[index] = rank
        return index

    def _pick(self, rank: int) -> int | None:
        # A task that ended a worker is tried elsewhere, and on the same rank only for want of other work.
        again = next((i for i in self._again if rank not in self._deaths[i]), None)
        if again is None and self._again and not (self._first or self._queues):
            again = self._again[0]
        if again is not None:
            self._again.remove(again)
            return again
        if self._first:
            return self._first.popleft()
        if not self._queues:
            return None
        ready = [label for label in self._queues if label not in self._unprepared]
        label = max(ready or self._queues, key=self._length)
        own = self._label.get(rank)
        are_many = self.n_waiting >= MANY_WAITING * self._n_ranks
        if are_many and own in ready and self._length(label) <= MUCH_LONGER * self._length(own):
            label = own
        self._label[rank] = label
        queue = self._queues[label]
        index = queue.take(rank)
        if not queue.fresh and not queue.known:
            del self._queues[label]
        member = self._tasks[index].member
        if member not in self._claimed:
            self._claimed.add(member)
            for other in self._queues.values():
                other.claim(member, rank)
        return index

    def _length(self, label: str) -> float:
        expected = self._costs.expected(label)
        return float("inf") if expected is None else expected

    def finished(self, index: int) -> None:
        """Note a result.

        Parameters
        ----------
        index : int
            The task.
        """
        del self._running[index]
        self._n_done += 1
        if self._tasks[index].member == 0:
            self._unprepared.discard(self._tasks[index].label)

    def died(self, index: int) -> bool:
        """Note that a task has ended its worker.

        Parameters
        ----------
        index : int
            The task.

        Returns
        -------
        bool
            Whether it will be tried again; if not, it is at fault, and counts as running until `finished`.
        """
        self._deaths[index].append(self._running[index])
        if len(self._deaths[index]) >= LARGEST_DEATHS:
            return False
        del self._running[index]
        self._again.append(index)
        return True

    def seconds_left(self) -> float | None:
        """Estimate the time until the end.

        Returns
        -------
        float or None
            Seconds at this number of ranks; None when nothing has been measured.
        """
        waiting = {label: float(len(queue)) for label, queue in self._queues.items()}
        for index in (*self._first, *self._again):
            label = self._tasks[index].label
            waiting[label] = waiting.get(label, 0.0) + 1.0
        for index in self._running:
            # Half of it, on average, is done.
            label = self._tasks[index].label
            waiting[label] = waiting.get(label, 0.0) + 0.5
        return self._costs.total(waiting, self._n_ranks)
