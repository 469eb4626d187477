"""What `bench_propagation` computes, and how far a quantity may be from brute force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from propagation_ways import Run

# What issue 6 asks for: eV of a defect, share of a volume, GPa, THz, eV of a barrier.
DEFECT, VOLUME, MODULUS, FREQUENCY, BARRIER = 1.0e-6, 1.0e-5, 0.1, 5.0e-3, 1.0e-3
# What goes with these: a defect's energy over two faces of 8 A^2, a modulus per share of a volume, and the
# heat capacity of a mode of 10 THz when it moves by 0.005 THz, k_B.
SURFACE, DERIVATIVE, HEAT_CAPACITY = 1.0e-6, 1.0e-2, 1.0e-3
# Volume of an atom, A^3, at least: a relaxation volume is a share of its supercell's.
SMALLEST_ATOM = 10.0
_ABSOLUTE = {
    "eV": DEFECT,
    "eV/atom": DEFECT,
    "GPa": MODULUS,
    "THz": FREQUENCY,
    "J/m^2": SURFACE,
    "k_B/atom": HEAT_CAPACITY,
}

#: Families: property and its parameters. Those in `WARM` are also relaxed by LAMMPS from the MLE's state.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "eos": ("eos", {}),
    "elastic": ("elastic", {}),
    "phonon": ("phonon", {}),
    "phase": ("phase", {"structures": ["bcc", "A15", "sigma"]}),
    "vacancy": ("vacancy", {"supercell": 4}),
    "interstitial": (
        "interstitial",
        {"supercell": 4, "kinds": ["dumbbell_110", "dumbbell_111", "tetrahedral"]},
    ),
    "surface": ("surface", {"miller": [[1, 0, 0], [1, 1, 0], [1, 1, 1], [3, 2, 1]]}),
    "path": ("path", {"paths": ["tetragonal", "hexagonal"]}),
    "gamma_line": ("gamma_line", {}),
    "barrier": ("barrier", {"supercell": 3}),
}
#: Changes for ``--quick``.
QUICK: dict[str, dict[str, Any]] = {
    "phonon": {"supercell_length": 8.0},
    "phase": {"structures": ["bcc", "A15"]},
    "vacancy": {"supercell": 3},
    "interstitial": {"supercell": 3, "kinds": ["dumbbell_110"]},
    "surface": {"miller": [[1, 0, 0]]},
    "path": {"paths": ["tetragonal"]},
    "gamma_line": {"lines": ["(110)[1-11]/2"], "points": 5},
    "barrier": {"supercell": 2, "images": 5},
}
CRYSTAL_FAMILIES, WARM = ("eos", "elastic", "phonon"), ("vacancy", "interstitial", "surface")


def tolerance(name: str, quantity: str, unit: str, value: float, parameters: Mapping[str, Any]) -> float:
    """How far a quantity of a property may be from brute force, in its unit."""
    if quantity == "relaxation_volume":
        # Two atoms in each conventional cell of bcc.
        return VOLUME * 2 * parameters["supercell"] ** 3 * SMALLEST_ATOM
    if quantity == "bulk_modulus_derivative":
        return DERIVATIVE
    if name == "barrier" and unit == "eV":
        return BARRIER
    if unit in ("A", "A^3/atom"):
        return VOLUME * abs(value) / (3.0 if unit == "A" else 1.0)
    # Counts are equal or not.
    return _ABSOLUTE.get(unit, 0.5)


#: What tells of a search and not of its end: a member that starts from the MLE's saddle has no first band.
OF_THE_SEARCH = ("negative_modes_first",)


@dataclass(frozen=True)
class Difference:
    """Largest difference of a quantity, over members."""

    quantity: str
    unit: str
    size: float
    tolerance: float
    member: int


@dataclass(frozen=True)
class Comparison:
    """Two ways side by side: `agreement` is the largest difference in units of its tolerance.

    `others` are members beyond the tolerance of which one way or the other tells that it is in another basin
    (reconfigured, another site, not converged); they count neither for nor against agreement. `failed` are
    those without a value both ways, for the same reason.
    """

    compared: int
    agreement: float
    worst: tuple[Difference, ...]
    others: tuple[int, ...]
    failed: tuple[int, ...]


def compare(
    name: str,
    parameters: Mapping[str, Any],
    ours: Mapping[int, Run],
    brute: Mapping[int, Run],
    n_worst: int = 3,
) -> Comparison:
    """All quantities of all members; one that only one way gives a value for agrees with nothing."""
    worst: dict[str, Difference] = {}
    others, failed, agreement = [], [], 0.0
    for member, mine in ours.items():
        theirs = brute[member]
        if mine.values is None or theirs.values is None:
            if mine.failure == theirs.failure:
                failed.append(member)
            else:
                agreement = float("inf")
            continue
        found = []
        for quantity, value in theirs.values.items():
            if quantity in OF_THE_SEARCH:
                continue
            allowed = tolerance(name, quantity, value.unit, value.value, parameters)
            size = abs(mine.values[quantity].value - value.value)
            found.append(Difference(_kind(quantity), value.unit, size, allowed, member))
        largest = max(d.size / d.tolerance for d in found)
        if largest > 1.0 and (mine.flags != theirs.flags or mine.flags[:2] != (True, False)):
            others.append(member)
            continue
        agreement = max(agreement, largest)
        for d in found:
            if d.quantity not in worst or d.size > worst[d.quantity].size:
                worst[d.quantity] = d
    order: Sequence[Difference] = sorted(worst.values(), key=lambda d: -d.size / d.tolerance)
    n = len(ours) - len(others) - len(failed)
    # Nothing to compare is no agreement.
    agreement = agreement if n else float("inf")
    return Comparison(n, agreement, tuple(order[:n_worst]), tuple(others), tuple(failed))


def _kind(quantity: str) -> str:
    """Points of one curve are one quantity."""
    for curve in ("curve_band", "curve_dos", "curve", "energy_at", "f"):
        if quantity.startswith(f"{curve}_"):
            return f"{curve}_*"
    return quantity
