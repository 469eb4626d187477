"""An exported member, run by ``pair_style snap``, gives row . theta."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from structures import random_structure
from test_rows import ZBL, settings

from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.descriptors.bispectrum import BispectrumCalculator
from snapuq.lammps.engine import LammpsEngine
from snapuq.lammps.session import Session
from snapuq.lammps.snapfiles import member_files, write_ensemble
from snapuq.lammps.templates import Workspace

pytestmark = pytest.mark.lammps

# The bars: energies relative, forces in eV/A, stresses relative to their largest component.
ENERGY_TOLERANCE = 1.0e-9
FORCE_TOLERANCE = 1.0e-7
STRESS_TOLERANCE = 1.0e-8

CASES = {
    "quadratic": (settings(), ZBL[1]),
    "quadratic, bzeroflag 1, no reference": (settings(bzeroflag=True), None),
    "linear": (settings(quadraticflag=False), ZBL[1]),
    "two elements": (settings(("W", "Be")), ZBL[2]),
    "bnorm, wselfall": (settings(bnormflag=True, wselfallflag=True, quadraticflag=False), None),
    "inner": (settings(switchinnerflag=True, sinner=(1.8,), dinner=(0.5,)), ZBL[1]),
    "rmin0, no switching": (settings(rmin0=0.2, switchflag=False), ZBL[1]),
}


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("n", [1, 6, 90])
def test_exported_member_predicts_like_its_rows(session: Session, tmp_path: Path, name: str, n: int) -> None:
    s, reference = CASES[name]
    ensemble = random_ensemble(s, reference, session)
    write_ensemble(ensemble, tmp_path, "pot")
    structure = random_structure(n, s.elements, seed=n + 1, rotate=True)
    rows = BispectrumCalculator(session, s, reference).rows(structure, stress=True)
    assert rows.stress is not None
    assert rows.reference_stress is not None
    with Workspace() as workspace:
        for member in (0, 2):
            theta = ensemble.member(member).coefficients
            files = member_files(tmp_path, "pot", member, len(ensemble), s.elements)
            result = LammpsEngine(files, workspace).evaluate(structure)
            expected = rows.energy @ theta + rows.reference_energy
            assert abs(result.energy - expected) <= ENERGY_TOLERANCE * abs(expected)
            forces = rows.forces @ theta + rows.reference_forces
            assert np.abs(result.forces - forces).max() <= FORCE_TOLERANCE
            stress = rows.stress @ theta + rows.reference_stress
            assert np.abs(result.stress - stress).max() <= STRESS_TOLERANCE * np.abs(stress).max()


def random_ensemble(s: SnapSettings, reference: ReferencePair | None, session: Session) -> Ensemble:
    """Coefficients of the size that a fit gives: each term about 0.1 eV per atom."""
    rows = BispectrumCalculator(session, s).rows(random_structure(6, s.elements, seed=1))
    scale = 0.1 / np.maximum(np.abs(rows.energy) / 6, 1.0)
    rng = np.random.default_rng(5)
    members = scale * rng.normal(size=(3, s.n_columns))
    return Ensemble(s, reference, members[0], members[0], members, 1, "0" * 64)


def test_chem_forces_of_lammps_need_coefficients_symmetric_in_the_elements(
    session: Session, tmp_path: Path
) -> None:
    s = settings(("W", "Be"), chemflag=True, bnormflag=True, quadraticflag=False, twojmax=4)
    structure = random_structure(6, s.elements, seed=3)
    rows = BispectrumCalculator(session, s).rows(structure)
    plain = random_ensemble(s, None, session).mle
    channels = plain.reshape(2, -1)[:, 1:].reshape(2, 2, 2, 2, -1)
    symmetric = sum(channels.transpose(0, *p, 4) for p in permutations((1, 2, 3))) / 6
    theta = np.column_stack([plain.reshape(2, -1)[:, 0], symmetric.reshape(2, -1)]).ravel()
    with Workspace() as workspace:
        for number, (coefficients, agree) in enumerate(((theta, True), (plain, False))):
            ensemble = Ensemble(s, None, coefficients, coefficients, coefficients[None], 1, "0" * 64)
            files = write_ensemble(ensemble, tmp_path / str(number), "pot")
            result = LammpsEngine(files, workspace).evaluate(structure)
            assert np.isclose(result.energy, rows.energy @ coefficients, rtol=ENERGY_TOLERANCE)
            # Our rows are the derivative of the energy (test_rows.py). LAMMPS's forces are only for
            # symmetric coefficients; snapuq warns, and this test tells when that is mended.
            error = np.abs(result.forces - rows.forces @ coefficients).max()
            assert (error <= FORCE_TOLERANCE) == agree
