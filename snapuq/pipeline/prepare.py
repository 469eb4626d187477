"""Read, filter, split and weight the data, and settle the potential's hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snapuq.config import CampaignConfig, GenerateSection, check_elements, run_identity
from snapuq.core.dataset import Dataset, LossWeights, Structure
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.data.reader import read_dataset
from snapuq.data.split import given_split, group_split, join, random_split
from snapuq.data.weights import excess_energies, exponential_weights, fitsnap_weights
from snapuq.descriptors.assemble import RowSelection
from snapuq.errors import InputError, SimulationError
from snapuq.generate.diverse import Diversity, diverse_structures, host_crystal
from snapuq.generate.label import label
from snapuq.lammps.engine import LammpsEngine
from snapuq.lammps.library import lammps_info
from snapuq.lammps.snapfiles import reference_digest, write_reference
from snapuq.lammps.templates import Workspace
from snapuq.pipeline.sizes import typical_neighbour
from snapuq.provenance import digest, versions

#: Training configurations that a calibration needs: one to leave out, one to fit to.
SMALLEST_TRAINING_SET = 2


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that assembly and fit need.

    Parameters
    ----------
    dataset : Dataset
        Training and test configurations.
    is_test : ndarray of bool, shape (C,)
        Which are held out.
    weights : tuple of LossWeights
        One per configuration.
    settings : SnapSettings
        Hyperparameters.
    reference : ReferencePair or None
        Pair style that SNAP is added to.
    selection : RowSelection
        Kinds of rows.
    n_excluded : int
        Configurations that the filter took out.
    """

    dataset: Dataset
    is_test: NDArray[np.bool_]
    weights: tuple[LossWeights, ...]
    settings: SnapSettings
    reference: ReferencePair | None
    selection: RowSelection
    n_excluded: int

    @property
    def digest(self) -> str:
        """Hash of data, split, weights and hyperparameters."""
        weights = [[w.energy, w.force.tolist(), w.stress] for w in self.weights]
        return digest(self.dataset.digest, self.is_test, weights, self.settings.as_dict())

    @property
    def n_training_rows(self) -> int:
        """Rows of non-zero weight in the training set."""
        rows = 0
        for c, w, test in zip(self.dataset.configurations, self.weights, self.is_test, strict=True):
            if not test:
                rows += int(self.selection.energy and w.energy > 0)
                rows += 3 * int((w.force > 0).sum()) * int(self.selection.forces)
                rows += 6 * int(self.selection.stress and c.stress is not None and w.stress > 0)
        return rows


def prepare(config: CampaignConfig) -> Prepared:
    """Do all that precedes the assembly.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.

    Returns
    -------
    Prepared
        Data, split, weights and hyperparameters.

    Raises
    ------
    InputError
        When the data cannot be used.
    """
    everything = _read(config)
    kept = _filter(everything, config)
    dataset, is_test = _split(kept, config)
    settings, reference, selection = _model(dataset, config)
    missing = [e for e in dataset.elements if e not in settings.elements]
    if missing:
        first = next(c for c in dataset.configurations if missing[0] in c.structure.species)
        raise InputError(
            f"the data hold {', '.join(missing)}, for which the potential has no parameters; "
            f"{first.identifier} is the first with {missing[0]}",
            file=dataset.source,
            key="potential.elements",
            found=", ".join(settings.elements),
            expected=", ".join(dataset.elements),
        )
    check_elements(config, settings.elements)
    if reference is not None:
        check_pair(config, reference, settings.elements)
    _check_cutoff(dataset, settings, config)
    weights = _weights(dataset, ~is_test, config)
    if config.dataset.energy_rows == "total":
        # A row of the total energy is N times the row per atom, so its loss weight is N^2 times larger.
        weights = tuple(
            replace(w, energy=w.energy * len(c) ** 2)
            for w, c in zip(weights, dataset.configurations, strict=True)
        )
    n_excluded = len(everything) - len(kept)
    if config.fit.calibrate is not None and (~is_test).sum() < SMALLEST_TRAINING_SET:
        raise InputError(
            "the calibration needs two or more training configurations",
            file=dataset.source,
            key="fit.calibrate",
            found=int((~is_test).sum()),
            hint="add data, or set calibrate: false",
        )
    prepared = Prepared(dataset, is_test, weights, settings, reference, selection, n_excluded)
    if prepared.n_training_rows < settings.n_columns:
        raise InputError(
            f"more parameters than rows: {settings.n_columns} coefficients but {prepared.n_training_rows} "
            "training rows of non-zero weight",
            file=dataset.source,
            key="potential",
            hint="lower twojmax, set quadraticflag: 0, or add data",
        )
    return prepared


