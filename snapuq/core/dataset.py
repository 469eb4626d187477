"""Atomic structures, labelled configurations and data sets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.provenance import digest

Array = NDArray[np.float64]
#: A cell vector shorter than this, in A, is a mistake: it is below every bond length.
SHORTEST_EDGE = 0.2


def frozen_array(values: object, shape: tuple[int, ...], name: str) -> Array:
    """Copy to a read-only, finite float array of a given shape.

    Parameters
    ----------
    values : array_like
        The numbers.
    shape : tuple of int
        Expected shape; -1 matches any length.
    name : str
        Name for the error message.

    Returns
    -------
    ndarray
        A read-only copy.

    Raises
    ------
    ValueError
        When the shape differs or a number is not finite.
    """
    array = np.array(values, dtype=np.float64)
    if array.ndim != len(shape) or any(n not in (-1, m) for n, m in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} numbers are NaN or infinite")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms in a periodic cell.

    Parameters
    ----------
    cell : ndarray, shape (3, 3)
        Cell vectors as rows, A; right-handed.
    positions : ndarray, shape (N, 3)
        Cartesian positions, A.
    species : tuple of str
        Chemical symbols, N of them.

    Raises
    ------
    ValueError
        When shapes disagree, a number is not finite, or the cell is singular or left-handed.
    """

    cell: Array
    positions: Array
    species: tuple[str, ...]

    def __post_init__(self) -> None:
        cell = frozen_array(self.cell, (3, 3), "cell")
        object.__setattr__(self, "cell", cell)
        object.__setattr__(self, "positions", frozen_array(self.positions, (-1, 3), "positions"))
        object.__setattr__(self, "species", tuple(self.species))
        if len(self.species) != len(self.positions):
            raise ValueError(f"species: expected {len(self.positions)} symbols, got {len(self.species)}")
        if len(self.species) == 0:
            raise ValueError("positions: expected at least one atom, got none")
        edges = np.linalg.norm(cell, axis=1)
        if edges.min() < SHORTEST_EDGE:
            raise ValueError(f"cell: a cell vector is {edges.min():.3g} A long; check the units")
        volume = self.volume
        lengths = float(np.prod(edges))
        if abs(volume) <= 1.0e-8 * lengths:
            raise ValueError(f"cell: singular cell, the three vectors span {volume:.3g} A^3")
        if volume < 0:
            raise ValueError(f"cell: left-handed cell, volume {volume:.6g} A^3; swap two cell vectors")

    def __len__(self) -> int:
        return len(self.species)

    @cached_property
    def volume(self) -> float:
        """Cell volume, A^3."""
        return float(np.linalg.det(self.cell))

    @cached_property
    def fractional(self) -> Array:
        """Positions in units of the cell vectors, not wrapped, shape (N, 3)."""
        return self.positions @ np.linalg.inv(self.cell)

    def nearest_distance(self) -> float:
        """Shortest distance between two atoms, periodic images included.

        Returns
        -------
        float
            A; images further than one cell away are not looked at.
        """
        delta = self.positions[:, None] - self.positions[None]
        images = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T @ self.cell
        distances = np.linalg.norm(delta[None] + images[:, None, None], axis=-1)
        itself = np.eye(len(self), dtype=bool)[None] & ~images.any(axis=1)[:, None, None]
        return float(distances[~itself].min())

    @cached_property
    def digest(self) -> str:
        """Hash of cell, positions and species."""
        return digest(self.cell, self.positions, list(self.species))


@dataclass(frozen=True)
class RowWeights:
    """Loss weights that the data source gives to one configuration's rows.

    Parameters
    ----------
    energy : float
        Weight of the per-atom energy row, 1/eV^2.
    force : float
        Weight of each force row, A^2/eV^2.
    stress : float
        Weight of each stress row, A^6/eV^2.
    """

    energy: float
    force: float
    stress: float


