"""One unit of work of a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
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
        Plain data from which the property's ``Params`` is built; structures and tolerances among them.
    member : int
        -1 the reference potential, 0 the MLE, 1 to M the members.
    potential_digest : str
        Digest of the potential: settings, reference pair style and the bytes of the coefficients.
    seed : int
        Seed of this task.
    version : int
        Version of the property's definition.
    propagation : str
        How it is computed: ``brute``, or one of the ways that start from the MLE.
    engine : Mapping
        What else decides the numbers: version and options of LAMMPS, ranks of one task, tolerances; of
        members that start from the MLE, ``mle`` with what differs in its task.
    """

    property: str
    label: str
    parameters: Mapping[str, Any]
    member: int
    potential_digest: str
    seed: int
    version: int
    propagation: str
    engine: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        return digest(self.to_plain())

    def to_plain(self) -> dict[str, Any]:
        """Turn into plain data.

        Returns
        -------
        dict
            From which ``PropertyTask(**data)`` is the same task.
        """
        # Not asdict, which copies in depth: rank 0 does this for every task of every rank.
        return {f.name: getattr(self, f.name) for f in fields(self)}
