"""From labelled configurations to design blocks, chunk by chunk in data-set order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Configuration, LossWeights, Structure
from snapuq.core.design import DesignBlock, RowKind
from snapuq.errors import InputError, SimulationError
from snapuq.seeds import generator

from .bispectrum import BispectrumCalculator, SnapRows

Array = NDArray[np.float64]
Leverage = Callable[[Array], Array]

# Chunks are the unit of every reduction: big enough for BLAS, small enough for memory, and the same
# whatever the number of ranks.
CHUNK_ROWS = 4096
# A row is round-off when three times its change under this displacement (A) is larger than itself.
ROUNDOFF_DISPLACEMENT = 1.0e-4
ROUNDOFF_FACTOR = 9.0
# Only rows this far below the mean leverage are worth the second evaluation that the test needs; the
# median would be round-off itself in a set of perfect crystals.
ROUNDOFF_CANDIDATE = 1.0e-3


@dataclass(frozen=True)
class RowSelection:
    """Which kinds of rows a configuration gives.

    Parameters
    ----------
    energy, forces, stress : bool
        Whether rows of that kind are assembled.
    """

    energy: bool = True
    forces: bool = True
    stress: bool = False

    def has_stress(self, configuration: Configuration) -> bool:
        """Tell whether a configuration gives stress rows.

        Parameters
        ----------
        configuration : Configuration
            The configuration.

        Returns
        -------
        bool
            False where the source has no stress.
        """
        return self.stress and configuration.stress is not None

    def n_rows(self, configuration: Configuration) -> int:
        """Count the rows of a configuration.

        Parameters
        ----------
        configuration : Configuration
            The configuration.

        Returns
        -------
        int
            Energy, force and stress rows.
        """
        n = int(self.energy) + 3 * len(configuration) * int(self.forces)
        return n + 6 * int(self.has_stress(configuration))


def plan_chunks(n_rows: Sequence[int], labels: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Cut a data set into chunks of about `CHUNK_ROWS` rows that share a label.

    Parameters
    ----------
    n_rows : sequence of int
        Number of rows of each configuration, in data-set order.
    labels : sequence of int
        One per configuration, for example its cross-validation fold; negative ones are left out.

    Returns
    -------
    tuple of tuple of int
        Indices of the configurations of each chunk; the same for any number of ranks.
    """
    chunks: list[tuple[int, ...]] = []
    for label in sorted({x for x in labels if x >= 0}):
        current: list[int] = []
        rows = 0
        for index in (i for i, x in enumerate(labels) if x == label):
            current.append(index)
            rows += n_rows[index]
            if rows >= CHUNK_ROWS:
                chunks.append(tuple(current))
                current, rows = [], 0
        if current:
            chunks.append(tuple(current))
    return tuple(chunks)


def compute_rows(
    calculator: BispectrumCalculator, configuration: Configuration, selection: RowSelection
) -> tuple[Array, Array]:
    """Rows of one configuration and the reference pair style's part of what they predict.

    Parameters
    ----------
    calculator : BispectrumCalculator
        Gives the rows.
    configuration : Configuration
        Structure; its ab initio values are not used.
    selection : RowSelection
        Which kinds of rows.

    Returns
    -------
    rows : ndarray, shape (R, P)
        Energy per atom, force components, stress components.
    baseline : ndarray, shape (R,)
        Energy per atom in eV, forces in eV/A, stress in eV/A^3 of the reference pair style.

    Raises
    ------
    InputError
        When the descriptors cannot be computed; names the configuration.
    """
    n = len(configuration)
    try:
        snap = calculator.rows(configuration.structure, stress=selection.has_stress(configuration))
    except (SimulationError, InputError) as error:
        raise InputError(
            f"no descriptors for this configuration ({error})", key=configuration.identifier
        ) from error
    base = [np.empty(0)]
    if selection.energy:
        base.append(np.array([snap.reference_energy / n]))
    if selection.forces:
        base.append(snap.reference_forces.ravel())
    if snap.reference_stress is not None:
        base.append(snap.reference_stress)
    return _stack(snap, n, selection), np.concatenate(base)


