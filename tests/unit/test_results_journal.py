"""The journal keeps what it acknowledged, whatever happens to its last or middle lines."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.core.result import PropertyResult, Quantity
from snapuq.errors import InputError
from snapuq.results import journal as module
from snapuq.results.journal import (
    BUG,
    TIME_LIMIT,
    Journal,
    load_results,
    result_from_plain,
    result_to_plain,
)

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def result(i: int, **changes) -> PropertyResult:
    fields = {
        "key": f"{i:064x}",
        "label": "eos-bcc",
        "member": i,
        "values": {"volume": Quantity(15.8 + i / 3.0, "A^3/atom")},
        "seconds": 0.25,
    }
    return PropertyResult(**(fields | changes))


def write(folder, rank, numbers):
    with Journal(folder, rank) as journal:
        for i in numbers:
            journal.append(result(i))


def members(folder):
    return sorted(r.member for r in load_results(folder).results.values())


def test_results_of_all_ranks_are_read_back_exactly(tmp_path):
    write(tmp_path, 0, [1, 3])
    write(tmp_path, 11, [2])
    found = load_results(tmp_path)
    assert found.n_damaged == 0
    assert found.results == {r.key: r for r in (result(1), result(3), result(2))}
    assert [r.seconds for r in found.results.values()] == [0.25] * 3


def test_what_is_no_part_of_equality_is_kept_too(tmp_path):
    written = result(
        1, failure="crashed", values={}, detail="killed by SIGSEGV", attempt=2, reconfigured=True
    )
    with Journal(tmp_path, 0) as journal:
        journal.append(written)
    (found,) = load_results(tmp_path).results.values()
    assert repr(found) == repr(written)


def test_a_missing_folder_is_empty(tmp_path):
    assert load_results(tmp_path / "none").results == {}


def test_records_say_when_they_were_written(tmp_path):
    before = time.time()
    write(tmp_path, 0, [1, 2])
    after = time.time()
    entries = load_results(tmp_path).entries
    assert [entry.result.member for entry in entries] == [1, 2]
    # The time is rounded to milliseconds.
    assert before - 1e-3 <= entries[0].written <= entries[1].written <= after + 1e-3


@pytest.mark.parametrize("cut", [1, 5, 40, 100])
def test_a_torn_last_line_costs_only_itself(tmp_path, cut):
    write(tmp_path, 0, [1, 2])
    path = tmp_path / "rank_0000.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    write(tmp_path, 0, [3])
    found = load_results(tmp_path)
    assert members(tmp_path) == [1, 3]
    assert found.n_damaged == 0


@pytest.mark.parametrize("content", [b"", b"\n", b'{"check":"12', b"\n\n\x00\x00"])
def test_the_next_record_joins_nothing(tmp_path, content):
    (tmp_path / "rank_0000.jsonl").write_bytes(content)
    write(tmp_path, 0, [1])
    found = load_results(tmp_path)
    assert list(found.results.values()) == [result(1)]
    assert found.n_damaged == 0


def test_a_torn_line_is_cut_on_opening_and_complete_ones_stay(tmp_path):
    write(tmp_path, 0, [1, 2])
    path = tmp_path / "rank_0000.jsonl"
    complete = path.read_bytes()
    path.write_bytes(complete + b'{"check":"0123')
    write(tmp_path, 0, [])
    assert path.read_bytes() == complete


def test_a_corrupt_middle_line_costs_only_itself_and_is_counted(tmp_path):
    write(tmp_path, 0, [1, 2, 3])
    path = tmp_path / "rank_0000.jsonl"
    lines = path.read_bytes().split(b"\n")
    # A plausible record whose number has changed: only the checksum can tell.
    lines[1] = lines[1].replace(b"16.4", b"17.4")
    path.write_bytes(b"\n".join(lines))
    assert members(tmp_path) == [1, 3]
    assert load_results(tmp_path).n_damaged == 1


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"null", b"[]", b'{"check": 1}', b'{"check":"0","record":{}}'])
def test_junk_is_counted(tmp_path, junk):
    write(tmp_path, 0, [1])
    with (tmp_path / "rank_0000.jsonl").open("ab") as file:
        file.write(junk + b"\n")
    write(tmp_path, 0, [2])
    assert members(tmp_path) == [1, 2]
    assert load_results(tmp_path).n_damaged == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b'"converged":true', b'"converged":fals'),
        lambda line: line.replace(b'"converged":true', b'"converged":null'),
        lambda line: line.replace(b'"member":2', b'"member":3'),
        lambda line: line.replace(b'"written":1', b'"written":2'),
        lambda line: line[: len(line) // 2],
        lambda line: line[10:],
        lambda line: b"\x00" * len(line),
    ],
)
def test_the_checksum_covers_the_whole_record(tmp_path, damage):
    write(tmp_path, 0, [1, 2, 3])
    path = tmp_path / "rank_0000.jsonl"
    lines = path.read_bytes().split(b"\n")
    damaged = damage(lines[1])
    assert damaged != lines[1]
    path.write_bytes(b"\n".join([lines[0], damaged, *lines[2:]]))
    assert members(tmp_path) == [1, 3]
    assert load_results(tmp_path).n_damaged == 1


def test_the_first_result_of_a_task_stays(tmp_path):
    write(tmp_path, 0, [1])
    with Journal(tmp_path, 1) as journal:
        journal.append(result(1, values={"volume": Quantity(0.0, "A^3/atom")}))
    assert next(iter(load_results(tmp_path).results.values())) == result(1)


#: One task, as it may stand in the files of several ranks; the first is the one that counts.
OUTCOMES = (
    result(1),
    result(1, values={}, failure=TIME_LIMIT, seconds=120.0, attempt=2),
    result(1, values={}, failure=TIME_LIMIT, seconds=60.0, attempt=1),
    result(1, values={}, failure=f"{BUG}: KeyError: x", seconds=0.1),
)


@pytest.mark.parametrize("outcomes", [OUTCOMES, OUTCOMES[1:], OUTCOMES[2:]])
def test_a_value_counts_before_a_time_limit_before_a_bug_wherever_they_stand(tmp_path, outcomes):
    for number, order in enumerate(permutations(outcomes)):
        folder = tmp_path / str(number)
        # Numbers of ranks say nothing about what was earlier.
        for rank, outcome in enumerate(order):
            with Journal(folder, rank) as journal:
                journal.append(outcome)
        content = load_results(folder)
        (found,) = content.results.values()
        assert repr(found) == repr(outcomes[0])
        assert len(content.entries) == len(outcomes)


def test_a_failure_that_is_final_counts_as_much_as_a_value(tmp_path):
    with Journal(tmp_path, 0) as journal:
        for failure in (f"{BUG}: KeyError: x", "lost_atoms", TIME_LIMIT, "crashed"):
            journal.append(result(1, values={}, failure=failure))
    assert [r.failure for r in load_results(tmp_path).results.values()] == ["lost_atoms"]


def full_disk(monkeypatch, path: Path) -> None:
    """Let fsync fail, as it does where blocks are given out late."""

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", fail)


def small_files(monkeypatch, path: Path) -> None:
    """Let the next record fit in part; Python ignores the signal that comes with it."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, hard))


