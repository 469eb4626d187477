"""Results of tasks and their summary over an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Quantity:
    """A number with its unit.

    Parameters
    ----------
    value : float
        The number.
    unit : str
        Its unit; empty when it has none.
    """

    value: float
    unit: str


@dataclass(frozen=True)
class PropertyResult:
    """Outcome of one `PropertyTask`; a failure is an outcome too.

    Parameters
    ----------
    key : str
        Key of the task.
    label : str
        Label of the property within the campaign.
    member : int
        -1 the reference potential, 0 the MLE, 1 to M the members.
    values : Mapping
        Quantity name to value and unit; empty when it failed.
    converged : bool
        Whether every relaxation reached its tolerance.
    reconfigured : bool
        Whether atoms left the configuration that was asked about.
    failure : str
        Reason of the failure; empty when there was none.
    seconds : float
        Wall time; never part of a summary.
    detail : str
        One line for people on the failure, or on what the final state is.
    attempt : int
        1, or 2 for a task that was run again with twice the time limit.
    fmax : float or None
        Tolerance of its relaxations on the length of a force, eV/A.
    evaluations : int
        Force evaluations that it takes by itself, whatever is shared with other tasks; 0 for a failure.
    propagation : str
        Ways by which it was computed, joined by ``+``: ``brute``, ``batched``, ``newton``, ``implicit``.
    fallbacks : int
        Relaxations and saddles that were to start from the MLE's, and were computed by brute force.
    decrement : float
        Largest energy, eV, by which an implicit relaxation was predicted to lower that of the MLE's state:
        the
        error of an implicit value grows with it.
    """

    key: str
    label: str
    member: int
    values: Mapping[str, Quantity]
    converged: bool = True
    reconfigured: bool = False
    failure: str = ""
    seconds: float = field(default=0.0, compare=False)
    detail: str = field(default="", compare=False)
    attempt: int = field(default=1, compare=False)
    fmax: float | None = None
    evaluations: int = field(default=0, compare=False)
    propagation: str = field(default="brute", compare=False)
    fallbacks: int = field(default=0, compare=False)
    decrement: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class PropertySummary:
    """One quantity over the ensemble.

    Parameters
    ----------
    label, quantity, unit : str
        Which quantity.
    mle : float or None
        Value for the MLE; None when it failed.
    mean, std, minimum, maximum : float or None
        Over the members that gave a value, flagged ones included: leaving them out would narrow the
        envelope in silence.
    quantiles : Mapping
        Probability to value.
    reference : float or None
        True value, if known.
    n_members, n_failed, n_unconverged, n_reconfigured : int
        Counts over the members: all, those without a value, and those with a value that is flagged.
    failures : Mapping
        Reason (`snapuq.core.reasons`) to the members that failed for it or are flagged with it.
    sound_minimum, sound_maximum, sound_std : float or None
        Over the members that gave a value without a flag.
    narrowing : float or None
        Share of the width that the members without a value are expected to cost if they are like the
        others; see `snapuq.results.failures.narrowing`.
    propagation_error : float or None
        Mean of the estimated errors of values that were not relaxed; None where all values are exact.
    """

    label: str
    quantity: str
    unit: str
    mle: float | None
    mean: float | None
    std: float | None
    minimum: float | None
    maximum: float | None
    quantiles: Mapping[float, float]
    reference: float | None
    n_members: int
    n_failed: int
    n_unconverged: int
    n_reconfigured: int
    failures: Mapping[str, tuple[int, ...]]
    sound_minimum: float | None = None
    sound_maximum: float | None = None
    sound_std: float | None = None
    narrowing: float | None = None
    propagation_error: float | None = None

    @property
    def n_unsound(self) -> int:
        """Members that failed or are flagged; one flagged twice counts once."""
        return len(set().union(*self.failures.values()))

    @property
    def inside(self) -> bool | None:
        """Whether the envelope [minimum, maximum] holds the reference; None when it cannot be told."""
        if self.reference is None or self.minimum is None or self.maximum is None:
            return None
        return self.minimum <= self.reference <= self.maximum
