"""Property entries of the campaign file, checked against each property's own ``Params``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any, get_args, get_type_hints

from pydantic import Field, ValidationError, create_model

from snapuq.config.base import Section
from snapuq.config.document import Document
from snapuq.config.messages import from_validation, from_value_error
from snapuq.config.problems import Key, dotted, raise_all
from snapuq.config.schema import CampaignConfig, Propagation, PropertyRequest
from snapuq.errors import InputError, suggest
from snapuq.properties import PROPERTIES, bind
from snapuq.properties.crystals import with_file

PROPERTIES_KEY: Key = ("campaign", "properties")


@cache
def params_model(params: type) -> type[Section]:
    """Strict model with the fields of a ``Params`` dataclass.

    Parameters
    ----------
    params : type
        A dataclass.

    Returns
    -------
    type
        A section with the same names, types and defaults.
    """
    hints = get_type_hints(params)
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(params):
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = Field(default_factory=field.default_factory)
        else:
            default = ...
        columns[field.name] = (hints[field.name], default)
    return create_model(params.__name__, __base__=Section, **columns)


def read_requests(document: Document, problems: list[InputError]) -> tuple[PropertyRequest, ...]:
    """Check and build the entries of ``campaign.properties``.

    Parameters
    ----------
    document : Document
        The campaign file.
    problems : list of InputError
        Problems found are added.

    Returns
    -------
    tuple of PropertyRequest
        The entries without problems.
    """
    entries = document.get(PROPERTIES_KEY)
    requests: list[PropertyRequest] = []
    labels: set[str] = set()
    for index, entry in enumerate(entries if isinstance(entries, tuple) else ()):
        key = (*PROPERTIES_KEY, index)
        request = _read_one(document, key, entry, problems)
        if request is None:
            continue
        requests.append(request)
        own = _labels(request)
        origin = document.origin(key)
        problems += [
            origin.error(f"{label} is asked for twice", key=dotted(key)) for label in sorted(labels & own)
        ]
        labels |= own
    return tuple(requests)


def check_elements(config: CampaignConfig, elements: Sequence[str]) -> None:
    """Check that the potential has the elements of every crystal.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    elements : sequence of str
        Elements of the potential.

    Raises
    ------
    InputError
        When one is missing or cannot be told; located at the crystal.
    """
    problems = []
    for index, request in enumerate(config.campaign.properties):
        name = "structure" if hasattr(request.params, "structure") else "structures"
        try:
            bind(request.params, elements)
        except InputError as error:
            problems.append(config.error(str(error), (*PROPERTIES_KEY, index, request.name, name)))
    raise_all(problems)


def _labels(request: PropertyRequest) -> set[str]:
    kind = PROPERTIES[request.name]
    return {kind.label(task) for task in kind.expand(request.params)}


def _read_one(document: Document, key: Key, entry: Any, problems: list[InputError]) -> PropertyRequest | None:
    if not isinstance(entry, dict) or len(entry) != 1:
        found = ", ".join(entry) if isinstance(entry, dict) else entry
        expected = "one 'name: {parameters}' per list item"
        problems.append(
            document.origin(key).error("is no property", key=dotted(key), found=found, expected=expected)
        )
        return None
    name, values = next(iter(entry.items()))
    key = (*key, name)
    if name not in PROPERTIES:
        hint = suggest(name, PROPERTIES)
        problems.append(document.origin(key).error("unknown property", key=dotted(key), hint=hint))
        return None
    params = PROPERTIES[name].Params
    model = params_model(params)
    propagation = None
    if isinstance(values, dict) and "propagation" in values:
        propagation = values["propagation"]
        values = {k: v for k, v in values.items() if k != "propagation"}
        if propagation not in get_args(Propagation):
            problems.append(
                document.origin((*key, "propagation")).error(
                    "unknown way",
                    key=dotted((*key, "propagation")),
                    found=propagation,
                    expected="one of " + ", ".join(get_args(Propagation)),
                )
            )
            return None
    try:
        checked = model.model_validate({} if values is None else _with_files(document, key, values))
        fields = {f.name: getattr(checked, f.name) for f in dataclasses.fields(params)}
        return PropertyRequest(name, params(**fields), propagation)
    except ValidationError as error:
        problems.extend(from_validation(error, model, document, key))
    except ValueError as error:
        problems.append(from_value_error(error, model, document, key))
    return None


def _with_files(document: Document, key: Key, values: Any) -> Any:
    """Replace structure files by what they hold, so that a run does not depend on them."""
    if not isinstance(values, dict):
        return values
    read: dict[str, Any] = {}
    for name in ("structure", "structures"):
        value, folder = values.get(name), document.origin((*key, name)).folder
        try:
            if isinstance(value, str):
                read[name] = with_file(value, folder)
            elif isinstance(value, tuple) and all(isinstance(v, str) for v in value):
                read[name] = tuple(with_file(v, folder) for v in value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return {**values, **read}
