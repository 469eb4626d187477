"""Bands, saddles and their curvatures on landscapes with known answers, and on argon against ASE itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.mep import NEB
from ase.optimize import BFGS
from ase_engine import CUTOFF, EPSILON, SIGMA, AseEngine, argon
from scipy.optimize import minimize

from snapuq.core.dataset import Structure
from snapuq.core.engine import Band, Evaluation, Relaxation
from snapuq.errors import InputError, SimulationError
from snapuq.properties import PROPERTIES, bind, build_params
from snapuq.properties.band import relax_band, straight_band
from snapuq.properties.curvature import lowest_curvatures, settle
from snapuq.properties.defects import DefectParams, Host, without
from snapuq.properties.saddle import find_saddle
from snapuq.seeds import generator

BARRIER = PROPERTIES["barrier"]
#: Tolerance of the bands on the model landscapes, eV/A.
FMAX = 1.0e-2


class Landscape:
    """Two atoms whose relative position moves on a given landscape, with forces by central differences."""

    def __init__(self, energy: Callable[[np.ndarray], float]) -> None:
        self.energy = energy

    def structure(self, x: float, y: float = 0.0) -> Structure:
        half = 0.5 * np.array([x, y, 0.0])
        return Structure(20.0 * np.eye(3), np.array([5.0 - half, 5.0 + half]), ("Ar", "Ar"))

    def evaluate(self, structure: Structure) -> Evaluation:
        r = structure.positions[1] - structure.positions[0]
        h = 1.0e-5
        slope = [(self.energy(r + h * e) - self.energy(r - h * e)) / (2 * h) for e in np.eye(3)]
        return Evaluation(self.energy(r), np.array([slope, np.negative(slope)]), np.zeros(6))

    def relax(self, structure: Structure, **_: object) -> Relaxation:
        r = structure.positions[1] - structure.positions[0]
        best = minimize(self.energy, r, method="BFGS", options={"gtol": 1.0e-7}).x
        end = self.structure(*best[:2])
        return Relaxation(end, self.evaluate(end), True, 1)

    def search(self, seed: int = 1, solve: Callable[..., Band] | None = None, ends: float = 1.0):
        first, last = self.structure(-ends), self.structure(ends)
        return find_saddle(
            self,
            solve or (lambda images: relax_band(self, images, fmax=FMAX)),
            first,
            last,
            images=5,
            fmax=FMAX,
            rng=np.random.default_rng(seed),
        )


def single(r: np.ndarray) -> float:
    """A double well: one saddle, 1 eV high."""
    return float((r[0] ** 2 - 1) ** 2 + r[1] ** 2 + r[2] ** 2)


def dip(r: np.ndarray) -> float:
    """A minimum half-way, 0.35 eV; with s = x^2, (s - 1)^2 (s + 0.35) has its maximum, 0.3645, at s = 0.1."""
    return float((r[0] ** 2 - 1) ** 2 * (r[0] ** 2 + 0.35) + r[1] ** 2 + r[2] ** 2)


def ridge(r: np.ndarray) -> float:
    """A maximum half-way, 1.5 eV; saddles, exactly 1 eV high, beside it at y = +-sqrt(1/2)."""
    x, y, z = r
    return float((x**2 - 1) ** 2 + 2 * (y**2 - 0.5 * (1 - x**2)) ** 2 + x**2 * y**2 + z**2)


def across(r: np.ndarray) -> float:
    """A minimum along the path and a maximum across it half-way; saddles to all sides."""
    x, y, z = r
    return float((x**2 - 1) ** 2 * (x**2 + 0.35) - 0.5 * y**2 * np.exp(-8 * x**2) + y**4 + 0.1 * y**2 + z**2)


@pytest.mark.parametrize(
    ("landscape", "barrier", "first"), [(single, 1.0, 1), (dip, 0.3645, 0), (ridge, 1.0, 2)]
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_saddle_is_found_and_what_the_symmetric_band_hung_over_is_told(landscape, barrier, first, seed):
    model = Landscape(landscape)
    found = model.search(seed)
    assert found.first_negative == first
    assert found.negative == 1
    assert found.converged
    # Forces of 1e-4 eV/A on curvatures above 0.1 eV/A^2.
    assert found.energy == pytest.approx(barrier, abs=1.0e-6)


def test_a_negative_mode_across_the_path_is_no_saddle_of_it():
    """One negative mode, and yet a band that rests there has not found its saddle."""
    model = Landscape(across)
    found = model.search()
    assert found.first_negative == 1
    assert found.negative == 1
    # The highest point of the best path, from a grid: minimax over y at each x.
    y = np.linspace(-1.0, 1.0, 2001)
    floor = [min(across(np.array([x, v, 0.0])) for v in y) for x in np.linspace(-1, 1, 201)]
    # The truth differs from that of the grid by less than (0.01 A)^2 times curvatures of a few eV/A^2.
    assert found.energy == pytest.approx(max(floor), abs=2.0e-3)


def test_a_band_that_never_finds_a_saddle_is_a_failure():
    model = Landscape(ridge)

    def stubborn(images):
        straight = straight_band(images[0], images[-1], len(images))
        return Band(straight, 0.0, 0)

    with pytest.raises(SimulationError, match="no_saddle"):
        model.search(solve=stubborn)


def test_a_band_above_its_tolerance_is_not_called_converged():
    model = Landscape(single)
    found = model.search(solve=lambda images: Band(tuple(images), 10 * FMAX, 0))
    assert not found.converged
    images = straight_band(model.structure(-1.0), model.structure(1.0, 0.3), 7)
    whole, short = (relax_band(model, images, fmax=1.0e-4, max_steps=n) for n in (500, 1))
    assert whole.residual <= 1.0e-4 < short.residual
    assert short.evaluations < whole.evaluations


def argon_hop() -> tuple[AseEngine, Structure, Structure]:
    """Both minima of a vacancy in 31 atoms of argon."""
    engine = argon()
    host = Host.of(engine, DefectParams("fcc:Ar@5.3", 2))
    vectors = host.perfect.positions - host.perfect.positions[0]
    site = int(np.argsort(np.linalg.norm(vectors, axis=1))[1])
    moved = host.perfect.positions.copy()
    moved[site] -= vectors[site]
    ends = []
    for positions in (host.perfect.positions, moved):
        start = without(Structure(host.perfect.cell, positions, host.perfect.species), {0})
        ends.append(engine.relax(start, fmax=1e-5).structure)
    return engine, *ends


def dense_hessian(engine: AseEngine, s: Structure) -> np.ndarray:
    n, h = s.positions.size, 1.0e-3
    rows = []
    for i in range(n):
        move = (h * np.eye(n)[i]).reshape(-1, 3)
        forces = [
            engine.evaluate(Structure(s.cell, s.positions + k * move, s.species)).forces for k in (1, -1)
        ]
        rows.append((forces[1] - forces[0]).ravel() / (2 * h))
    return 0.5 * (np.array(rows) + np.array(rows).T)


def test_lowest_curvatures_against_the_whole_hessian():
    engine, first, last = argon_hop()
    top = straight_band(first, last, 3)[1]
    along = last.positions - first.positions
    low = lowest_curvatures(engine, top, along, np.random.default_rng(0))
    truth = np.linalg.eigvalsh(dense_hessian(engine, top))
    assert low.negative == int((truth < -low.zero).sum())
    # One-sided differences of the forces, and Lanczos's own residual.
    assert low.values[0] == pytest.approx(truth[0], rel=0.02)
    assert low.evaluations < top.positions.size / 2
    at_rest = lowest_curvatures(engine, first, along, np.random.default_rng(0))
    assert at_rest.negative == 0


def test_settling_ends_on_the_stationary_point_or_says_so():
    model = Landscape(single)
    near = model.structure(0.03, 0.02)
    low = lowest_curvatures(model, near, np.array([[-1.0, 0, 0], [1.0, 0, 0]]), np.random.default_rng(0))
    found = settle(model, near, low, 1.0e-6)
    assert found is not None
    assert found[1].energy == pytest.approx(1.0, abs=1.0e-10)
    slope = Landscape(lambda r: float(r[0] + 0.01 * (r**2).sum()))
    low = lowest_curvatures(slope, near, np.array([[-1.0, 0, 0], [1.0, 0, 0]]), np.random.default_rng(0))
    assert settle(slope, near, low, 1.0e-6) is None


def argon_params(**changes):
    data = {"structure": "fcc:Ar@5.3", "supercell": 2, "images": 5, "band_fmax": 2.0e-3, **changes}
    return bind(build_params("barrier", data), ("Ar",))


def test_argon_against_a_plain_ase_script():
    """Another lattice search, another relaxation and ASE's own band, without any snapuq code."""
    calculator = {"sigma": SIGMA, "epsilon": EPSILON, "rc": CUTOFF, "smooth": False}
    sizes = np.linspace(5.15, 5.35, 9)
    energies = []
    for a in sizes:
        unit = bulk("Ar", "fcc", a=a)
        unit.calc = LennardJones(**calculator)
        energies.append(unit.get_potential_energy())
    a = np.roots(np.polyder(np.polyfit(sizes, energies, 4)))
    a = float(a[np.isreal(a) & (a > 5.1) & (a < 5.4)].real[0])
    perfect = bulk("Ar", "fcc", a=a, cubic=True).repeat(2)
    j = int(np.argsort(np.linalg.norm(perfect.positions, axis=1))[1])
    ends: list[Atoms] = []
    for target in (perfect.positions[j], [0.0, 0.0, 0.0]):
        atoms = perfect.copy()
        atoms.positions[j] = target
        del atoms[0]
        atoms.calc = LennardJones(**calculator)
        BFGS(atoms, logfile=None).run(fmax=1.0e-5)
        ends.append(atoms)
    images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
    for image in images[1:-1]:
        image.calc = LennardJones(**calculator)
    band = NEB(images, climb=True, method="aseneb")
    band.interpolate()
    assert BFGS(band, logfile=None).run(fmax=1.0e-3, steps=200)
    truth = max(image.get_potential_energy() for image in images) - ends[0].get_potential_energy()
    output = BARRIER.run(argon(), argon_params(), generator(1, "a"))
    assert output.converged
    # The lattice constant from a polynomial, 1e-4 A, and forces of 1e-3 eV/A on curvatures of 0.1 eV/A^2.
    assert output.values["barrier"].value == pytest.approx(truth, abs=1.0e-4)
    assert output.values["reverse_barrier"].value == pytest.approx(truth, abs=1.0e-4)
    assert output.values["negative_modes"].value == 1


