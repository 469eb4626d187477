"""The journal keeps what it acknowledged, whatever happens to its last or middle lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.core.result import PropertyResult, Quantity
from snapuq.results.journal import Journal, load_results, result_from_plain, result_to_plain

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


def test_a_missing_folder_is_empty(tmp_path):
    assert load_results(tmp_path / "none").results == {}


@pytest.mark.parametrize("cut", [1, 5, 40, 100])
def test_a_torn_last_line_costs_only_itself(tmp_path, cut):
    write(tmp_path, 0, [1, 2])
    path = tmp_path / "rank_0000.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    write(tmp_path, 0, [3])
    found = load_results(tmp_path)
    assert members(tmp_path) == [1, 3]
    assert found.n_damaged == 0


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


def test_the_first_result_of_a_task_stays(tmp_path):
    write(tmp_path, 0, [1])
    with Journal(tmp_path, 1) as journal:
        journal.append(result(1, values={"volume": Quantity(0.0, "A^3/atom")}))
    assert next(iter(load_results(tmp_path).results.values())) == result(1)


def test_a_full_disk_is_an_error_not_a_result(tmp_path):
    journal = Journal(tmp_path, 0)
    journal._file.close()
    with open("/dev/full", "ab", buffering=0) as full:  # noqa: PTH123 - a device that refuses every byte
        journal._file = full
        with pytest.raises(OSError, match="space"):
            journal.append(result(1))


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
