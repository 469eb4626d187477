"""Potential files in a folder that LAMMPS can use: ensembles, single members, references."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ase.data import atomic_masses, atomic_numbers

from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.errors import InputError
from snapuq.lammps.engine import PotentialFiles, check_element
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.snapformat import snapcoeff_text, snapparam_text
from snapuq.provenance import digest, write_text

_SAFE_NAME = re.compile(r"[A-Za-z0-9_.+\-]+")


def write_ensemble(ensemble: Ensemble, folder: Path, name: str) -> PotentialFiles:
    """Write the MLE and every member as LAMMPS files, in a folder that can be moved as a whole.

    Parameters
    ----------
    ensemble : Ensemble
        What to write.
    folder : Path
        Receives ``NAME.snapparam``, ``NAME.mod``, ``NAME.snapcoeff`` (the MLE),
        ``members/NAME_0001.snapcoeff`` and so on, and the files that the reference pair style needs.
    name : str
        First part of the file names.

    Returns
    -------
    PotentialFiles
        The MLE; `member_files` gives the others.

    Raises
    ------
    InputError
        When the name or an element cannot be a word of a LAMMPS command, or a potential file that the
        reference names is not found.
    """
    if not _SAFE_NAME.fullmatch(name) or name.startswith("."):
        raise InputError("not allowed as a potential's name", found=name, expected="letters, digits and _.+-")
    settings = ensemble.settings
    for element in settings.elements:
        check_element(element)
    folder.mkdir(parents=True, exist_ok=True)
    source = f"snapuq fit {ensemble.fit_digest}"
    write_text(folder / f"{name}.snapparam", f"# {source}\n{snapparam_text(settings)}")
    for old in (folder / "members").glob(f"{name}_*.snapcoeff"):
        number = old.stem.removeprefix(f"{name}_")
        # Of a larger ensemble.
        if number.isdigit() and int(number) > len(ensemble):
            old.unlink()
    for index in range(len(ensemble) + 1):
        role = "MLE" if index == 0 else f"member {index} of {len(ensemble)}, seed {ensemble.seed}"
        header = f"# UNITS: metal {source}, {role}\n"
        theta = ensemble.mle if index == 0 else ensemble.coefficients[index - 1]
        path = folder / member_path(name, index, len(ensemble))
        write_text(path, header + snapcoeff_text(settings, theta))
    coeff = [] if ensemble.reference is None else _copy_files(ensemble.reference, folder)
    text = snap_commands(settings, ensemble.reference, name, coeff)
    write_text(folder / f"{name}.mod", f"# {source}\n{text}")
    return member_files(folder, name, 0, len(ensemble), settings.elements)


def member_path(name: str, index: int, n_members: int) -> str:
    """Path of one member's coefficients, relative to the folder of the potential.

    Parameters
    ----------
    name : str
        Name of the potential.
    index : int
        0 is the MLE; 1 to M are the members.
    n_members : int
        M, which sets the number of digits.

    Returns
    -------
    str
        For example ``members/W_0007.snapcoeff``.
    """
    if index == 0:
        return f"{name}.snapcoeff"
    return f"members/{name}_{index:0{max(4, len(str(n_members)))}d}.snapcoeff"


def member_files(
    folder: Path, name: str, index: int, n_members: int, elements: Sequence[str]
) -> PotentialFiles:
    """Name the files of one member of an exported ensemble.

    Parameters
    ----------
    folder : Path
        The exported folder.
    name : str
        Name of the potential.
    index : int
        0 is the MLE; 1 to M are the members.
    n_members : int
        M.
    elements : sequence of str
        Chemical symbols in the order of LAMMPS's atom types.

    Returns
    -------
    PotentialFiles
        What `LammpsEngine` takes.
    """
    variables = {"snapcoeff": member_path(name, index, n_members)}
    return PotentialFiles(folder / f"{name}.mod", tuple(elements), variables)


def write_reference(reference: ReferencePair, elements: Sequence[str], folder: Path) -> PotentialFiles:
    """Write any LAMMPS pair style as a potential of its own.

    Parameters
    ----------
    reference : ReferencePair
        The pair style.
    elements : sequence of str
        Chemical symbols in the order of LAMMPS's atom types.
    folder : Path
        Receives ``reference.mod`` and the potential files that it names.

    Returns
    -------
    PotentialFiles
        What `LammpsEngine` takes.

    Raises
    ------
    InputError
        When a potential file is not found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# reference potential", "variable snapdir index .", f"pair_style {reference.pair_style}"]
    lines += [f"pair_coeff {' '.join(words)}" for words in _copy_files(reference, folder)]
    write_text(folder / "reference.mod", "\n".join(lines) + "\n")
    return PotentialFiles(folder / "reference.mod", tuple(elements))


