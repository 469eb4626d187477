"""Members of a vacancy in a cell too large for a Hessian, against LAMMPS's own relaxation."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snapuq.propagate.expansion as expansion_module
from snapuq.campaign.remember import remembering
from snapuq.core.dataset import Structure
from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair
from snapuq.core.task import PropertyTask
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.member_engines import open_engines
from snapuq.lammps.snapfiles import write_ensemble
from snapuq.lammps.snapformat import read_potential
from snapuq.pipeline.prediction import open_predictor
from snapuq.propagate.engine import PropagatingEngine
from snapuq.propagate.propagator import Propagator
from snapuq.properties import PROPERTIES, build_params
from snapuq.uq.ensemble_file import save_ensemble

MEMBERS = 5
#: Between two relaxations to 1e-4 eV/A: energies (eV) are of second order in what is left, relaxation volumes
#: (A^3) of first order.
ENERGY, VOLUME = 1.0e-6, 2.0e-3
#: Force evaluations on the vacancy: LAMMPS takes 20 from the perfect crystal.
FEW = 7
#: MB. For 1999 atoms 72 vectors, their products and copies of both take 28 MB, and all else may take as much;
#: the Hessian would take 288.
LARGEST_GROWTH = 60.0


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Propagator, Any]]:
    """Members around the published tungsten SNAP; no rows of large cells."""
    names = [find_potential_file(f"W_2940_2017_2.{e}") for e in ("snapcoeff", "snapparam")]
    mle = read_potential(*names)
    rng = np.random.default_rng(0)
    theta = mle.coefficients * (1 + 3e-3 * rng.normal(size=(MEMBERS, len(mle.coefficients))))
    zbl = ReferencePair("zbl 4.0 4.8", ("* * 74 74",))
    ensemble = Ensemble(mle.settings, zbl, mle.coefficients, mle.coefficients, theta, 0, "digest")
    write_ensemble(ensemble, folder / "potentials", "W")
    save_ensemble(folder / "ensemble.h5", ensemble)
    engines = {"folder": str(folder / "potentials"), "name": "W", "members": MEMBERS, "elements": ["W"]}
    prediction = {"ensemble": str(folder / "ensemble.h5"), "propagation": str(folder / "propagation")}
    with (
        open_engines(engines | {"reference": None, "options": []}) as make,
        open_predictor(prediction) as predictor,
    ):
        rows = predictor.rows

        def of_small_cells(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
            assert len(structure) < 50, "rows of the vacancy"
            return rows(structure)

        predictor.rows = of_small_cells
        make_engine = remembering(make)
        yield Propagator(make_engine, predictor), make_engine


def task(member: int, supercell: int) -> PropertyTask:
    mle = {"label": "vacancy", "propagation": "auto", "seed": 1, "potential": "digest 0"}
    params = build_params("vacancy", {"structure": "bcc:W", "supercell": supercell})
    return PropertyTask(
        property="vacancy",
        label="vacancy",
        parameters=asdict(params),
        member=member,
        potential_digest=f"digest {member}",
        seed=1,
        version=1,
        propagation="auto",
        engine={"mle": mle} if member else {},
    )


def outcome(engine: Any, supercell: int) -> dict[str, float]:
    params = build_params("vacancy", {"structure": "bcc:W", "supercell": supercell})
    found = PROPERTIES["vacancy"].run(engine, params, np.random.default_rng(0)).values
    return {name: quantity.value for name, quantity in found.items()}


def compare(propagator: Propagator, make: Any, member: int, supercell: int) -> int:
    """Check a member against brute force, and count what it takes."""
    exact = outcome(make(member), supercell)
    with propagator.engine(task(member, supercell)) as engine:
        before = make(member).evaluations
        found = outcome(engine, supercell)
        assert isinstance(engine, PropagatingEngine)
    assert engine.fallbacks == 0
    assert engine.ways == {"batched", "newton"}
    assert found["formation_energy"] == pytest.approx(exact["formation_energy"], abs=ENERGY)
    assert found["relaxation_volume"] == pytest.approx(exact["relaxation_volume"], abs=VOLUME)
    return int(make(member).evaluations - before)


def test_members_agree_without_a_matrix_or_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion_module, "LARGEST_DENSE", 100)
    with opened(tmp_path) as (propagator, make):
        with propagator.engine(task(0, 3)) as engine:
            outcome(engine, 3)
        for member in (1, MEMBERS):
            assert compare(propagator, make, member, 3) <= FEW


@pytest.mark.slow
def test_a_vacancy_in_2000_atoms(tmp_path: Path) -> None:
    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0

    with opened(tmp_path) as (propagator, make):
        with propagator.engine(task(0, 10)) as engine:
            outcome(engine, 10)
            # LAMMPS has had its most by now.
            before = peak()
        used = compare(propagator, make, MEMBERS, 10)
    print(f"{used} force evaluations, {peak() - before:.0f} MB beyond the {before:.0f} MB of LAMMPS")
    assert used <= FEW
    assert peak() - before < LARGEST_GROWTH
