"""One unit of work of a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from snapuq.provenance import digest

#: `member` of the potential that plays the truth; 0 is the MLE, 1 to M the members.
REFERENCE_MEMBER = -1


@dataclass(frozen=True)
class PropertyTask:
    """A property of one potential; plain data, so that it can be sent, hashed and stored.

    Parameters
    ----------
    property : str
        Registered name of the property.
    label : str
        Unique label within the campaign, for example ``surface-bcc-100``.
    parameters : Mapping
        Plain data from which the property's ``Params`` is built.
    member : int
        -1 the reference potential, 0 the MLE, 1 to M the members.
    potential_digest : str
        Digest of the potential.
    seed : int
        Seed of this task.
    """

    property: str
    label: str
    parameters: Mapping[str, Any]
    member: int
    potential_digest: str
    seed: int

    @cached_property
    def key(self) -> str:
        """Hash that identifies the work: property, parameters, potential and seed."""
        return digest(
            self.property, self.label, dict(self.parameters), self.member, self.potential_digest, self.seed
        )