def reference_digest(reference: ReferencePair) -> str:
    """Hash of a pair style and of the content of the potential files that it names.

    Parameters
    ----------
    reference : ReferencePair
        The pair style.

    Returns
    -------
    str
        The sha256, in hexadecimal.

    Raises
    ------
    InputError
        When a potential file is not found.
    """
    with TemporaryDirectory() as folder:
        lines = _copy_files(reference, Path(folder))
        files = {p.name: p.read_text(encoding="utf-8") for p in sorted(Path(folder).iterdir())}
        return digest(reference.pair_style, [list(words) for words in lines], files)


def snap_commands(
    settings: SnapSettings, reference: ReferencePair | None, name: str, coeff: Sequence[Sequence[str]]
) -> str:
    """LAMMPS commands that set up a SNAP potential over its reference.

    Parameters
    ----------
    settings : SnapSettings
        For the elements.
    reference : ReferencePair or None
        Pair style that SNAP is added to.
    name : str
        Name of the potential.
    coeff : sequence of sequences of str
        Words of the reference's ``pair_coeff`` commands, the sub-style not included.

    Returns
    -------
    str
        The commands; the variables ``snapcoeff`` and ``snapdir`` choose a member and its folder.
    """
    files = f"${{snapdir}}/${{snapcoeff}} ${{snapdir}}/{name}.snapparam {' '.join(settings.elements)}"
    lines = [f"variable snapcoeff index {name}.snapcoeff", "variable snapdir index ."]
    # Data files often come without masses, and LAMMPS needs some even for a static run.
    for number, element in enumerate(settings.elements, 1):
        lines.append(f"mass {number} {atomic_masses[atomic_numbers[element]]:.8g}")
    if reference is None:
        lines += ["pair_style snap", f"pair_coeff * * {files}"]
        return "\n".join(lines) + "\n"
    lines.append(f"pair_style hybrid/overlay {reference.styles} snap")
    style = [] if reference.is_overlay else [reference.pair_style.split()[0]]
    lines += ["pair_coeff " + " ".join([*words[:2], *style, *words[2:]]) for words in coeff]
    lines.append(f"pair_coeff * * snap {files}")
    return "\n".join(lines) + "\n"


def _copy_files(reference: ReferencePair, folder: Path) -> list[list[str]]:
    """Copy the potential files that pair_coeff lines name; return the lines pointing to the copies."""
    styles = set(reference.pair_style.split())
    copied: dict[str, Path] = {}
    lines = []
    for line in reference.pair_coeff:
        words = line.split()
        for i, word in enumerate(words):
            if i < 2 or word in styles or not _names_a_file(word):
                continue
            source = find_potential_file(word)
            if copied.setdefault(source.name, source) != source:
                raise InputError(f"two potential files are called '{source.name}'", hint="rename one")
            if source.parent != folder.resolve():
                write_text(folder / source.name, source.read_text(encoding="utf-8"))
            words[i] = f"${{snapdir}}/{source.name}"
        lines.append(words)
    return lines


def _names_a_file(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return "." in word or "/" in word
    return False
