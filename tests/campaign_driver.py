"""A campaign of Lennard-Jones tasks as a process: ``[mpirun -n N] python campaign_driver.py FOLDER JSON``."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

from campaign_engines import recipe

from snapuq.campaign.plan import PropertySpec, expand, plan
from snapuq.campaign.run import Outcome, run_campaign
from snapuq.campaign.status import write_plan
from snapuq.core.task import PropertyTask
from snapuq.parallel import SERIAL, Ranks, world
from snapuq.progress import Progress
from snapuq.properties import build_params
from snapuq.stopping import StopRequest

SPECS = [
    PropertySpec("phase", build_params("phase", {"structures": ["fcc:Ar@5.3", "bcc:Ar@4.2"]})),
    PropertySpec("elastic", build_params("elastic", {"structure": "fcc:Ar@5.3"})),
]


def tasks(members: int = 3, seed: int = 1) -> tuple[PropertyTask, ...]:
    """Three tasks for the reference (-1), the MLE (0) and each member."""
    potentials = {member: f"digest {member}" for member in range(-1, members + 1)}
    return plan(expand(SPECS, ("Ar",)), potentials, seed, engine={"name": "lj"})


def run(
    folder: Path,
    ranks: Ranks = SERIAL,
    *,
    members: int = 3,
    limit: float = 60.0,
    drain: float = 5.0,
    seconds: float | None = None,
    worker_ranks: int = 1,
    fill_disk_after: int | None = None,
    leave_rank: int | None = None,
    **arguments: Any,
) -> Outcome:
    """Run what the journal in `folder` lacks; `arguments` are those of `campaign_engines.open_engines`."""
    if fill_disk_after is not None:
        threading.Thread(target=_fill_disk, args=(folder, fill_disk_after), daemon=True).start()
    if leave_rank == ranks.rank:
        threading.Timer(1.5, os._exit, [0]).start()
    # Workers are processes of their own and find the test engines by this.
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    planned = tasks(members)
    if ranks.is_root:
        write_plan(folder, planned, ranks.size)
    deadline = None if seconds is None else time.monotonic() + seconds
    with StopRequest(deadline, drain) as stop:
        return run_campaign(
            planned,
            recipe(worker_ranks, **arguments),
            folder,
            ranks,
            Progress("campaign", len(planned), silent=True),
            stop,
            limit,
        )


def _fill_disk(folder: Path, n: int) -> None:
    """As good as a full disk for this process; workers that have been started before may still write."""
    path = folder / "rank_0000.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < n:
        time.sleep(0.001)
    size = path.stat().st_size + 50
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


if __name__ == "__main__":
    found = run(Path(sys.argv[1]), world(), **json.loads(sys.argv[2]))
    if world().is_root:
        print(f"complete={found.is_complete} reason={found.reason}", flush=True)
