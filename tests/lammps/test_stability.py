"""Elastic constants from rows against those from LAMMPS's stresses, for the MLE and members."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from snapuq.analysis.stability import STRAIN
from snapuq.config import CampaignConfig, load_config
from snapuq.core.ensemble import Ensemble
from snapuq.errors import EnvironmentProblem
from snapuq.lammps.engine import LammpsEngine
from snapuq.lammps.session import Session
from snapuq.lammps.snapfiles import member_files, write_ensemble
from snapuq.lammps.templates import Workspace
from snapuq.parallel import SERIAL
from snapuq.pipeline import stability
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.prepare import prepare
from snapuq.pipeline.stability import (
    elastic_stability,
    is_rigid,
    member_constants,
    state_stability,
    wanted_crystals,
)
from snapuq.pipeline.training import fit_posterior
from snapuq.properties import PROPERTIES, build_params
from snapuq.properties.crystals import PROTOTYPES, Crystal

pytestmark = pytest.mark.lammps

# Both take second differences over a strain of 1e-3, one of the energy and one of the stress; where a shell
# of neighbours passes the cutoff, third derivatives jump and each is wrong by about 1e-3 in its own way.
ELASTIC_TOLERANCE = 1.0e-2
# Truncation grows with the square of the strain: at twice the size, the difference is three times the error.
STRAIN_TOLERANCE = 1.0e-3
BCC = Crystal("bcc", ("W",))
CAMPAIGN = """
name: generated
dataset:
  generate:
    elements: [W]
    structures: [bcc, fcc, sc]
    configurations: 140
    max_atoms: 20
    label: {pair_style: eam/alloy, pair_coeff: ["* * W_zhou.eam.alloy W"]}
  weights: {scheme: exponential, energy_ratio: 100}
potential:
  rcutfac: 4.73442
  twojmax: 4
  quadraticflag: 1
  elements: {W: {}}
  reference: {pair_style: zbl 4.0 4.8, pair_coeff: ["* * 74 74"]}
