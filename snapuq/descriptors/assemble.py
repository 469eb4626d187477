"""From labelled configurations to design blocks, chunk by chunk in data-set order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Configuration, LossWeights, Structure
from snapuq.core.design import DesignBlock, RowKind
from snapuq.errors import InputError, SimulationError
from snapuq.seeds import generator

from .bispectrum import BispectrumCalculator, SnapRows

Array = NDArray[np.float64]
Whiten = Callable[[Array], Array]

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


def plan_chunks(
    configurations: Sequence[Configuration], labels: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Cut a data set into chunks of about `CHUNK_ROWS` rows that share a label.

    Parameters
    ----------
    configurations : sequence of Configuration
        The data set, in order.
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
            rows += 3 * len(configurations[index]) + 7
            if rows >= CHUNK_ROWS:
                chunks.append(tuple(current))
                current, rows = [], 0
        if current:
            chunks.append(tuple(current))
    return tuple(chunks)


def assemble_block(
    calculator: BispectrumCalculator,
    configuration: Configuration,
    weights: LossWeights,
    selection: RowSelection,
) -> DesignBlock:
    """Rows, targets and weights of one configuration.

    Parameters
    ----------
    calculator : BispectrumCalculator
        Gives the rows.
    configuration : Configuration
        Structure and ab initio values.
    weights : LossWeights
        Loss weights of its rows.
    selection : RowSelection
        Which kinds of rows.

    Returns
    -------
    DesignBlock
        Energy per atom, force components, stress components.

    Raises
    ------
    InputError
        When the descriptors cannot be computed; names the configuration.
    """
    n = len(configuration)
    with_stress = selection.stress and configuration.stress is not None
    try:
        snap = calculator.rows(configuration.structure, stress=with_stress)
    except (SimulationError, InputError) as error:
        raise InputError(
            f"no descriptors for this configuration ({error})", key=configuration.identifier
        ) from error
    values, base, weight, kind = [np.empty(0)], [np.empty(0)], [np.empty(0)], []
    if selection.energy:
        values.append(np.array([configuration.energy / n]))
        base.append(np.array([snap.reference_energy / n]))
        weight.append(np.array([weights.energy]))
        kind += [RowKind.ENERGY]
    if selection.forces:
        values.append(configuration.forces.ravel())
        base.append(snap.reference_forces.ravel())
        weight.append(np.repeat(weights.force, 3))
        kind += [RowKind.FORCE] * (3 * n)
    if configuration.stress is not None and snap.reference_stress is not None:
        values.append(configuration.stress)
        base.append(snap.reference_stress)
        weight.append(np.full(6, weights.stress))
        kind += [RowKind.STRESS] * 6
    baseline = np.concatenate(base)
    return DesignBlock(
        identifier=configuration.identifier,
        group=configuration.group,
        n_atoms=n,
        rows=_stack(snap, n, selection),
        target=np.concatenate(values) - baseline,
        baseline=baseline,
        weight=np.concatenate(weight),
        kind=np.array(kind, dtype=np.int8),
        is_roundoff=np.zeros(len(kind), dtype=bool),
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
    whiten: Whiten,
    mean_leverages: Mapping[int, float],
) -> DesignBlock:
    """Flag force and stress rows that vanish by symmetry and hold nothing but round-off.

    Such a row's leverage is below nine times that of its own change when every atom moves at random by
    1e-4 A and the cell is strained alike. Only rows and coordinates decide, never targets.

    Parameters
    ----------
    calculator : BispectrumCalculator
        Gives the rows of the displaced structure.
    configuration : Configuration
        The configuration of the block.
    block : DesignBlock
        Its rows.
    whiten : callable
        Maps unweighted rows (R, P) to whitened rows (R, r), whose squared norms are leverages.
    mean_leverages : Mapping
        `RowKind` to the mean leverage of unweighted rows of that kind in the training set.

    Returns
    -------
    DesignBlock
        The block with `is_roundoff` set.
    """
    typical = np.array([mean_leverages.get(kind, 0.0) for kind in range(len(RowKind))])[block.kind]
    suspects = np.flatnonzero(block.kind != RowKind.ENERGY)
    leverage = np.sum(whiten(block.rows[suspects]) ** 2, axis=1)
    low = leverage <= ROUNDOFF_CANDIDATE * typical[suspects]
    suspects, leverage = suspects[low], leverage[low]
    if len(suspects) == 0:
        return block
    stress = bool((block.kind == RowKind.STRESS).any())
    snap = calculator.rows(_displaced(configuration), stress=stress)
    selection = RowSelection(
        bool((block.kind == RowKind.ENERGY).any()), bool((block.kind == RowKind.FORCE).any()), stress
    )
    change = _stack(snap, len(configuration), selection)[suspects] - block.rows[suspects]
    change_leverage = np.sum(whiten(change) ** 2, axis=1)
    flags = block.is_roundoff.copy()
    flags[suspects] = leverage <= ROUNDOFF_FACTOR * change_leverage
    return replace(block, is_roundoff=flags)


def _displaced(configuration: Configuration) -> Structure:
    """The structure with every atom moved at random and the cell strained by as much between neighbours."""
    structure = configuration.structure
    rng = generator(0, "roundoff", configuration.identifier)
    moved = structure.positions + ROUNDOFF_DISPLACEMENT * rng.standard_normal(structure.positions.shape)
    spacing = (structure.volume / len(structure)) ** (1 / 3)
    strain = ROUNDOFF_DISPLACEMENT / spacing * rng.standard_normal((3, 3))
    deform = np.eye(3) + 0.5 * (strain + strain.T)
    return Structure(structure.cell @ deform, moved @ deform, structure.species)
