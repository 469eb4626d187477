"""The ``dataset`` section: source, split, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from snapuq.config.base import CrystalName, NotNegative, PairSection, Positive, Section, Symbol, plain


class GenerateSection(Section):
    """A data set made here: diverse cells, labelled by a LAMMPS potential.

    Parameters
    ----------
    elements : tuple of str
        Chemical symbols.
    label : PairSection
        Potential that plays the ab initio calculation.
    structures : tuple of str
        Crystal structures; the first hosts vacancies and surfaces.
    configurations : int
        How many cells.
    lattice_constant : float or None
        Of the first structure, A; None finds it with the labelling potential.
    max_atoms : int
        Largest number of atoms in a cell.
    volume_range : tuple of float
        Smallest and largest volume, relative to the first structure at zero pressure.
    rattle : float
        Largest standard deviation of displacements, A.
    """

    elements: tuple[Symbol, ...] = Field(min_length=1)
    label: PairSection
    structures: tuple[CrystalName, ...] = Field(("bcc", "fcc", "hcp", "sc", "A15", "diamond"), min_length=1)
    configurations: int = Field(160, ge=2)
    lattice_constant: Positive | None = None
    max_atoms: int = Field(54, ge=1)
    volume_range: tuple[Positive, Positive] = (0.85, 1.2)
    rattle: NotNegative = 0.3

    @model_validator(mode="after")
    def _check(self) -> GenerateSection:
        if self.volume_range[0] >= self.volume_range[1]:
            raise ValueError("volume_range: expected the smaller relative volume first")
        if len(set(self.elements)) != len(self.elements):
            raise ValueError("elements: an element is given twice")
        return self


class SplitSection(Section):
    """Which configurations are held out; exactly one of the four.

    Parameters
    ----------
    fraction : float or None
        Share of the configurations, drawn at random.
    by : {'configuration'}
        What is drawn.
    groups : tuple of str or None
        Whole groups.
    path : Path or None
        A data set of its own.
    given : bool
        The source's own split; written as the word ``given``.
    """

    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    by: Literal["configuration"] = "configuration"
    groups: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    path: Path | None = None
    given: bool = False

    @model_validator(mode="before")
    @classmethod
    def _word(cls, data: Any) -> Any:
        return {"given": True} if data == "given" else data

    @model_validator(mode="after")
    def _check(self) -> SplitSection:
        chosen = [self.fraction is not None, self.groups is not None, self.path is not None, self.given]
        if sum(chosen) != 1:
            raise ValueError("expected exactly one of fraction, groups, path, or the word 'given'")
        return self

    @property
    def kind(self) -> Literal["fraction", "groups", "path", "given"]:
        """Which of the four ways it is."""
        if self.fraction is not None:
            return "fraction"
        if self.groups is not None:
            return "groups"
        return "given" if self.given else "path"

    def plain(self) -> Any:
        """Plain data that would give this section again.

        Returns
        -------
        dict or str
            ``given``, or the keys that matter.
        """
        if self.kind == "fraction":
            return {"fraction": self.fraction, "by": self.by}
        return "given" if self.given else {self.kind: plain(getattr(self, self.kind))}


class WeightsSection(Section):
    """Loss weights: exponential as in the POPS papers, or FitSNAP's group weights.

    Parameters
    ----------
    scheme : {'exponential', 'fitsnap'}
        Which.
    energy : float
        Decay with the energy above the minimum, eV/atom.
    force : float
        Decay with the force on the atom, eV/A.
    energy_ratio : float
        Sum of the energy weights over that of the force weights.
    stress_ratio : float
        Sum of the stress weights over that of the force weights; 0 leaves stresses out.
    file : Path or None
        Table of FitSNAP's group weights (group, energy, force, stress).
    """

    scheme: Literal["exponential", "fitsnap"] = "exponential"
    energy: Positive = 2.0
    force: Positive = 50.0
    energy_ratio: Positive = 100.0
    stress_ratio: NotNegative = 0.0
    file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> WeightsSection:
        for name in ("energy", "force", "energy_ratio", "stress_ratio"):
            if self.scheme == "fitsnap" and name in self.model_fields_set:
                raise ValueError(f"{name}: belongs to scheme exponential, not to scheme fitsnap")
        if self.scheme == "exponential" and self.file is not None:
            raise ValueError("file: belongs to scheme fitsnap, not to scheme exponential")
        return self

    def plain(self) -> Any:
        """Plain data that would give this section again.

        Returns
        -------
        dict
            The keys of the scheme.
        """
        names = ["scheme", "file"] if self.scheme == "fitsnap" else list(type(self).model_fields)[:-1]
        return {n: plain(getattr(self, n)) for n in names if getattr(self, n) is not None}


class ExcludeSection(Section):
    """Configurations left out of both fit and test.

    Parameters
    ----------
    max_energy_above_minimum : float or None
        Limit on the energy above the lowest, eV/atom.
    groups : tuple of str
        Whole groups.
    """

    max_energy_above_minimum: Positive | None = None
    groups: tuple[str, ...] = ()


class DatasetSection(Section):
    """Where the data come from, how they are split and weighted.

    Parameters
    ----------
    path : Path or None
        FitSNAP JSON folder, FitSNAP input file, or anything that ASE reads.
    reader : str
        Name of the reader; ``auto`` chooses it by the path.
    data_path : Path or None
        Data folder of a FitSNAP input file, instead of its own ``dataPath``.
    generate : GenerateSection or None
        A data set made here, instead of `path`.
    test : SplitSection
        What is held out.
    weights : WeightsSection
        Loss weights.
    energy_rows : {'per_atom', 'total'}
        Whether energies are fitted per atom.
    exclude : ExcludeSection or None
        What is left out.
    """

    path: Path | None = None
    reader: str = "auto"
    data_path: Path | None = None
    generate: GenerateSection | None = None
    test: SplitSection
    weights: WeightsSection
    energy_rows: Literal["per_atom", "total"] = "per_atom"
    exclude: ExcludeSection | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        """Follow the recipe of a FitSNAP input file unless told otherwise."""
        if not isinstance(data, dict):
            return data
        recipe = _is_recipe(data.get("path"), data.get("reader"))
        chosen = {k: v for k, v in data.items() if v is not None or k not in ("test", "weights")}
        chosen.setdefault("test", "given" if recipe else {"fraction": 0.3})
        chosen.setdefault("weights", {"scheme": "fitsnap" if recipe else "exponential"})
        return chosen

    @model_validator(mode="after")
    def _check(self) -> DatasetSection:
        if self.path is None and self.generate is None:
            raise ValueError("expected one of 'path' and 'generate', found neither")
        if self.path is not None and self.generate is not None:
            raise ValueError("expected one of 'path' and 'generate', found both; an empty value removes one")
        if self.data_path is not None and not self.is_fitsnap_input:
            raise ValueError("data_path: belongs to a FitSNAP input file, and 'path' is none")
        if self.weights.scheme == "fitsnap" and self.weights.file is None and not self.is_fitsnap_input:
            raise ValueError("weights: scheme fitsnap needs a 'file' unless 'path' is a FitSNAP input file")
        return self

    @property
    def is_fitsnap_input(self) -> bool:
        """Whether the source is a FitSNAP ``.in`` file, which brings its own recipe."""
        return _is_recipe(self.path, self.reader)


def _is_recipe(path: Any, reader: Any) -> bool:
    if reader not in (None, "auto"):
        return bool(reader == "fitsnap_input")
    return isinstance(path, Path) and path.suffix == ".in"
