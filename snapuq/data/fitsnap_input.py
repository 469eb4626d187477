"""FitSNAP input files, read through FitSNAP's own ``Config`` and JSON scraper."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snapuq.core.dataset import Configuration, Dataset, FitRecipe, RowWeights
from snapuq.data.checks import labelled
from snapuq.data.fitsnap_adapter import Fitsnap, SerialTools, adapted, is_data_file
from snapuq.data.fitsnap_json import KEYS, VOIGT, load_records
from snapuq.data.fitsnap_recipe import check_counts, recipe_of
from snapuq.data.fitsnap_text import InputText
from snapuq.data.reader import READERS
from snapuq.errors import InputError, nearest
from snapuq.units import BAR_PER_EV_A3

# FitSNAP 3.1.0.4 reads BOLTZ from [BISPECTRUM], which refuses it, and takes it for a group in [GROUPS].
_BOLTZ = "BOLTZ"


@READERS.register("fitsnap_input")
def read(path: Path, *, data_path: str | Path | None = None) -> Dataset:
    """Read a FitSNAP input file and the data it names.

    Groups, training and testing sizes, ``random_sampling``, ``smartweights``, ``BOLTZ``, energy shifts and
    unit styles are FitSNAP's own. The files of a group are taken in natural order before FitSNAP splits
    them (FitSNAP itself takes the operating system's order, which differs between machines), and
    ``random_sampling`` without ``random_seed``, which FitSNAP seeds afresh for each run, has a fixed seed.

    Configurations come in FitSNAP's order, first all for training, then all for testing, and in FitSNAP's
    frame: cells rotated to LAMMPS's lower-triangular form and atoms wrapped, so that rows compare
    with its ``Descriptors.npy``. Stresses are kept as FitSNAP fits them, all-zero ones included; without
    ``stress = 1`` there are none. FitSNAP's weights multiply rows, so they are squared here, and ``vweight``
    is converted from bar to eV/A^3.

    Parameters
    ----------
    path : Path
        The ``.in`` file.
    data_path : str or Path, optional
        Folder to read instead of the input's ``dataPath``.

    Returns
    -------
    Dataset
        With `is_test`, row weights and the fit's recipe.

    Raises
    ------
    InputError
        When the input or a data file is not valid, or asks for what is not supported here.
    EnvironmentProblem
        When FitSNAP is not installed.
    """
    text = InputText(path)
    tools = SerialTools()
    with adapted() as fitsnap:
        known = {c.__name__.upper() for c in fitsnap.section_class.__subclasses__()}
        text.check_sections(known | {"TEMPLATE", "BASIC_CALCULATOR"})
        _check_kinds(text)
        check_counts(text)
        config, folder = _configure(fitsnap, text, tools, data_path)
        recipe = recipe_of(config.sections, text)
        scraper = fitsnap.scraper_class("JSON", tools, config)
        files = _split(scraper, text, folder)
        found = [_configuration(fitsnap, scraper, f, is_test, folder, recipe) for f, is_test in files]
    for message in filter(_matters, tools.messages):
        warnings.warn(f"{path}: FitSNAP: {message}", UserWarning, stacklevel=2)
    return Dataset(tuple(found), str(path), tuple(is_test for _, is_test in files), recipe)


def _matters(message: str) -> bool:
    """Tell a warning from one about rounding: 0.7 and 0.3 of 125 files are 88 and 38."""
    sizes = re.search(r"WARNING: .* train size (\d+) \+ test size (\d+) > nfiles (\d+)", message)
    return sizes is not None and int(sizes[1]) + int(sizes[2]) > int(sizes[3]) + 1


def _check_kinds(text: InputText) -> None:
    for section, key, expected, hint in (
        ("SCRAPER", "scraper", "JSON", "read such data with the reader 'ase'"),
        ("CALCULATOR", "calculator", "LAMMPSSNAP", None),
    ):
        found = text.get(section, key, expected)
        if found.upper() != expected:
            raise text.error("not supported", section, key, found=found, expected=expected, hint=hint)


def _configure(
    fitsnap: Fitsnap, text: InputText, tools: SerialTools, data_path: str | Path | None
) -> tuple[Any, Path]:
    """Build FitSNAP's ``Config`` from checked text, with absolute paths."""
    base = text.path.resolve().parent
    folder = (base / text.get("PATH", "dataPath", "JSON")).resolve()
    if data_path is not None:
        folder = Path(data_path).resolve()
    sections = {name: dict(keys) for name, keys in text.sections.items()}
    sections["PATH"]["dataPath"] = str(folder)
    if text.get("PATH", "groupFile", "None") != "None":
        sections["PATH"]["groupFile"] = str(base / sections["PATH"]["groupFile"])
    boltz = [sections[name].pop(_BOLTZ, None) for name in ("BISPECTRUM", "GROUPS")]
    escaped = {n: {k: v.replace("%", "%%") for k, v in keys.items()} for n, keys in sections.items()}
    try:
        config = fitsnap.config_class(tools, escaped)
    except Exception as error:  # noqa: BLE001 - FitSNAP raises many kinds; all mean a bad input
        raise _config_error(fitsnap, text, error) from None
    _check_keys(text, config.sections)
    if not folder.is_dir():
        if data_path is not None:
            raise InputError("no such folder", file=text.path, key="data_path", found=str(folder))
        hint = "correct it, or name the data folder with the option data_path"
        raise text.error("no such folder", "PATH", "dataPath", found=str(folder), hint=hint)
    groups = text.check_groups([*config.sections["GROUPS"].allowedkeys, _BOLTZ], base)
    _check_folders(text, groups, folder)
    temperature = boltz[0] or boltz[1]
    if temperature is not None:
        config.sections["GROUPS"].boltz = _number(text, "BISPECTRUM" if boltz[0] else "GROUPS", _BOLTZ)
    seed = config.sections["GROUPS"].random_seed
    if not float(seed).is_integer():
        raise text.error("wrong type", "GROUPS", "random_seed", found=str(seed), expected="an integer")
    return config, folder


def _number(text: InputText, section: str, key: str) -> float:
    value = text.get(section, key)
    try:
        return float(value)
    except ValueError:
        raise text.error("wrong type", section, key, found=value, expected="a number") from None


def _config_error(fitsnap: Fitsnap, text: InputText, error: Exception) -> InputError:
    """Name the section and key that FitSNAP stumbled over."""
    sections = fitsnap.section_class.sections
    try:
        _check_keys(text, sections)
        if "GROUPS" in sections:
            base = text.path.resolve().parent
            text.check_groups([*sections["GROUPS"].allowedkeys, _BOLTZ], base)
    except InputError as clear:
        return clear
    last = list(sections)[-1] if sections else ""
    for key, value in text.sections.get(last, {}).items():
        # int(), float() and strtobool() quote the text that they could not convert.
        if repr(value) in str(error) or repr(value.lower()) in str(error):
            return text.error(f"FitSNAP refuses it ({error})", last, key, found=value)
    return text.error(f"FitSNAP refuses it ({type(error).__name__}: {error})", last)


def _check_keys(text: InputText, sections: Mapping[str, Any]) -> None:
    for name, section in sections.items():
        allowed = section.allowedkeys
        if name == "BISPECTRUM" and allowed:
            allowed = [*allowed, _BOLTZ]
        if name == "ESHIFT":
            allowed = list(getattr(section, "types", ()))
        if name != "GROUPS" and allowed:
            text.check_keys(name, allowed, prefix="pair_coeff" if name == "REFERENCE" else "")


def _check_folders(text: InputText, groups: list[str], folder: Path) -> None:
    for group in groups:
        where = folder / group
        if not where.is_dir():
            there = [p.name for p in folder.iterdir() if p.is_dir()]
            hint = nearest(group, there) if there else None
            raise text.error("no such group folder", "GROUPS", group, found=str(where), hint=hint)
        if not any(is_data_file(p.name) for p in where.iterdir()):
            raise text.error("empty group: its folder holds no .json file", "GROUPS", group, found=str(where))


def _split(scraper: Any, text: InputText, folder: Path) -> list[tuple[Path, bool]]:
    """List all files as FitSNAP splits them: training first, then testing."""
    try:
        scraper.scrape_groups()
    except Exception as error:  # noqa: BLE001 - FitSNAP raises many kinds; all mean a bad group table
        raise text.error(
            f"FitSNAP cannot split the groups ({type(error).__name__}: {error})", "GROUPS"
        ) from None
    chosen = [
        (Path(name), is_test)
        for table, is_test in ((scraper.files, False), (scraper.tests, True))
        for files in table.values()
        for name, _ in files
    ]
    if not chosen:
        raise text.error("no configuration is left to train or test on", "GROUPS", found=str(folder))
    return chosen


def _configuration(
    fitsnap: Fitsnap, scraper: Any, file: Path, is_test: bool, folder: Path, recipe: FitRecipe
) -> Configuration:
    record = _checked_record(fitsnap, scraper, file, folder, recipe)
    scraper.configs, scraper.test_bool = [str(file)], [int(is_test)]
    try:
        (data,) = scraper.scrape_configs()
    except Exception as error:  # noqa: BLE001 - FitSNAP's assertions; the file passed every check of ours
        text = " ".join(str(error).split())
        raise InputError(f"FitSNAP cannot read it ({type(error).__name__}: {text})", file=file) from None
    forces = data["Forces"]
    if not recipe.use_forces:  # then FitSNAP leaves them unconverted and in the old frame
        forces = np.asarray(forces) * scraper.conversions["Forces"] @ data["Rotation"].T
    stress = -data["Stress"][VOIGT] / BAR_PER_EV_A3 if recipe.use_stress else None
    rows = np.array([data.get(key, 1.0) for key in ("eweight", "fweight", "vweight")])
    with np.errstate(over="ignore"):
        weights = (rows * [1.0, 1.0, BAR_PER_EV_A3]) ** 2
    if not np.isfinite(weights).all():
        group = f"[GROUPS] {data['Group']}"
        raise InputError(
            "FitSNAP's weights, or their squares, are not finite", file=file, key=group, found=rows.tolist()
        )
    return labelled(
        file=file,
        record=record,
        identifier=file.relative_to(folder).as_posix(),
        group=str(data["Group"]),
        # FitSNAP's cell vectors are columns; what round-off leaves above the diagonal is dropped.
        cell=np.tril(data["Lattice"].T),
        positions=data["Positions"],
        species=data["AtomTypes"],
        energy=data["Energy"],
        forces=forces,
        stress=stress,
        weights=RowWeights(*weights.tolist()),
        keys=KEYS,
    )


def _checked_record(fitsnap: Fitsnap, scraper: Any, file: Path, folder: Path, recipe: FitRecipe) -> str:
    """Refuse what FitSNAP would stumble over or, worse, not notice; give the record's name."""
    records = load_records(file)
    if len(records) != 1:
        found = f"{len(records)} configurations"
        raise InputError("FitSNAP reads one", file=file, key="Dataset.Data", found=found)
    (record,) = records
    for symbol in dict.fromkeys(record.species):
        if symbol not in recipe.settings.elements:
            known = recipe.settings.elements
            raise InputError(
                f"element {symbol} is not in [BISPECTRUM] type",
                file=file,
                key=f"{record.name}.AtomTypes",
                hint=nearest(symbol, known),
            )
    if recipe.use_stress and record.stress is None:
        hint = "the input asks for stress = 1"
        raise InputError("missing key", file=file, key=f"{record.name}.Stress", hint=hint)
    if np.linalg.det(record.cell) <= 0:
        where = f"{record.name}.Lattice"
        raise InputError("singular or left-handed cell", file=file, key=where, found=record.cell.tolist())
    properties = scraper.config.sections["SCRAPER"].properties
    for key, style in record.styles.items():
        target = properties.get(re.sub("Style$", "", key))
        if target is None:
            continue
        try:
            fitsnap.convert([target[0], str(style), target[2]])
        except (AttributeError, KeyError, IndexError, TypeError):
            expected = f"one of FitSNAP's: {_units(fitsnap, target[0])}"
            where = f"Dataset.{key}"
            raise InputError("unknown unit", file=file, key=where, found=style, expected=expected) from None
    return record.name


def _units(fitsnap: Fitsnap, kind: str) -> str:
    module = fitsnap.unit_modules.get(kind)
    return ", ".join(sorted(n for n in vars(module) if not n.startswith("_"))) if module else "none"
