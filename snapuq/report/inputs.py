"""Everything that a report shows, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snapuq.core.pointwise import PointwiseTable
from snapuq.core.result import PropertyResult, PropertySummary
from snapuq.results.influence import LinearisedQuantity, Share


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Everything that the report shows.

    Parameters
    ----------
    name : str
        Name of the run.
    versions : Mapping
        Package to version.
    config_text : str
        The resolved configuration, YAML.
    diagnostics : Mapping
        Of the fit: plain nested data; its ``warnings`` join those at the top.
    n_members : int
        Members of the ensemble.
    potential : str
        One phrase, for example ``quadratic SNAP for W, twojmax 6``.
    potential_stem : str
        File name of the exported potential without its ending.
    pointwise : PointwiseTable or None
        Predictions at fixed positions.
    pointwise_source : str
        Which configurations these are.
    is_unseen : bool
        Whether the fit has not seen them, so that what was expected of unseen data can be compared.
    summaries : sequence of PropertySummary
        One per quantity.
    results : sequence of PropertyResult
        One per property and member; their failures are named.
    linearised : sequence of LinearisedQuantity
        Error bars to first order.
    shares : sequence of Share
        What sets them.
    warnings : sequence of str
        Shown at the top.
    unstable : sequence of str
        Crystals in which the MLE was found to be elastically unstable when the members were drawn.
    timings : Mapping or None
        Step to seconds.
    """

    name: str
    versions: Mapping[str, str]
    config_text: str
    diagnostics: Mapping[str, Any]
    n_members: int
    potential: str = "SNAP potential"
    potential_stem: str = "potential"
    pointwise: PointwiseTable | None = None
    pointwise_source: str = "held-out test configurations"
    is_unseen: bool = True
    summaries: Sequence[PropertySummary] = ()
    results: Sequence[PropertyResult] = ()
    linearised: Sequence[LinearisedQuantity] = ()
    shares: Sequence[Share] = ()
    warnings: Sequence[str] = ()
    unstable: Sequence[str] = ()
    timings: Mapping[str, float] | None = field(default=None)