def check_pair(config: CampaignConfig, pair: ReferencePair, elements: Sequence[str]) -> None:
    """Let LAMMPS try the pair style that SNAP is added to.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    pair : ReferencePair
        The pair style.
    elements : sequence of str
        Elements of the potential.

    Raises
    ------
    InputError
        When LAMMPS refuses it.
    """
    # One atom alone; every type is declared, so missing coefficients are found as well.
    atom = Structure(10.0 * np.eye(3), np.zeros((1, 3)), tuple(elements[:1]))
    try:
        with Workspace() as workspace, TemporaryDirectory() as folder:
            LammpsEngine(write_reference(pair, elements, Path(folder)), workspace).evaluate(atom)
    except (SimulationError, InputError) as error:
        text = error.detail if isinstance(error, SimulationError) else str(error)
        found = " | ".join([pair.pair_style, *pair.pair_coeff])
        raise _at_potential(config, ("reference",), f"LAMMPS refuses it: {text}", found=found) from None


def _check_cutoff(dataset: Dataset, settings: SnapSettings, config: CampaignConfig) -> None:
    """Refuse a cutoff that leaves the atoms of most configurations without neighbours."""
    neighbour = typical_neighbour(dataset)
    if settings.cutoff < neighbour:
        raise _at_potential(
            config,
            ("rcutfac",),
            f"the cutoff of {settings.cutoff:g} A (rcutfac * 2 * the largest radelem) does not reach the "
            f"nearest neighbours of most configurations, {neighbour:.2f} A away",
            hint="raise rcutfac or radelem, unless lengths of the data are not in A",
        )


def _at_potential(config: CampaignConfig, key: tuple[str, ...], problem: str, **details: Any) -> InputError:
    """Error in the section 'potential', or in the FitSNAP input that stands for it."""
    if config.potential is None:
        return InputError(problem, file=config.dataset.path, key=".".join(key), **details)
    return config.error(problem, ("potential", *key), **details)


def _read(config: CampaignConfig) -> Dataset:
    section = config.dataset
    if section.path is not None:
        if section.is_fitsnap_input:
            return read_dataset(section.path, reader="fitsnap_input", data_path=section.data_path)
        return read_dataset(section.path, reader=section.reader)
    return generate_dataset(config)


def generated_digest(config: CampaignConfig) -> str:
    """Hash everything that decides generated data, so that they need not be made again to be known.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.

    Returns
    -------
    str
        The sha256, in hexadecimal; empty where some of the data are read.
    """
    section = config.dataset.generate
    if section is None or config.dataset.test.path is not None:
        return ""
    label = reference_digest(section.label.to_pair())
    return digest(run_identity(config), label, dict(versions()), lammps_info()["version"])


