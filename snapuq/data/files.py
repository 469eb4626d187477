"""Files of a data set in one order on every machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from snapuq.errors import InputError

GLOB_CHARACTERS = "*?["
# Files with energies and forces that are picked up from a folder; a glob pattern finds all others.
_LABELLED = ("*.xyz", "*.extxyz", "*.traj", "*.db", "vasprun*.xml", "vasprun*.xml.gz", "OUTCAR*")


def is_labelled(path: Path) -> bool:
    """Tell by its name whether ASE finds energies and forces in a file.

    Parameters
    ----------
    path : Path
        A file.

    Returns
    -------
    bool
        Whether it is an xyz, trajectory, database or VASP output file.
    """
    return any(path.match(pattern) for pattern in _LABELLED)


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key that puts ``run_2`` before ``run_10``.

    Parameters
    ----------
    name : str
        A file name or relative path.

    Returns
    -------
    tuple
        Text and numbers in turn, then the name itself to break ties such as ``1`` and ``01``.
    """
    parts = re.split(r"([0-9]+)", name)
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), name


def walk(root: Path, wanted: Callable[[Path], bool]) -> Iterator[tuple[Path, list[Path], bool]]:
    """Visit a folder and its sub-folders in natural order; hidden names are left out.

    Parameters
    ----------
    root : Path
        Where to start.
    wanted : callable
        Whether a file belongs to the data set.

    Yields
    ------
    folder : Path
        The folder.
    files : list of Path
        Its wanted files, in natural order.
    is_leaf : bool
        Whether it has no sub-folder.

    Raises
    ------
    InputError
        When a name holds control characters or is not UTF-8.
    """
    yield from _walk(root, wanted, frozenset())


def _walk(
    folder: Path, wanted: Callable[[Path], bool], above: frozenset[Path]
) -> Iterator[tuple[Path, list[Path], bool]]:
    here = folder.resolve()
    if here in above:  # a symbolic link that leads back up
        return
    entries = sorted(
        (p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: natural_key(p.name)
    )
    for entry in entries:
        if not entry.name.isprintable():
            raise InputError("a file name is not readable text", file=ascii(str(entry)), hint="rename it")
    folders = [p for p in entries if p.is_dir()]
    yield folder, [p for p in entries if p.is_file() and wanted(p)], not folders
    for sub in folders:
        yield from _walk(sub, wanted, above | {here})
