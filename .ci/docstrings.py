"""Fail on a public object of snapuq without a proper numpydoc docstring.

Imports the package, since `numpydoc lint` reads the source alone and knows neither dataclass fields nor
properties. The checks are those of `[tool.numpydoc_validation]` in pyproject.toml.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import pydoc
import sys
from collections.abc import Iterator
from enum import Enum
from functools import cached_property
from pathlib import Path

from numpydoc.hooks.validate_docstrings import parse_config
from numpydoc.validate import validate

import snapuq

MEMBERS = (classmethod, staticmethod, property, cached_property)


def public_names() -> Iterator[str]:
    """Dotted names of all public modules, classes, functions, methods and properties."""
    for info in pkgutil.walk_packages(snapuq.__path__, "snapuq."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        if not (module.__doc__ or "").strip():
            yield f"{info.name}.__doc__"
        for name, item in vars(module).items():
            if getattr(item, "__module__", None) != info.name or name.startswith("_"):
                continue
            if inspect.isfunction(item):
                yield f"{info.name}.{name}"
            elif inspect.isclass(item):
                yield from class_names(f"{info.name}.{name}", item)


def class_names(path: str, item: type) -> Iterator[str]:
    """The class itself, and what it defines, nested classes included."""
    yield path
    for name, member in vars(item).items():
        if name.startswith("_"):
            continue
        if inspect.isclass(member) and member.__module__ == item.__module__:
            yield from class_names(f"{path}.{name}", member)
        elif isinstance(member, property) and getattr(member.fget, "__name__", "") == "<lambda>":
            # numpydoc cannot find the source line of a lambda; its text is all there is to check.
            if not member.__doc__:
                yield f"{path}.{name}.__doc__"
        # Methods that pydantic adds to a model have its own module.
        elif isinstance(member, MEMBERS) or (
            inspect.isfunction(member) and member.__module__ == item.__module__
        ):
            yield f"{path}.{name}"


def is_signatureless(name: str) -> bool:
    """Whether it is a protocol or an enumeration, which nobody calls with parameters."""
    item = pydoc.locate(name)
    return inspect.isclass(item) and (issubclass(item, Enum) or getattr(item, "_is_protocol", False))


def main() -> int:
    """Print every fault; the exit status is 1 if there is one."""
    wanted = parse_config(str(Path(__file__).parents[1]))["checks"]
    names = sorted(public_names())
    signatureless = {name for name in names if is_signatureless(name)}
    faults = 0
    for name in names:
        if name.endswith("__doc__"):
            faults += 1
            print(f"{name}: GL08 The object does not have a docstring")
            continue
        result = validate(name)
        for code, text in result["errors"]:
            if code in wanted and not (code == "PR01" and name in signatureless):
                faults += 1
                print(f"{result['file']}:{result['file_line']}: {name}: {code} {text}")
    print(f"{len(names)} public objects, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
