"""Names of units in FitSNAP JSON files, with the factors to eV and A.

The names are those of ``fitsnap3lib.units`` that have one meaning, and a few more. The values are CODATA's
as ASE has them, and LAMMPS's for bar; `fitsnap_input` uses FitSNAP's own, which differ in the sixth digit
(hartree 27.2114 eV).
"""

from __future__ import annotations

import ase.units

from snapuq.errors import InputError
from snapuq.units import BAR_PER_EV_A3

_ENERGY = {
    "electronvolt": 1.0,
    "ev": 1.0,
    "hartree": ase.units.Hartree,
    "ha": ase.units.Hartree,
    "eh": ase.units.Hartree,
    "rydberg": ase.units.Rydberg,
    "ryd": ase.units.Rydberg,
    "ry": ase.units.Rydberg,
    "kcalpermol": ase.units.kcal / ase.units.mol,
    "kjpermol": ase.units.kJ / ase.units.mol,
}
_LENGTH = {
    "angstrom": 1.0,
    "angstroms": 1.0,
    "ang": 1.0,
    "a": 1.0,
    "bohr": ase.units.Bohr,
    "au": ase.units.Bohr,
    "nm": ase.units.nm,
    "nanometer": ase.units.nm,
}
_PRESSURE = {
    "bar": 1.0,
    "bars": 1.0,
    "kbar": 1.0e3,
    "kilobar": 1.0e3,
    "kb": 1.0e3,
    "atm": 1.01325,
    "pa": 1.0e-5,
    "pascal": 1.0e-5,
    "kpa": 1.0e-2,
    "mpa": 1.0e1,
    "gpa": 1.0e4,
    "gigapascal": 1.0e4,
}
_FORCE = {f"{e}per{x}": fe / fx for e, fe in _ENERGY.items() for x, fx in _LENGTH.items()}
_DENSITY = {f"{e}per{x}3": fe / fx**3 for e, fe in _ENERGY.items() for x, fx in _LENGTH.items()}
_CUBED = {f"{e}per{x}per{x}per{x}": fe / fx**3 for e, fe in _ENERGY.items() for x, fx in _LENGTH.items()}

# "metal" is LAMMPS's unit set; "atomic" is left out for stress, where FitSNAP means pascal by it.
_FACTORS: dict[str, dict[str, float]] = {
    "energy": {**_ENERGY, "metal": 1.0, "atomic": ase.units.Hartree},
    "length": {**_LENGTH, "metal": 1.0, "atomic": ase.units.Bohr},
    "force": {**_FORCE, "metal": 1.0, "atomic": ase.units.Hartree / ase.units.Bohr},
    "stress": {
        **{name: value / BAR_PER_EV_A3 for name, value in _PRESSURE.items()},
        **_DENSITY,
        **_CUBED,
        "metal": 1.0 / BAR_PER_EV_A3,
    },
}
_KNOWN = {
    "energy": "electronvolt, hartree, rydberg, kcal/mol or kJ/mol",
    "length": "angstrom, bohr or nm",
    "force": "electronvoltperangstrom, hartree/bohr, rydberg/bohr or kcal/mol/angstrom",
    "stress": "bar, kbar, atm, Pa, kPa, MPa, GPa, eV/angstrom^3 or hartree/bohr^3",
}


def factor(kind: str, style: object, *, file: str, key: str) -> float:
    """Factor from a named unit to eV, A, eV/A or eV/A^3.

    Parameters
    ----------
    kind : {'energy', 'length', 'force', 'stress'}
        What the unit measures.
    style : object
        Value of a ``...Style`` key.
    file, key : str
        Where it was found, for the error message.

    Returns
    -------
    float
        Multiply by it.

    Raises
    ------
    InputError
        When the unit is not known for this kind of quantity.
    """
    name = "".join(c for c in str(style).lower().replace("/", "per") if c.isalnum())
    if isinstance(style, str) and name in _FACTORS[kind]:
        return _FACTORS[kind][name]
    hint = "the energy must be the total energy of the cell" if name.endswith("peratom") else None
    raise InputError(
        f"unknown unit of {kind}", file=file, key=key, found=style, expected=_KNOWN[kind], hint=hint
    )
