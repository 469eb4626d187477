"""Units and conversion factors.

Inside snapuq: energies eV, lengths A, forces eV/A, stress eV/A^3 (Voigt xx yy zz yz xz xy, tension
positive, as in ASE). Reports show stress and moduli in GPa.
"""

from __future__ import annotations

import math
import re

# LAMMPS's own metal-units factor (nktv2p); FitSNAP uses the same, so that rows, stress targets and
# FitSNAP's weights agree to the last digit with both.
BAR_PER_EV_A3 = 1.6021765e6
GPA_PER_EV_A3 = BAR_PER_EV_A3 * 1.0e-4

#: Eight significant digits are not enough to restart from; 17 are exact for a double.
EXACT = "{:.17g}"

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(s|min|h|d)\s*")


def seconds(text: str) -> float:
    """Read a time with its unit.

    Parameters
    ----------
    text : str
        Numbers with the units s, min, h or d, for example ``10 min`` or ``3 h 30 min``; or ``H:MM:SS``, as
        batch systems write it.

    Returns
    -------
    float
        The time, s.

    Raises
    ------
    ValueError
        When it is neither, or not positive.
    """
    clock = re.fullmatch(r"\s*(\d+):([0-5]\d):([0-5]\d)\s*", text)
    if clock:
        total = 3600.0 * float(clock[1]) + 60.0 * int(clock[2]) + int(clock[3])
    else:
        parts = _DURATION.findall(text)
        total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
            raise ValueError(f"expected a time with its unit, such as '10 min' or '3 h 30 min', got '{text}'")
    if not 0.0 < total < math.inf:
        raise ValueError(f"expected a time above zero, got '{text}'")
    return total
