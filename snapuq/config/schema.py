"""The campaign file and its sections, as frozen and strict models."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from snapuq.config.base import Flag, NotNegative, PairSection, Positive, Section, Symbol, plain
from snapuq.config.dataset import DatasetSection
from snapuq.config.problems import Key, Written
from snapuq.core.potential import ReferencePair, SnapSettings, reference_pair
from snapuq.errors import InputError
from snapuq.lammps.library import check_options
from snapuq.units import seconds

#: How members are computed.
Propagation = Literal["auto", "brute", "batched", "newton", "implicit"]


class ElementSection(Section):
    """One element of a SNAP potential.

    Parameters
    ----------
    radelem : float
        Cutoff radius, A.
    wj : float
        Neighbour weight.
    sinner, dinner : float or None
        Centre and half-width of the inner switching function, A.
    """

    radelem: Positive = 0.5
    wj: float = 1.0
    sinner: Positive | None = None
    dinner: Positive | None = None


class PotentialSection(Section):
    """Hyperparameters of LAMMPS ``pair_style snap``, and the pair style under it.

    Parameters
    ----------
    rcutfac : float
        Scale of the cutoff.
    twojmax : int
        Band limit of the bispectrum.
    elements : dict
        Symbol to ElementSection, in the order of LAMMPS's atom types.
    rfac0, rmin0 : float
        Angular scale, and inner radius in A.
    switchflag, bzeroflag, quadraticflag, chemflag, bnormflag, wselfallflag, switchinnerflag : bool
        As in LAMMPS.
    reference : PairSection or None
        Pair style that SNAP is added to.
    """

    rcutfac: Positive
    twojmax: int = Field(ge=0, le=20)
    elements: dict[Symbol, ElementSection] = Field(min_length=1)
    rfac0: float = Field(0.99363, gt=0, lt=1)
    rmin0: NotNegative = 0.0
    switchflag: Flag = True
    bzeroflag: Flag = True
    quadraticflag: Flag = False
    chemflag: Flag = False
    bnormflag: Flag = False
    wselfallflag: Flag = False
    switchinnerflag: Flag = False
    reference: PairSection | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_elements(cls, data: Any) -> Any:
        """Let ``W:`` with nothing behind it mean an element with default settings."""
        if not isinstance(data, dict) or not isinstance(data.get("elements"), dict):
            return data
        return {**data, "elements": {k: {} if v is None else v for k, v in data["elements"].items()}}

    @model_validator(mode="after")
    def _check(self) -> PotentialSection:
        for name in ("sinner", "dinner"):
            given = [e for e, s in self.elements.items() if getattr(s, name) is not None]
            if self.switchinnerflag and len(given) < len(self.elements):
                raise ValueError(f"elements: switchinnerflag needs {name} for every element")
            if given and not self.switchinnerflag:
                raise ValueError(f"elements: {name} of {given[0]} is unused unless switchinnerflag is 1")
        self.to_settings()
        return self

    def to_settings(self) -> SnapSettings:
        """Build the core type.

        Returns
        -------
        SnapSettings
            The elements are in the order of the file, which is that of LAMMPS's atom types.
        """
        sections = tuple(self.elements.values())
        shared = {f.name for f in fields(SnapSettings)} - {"elements", "radelem", "wj", "sinner", "dinner"}
        inner = sections if self.switchinnerflag else ()
        return SnapSettings(
            elements=tuple(self.elements),
            radelem=tuple(float(s.radelem) for s in sections),
            wj=tuple(float(s.wj) for s in sections),
            sinner=tuple(float(s.sinner or 0) for s in inner),
            dinner=tuple(float(s.dinner or 0) for s in inner),
            **{name: getattr(self, name) for name in shared},
        )

    def to_reference(self) -> ReferencePair | None:
        """Build the pair style that SNAP is added to.

        Returns
        -------
        ReferencePair or None
            None when SNAP stands alone.
        """
        if self.reference is None:
            return None
        # Also as it stands in FitSNAP's input files, with a 'zero' beside it.
        words = [line.split() for line in self.reference.pair_coeff]
        return reference_pair(self.reference.pair_style.split(), words)


class CalibrateSection(Section):
    """Cross-validation that scales the posterior.

    Parameters
    ----------
    violation : float
        Share of held-out values outside the envelope that is aimed at.
    folds : int
        Folds, by configuration.
    groups : bool
        Whether large groups are left out in turn as well, to tell how the envelope carries over.
    """

    violation: float = Field(0.02, gt=0, lt=0.5)
    folds: int = Field(5, ge=2)
    groups: bool = True


class FitSection(Section):
    """How coefficients and their uncertainty are found.

    Parameters
    ----------
    posterior : str
        A name in `snapuq.uq.rules.RULES`: POPS by whole configurations (``block``), row by row as published
        (``pointwise``), or as another package does it.
    calibrate : CalibrateSection or None
        None leaves the posterior as it is.
    ridge : float, 'evidence' or None
        Factor of the squared norm of the coefficients in the loss, or the one of largest evidence.
    rows : Path or None
        Folder for design rows, shared by runs on the same structures; None is ``rows`` in the output folder.
    """

    posterior: Literal["block", "pointwise", "popsregression-0.4", "popsregression-0.5", "bayesian"] = "block"
    calibrate: CalibrateSection | None = None
    ridge: NotNegative | Literal["evidence"] | None = None
    rows: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        """Calibrate the block posterior by default, and published ones only if asked to."""
        if not isinstance(data, dict):
            return data
        choice = data.get("calibrate")
        if choice is None:
            choice = data.get("posterior", "block") == "block"
        return {**data, "calibrate": {} if choice is True else None if choice is False else choice}

    def plain(self) -> Any:
        """Plain data that would give this section again.

        Returns
        -------
        dict
            All keys; ``calibrate`` is ``False`` when it is off.
        """
        off = {"calibrate": False} if self.calibrate is None else {}
        return {**super().plain(), **off}


class EnsembleSection(Section):
    """Members drawn from the posterior.

    Parameters
    ----------
    members : int
        How many.
    sample : {'hypercube'}
        Where from.
    """

    members: int = Field(500, ge=2, le=100_000)
    sample: Literal["hypercube"] = "hypercube"


@dataclass(frozen=True)
class PropertyRequest:
    """One entry of ``campaign.properties``.

    Parameters
    ----------
    name : str
        Registered name of the property.
    params : object
        Instance of that property's ``Params``.
    propagation : str or None
        How members are computed; None as for the whole campaign.
    """

    name: str
    params: Any
    propagation: Propagation | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The entry as plain data, defaults included."""
        data = {f.name: plain(getattr(self.params, f.name)) for f in fields(self.params)}
        return data if self.propagation is None else {"propagation": self.propagation, **data}

    def plain(self) -> dict[str, Any]:
        """Plain data that would give this entry again.

        Returns
        -------
        dict
            Name to the parameters that have a value.
        """
        return {self.name: {k: v for k, v in self.parameters.items() if v is not None}}


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        seconds(value)
    return value


