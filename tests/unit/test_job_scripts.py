"""The job scripts, with stand-ins for what a cluster brings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from snapuq.cli import workflows_folder


def cluster(folder: Path, *, run: int, left: int) -> dict[str, str]:
    """Commands that write down their arguments; ``snapuq`` ends as asked."""
    programs = folder / "snapuq-env" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f"export PATH={programs}:$PATH\n")
    record = f'echo "$(basename "$0") $*" >> {folder}/calls\n'
    launch = record + 'while [ "$1" != snapuq ]; do shift; done\nexec "$@"\n'
    ends = f"case $1 in run) exit {run};; status) exit {left};; esac\n"
    bodies = {"snapuq": record + ends, "srun": launch, "mpirun": launch, "scontrol": record, "qsub": record}
    for name, body in bodies.items():
        path = programs / name
        path.write_text(f"#!/bin/bash\n{body}")
        path.chmod(0o755)
    (folder / "nodes").write_text("a\na\n")
    return {"HOME": str(folder), "PBS_O_WORKDIR": str(folder), "PBS_NODEFILE": str(folder / "nodes")}


@pytest.mark.parametrize("system", ["slurm", "pbs"])
@pytest.mark.parametrize(
    ("run", "left", "chain", "again"),
    [
        (0, 3, False, True),
        (0, 0, False, False),
        (0, 3, True, False),
        (2, 3, False, False),
        (3, 0, False, True),
        (0, 2, False, False),
    ],
    ids=["tasks are left", "complete", "one of a chain", "an error", "stopped before", "no status"],
)
def test_a_job_queues_itself_again_until_its_campaign_is_complete(
    system: str, run: int, left: int, chain: bool, again: bool, tmp_path: Path
) -> None:
    environment = {**os.environ, **cluster(tmp_path, run=run, left=left), "SLURM_JOB_ID": "7"}
    environment |= {"CAMPAIGN": "c.yaml", "RUN": "r"}
    if chain:
        environment |= {"SLURM_ARRAY_TASK_ID": "1", "PBS_ARRAY_INDEX": "1"}
    script = str(workflows_folder() / f"{system}.sh")
    words = ["c.yaml", "r", "--set", "seed=2"] if system == "slurm" else []
    done = subprocess.run(
        ["bash", script, *words], env=environment, capture_output=True, text=True, timeout=30, cwd=tmp_path
    )
    assert done.returncode == next((s for s in (run, left) if s not in (0, 3)), 0), done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert any(line.startswith("snapuq run c.yaml --output r --set campaign.drain=100 s") for line in calls)
    resubmissions = [line for line in calls if line.startswith(("scontrol", "qsub"))]
    expected = {"slurm": "scontrol requeue 7", "pbs": "qsub -v CAMPAIGN=c.yaml,RUN=r pbs.sh"}[system]
    assert resubmissions == ([expected] if again else [])


def test_a_slurm_job_that_is_told_to_end_queues_itself_again_whatever_the_launcher_says(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, **cluster(tmp_path, run=0, left=0), "SLURM_JOB_ID": "7"}
    # The launcher is told, and ends with the status of ranks that it killed.
    told = f"trap 'echo told >> {tmp_path}/calls; exit 137' USR1\nkill -USR1 $PPID\n"
    told += "while :; do sleep 0.1; done\n"
    (tmp_path / "snapuq-env" / "bin" / "srun").write_text(f"#!/bin/bash\n{told}")
    script = str(workflows_folder() / "slurm.sh")
    done = subprocess.run(
        ["bash", script, "c.yaml", "r"], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls").read_text().splitlines() == ["snapuq doctor", "told", "scontrol requeue 7"]


@pytest.mark.parametrize("system", ["slurm", "pbs"])
def test_missing_arguments_are_told(system: str, tmp_path: Path) -> None:
    environment = {**os.environ, **cluster(tmp_path, run=0, left=0)}
    environment.pop("CAMPAIGN", None)
    script = str(workflows_folder() / f"{system}.sh")
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "usage:" in done.stderr
    assert not (tmp_path / "calls").exists()
