"""The property that the documentation adds in one file works like any other."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from ase_engine import CUTOFF, EPSILON, SIGMA, AseEngine

from snapuq.campaign.plan import PropertySpec, expand, plan
from snapuq.campaign.worker import execute
from snapuq.properties import PROPERTIES, build_params

EXAMPLE = Path(__file__).parents[2] / "docs_src" / "pressure.py"
#: Lines that the documentation promises, without docstring, imports and empty lines.
LONGEST = 40


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example, for the time of a test."""
    monkeypatch.setattr(PROPERTIES, "_items", dict(PROPERTIES._items))
    spec = importlib.util.spec_from_file_location("pressure", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield


def test_it_is_planned_and_run(registered: None) -> None:
    spec = PropertySpec(
        "pressure", build_params("pressure", {"structure": "fcc:Ar@5.3", "volume_ratio": 0.97})
    )
    (task,) = plan(expand([spec], ("Ar",)), {1: "a"}, 1, engine={})
    assert task.label == "pressure-fcc-Ar-0.97"
    engine = AseEngine(LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=CUTOFF, smooth=False))
    result = execute(task, lambda member: engine)
    assert not result.failure
    # Murnaghan's equation with the bulk modulus and B' = 8 that fcc Lennard-Jones argon has near its minimum.
    bulk = execute_elastic(engine)
    expected = bulk / 8.0 * (0.97**-8.0 - 1.0)
    assert result.values["pressure"].unit == "GPa"
    assert result.values["pressure"].value == pytest.approx(expected, rel=0.05)


def execute_elastic(engine: AseEngine) -> float:
    params = build_params("elastic", {"structure": "fcc:Ar@5.3"})
    output = PROPERTIES["elastic"].run(engine, params, np.random.default_rng(0))
    return output.values["bulk_modulus"].value


def test_it_is_short() -> None:
    body = EXAMPLE.read_text().split("@PROPERTIES")[1]
    assert len([line for line in body.splitlines() if line.strip()]) <= LONGEST


def test_a_wrong_parameter_is_refused(registered: None) -> None:
    with pytest.raises(Exception, match="volume_ratio: expected a positive number"):
        build_params("pressure", {"volume_ratio": -1.0})