def generate_dataset(config: CampaignConfig) -> Dataset:
    """Make diverse structures and label them with the configured potential.

    Parameters
    ----------
    config : CampaignConfig
        With a section ``dataset.generate``.

    Returns
    -------
    Dataset
        The labelled structures.
    """
    section = config.dataset.generate
    assert section is not None
    with Workspace() as workspace, TemporaryDirectory() as folder:
        pair = section.label.to_pair()
        files = write_reference(pair, section.elements, Path(folder))
        engine = LammpsEngine(files, workspace)
        host = host_crystal(section.structures[0], section.elements[0])
        size = host.size_guess() if section.lattice_constant is None else (section.lattice_constant,) * 2
        relaxed = engine.relax(host.primitive(*size), cell=host.kind.freedom).structure
        diversity = Diversity(
            section.elements,
            section.structures,
            relaxed.volume / len(relaxed),
            section.max_atoms,
            section.volume_range,
            section.rattle,
        )
        items = diverse_structures(section.configurations, diversity, config.seed)
        return label(items, engine, source_of(section))


def source_of(section: GenerateSection) -> str:
    """Say what generated data are.

    Parameters
    ----------
    section : GenerateSection
        How they are made.

    Returns
    -------
    str
        With the labelling potential.
    """
    pair = section.label.to_pair()
    return f"generated, labelled by {pair.pair_style} {pair.pair_coeff[0]}"


def _filter(dataset: Dataset, config: CampaignConfig) -> Dataset:
    """Leave out groups and configurations far above the lowest energy per atom."""
    rule = config.dataset.exclude
    if rule is None:
        return dataset
    unknown = [g for g in rule.groups if g not in dataset.groups]
    if unknown:
        raise InputError(
            f"the data have no group '{unknown[0]}'",
            key="dataset.exclude.groups",
            expected=", ".join(dataset.groups),
        )
    excess = excess_energies(dataset, np.ones(len(dataset), dtype=bool))
    limit = rule.max_energy_above_minimum
    keep = [
        c.group not in rule.groups and (limit is None or e <= limit)
        for c, e in zip(dataset.configurations, excess, strict=True)
    ]
    flags = None if dataset.is_test is None else tuple(np.array(dataset.is_test)[keep].tolist())
    kept = tuple(c for c, k in zip(dataset.configurations, keep, strict=True) if k)
    if not kept:
        raise InputError("no configuration is left", key="dataset.exclude")
    return replace(dataset, configurations=kept, is_test=flags)


def _split(dataset: Dataset, config: CampaignConfig) -> tuple[Dataset, NDArray[np.bool_]]:
    section = config.dataset.test
    if section.fraction is not None:
        return dataset, random_split(dataset, section.fraction, config.seed)
    if section.groups is not None:
        return dataset, group_split(dataset, section.groups)
    if section.path is not None:
        joined = join(dataset, read_dataset(section.path))
        return joined, np.array(joined.is_test)
    return dataset, given_split(dataset)


def _model(
    dataset: Dataset, config: CampaignConfig
) -> tuple[SnapSettings, ReferencePair | None, RowSelection]:
    """Hyperparameters from the campaign file, or else from the data's own recipe."""
    recipe, section, weights = dataset.recipe, config.potential, config.dataset.weights
    with_stress = weights.scheme == "exponential" and weights.stress_ratio > 0
    if section is not None:
        settings, reference = section.to_settings(), section.to_reference()
    elif recipe is not None:
        settings, reference = recipe.settings, recipe.reference
    else:
        raise InputError("the section is missing", key="potential")
    if recipe is not None and weights.scheme == "fitsnap":
        return settings, reference, RowSelection(recipe.use_energy, recipe.use_forces, recipe.use_stress)
    with_stress = with_stress or weights.scheme == "fitsnap"
    return settings, reference, RowSelection(stress=with_stress)


def _weights(
    dataset: Dataset, is_train: NDArray[np.bool_], config: CampaignConfig
) -> tuple[LossWeights, ...]:
    section = config.dataset.weights
    if section.scheme == "fitsnap":
        return fitsnap_weights(dataset, section.file)
    return exponential_weights(
        dataset,
        is_train,
        energy=section.energy,
        force=section.force,
        energy_ratio=section.energy_ratio,
        stress_ratio=section.stress_ratio,
    )
