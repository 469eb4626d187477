"""What holds for every registered property, on an analytic engine."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from ase_engine import AseEngine, argon

from snapuq.core.dataset import Structure
from snapuq.core.engine import Evaluation, Relaxation
from snapuq.errors import InputError, SimulationError
from snapuq.properties import PROPERTIES, bind, build_params
from snapuq.seeds import generator

#: Parameters that keep each property quick on argon; a new property adds its own line here.
SMALL = {
    "phase": {"structures": ["fcc:Ar@5.3", "bcc:Ar@4.2"]},
    "eos": {"structure": "fcc:Ar@5.3", "volume_range": 0.05},
    "elastic": {"structure": "fcc:Ar@5.3"},
    "vacancy": {"structure": "fcc:Ar@5.3", "supercell": 2, "fmax": 1e-6},
    "divacancy": {"structure": "fcc:Ar@5.3", "supercell": 2, "shells": [1], "fmax": 1e-6},
    "interstitial": {"structure": "fcc:Ar@5.3", "supercell": 2, "kinds": ["octahedral"]},
    "phonon": {"structure": "fcc:Ar@5.3", "supercell_length": 10.0, "path_points": 10},
    "surface": {"structure": "fcc:Ar@5.3", "miller": [[1, 0, 0], [1, 1, 1]], "thickness": 10.0},
    "gamma_line": {"structure": "fcc:Ar@5.3", "points": 3, "thickness": 10.0},
    "path": {"structure": "bcc:Ar@4.2", "points": 5},
    "barrier": {"structure": "fcc:Ar@5.3", "supercell": 2, "images": 3, "band_fmax": 2e-3},
}
UNITS = {"A", "A^3", "A^3/atom", "eV", "eV/atom", "GPa", "J/m^2", "eV/A^2", "THz", "k_B/atom", ""}
TASKS = [
    pytest.param(name, part, id=PROPERTIES[name].label(part))
    for name in PROPERTIES
    for part in PROPERTIES[name].expand(build_params(name, SMALL[name]))
]


class Wrapped:
    """An engine seen through a change of frame or a shift of all atoms."""

    def __init__(self, engine: AseEngine, rotation: np.ndarray, shift: np.ndarray) -> None:
        self.engine, self.rotation, self.shift = engine, rotation, shift

    def _there(self, s: Structure) -> Structure:
        return Structure(s.cell @ self.rotation, s.positions @ self.rotation + self.shift, s.species)

    def _stress_back(self, stress: np.ndarray) -> np.ndarray:
        full = stress[np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])]
        return (self.rotation @ full @ self.rotation.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]

    def _back(self, e: Evaluation) -> Evaluation:
        return Evaluation(e.energy, e.forces @ self.rotation.T, self._stress_back(e.stress))

    def evaluate(self, structure: Structure) -> Evaluation:
        return self._back(self.engine.evaluate(self._there(structure)))

    def relax(self, structure: Structure, **options: object) -> Relaxation:
        r = self.engine.relax(self._there(structure), **options)
        s = r.structure
        positions = (s.positions - self.shift) @ self.rotation.T
        back = Structure(s.cell @ self.rotation.T, positions, s.species)
        return Relaxation(back, self._back(r.evaluation), r.converged, r.evaluations)


def run(name, params, engine):
    return PROPERTIES[name].run(engine, bind(params, ("Ar",)), generator(1, "contract"))


def test_every_property_has_an_example():
    assert set(SMALL) == set(PROPERTIES)


@pytest.mark.parametrize(("name", "params"), TASKS)
def test_outputs_are_declared_with_units(name, params):
    output = run(name, params, argon())
    declared = PROPERTIES[name].outputs(params)
    assert {k: q.unit for k, q in output.values.items()} == dict(declared)
    assert set(declared.values()) <= UNITS
    assert all(np.isfinite(q.value) for q in output.values.values())
    assert output.converged
    assert not output.reconfigured


@pytest.mark.parametrize(("name", "params"), TASKS)
def test_deterministic_to_the_last_bit(name, params):
    assert run(name, params, argon()) == run(name, params, argon())


@pytest.mark.parametrize(("name", "params"), TASKS)
def test_invariant_under_rotation_and_translation(name, params):
    q, r = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))
    rotation = q * np.sign(np.diag(r))
    rotation[:, 0] *= np.sign(np.linalg.det(rotation))
    plain = run(name, params, argon())
    turned = run(name, params, Wrapped(argon(), rotation, np.array([0.3, -1.1, 7.0])))
    for key, quantity in plain.values.items():
        # Relaxations end anywhere within their tolerances: 1e-4 eV/A on forces, 1e-6 eV/A^3 on stress.
        assert turned.values[key].value == pytest.approx(quantity.value, rel=3e-4, abs=2e-6), key


@pytest.mark.parametrize(("name", "params"), TASKS)
def test_parameters_survive_json(name, params):
    data = json.loads(json.dumps(dataclasses.asdict(params)))
    assert build_params(name, data) == params


# Frequencies go with the square root of the energy: tests/analytic/test_phonons.py.
@pytest.mark.parametrize(("name", "params"), [task for task in TASKS if task.values[0] != "phonon"])
def test_energy_scale(name, params):
    """Twice the well depth doubles every energy, stress and modulus and moves no atom."""
    doubled = argon()
    doubled.calculator.parameters["epsilon"] *= 2.0
    plain, twice = run(name, params, argon()), run(name, params, doubled)
    for key, quantity in plain.values.items():
        factor = 1.0 if quantity.unit in ("A", "A^3", "A^3/atom", "") else 2.0
        assert twice.values[key].value == pytest.approx(factor * quantity.value, rel=3e-4, abs=4e-6), key


@pytest.mark.parametrize("name", list(PROPERTIES))
def test_labels_are_unique(name):
    cls = PROPERTIES[name]
    labels = [cls.label(p) for p in cls.expand(build_params(name, SMALL[name]))]
    assert len(set(labels)) == len(labels)
    assert all(label.startswith(name) for label in labels)


@pytest.mark.parametrize("name", list(PROPERTIES))
def test_defaults_are_valid_for_a_one_element_potential(name):
    cls = PROPERTIES[name]
    for params in cls.expand(cls.Params()):
        bind(params, ("W",))


@pytest.mark.parametrize("name", list(PROPERTIES))
def test_a_failing_engine_is_not_swallowed(name):
    class Broken:
        def evaluate(self, structure):
            raise SimulationError("lost_atoms")

        def relax(self, structure, **options):
            raise SimulationError("lost_atoms")

    for params in PROPERTIES[name].expand(build_params(name, SMALL[name])):
        with pytest.raises(SimulationError, match="lost_atoms"):
            run(name, params, Broken())


@pytest.mark.parametrize("name", list(PROPERTIES))
def test_an_unconverged_lattice_is_a_failure(name):
    class Stuck(AseEngine):
        def relax(self, structure, **options):
            return dataclasses.replace(super().relax(structure, **options), converged=False)

    for params in PROPERTIES[name].expand(build_params(name, SMALL[name])):
        with pytest.raises(SimulationError, match="not_converged"):
            run(name, params, Stuck(argon().calculator))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("eos", {"structur": "bcc"}, "did you mean 'structure'"),
        ("eos", {"structure": "bbc"}, "did you mean 'bcc'"),
        ("eos", {"points": 4}, "odd"),
        ("eos", {"volume_range": 0.9}, "volume_range"),
        ("elastic", {"strain": -1.0}, "strain"),
        ("elastic", {"structure": "B2:W"}, "2 species"),
        ("phase", {"structures": []}, "at least one"),
        ("phase", {"structures": ["bcc", "bcc"]}, "twice"),
        ("phase", {"structures": ["bcc:W", "B2:W,Be"]}, "composition"),
        ("vacancy", {"supercell": 1}, "supercell"),
        ("phonon", {"displacement": 0.5}, "displacement"),
        ("phonon", {"path_points": 1}, "path_points"),
        ("phonon", {"temperatures": [0.0]}, "temperatures"),
        ("vacancy", {"structure": "B2:W,Be"}, "one element"),
        ("vacancy", {"constant": "energy"}, "volume or pressure"),
        ("divacancy", {"structure": "A15"}, "expected one of bcc"),
        ("divacancy", {"shells": [1, 1]}, "twice"),
        ("divacancy", {"shells": [5], "supercell": 2}, "supercell of 3"),
        ("interstitial", {"kinds": ["dumbbell_101"]}, "did you mean 'dumbbell_1"),
        ("interstitial", {"structure": "hcp", "kinds": ["dumbbell_100"]}, "unknown kind"),
        ("interstitial", {"kinds": ["octahedral", "octahedral"]}, "twice"),
        ("surface", {"miller": [[0, 0, 0]]}, "without common factor"),
        ("surface", {"structure": "bcc:Xq"}, "not a chemical element"),
        ("gamma_line", {"lines": ["(110)[111]/2"]}, "does not lie in the plane"),
        ("gamma_line", {"lines": ["(110)[1-1]/2"]}, "three indices"),
        ("gamma_line", {"lines": ["110"]}, "write for example"),
        ("gamma_line", {"structure": "A15"}, "no usual line"),
        ("path", {"structure": "fcc"}, "start from bcc"),
        ("path", {"paths": ["bain"]}, "unknown path"),
        ("path", {"points": 4}, "odd"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(name, data, said):
    with pytest.raises(InputError) as caught:
        build_params(name, data)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_elements_come_from_the_potential_or_are_asked_for():
    params = build_params("eos", {"structure": "bcc@3.2"})
    assert bind(params, ("Ta",)).structure == "bcc:Ta@3.2"
    with pytest.raises(InputError, match="which of the potential's elements"):
        bind(params, ("W", "Be"))
    with pytest.raises(InputError, match="no Ta"):
        bind(build_params("eos", {"structure": "bcc:Ta"}), ("W",))
