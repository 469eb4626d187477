"""The tasks of a campaign: every property for every potential."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snapuq.core.task import REFERENCE_MEMBER, PropertyTask
from snapuq.errors import InputError
from snapuq.properties import PROPERTIES, bind
from snapuq.seeds import derive_seed

#: End of the label of a task that checks another.
CHECK = "-check"


@dataclass(frozen=True)
class PropertySpec:
    """A property that was asked for.

    Parameters
    ----------
    name : str
        Registered name.
    params : Params
        Its parameters.
    propagation : str
        How members are computed.
    """

    name: str
    params: Any
    propagation: str = "brute"


@dataclass(frozen=True)
class PlannedProperty:
    """One task of a property, before it is given to the potentials.

    Parameters
    ----------
    name : str
        Registered name.
    label : str
        Unique label within the campaign.
    params : Params
        Parameters, elements filled in.
    propagation : str
        How members are computed.
    """

    name: str
    label: str
    params: Any
    propagation: str


def expand(specs: Sequence[PropertySpec], elements: Sequence[str]) -> tuple[PlannedProperty, ...]:
    """Split properties into independent parts and fill in the elements.

    Parameters
    ----------
    specs : sequence of PropertySpec
        What was asked for.
    elements : sequence of str
        Elements of the potential.

    Returns
    -------
    tuple of PlannedProperty
        In the order asked for.

    Raises
    ------
    InputError
        When two parts have the same label, or an element cannot be told.
    """
    parts = []
    for spec in specs:
        cls = PROPERTIES[spec.name]
        parts += [
            PlannedProperty(spec.name, cls.label(p), bind(p, elements), spec.propagation)
            for p in cls.expand(spec.params)
        ]
    labels = [p.label for p in parts]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise InputError(f"the campaign has '{twice[0]}' twice", hint="leave one of them out")
    return tuple(parts)


def checked(tasks: Sequence[PropertyTask], n_members: int) -> tuple[PropertyTask, ...]:
    """Tasks that tell how far implicit values are from relaxed ones.

    Parameters
    ----------
    tasks : sequence of PropertyTask
        Of the campaign.
    n_members : int
        The first so many members are relaxed.

    Returns
    -------
    tuple of PropertyTask
        The same properties of these members, by Newton's method from the same record; none where nothing is
        implicit.
    """
    return tuple(
        dataclasses.replace(task, label=f"{task.label}{CHECK}", propagation="newton")
        for task in tasks
        if task.propagation == "implicit" and 0 < task.member <= n_members
    )


def planned_outputs(parts: Sequence[PlannedProperty]) -> dict[tuple[str, str], str]:
    """Quantities that a campaign gives.

    Parameters
    ----------
    parts : sequence of PlannedProperty
        What `expand` gave.

    Returns
    -------
    dict
        (property label, quantity) to unit.
    """
    found = {}
    for part in parts:
        for name, unit in PROPERTIES[part.name].outputs(part.params).items():
            found[part.label, name] = unit
    return found


def plan(
    parts: Sequence[PlannedProperty],
    potentials: Mapping[int, str],
    seed: int,
    *,
    engine: Mapping[str, Any],
) -> tuple[PropertyTask, ...]:
    """Give every property to every potential.

    Parameters
    ----------
    parts : sequence of PlannedProperty
        What `expand` gave.
    potentials : Mapping
        Member (-1 the reference potential, 0 the MLE, 1 to M) to digest of the potential.
    seed : int
        The campaign's seed.
    engine : Mapping
        What else decides the numbers, as in `PropertyTask`.

    Returns
    -------
    tuple of PropertyTask
        Property by property, members in order.
    """
    tasks = []
    for part in parts:
        parameters = dataclasses.asdict(part.params)
        mle = {
            "label": part.label,
            "propagation": part.propagation,
            "potential": potentials.get(0),
            "seed": derive_seed(seed, part.label, 0),
        }
        for member in sorted(potentials):
            starts_from_mle = part.propagation != "brute" and member > 0
            tasks.append(
                PropertyTask(
                    part.name,
                    part.label,
                    parameters,
                    member,
                    potentials[member],
                    derive_seed(seed, part.label, member),
                    PROPERTIES[part.name].version,
                    "brute" if member == REFERENCE_MEMBER else part.propagation,
                    {**engine, "mle": mle} if starts_from_mle else engine,
                )
            )
    return tuple(tasks)
