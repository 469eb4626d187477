"""Signals and the clock ask a run to stop, and leave no trace behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from snapuq import stopping
from snapuq.stopping import SIGNALS, StopRequest

START = 1000.0


class Clock:
    """A monotonic clock that stands still until it is moved."""

    now = START

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(stopping, "time", found)
    return found


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Every test leaves the handlers as it found them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    # The interpreter runs the handler between two instructions.
    time.sleep(0.0)


def test_without_a_reason_there_is_none():
    with StopRequest() as stop:
        assert stop.reason == ""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_handlers_are_restored(number):
    with StopRequest(drain=5.0) as stop:
        send(number)
        assert stop.reason == signal.Signals(number).name
    assert stop.reason == signal.Signals(number).name


def test_handlers_come_back_after_an_error_too():
    with pytest.raises(KeyError), StopRequest():
        raise KeyError


def test_handlers_of_someone_else_come_back():
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    try:
        with StopRequest():
            send(signal.SIGUSR1)
        assert seen == []
        send(signal.SIGUSR1)
        assert seen == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_first_signal_counts(clock):
    with StopRequest(drain=10.0) as stop:
        send(signal.SIGUSR1)
        clock.now += 4.0
        send(signal.SIGTERM)
        assert stop.reason == "SIGUSR1"
        assert stop.seconds_left == 6.0


@pytest.mark.parametrize("first", SIGNALS)
def test_ctrl_c_after_any_signal_does_not_wait(first):
    with StopRequest() as stop:
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert stop.reason == signal.Signals(first).name


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGUSR1])
def test_batch_systems_may_repeat_themselves(again):
    with StopRequest() as stop:
        send(again)
        send(again)
        assert stop.reason == again.name


def test_the_clock_stops_early_enough_to_drain(clock):
    stop = StopRequest(deadline=START + 100.0, drain=30.0)
    clock.now = START + 69.9
    assert stop.reason == ""
    clock.now = START + 70.0
    assert stop.reason == "time limit"
    assert stop.seconds_left == 30.0
    clock.now = START + 99.0
    assert stop.seconds_left == 1.0
    clock.now = START + 200.0
    assert stop.seconds_left == 0.0


def test_a_signal_late_in_the_run_is_given_what_the_clock_leaves(clock):
    with StopRequest(deadline=START + 100.0, drain=30.0) as stop:
        clock.now = START + 60.0
        send(signal.SIGTERM)
        assert stop.reason == "SIGTERM"
        assert stop.seconds_left == 30.0
        clock.now = START + 80.0
        assert stop.seconds_left == 10.0


def test_a_signal_within_the_drain_of_the_clock_ends_with_the_clock(clock):
    with StopRequest(deadline=START + 100.0, drain=30.0) as stop:
        clock.now = START + 90.0
        send(signal.SIGTERM)
        assert stop.seconds_left == 10.0


def test_a_stop_without_signal_or_clock_is_given_the_whole_drain(clock):
    """Another rank was asked to stop."""
    assert StopRequest(drain=30.0).seconds_left == 30.0


@pytest.mark.parametrize("number", SIGNALS)
def test_ctrl_c_says_once_what_it_waits_for(number, capfd, monkeypatch):
    monkeypatch.delenv("PMI_RANK", raising=False)
    with StopRequest():
        send(number)
        if number != signal.SIGINT:
            send(number)
    said = "snapuq: stopping: finishing running tasks (press again to kill)\n"
    assert capfd.readouterr().err.strip("\n") == (said.strip() if number == signal.SIGINT else "")


def test_other_ranks_stop_without_a_word(capfd, monkeypatch):
    monkeypatch.setenv("PMI_RANK", "1")
    with StopRequest() as stop:
        send(signal.SIGINT)
        assert stop.reason == "SIGINT"
    assert capfd.readouterr().err == ""
