"""What the labels of a campaign say: the property, its crystal and which of its like, for figures."""

from __future__ import annotations

import re
from collections.abc import Mapping

from snapuq.properties.prototypes import PROTOTYPES

#: Properties that have a figure of their own, in the order of Perez et al. (2025), by the family they share.
FAMILIES: Mapping[str, str] = {
    "phase": "phases",
    "eos": "equations_of_state",
    "elastic": "elastic",
    "path": "paths",
    "phonon": "phonons",
    "vacancy": "defects",
    "divacancy": "defects",
    "interstitial": "defects",
    "surface": "surfaces",
    "gamma_line": "gamma_lines",
    "barrier": "barriers",
}
_HKL = r"(?:\d{3}|-?\d+_-?\d+_-?\d+)"
_SURFACE = re.compile(rf"(.+?)-({_HKL})")
_LINE = re.compile(rf"(.+?)-({_HKL})-({_HKL})")
#: What an interstitial is called that is none of the kinds, before the kind that it is least unlike.
_NEAREST = "none of the kinds, nearest to "


def property_name(label: str) -> str:
    """Registered name of the property that a label belongs to.

    Parameters
    ----------
    label : str
        For example ``surface-bcc-110``.

    Returns
    -------
    str
        For example ``surface``.
    """
    return label.partition("-")[0]


def crystal_name(text: str) -> str:
    """Typeset the crystal of a label.

    Parameters
    ----------
    text : str
        For example ``B2-W-Be``, or the name of a structure file.

    Returns
    -------
    str
        For example ``B2 W-Be``.
    """
    prototype, _, elements = text.partition("-")
    return f"{prototype} {elements}".strip() if prototype in PROTOTYPES else text


def crystal_of(label: str) -> str:
    """Typeset the crystal of a property of one of the families that names nothing else.

    Parameters
    ----------
    label : str
        For example ``elastic-B2-W-Be``.

    Returns
    -------
    str
        For example ``B2 W-Be``; the whole label for any other property.
    """
    return crystal_name(label.partition("-")[2]) if property_name(label) in FAMILIES else label


def surface_names(label: str) -> tuple[str, str]:
    """Crystal and plane of a surface.

    Parameters
    ----------
    label : str
        For example ``surface-hcp-Be-1_-1_0``.

    Returns
    -------
    crystal, plane : str
        For example ``hcp Be`` and ``(1 −1 0)``; the plane is empty where it cannot be told.
    """
    match = _SURFACE.fullmatch(label.partition("-")[2])
    return (crystal_name(match[1]), f"({_index(match[2])})") if match else (crystal_of(label), "")


def line_name(label: str) -> str:
    """Typeset the crystal and the line of a gamma line or a transformation path.

    Parameters
    ----------
    label : str
        For example ``gamma_line-bcc-110-1_-1_1`` or ``path-bcc-W-tetragonal``.

    Returns
    -------
    str
        For example ``bcc (110) [1 −1 1]`` or ``bcc W, tetragonal``; any other label as it is.
    """
    kind, _, rest = label.partition("-")
    match = _LINE.fullmatch(rest)
    if kind == "gamma_line" and match:
        return f"{crystal_name(match[1])} ({_index(match[2])}) [{_index(match[3])}]"
    crystal, _, path = rest.rpartition("-")
    return f"{crystal_name(crystal)}, {path}" if kind == "path" and crystal else label


def site_name(kind: str) -> str:
    """Name a defect's site in words.

    Parameters
    ----------
    kind : str
        For example ``dumbbell_110`` or ``basal_octahedral``, or what the property says of one that is none of
        the kinds.

    Returns
    -------
    str
        For example ``⟨110⟩ dumbbell`` or ``basal octahedral``.
    """
    if kind.startswith(_NEAREST):
        return f"near {site_name(kind.removeprefix(_NEAREST))}"
    word, _, index = kind.partition("_")
    return f"⟨{index}⟩ {word}" if index.isdigit() else kind.replace("_", " ")


def _index(text: str) -> str:
    return text.replace("_", " ").replace("-", "−")
