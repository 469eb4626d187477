"""YAML text as plain data, with the line of every key; no tag is ever executed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from snapuq.config.problems import Key, Origin, dotted
from snapuq.errors import InputError

#: Aliases can multiply a small file without bound.
MAX_NODES = 100_000
_TAG = "tag:yaml.org,2002:"


def parse(text: str, where: Origin) -> tuple[Any, dict[Key, Origin]]:
    """Parse one YAML document.

    Parameters
    ----------
    text : str
        The text.
    where : Origin
        Where it stands; the line numbers of a file are counted from its line.

    Returns
    -------
    data : object
        Dicts, tuples, strings, numbers, booleans and None.
    origins : dict
        Origin of every key; the empty key is `where`.

    Raises
    ------
    InputError
        When it cannot be parsed.
    """
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        if root is None:
            return None, {(): where}
        reader = _NodeReader(where)
        return reader.read(root, ()), reader.origins
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _at(where, mark.line + 1 if mark else 1).error(*_yaml_problem(error)) from None
    except YAMLError as error:
        position = getattr(error, "position", 0)
        line = text[:position].count("\n") + 1 if isinstance(position, int) else 1
        first = str(error).splitlines()[0] if str(error) else "cannot be read"
        raise _at(where, line).error(f"is not valid YAML: {first}") from None
    except RecursionError:
        raise where.error("is nested too deeply") from None


def _yaml_problem(error: MarkedYAMLError) -> tuple[str]:
    problem = str(error.problem or error.context or "cannot be read")
    if "'\\t'" in problem:
        return ("a tab character cannot indent YAML; use spaces",)
    if problem.startswith("but ") and error.context:
        problem = f"{error.context}, {problem}"
    return (f"is not valid YAML: {problem}",)


def _at(where: Origin, line: int) -> Origin:
    return where if where.line is None else Origin(where.file, line, where.folder)


class _NodeReader:
    """Turn YAML nodes into plain data; no tag is ever executed."""

    def __init__(self, where: Origin) -> None:
        self.where = where
        self.origins: dict[Key, Origin] = {(): where}
        self._open: list[Node] = []
        self._count = 0

    def read(self, node: Node, key: Key) -> Any:
        """Read a node that stands at `key`."""
        self._count_up(node, key)
        if node in self._open:
            raise self._error(node, key, "an alias refers to a section that holds it")
        self._open.append(node)
        try:
            if isinstance(node, MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node, key)
            if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
                return tuple(self._item(value, (*key, i)) for i, value in enumerate(node.value))
            if isinstance(node, ScalarNode):
                return self._scalar(node, key)
        finally:
            self._open.pop()
        raise self._error(node, key, f"the tag '{node.tag}' is not allowed", expected="plain YAML")

    def _count_up(self, node: Node, key: Key) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise self._error(node, key, f"holds more than {MAX_NODES} values")

    def _error(self, node: Node, key: Key, problem: str, **details: Any) -> InputError:
        return _at(self.where, node.start_mark.line + 1).error(problem, key=dotted(key) or None, **details)

    def _item(self, node: Node, key: Key) -> Any:
        self.origins[key] = _at(self.where, node.start_mark.line + 1)
        return self.read(node, key)

    def _mapping(self, node: MappingNode, key: Key) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if name_node.tag == _TAG + "merge":
                for source in self._merge_sources(value_node, key):
                    self._count_up(node, key)
                    for name, value in self._mapping(source, key).items():
                        merged.setdefault(name, value)
        for name_node, value_node in node.value:
            if name_node.tag == _TAG + "merge":
                continue
            if not isinstance(name_node, ScalarNode):
                raise self._error(name_node, key, "a key must be a word", expected="key: value")
            name = self._text(name_node, key)
            if name in own:
                raise self._error(name_node, (*key, name), "the key is given twice")
            inner = (*key, name)
            if name in merged:
                for old in [k for k in self.origins if k[: len(inner)] == inner]:
                    del self.origins[old]
            self.origins[inner] = _at(self.where, name_node.start_mark.line + 1)
            own[name] = self.read(value_node, inner)
        return {**merged, **own}

    def _merge_sources(self, node: Node, key: Key) -> Iterator[MappingNode]:
        sources = node.value if isinstance(node, SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, MappingNode) or source in self._open:
                raise self._error(node, key, "'<<' must refer to another section")
            yield source

    def _text(self, node: ScalarNode, key: Key) -> str:
        text = str(node.value)
        if any((ord(c) < 32 and c not in "\t\n") or 0xD800 <= ord(c) < 0xE000 for c in text):
            raise self._error(node, key, "holds a control character", found=ascii(text))
        return text

    def _scalar(self, node: ScalarNode, key: Key) -> Any:
        text = self._text(node, key)
        kind = str(node.tag).removeprefix(_TAG)
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                digits = text.replace("_", "").lower()
                return int(digits, 0 if digits.lstrip("+-")[:2] in ("0x", "0o", "0b") else 10)
            if kind == "float":
                return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
        except (ValueError, KeyError):
            raise self._error(node, key, f"is no {kind}", found=text) from None
        if kind in ("str", "timestamp", "value"):
            return text
        raise self._error(node, key, f"the tag '{node.tag}' is not allowed", expected="plain YAML")
