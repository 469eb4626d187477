"""Derivatives of properties by the parameters, with a potential whose rows are exact, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linear_engine import MLE, LinearEngine, linear_rows

from snapuq.analysis.linear_box import UnitBox
from snapuq.campaign.plan import PropertySpec, expand, plan
from snapuq.core.engine import Engine
from snapuq.core.task import PropertyTask
from snapuq.errors import SimulationError
from snapuq.propagate.linearise import STEP, Linearised, linearise
from snapuq.propagate.propagator import Propagator
from snapuq.propagate.record import Record
from snapuq.propagate.store import Predictor, Store
from snapuq.properties import PROPERTIES, build_params
from snapuq.properties.base import Property, PropertyOutput, quantities
from snapuq.properties.crystals import Crystal
from snapuq.properties.defects import repeated

#: Members of the box are about as far from the MLE as those of a fit; five axes for three parameters.
AXES = 0.004 * MLE[:, None] * np.random.default_rng(3).normal(size=(3, 5)) * np.array([[1.0], [1.0], [10.0]])
#: Differences of relaxations, to their tolerances and to the second order of the step.
BRUTE = 0.02


def box(shift: float = 0.0) -> Any:
    """A posterior around the MLE, its middle shifted by a share of the half-widths."""
    low, high = (np.full(5, shift + end) for end in (-1.0, 1.0))
    return SimpleNamespace(mle=MLE, box=SimpleNamespace(axes=AXES, low=low, high=high), scale=1.0)


class FixedEnergy(Property):
    """Energy of a crystal that nobody relaxes: linear in the parameters."""

    @dataclass(frozen=True)
    class Params:
        """Nothing to choose."""

    @staticmethod
    def label(params: Any) -> str:
        return "fixed"

    @staticmethod
    def outputs(params: Any) -> Mapping[str, str]:
        return {"energy": "eV"}

    @staticmethod
    def run(engine: Engine, params: Any, rng: np.random.Generator) -> PropertyOutput:
        cell = repeated(Crystal.parse("fcc:Cu@3.6").conventional(3.61, 3.61), 2)
        return PropertyOutput(quantities({"energy": engine.evaluate(cell).energy}, {"energy": "eV"}))


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(PROPERTIES._items, "fixed_energy", FixedEnergy)
    return "fixed_energy"


def task_of(name: str, parameters: Mapping[str, Any]) -> PropertyTask:
    spec = PropertySpec(name, build_params(name, parameters), "auto")
    return plan(expand([spec], ("Cu",)), {0: "digest"}, 1, engine={})[0]


def linearised(task: PropertyTask, folder: Path) -> Linearised:
    store = Store(folder / "store")
    record = Propagator(lambda m: LinearEngine(MLE), Predictor(linear_rows, MLE[None], store)).record(task)
    return linearise(task, record, linear_rows, MLE, AXES, folder / "rows")


def brute(task: PropertyTask, u: np.ndarray) -> dict[str, float]:
    params = build_params(task.property, task.parameters)
    rng = np.random.Generator(np.random.PCG64(task.seed))
    engine = LinearEngine(MLE + AXES @ u)
    return {k: q.value for k, q in PROPERTIES[task.property].run(engine, params, rng).values.items()}


def test_a_linear_functional_is_exact(fixed: str, tmp_path: Path) -> None:
    task = task_of(fixed, {})
    found = linearised(task, tmp_path)
    assert (found.names, found.units) == (("energy",), ("eV",))
    cell = repeated(Crystal.parse("fcc:Cu@3.6").conventional(3.61, 3.61), 2)
    row = linear_rows(cell)[0][0]
    assert found.mle[0] == pytest.approx(row @ MLE, rel=1.0e-9)
    assert found.slopes[0] == pytest.approx(row @ AXES, rel=1.0e-6)
    # Rows of three parameters have no more than three directions, whatever the number of axes.
    assert 1 <= found.n_directions <= 3


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_envelope_of_a_linear_functional_is_that_of_the_members(
    fixed: str, tmp_path: Path, shift: float
) -> None:
    task = task_of(fixed, {})
    posterior = box(shift)
    found, unit = linearised(task, tmp_path), UnitBox.of(posterior)
    envelope = unit.envelope(found.mle, found.slopes, 100)
    draws = np.random.default_rng(1).uniform(shift - 1.0, shift + 1.0, (4000, 5))
    values = found.mle[0] + draws @ found.slopes[0]
    # A std from n draws has a relative error below 1 / sqrt(2 n), a mean one of std / sqrt(n): five of them.
    assert envelope.std[0] == pytest.approx(values.std(), rel=5.0 / np.sqrt(8000))
    assert envelope.mean[0] == pytest.approx(values.mean(), abs=5.0 * values.std() / np.sqrt(4000))
    assert envelope.quantiles[0] == pytest.approx(np.quantile(values, [0.05, 0.95]), abs=0.1 * values.std())
    extremes = values.reshape(40, 100)
    spread = extremes.max(axis=1).std() / np.sqrt(40)
    assert envelope.expected_maximum[0] == pytest.approx(extremes.max(axis=1).mean(), abs=5.0 * spread)
    for end in (envelope.expected_minimum, envelope.expected_maximum):
        worst = unit.at(found.slopes, end - found.mle)[0]
        rows = linear_rows(repeated(Crystal.parse("fcc:Cu@3.6").conventional(3.61, 3.61), 2))[0]
        assert rows[0] @ worst == pytest.approx(end[0], abs=1.0e-6 * envelope.std[0])


@pytest.mark.parametrize(
    ("name", "parameters", "wanted"),
    [
        ("phase", {"structures": ["fcc:Cu@3.6"]}, ("a", "energy")),
        ("phase", {"structures": ["hcp:Cu@2.55"]}, ("a", "c", "energy")),
        ("elastic", {"structure": "fcc:Cu@3.6"}, ("C11", "C12", "C44")),
        (
            "vacancy",
            {"structure": "fcc:Cu@3.6", "supercell": 2, "fmax": 1.0e-6},
            ("formation_energy", "relaxation_volume"),
        ),
        (
            "surface",
            {"structure": "fcc:Cu@3.6", "miller": [[1, 0, 0]], "thickness": 8.0},
            ("surface_energy",),
        ),
    ],
)
def test_derivatives_are_those_of_relaxed_members(
    name: str, parameters: dict[str, Any], wanted: tuple[str, ...], tmp_path: Path
) -> None:
    task = task_of(name, parameters)
    found = linearised(task, tmp_path)
    assert set(wanted) <= set(found.names)
    along = np.random.default_rng(7).uniform(-1.0, 1.0, 5)
    up, down = (brute(task, sign * STEP * along) for sign in (1.0, -1.0))
    centre = brute(task, 0.0 * along)
    for quantity in wanted:
        i = found.names.index(quantity)
        std = np.linalg.norm(found.slopes[i]) / np.sqrt(3.0)
        assert found.mle[i] == pytest.approx(centre[quantity], abs=BRUTE * std)
        expected = (up[quantity] - down[quantity]) / (2.0 * STEP)
        assert found.slopes[i] @ along == pytest.approx(expected, abs=BRUTE * std)


def test_what_takes_a_relaxation_of_its_own_is_refused(tmp_path: Path) -> None:
    task = task_of("vacancy", {"structure": "fcc:Cu@3.6", "supercell": 2})
    with pytest.raises(SimulationError, match="no_first_order"):
        linearise(task, Record(), linear_rows, MLE, AXES, tmp_path)
