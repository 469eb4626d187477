"""Engines with known answers, for tests of properties without LAMMPS."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones
from ase.constraints import FixedLine
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from snapuq.core.dataset import Structure
from snapuq.core.engine import CellFreedom, Directions, Evaluation, Relaxation
from snapuq.errors import SimulationError

#: Argon; the cutoff lies between the fifth and sixth shell of fcc at every volume that tests visit, so the
#: truncated energy is smooth there.
EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 2.58 * 3.4


class AseEngine:
    """Any ASE calculator as an engine."""

    def __init__(self, calculator: Calculator) -> None:
        self.calculator = calculator

    def evaluate(self, structure: Structure) -> Evaluation:
        return self._read(self._atoms(structure))

    def relax(
        self,
        structure: Structure,
        *,
        cell: CellFreedom | None = None,
        directions: Directions = "all",
        fmax: float = 1.0e-4,
        smax: float = 1.0e-6,
        max_evaluations: int = 1000,
    ) -> Relaxation:
        atoms = self._atoms(structure)
        if directions == "normal":
            normal = np.cross(structure.cell[0], structure.cell[1])
            atoms.set_constraint(FixedLine(range(len(atoms)), normal))
        target, tolerance = atoms, fmax
        if cell is not None:
            mask = [1, 1, 1, 0, 0, 0] if cell == "axes" else None
            target = FrechetCellFilter(atoms, mask=mask, hydrostatic_strain=cell == "isotropic")
            tolerance = min(fmax, 0.3 * smax * structure.volume)
        optimizer = BFGS(target, logfile=None)
        converged = bool(optimizer.run(fmax=tolerance, steps=min(max_evaluations, 500)))
        relaxed = Structure(atoms.cell.array, atoms.positions, structure.species)
        return Relaxation(relaxed, self._read(atoms), converged, optimizer.nsteps + 1)

    def _atoms(self, structure: Structure) -> Atoms:
        atoms = Atoms(structure.species, positions=structure.positions, cell=structure.cell, pbc=True)
        atoms.calc = self.calculator
        return atoms

    @staticmethod
    def _read(atoms: Atoms) -> Evaluation:
        result = Evaluation(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
        if not (np.isfinite(result.energy) and np.isfinite(result.forces).all()):
            raise SimulationError("not_finite", "energy or forces are not finite")
        return result


def argon() -> AseEngine:
    """Truncated Lennard-Jones argon."""
    return AseEngine(LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=CUTOFF, smooth=False))


def lattice_sum(a: float, strain: np.ndarray | None = None) -> float:
    """Energy per atom of fcc argon by direct summation, eV, without ASE or snapuq."""
    steps = np.array(np.meshgrid(*[np.arange(-6, 7)] * 3)).reshape(3, -1).T
    vectors = steps @ (0.5 * a * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    if strain is not None:
        vectors = vectors @ (np.eye(3) + strain)
    r = np.linalg.norm(vectors, axis=1)
    r = r[(r > 1.0e-9) & (r < CUTOFF)]
    s6 = (SIGMA / r) ** 6
    shift = 4 * EPSILON * ((SIGMA / CUTOFF) ** 12 - (SIGMA / CUTOFF) ** 6)
    return float(0.5 * np.sum(4 * EPSILON * (s6**2 - s6) - shift))


def pair_stiffness(a: float) -> np.ndarray:
    """C11, C12 and C44 of fcc argon at its equilibrium, eV/A^3, from derivatives of the pair energy."""
    steps = np.array(np.meshgrid(*[np.arange(-6, 7)] * 3)).reshape(3, -1).T
    vectors = steps @ (0.5 * a * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    r = np.linalg.norm(vectors, axis=1)
    keep = (r > 1.0e-9) & (r < CUTOFF)
    v, r = vectors[keep], r[keep]
    first = 4 * EPSILON * (-12 * SIGMA**12 / r**13 + 6 * SIGMA**6 / r**7)
    second = 4 * EPSILON * (156 * SIGMA**12 / r**14 - 42 * SIGMA**6 / r**8)
    # Born: C_ijkl = sum (phi'' - phi' / r) r_i r_j r_k r_l / r^2, / (2 V), at zero stress.
    weight = (second - first / r) / r**2 / (2.0 * a**3 / 4.0)
    x, y, _ = v.T
    c11, c12 = float(np.sum(weight * x**4)), float(np.sum(weight * x**2 * y**2))
    return np.array([c11, c12, c12])
