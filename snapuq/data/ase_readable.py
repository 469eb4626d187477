"""Anything that ASE reads: extended xyz, VASP output, ASE databases and trajectories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from snapuq.core.dataset import Configuration, Dataset
from snapuq.data.checks import ASYMMETRY, labelled
from snapuq.data.files import GLOB_CHARACTERS, is_labelled, natural_key, walk
from snapuq.data.reader import READERS
from snapuq.errors import InputError

# Labels of a reference method are marked by such a prefix; the first found applies to all of a frame.
_PREFIXES = ("REF_", "dft_", "")
_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
# One folder is one calculation for VASP, so the folder above names the group.
_ONE_PER_FOLDER = ("vasprun", "OUTCAR")


@READERS.register("ase")
def read(path: Path) -> Dataset:
    """Read a file, a folder or a glob pattern through ASE.

    From a folder, files named ``*.xyz``, ``*.extxyz``, ``*.traj``, ``*.db``, ``vasprun*.xml`` and
    ``OUTCAR*`` are taken (no ``OUTCAR`` beside a ``vasprun.xml``, which holds the same); a pattern such as
    ``runs/*/espresso.pwo`` finds all others. A file of several frames gives identifiers ``file#0``, ...

    The group is ``config_type`` or ``group`` of a frame (in an ASE database, a key-value pair); else the
    sub-folder (for VASP, where one folder is one calculation, the folder above it); else the file's name.

    The energy is ``free_energy`` where the frame has one, because forces and stress are its derivatives (in
    VASP with smearing ``energy`` is extrapolated to zero width and is not consistent with the forces); else
    ``energy``. Labels are looked for with the prefix ``REF_``, then ``dft_``, then none, in the frame's
    own data (in a database, its key-value pairs and ``data``) and its calculator. Stress is ASE's (eV/A^3,
    tension positive), or -``virial``/volume, the convention of libAtoms. Constraints do not change forces.

    Parameters
    ----------
    path : Path
        File, folder or pattern.

    Returns
    -------
    Dataset
        All frames, in the natural order of their files.

    Raises
    ------
    InputError
        When ASE cannot read a file, or a frame has no energy, no forces or an open boundary.
    """
    base, files = _find(path)
    found: list[Configuration] = []
    for file in files:
        relative = file.relative_to(base)
        frames = _frames(file)
        for index, atoms in enumerate(frames):
            name = relative.as_posix() if len(frames) == 1 else f"{relative.as_posix()}#{index}"
            found.append(_configuration(atoms, file, index, name, _group(atoms, relative)))
    return Dataset(tuple(found), str(path))


def _find(path: Path) -> tuple[Path, list[Path]]:
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        base = path
        files = [file for _, those, _ in walk(path, is_labelled) for file in _without_duplicates(those)]
        expected = (
            "xyz, traj, db, vasprun.xml or OUTCAR files; name others by a pattern such as 'runs/*/x.out'"
        )
    else:
        first = next(i for i, part in enumerate(path.parts) if any(c in part for c in GLOB_CHARACTERS))
        base = Path(*path.parts[:first])
        matches = base.glob("/".join(path.parts[first:]))
        files = sorted((p for p in matches if p.is_file()), key=lambda p: natural_key(p.as_posix()))
        expected = "a pattern that matches files"
    if not files:
        raise InputError("no file that ASE reads", file=path, expected=expected)
    return base, files


def _without_duplicates(files: list[Path]) -> Iterator[Path]:
    has_xml = any(file.name.startswith("vasprun") for file in files)
    return (file for file in files if not (has_xml and file.name.startswith("OUTCAR")))


def _group(atoms: Atoms, relative: Path) -> str:
    for key in ("config_type", "group"):
        if key in atoms.info:
            return str(atoms.info[key])
    folder = relative.parent
    if relative.name.startswith(_ONE_PER_FOLDER) and folder.parent != Path():
        folder = folder.parent
    return relative.stem if folder == Path() else folder.as_posix()


