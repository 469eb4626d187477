"""What survives when workers, ranks, launchers and disks fail: argon campaigns under mpirun."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from campaign_driver import run, tasks
from processes import Campaign, records, shared_memory, wait_for_records

from snapuq.campaign.process import Worker
from snapuq.campaign.run import collect
from snapuq.campaign.status import read_status
from snapuq.core.result import PropertyResult
from snapuq.errors import EnvironmentProblem
from snapuq.results.journal import load_results

pytestmark = [pytest.mark.mpi, pytest.mark.slow]
#: Tasks of the argon campaign with three members.
N = 15
#: Seconds within which a campaign must stop that was given none to drain.
PROMPT = 20.0


def results(folder: Path, members: int = 3) -> tuple[PropertyResult, ...]:
    return collect(tasks(members), load_results(folder))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[PropertyResult, ...]:
    """What the campaign gives when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(folder).is_complete
    return results(folder)


def sound(folder: Path, undisturbed: tuple[PropertyResult, ...], without: set[int]) -> bool:
    """Whether all members but some have the results of the undisturbed run."""
    found = [r for r in results(folder) if r.member not in without]
    return found == [r for r in undisturbed if r.member not in without]


def script(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def test_case_01_without_an_mpi_library_the_message_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: w\n")
    hidden = (
        "import sys; sys.modules['mpi4py.MPI'] = None\n"
        "from snapuq.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    done = script("-c", hidden, "campaign", str(tmp_path / "c.yaml"))
    assert done.returncode == 2
    assert "pip install mpich" in done.stderr
    assert "Traceback" not in done.stderr


def test_case_02_a_launcher_of_another_mpi_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: w\n")
    words = ("-m", "snapuq", "campaign", str(tmp_path / "c.yaml"))
    done = script(*words, OMPI_COMM_WORLD_SIZE="2")
    assert done.returncode == 2
    assert "the launcher started 2 ranks" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.lammps
def test_case_04_an_endless_minimisation_meets_its_limit(tmp_path: Path, undisturbed) -> None:
    # Member 3 has no waiting neighbour that could hide the loss of the worker's queue.
    assert run(tmp_path, limit=3.0, deeds={1: "lammps_hang"}).is_complete
    assert {(r.member, r.failure) for r in results(tmp_path) if r.failure} == {(1, "time_limit")}
    assert sound(tmp_path, undisturbed, {1})


@pytest.mark.parametrize(
    ("deed", "word"),
    [
        ("quit", "exit status 3"),
        ("segfault", "SIGSEGV"),
        ("kill", "SIGKILL"),
        ("abort", "SIGABRT"),
        ("mpi_abort", "MPI_Abort"),
    ],
)
def test_case_09_a_dying_worker_costs_its_own_task(deed: str, word: str, tmp_path: Path, undisturbed) -> None:
    calls = tmp_path / "calls"
    assert run(tmp_path / "j", deeds={2: deed}, calls=str(calls)).is_complete
    failed = [r for r in results(tmp_path / "j") if r.failure]
    assert {(r.member, r.failure) for r in failed} == {(2, "crashed")}
    assert all(word in r.detail for r in failed)
    assert sound(tmp_path / "j", undisturbed, {2})
    # Three workers each for the three tasks of this member: one may have been killed by someone else.
    assert sum(line.startswith("2 ") for line in calls.read_text().splitlines()) == 9


def test_case_09_a_worker_that_dies_once_costs_nothing(tmp_path: Path, undisturbed) -> None:
    assert run(tmp_path / "j", deeds={1: "kill", 2: "segfault"}, once=str(tmp_path)).is_complete
    assert results(tmp_path / "j") == undisturbed


def test_case_10_a_worker_out_of_memory(tmp_path: Path, undisturbed) -> None:
    assert run(tmp_path, deeds={2: "memory"}).is_complete
    assert {(r.member, r.failure) for r in results(tmp_path) if r.failure} == {(2, "out_of_memory")}
    assert sound(tmp_path, undisturbed, {2})


def test_case_11_junk_on_stdout_changes_nothing(tmp_path: Path, undisturbed, capfd) -> None:
    assert run(tmp_path, deeds={1: "junk", 3: "junk"}).is_complete
    assert results(tmp_path) == undisturbed
    assert "junk" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_case_14_killing_the_launcher_loses_nothing(number: int, tmp_path: Path, undisturbed) -> None:
    rng, before = random.Random(14), shared_memory()
    for _ in range(3):
        campaign = Campaign.of_argon(2, tmp_path, deeds={str(m): "sleep" for m in range(1, 4)})
        wait_for_records(tmp_path, min(N - 1, len(records(tmp_path)) + 1), campaign)
        time.sleep(rng.uniform(0.0, 0.3))
        known = records(tmp_path)
        campaign.send(campaign.process.pid, number)
        campaign.finish()
        assert campaign.is_gone()
        assert set(known) <= set(records(tmp_path))
    campaign = Campaign.of_argon(2, tmp_path)
    assert campaign.finish()[0] == 0
    assert len(records(tmp_path)) == N
    assert results(tmp_path) == undisturbed
    assert shared_memory() <= before


@pytest.mark.parametrize("rank", [0, 1])
def test_case_15_killing_a_rank_loses_nothing(rank: int, tmp_path: Path, undisturbed) -> None:
    campaign = Campaign.of_argon(2, tmp_path, deeds={str(m): "sleep" for m in range(1, 4)})
    wait_for_records(tmp_path, 3, campaign)
    known = records(tmp_path)
    campaign.send(campaign.ranks()[rank], signal.SIGKILL)
    campaign.finish()
    assert campaign.is_gone()
    assert set(known) <= set(records(tmp_path))
    assert not read_status(tmp_path).is_complete
    assert Campaign.of_argon(2, tmp_path).finish()[0] == 0
    assert len(records(tmp_path)) == N
    assert results(tmp_path) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
@pytest.mark.parametrize("to_launcher", [True, False])
def test_case_16_signals_drain_and_exit_0(
    number: int, to_launcher: bool, tmp_path: Path, undisturbed
) -> None:
    # A drain of 0.5 s is too short for the task of member 1, which takes 3 s.
    options = {"deeds": {"1": "long", "2": "sleep", "3": "sleep"}, "drain": 0.5}
    campaign = Campaign.of_argon(2, tmp_path, **options)
    wait_for_records(tmp_path, 2, campaign)
    time.sleep(0.5)
    start = time.monotonic()
    campaign.send(campaign.process.pid if to_launcher else campaign.ranks()[1], number)
    status, out, err = campaign.finish()
    assert time.monotonic() - start < PROMPT
    assert status == 0, err
    assert f"complete=False reason={signal.Signals(number).name}" in out
    assert campaign.is_gone()
    assert len(records(tmp_path)) < N
    assert Campaign.of_argon(2, tmp_path).finish()[0] == 0
    assert results(tmp_path) == undisturbed
    assert len(records(tmp_path)) == N


def test_case_16_the_clock_drains_like_a_signal(tmp_path: Path, undisturbed) -> None:
    outcome = run(tmp_path, deeds={1: "long", 2: "long"}, drain=0.2, seconds=2.5)
    assert (outcome.is_complete, outcome.reason) == (False, "time limit")
    assert run(tmp_path).is_complete
    assert results(tmp_path) == undisturbed


def damaged(folder: Path, change) -> int:
    """Change the lines of the journal; gives the number of results that are left."""
    (path,) = folder.glob("rank_*.jsonl")
    path.write_bytes(change(path.read_bytes()))
    return len(load_results(folder).results)


def test_case_17_a_torn_last_line_costs_that_task_alone(tmp_path: Path, undisturbed) -> None:
    run(tmp_path)
    assert damaged(tmp_path, lambda content: content[:-40]) == N - 1
    calls = tmp_path / "calls"
    assert run(tmp_path, calls=str(calls)).is_complete
    assert results(tmp_path) == undisturbed
    assert len(records(tmp_path)) == N
    assert len(calls.read_text().splitlines()) == 1


def test_case_18_a_corrupt_line_costs_that_task_alone(tmp_path: Path, undisturbed) -> None:
    run(tmp_path)

    def corrupt(content: bytes) -> bytes:
        lines = content.split(b"\n")
        lines[7] = lines[7].replace(b'"converged":true', b'"converged":fals')
        return b"\n".join(lines)

    assert damaged(tmp_path, corrupt) == N - 1
    calls = tmp_path / "calls"
    assert run(tmp_path, calls=str(calls)).is_complete
    assert results(tmp_path) == undisturbed
    assert len(calls.read_text().splitlines()) == 1


def test_case_19_another_number_of_ranks_skips_and_doubles_nothing(tmp_path: Path, undisturbed) -> None:
    slow = {"deeds": {str(m): "sleep" for m in range(1, 4)}}
    campaign = Campaign.of_argon(3, tmp_path, drain=0.1, **slow)
    wait_for_records(tmp_path, 4, campaign)
    campaign.send(campaign.process.pid, signal.SIGUSR1)
    assert campaign.finish()[0] == 0
    known = records(tmp_path)
    assert 4 <= len(known) < N
    assert Campaign.of_argon(2, tmp_path).finish()[0] == 0
    assert set(known) <= set(records(tmp_path))
    assert len(records(tmp_path)) == N
    assert results(tmp_path) == undisturbed


def test_case_20_a_finished_campaign_starts_no_worker(tmp_path: Path, undisturbed) -> None:
    run(tmp_path / "j")
    calls = tmp_path / "calls"
    assert run(tmp_path / "j", calls=str(calls), unable=True).is_complete
    assert not calls.exists()
    assert results(tmp_path / "j") == undisturbed


def test_case_22_a_rank_that_leaves_is_reported_as_incomplete(tmp_path: Path, undisturbed) -> None:
    slow = {"deeds": {str(m): "long" for m in range(1, 4)}}
    campaign = Campaign.of_argon(2, tmp_path, leave_rank=1, **slow)
    _, out, _ = campaign.finish()
    # The launcher may well say 0: the journal is what tells.
    assert "complete=True" not in out
    assert campaign.is_gone()
    assert not read_status(tmp_path).is_complete
    assert run(tmp_path).is_complete
    assert results(tmp_path) == undisturbed


def test_case_23_one_rank_of_a_task_fails_and_others_go_on(tmp_path: Path, undisturbed) -> None:
    before = shared_memory()
    assert run(tmp_path, worker_ranks=2, limit=3.0, deeds={1: "one_rank_fails"}).is_complete
    assert {(r.member, r.failure) for r in results(tmp_path) if r.failure} == {(1, "time_limit")}
    assert sound(tmp_path, undisturbed, {1})
    assert shared_memory() <= before


@pytest.mark.slow
def test_case_24_a_hundred_killed_workers_leave_no_trace(tmp_path: Path) -> None:
    from campaign_engines import HERE, recipe

    os.environ["PYTHONPATH"] = str(HERE)
    before = shared_memory()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for index in range(100):
        worker = Worker(recipe())
        end = time.monotonic() + 60.0
        # Some are killed while they start, others when they are ready.
        while index % 4 and time.monotonic() < end:
            messages, alive = worker.messages(0.1)
            assert alive
            if messages:
                assert "ready" in messages[0]
                break
        worker.kill()
    assert shared_memory() <= before
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_case_25_a_slow_task_that_is_interrupted_often_is_not_at_fault(tmp_path: Path, undisturbed) -> None:
    for _ in range(4):
        outcome = run(tmp_path, members=3, deeds={-1: "long"}, drain=0.1, seconds=1.5)
        assert not outcome.is_complete
    assert not any(r.failure for r in results(tmp_path))
    assert run(tmp_path, deeds={-1: "long"}).is_complete
    assert results(tmp_path) == undisturbed


def test_case_26_a_full_disk_stops_the_campaign_and_loses_nothing(tmp_path: Path, undisturbed) -> None:
    driver = str(Path(__file__).parents[1] / "campaign_driver.py")
    options = '{"fill_disk_after": 4, "deeds": {"1": "sleep", "2": "sleep", "3": "sleep"}}'
    done = script(driver, str(tmp_path), options, PYTHONPATH=str(Path(__file__).parents[1]))
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    content = load_results(tmp_path)
    assert 0 < len(content.results) < N
    assert content.n_damaged == 0
    assert run(tmp_path).is_complete
    assert len(records(tmp_path)) == N
    assert results(tmp_path) == undisturbed


def test_case_26_a_journal_that_cannot_be_written_ends_all_ranks(tmp_path: Path) -> None:
    (tmp_path / "rank_0001.jsonl").mkdir(parents=True)
    status, out, err = Campaign.of_argon(2, tmp_path).finish()
    assert status != 0
    assert "complete" not in out
    assert "Is a directory" in err


def test_an_engine_that_cannot_be_opened_ends_all_ranks(tmp_path: Path) -> None:
    status, _, err = Campaign.of_argon(2, tmp_path, unable=True).finish()
    assert status != 0
    assert "the engine is not there" in err
    with pytest.raises(EnvironmentProblem, match="the engine is not there"):
        run(tmp_path, unable=True)
    assert records(tmp_path) == []
