"""Both ways of the barrier on members of a posterior: the fit of the demo, `workflows/quickstart.yaml`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from snapuq.core.engine import Engine
from snapuq.errors import SimulationError
from snapuq.lammps.member_engines import open_engines
from snapuq.properties import PROPERTIES, bind, build_params
from snapuq.seeds import generator

WORKFLOW = Path(__file__).parents[1] / "workflows" / "quickstart.yaml"
# Some members of this posterior have a minimum half-way, in this cell.
MEMBERS, SUPERCELL, IMAGES = 10, 3, 5


@dataclass(frozen=True)
class Hop:
    """Barrier of one member by one way, and what the symmetric point is; or the reason of a failure."""

    barrier: float | None
    negative_half_way: int | None
    flag: str = ""
    failure: str = ""


def both_ways() -> Iterator[tuple[int, Hop, Hop]]:
    """Member, the band in process, and LAMMPS's ``neb``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stage in ("fit", "sample", "export"):
            words = [
                "-m",
                "snapuq",
                stage,
                str(WORKFLOW),
                "--output",
                name,
                "--set",
                f"ensemble.members={MEMBERS}",
            ]
            done = subprocess.run(
                [sys.executable, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            if done.returncode != 0:
                raise RuntimeError(f"snapuq {stage}: {done.stderr[-500:]}")
        known = {"name": "W", "members": MEMBERS, "elements": ["W"], "reference": None, "options": []}
        with open_engines({"folder": str(folder / "potentials"), **known}) as make:
            for member in range(1, MEMBERS + 1):
                yield member, hop(make(member), member, "band"), hop(make(member), member, "neb")


def hop(engine: Engine, member: int, method: str) -> Hop:
    """One task, as a campaign runs it."""
    data = {"structure": "bcc", "supercell": SUPERCELL, "images": IMAGES, "method": method}
    params = bind(build_params("barrier", data), ("W",))
    try:
        found = PROPERTIES["barrier"].run(engine, params, generator(1, "members", str(member)))
    except SimulationError as error:
        return Hop(None, None, failure=error.reason)
    flag = "reconfigured" if found.reconfigured else "" if found.converged else "not converged"
    values = found.values
    return Hop(values["barrier"].value, round(values["negative_modes_first"].value), flag)