def make_block(
    configuration: Configuration,
    rows: Array,
    baseline: Array,
    weights: LossWeights,
    selection: RowSelection,
    is_roundoff: NDArray[np.bool_] | None = None,
) -> DesignBlock:
    """Put targets and weights beside the rows of one configuration.

    Parameters
    ----------
    configuration : Configuration
        Ab initio values.
    rows : ndarray, shape (R, P)
        From `compute_rows`.
    baseline : ndarray, shape (R,)
        From `compute_rows`.
    weights : LossWeights
        Loss weights of its rows.
    selection : RowSelection
        Which kinds of rows.
    is_roundoff : ndarray of bool, shape (R,), optional
        Rows that hold nothing but round-off; by default none.

    Returns
    -------
    DesignBlock
        Energy per atom, force components, stress components.
    """
    n = len(configuration)
    values, weight, kind = [np.empty(0)], [np.empty(0)], []
    if selection.energy:
        values.append(np.array([configuration.energy / n]))
        weight.append(np.array([weights.energy]))
        kind += [RowKind.ENERGY]
    if selection.forces:
        values.append(configuration.forces.ravel())
        weight.append(np.repeat(weights.force, 3))
        kind += [RowKind.FORCE] * (3 * n)
    if selection.has_stress(configuration):
        assert configuration.stress is not None
        values.append(configuration.stress)
        weight.append(np.full(6, weights.stress))
        kind += [RowKind.STRESS] * 6
    return DesignBlock(
        identifier=configuration.identifier,
        group=configuration.group,
        n_atoms=n,
        rows=rows,
        target=np.concatenate(values) - baseline,
        baseline=baseline,
        weight=np.concatenate(weight),
        kind=np.array(kind, dtype=np.int8),
        is_roundoff=np.zeros(len(kind), dtype=bool) if is_roundoff is None else is_roundoff,
    )


def _stack(snap: SnapRows, n_atoms: int, selection: RowSelection) -> Array:
    """Energy row per atom, force rows, stress rows, as far as they are selected."""
    parts = []
    if selection.energy:
        parts.append(snap.energy[None] / n_atoms)
    if selection.forces:
        parts.append(snap.forces.reshape(3 * n_atoms, -1))
    if snap.stress is not None:
        parts.append(snap.stress)
    return np.concatenate(parts)


def flag_roundoff(
    calculator: BispectrumCalculator,
    configuration: Configuration,
    block: DesignBlock,
    leverage: Leverage,
    mean_leverages: Sequence[float],
) -> NDArray[np.bool_]:
    """Flag force and stress rows that vanish by symmetry and hold nothing but round-off.

    Such a row's leverage is below nine times that of its own change, or of the mean change of its
    configuration's suspects, when every atom moves at random by 1e-4 A and the cell is strained alike. Only
    rows and coordinates decide, never targets.

    Parameters
    ----------
    calculator : BispectrumCalculator
        Gives the rows of the displaced structure.
    configuration : Configuration
        The configuration of the block.
    block : DesignBlock
        Its rows.
    leverage : callable
        Maps unweighted rows (R, P) to their leverages (R,).
    mean_leverages : sequence of float
        Mean leverage of the unweighted rows of each `RowKind` in the training set.

    Returns
    -------
    ndarray of bool, shape (R,)
        True for round-off.
    """
    flags = np.zeros(len(block.kind), dtype=bool)
    suspects = np.flatnonzero(block.kind != RowKind.ENERGY)
    found = leverage(block.rows[suspects])
    low = found <= ROUNDOFF_CANDIDATE * np.array(mean_leverages)[block.kind[suspects]]
    suspects, found = suspects[low], found[low]
    if len(suspects) == 0:
        return flags
    stress = bool((block.kind == RowKind.STRESS).any())
    snap = calculator.rows(_displaced(configuration), stress=stress)
    selection = RowSelection(
        bool((block.kind == RowKind.ENERGY).any()), bool((block.kind == RowKind.FORCE).any()), stress
    )
    moved = leverage(_stack(snap, len(configuration), selection)[suspects] - block.rows[suspects])
    for kind in (RowKind.FORCE, RowKind.STRESS):
        # A single row may change little by chance; its fellows tell how much rows change here.
        mine = block.kind[suspects] == kind
        if mine.any():
            limit = ROUNDOFF_FACTOR * np.maximum(moved[mine], moved[mine].mean())
            flags[suspects[mine]] = found[mine] <= limit
    return flags


def _displaced(configuration: Configuration) -> Structure:
    """The structure with every atom moved at random and the cell strained by as much between neighbours."""
    structure = configuration.structure
    rng = generator(0, "roundoff", configuration.identifier)
    moved = structure.positions + ROUNDOFF_DISPLACEMENT * rng.standard_normal(structure.positions.shape)
    spacing = (structure.volume / len(structure)) ** (1 / 3)
    strain = ROUNDOFF_DISPLACEMENT / spacing * rng.standard_normal((3, 3))
    deform = np.eye(3) + 0.5 * (strain + strain.T)
    return Structure(structure.cell @ deform, moved @ deform, structure.species)
