"""The text of ``.snapparam`` and ``.snapcoeff`` files: write it, read what others wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from snapuq.core.potential import Potential, ReferencePair, SnapSettings
from snapuq.errors import InputError
from snapuq.lammps.engine import check_element
from snapuq.units import EXACT

_FLOATS = ("rcutfac", "rfac0", "rmin0")
_FLAGS = (
    "switchflag",
    "bzeroflag",
    "quadraticflag",
    "chemflag",
    "bnormflag",
    "wselfallflag",
    "switchinnerflag",
)
_LISTS = ("sinner", "dinner")
# Keywords of pair_style snap that change how it runs, not what it computes.
_IGNORED = ("chunksize", "parallelthresh")


def snapparam_text(settings: SnapSettings) -> str:
    """Hyperparameters in the format of ``pair_style snap``.

    Parameters
    ----------
    settings : SnapSettings
        The hyperparameters.

    Returns
    -------
    str
        One keyword a line.
    """
    lines = [f"rcutfac {EXACT.format(settings.rcutfac)}", f"twojmax {settings.twojmax}"]
    lines += [f"{key} {EXACT.format(getattr(settings, key))}" for key in ("rfac0", "rmin0")]
    lines += [f"{key} {int(getattr(settings, key))}" for key in _FLAGS]
    if settings.switchinnerflag:
        lines += [f"{key} {' '.join(map(EXACT.format, getattr(settings, key)))}" for key in _LISTS]
    return "\n".join(lines) + "\n"


def snapcoeff_text(settings: SnapSettings, coefficients: np.ndarray) -> str:
    """Coefficients in the format of ``pair_style snap``.

    Parameters
    ----------
    settings : SnapSettings
        The hyperparameters.
    coefficients : ndarray, shape (P,)
        In the order of the columns.

    Returns
    -------
    str
        Element by element, the constant first: 0.0 where it is not fitted (bzeroflag 1).
    """
    n = settings.n_per_element + 1
    lines = ["", f"{len(settings.elements)} {n}"]
    rows = np.asarray(coefficients).reshape(len(settings.elements), -1).tolist()
    for element, radius, weight, row in zip(
        settings.elements, settings.radelem, settings.wj, rows, strict=True
    ):
        lines.append(f"{element} {EXACT.format(radius)} {EXACT.format(weight)}")
        lines += map(EXACT.format, row if settings.has_constant else [0.0, *row])
    return "\n".join(lines) + "\n"


def read_potential(coeff: Path, param: Path, reference: ReferencePair | None = None) -> Potential:
    """Read a SNAP potential from its two files.

    Parameters
    ----------
    coeff, param : Path
        The ``.snapcoeff`` and ``.snapparam`` files.
    reference : ReferencePair, optional
        Pair style that SNAP is added to, which neither file holds.

    Returns
    -------
    Potential
        The potential.

    Raises
    ------
    InputError
        When a file is missing or malformed; says which line.
    """
    values = _read_param(param)
    elements, radelem, wj, rows, line = _read_coeff(coeff)
    n = len(elements)
    for key in _LISTS:
        if len(values.get(key, ())) not in (0, n):
            raise InputError("wrong number of values", file=param, key=key, expected=f"{n}, one per element")
    try:
        settings = SnapSettings(elements=elements, radelem=radelem, wj=wj, **values)
    except (ValueError, TypeError) as error:
        raise InputError(str(error), file=param) from error
    if rows.shape[1] != settings.n_per_element + 1:
        raise InputError(
            "wrong number of coefficients per element",
            file=coeff,
            line=line,
            found=rows.shape[1],
            expected=f"{settings.n_per_element + 1} for the hyperparameters of {param.name}",
        )
    if not settings.has_constant:
        if np.any(rows[:, 0] != 0.0):
            raise InputError("a constant that is not 0 needs bzeroflag 0", file=coeff, found=rows[:, 0])
        rows = rows[:, 1:]
    return Potential(settings, rows.ravel(), reference)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and words of each line that holds more than a comment."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from error
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if words:
            yield number, words


def _numbers(words: Sequence[str], path: Path, line: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(w) for w in words)
    except ValueError:
        numbers = ()
    if not numbers or not np.isfinite(numbers).all():
        raise InputError("not a number", file=path, line=line, found=" ".join(words), expected="a number")
    return numbers


def _read_param(path: Path) -> dict:
    values: dict = {}
    for line, (key, *words) in _lines(path):
        if key in _IGNORED:
            continue
        if key not in (*_FLOATS, *_FLAGS, *_LISTS, "twojmax"):
            raise InputError("unknown keyword of pair_style snap", file=path, line=line, found=key)
        numbers = _numbers(words, path, line)
        if key in _LISTS:
            values[key] = numbers
        elif len(numbers) != 1 or (key not in _FLOATS and numbers[0] != int(numbers[0])):
            raise InputError("one value expected", file=path, line=line, key=key, found=" ".join(words))
        elif key in _FLOATS:
            values[key] = numbers[0]
        else:
            values[key] = int(numbers[0]) if key == "twojmax" else bool(numbers[0])
    for key in ("rcutfac", "twojmax"):
        if key not in values:
            raise InputError("missing keyword", file=path, key=key)
    return values


def _read_coeff(
    path: Path,
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...], np.ndarray, int]:
    records = list(_lines(path))
    if not records or len(records[0][1]) != 2:
        raise InputError("malformed", file=path, expected="numbers of elements and of coefficients first")
    first, words = records[0]
    n_elements, n_coefficients = (int(v) for v in _numbers(words, path, first))
    expected = 1 + n_elements * (n_coefficients + 1)
    if min(n_elements, n_coefficients) < 1 or len(records) < expected:
        raise InputError("truncated", file=path, found=f"{len(records)} records", expected=str(expected))
    elements: list[str] = []
    sizes: list[tuple[float, ...]] = []
    rows = np.empty((n_elements, n_coefficients))
    for i in range(n_elements):
        start = 1 + i * (n_coefficients + 1)
        line, words = records[start]
        if len(words) != 3:
            raise InputError("malformed", file=path, line=line, expected="ELEMENT RADIUS WEIGHT")
        check_element(words[0], path, line)
        elements.append(words[0])
        sizes.append(_numbers(words[1:], path, line))
        for j, (number, cells) in enumerate(records[start + 1 : start + 1 + n_coefficients]):
            rows[i, j] = _numbers(cells[:1], path, number)[0]
    radelem, wj = zip(*sizes, strict=True)
    return tuple(elements), radelem, wj, rows, first
