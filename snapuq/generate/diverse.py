"""A small, diverse set of structures: strained crystals, hot supercells, defects, slabs, disorder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.errors import InputError
from snapuq.properties.crystals import Crystal
from snapuq.seeds import generator

# Families in proportion to how often a property probes them.
FAMILIES = ("crystal", "hot", "crystal", "vacancy", "slab", "hot", "disordered")
_MAX_STRAIN = 0.06
_VACUUM = 8.0  # A
# Chance of a smaller supercell than would fit, at each step of its growth.
_STOP = 0.05
# Atoms closer than this share of the crystal's nearest-neighbour distance teach repulsion only.
_CLOSEST = 0.72
_MILLER = ((1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 1), (3, 1, 0))


@dataclass(frozen=True)
class Diversity:
    """What the structures are made of.

    Parameters
    ----------
    elements : tuple of str
        Chemical symbols; several are mixed at random on the sites.
    structures : tuple of str
        Crystal structures; the first is the host of defects and slabs.
    volume_per_atom : float
        Volume of the first structure at zero pressure, A^3.
    max_atoms : int
        Largest number of atoms.
    volume_range : tuple of float
        Smallest and largest volume relative to `volume_per_atom`.
    rattle : float
        Largest standard deviation of the atoms' displacements, A.
    """

    elements: tuple[str, ...]
    structures: tuple[str, ...]
    volume_per_atom: float
    max_atoms: int
    volume_range: tuple[float, float]
    rattle: float


def diverse_structures(n: int, diversity: Diversity, seed: int) -> list[tuple[str, Structure]]:
    """Make structures of all families in turn.

    Parameters
    ----------
    n : int
        How many.
    diversity : Diversity
        What they are made of.
    seed : int
        Seed; structure i depends on it and i alone.

    Returns
    -------
    list of (str, Structure)
        Family and structure.
    """
    made = []
    for i in range(n):
        family = FAMILIES[i % len(FAMILIES)]
        for attempt in range(100):
            rng = generator(seed, "generate", i, attempt)
            atoms = _MAKERS[family](rng, diversity)
            if len(atoms) <= diversity.max_atoms and _far_enough(atoms, diversity):
                break
        else:
            raise InputError(
                f"no '{family}' structure of at most {diversity.max_atoms} atoms could be made",
                key="dataset.generate.max_atoms",
                hint="allow more atoms, or a smaller rattle",
            )
        structure = Structure(atoms.cell[:], atoms.positions, tuple(atoms.get_chemical_symbols()))
        made.append((family, structure))
    return made


def host_crystal(name: str, element: str) -> Crystal:
    """Crystal with one element on all its sites.

    Parameters
    ----------
    name : str
        Crystal as `snapuq.properties.crystals.Crystal.parse` reads it.
    element : str
        Chemical symbol.

    Returns
    -------
    Crystal
        The crystal.
    """
    crystal = Crystal.parse(name)
    return replace(crystal, elements=(element,) * crystal.kind.n_species)


def _host(rng: np.random.Generator, d: Diversity, name: str) -> Atoms:
    """Conventional cell at a random volume, species at random."""
    crystal = host_crystal(name, d.elements[0])
    cell = crystal.conventional(*crystal.size_guess())
    atoms = Atoms(cell.species, positions=cell.positions, cell=cell.cell, pbc=True)
    volume = d.volume_per_atom * rng.uniform(*d.volume_range)
    atoms.set_cell(atoms.cell * (volume * len(atoms) / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    return atoms


def _repeat(atoms: Atoms, rng: np.random.Generator, max_atoms: int) -> Atoms:
    """Grow the shortest direction until the next step would be too large, or chance stops it."""
    counts = np.ones(3, dtype=int)
    while True:
        grown = counts.copy()
        grown[int(np.argmin(counts * atoms.cell.lengths()))] += 1
        if len(atoms) * int(np.prod(grown)) > max_atoms or rng.random() < _STOP:
            return atoms.repeat(counts.tolist())
        counts = grown


def _finish(atoms: Atoms, rng: np.random.Generator, d: Diversity, strain: float, rattle: float) -> Atoms:
    """Strain, displace and decorate."""
    e = rng.uniform(-strain, strain, (3, 3))
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.5 * (e + e.T)), scale_atoms=True)
    atoms.positions += rattle * rng.standard_normal(atoms.positions.shape)
    atoms.set_chemical_symbols(list(rng.choice(d.elements, len(atoms))))
    return atoms


def _crystal(rng: np.random.Generator, d: Diversity) -> Atoms:
    atoms = _host(rng, d, str(rng.choice(d.structures)))
    return _finish(atoms, rng, d, _MAX_STRAIN, d.rattle * rng.uniform(0.0, 0.5) * float(len(atoms) > 1))


def _hot(rng: np.random.Generator, d: Diversity) -> Atoms:
    atoms = _repeat(_host(rng, d, str(rng.choice(d.structures))), rng, d.max_atoms)
    return _finish(atoms, rng, d, 0.5 * _MAX_STRAIN, d.rattle * rng.uniform(0.2, 1.0))


def _vacancy(rng: np.random.Generator, d: Diversity) -> Atoms:
    atoms = _repeat(_host(rng, d, d.structures[0]), rng, d.max_atoms)
    if len(atoms) > 8:
        del atoms[list(rng.choice(len(atoms), int(rng.integers(1, 3)), replace=False))]
    return _finish(atoms, rng, d, 0.3 * _MAX_STRAIN, d.rattle * rng.uniform(0.0, 0.6))


def _slab(rng: np.random.Generator, d: Diversity) -> Atoms:
    # ASE's builders take long to import, and only runs that make data need them.
    import ase.build

    host = _host(rng, d, d.structures[0])
    layers = int(rng.integers(3, 8))
    atoms = ase.build.surface(host, _MILLER[int(rng.integers(len(_MILLER)))], layers)
    atoms.pbc = True
    atoms.center(vacuum=0.5 * _VACUUM, axis=2)
    return _finish(atoms, rng, d, 0.0, d.rattle * rng.uniform(0.0, 0.6))


def _disordered(rng: np.random.Generator, d: Diversity) -> Atoms:
    """Random positions pushed apart until no pair is too close."""
    n = int(rng.integers(min(8, d.max_atoms), min(d.max_atoms, 32) + 1))
    volume = n * d.volume_per_atom * rng.uniform(*d.volume_range)
    cell = np.eye(3) * volume ** (1 / 3)
    positions = rng.random((n, 3)) @ cell
    target = 0.9 * _nearest(d)
    for _ in range(200):
        push, closest = _push_apart(positions, cell, target)
        if closest > 0.85 * target:
            break
        positions = positions + push
    atoms = Atoms([d.elements[0]] * n, positions=positions, cell=cell, pbc=True)
    return _finish(atoms, rng, d, 0.0, 0.0)


def _push_apart(
    positions: NDArray[np.float64], cell: NDArray[np.float64], target: float
) -> tuple[NDArray[np.float64], float]:
    """Half the overlap of every pair, along the pair, under the minimum image of a cubic cell."""
    vectors = positions[:, None] - positions[None]
    vectors -= np.rint(vectors @ np.linalg.inv(cell)) @ cell
    distances = np.linalg.norm(vectors, axis=-1)
    np.fill_diagonal(distances, np.inf)
    overlap = np.clip(target - distances, 0.0, None) / np.maximum(distances, 1.0e-3)
    return 0.5 * np.einsum("ij,ijk->ik", overlap, vectors), float(distances.min())


def _nearest(d: Diversity) -> float:
    """Nearest-neighbour distance of bcc at the equilibrium volume, A."""
    return float(np.sqrt(3.0) / 2.0 * (2.0 * d.volume_per_atom) ** (1 / 3))


def _far_enough(atoms: Atoms, d: Diversity) -> bool:
    """Whether no pair, images included, is too close."""
    import ase.neighborlist

    limit = _CLOSEST * _nearest(d) * d.volume_range[0] ** (1 / 3)
    return len(ase.neighborlist.neighbor_list("d", atoms, limit)) == 0


_MAKERS: dict[str, Callable[[np.random.Generator, Diversity], Atoms]] = {
    "crystal": _crystal,
    "hot": _hot,
    "vacancy": _vacancy,
    "slab": _slab,
    "disordered": _disordered,
}
