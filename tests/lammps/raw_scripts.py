"""Scripts of any kind on the published tungsten SNAP, as a future property could run them."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.build
import numpy as np

from snapuq.core.dataset import Structure
from snapuq.lammps.engine import LammpsEngine, PotentialFiles, data_text
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.memory_files import plain_name
from snapuq.lammps.templates import Template, Workspace
from snapuq.lammps.truth import State, read_state

HEAD = """
#   data: LAMMPS data file
#   potential: LAMMPS file
units metal
atom_style atomic
atom_modify map array sort 0 2.0
box tilt large
read_data ${data}
include ${potential}
thermo_modify norm no
"""


def structure(atoms: ase.Atoms) -> Structure:
    """The same in snapuq's type."""
    return Structure(atoms.cell.array, atoms.positions, tuple(atoms.get_chemical_symbols()))


def vacancy() -> Structure:
    """15 atoms of bcc tungsten and a hole."""
    atoms = ase.build.bulk("W", cubic=True, a=3.17).repeat(2)
    del atoms[0]
    return structure(atoms)


def coincident() -> Structure:
    """17 atoms of bcc tungsten, two of them in the same place."""
    atoms = ase.build.bulk("W", cubic=True, a=3.17).repeat(2)
    atoms.append(atoms[3])
    return structure(atoms)


def published_snap(folder: Path) -> PotentialFiles:
    """Write SNAP over ZBL to a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("W_2940_2017_2.snapcoeff", "W_2940_2017_2.snapparam"):
        (folder / name).write_text(find_potential_file(name).read_text())
    (folder / "W.mod").write_text(
        "pair_style hybrid/overlay zbl 4.0 4.8 snap\npair_coeff * * zbl 74 74\n"
        "pair_coeff * * snap ${snapdir}/W_2940_2017_2.snapcoeff ${snapdir}/W_2940_2017_2.snapparam W\n"
    )
    return PotentialFiles(folder / "W.mod", ("W",))


def run_script(workspace: Workspace, files: PotentialFiles, body: str, s: Structure) -> State:
    """Run commands on a structure and read the result."""
    workspace.data.write(data_text(LammpsFrame.of(s), np.ones(len(s), dtype=int), files.elements))
    with plain_name(files.include.parent) as folder:
        values = {"data": workspace.data.path, "potential": f"{folder}/{files.include.name}"}
        workspace.run(Template.parse("script", HEAD + body), values, {"snapdir": folder})
    return read_state(workspace.session, len(s))


def fingerprint(engine: LammpsEngine) -> tuple[str, float, bytes]:
    """What must not change whatever ran before: a relaxation, to the last bit."""
    found = engine.relax(vacancy())
    return found.structure.digest, found.evaluation.energy, found.evaluation.forces.tobytes()
