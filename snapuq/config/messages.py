"""Validation errors in the user's terms: file, line, key, found, expected, nearest key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from snapuq.config.document import Document
from snapuq.config.problems import Key, dotted
from snapuq.errors import InputError, nearest

#: What a wrong type should have been, by pydantic's error type.
_EXPECTED = {
    "model_type": "a section (key: value lines)",
    "dict_type": "a section (key: value lines)",
    "tuple_type": "a list",
    "string_type": "text",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false (or 1 or 0)",
    "is_instance_of": "a path",
    "finite_number": "a finite number",
}
_EXPECTED_BY_KEY = {
    "dataset.test": "'given', or a section with one of fraction, groups and path",
    "fit.calibrate": "false, or a section with violation and folds",
    "reference.potential": "the word 'dataset', or a section with pair_style and pair_coeff",
    "name": "letters, digits, '_', '-' and '.', not starting with '-' or '.'",
}
# Our own kind of error, beside pydantic's.
_FLAT = "flat_list"
#: Pydantic's name, comparison sign, key of the limit in the error's context.
_LIMITS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}


def from_validation(
    error: ValidationError, model: type[BaseModel], document: Document, prefix: Key = ()
) -> list[InputError]:
    """Translate every error of a validation.

    Parameters
    ----------
    error : ValidationError
        What pydantic raised.
    model : type
        Model that was validated, which stands at `prefix`.
    document : Document
        Where the values were written.
    prefix : tuple of str and int
        Key of the model.

    Returns
    -------
    list of InputError
        One for each.
    """
    details = error.errors(include_url=False)
    # A list counts as too short when its items are wrong; the items' own errors say it better.
    telling = [d for d in details if d["type"] != "too_short" or not d["input"]]
    telling = _flat_lists_once(telling, document, prefix)
    misspelt = {
        (d["loc"][:-1], nearest(str(d["loc"][-1]), _fields_at(model, d["loc"][:-1])))
        for d in telling
        if d["type"] == "extra_forbidden"
    }
    # A required key that is there under a misspelt name is one mistake, not two.
    telling = [
        d
        for d in telling
        if d["type"] != "missing" or (d["loc"][:-1], f"did you mean '{d['loc'][-1]}'?") not in misspelt
    ]
    return [_translate(detail, model, document, prefix) for detail in telling]


def from_value_error(error: ValueError, model: type[BaseModel], document: Document, key: Key) -> InputError:
    """Locate a ``ValueError`` whose text starts with the name of a field.

    Parameters
    ----------
    error : ValueError
        For example ``rmin0: expected a length from 0 to the cutoff, got 9``.
    model : type
        Model whose field that is.
    document : Document
        Where the values were written.
    key : tuple of str and int
        Key of the model.

    Returns
    -------
    InputError
        Located at the field if it was written, at the section if not.
    """
    text = str(error)
    match = re.match(r"(\w+): (.*)", text, re.DOTALL)
    if match and match[1] in model.model_fields:
        key, text = (*key, match[1]), match[2]
    return document.origin(key).error(text, key=dotted(key) or None)


def _translate(detail: Any, model: type[BaseModel], document: Document, prefix: Key) -> InputError:
    loc = tuple(part for part in detail["loc"] if part != "[key]")
    key, kind, value = prefix + loc, detail["type"], detail["input"]
    context = detail.get("ctx", {})
    origin = document.origin(key)
    name = dotted(key)
    if kind == "extra_forbidden":
        return origin.error("unknown key", key=name, hint=nearest(str(loc[-1]), _fields_at(model, loc[:-1])))
    if kind == "missing":
        what = "list item" if isinstance(loc[-1], int) else "key"
        return origin.error(f"the {what} is missing", key=name)
    if kind == "value_error":
        inner = _model_at(model, loc) or model
        return from_value_error(context["error"], inner, document, key)
    expected = _EXPECTED_BY_KEY.get(name) or _EXPECTED.get(kind)
    hint = None
    problem = "wrong type" if kind.endswith("_type") else "impossible value"
    if kind in _LIMITS:
        sign, limit = _LIMITS[kind]
        expected = f"a number {sign} {context[limit]}"
        if name == "dataset.test.fraction" and limit == "gt":
            hint = "a test set is needed; a very small fraction holds out one configuration"
    elif kind == "too_long":
        expected = f"{context['max_length']} items"
        if loc[-2:-1] == ("miller",):
            expected = "three indices h, k, l of the conventional cell"
            hint = "leave out the i of h, k, i, l" if len(value) == 4 else None
    elif kind == _FLAT:
        problem, expected = "is one list", f"a list of lists, [{_shown(value)}]"
    elif kind == "literal_error":
        choices = re.findall(r"'([^']+)'", str(context["expected"]))
        expected = f"one of {', '.join(choices)}" if choices else str(context["expected"])
        hint = nearest(value, choices) if choices and isinstance(value, str) else None
        hint = hint if hint and hint.startswith("did") else None
    elif kind == "missing_argument" or (kind == "too_short" and not value):
        problem, expected = "is empty", expected or "at least one item"
    return origin.error(
        problem, key=name, found=_shown(value), expected=expected or _fallback(detail["msg"]), hint=hint
    )


def _flat_lists_once(details: list[Any], document: Document, prefix: Key) -> list[Any]:
    """Replace "not a list" of every item of a list by one problem of that list."""
    items: dict[Key, int] = {}
    for detail in details:
        if detail["type"] == "tuple_type" and isinstance(detail["loc"][-1], int):
            items[detail["loc"][:-1]] = items.get(detail["loc"][:-1], 0) + 1
    found: list[Any] = []
    for detail in details:
        parent = detail["loc"][:-1]
        value = document.get(prefix + parent)
        if items.get(parent) != (len(value) if isinstance(value, tuple) else 0):
            found.append(detail)
        elif detail["loc"][-1] == 0:
            found.append({"type": _FLAT, "loc": parent, "input": value, "msg": ""})
    return found


def _fallback(message: str) -> str:
    return re.sub(r"^(Input should be|Tuple should have|Dictionary should have) ?", "", message)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a section with {', '.join(map(str, value))}" if value else "an empty section"
    if isinstance(value, tuple):
        return "[" + ", ".join(_shown(v) for v in value) + "]"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str | Path) else str(value)


def _model_at(model: type[BaseModel], loc: Key) -> type[BaseModel] | None:
    """Model that describes the section at `loc`, or None."""
    annotation: Any = model
    for part in loc:
        holder = _inner_model(annotation)
        if holder is not None and part in holder.model_fields:
            annotation = holder.model_fields[str(part)].annotation
        else:
            inside = [a for a in get_args(annotation) if _inner_model(a)]
            annotation = inside[-1] if inside else None
    return _inner_model(annotation)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    options = [a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
    is_optional = type(None) in get_args(annotation)
    return options[0] if options and is_optional else None


def _fields_at(model: type[BaseModel], loc: Key) -> list[str]:
    found = _model_at(model, loc)
    return [] if found is None else list(found.model_fields)