@dataclass(frozen=True, eq=False)
class LossWeights:
    """Loss weights of one configuration's rows, as they enter the fit.

    Parameters
    ----------
    energy : float
        Weight of the per-atom energy row, 1/eV^2.
    force : ndarray, shape (N,)
        Weight of each atom's three force rows, A^2/eV^2.
    stress : float
        Weight of each stress row, A^6/eV^2; 0 leaves them out.
    """

    energy: float
    force: Array
    stress: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "force", frozen_array(self.force, (-1,), "force weights"))


@dataclass(frozen=True, eq=False)
class Configuration:
    """One ab initio calculation.

    Parameters
    ----------
    identifier : str
        Unique and stable name, for example ``md_bulk/run_12.json``.
    group : str
        Group of the data set.
    structure : Structure
        Cell, positions and species.
    energy : float
        Total energy, eV.
    forces : ndarray, shape (N, 3)
        Forces, eV/A.
    stress : ndarray, shape (6,), or None
        Stress, eV/A^3, Voigt xx yy zz yz xz xy, tension positive; None when not computed.
    weights : RowWeights or None
        Loss weights given by the source.
    """

    identifier: str
    group: str
    structure: Structure
    energy: float
    forces: Array
    stress: Array | None = None
    weights: RowWeights | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "forces", frozen_array(self.forces, (len(self.structure), 3), "forces"))
        if self.stress is not None:
            object.__setattr__(self, "stress", frozen_array(self.stress, (6,), "stress"))
        if not np.isfinite(self.energy):
            raise ValueError(f"energy: expected a finite number, got {self.energy}")

    def __len__(self) -> int:
        return len(self.structure)

    @cached_property
    def digest(self) -> str:
        """Hash of everything but the name."""
        stress = [] if self.stress is None else self.stress.tolist()
        return digest(self.structure.digest, float(self.energy), self.forces, stress)


@dataclass(frozen=True)
class FitRecipe:
    """What a FitSNAP input file prescribes beside its data.

    Parameters
    ----------
    settings : SnapSettings
        Descriptor hyperparameters.
    reference : ReferencePair or None
        Reference pair style.
    use_energy, use_forces, use_stress : bool
        Which rows enter the fit.
    """

    settings: SnapSettings
    reference: ReferencePair | None
    use_energy: bool = True
    use_forces: bool = True
    use_stress: bool = False


@dataclass(frozen=True, eq=False)
class Dataset:
    """Configurations in a fixed order, which every later reduction follows.

    Parameters
    ----------
    configurations : tuple of Configuration
        At least one.
    source : str
        Where it was read from, for provenance.
    is_test : tuple of bool or None
        The source's own train/test split, one flag per configuration.
    recipe : FitRecipe or None
        What the source prescribes for the fit.

    Raises
    ------
    ValueError
        When it is empty or an identifier occurs twice.
    """

    configurations: tuple[Configuration, ...]
    source: str
    is_test: tuple[bool, ...] | None = None
    recipe: FitRecipe | None = None

    def __post_init__(self) -> None:
        if not self.configurations:
            raise ValueError(f"{self.source}: expected at least one configuration, got none")
        if self.is_test is not None and len(self.is_test) != len(self.configurations):
            raise ValueError(f"is_test: expected {len(self.configurations)} flags, got {len(self.is_test)}")
        names = [c.identifier for c in self.configurations]
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise ValueError(f"{self.source}: configuration '{twice}' occurs twice")

    def __len__(self) -> int:
        return len(self.configurations)

    @property
    def groups(self) -> tuple[str, ...]:
        """Group names in order of first appearance."""
        return tuple(dict.fromkeys(c.group for c in self.configurations))

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols present, sorted."""
        return tuple(sorted({s for c in self.configurations for s in c.structure.species}))

    @cached_property
    def digest(self) -> str:
        """Hash of all configurations in order."""
        return digest([[c.identifier, c.digest] for c in self.configurations])