@pytest.mark.parametrize("ill", [full_disk, small_files])
def test_a_disk_that_fills_leaves_no_part_of_a_record(tmp_path, monkeypatch, ill):
    with Journal(tmp_path, 0) as journal:
        journal.append(result(1))
        before = journal.path.read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            ill(monkeypatch, journal.path)
            with pytest.raises(OSError):
                journal.append(result(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            monkeypatch.undo()
        assert journal.path.read_bytes() == before
        # Somebody has made room.
        journal.append(result(3))
    found = load_results(tmp_path)
    assert members(tmp_path) == [1, 3]
    assert found.n_damaged == 0


def test_a_full_disk_is_an_error_not_a_result(tmp_path):
    with Journal(tmp_path, 0) as journal, open("/dev/full", "ab", buffering=0) as full:  # noqa: PTH123
        mine, journal._file = journal._file, full
        with pytest.raises(OSError, match="space"):
            journal.append(result(1))
        journal._file = mine


def test_a_second_writer_of_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    with Journal(tmp_path, 0) as journal:
        with pytest.raises(InputError, match=r"rank_0000\.jsonl: another run is writing here"):
            Journal(tmp_path, 0)
        # The refused one has changed nothing, and other ranks have files of their own.
        journal.append(result(1))
        write(tmp_path, 1, [2])
    write(tmp_path, 0, [3])
    assert members(tmp_path) == [1, 2, 3]


def test_a_second_writer_waits_for_ranks_that_are_about_to_end(tmp_path):
    first = Journal(tmp_path, 0)
    first._file.write(b'{"torn')
    # One look of the second finds the file held.
    ending = threading.Timer(0.15, first.__exit__)
    ending.start()
    write(tmp_path, 0, [1])
    ending.join()
    assert members(tmp_path) == [1]
    assert load_results(tmp_path).n_damaged == 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_written_all_the_same(tmp_path, monkeypatch, number):
    def refuse(handle: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    write(tmp_path, 0, [1])
    assert members(tmp_path) == [1]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "rank_0000.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        Journal(tmp_path, 0)


def test_killed_writers_lose_nothing_acknowledged(tmp_path):
    """A writer prints each number after its record is on the disk and is killed without warning."""
    code = (
        "import sys; from pathlib import Path; from snapuq.results.journal import Journal\n"
        "from snapuq.core.result import PropertyResult, Quantity\n"
        "journal = Journal(Path(sys.argv[1]), 0)\n"
        "i = int(sys.argv[2])\n"
        "while True:\n"
        "    i += 1\n"
        "    journal.append(PropertyResult(str(i), 'x', i, {'v': Quantity(i / 7.0, 'eV')}))\n"
        "    print(i, flush=True)\n"
    )
    acknowledged: list[int] = []
    for trial in range(4):
        arguments = [sys.executable, "-c", code, str(tmp_path), str(10**6 * trial)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            acknowledged.append(int(child.stdout.readline()))
            time.sleep(0.03 * trial)
            os.kill(child.pid, signal.SIGKILL)
            acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
    assert set(acknowledged) <= {int(k) for k in load_results(tmp_path).results}
    assert len(acknowledged) > 10


@given(
    value=NUMBERS,
    name=st.text(min_size=1),
    failure=st.text(),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_plain_data_round_trip(value, name, failure, flags):
    original = result(1, values={name: Quantity(value, "eV")}, failure=failure, converged=flags[0])
    again = result_from_plain(json.loads(json.dumps(result_to_plain(original))))
    assert again == original
    assert repr(again.values[name].value) == repr(value)
