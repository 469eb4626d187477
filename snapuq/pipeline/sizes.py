"""Whether the cutoff suits the data, and the cells of the properties suit the cutoff."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from snapuq.config import PropertyRequest
from snapuq.core.dataset import Dataset
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.lammps.truth import nearest_distance
from snapuq.properties import PROPERTIES, bind
from snapuq.properties.cell_lengths import CellLength
from snapuq.properties.crystals import Crystal

#: A cutoff beyond so many nearest-neighbour distances is a mistake: hundreds of neighbours for each atom.
LONGEST_CUTOFF = 3.0
# Configurations whose distances are looked at, spread over the data.
_LOOKED_AT = 300
# Pair styles whose outer cutoff is among their arguments: how many words after the style.
_CUTOFF_WORD = {"zbl": 2, "lj/cut": 1, "born": 1, "buck": 1, "morse": 1}


def reference_cutoff(pair: ReferencePair | None) -> float | None:
    """Outer cutoff of a reference pair style.

    Parameters
    ----------
    pair : ReferencePair or None
        The pair style.

    Returns
    -------
    float or None
        A, the largest of its sub-styles'; None where it is not among the arguments, as for tables.
    """
    words = [] if pair is None else pair.styles.split() if pair.is_overlay else pair.pair_style.split()
    found = []
    for at, word in enumerate(words):
        place = at + _CUTOFF_WORD.get(word, len(words))
        if place < len(words):
            with suppress(ValueError):
                found.append(float(words[place]))
    return max(found, default=None)


def typical_neighbour(dataset: Dataset) -> float:
    """Median over configurations of the distance between nearest neighbours.

    Parameters
    ----------
    dataset : Dataset
        The data.

    Returns
    -------
    float
        A; of 300 configurations spread over the data where there are more.
    """
    step = max(1, len(dataset) // _LOOKED_AT)
    return float(
        np.median(
            [
                nearest_distance(c.structure.cell, c.structure.positions)
                for c in dataset.configurations[::step]
            ]
        )
    )


def cutoff_warnings(dataset: Dataset, settings: SnapSettings) -> list[str]:
    """Warn of a cutoff that is far too long, and of elements without data.

    Parameters
    ----------
    dataset : Dataset
        The data.
    settings : SnapSettings
        Hyperparameters.

    Returns
    -------
    list of str
        One sentence each.
    """
    lines = []
    neighbour, cutoff = typical_neighbour(dataset), settings.cutoff
    sets = "(rcutfac * 2 * the largest radelem)"
    if cutoff > LONGEST_CUTOFF * neighbour:
        lines.append(
            f"the cutoff of {cutoff:g} A {sets} is {cutoff / neighbour:.1f} times the distance of nearest "
            f"neighbours in the data, {neighbour:.2f} A; usual are 1.5 to 2.5"
        )
    absent = [e for e in settings.elements if e not in dataset.elements]
    if absent:
        lines.append(
            f"the data hold no {', '.join(absent)}: nothing determines the coefficients; remove "
            "potential.elements." + ", potential.elements.".join(absent)
        )
    return lines


def cell_warnings(
    requests: Sequence[PropertyRequest], settings: SnapSettings, reference: ReferencePair | None
) -> list[str]:
    """Warn of cells in which atoms meet their own images, or surfaces each other.

    Parameters
    ----------
    requests : sequence of PropertyRequest
        What was asked for.
    settings : SnapSettings
        Hyperparameters.
    reference : ReferencePair or None
        Pair style that SNAP is added to.

    Returns
    -------
    list of str
        One line for each property that has such a cell.

    Raises
    ------
    InputError
        When the size of a crystal cannot be told.
    """
    cutoff = max(settings.cutoff, reference_cutoff(reference) or 0.0)
    lines = []
    for request in requests:
        params = bind(request.params, settings.elements)
        lengths = PROPERTIES[request.name].cell_lengths(params)
        short = [x for x in lengths if x.length < x.cutoffs * cutoff * (1.0 - 1.0e-9)]
        if short:
            told = "; ".join(_told(x, cutoff) for x in short)
            lines.append(f"{request.name} of {Crystal.parse(params.structure).label}: {told}")
    return lines


def _told(short: CellLength, cutoff: float) -> str:
    shown = f"{short.value:.3g}" + ("" if isinstance(short.value, int) else " A")
    is_other = abs(short.length - short.value) > 1.0e-6
    found = f"{short.key} {shown}" + (f" makes {short.length:.3g} A," if is_other else " is")
    limit = f"{'twice ' if short.cutoffs == 2 else ''}the cutoff of {cutoff:.3g} A"
    return f"{found} less than {limit}; {short.enough(cutoff):g} would do"
