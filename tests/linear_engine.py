"""A pair potential that is linear in its parameters, so that its rows are exact; without LAMMPS."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase_engine import AseEngine

from snapuq.core.dataset import Structure
from snapuq.core.engine import Evaluation, Relaxation

#: About copper: eV, A. Terms are a repulsion, an attraction and a bump beyond the second shell of fcc.
EPSILON, SIGMA, CUTOFF, BUMP = 0.25, 2.3, 5.5, 4.2
#: Of the best fit.
MLE = np.array([1.0, 1.0, 0.2])

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def terms(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes of the terms at distances `r`, shape (R, 3); smooth twice at the cutoff."""
    s, x = SIGMA / r, (r - BUMP) / 0.5
    values = EPSILON * np.stack([4.0 * s**12, -4.0 * s**6, np.exp(-(x**2))], axis=1)
    slopes = EPSILON * np.stack([-48.0 * s**12 / r, 24.0 * s**6 / r, -4.0 * x * np.exp(-(x**2))], axis=1)
    inside = 1.0 - (r / CUTOFF) ** 2
    fade, fading = inside**3, -6.0 * inside**2 * r / CUTOFF**2
    return values * fade[:, None], slopes * fade[:, None] + values * fading[:, None]


def linear_rows(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Rows of energy, forces and stress, shape (1 + 3 N + 6, 3), and zeros as what a reference adds."""
    cell, positions, n = structure.cell, structure.positions, len(structure)
    inverse = np.linalg.inv(cell)
    # How many images a distance to an atom in the cell may need, wherever the two are.
    spread = np.ptp(positions @ inverse, axis=0)
    most = np.ceil(CUTOFF * np.linalg.norm(inverse, axis=0) + spread).astype(int)
    images = np.array(np.meshgrid(*[np.arange(-m, m + 1) for m in most])).reshape(3, -1).T @ cell
    vectors = positions[None] - positions[:, None]
    near = np.linalg.norm(images, axis=1) < CUTOFF + np.linalg.norm(vectors, axis=2).max()
    images = images[near]
    lengths = np.sqrt(np.sum((vectors[:, :, None] + images) ** 2, axis=-1))
    first, second, image = np.nonzero((lengths < CUTOFF) & (lengths > 1.0e-8))
    d = vectors[first, second] + images[image]
    r = lengths[first, second, image]
    values, slopes = terms(r)
    rows = np.zeros((1 + 3 * n + 6, values.shape[1]))
    rows[0] = 0.5 * values.sum(axis=0)
    pull = slopes[:, None] * (d / r[:, None])[:, :, None]
    forces = np.zeros((n, 3, values.shape[1]))
    np.add.at(forces, first, pull)
    rows[1:-6] = forces.reshape(3 * n, -1)
    for k, (i, j) in enumerate(_VOIGT):
        rows[1 + 3 * n + k] = 0.5 * np.einsum("r,rk->k", d[:, i], pull[:, j]) / structure.volume
    return rows, np.zeros(len(rows))


class LinearCalculator(Calculator):
    """The potential for ASE."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, theta: np.ndarray) -> None:
        super().__init__()
        self.theta = np.asarray(theta, dtype=float)
        #: Force evaluations.
        self.count = 0

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None
        symbols = tuple(atoms.get_chemical_symbols())
        rows, _ = linear_rows(Structure(atoms.cell.array, atoms.positions, symbols))
        found = rows @ self.theta
        self.count += 1
        self.results = {
            "energy": float(found[0]),
            "forces": found[1:-6].reshape(-1, 3),
            "stress": found[-6:],
        }


class LinearEngine(AseEngine):
    """An engine that counts, and notes what it is asked."""

    def __init__(self, theta: np.ndarray) -> None:
        super().__init__(LinearCalculator(theta))
        self.theta = np.asarray(theta, dtype=float)
        self.evaluated: list[Structure] = []
        self.relaxed: list[Structure] = []
        #: Force evaluations.
        self.evaluations = 0

    def evaluate(self, structure: Structure) -> Evaluation:
        self.evaluated.append(structure)
        self.evaluations += 1
        return super().evaluate(structure)

    def relax(self, structure: Structure, **options: Any) -> Relaxation:
        self.relaxed.append(structure)
        found = super().relax(structure, **options)
        self.evaluations += found.evaluations
        return found
