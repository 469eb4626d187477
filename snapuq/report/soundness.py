"""Which crystals are elastically unstable, and which of them were meant to be stable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snapuq.core.result import PropertyResult
from snapuq.core.task import REFERENCE_MEMBER
from snapuq.properties.phase import ABOVE

#: Quantity that tells whether a crystal is elastically stable: positive.
STABILITY = "born_min_eigenvalue"
# What is computed in a crystal that is taken to be there.
_IN_A_HOST = ("vacancy", "divacancy", "interstitial", "surface", "gamma_line", "barrier")


@dataclass(frozen=True)
class TensorStability:
    """Elastic stability of one crystal in all potentials.

    Parameters
    ----------
    label : str
        Label of the elastic tensor, for example ``elastic-fcc``.
    mle, reference : float or None
        Smallest Born eigenvalue, GPa.
    n_unstable, n_members : int
        Members with an unstable tensor, and with any.
    """

    label: str
    mle: float | None
    reference: float | None
    n_unstable: int
    n_members: int

    @property
    def crystal(self) -> str:
        """The crystal, for example ``fcc``."""
        return self.label.partition("-")[2]

    @property
    def is_mle_unstable(self) -> bool:
        """Whether the MLE is unstable."""
        return self.mle is not None and self.mle <= 0.0

    @property
    def is_reference_unstable(self) -> bool:
        """Whether the reference is unstable."""
        return self.reference is not None and self.reference <= 0.0


def tensor_stability(results: Sequence[PropertyResult]) -> tuple[TensorStability, ...]:
    """Count the unstable members of each elastic tensor.

    Parameters
    ----------
    results : sequence of PropertyResult
        Of all potentials.

    Returns
    -------
    tuple of TensorStability
        In order of first appearance.
    """
    found: dict[str, dict[int, float]] = {}
    for r in results:
        if STABILITY in r.values:
            found.setdefault(r.label, {})[r.member] = r.values[STABILITY].value
    return tuple(
        TensorStability(
            label,
            values.get(0),
            values.get(REFERENCE_MEMBER),
            sum(v <= 0.0 for m, v in values.items() if m > 0),
            sum(m > 0 for m in values),
        )
        for label, values in found.items()
    )


def is_host(crystal: str, results: Sequence[PropertyResult]) -> bool:
    """Tell whether defects or surfaces of a crystal were asked for.

    Parameters
    ----------
    crystal : str
        For example ``fcc``.
    results : sequence of PropertyResult
        Of all properties.

    Returns
    -------
    bool
        True if there is such a label.
    """
    names = tuple(f"{family}-{crystal}-" for family in _IN_A_HOST)
    return any(f"{r.label}-".startswith(names) for r in results)


def is_meant_stable(crystal: str, results: Sequence[PropertyResult]) -> bool:
    """Tell whether the real crystal is taken to be stable.

    Parameters
    ----------
    crystal : str
        For example ``fcc``.
    results : sequence of PropertyResult
        Of all properties.

    Returns
    -------
    bool
        False if no defect or surface of it was asked for, and the MLE has another crystal of its composition
        with a lower energy.
    """
    if is_host(crystal, results):
        return True
    # Ground states come before the crystals that are compared with them.
    entry: dict[str, float] = {}
    for r in results:
        if r.member != 0 or not r.label.startswith("phase-"):
            continue
        above = [q.value for name, q in r.values.items() if name.startswith(ABOVE)]
        if not above:
            if f"phase-{crystal}" in entry:
                break
            entry = {}
        entry[r.label] = above[0] if above else 0.0
    own = entry.get(f"phase-{crystal}")
    return own is None or own <= min(entry.values())
