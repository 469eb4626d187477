"""Hyperparameters of SNAP, the reference pair style, and a potential with coefficients."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snapuq.provenance import canonical_json, digest

# Words that may reach a LAMMPS command: no quotes, $, & or ; can start a second command or a variable.
_SAFE_WORD = re.compile(r"[A-Za-z0-9_./+*:\-]+")


def safe_words(text: str, name: str) -> tuple[str, ...]:
    """Split a LAMMPS argument string, refusing characters with a meaning to LAMMPS's parser.

    Parameters
    ----------
    text : str
        For example ``zbl 4.0 4.8``.
    name : str
        Name for the error message.

    Returns
    -------
    tuple of str
        The words.

    Raises
    ------
    ValueError
        When it is empty or holds a forbidden character.
    """
    words = tuple(text.split())
    if not words:
        raise ValueError(f"{name}: expected LAMMPS arguments, got an empty string")
    for word in words:
        if not _SAFE_WORD.fullmatch(word):
            raise ValueError(f"{name}: '{word}' holds characters that are not allowed in a LAMMPS argument")
    return words


@dataclass(frozen=True)
class ReferencePair:
    """Pair style that SNAP is added to, and which its targets are reduced by.

    Parameters
    ----------
    pair_style : str
        Arguments of the LAMMPS command, for example ``zbl 4.0 4.8``; ``hybrid/overlay`` allowed.
    pair_coeff : tuple of str
        Arguments of each ``pair_coeff`` command, for example ``* * 74 74``; with ``hybrid/overlay``
        the third word names the sub-style.

    Raises
    ------
    ValueError
        When a word holds a character with a meaning to LAMMPS's parser.
    """

    pair_style: str
    pair_coeff: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "pair_style", " ".join(safe_words(self.pair_style, "pair_style")))
        lines = tuple(" ".join(safe_words(line, "pair_coeff")) for line in self.pair_coeff)
        object.__setattr__(self, "pair_coeff", lines)
        if not lines:
            raise ValueError("pair_coeff: expected at least one line, got none")
        if self.pair_style.startswith("hybrid ") or self.pair_style == "hybrid":
            raise ValueError("pair_style: 'hybrid' cannot overlay SNAP; use 'hybrid/overlay'")

    @property
    def is_overlay(self) -> bool:
        """Whether the style is already a ``hybrid/overlay``."""
        return self.pair_style.startswith("hybrid/overlay")

    @property
    def styles(self) -> str:
        """The style or sub-styles with their arguments, ready to follow ``hybrid/overlay``."""
        return self.pair_style.removeprefix("hybrid/overlay").strip()

    def overlay_coeff(self) -> tuple[str, ...]:
        """Write each ``pair_coeff`` in the form that ``hybrid/overlay`` wants.

        Returns
        -------
        tuple of str
            Arguments with the sub-style as third word.
        """
        if self.is_overlay:
            return self.pair_coeff
        style = self.pair_style.split()[0]
        return tuple(" ".join([*w[:2], style, *w[2:]]) for w in (line.split() for line in self.pair_coeff))


def reference_pair(style: list[str], coefficients: list[list[str]]) -> ReferencePair | None:
    """Build a reference pair style, without the ``zero`` that FitSNAP sets the cutoff by.

    Parameters
    ----------
    style : list of str
        Words of ``pair_style``.
    coefficients : list of list of str
        Words of each ``pair_coeff``.

    Returns
    -------
    ReferencePair or None
        The remaining style, plain if it is one; None if nothing remains.

    Raises
    ------
    ValueError
        When `ReferencePair` refuses it, or FitSNAP's line is incomplete.
    """
    if not style:
        raise ValueError("pair_style: expected a style, got nothing")
    if style[0] == "zero":
        return None
    if style[0] != "hybrid/overlay":
        return ReferencePair(" ".join(style), tuple(" ".join(words) for words in coefficients))
    rest = _without_zero(style[1:])
    if not rest:
        return None
    kept = [words for words in coefficients if words[2:3] != ["zero"]]
    names = {words[2] for words in kept if len(words) > 2}
    if len(names) == 1 and rest.count(rest[0]) == 1 and names == {rest[0]}:
        return ReferencePair(" ".join(rest), tuple(" ".join(words[:2] + words[3:]) for words in kept))
    return ReferencePair(" ".join(["hybrid/overlay", *rest]), tuple(" ".join(words) for words in kept))


def _without_zero(words: list[str]) -> list[str]:
    if "zero" not in words:
        return words
    at = words.index("zero")
    end = at + 2
    while end < len(words) and words[end] in ("nocoeff", "full"):
        end += 1
    return words[:at] + words[end:]


def pair_to_json(pair: ReferencePair | None) -> str:
    """Write a reference pair style, or its absence, as JSON.

    Parameters
    ----------
    pair : ReferencePair or None
        The pair style.

    Returns
    -------
    str
        JSON; ``null`` for None.
    """
    return canonical_json(None if pair is None else asdict(pair))


def pair_from_json(text: str) -> ReferencePair | None:
    """Read what `pair_to_json` wrote.

    Parameters
    ----------
    text : str
        The JSON.

    Returns
    -------
    ReferencePair or None
        The pair style.
    """
    data = json.loads(text)
    return None if data is None else ReferencePair(data["pair_style"], tuple(data["pair_coeff"]))


@dataclass(frozen=True)
class SnapSettings:
    """Hyperparameters of LAMMPS ``pair_style snap``, with LAMMPS's names and defaults.

    Parameters
    ----------
    elements : tuple of str
        Chemical symbols in the order of LAMMPS's atom types.
    rcutfac : float
        Scale of the cutoff; the cutoff of a pair is rcutfac * (radelem_i + radelem_j), A.
    twojmax : int
        Band limit of the bispectrum.
    radelem, wj : tuple of float
        Cutoff radius (A) and neighbour weight of each element.
    rfac0, rmin0 : float
        Angular scale and inner radius (A) of the mapping to the 3-sphere.
    switchflag, bzeroflag, quadraticflag, chemflag, bnormflag, wselfallflag, switchinnerflag : bool
        As in LAMMPS.
    sinner, dinner : tuple of float
        Centre and half-width (A) of the inner switching function of each element.

    Raises
    ------
    ValueError
        When a value is impossible.

    References
    ----------
    Thompson et al., J. Comput. Phys. 285, 316 (2015), doi:10.1016/j.jcp.2014.12.018;
    Wood and Thompson, J. Chem. Phys. 148, 241721 (2018), doi:10.1063/1.5017641.
    """

    elements: tuple[str, ...]
    rcutfac: float
    twojmax: int
    radelem: tuple[float, ...]
    wj: tuple[float, ...]
    rfac0: float = 0.99363
    rmin0: float = 0.0
    switchflag: bool = True
    bzeroflag: bool = True
    quadraticflag: bool = False
    chemflag: bool = False
    bnormflag: bool = False
    wselfallflag: bool = False
    switchinnerflag: bool = False
    sinner: tuple[float, ...] = ()
    dinner: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.elements)
        if n == 0 or len(set(self.elements)) != n:
            raise ValueError(f"elements: expected distinct symbols, got {list(self.elements)}")
        for name in ("radelem", "wj") + (("sinner", "dinner") if self.switchinnerflag else ()):
            found = len(getattr(self, name))
            if found != n:
                raise ValueError(f"{name}: expected {n} values, one per element, got {found}")
        if not self.rcutfac > 0 or not all(r > 0 for r in self.radelem):
            raise ValueError("rcutfac, radelem: expected positive lengths")
        if not 0 <= self.twojmax <= 20:
            raise ValueError(f"twojmax: expected an integer from 0 to 20, got {self.twojmax}")
        if not 0 < self.rfac0 < 1:
            raise ValueError(f"rfac0: expected a number between 0 and 1, got {self.rfac0}")
        if not 0 <= self.rmin0 < self.cutoff:
            raise ValueError(f"rmin0: expected a length from 0 to the cutoff, got {self.rmin0}")

    @property
    def cutoff(self) -> float:
        """Largest pair cutoff, A."""
        return 2.0 * self.rcutfac * max(self.radelem)

    @cached_property
    def bispectrum_triples(self) -> tuple[tuple[int, int, int], ...]:
        """Indices (j1, j2, j), doubled, in LAMMPS's order."""
        top = self.twojmax
        return tuple(
            (j1, j2, j)
            for j1 in range(top + 1)
            for j2 in range(j1 + 1)
            for j in range(abs(j1 - j2), min(top, j1 + j2) + 1, 2)
            if j >= j1
        )

    @property
    def n_linear(self) -> int:
        """Bispectrum components of one element."""
        channels = len(self.elements) ** 3 if self.chemflag else 1
        return len(self.bispectrum_triples) * channels

    @property
    def n_per_element(self) -> int:
        """Coefficients of one element without its constant."""
        k = self.n_linear
        return k + k * (k + 1) // 2 if self.quadraticflag else k

    @property
    def has_constant(self) -> bool:
        """Whether each element has a fitted constant column (bzeroflag 0, as in FitSNAP)."""
        return not self.bzeroflag

    @property
    def n_columns(self) -> int:
        """Fitted columns P."""
        return len(self.elements) * (self.n_per_element + int(self.has_constant))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for files and digests.

        Returns
        -------
        dict
            Field name to numbers, booleans and lists.
        """
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SnapSettings:
        """Rebuild from `as_dict`.

        Parameters
        ----------
        data : dict
            What `as_dict` gave.

        Returns
        -------
        SnapSettings
            The same settings.
        """
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**plain)


@dataclass(frozen=True, eq=False)
class Potential:
    """A SNAP potential: settings, coefficients and the reference pair style under it.

    Parameters
    ----------
    settings : SnapSettings
        Hyperparameters.
    coefficients : ndarray, shape (P,)
        One per column, eV.
    reference : ReferencePair or None
        Pair style that SNAP is added to.

    Raises
    ------
    ValueError
        When the number of coefficients is not ``settings.n_columns`` or one is not finite.
    """

    settings: SnapSettings
    coefficients: NDArray[np.float64]
    reference: ReferencePair | None = None

    def __post_init__(self) -> None:
        theta = np.array(self.coefficients, dtype=np.float64)
        if theta.shape != (self.settings.n_columns,):
            raise ValueError(f"coefficients: expected shape ({self.settings.n_columns},), got {theta.shape}")
        if not np.isfinite(theta).all():
            raise ValueError("coefficients: expected finite numbers")
        theta.flags.writeable = False
        object.__setattr__(self, "coefficients", theta)

    @cached_property
    def digest(self) -> str:
        """Hash of settings, coefficients and reference."""
        return digest(self.settings.as_dict(), self.coefficients, pair_to_json(self.reference))
