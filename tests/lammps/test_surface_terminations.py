"""Symmetry-equivalent surfaces have one energy, whichever way the index is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snapuq.core.potential import ReferencePair
from snapuq.lammps.engine import LammpsEngine
from snapuq.lammps.snapfiles import write_reference
from snapuq.lammps.templates import Workspace
from snapuq.properties import PROPERTIES, bind, build_params

pytestmark = pytest.mark.lammps

CASES = {
    # Two kinds of cut lie in {111} of diamond: one bond an atom, 1.36 J/m^2 with this potential, or three.
    "diamond": ("sw", "* * Si.sw Si", "Si", [(1, 1, 1), (-1, -1, -1), (-1, 1, 1), (1, -1, 1)], 1.36),
    # The pyramidal planes of hcp have two cuts too.
    "hcp": ("eam/fs", "* * Zr_mm.eam.fs Zr", "Zr", [(1, 0, 1), (-1, 1, 1), (0, 1, 1), (1, 0, -1)], None),
    "bcc": ("eam/alloy", "* * W_zhou.eam.alloy W", "W", [(1, 1, 0), (0, 1, -1), (-1, 0, 1)], None),
}


@pytest.mark.parametrize("crystal", sorted(CASES))
def test_equivalent_surfaces_agree(tmp_path: Path, crystal: str) -> None:
    style, coeff, element, indices, expected = CASES[crystal]
    energies = []
    with Workspace() as workspace:
        files = write_reference(ReferencePair(style, (coeff,)), [element], tmp_path)
        engine = LammpsEngine(files, workspace)
        for index in indices:
            params = bind(build_params("surface", {"structure": crystal, "miller": [index]}), [element])
            output = PROPERTIES["surface"].run(engine, params, np.random.default_rng(0))
            assert output.converged
            energies.append(output.values["surface_energy"].value)
    # Slabs of the same layers, relaxed to 1e-4 eV/A.
    assert np.ptp(energies) < 1e-4 * energies[0]
    if expected is not None:
        assert energies[0] == pytest.approx(expected, abs=0.005)
