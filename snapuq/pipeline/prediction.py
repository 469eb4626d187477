"""Predictions of all members from design rows, for workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.descriptors.bispectrum import BispectrumCalculator
from snapuq.lammps.session import Session
from snapuq.parallel import world
from snapuq.propagate.family import RowSource
from snapuq.propagate.store import Predictor, Store
from snapuq.uq.ensemble_file import load_ensemble


@contextmanager
def open_predictor(arguments: Mapping[str, Any]) -> Iterator[Predictor]:
    """Open a LAMMPS session that computes design rows.

    Parameters
    ----------
    arguments : Mapping
        Plain data: ``ensemble`` (str, the file) and ``propagation`` (str, folder for what ranks share).

    Yields
    ------
    Predictor
        For the MLE and all members.

    Raises
    ------
    InputError
        When the ensemble cannot be read.
    """
    ensemble = load_ensemble(arguments["ensemble"])
    coefficients = np.vstack([ensemble.mle, ensemble.coefficients])
    with Session() as session:
        rows = row_source(BispectrumCalculator(session, ensemble.settings, ensemble.reference))
        yield Predictor(rows, coefficients, Store(Path(arguments["propagation"]), world()))


def row_source(calculator: BispectrumCalculator) -> RowSource:
    """Rows of energy, forces and stress as one array.

    Parameters
    ----------
    calculator : BispectrumCalculator
        Computes them.

    Returns
    -------
    callable
        Structure to rows, and what the reference pair style adds to each.
    """

    def rows(structure: Structure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        found = calculator.rows(structure, stress=True)
        assert found.stress is not None
        assert found.reference_stress is not None
        forces = found.forces.reshape(-1, len(found.energy))
        offset = (np.array([found.reference_energy]), found.reference_forces.ravel())
        return (
            np.concatenate((found.energy[None], forces, found.stress)),
            np.concatenate((*offset, found.reference_stress)),
        )

    return rows
