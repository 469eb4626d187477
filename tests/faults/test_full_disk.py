"""A disk that is full: one line with the file and what to do, and the run goes on once there is room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from json_data import write_data
from test_cli_faults import CAMPAIGN

pytestmark = pytest.mark.lammps

# From a call on, the system refuses to let files grow, in Python's own writing and in HDF5's alike; it would
# also send a signal.
FILLED = """
import resource, signal, sys
from snapuq.cli import main
from snapuq.pipeline import execute

def filled(call):
    def wrapped(*words, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        return call(*words, **options)
    return wrapped

module = sys.modules["snapuq.pipeline.execute"]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
setattr(module, sys.argv[1], filled(getattr(module, sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("fit_posterior", "out/rows/rows_"),
        ("save_ensemble", "out/ensemble.h5: "),
        ("write_pointwise_csv", "out/pointwise_metrics.csv: "),
    ],
)
def test_a_file_that_finds_no_room_is_named(call: str, name: str, tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "faults.yaml").write_text(CAMPAIGN.replace("[phase: {structures: [bcc]}]", "[]"))
    words = ["run", "faults.yaml", "-q", "-o", "out"]

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=100
        )

    done = run("-c", FILLED, call)
    assert done.returncode == 2, done.stderr
    (line,) = [found for found in done.stderr.splitlines() if found.startswith("snapuq: error")]
    assert name in line
    hint = "make room and run the same command again: what is finished is kept"
    assert line.endswith(f": File too large; {hint}")
    assert not list((tmp_path / "out").rglob(".*.h5"))
    again = run("-m", "snapuq")
    assert again.returncode == 0, again.stderr
