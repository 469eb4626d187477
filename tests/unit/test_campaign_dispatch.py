"""Every task is handed out until it has a result, in a good order, whatever ranks do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.campaign.dispatch import LARGEST_DEATHS, MANY_WAITING, CostModel, Dispatcher


@dataclass(frozen=True)
class Task:
    label: str
    member: int


def grid(labels: str, members: range) -> list[Task]:
    return [Task(label, member) for label in labels for member in members]


def costs(**seconds: float) -> CostModel:
    model = CostModel()
    for label, value in seconds.items():
        model.learn(label, value)
    return model


def serve(dispatcher: Dispatcher, tasks: list[Task], ranks: list[int]) -> list[tuple[int, str, int]]:
    """Ranks take turns, each finishing what it gets; gives (rank, label, member) in order."""
    found = []
    while not dispatcher.is_done:
        for rank in ranks:
            index = dispatcher.next(rank)
            if index is not None:
                dispatcher.finished(index)
                found.append((rank, tasks[index].label, tasks[index].member))
    return found


@given(
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(-1, 4),
    st.floats(0.0, 0.6),
    st.randoms(use_true_random=False),
)
def test_every_task_is_handed_out_until_it_has_a_result(n_ranks, n_labels, last, fragility, random: Random):
    tasks = grid("abc"[:n_labels], range(-1, last + 1))
    random.shuffle(tasks)
    model = CostModel()
    dispatcher = Dispatcher(tasks, model, n_ranks)
    # As supervisors have: one that runs, and one ahead.
    held: list[list[int]] = [[] for _ in range(n_ranks)]
    results: list[int] = []
    deaths: Counter[int] = Counter()
    for _ in range(10_000):
        if dispatcher.is_done:
            break
        rank = random.randrange(n_ranks)
        mine = held[rank]
        if not mine or (len(mine) == 1 and random.random() < 0.5):
            index = dispatcher.next(rank, ahead=bool(mine))
            if index is not None:
                assert index not in results
                assert not any(index in other for other in held)
                mine.append(index)
        elif random.random() < fragility:
            index = mine.pop(0)
            deaths[index] += 1
            is_tried_again = dispatcher.died(index)
            assert is_tried_again == (deaths[index] < LARGEST_DEATHS)
            if not is_tried_again:
                dispatcher.finished(index)
                results.append(index)
        else:
            index = mine.pop(0)
            dispatcher.finished(index)
            results.append(index)
            model.learn(tasks[index].label, random.random())
        n_held = sum(len(other) for other in held)
        assert (dispatcher.n_done, dispatcher.n_running) == (len(results), n_held)
        assert dispatcher.n_waiting == len(tasks) - len(results) - n_held
    assert dispatcher.is_done
    assert sorted(results) == list(range(len(tasks)))
    assert all(dispatcher.next(rank) is None for rank in range(n_ranks))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(-1, 5), st.randoms(use_true_random=False))
def test_a_rank_that_asks_gets_work_as_long_as_there_is_any(n_ranks, n_labels, last, random: Random):
    tasks = grid("abc"[:n_labels], range(-1, last + 1))
    dispatcher = Dispatcher(tasks, CostModel(), n_ranks)
    waiting = len(tasks)
    running: list[int] = []
    while waiting or running:
        if waiting and (not running or random.random() < 0.7):
            index = dispatcher.next(random.randrange(n_ranks))
            assert index is not None
            running.append(index)
            waiting -= 1
        else:
            index = running.pop(random.randrange(len(running)))
            if random.random() < 0.4 and dispatcher.died(index):
                waiting += 1
            else:
                dispatcher.finished(index)


def test_reference_and_best_fit_come_first_then_the_longest():
    tasks = grid("abc", range(-1, 3))
    order = serve(Dispatcher(tasks, costs(a=1.0, b=3.0, c=2.0), 1), tasks, [0])
    assert [(label, member) for _, label, member in order[:6]] == [
        (label, member) for label in "abc" for member in (-1, 0)
    ]
    assert [label for _, label, _ in order[6:]] == ["b", "b", "c", "c", "a", "a"]


def test_what_has_never_run_comes_before_what_is_known_to_be_long():
    tasks = grid("ab", range(1, 3))
    order = serve(Dispatcher(tasks, costs(a=1e6), 1), tasks, [0])
    assert [label for _, label, _ in order] == ["b", "b", "a", "a"]


def test_the_order_follows_what_is_learned_on_the_way():
    tasks = grid("ab", range(1, 4))
    model = costs(a=2.0, b=1.0)
    dispatcher = Dispatcher(tasks, model, 1)
    first = dispatcher.next(0)
    assert first is not None
    assert tasks[first].label == "a"
    # The mean of b is 5.5 now.
    model.learn("b", 10.0)
    second = dispatcher.next(0)
    assert second is not None
    assert tasks[second].label == "b"


def test_with_many_tasks_a_rank_stays_until_others_are_much_longer() -> None:
    tasks = grid("ab", range(1, MANY_WAITING))
    model = costs(a=2.0, b=1.0)
    dispatcher = Dispatcher(tasks, model, 1)

    def following() -> str:
        index = dispatcher.next(0)
        assert index is not None
        return tasks[index].label

    assert following() == "a"
    # The mean of b is 5.5 now, which is no reason to leave a.
    model.learn("b", 10.0)
    assert following() == "a"
    # Now it is 7, more than three times as much.
    model.learn("b", 10.0)
    assert following() == "b"
    # Once few wait, the longer ones come first again.
    labels = [following() for _ in range(MANY_WAITING - 4)]
    model.learn("a", 30.0)
    assert set(labels) == {"b"}
    assert following() == "a"


def test_a_rank_is_given_the_members_that_it_has_seen():
    tasks = grid("abc", range(1, 13))
    dispatcher = Dispatcher(tasks, costs(a=3.0, b=2.0, c=1.0), 3)
    seen: set[tuple[int, int]] = set()
    for number, label in enumerate("abc"):
        # Four tasks of each label for each rank, which ask in another order every time.
        ranks = [0, 1, 2] * 4
        Random(number).shuffle(ranks)
        for rank in ranks:
            index = dispatcher.next(rank)
            assert index is not None
            assert tasks[index].label == label
            dispatcher.finished(index)
            seen.add((rank, tasks[index].member))
    assert len(seen) == 12


def test_a_rank_without_work_of_its_own_takes_that_of_another():
    tasks = grid("ab", range(1, 5))
    dispatcher = Dispatcher(tasks, costs(a=2.0, b=1.0), 2)
    for _ in range(4):
        index = dispatcher.next(0)
        assert index is not None
        dispatcher.finished(index)
    # All members belong to rank 0 by now, and rank 1 must not starve.
    taken = [dispatcher.next(1) for _ in range(4)]
    assert None not in taken
    assert dispatcher.n_waiting == 0


@pytest.mark.parametrize(("n_tasks", "is_given"), [(5, False), (6, True)])
def test_nothing_is_handed_out_ahead_when_few_are_waiting(n_tasks, is_given):
    # With 3 ranks, 6 must be waiting.
    dispatcher = Dispatcher(grid("a", range(1, n_tasks + 1)), CostModel(), 3)
    assert (dispatcher.next(0, ahead=True) is not None) == is_given
    assert dispatcher.next(0) is not None


def test_a_task_that_died_goes_to_another_rank_first():
    tasks = grid("a", range(1, 4))
    dispatcher = Dispatcher(tasks, CostModel(), 2)
    poison = dispatcher.next(0)
    assert poison is not None
    assert dispatcher.died(poison)
    other = dispatcher.next(0)
    assert other != poison
    assert dispatcher.next(1) == poison
    assert dispatcher.died(poison)
    # It has ended a worker of each: both have something better to do.
    assert dispatcher.next(1) not in (None, poison)
    # Nothing else is left, so it goes to a rank that has seen it; the third worker is the last.
    assert dispatcher.next(0) == poison
    assert not dispatcher.died(poison)
    assert dispatcher.n_running == 3
    dispatcher.finished(poison)
    assert dispatcher.n_done == 1
    assert dispatcher.next(0) is None


def test_deaths_on_one_rank_end_too():
    dispatcher = Dispatcher(grid("a", range(1, 2)), CostModel(), 1)
    for again in [True] * (LARGEST_DEATHS - 1) + [False]:
        assert dispatcher.next(0) == 0
        assert dispatcher.died(0) == again


def test_seconds_left_counts_waiting_running_and_returned_tasks():
    tasks = grid("ab", range(0, 5))
    dispatcher = Dispatcher(tasks, costs(a=4.0, b=1.0), 2)
    assert dispatcher.seconds_left() == (5 * 4.0 + 5 * 1.0) / 2
    first = dispatcher.next(0)
    assert first is not None
    assert tasks[first] == Task("a", 0)
    # A running task counts half.
    assert dispatcher.seconds_left() == (4.5 * 4.0 + 5 * 1.0) / 2
    dispatcher.died(first)
    assert dispatcher.seconds_left() == (5 * 4.0 + 5 * 1.0) / 2
    dispatcher.next(1)
    dispatcher.finished(first)
    assert dispatcher.seconds_left() == (4 * 4.0 + 5 * 1.0) / 2
    serve(dispatcher, tasks, [0, 1])
    assert dispatcher.seconds_left() == 0.0


def test_nothing_is_estimated_before_anything_was_measured():
    assert Dispatcher(grid("a", range(3)), CostModel(), 1).seconds_left() is None


def test_no_tasks_are_done_at_once():
    dispatcher = Dispatcher([], CostModel(), 2)
    assert dispatcher.is_done
    assert dispatcher.next(0) is None
    assert dispatcher.seconds_left() == 0.0


def test_costs_are_means_and_the_unknown_counts_as_the_usual():
    model = CostModel()
    assert model.expected("a") is None
    for value in (1.0, 2.0, 6.0):
        model.learn("a", value)
    model.learn("b", 1.0)
    assert model.expected("a") == 3.0
    assert model.total({"a": 2, "b": 4}, 2) == 5.0
    # c has not run: 2 s each, as a and b on average.
    assert model.total({"a": 1, "b": 1, "c": 3}, 1) == 10.0
    assert model.total({"c": 1}, 1) == 2.0
    assert CostModel().total({"c": 1}, 1) is None
    assert model.total({}, 4) == 0.0


def test_members_that_have_not_run_are_estimated_from_the_mle() -> None:
    model = CostModel()
    for label, seconds in {"a": 10.0, "b": 20.0, "c": 4.0}.items():
        model.learn(label, seconds, 0)
    # Nothing better is known.
    assert model.expected("a") == 10.0
    model.learn("b", 1.0)
    model.learn("c", 0.4)
    # A twentieth and a tenth of the MLE's.
    assert model.expected("a") == pytest.approx(0.75)
    assert model.expected("b") == 1.0
    assert model.total({"a": 4}, 1) == pytest.approx(3.0)
