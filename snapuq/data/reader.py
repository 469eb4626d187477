"""The registry of dataset readers, and the choice of one by what a path holds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

from snapuq.core.dataset import Dataset
from snapuq.data.checks import check_energies
from snapuq.data.files import GLOB_CHARACTERS, is_labelled, walk
from snapuq.errors import InputError, nearest
from snapuq.registry import Registry

#: A reader takes a path, and options of its own as keywords.
Reader = Callable[..., Dataset]

READERS: Registry[Reader] = Registry("reader")

# A FitSNAP JSON file says "Dataset" at its start or, with the data first, within the file.
_FITSNAP_MARK = b'"Dataset"'


def read_dataset(
    path: str | Path,
    *,
    reader: str = "auto",
    elements: Sequence[str] | None = None,
    **options: object,
) -> Dataset:
    """Read a data set with the reader that suits its path.

    Parameters
    ----------
    path : str or Path
        A folder whose sub-folders hold ``.json`` files (`fitsnap_json`), a FitSNAP input ``.in``
        (`fitsnap_input`), or a file, folder or glob pattern that ASE reads (`ase`).
    reader : str
        Name of the reader; ``auto`` chooses it by the path.
    elements : sequence of str or None
        Elements of the potential; an atom of another element is refused.
    **options : object
        Options of the reader, for example ``data_path`` of `fitsnap_input`.

    Returns
    -------
    Dataset
        Configurations in a fixed order.

    Raises
    ------
    InputError
        When the path does not exist or its content is not valid.
    """
    where = Path(path)
    is_pattern = any(c in str(path) for c in GLOB_CHARACTERS)
    if not where.exists() and not is_pattern:
        raise InputError("no such file or folder", file=path, hint="relative paths are relative to the input")
    name = _choose(where) if reader == "auto" else reader
    read = READERS[name]
    known = [p for p in inspect.signature(read).parameters if p != "path"]
    for option in options:
        if option not in known:
            hint = nearest(option, known) if known else "it has none"
            raise InputError(f"unknown option of reader '{name}'", file=path, key=option, hint=hint)
    dataset = read(where, **options)
    check_energies(dataset)
    if elements is not None:
        _check_elements(dataset, elements)
    return dataset


def _choose(path: Path) -> str:
    if path.is_dir():
        return _choose_for_folder(path)
    if path.suffix == ".in":
        return "fitsnap_input"
    if path.suffix == ".json" and _FITSNAP_MARK in path.read_bytes():
        return "fitsnap_json"
    return "ase"


def _choose_for_folder(path: Path) -> str:
    files = [p for _, files, _ in walk(path, Path.is_file) for p in files]
    if not files:
        raise InputError("the folder holds no file", file=path, hint="unpack the data set there first")
    found = [p for p in files if p.suffix == ".json"]
    # Other programs write .json files too; one that names a Dataset settles it.
    if any(_FITSNAP_MARK in p.read_bytes() for p in found):
        return "fitsnap_json"
    return "fitsnap_json" if found and not any(map(is_labelled, files)) else "ase"


def _check_elements(dataset: Dataset, elements: Sequence[str]) -> None:
    for configuration in dataset.configurations:
        for symbol in configuration.structure.species:
            if symbol not in elements:
                raise InputError(
                    f"element {symbol} is not one of the potential's",
                    file=dataset.source,
                    key=configuration.identifier,
                    expected=" or ".join(elements),
                )