#: A time with its unit; kept as it was written.
Duration = Annotated[str, BeforeValidator(_duration)]


class LammpsSection(Section):
    """How LAMMPS runs the tasks.

    Parameters
    ----------
    options : tuple of str
        Words for its command line, such as ``-sf omp -pk omp 4``.
    ranks : int
        MPI ranks of each task; each rank of the campaign then starts that many.
    """

    options: tuple[str, ...] = ()
    ranks: int = Field(1, ge=1, le=1024)

    @model_validator(mode="before")
    @classmethod
    def _words(cls, data: Any) -> Any:
        """Read options written as one line."""
        if isinstance(data, dict) and isinstance(data.get("options"), str):
            return {**data, "options": tuple(data["options"].split())}
        return data

    @model_validator(mode="after")
    def _check(self) -> LammpsSection:
        try:
            check_options(self.options)
        except InputError as error:
            raise ValueError(f"options: {error}") from error
        return self


class CampaignSection(Section):
    """Properties computed for the MLE and every member.

    Parameters
    ----------
    propagation : {'auto', 'brute', 'batched', 'newton', 'implicit'}
        How members are computed: ``auto`` takes the cheapest exact way, ``brute`` relaxes every member by
        itself.
    time_limit : str
        Wall-clock limit of one task, for example ``10 min``.
    drain : str
        Time that running tasks are given once the run was asked to stop.
    lammps : LammpsSection
        How LAMMPS is run.
    properties : tuple of PropertyRequest
        What is computed.
    """

    propagation: Propagation = "auto"
    time_limit: Duration = "10 min"
    drain: Duration = "20 s"
    lammps: LammpsSection = LammpsSection()
    properties: tuple[PropertyRequest, ...] = ()


class ReferenceSection(Section):
    """True values to compare with: a table, or another potential.

    Parameters
    ----------
    values : Path or None
        CSV file with the columns property, quantity, value, unit.
    potential : PairSection or None
        The same properties by this potential.
    """

    values: Path | None = None
    potential: PairSection | None = None

    @model_validator(mode="after")
    def _check(self) -> ReferenceSection:
        if (self.values is None) == (self.potential is None):
            raise ValueError("expected one of 'values' and 'potential'")
        return self


class CampaignConfig(Section):
    """A whole campaign file, resolved: absolute paths, every default filled in.

    Parameters
    ----------
    name : str
        First part of file names.
    seed : int
        Seed of everything random.
    output : Path
        Output folder.
    dataset : DatasetSection
        Data, split and weights.
    potential : PotentialSection or None
        None follows a FitSNAP input file.
    fit : FitSection
        Posterior.
    ensemble : EnsembleSection
        Members.
    campaign : CampaignSection
        Properties.
    reference : ReferenceSection or None
        True values.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)
    seed: int = Field(1, ge=0, lt=2**63)
    output: Path
    dataset: DatasetSection
    potential: PotentialSection | None = None
    fit: FitSection = Field(default_factory=lambda: FitSection.model_validate({}))
    ensemble: EnsembleSection = EnsembleSection()
    campaign: CampaignSection = CampaignSection()
    reference: ReferenceSection | None = None
    # `load_config` fills it in.
    _written: Written = PrivateAttr(default_factory=Written)

    def error(self, problem: str, key: Key, **details: Any) -> InputError:
        """Build an error located at a key of the campaign file.

        Parameters
        ----------
        problem : str
            What is wrong.
        key : tuple of str and int
            The key.
        **details : object
            ``found``, ``expected``, ``hint`` of `InputError`.

        Returns
        -------
        InputError
            To be raised.
        """
        return self._written.error(problem, key, **details)

    @model_validator(mode="after")
    def _check(self) -> CampaignConfig:
        if self.potential is None and not self.dataset.is_fitsnap_input:
            raise ValueError("the section 'potential' is missing; only a FitSNAP input file brings its own")
        generate = self.dataset.generate
        if self.potential is not None and generate is not None:
            unknown = [e for e in generate.elements if e not in self.potential.elements]
            if unknown:
                raise ValueError(f"potential: its elements lack {unknown[0]}, which dataset.generate makes")
        return self
