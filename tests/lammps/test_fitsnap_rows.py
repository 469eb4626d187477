"""Rows, weights and fit of FitSNAP's own tantalum example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snapuq.core.dataset import Dataset
from snapuq.core.design import DesignBlock
from snapuq.data.reader import read_dataset
from snapuq.data.weights import fitsnap_weights
from snapuq.descriptors.assemble import RowSelection, compute_rows, make_block, plan_chunks
from snapuq.descriptors.bispectrum import BispectrumCalculator
from snapuq.lammps.session import Session
from snapuq.lammps.snapformat import read_potential
from snapuq.reduction import SERIAL_REDUCER
from snapuq.units import BAR_PER_EV_A3
from snapuq.uq.leastsquares import least_squares
from snapuq.uq.streaming import DesignStream

pytestmark = [pytest.mark.lammps, pytest.mark.data]

# The bar: linear rows equal FitSNAP's to this fraction of each column's largest magnitude.
ROW_TOLERANCE = 1.0e-8
# FitSNAP solves by SVD in unscaled columns, and its weights span 14 orders of magnitude; predictions of
# its published coefficients and of ours agree to this share of the rms of the prediction.
FIT_TOLERANCE = 1.0e-6


@pytest.fixture(scope="module")
def tantalum(dft_data: Path) -> Dataset:
    pytest.importorskip("fitsnap3lib")
    return read_dataset(dft_data / "tantalum" / "Ta-linear.in")


@pytest.fixture(scope="module")
def blocks(tantalum: Dataset, session: Session) -> list[DesignBlock]:
    recipe = tantalum.recipe
    assert recipe is not None
    calculator = BispectrumCalculator(session, recipe.settings, recipe.reference)
    weights = fitsnap_weights(tantalum)
    selection = RowSelection(stress=True)
    return [
        make_block(c, *compute_rows(calculator, c, selection), w, selection)
        for c, w in zip(tantalum.configurations, weights, strict=True)
    ]


def fitsnap_blocks(folder: Path, blocks: list[DesignBlock]) -> list[tuple[np.ndarray, ...]]:
    """FitSNAP's rows, targets and row weights of each of our blocks.

    Its files hold all energies, then all forces, then all stresses. Configurations are in an order of
    their own, so they are matched by their energy row and target.
    """
    parts = [
        np.load(folder / f"{n}.npy", allow_pickle=False) for n in ("Descriptors", "Truth-Ref", "Weights")
    ]
    n = len(blocks)
    keys = np.column_stack([parts[0][:n], parts[1][:n]])
    owner, free = np.empty(n, dtype=int), np.ones(n, dtype=bool)
    for i, block in enumerate(blocks):
        distance = np.abs(keys - np.r_[block.rows[0], block.target[0]]).max(axis=1)
        place = int(np.where(free, distance, np.inf).argmin())
        owner[place], free[place] = i, False
    atoms = np.array([blocks[i].n_atoms for i in owner])
    first_force = n + np.r_[0, 3 * np.cumsum(atoms)]
    found: list[tuple[np.ndarray, ...]] = [()] * n
    for place, i in enumerate(owner):
        forces = np.arange(first_force[place], first_force[place + 1])
        stress = first_force[-1] + 6 * place + np.arange(6)
        rows = np.r_[place, forces, stress]
        found[i] = tuple(part[rows] for part in parts)
    assert first_force[-1] + 6 * n == len(parts[0])
    return found


def in_bar(block: DesignBlock) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Our rows, targets and row weights in FitSNAP's units and sign of stress."""
    factor = np.where(block.kind == 2, -BAR_PER_EV_A3, 1.0)
    return block.rows * factor[:, None], block.target * factor, np.sqrt(block.weight) / np.abs(factor)


def test_all_rows_targets_and_weights_equal_fitsnaps(blocks: list[DesignBlock], dft_data: Path) -> None:
    assert len(blocks) == 363
    theirs = fitsnap_blocks(dft_data / "tantalum" / "reference-linear", blocks)
    for kind in (0, 1, 2):
        mine = [tuple(a[b.kind == kind] for a in in_bar(b)) for b in blocks]
        other = [tuple(a[b.kind == kind] for a in t) for b, t in zip(blocks, theirs, strict=True)]
        rows, target, weight = (np.concatenate(x) for x in zip(*mine, strict=True))
        expected_rows, expected_target, expected_weight = (
            np.concatenate(x) for x in zip(*other, strict=True)
        )
        scale = np.abs(expected_rows).max(axis=0)
        assert np.all(np.abs(rows - expected_rows).max(axis=0) <= ROW_TOLERANCE * scale)
        assert np.abs(target - expected_target).max() <= ROW_TOLERANCE * np.abs(expected_target).max()
        assert np.allclose(weight, expected_weight, rtol=1e-12)


def test_fit_reproduces_the_predictions_of_fitsnaps_coefficients(
    tantalum: Dataset, blocks: list[DesignBlock], dft_data: Path
) -> None:
    plan = plan_chunks([len(b.target) for b in blocks], [0] * len(blocks))
    chunks = {i: tuple(blocks[j] for j in chunk) for i, chunk in enumerate(plan)}
    fit = least_squares(DesignStream(chunks, dict.fromkeys(chunks, 0), SERIAL_REDUCER))
    folder = dft_data / "tantalum" / "reference-linear"
    published = read_potential(folder / "Ta_pot.snapcoeff", folder / "Ta_pot.snapparam")
    for kind in (0, 1):
        rows = np.concatenate([b.rows[b.kind == kind] for b in blocks])
        ours, theirs = rows @ fit.theta, rows @ published.coefficients
        rms = float(np.sqrt(np.mean(theirs**2)))
        assert np.abs(ours - theirs).max() < FIT_TOLERANCE * rms
