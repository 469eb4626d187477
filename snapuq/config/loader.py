"""From a campaign file and overrides to a checked configuration, and back."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from snapuq.config.document import Document, apply_overrides, read_document
from snapuq.config.messages import from_validation
from snapuq.config.problems import Key, Origin, Written, dotted, raise_all
from snapuq.config.requests import PROPERTIES_KEY, check_elements, read_requests
from snapuq.config.schema import CampaignConfig
from snapuq.data import READERS
from snapuq.data.files import GLOB_CHARACTERS
from snapuq.errors import InputError, suggest
from snapuq.provenance import digest

_OUTPUT: Key = ("output",)
# Text that needs no quotes inside brackets; the writer itself forgets some that do, such as '?0'.
_PLAIN = re.compile(r"[\w./+\-]+( [\w./+\-]+)*", re.ASCII)
_ROWS: Key = ("fit", "rows")
#: Sections that decide the members.
_SECTIONS = ("seed", "dataset", "potential", "fit", "ensemble")
#: Keys that hold a path to something that must exist.
_INPUT_PATHS: tuple[Key, ...] = (
    ("dataset", "path"),
    ("dataset", "data_path"),
    ("dataset", "test", "path"),
    ("dataset", "weights", "file"),
    ("reference", "values"),
)
#: Keys that hold ``pair_coeff`` lines, whose words may be files.
_PAIR_COEFFS: tuple[Key, ...] = (
    ("dataset", "generate", "label", "pair_coeff"),
    ("potential", "reference", "pair_coeff"),
    ("reference", "potential", "pair_coeff"),
)


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    output: str | Path | None = None,
    need_inputs: bool = True,
) -> CampaignConfig:
    """Read and check a campaign file.

    Parameters
    ----------
    path : str or Path
        The YAML file; relative paths in it start from its folder.
    overrides : sequence of str
        ``key=value``, the key dotted, the value in YAML; relative paths start from the current folder.
    output : str or Path, optional
        Output folder, before what the file says; by default ``runs/<name>`` in the current folder.
    need_inputs : bool
        Whether the data must exist.

    Returns
    -------
    CampaignConfig
        Resolved: every path absolute, every default filled in.

    Raises
    ------
    InputError
        Unreadable file, unknown key, wrong type, impossible value or missing input, one line for
        each, with file, line, key, what was found and expected, and the nearest valid key.
    """
    document = read_document(Path(path))
    here = Path.cwd()
    apply_overrides(document, overrides, here)
    if output is not None:
        document.put(_OUTPUT, str(output), {(): Origin(f"--output {output}", None, here)})
    if document.get(_OUTPUT) is None:
        folder = str(Path("runs") / str(document.get(("name",))))
        document.put(_OUTPUT, folder, {(): Origin(str(path), None, here)})
    problems: list[InputError] = []
    _resolve_paths(document, need_inputs, problems)
    _resolve_pair_files(document)
    _resolve_reference(document, problems)
    _check_reader(document, problems)
    # Taken before the entries of the properties become one value.
    written = Written(dict(document.origins))
    if isinstance(document.get(PROPERTIES_KEY), tuple):
        requests = read_requests(document, problems)
        document.put(PROPERTIES_KEY, requests, {(): document.origin(PROPERTIES_KEY)})
    try:
        config = CampaignConfig.model_validate(document.data)
    except ValidationError as error:
        known = {p.key for p in problems}
        problems.extend(p for p in from_validation(error, CampaignConfig, document) if p.key not in known)
    raise_all(problems)
    config._written = written
    if config.potential is not None:
        check_elements(config, tuple(config.potential.elements))
    return config


def dump_config(config: CampaignConfig) -> str:
    """Write a configuration as YAML that loads to the same configuration.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.

    Returns
    -------
    str
        The same text for equal configurations.
    """
    writer = YAML(typ="rt")
    writer.width = 10_000
    writer.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    writer.dump(_laid_out(config.plain()), stream)
    return stream.getvalue()


def run_identity(config: CampaignConfig) -> str:
    """Hash of what decides the members, wherever the files are.

    Name, output folder, properties, reference values and the number of members may change between calls;
    seed, data, potential, fit and the way of sampling may not. Files count by content; folders are covered
    by the digest of the data set.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.

    Returns
    -------
    str
        The sha256, in hexadecimal.
    """
    sections = _deciding(config.plain())
    for key in (k for k in _INPUT_PATHS if k[0] in sections):
        holder: Any = sections
        for part in key[:-1]:
            holder = holder.get(part) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and key[-1] in holder:
            holder[key[-1]] = _content(Path(holder[key[-1]]))
    # Sorted keys would hide the order of the elements, which is that of the columns.
    elements = [] if config.potential is None else list(config.potential.elements)
    return digest(_without_folders(sections), elements)


def run_differences(config: CampaignConfig, text: str) -> tuple[str, ...]:
    """Name the keys by which a configuration means another run than an earlier one.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    text : str
        What `dump_config` wrote of the earlier one.

    Returns
    -------
    tuple of str
        For example ``fit.posterior: block in the folder, pointwise in the file``; none where all keys are
        alike and files that they name differ.
    """
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError):
        data = None
    earlier, now = _flat(_deciding(data if isinstance(data, dict) else {})), _flat(_deciding(config.plain()))
    return tuple(
        f"{key}: {earlier.get(key, 'nothing')} in the folder, {now.get(key, 'nothing')} in the file"
        for key in dict.fromkeys([*now, *earlier])
        if earlier.get(key) != now.get(key)
    )


def _deciding(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a resolved configuration what does not decide the members."""
    sections: dict[str, Any] = {k: data[k] for k in _SECTIONS if k in data}
    # Members are drawn one after the other: more of them leave the first as they are. Where rows are cached
    # changes nothing.
    for name, key in (("ensemble", "members"), ("fit", "rows")):
        if isinstance(sections.get(name), dict):
            sections[name] = {k: v for k, v in sections[name].items() if k != key}
    return sections


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Dotted keys of nested mappings."""
    if not isinstance(value, dict):
        return {key: value}
    return {k: v for name, part in value.items() for k, v in _flat(part, f"{key}.{name}".lstrip(".")).items()}


def _without_folders(value: Any) -> Any:
    """Replace words that are absolute paths of files, as in pair_coeff, by their content."""
    if isinstance(value, dict):
        return {k: _without_folders(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_folders(v) for v in value]
    if isinstance(value, str) and "/" in value:
        return " ".join(_content(Path(w)) if w.startswith("/") else w for w in value.split())
    return value


def _laid_out(value: Any) -> Any:
    """Write lists of mappings as lines, all other lists in brackets, and quote unusual text."""
    if isinstance(value, dict):
        return {k: _laid_out(v) for k, v in value.items()}
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return DoubleQuotedScalarString(value)
    if not isinstance(value, list):
        return value
    items = CommentedSeq([_laid_out(v) for v in value])
    if not any(isinstance(v, dict) for v in value):
        items.fa.set_flow_style()
    return items


def _content(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"


def _resolve_paths(document: Document, need_inputs: bool, problems: list[InputError]) -> None:
    """Make paths absolute, each from the folder that it was written for."""
    for key in (_OUTPUT, _ROWS, *_INPUT_PATHS):
        value = document.get(key)
        if not isinstance(value, str) or not value:
            continue
        origin = document.origin(key)
        path = origin.folder / Path(value).expanduser()
        document.put(key, Path(*path.parts), {(): origin})
        is_pattern = key == ("dataset", "path") and any(c in value for c in GLOB_CHARACTERS)
        if need_inputs and key in _INPUT_PATHS and not is_pattern and not path.exists():
            problems.append(origin.error(f"no such file or folder: {path}", key=dotted(key)))


def _resolve_pair_files(document: Document) -> None:
    """Make potential files beside the campaign file absolute; all others are left for LAMMPS to find."""
    for key in _PAIR_COEFFS:
        lines = document.get(key)
        if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
            continue
        origin = document.origin(key)
        resolved = tuple(
            " ".join(str(f) if (f := origin.folder / w).is_file() else w for w in line.split())
            for line in lines
        )
        document.put(key, resolved, {(): origin})


def _resolve_reference(document: Document, problems: list[InputError]) -> None:
    """Replace the word ``dataset`` by the potential that labels the generated data."""
    key: Key = ("reference", "potential")
    if document.get(key) != "dataset":
        return
    label = document.get(("dataset", "generate", "label"))
    origin = document.origin(key)
    if isinstance(label, dict):
        document.put(key, label, {(): origin})
        return
    hint = "set dataset.generate.label, or give pair_style and pair_coeff"
    problems.append(origin.error("the data set is not labelled here", key=dotted(key), hint=hint))


def _check_reader(document: Document, problems: list[InputError]) -> None:
    key: Key = ("dataset", "reader")
    reader = document.get(key)
    if isinstance(reader, str) and reader != "auto" and reader not in READERS:
        hint = suggest(reader, ["auto", *READERS])
        problems.append(
            document.origin(key).error("unknown reader", key=dotted(key), found=reader, hint=hint)
        )
