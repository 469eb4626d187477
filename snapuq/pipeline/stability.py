"""State right after sampling how many members are elastically stable: one matrix product for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.analysis.stability import (
    REACH,
    STRAIN,
    CubicConstants,
    Stability,
    cubic_constants,
    nearest_minimum,
    summarise_stability,
    volume_conserving,
)
from snapuq.config import CampaignConfig
from snapuq.core.dataset import Structure
from snapuq.core.ensemble import Ensemble
from snapuq.descriptors.bispectrum import BispectrumCalculator
from snapuq.errors import InputError, SimulationError, SnapuqError
from snapuq.lammps.session import Session
from snapuq.lammps.truth import SMALLEST_VOLUME
from snapuq.pipeline.folder import RunFolder
from snapuq.pipeline.record import read_record, update_record
from snapuq.properties.base import bind
from snapuq.properties.crystals import Crystal

Array = NDArray[np.float64]
Deformed = tuple[float, Array]

#: The coarse scan: logarithm of the lattice constant relative to the first guess, 1 % apart, as wide as a
#: relaxation of the cell may go before it counts as run away (a factor of two in volume) and no more.
COARSE_STEP = 0.01
COARSE_POINTS = 20
#: Points of the fine scan in one step of the coarse one: 0.5 % of volume. Five of them are narrow enough
#: for a shell of neighbours that passes the cutoff, where the curvature jumps.
REFINEMENT = 6
#: Without properties, the most stable of these stands for an element.
USUAL = ("bcc", "fcc")
_TOLERANCE = 1.0e-6


@dataclass(frozen=True)
class Outcome:
    """What came of one crystal.

    Parameters
    ----------
    label : str
        Label of the crystal, for example ``bcc-W``.
    stability : Stability or None
        None where it could not be computed.
    problem : str
        Why not, in one line.
    mle_energy : float
        Energy per atom of the MLE at its own minimum, eV.
    """

    label: str
    stability: Stability | None = None
    problem: str = ""
    mle_energy: float = float("inf")

    @property
    def lines(self) -> tuple[str, ...]:
        """What to print: the outcome and its warnings."""
        if self.stability is None:
            return (f"elastic stability of {self.label} not known: {self.problem}",)
        return (self.stability.text, *(f"warning: {text}" for text in self.stability.warnings))


def state_stability(config: CampaignConfig, run: RunFolder, ensemble: Ensemble, is_new: bool) -> list[str]:
    """Find out how many members are elastically stable, and record it.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    run : RunFolder
        The output folder.
    ensemble : Ensemble
        The members.
    is_new : bool
        Whether the ensemble has just been drawn; of an older one, what is recorded is not done again.

    Returns
    -------
    list of str
        Lines to print; none where there is nothing to say. A crystal that fails is one of them, never an
        error.

    Raises
    ------
    InputError
        When ``summary.yaml`` has been damaged.
    """
    known = {} if is_new else read_record(run).get("stability", {})
    done = {label for label, entry in known.items() if isinstance(entry, dict) and "problem" not in entry}
    groups = [g for g in wanted_crystals(config, ensemble.settings.elements) if done.isdisjoint(_labels(g))]
    outcomes = elastic_stability(ensemble, groups)
    if outcomes:
        entries = {
            o.label: {"problem": o.problem} if o.stability is None else o.stability.as_dict()
            for o in outcomes
        }
        update_record(run, config, stability=entries)
    return [line for outcome in outcomes for line in outcome.lines]


def wanted_crystals(config: CampaignConfig, elements: Sequence[str]) -> tuple[tuple[Crystal, ...], ...]:
    """Find the crystals of a campaign whose elastic constants follow from fixed positions.

    Parameters
    ----------
    config : CampaignConfig
        The configuration.
    elements : sequence of str
        Elements of the potential.

    Returns
    -------
    tuple of tuple of Crystal
        Each distinct crystal of the properties, cubic and without internal coordinates; without any
        properties, bcc and fcc of a single element, of which the more stable is meant.
    """
    if not config.campaign.properties:
        usual = tuple(Crystal(name, tuple(elements)) for name in USUAL)
        return (usual,) if len(elements) == 1 else ()
    found: dict[str, Crystal] = {}
    for request in config.campaign.properties:
        try:
            params = bind(request.params, elements)
        except InputError:
            # The campaign itself will say so.
            continue
        texts = [getattr(params, "structure", ()), *getattr(params, "structures", ())]
        for crystal in (Crystal.parse(text) for text in texts if text):
            if is_rigid(crystal):
                found.setdefault(crystal.label, crystal)
    return tuple((crystal,) for crystal in found.values())


def is_rigid(crystal: Crystal) -> bool:
    """Tell whether every atom of a cubic crystal follows any homogeneous strain.

    Parameters
    ----------
    crystal : Crystal
        With elements.

    Returns
    -------
    bool
        True when it is cubic and each atom is a centre of inversion, so that no strain exerts a force on it.
    """
    if crystal.kind.system != "cubic":
        return False
    cell = crystal.conventional(1.0, 1.0)
    species, sites = np.array(cell.species), cell.positions
    inverted = 2.0 * sites[:, None, None] - sites[:, None] - sites
    coincide = np.abs(inverted - np.round(inverted)).max(axis=-1) < _TOLERANCE
    return bool((coincide & (species[:, None] == species)).any(axis=2).all())


def elastic_stability(ensemble: Ensemble, groups: Sequence[Sequence[Crystal]]) -> tuple[Outcome, ...]:
    """Elastic constants of the MLE and all members, on this rank alone.

    Parameters
    ----------
    ensemble : Ensemble
        The members.
    groups : sequence of sequence of Crystal
        Of each group, the crystal in which the MLE has the lowest energy is given.

    Returns
    -------
    tuple of Outcome
        One for each group.
    """
    return tuple(min((_outcome(ensemble, c) for c in g), key=lambda o: o.mle_energy) for g in groups)


def member_constants(
    ensemble: Ensemble, crystal: Crystal, session: Session, strain: float = STRAIN
) -> CubicConstants:
    """Elastic constants of the MLE and all members for one crystal.

    Parameters
    ----------
    ensemble : Ensemble
        The members.
    crystal : Crystal
        One for which `is_rigid` holds.
    session : Session
        The LAMMPS instance to use.
    strain : float
        Size of the strains.

    Returns
    -------
    CubicConstants
        Of the MLE, and then of every member.

    Raises
    ------
    InputError
        When the size of an element is not known.
    SimulationError
        When LAMMPS fails, or the MLE's energy has no minimum near the first guess.
    """
    energies = _Energies(ensemble, crystal, session)
    guess, _ = crystal.size_guess()
    grid, start = _fine_grid(energies, guess)
    return cubic_constants(grid, energies.strained(grid, strain), energies.atoms_per_cell, strain, start)


def _labels(crystals: Sequence[Crystal]) -> set[str]:
    return {crystal.label for crystal in crystals}


def _outcome(ensemble: Ensemble, crystal: Crystal) -> Outcome:
    try:
        with Session() as session:
            constants = member_constants(ensemble, crystal, session)
    except SnapuqError as error:
        # The sample is drawn all the same; one line says what is not known about it.
        return Outcome(crystal.label, problem=str(error))
    name = f"{crystal.prototype} {'-'.join(crystal.elements)}"
    return Outcome(crystal.label, summarise_stability(name, constants), mle_energy=float(constants.energy[0]))


class _Energies:
    """Energies per atom of the MLE (column 0) and the members for a crystal of any size and strain."""

    def __init__(self, ensemble: Ensemble, crystal: Crystal, session: Session) -> None:
        self._crystal = crystal
        self._columns = np.vstack([ensemble.mle, ensemble.coefficients]).T
        self._calculator = BispectrumCalculator(session, ensemble.settings, ensemble.reference)
        self.atoms_per_cell = len(crystal.conventional(1.0, 1.0))

    def strained(self, grid: Array, strain: float) -> Array:
        """Energies under the deformations of `volume_conserving`, shape (3, n, 1 + M)."""
        deformations = volume_conserving(strain)
        return self.of([(float(a), d) for d in deformations for a in grid]).reshape(3, len(grid), -1)

    def of(self, cells: Sequence[Deformed]) -> Array:
        """Energies per atom, shape (n, 1 + M): all members at once."""
        rows, baseline = zip(*self._rows(cells), strict=True)
        energies: Array = np.array(rows) @ self._columns + np.array(baseline)[:, None]
        return energies

    def _rows(self, cells: Sequence[Deformed]) -> Iterator[tuple[Array, float]]:
        for a, deformation in cells:
            perfect = self._crystal.primitive(a, a)
            n = len(perfect)
            if perfect.volume < SMALLEST_VOLUME * n:
                raise SimulationError("bad_box", f"{perfect.volume / n:.3g} A^3 per atom")
            strained = Structure(perfect.cell @ deformation, perfect.positions @ deformation, perfect.species)
            rows = self._calculator.rows(strained)
            yield rows.energy / n, rows.reference_energy / n


def _fine_grid(energies: _Energies, guess: float) -> tuple[Array, int]:
    """Lattice constants around the minima of all members, and the index of the one next to the MLE's."""
    steps = np.arange(-COARSE_POINTS, COARSE_POINTS + 1)
    coarse = energies.of([(guess * float(np.exp(COARSE_STEP * k)), np.eye(3)) for k in steps])
    mle = int(nearest_minimum(coarse[:, :1], COARSE_POINTS)[0])
    if mle < 0:
        low, high = guess * np.exp(COARSE_STEP * steps[[0, -1]])
        raise SimulationError("no_minimum", f"the MLE's energy has none for a = {low:.3g} to {high:.3g} A")
    minima = nearest_minimum(coarse, mle)
    first, last = np.min(minima[minima >= 0]), np.max(minima)
    # The minimum itself is up to one coarse step away from the lowest point.
    low, high = (first - 1) * REFINEMENT - REACH, (last + 1) * REFINEMENT + REACH
    fine = np.arange(low, high + 1) / REFINEMENT - COARSE_POINTS
    return guess * np.exp(COARSE_STEP * fine), int(mle * REFINEMENT - low)