def _frames(file: Path) -> list[Atoms]:
    # All of ASE's formats take long to import, and most data sets do not need them.
    import ase.io

    try:
        if file.suffix == ".db":
            return _rows_of_database(file)
        # ASE finds mpi4py and would wait for the other ranks, while only one reads.
        frames = ase.io.read(str(file), index=":", parallel=False, do_not_split_by_at_sign=True)
    except Exception as error:  # noqa: BLE001 - each of ASE's hundred formats fails in its own way
        text = " ".join(str(error).split())
        problem = f"ASE cannot read it ({type(error).__name__}: {text})"
        if isinstance(error, StopIteration | EOFError) or "StopIteration" in text:
            problem = "it ends in the middle of a frame; is it complete?"
        raise InputError(problem, file=file) from None
    if not frames:
        raise InputError("no frame in this file", file=file)
    return list(frames)


def _rows_of_database(file: Path) -> list[Atoms]:
    """Frames of an ASE database, with what was written beside them, which `ase.io.read` leaves out."""
    import ase.db

    frames = []
    with ase.db.connect(str(file), serial=True) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info = {**row.data, **row.key_value_pairs}
            frames.append(atoms)
    return frames


def _configuration(atoms: Atoms, file: Path, index: int, identifier: str, group: str) -> Configuration:
    record = f"frame {index}"
    if not atoms.pbc.all():
        raise InputError(
            "not periodic in every direction",
            file=file,
            key=f"{record}.pbc",
            found=" ".join("T" if p else "F" for p in atoms.pbc),
            hint="put it in a cell with vacuum and set pbc to T T T",
        )
    results = atoms.calc.results if atoms.calc is not None else {}
    sources = (atoms.info, atoms.arrays, results)
    prefix = next((p for p in _PREFIXES if _label(sources, p, "free_energy", "energy") is not None), None)
    if prefix is None:
        raise InputError(
            "missing energy",
            file=file,
            key=record,
            found=_names(sources),
            expected="a label energy or free_energy, or one of these after REF_ or dft_",
            hint="rename it, or leave the frame out",
        )
    forces = _label(sources, prefix, "forces", "force")
    if forces is None:
        energy_name = "the energy" if not prefix else f"{prefix}energy"
        raise InputError(
            "missing forces",
            file=file,
            key=record,
            found=_names(sources),
            expected=f"a label {prefix}forces beside {energy_name}",
            hint="rename it, or leave the frame out",
        )
    energy = np.asarray(_label(sources, prefix, "free_energy", "energy"))
    if energy.shape != () or energy.dtype.kind not in "iuf":
        raise InputError("not a number", file=file, key=f"{record}.energy", found=str(energy))
    return labelled(
        file=file,
        record=record,
        identifier=identifier,
        group=group,
        cell=atoms.cell.array,
        positions=atoms.positions,
        species=atoms.get_chemical_symbols(),
        energy=float(energy),
        forces=np.asarray(forces),
        stress=_stress(sources, prefix, atoms, f"{file}", record),
    )


def _names(sources: tuple[Mapping[str, Any], ...]) -> str:
    """Names of all that a frame holds beside its atoms."""
    names = [n for source in sources for n in source if n not in ("numbers", "positions")]
    return ", ".join(names) or "no label"


def _label(sources: tuple[Mapping[str, Any], ...], prefix: str, *names: str) -> Any:
    for name in names:
        for source in sources:
            if source.get(prefix + name) is not None:
                return source[prefix + name]
    return None


def _stress(
    sources: tuple[Mapping[str, Any], ...], prefix: str, atoms: Atoms, file: str, record: str
) -> NDArray[np.float64] | None:
    stress, scale = _label(sources, prefix, "stress"), 1.0
    if stress is None:
        volume = max(abs(float(np.linalg.det(atoms.cell.array))), np.finfo(float).tiny)
        stress, scale = _label(sources, prefix, "virial", "virials"), -1.0 / volume
    if stress is None:
        return None
    array = np.asarray(stress, dtype=float)
    if array.size not in (6, 9):
        where = f"{record}.stress"
        raise InputError(
            "wrong count", file=file, key=where, found=f"shape {array.shape}", expected="6 or 9 numbers"
        )
    if array.size == 9:
        full = array.reshape(3, 3)
        if np.abs(full - full.T).max() > ASYMMETRY * np.abs(full).max():
            raise InputError(
                "the stress is not symmetric", file=file, key=f"{record}.stress", found=full.tolist()
            )
        array = full[_VOIGT]
    return array.ravel() * scale
