"""What all sections of the campaign file share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

from ase.data import chemical_symbols
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from snapuq.core.potential import ReferencePair
from snapuq.errors import nearest
from snapuq.properties.crystals import Crystal

_SYMBOLS = frozenset(chemical_symbols[1:])


def _symbol(text: str) -> str:
    if text not in _SYMBOLS:
        raise ValueError(f"unknown element '{text}'; " + nearest(text, _SYMBOLS).split("known:")[0])
    return text


def _crystal(text: str) -> str:
    Crystal.parse(text)
    return text


def _flag(value: Any) -> Any:
    return bool(value) if type(value) is int and value in (0, 1) else value


CrystalName = Annotated[str, AfterValidator(_crystal)]
Symbol = Annotated[str, AfterValidator(_symbol)]
#: 0, 1, false or true, as people write LAMMPS's flags.
Flag = Annotated[bool, BeforeValidator(_flag)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


@runtime_checkable
class HasPlain(Protocol):
    """Anything that can write itself as plain data."""

    def plain(self) -> Any:
        """Plain data that would give this object again.

        Returns
        -------
        object
            Nested dicts, lists and scalars.
        """


class Section(BaseModel):
    """Base of all sections: unknown keys, wrong types, NaN and infinities are refused.

    A key with an empty value counts as absent.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {k: v for k, v in data.items() if v is not None or k not in cls.model_fields}

    def plain(self) -> Any:
        """Plain data that would give this section again.

        Returns
        -------
        object
            Nested dicts and lists; keys without a value are left out.
        """
        values = {name: plain(getattr(self, name)) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if value is not None}


def plain(value: Any) -> Any:
    """Turn sections, tuples and paths into dicts, lists and strings.

    Parameters
    ----------
    value : object
        Anything that a section holds.

    Returns
    -------
    object
        Plain data.
    """
    if isinstance(value, HasPlain):
        return value.plain()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


class PairSection(Section):
    """A LAMMPS pair style with its coefficients.

    Parameters
    ----------
    pair_style : str
        Arguments of LAMMPS's ``pair_style``.
    pair_coeff : tuple of str
        Arguments of each ``pair_coeff``.
    """

    pair_style: str
    pair_coeff: tuple[str, ...]

    @model_validator(mode="after")
    def _check(self) -> PairSection:
        self.to_pair()
        return self

    def to_pair(self) -> ReferencePair:
        """Build the core type.

        Returns
        -------
        ReferencePair
            The pair style.
        """
        return ReferencePair(self.pair_style, self.pair_coeff)
