"""Loss weights of a data set: FitSNAP's, a table of groups, or exponential in energy and force.

All are weights of the squared residual; a row is multiplied by the square root. Energy rows are per atom.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Configuration, Dataset, LossWeights, RowWeights
from snapuq.errors import InputError, nearest
from snapuq.units import BAR_PER_EV_A3

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_COLUMNS = ("group", "energy", "force", "stress")


def fitsnap_weights(dataset: Dataset, table: str | Path | None = None) -> tuple[LossWeights, ...]:
    """Weights of the data's own FitSNAP input, or of a table of groups.

    Parameters
    ----------
    dataset : Dataset
        Configurations.
    table : str or Path, optional
        CSV file with the columns ``group,energy,force,stress``: FitSNAP's ``eweight``, ``fweight`` and
        ``vweight``, which multiply rows (stress rows in bar). It replaces the data's own weights.

    Returns
    -------
    tuple of LossWeights
        One for each configuration.

    Raises
    ------
    InputError
        When the table is not valid or incomplete, or there is neither a table nor weights in the data.
    """
    if table is not None:
        groups = read_table(table, dataset.groups)
        return tuple(_spread(c, groups[c.group]) for c in dataset.configurations)
    weights = []
    for configuration in dataset.configurations:
        if configuration.weights is None:
            raise InputError(
                "these data come without weights",
                file=dataset.source,
                key=configuration.identifier,
                hint="give a table of group weights, or use the exponential scheme",
            )
        weights.append(_spread(configuration, configuration.weights))
    return tuple(weights)


def _spread(configuration: Configuration, weights: RowWeights) -> LossWeights:
    stress = 0.0 if configuration.stress is None else weights.stress
    return LossWeights(weights.energy, np.full(len(configuration), weights.force), stress)


def read_table(path: str | Path, groups: tuple[str, ...]) -> dict[str, RowWeights]:
    """Read a table of group weights.

    Parameters
    ----------
    path : str or Path
        CSV file with the columns ``group,energy,force,stress``.
    groups : tuple of str
        Groups of the data set; each must have a line.

    Returns
    -------
    dict
        Group to loss weights: the squares of the numbers, stress converted from bar to eV/A^3.

    Raises
    ------
    InputError
        When a column, a group or a number is missing or wrong.
    """
    try:
        # Excel's "CSV UTF-8" starts with a byte order mark.
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from None
    reader = csv.reader(lines, skipinitialspace=True)
    header = [name.strip() for name in next(reader, [])]
    if tuple(header) != _COLUMNS:
        raise InputError(
            "columns are separated by semicolons" if any(";" in name for name in header) else "wrong header",
            file=path,
            line=1,
            found=",".join(header),
            expected=",".join(_COLUMNS),
        )
    table: dict[str, RowWeights] = {}
    for cells in reader:
        if not cells:
            continue
        line, group = reader.line_num, cells[0].strip()
        if len(cells) != len(_COLUMNS):
            raise InputError(
                "wrong number of columns", file=path, line=line, found=str(len(cells)), expected="4"
            )
        if group not in groups:
            raise InputError("unknown group", file=path, line=line, key=group, hint=nearest(group, groups))
        if group in table:
            raise InputError("group occurs twice", file=path, line=line, key=group)
        values = [
            _weight(c, path, line, f"{group}.{n}") for n, c in zip(_COLUMNS[1:], cells[1:], strict=True)
        ]
        table[group] = RowWeights(values[0] ** 2, values[1] ** 2, (values[2] * BAR_PER_EV_A3) ** 2)
    missing = [group for group in groups if group not in table]
    if missing:
        raise InputError("no line for this group", file=path, key=missing[0])
    return table


def _weight(text: str, path: str | Path, line: int, key: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (np.isfinite(value) and value >= 0):
        raise InputError(
            "not a weight", file=path, line=line, key=key, found=text, expected="a number from 0 up"
        )
    return value


def exponential_weights(
    dataset: Dataset,
    is_train: Mask,
    *,
    energy: float = 2.0,
    force: float = 50.0,
    energy_ratio: float = 100.0,
    stress_ratio: float = 0.0,
) -> tuple[LossWeights, ...]:
    """Weights that fade exponentially with energy and force.

    An energy row has exp(-e / `energy`), e being its energy per atom above the lowest; the three force
    rows of an atom have exp(-f / `force`), f being the norm of its force; a configuration's stress rows have
    the factor of its energy row. Each kind is divided by its sum over the rows of the training set, and
    multiplied by its ratio to the forces. Configurations outside the training set get weights by the same
    formula.

    With one element "the lowest" is the lowest energy per atom of the training set, as published. With
    several, energies per atom of different compositions do not compare, so e is measured from the highest
    plane sum_s x_s mu_s (x_s the fractions, mu_s one reference energy an element) that no training energy
    lies below; see `element_references`.

    Parameters
    ----------
    dataset : Dataset
        Configurations.
    is_train : ndarray of bool, shape (C,)
        The training set.
    energy : float
        Decay, eV/atom.
    force : float
        Decay, eV/A.
    energy_ratio : float
        Sum of the energy weights over the sum of the force weights; 1 in the paper.
    stress_ratio : float
        The same for stress; 0 leaves stress out.

    Returns
    -------
    tuple of LossWeights
        One for each configuration.

    Raises
    ------
    InputError
        When a decay is not positive, a ratio is negative or nothing is left to train on.

    References
    ----------
    Perez et al., npj Comput. Mater. 11, 263 (2025), doi:10.1038/s41524-025-01758-4.
    """
    for name, value, least in (
        ("energy", energy, "above 0"),
        ("force", force, "above 0"),
        ("energy_ratio", energy_ratio, "from 0 up"),
        ("stress_ratio", stress_ratio, "from 0 up"),
    ):
        if not np.isfinite(value) or value < 0 or (least == "above 0" and value == 0):
            raise InputError(
                "impossible value", key=f"weights.{name}", found=value, expected=f"a number {least}"
            )
    train = np.asarray(is_train, dtype=bool)
    if not train.any():
        raise InputError("no configuration to train on", file=dataset.source)
    excess = excess_energies(dataset, train)
    per_energy = np.exp(-excess / energy)
    per_force = [np.exp(-np.linalg.norm(c.forces, axis=1) / force) for c in dataset.configurations]
    per_stress = np.array([c.stress is not None for c in dataset.configurations]) * per_energy
    force_sum = 3.0 * sum(float(w.sum()) for w, used in zip(per_force, train, strict=True) if used)
    if not (force_sum > 0 and per_energy[train].sum() > 0):
        raise InputError(
            "every weight of the training set vanishes",
            file=dataset.source,
            key="weights.force" if force_sum == 0 else "weights.energy",
            found=force if force_sum == 0 else energy,
            hint="use a longer decay",
        )
    per_energy *= energy_ratio / per_energy[train].sum()
    total = 6.0 * per_stress[train].sum()
    if stress_ratio > 0 and total == 0:
        raise InputError("no stress in the training set", file=dataset.source, key="weights.stress_ratio")
    per_stress *= stress_ratio / total if total > 0 else 0.0
    return tuple(
        LossWeights(float(e), f / force_sum, float(s))
        for e, f, s in zip(per_energy, per_force, per_stress, strict=True)
    )


def excess_energies(dataset: Dataset, train: Mask) -> Array:
    """Energy per atom above the lowest of some configurations, or of alloys above their plane.

    Parameters
    ----------
    dataset : Dataset
        Configurations.
    train : ndarray of bool, shape (C,)
        Those that set the zero.

    Returns
    -------
    ndarray, shape (C,)
        eV/atom; not negative where `train` holds.
    """
    per_atom = np.array([c.energy / len(c) for c in dataset.configurations])
    elements = dataset.elements
    if len(elements) == 1:
        return np.asarray(per_atom - per_atom[train].min())
    fractions = np.array(
        [[c.structure.species.count(s) / len(c) for s in elements] for c in dataset.configurations]
    )
    return np.asarray(per_atom - fractions @ element_references(fractions[train], per_atom[train]))


def element_references(fractions: Array, energies: Array) -> Array:
    """Find the highest plane sum_s x_s mu_s that lies below all energies per atom.

    For one element mu is the lowest energy per atom. For an alloy it touches the convex hull of formation
    energies; it is the solution of a linear programme, maximal in the mean over the distinct compositions.

    Parameters
    ----------
    fractions : ndarray, shape (C, S)
        Atomic fractions; rows sum to 1.
    energies : ndarray, shape (C,)
        Energies per atom, eV.

    Returns
    -------
    ndarray, shape (S,)
        mu, eV/atom; 0 for an element that does not occur.
    """
    # Takes long to import, and only several elements need it.
    from scipy.optimize import linprog

    compositions, group = np.unique(fractions, axis=0, return_inverse=True)
    lowest = np.full(len(compositions), np.inf)
    np.minimum.at(lowest, group.ravel(), energies)
    # The shift keeps the numbers small: rows sum to 1, so it only moves every mu.
    shift = float(lowest.mean())
    present = compositions.any(axis=0)
    found = linprog(
        -compositions.mean(axis=0)[present],
        A_ub=compositions[:, present],
        b_ub=lowest - shift,
        bounds=(None, None),
        method="highs",
    )
    if not found.success:
        raise InputError(f"no element reference energies for these compositions ({found.message})")
    mu = np.zeros(fractions.shape[1])
    mu[present] = found.x + shift
    # The solver keeps constraints to 1e-7; let the plane touch the lowest energy exactly.
    return np.asarray(mu + (lowest - compositions @ mu).min() * present)