fit: {calibrate: {folds: 2}}
ensemble: {members: 20}
"""
PROPERTIES_TEXT = (
    "campaign: {properties: [phase: {structures: [hcp, sc, diamond]}, elastic: {structure: sc}]}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stability")


@pytest.fixture(scope="module")
def config(folder: Path) -> CampaignConfig:
    (folder / "w.yaml").write_text(CAMPAIGN)
    return load_config(folder / "w.yaml")


@pytest.fixture(scope="module")
def ensemble(config: CampaignConfig, folder: Path) -> Ensemble:
    posterior = fit_posterior(prepare(config), config, folder / "rows", SERIAL, quiet=True)
    return posterior.sample(config.ensemble.members, config.seed)


def test_agrees_with_the_elastic_property(ensemble: Ensemble, session: Session, tmp_path: Path) -> None:
    found = member_constants(ensemble, BCC, session)
    write_ensemble(ensemble, tmp_path, "pot")
    elastic = PROPERTIES["elastic"]
    params = build_params("elastic", {"structure": BCC.text})
    with Workspace() as workspace:
        for member in (0, 1, 7, 20):
            files = member_files(tmp_path, "pot", member, len(ensemble), ("W",))
            values = elastic.run(LammpsEngine(files, workspace), params, np.random.default_rng(0)).values
            truth = [values[name].value for name in ("C11", "C12", "C44", "bulk_modulus")]
            mine = [c[member] for c in (found.c11, found.c12, found.c44, found.bulk_modulus)]
            assert mine == pytest.approx(truth, rel=ELASTIC_TOLERANCE)
            assert found.is_stable[member] == (values["born_min_eigenvalue"].value > 0)


def test_phase_gives_the_same_lattice_and_energy(
    ensemble: Ensemble, session: Session, tmp_path: Path
) -> None:
    found = member_constants(ensemble, BCC, session)
    files = write_ensemble(ensemble, tmp_path, "pot")
    phase = PROPERTIES["phase"]
    params = build_params("phase", {"structures": [BCC.text]})
    with Workspace() as workspace:
        values = phase.run(LammpsEngine(files, workspace), params, np.random.default_rng(0)).values
    # A residual stress of 1e-6 eV/A^3 in a bulk modulus of 2 eV/A^3 moves the lattice constant by 2e-7.
    assert found.lattice_constant[0] == pytest.approx(values["a"].value, rel=1e-5)
    assert found.energy[0] == pytest.approx(values["energy"].value, abs=1e-6)


def test_strain_is_small_enough(ensemble: Ensemble, session: Session) -> None:
    once, twice = (member_constants(ensemble, BCC, session, factor * STRAIN) for factor in (1.0, 2.0))
    for name in ("shear_modulus", "c44"):
        modulus = getattr(once, name)
        assert np.abs((getattr(twice, name) - modulus) / 3.0).max() <= STRAIN_TOLERANCE * modulus.mean()


def test_unstable_members_are_counted(ensemble: Ensemble) -> None:
    """Without coefficients the reference pair style is left, which only repels."""
    n = len(ensemble) // 2
    members = ensemble.coefficients.copy()
    members[n:] = 0.0
    mixed = replace(ensemble, coefficients=members)
    (outcome,) = elastic_stability(mixed, [(BCC,)])
    assert outcome.stability is not None
    assert outcome.stability.n_members == len(ensemble)
    assert outcome.stability.n_stable == n
    assert any("unstable" in line for line in outcome.lines[1:])


def test_only_crystals_without_internal_coordinates_count() -> None:
    rigid = {
        name for name, kind in PROTOTYPES.items() if is_rigid(Crystal(name, ("W", "Be")[: kind.n_species]))
    }
    assert rigid == {"sc", "bcc", "fcc", "B1", "B2", "L1_2"}


def test_crystals_are_those_of_the_properties(config: CampaignConfig, tmp_path: Path) -> None:
    usual = wanted_crystals(config, ("W",))
    assert [[c.label for c in group] for group in usual] == [["bcc-W", "fcc-W"]]
    assert wanted_crystals(config, ("W", "Be")) == ()
    (tmp_path / "w.yaml").write_text(CAMPAIGN + PROPERTIES_TEXT)
    named = wanted_crystals(load_config(tmp_path / "w.yaml"), ("W",))
    assert [[c.label for c in group] for group in named] == [["sc-W"]]


def test_outcome_is_printed_and_recorded_once(
    config: CampaignConfig, ensemble: Ensemble, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    (line, *_) = state_stability(config, run, ensemble, is_new=True)
    assert line.startswith("bcc W: 20 of 20 members elastically stable; B = ")
    entry = YAML(typ="safe").load(run.record.read_text())["stability"]["bcc-W"]
    assert (entry["members"], entry["stable"], entry["mle_stable"]) == (20, 20, True)
    assert entry["spread"] == pytest.approx(entry["std"]["bulk_modulus"] / entry["mean"]["bulk_modulus"])
    assert state_stability(config, run, ensemble, is_new=False) == []


def test_no_crystal_stops_a_run(
    config: CampaignConfig, ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, huge = (Crystal("bcc", ("W",), a) for a in (0.9, 30.0))
    for crystal, reason in ((tiny, "A^3 per atom"), (huge, "none for a = 24.6 to 36.6 A")):
        (outcome,) = elastic_stability(ensemble, [(crystal,)])
        assert outcome.stability is None
        assert len(outcome.lines) == 1
        assert reason in outcome.lines[0]

    def missing() -> Session:
        raise EnvironmentProblem("no LAMMPS Python module")

    monkeypatch.setattr(stability, "Session", missing)
    (line,) = state_stability(config, RunFolder(tmp_path), ensemble, is_new=True)
    assert line == "elastic stability of bcc-W not known: no LAMMPS Python module"
