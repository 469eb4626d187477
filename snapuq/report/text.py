"""Numbers, units and member lists as readable text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from snapuq.analysis.calibration import finite
from snapuq.core.design import RowKind
from snapuq.units import GPA_PER_EV_A3

#: Shown where a number is missing.
MISSING = "–"


@dataclass(frozen=True)
class KindStyle:
    """How one kind of rows is named and scaled.

    Parameters
    ----------
    name : str
        For headings.
    symbol : str
        For axis labels.
    unit : str
        Unit shown.
    scale : float
        Shown value per internal value.
    csv_unit : str
        Unit in CSV files.
    csv_scale : float
        CSV value per internal value.
    """

    name: str
    symbol: str
    unit: str
    scale: float
    csv_unit: str
    csv_scale: float


KINDS: Mapping[RowKind, KindStyle] = {
    RowKind.ENERGY: KindStyle("Energies", "energy", "meV/atom", 1.0e3, "eV/atom", 1.0),
    RowKind.FORCE: KindStyle("Forces", "force", "eV/Å", 1.0, "eV/A", 1.0),
    RowKind.STRESS: KindStyle("Stresses", "stress", "GPa", GPA_PER_EV_A3, "GPa", GPA_PER_EV_A3),
}


def display_unit(unit: str) -> str:
    """Typeset a unit.

    Parameters
    ----------
    unit : str
        For example ``A^3`` or ``J/m^2``.

    Returns
    -------
    str
        For example ``Å³`` or ``J/m²``.
    """
    words = unit.replace("^2", "²").replace("^3", "³").split("/")
    return "/".join("Å" + w[1:] if w in ("A", "A²", "A³") else w for w in words)


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with a few significant digits.

    Parameters
    ----------
    value : float or None
        The number.
    digits : int
        Significant digits.

    Returns
    -------
    str
        The text; a dash when it is missing or not finite.
    """
    value = finite(value)
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    if -4 <= places <= digits + 3:
        return _signed(f"{value:.{max(places, 0)}f}")
    return _signed(f"{value:.{digits - 1}e}")


def decimals(std: float | None, value: float | None = None) -> int:
    """Decimal places that show two significant digits of a spread.

    Parameters
    ----------
    std : float or None
        The spread.
    value : float or None
        Used in place of a missing or zero spread, with four significant digits.

    Returns
    -------
    int
        From 0 to 9.
    """
    spread, size = finite(std), finite(value)
    if spread:
        places = 1 - math.floor(math.log10(spread))
    elif size:
        places = 3 - math.floor(math.log10(abs(size)))
    else:
        places = 3
    return min(max(places, 0), 9)


def fixed(value: float | None, places: int) -> str:
    """Write a number with a fixed number of decimal places.

    Parameters
    ----------
    value : float or None
        The number.
    places : int
        Decimal places.

    Returns
    -------
    str
        The text; a dash when it is missing or not finite.
    """
    value = finite(value)
    return MISSING if value is None else _signed(f"{value:.{places}f}")


def percent(share: float | None) -> str:
    """Write a share as a percentage.

    Parameters
    ----------
    share : float or None
        From 0 to 1.

    Returns
    -------
    str
        Two significant digits, at most two decimal places.
    """
    share = finite(share)
    if share is None:
        return MISSING
    shown = 100.0 * share
    if shown == 0 or shown == 100:
        return f"{shown:.0f} %"
    # 99.97 % must not be rounded up to all, nor 0.001 % down to none.
    if shown < 0.01:
        return "< 0.01 %"
    if shown > 99.9:
        return "> 99.9 %"
    return f"{shown:.2f} %" if shown < 1 else f"{shown:.1f} %"


def percent_range(low: float, high: float) -> str:
    """Write an interval of shares as percentages.

    Parameters
    ----------
    low, high : float
        From 0 to 1.

    Returns
    -------
    str
        For example ``0.50 to 1.2 %``.
    """
    return f"{percent(low).removesuffix(' %')} to {percent(high)}"


def _signed(text: str) -> str:
    # "-0.00" says nothing; a true minus sign aligns with digits.
    if not text.strip("-0."):
        text = text.lstrip("-")
    return text.replace("-", "−")


def member_ranges(members: Iterable[int]) -> str:
    """Write member numbers compactly, none left out.

    Parameters
    ----------
    members : iterable of int
        -1 the reference potential, 0 the MLE, 1 to M the members.

    Returns
    -------
    str
        For example ``MLE, 3, 7–9``.
    """
    numbers = sorted(set(members))
    parts = [name for code, name in ((-1, "reference"), (0, "MLE")) if code in numbers]
    start: int | None = None
    positive = [n for n in numbers if n > 0]
    for i, n in enumerate(positive):
        start = n if start is None else start
        if i + 1 == len(positive) or positive[i + 1] != n + 1:
            parts.append(str(n) if n == start else f"{start}–{n}")
            start = None
    return ", ".join(parts)
