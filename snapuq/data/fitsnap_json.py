"""FitSNAP's JSON folders: one sub-folder a group, one file a configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Configuration, Dataset
from snapuq.data.checks import ASYMMETRY, labelled
from snapuq.data.files import walk
from snapuq.data.reader import READERS
from snapuq.data.unit_styles import factor
from snapuq.errors import InputError, nearest

Array = NDArray[np.float64]

#: Index pairs of Voigt's order xx yy zz yz xz xy; FitSNAP takes the same six.
VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
#: Names of the keys in error messages.
KEYS = {
    "cell": "Lattice",
    "positions": "Positions",
    "species": "AtomTypes",
    "energy": "Energy",
    "forces": "Forces",
    "stress": "Stress",
}
# Units where a file names none: FitSNAP assumes LAMMPS's metal units.
_DEFAULT_STYLE = "metal"
#: Keys that name a unit or notation; those of quantities that are not read are allowed.
_STYLES = tuple(
    f"{name}Style"
    for name in ("Energy", "Forces", "Positions", "Lattice", "Stress", "AtomType", "Spins", "Charges", "Chis")
)


@dataclass(frozen=True, eq=False)
class Record:
    """One entry of ``Data``: types, counts and finite numbers are checked, units are the file's.

    Parameters
    ----------
    name : str
        Name for error messages, ``Data[0]``.
    styles : Mapping
        The ``...Style`` keys that apply to it.
    energy : float
        Total energy.
    cell : ndarray, shape (3, 3)
        Cell vectors as rows.
    positions, forces : ndarray, shape (N, 3)
        Cartesian.
    stress : ndarray, shape (3, 3), or None
        Compression positive, as LAMMPS's pressure; None when the file has none.
    species : tuple of str
        Chemical symbols.
    """

    name: str
    styles: Mapping[str, object]
    energy: float
    cell: Array
    positions: Array
    forces: Array
    stress: Array | None
    species: tuple[str, ...]


@READERS.register("fitsnap_json")
def read(path: Path) -> Dataset:
    """Read a FitSNAP JSON folder, or one of its files.

    Every folder with ``.json`` files is a group, named by its path relative to `path` (files in `path`
    itself: by its name). Folders and files come in natural order (2 before 10). A file with several
    entries in ``Data`` gives identifiers ``file#0``, ``file#1``. Where a unit style is missing, LAMMPS's
    metal units are assumed, as FitSNAP does.

    A stress of nine exact zeros means "not computed" and is left out, whatever the forces are: no code
    prints nine exact zeros for a stress that it computed, and the one physical case, an isolated atom, has
    descriptor rows of zeros, which teach nothing.

    Parameters
    ----------
    path : Path
        Folder or ``.json`` file.

    Returns
    -------
    Dataset
        All configurations.

    Raises
    ------
    InputError
        When a file is not valid, or a folder is empty.
    """
    if path.is_file():
        group = path.resolve().parent.name
        return Dataset(tuple(_configurations(path, path.name, group)), str(path))
    found: list[Configuration] = []
    for folder, files, is_leaf in walk(path, lambda p: p.suffix.lower() == ".json"):
        if not files and is_leaf and folder != path:
            raise InputError("empty group: the folder holds no .json file", file=folder)
        group = path.resolve().name if folder == path else folder.relative_to(path).as_posix()
        for file in files:
            found += _configurations(file, file.relative_to(path).as_posix(), group)
    if not found:
        raise InputError(
            "no .json file in this folder", file=path, expected="sub-folders (groups) of FitSNAP JSON files"
        )
    return Dataset(tuple(found), str(path))


def _configurations(file: Path, identifier: str, group: str) -> Iterator[Configuration]:
    records = load_records(file)
    for index, record in enumerate(records):
        name = identifier if len(records) == 1 else f"{identifier}#{index}"
        yield _convert(record, file, name, group)


def _convert(record: Record, file: Path, identifier: str, group: str) -> Configuration:
    def unit(kind: str, key: str) -> float:
        style = record.styles.get(key, _DEFAULT_STYLE)
        return factor(kind, style, file=str(file), key=f"Dataset.{key}")

    stress = None
    per_volume = unit("stress", "StressStyle")
    if record.stress is not None and record.stress.any():
        stress = -record.stress[VOIGT] * per_volume
    return labelled(
        file=file,
        record=record.name,
        identifier=identifier,
        group=group,
        cell=record.cell * unit("length", "LatticeStyle"),
        positions=record.positions * unit("length", "PositionsStyle"),
        species=record.species,
        energy=record.energy * unit("energy", "EnergyStyle"),
        forces=record.forces * unit("force", "ForcesStyle"),
        stress=stress,
        keys=KEYS,
    )


def load_records(file: Path) -> list[Record]:
    """Parse one FitSNAP JSON file and check everything that needs no units.

    Parameters
    ----------
    file : Path
        The file; leading lines that start with ``#`` are comments.

    Returns
    -------
    list of Record
        At least one.

    Raises
    ------
    InputError
        When the file is malformed, truncated or incomplete, or a number is not finite.
    """
    content = _parse(file)
    if not isinstance(content, dict) or "Dataset" not in content:
        raise InputError(
            "not a FitSNAP JSON file", file=file, key="Dataset", expected='{"Dataset": {"Data": [...]}}'
        )
    others = [key for key in content if key != "Dataset"]
    if others:
        raise InputError(
            "more than one object in this file", file=file, key=others[0], expected="only Dataset"
        )
    dataset = content["Dataset"]
    data = dataset.get("Data") if isinstance(dataset, dict) else None
    if not isinstance(data, list) or not data or not all(isinstance(entry, dict) for entry in data):
        found = None if isinstance(data, list) else type(data).__name__
        raise InputError(
            "no configuration in this file",
            file=file,
            key="Dataset.Data",
            found=found,
            expected="a list of one or more objects",
        )
    styles = {key: value for key, value in dataset.items() if key.lower().endswith("style")}
    _check_styles(styles, file)
    return [_record(entry, f"Data[{i}]", styles, file) for i, entry in enumerate(data)]


def _parse(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError("not a text file", file=file, found=f"byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file) from None
    skipped = 0
    while text.startswith("#"):
        text = text.partition("\n")[2]
        skipped += 1
    if not text.strip():
        raise InputError("empty file", file=file, expected="a FitSNAP JSON object")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        problem = "truncated file, the JSON ends early" if at_end else "malformed JSON"
        raise InputError(
            f"{problem} ({error.msg}, column {error.colno})", file=file, line=error.lineno + skipped
        ) from None
    except ValueError as error:
        raise InputError(f"malformed JSON ({error})", file=file) from None
    except RecursionError:
        raise InputError("malformed JSON, nested too deeply", file=file) from None


def _check_styles(styles: dict[str, object], file: Path) -> None:
    """Refuse a unit under a misspelt name, which would be ignored."""
    for key in styles:
        if key not in _STYLES:
            raise InputError("unknown style", file=file, key=key, hint=nearest(key, _STYLES))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a key that is given twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(k for k in keys if keys.count(k) > 1)}' is given twice")
    return found


def _record(entry: dict[str, Any], name: str, styles: dict[str, object], file: Path) -> Record:
    for key in ("Energy", "Lattice", "Positions", "AtomTypes", "Forces", "NumAtoms"):
        if key not in entry:
            close = nearest(key, entry) if entry else ""
            hint = close if close.startswith("did you mean") else None
            raise InputError("missing key", file=file, key=f"{name}.{key}", hint=hint)
    positions = _numbers(entry, "Positions", (None, 3), name, file)
    n = len(positions)
    count = entry["NumAtoms"]
    if isinstance(count, bool) or not isinstance(count, int | float) or count != n:
        raise InputError(
            "wrong count",
            file=file,
            key=f"{name}.NumAtoms",
            found=count,
            expected=f"{n}, the rows of Positions",
        )
    species = entry["AtomTypes"]
    if not isinstance(species, list) or not all(isinstance(s, str) for s in species):
        raise InputError(
            "not a list of chemical symbols",
            file=file,
            key=f"{name}.AtomTypes",
            found=_first_wrong(species, str),
        )
    if len(species) != n:
        raise InputError(
            "wrong count",
            file=file,
            key=f"{name}.AtomTypes",
            found=f"{len(species)} symbols",
            expected=f"{n}, as NumAtoms says",
        )
    own = {key: value for key, value in entry.items() if key.lower().endswith("style")}
    _check_styles(own, file)
    styles = {**styles, **own}
    if styles.get("AtomTypeStyle", "chemicalsymbol") != "chemicalsymbol":
        raise InputError(
            "unknown style",
            file=file,
            key="Dataset.AtomTypeStyle",
            found=styles["AtomTypeStyle"],
            expected="chemicalsymbol",
        )
    stress = None
    if entry.get("Stress") is not None:
        stress = _numbers(entry, "Stress", (3, 3), name, file)
        if np.abs(stress - stress.T).max() > ASYMMETRY * np.abs(stress).max():
            raise InputError(
                "the stress is not symmetric", file=file, key=f"{name}.Stress", found=stress.tolist()
            )
    return Record(
        name=name,
        styles=styles,
        energy=float(_numbers(entry, "Energy", (), name, file)),
        cell=_numbers(entry, "Lattice", (3, 3), name, file),
        positions=positions,
        forces=_numbers(entry, "Forces", (n, 3), name, file),
        stress=stress,
        species=tuple(species),
    )


def _numbers(entry: dict[str, Any], key: str, shape: tuple[int | None, ...], name: str, file: Path) -> Array:
    where = f"{name}.{key}"
    expected = (
        "shape (" + ", ".join("N" if n is None else str(n) for n in shape) + ")" if shape else "a number"
    )
    try:
        array = np.asarray(entry[key])
    except ValueError:
        raise InputError("rows of different length", file=file, key=where, expected=expected) from None
    if array.dtype.kind not in "iuf":
        wrong = _first_wrong(entry[key], (int, float))
        raise InputError("not a number", file=file, key=where, found=wrong, expected=expected)
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        raise InputError("wrong count", file=file, key=where, found=f"shape {array.shape}", expected=expected)
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        at = where + "".join(f"[{i}]" for i in first)
        raise InputError("not a finite number", file=file, key=at, found=str(array[first]))
    return array.astype(np.float64)


def _first_wrong(value: object, kind: type | tuple[type, ...]) -> object:
    """First leaf of nested lists that is not of a kind, for the error message."""
    if isinstance(value, list):
        for item in value:
            wrong = _first_wrong(item, kind)
            if wrong is not None:
                return wrong
        return None
    good = isinstance(value, kind) and not isinstance(value, bool)
    return None if good else json.dumps(value)
