"""Start, watch and kill the processes of a campaign in tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

TESTS = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
#: Environment variable by which processes of one campaign are known, workers included.
MARK = "SNAPUQ_TEST_MARK"
#: A busy machine with two cores starts three Python processes in less.
PATIENCE = 90.0


class Campaign:
    """A command under ``mpirun`` in a session of its own, and all processes that come from it."""

    def __init__(self, n_ranks: int, *words: str, cwd: Path | None = None) -> None:
        self.mark = uuid4().hex
        launcher = BIN / "mpirun"
        path = os.pathsep.join([str(TESTS), *(str(TESTS / name) for name in ("unit", "lammps", "faults"))])
        self.process = subprocess.Popen(
            [str(launcher) if launcher.exists() else "mpirun", "-n", str(n_ranks), sys.executable, *words],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, MARK: self.mark, "PYTHONPATH": path},
            start_new_session=True,
        )

    @classmethod
    def of_argon(cls, n_ranks: int, folder: Path, **options: object) -> Campaign:
        """Start the Lennard-Jones campaign of `campaign_driver`."""
        return cls(n_ranks, str(TESTS / "campaign_driver.py"), str(folder), json.dumps(options))

    def finish(self, timeout: float = PATIENCE) -> tuple[int, str, str]:
        """Wait for the end; gives status, stdout and stderr."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            for pid in self.pids():
                _kill(pid, signal.SIGKILL)
            self.process.communicate()
            raise
        return self.process.returncode, out, err

    def wait_for(self, text: str, n: int = 1) -> None:
        """Wait until something was said `n` times on stdout; `finish` gives what follows alone."""
        assert self.process.stdout is not None
        said = ""
        # Launchers put lines of two ranks into one.
        while said.count(text) < n:
            piece = os.read(self.process.stdout.fileno(), 4096).decode()
            assert piece, f"{text!r} was never said: {self.finish()}"
            said += piece

    def pids(self) -> list[int]:
        """Every process that still lives, on whatever level."""
        return [pid for pid, _, _ in self._listed()]

    def ranks(self) -> dict[int, int]:
        """Rank to process id of the supervisors."""
        found = {}
        for pid, environment, words in self._listed():
            if "snapuq.campaign.worker" not in words and "PMI_RANK" in environment and "mpirun" not in words:
                found[int(environment["PMI_RANK"])] = pid
        return found

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return [pid for pid, _, words in self._listed() if "snapuq.campaign.worker" in words]

    def _listed(self) -> Iterator[tuple[int, dict[str, str], str]]:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                pairs = (entry / "environ").read_text(errors="replace").split("\0")
                words = (entry / "cmdline").read_text(errors="replace").replace("\0", " ")
            except OSError:
                continue
            environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            if environment.get(MARK) == self.mark and words:
                yield int(entry.name), environment, words

    def is_gone(self, timeout: float = 15.0) -> bool:
        """Whether no process is left, after a moment."""
        end = time.monotonic() + timeout
        while self.pids():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def send(self, pid: int, number: int) -> None:
        """Send a signal, if the process still lives."""
        _kill(pid, number)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def records(folder: Path) -> list[bytes]:
    """Complete lines of the journal: what has been acknowledged, and at most one more for each rank."""
    return [
        line
        for path in sorted(folder.glob("rank_*.jsonl"))
        for line in path.read_bytes().split(b"\n")[:-1]
        if line
    ]


def wait_for_records(folder: Path, n: int, campaign: Campaign) -> None:
    """Wait until the journal holds `n` records."""
    end = time.monotonic() + PATIENCE
    while len(records(folder)) < n:
        assert time.monotonic() < end, "the campaign does not get on"
        assert campaign.process.poll() is None, campaign.process.communicate()
        time.sleep(0.01)


def shared_memory() -> set[str]:
    """Shared-memory files of MPI or snapuq that no process has mapped: left behind by one that was killed."""
    shared = Path("/dev/shm")
    found = {
        p.name
        for p in (shared.iterdir() if shared.is_dir() else ())
        if p.name.startswith(("mpich_shm", "ucx_shm", "snapuq"))
    }
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            text = maps.read_text(errors="replace")
        except OSError:
            continue
        found = {name for name in found if name not in text}
    return found
