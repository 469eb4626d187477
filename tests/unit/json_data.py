"""A small FitSNAP JSON data set of a two-atom cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def record(seed: int) -> dict[str, Any]:
    """One calculation of a two-atom cell, with forces of a spring between the atoms."""
    rng = np.random.default_rng(seed)
    cell = 3.2 * (np.eye(3) + np.tril(0.03 * rng.normal(size=(3, 3))))
    shift = 0.1 * rng.normal(size=3)
    positions = np.array([np.zeros(3), [0.5, 0.5, 0.5] @ cell + shift])
    return {
        "Energy": float(-17.8 + shift @ shift),
        "Positions": positions.tolist(),
        "Lattice": cell.tolist(),
        "Forces": [(2 * shift).tolist(), (-2 * shift).tolist()],
        "Stress": np.zeros((3, 3)).tolist(),
        "NumAtoms": 2,
        "AtomTypes": ["W", "W"],
    }


STYLES = {
    "EnergyStyle": "electronvolt",
    "ForcesStyle": "electronvoltperangstrom",
    "PositionsStyle": "angstrom",
    "LatticeStyle": "angstrom",
    "StressStyle": "bar",
    "AtomTypeStyle": "chemicalsymbol",
}


def write_data(folder: Path, n: int = 20, first_seed: int = 0) -> Path:
    """Write `n` calculations as one group; return the folder of the group."""
    group = folder / "data" / "crystal"
    group.mkdir(parents=True)
    for i in range(n):
        document = {"Dataset": {"Data": [record(first_seed + i)], **STYLES}}
        (group / f"c_{i:02d}.json").write_text("# made for tests\n" + json.dumps(document))
    return group