def test_seed_and_number_of_images_change_nothing():
    values = [
        BARRIER.run(argon(), argon_params(images=images), generator(seed, "b")).values["barrier"].value
        for images, seed in ((5, 1), (5, 2), (7, 1))
    ]
    # Forces of 1e-4 eV/A on curvatures above 0.01 eV/A^2.
    assert values == pytest.approx([values[0]] * 3, abs=1.0e-6)


def test_a_vacancy_that_leaves_its_site_is_named():
    class Wanders(AseEngine):
        def relax(self, structure, **options):
            found = super().relax(structure, **options)
            if options.get("cell") is None:
                positions = found.structure.positions.copy()
                positions[0] += 1.5
                moved = Structure(found.structure.cell, positions, structure.species)
                return Relaxation(moved, found.evaluation, True, 1)
            return found

    with pytest.raises(SimulationError, match="reconfigured"):
        BARRIER.run(Wanders(argon().calculator), argon_params(), generator(1, "c"))


def test_an_engine_without_a_band_of_its_own_is_refused():
    with pytest.raises(InputError, match="method: band"):
        BARRIER.run(argon(), argon_params(method="neb"), generator(1, "d"))


def test_hcp_has_two_hops_with_names_of_their_own():
    parts = BARRIER.expand(build_params("barrier", {"structure": "hcp:Mg"}))
    assert [BARRIER.label(p) for p in parts] == ["barrier-hcp-Mg-basal", "barrier-hcp-Mg-pyramidal"]
    assert BARRIER.expand(parts[0]) == (parts[0],)
    assert BARRIER.label(build_params("barrier", {"method": "neb"})) == "barrier-bcc-neb"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"structure": "diamond"}, "bcc, fcc, hcp"),
        ({"hop": "basal"}, "hop: expected nearest"),
        ({"structure": "hcp", "hop": "up"}, "pyramidal"),
        ({"images": 6}, "odd"),
        ({"method": "dimer"}, "band or neb"),
        ({"kind": "kink"}, "vacancy_hop"),
        ({"supercell": 1}, "supercell"),
        ({"band_fmax": 0.0}, "band_fmax"),
    ],
)
def test_bad_parameters_are_refused(data, said):
    with pytest.raises(InputError, match=said):
        build_params("barrier", data)


def test_a_straight_band_has_no_net_translation():
    """A hop moves the centre of the atoms; carried along the band, that mode without energy runs away."""
    rng = np.random.default_rng(0)
    first = Structure(10.0 * np.eye(3), rng.uniform(0.0, 10.0, (5, 3)), ("W",) * 5)
    moved = first.positions.copy()
    moved[2] += (1.0, 1.0, 1.0)
    band = straight_band(first, Structure(first.cell, moved, first.species), 5)
    centres = [image.positions.mean(axis=0) for image in band]
    assert np.ptp(centres, axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
    assert band[-1].positions - band[-1].positions[0] == pytest.approx(moved - moved[0], abs=1e-12)
