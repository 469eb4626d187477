"""A campaign file as plain data that remembers the file and line of every key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snapuq.config.nodes import parse
from snapuq.config.problems import Key, Origin, dotted
from snapuq.errors import InputError

MAX_BYTES = 1_000_000


class Document:
    """Plain data (dicts, tuples, scalars) and the origin of every key in it.

    Parameters
    ----------
    data : dict
        The content.
    origins : dict
        Key to origin; the empty key is the file itself.
    """

    def __init__(self, data: dict[str, Any], origins: dict[Key, Origin]) -> None:
        self.data = data
        self.origins = origins

    def origin(self, key: Key) -> Origin:
        """Find the origin of a key, or of the nearest section that was written.

        Parameters
        ----------
        key : tuple of str and int
            The key.

        Returns
        -------
        Origin
            Its origin.
        """
        while key not in self.origins:
            key = key[:-1]
        return self.origins[key]

    def get(self, key: Key) -> Any:
        """Look a value up.

        Parameters
        ----------
        key : tuple of str and int
            The key.

        Returns
        -------
        object
            The value; None when there is none.
        """
        value: Any = self.data
        for part in key:
            inside = isinstance(value, dict) if isinstance(part, str) else isinstance(value, tuple)
            if not inside or (isinstance(part, str) and part not in value):
                return None
            value = value[part]
        return value

    def put(self, key: Key, value: Any, origins: dict[Key, Origin]) -> None:
        """Replace the value at a key that can exist, creating missing sections.

        Parameters
        ----------
        key : tuple of str and int
            The key.
        value : object
            Plain data.
        origins : dict
            Origins of the value's keys, relative to it.
        """
        self.data = _replaced(self.data, key, value)
        for old in [k for k in self.origins if k[: len(key)] == key]:
            del self.origins[old]
        for cut in range(1, len(key)):
            self.origins.setdefault(key[:cut], origins[()])
        self.origins.update({key + inner: origin for inner, origin in origins.items()})


def read_document(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Document
        Its content.

    Raises
    ------
    InputError
        When it is missing, is no text, no YAML or no mapping, or holds a key twice or a tag.
    """
    if path.is_dir():
        raise InputError("is a folder", file=path, expected="a YAML campaign file")
    try:
        raw = path.read_bytes()
    except OSError as error:
        hint = "write one with 'snapuq template > campaign.yaml'" if not path.exists() else None
        raise InputError(f"cannot be read: {error.strerror}", file=path, hint=hint) from None
    except ValueError as error:
        raise InputError(f"cannot be read: {error}", file=repr(str(path))) from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"has {len(raw)} bytes", file=path, expected="a campaign file below 1 MB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError("is not UTF-8 text", file=path, line=line, expected="UTF-8") from None
    data, origins = parse(text, Origin(str(path), 1, path.absolute().parent))
    if data is None:
        raise InputError("is empty", file=path, hint="start from 'snapuq template'")
    if not isinstance(data, dict):
        raise InputError(
            "is not a campaign file", file=path, line=1, found=data, expected="'key: value' lines"
        )
    return Document(data, origins)


def apply_overrides(document: Document, overrides: Sequence[str], folder: Path) -> None:
    """Apply ``key=value`` overrides in order.

    Parameters
    ----------
    document : Document
        Changed in place.
    overrides : sequence of str
        Dotted key, ``=``, a YAML value.
    folder : Path
        Folder that relative paths in the values start from.

    Raises
    ------
    InputError
        Naming the override, when its key or value cannot be read.
    """
    for text in overrides:
        origin = Origin(f"--set {text}", None, folder)
        name, equals, value_text = text.partition("=")
        parts = name.strip().split(".")
        if not equals or not all(parts):
            raise origin.error("is not an override", expected="key=value, for example ensemble.members=50")
        key = _resolve(document, parts, origin)
        value, origins = parse(value_text, origin)
        document.put(key, value, origins)


def _resolve(document: Document, parts: list[str], origin: Origin) -> Key:
    """Turn the words of an override into a key, list positions into integers."""
    key: Key = ()
    value: Any = document.data
    for part in parts:
        if isinstance(value, tuple):
            if not part.isdecimal() or int(part) >= len(value):
                expected = f"a list position from 0 to {len(value) - 1}"
                raise origin.error("no such list item", key=dotted(key), found=part, expected=expected)
            value = value[int(part)]
            key = (*key, int(part))
            continue
        if value is not None and not isinstance(value, dict):
            raise origin.error(
                "is not a section", key=dotted(key), found=value, hint="set the whole value instead"
            )
        value = (value or {}).get(part)
        key = (*key, part)
    return key


def _replaced(data: Any, key: Key, value: Any) -> Any:
    if not key:
        return value
    head, rest = key[0], key[1:]
    if isinstance(head, int):
        return (*data[:head], _replaced(data[head], rest, value), *data[head + 1 :])
    section = data or {}
    return {**section, head: _replaced(section.get(head), rest, value)}
