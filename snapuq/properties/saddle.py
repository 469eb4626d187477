"""Search for the highest saddle between two states by bands, each checked by its curvatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX, Band, Engine, Saddle
from snapuq.errors import SimulationError
from snapuq.properties.band import straight_band
from snapuq.properties.curvature import lowest_curvatures, settle

Array = NDArray[np.float64]
#: Relaxes a band.
Solver = Callable[[Sequence[Structure]], Band]

#: Bands that one search relaxes at most.
LARGEST_SEARCH = 8
#: Part of the negative mode along the band below which it belongs to another process.
SMALLEST_OVERLAP = 0.1
#: Displacement of the middle of a band that leaves a symmetric path, A, all atoms together.
PUSH = 0.25
#: Distance, A, all atoms together, below which two relaxed states are the same.
SAME_STATE = 0.1


@dataclass(frozen=True, eq=False)
class _Top:
    """Where a band came to rest, and what to do about it."""

    energy: float
    negative: int
    is_saddle: bool
    structure: Structure
    #: Direction that leaves a symmetric path downwards.
    escape: Array


def find_saddle(
    engine: Engine,
    solve: Solver,
    first: Structure,
    last: Structure,
    *,
    images: int,
    fmax: float,
    rng: np.random.Generator,
) -> Saddle:
    """Relax bands until the highest image of each sits on a saddle with one negative mode.

    A band may hang over a symmetric point that is none. Without any negative mode the point is a minimum:
    it is relaxed, and bands are run to it and from it, the highest saddle counts. With several, or one
    across the path, the band is pushed off the symmetric path along the odd one, with a random sign, and
    relaxed again. A saddle is settled as closely as a minimum: where soft modes are left with the
    forces of a band, 1e-2 eV/A, 1 meV is undecided (basal hop in Mg).

    Parameters
    ----------
    engine : Engine
        The potential.
    solve : callable
        Relaxes a band.
    first, last : Structure
        Relaxed states, the same atoms in the same cell without jumps across it.
    images : int
        Images of each band, ends included.
    fmax : float
        Tolerance of the bands, eV/A.
    rng : numpy.random.Generator
        For directions.

    Returns
    -------
    Saddle
        The highest one; one negative mode unless its band did not converge.

    Raises
    ------
    SimulationError
        ``no_saddle`` when none is found, or what the engine raises.
    """
    waiting = [straight_band(first, last, images)]
    found: list[_Top] = []
    seen: list[_Top] = []
    converged = True
    while waiting:
        if len(seen) == LARGEST_SEARCH:
            counts = ", ".join(str(top.negative) for top in seen)
            raise SimulationError("no_saddle", f"bands ended at points with {counts} negative modes")
        band = solve(waiting.pop())
        top = _look(engine, band, rng)
        seen.append(top)
        if top.is_saddle or band.residual > fmax:
            converged = converged and band.residual <= fmax
            found.append(top)
            continue
        middle = engine.relax(top.structure, fmax=FMAX) if top.negative == 0 else None
        if middle is not None and _is_new(middle.structure, band):
            converged = converged and middle.converged
            ends = (band.images[0], middle.structure, band.images[-1])
            waiting += [straight_band(a, b, images) for a, b in ((ends[1], ends[2]), (ends[0], ends[1]))]
        else:
            waiting.append(_pushed(band, top.escape, rng))
    highest = max(found, key=lambda top: top.energy)
    return Saddle(
        highest.energy,
        highest.negative,
        converged,
        seen[0].negative,
        highest.structure,
        seen[0].structure,
    )


def _look(engine: Engine, band: Band, rng: np.random.Generator) -> _Top:
    """Find the highest image between the ends and its lowest curvatures."""
    energies = [engine.evaluate(image).energy for image in band.images[1:-1]]
    k = 1 + int(np.argmax(energies))
    along = band.images[k + 1].positions - band.images[k - 1].positions
    low = lowest_curvatures(engine, band.images[k], along, rng)
    overlaps = np.abs(np.einsum("kia,ia->k", low.modes, along)) / np.linalg.norm(along)
    odd = int(np.argmin(overlaps[: low.negative])) if low.negative else 0
    escape = low.modes[odd] if low.negative else rng.standard_normal(along.shape)
    is_saddle = low.negative == 1 and bool(overlaps[0] >= SMALLEST_OVERLAP)
    settled = settle(engine, band.images[k], low, FMAX) if is_saddle else None
    structure, energy = band.images[k], energies[k - 1]
    if settled is not None:
        structure, energy = settled[0], settled[1].energy
    return _Top(energy, low.negative, is_saddle, structure, escape)


def _is_new(state: Structure, band: Band) -> bool:
    """Whether a relaxed state is another one than the ends of a band."""
    ends = (band.images[0], band.images[-1])
    return all(np.linalg.norm(state.positions - end.positions) > SAME_STATE for end in ends)


def _pushed(band: Band, direction: Array, rng: np.random.Generator) -> tuple[Structure, ...]:
    """Displace the images between the ends, most in the middle."""
    push = rng.choice((-1.0, 1.0)) * PUSH * direction / np.linalg.norm(direction)
    shares = np.sin(np.pi * np.linspace(0.0, 1.0, len(band.images)))
    shares[-1] = 0.0
    return tuple(
        Structure(image.cell, image.positions + share * push, image.species)
        for image, share in zip(band.images, shares, strict=True)
    )
