"""The fit that a FitSNAP input prescribes: hyperparameters, rows and reference pair style."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snapuq.core.dataset import FitRecipe
from snapuq.core.potential import ReferencePair, SnapSettings, reference_pair
from snapuq.data.fitsnap_text import InputText

# Modes of FitSNAP that have no counterpart here.
_UNSUPPORTED = {
    "CALCULATOR": ("nonlinear", "per_atom_energy", "per_atom_scalar"),
    "BISPECTRUM": ("bikflag", "dgradflag"),
}
# Keys with one value for each element, and FitSNAP's defaults.
_PER_ELEMENT = {"type": "H", "twojmax": "6", "radelem": "0.5", "wj": "1.0"}
_FLAGS = ("switchflag", "bzeroflag", "quadraticflag", "bnormflag", "wselfallflag", "switchinnerflag")


def recipe_of(sections: Mapping[str, Any], text: InputText) -> FitRecipe:
    """Translate FitSNAP's sections.

    Parameters
    ----------
    sections : Mapping
        FitSNAP's section objects by name.
    text : InputText
        The input, for error messages.

    Returns
    -------
    FitRecipe
        The same fit in snapuq's terms.

    Raises
    ------
    InputError
        When the input asks for what is not supported here.
    """
    calculator = sections["CALCULATOR"]
    for name, keys in _UNSUPPORTED.items():
        for key in keys:
            if getattr(sections[name], key):
                raise text.error("not supported", name, key, found="1", expected="0")
    return FitRecipe(
        settings=_settings(sections["BISPECTRUM"], text),
        reference=_reference(sections["REFERENCE"], text),
        use_energy=bool(calculator.energy),
        use_forces=bool(calculator.force),
        use_stress=bool(calculator.stress),
    )


def check_counts(text: InputText) -> None:
    """Check that per-element keys hold one value for each element.

    Parameters
    ----------
    text : InputText
        The input.

    Raises
    ------
    InputError
        When ``numTypes`` is no number, or a key holds another number of values.
    """
    n = text.get("BISPECTRUM", "numTypes", "1")
    if not n.isdigit():
        raise text.error("wrong type", "BISPECTRUM", "numTypes", found=n, expected="an integer")
    for key, default in _PER_ELEMENT.items():
        found = len(text.get("BISPECTRUM", key, default).split())
        if found != int(n):
            expected = f"{n}, as numTypes says"
            raise text.error("wrong count", "BISPECTRUM", key, found=f"{found} values", expected=expected)


def _settings(section: Any, text: InputText) -> SnapSettings:
    twojmax = {int(v) for v in section.twojmax}
    if len(twojmax) > 1:
        found = " ".join(section.twojmax)
        raise text.error(
            "not supported", "BISPECTRUM", "twojmax", found=found, expected="one value for all elements"
        )

    def floats(key: str, values: list[str]) -> tuple[float, ...]:
        try:
            return tuple(float(v) for v in values)
        except ValueError:
            raise text.error(
                "wrong type", "BISPECTRUM", key, found=" ".join(values), expected="numbers"
            ) from None

    inner = bool(section.switchinnerflag)
    flags = {name: bool(getattr(section, name)) for name in _FLAGS}
    try:
        return SnapSettings(
            elements=tuple(section.types),
            rcutfac=section.rcutfac,
            twojmax=twojmax.pop(),
            radelem=floats("radelem", section.radelem),
            wj=floats("wj", section.wj),
            rfac0=section.rfac0,
            rmin0=section.rmin0,
            chemflag=bool(section.chemflag),
            sinner=floats("sinner", section.sinner.split()) if inner else (),
            dinner=floats("dinner", section.dinner.split()) if inner else (),
            **flags,
        )
    except ValueError as error:
        raise text.error(str(error), "BISPECTRUM") from None


def _reference(section: Any, text: InputText) -> ReferencePair | None:
    if section.units != "metal":
        raise text.error("not supported", "REFERENCE", "units", found=section.units, expected="metal")
    if section.atom_style != "atomic":
        raise text.error(
            "not supported", "REFERENCE", "atom_style", found=section.atom_style, expected="atomic"
        )
    style, *coefficients = (line.split() for line in section.lmp_pairdecl)
    try:
        return reference_pair(style[1:], [words[1:] for words in coefficients])
    except ValueError as error:
        raise text.error(str(error), "REFERENCE", "pair_style", found=" ".join(style[1:])) from None
