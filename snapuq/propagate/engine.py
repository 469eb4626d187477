"""A member's engine that answers from what the MLE was asked, and falls back to the potential itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.engine import (
    FMAX,
    SMAX,
    CellFreedom,
    Directions,
    Evaluation,
    Relaxation,
    Saddle,
)
from snapuq.errors import SimulationError
from snapuq.lammps.truth import LARGEST_VOLUME_RATIO
from snapuq.propagate.choice import choose, count_negative, saddle_guesses
from snapuq.propagate.context import Context, distance, fractional, is_rigid, turns
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.descent import Valley, descend
from snapuq.propagate.expansion import Expansion
from snapuq.propagate.family import Shape
from snapuq.propagate.krylov import PROBE
from snapuq.propagate.metric import Metric
from snapuq.propagate.newton import find_stationary, is_close
from snapuq.propagate.record import CountingEngine, Relaxed, is_near

Array = NDArray[np.float64]
Mode = Literal["auto", "brute", "batched", "newton", "implicit"]

#: Steps to the zero of the pressure, by interpolated rows, at most.
_PRESSURE_STEPS = 30
#: Relative change of a lattice parameter below which it is found, and the one that tells the stiffness.
_LENGTH, _PROBE = 1.0e-9, 1.0e-3


#: Tolerance on forces, eV/A, from which on it does not matter what kind of stationary point is near.
LOOSE = 1.0e-2


class PropagatingEngine:
    """The engine of a member; see `snapuq.core.engine.Engine`.

    Fixed positions that the MLE was asked about are answered by rows, whatever their scale (``batched``).
    Relaxations and saddles start from the MLE's, displaced to second order, and are brought to the same
    tolerance by quasi-Newton steps (``newton``), or left there (``implicit``). Where the MLE does not tell
    what state a member ends in, it descends from its own start (``descent``). Where there is any doubt,
    LAMMPS relaxes it from there, as without propagation (``brute``).

    Parameters
    ----------
    engine : CountingEngine
        The member's potential.
    member : int
        Which one.
    context : Context
        The same task of the MLE.
    mode : {'auto', 'batched', 'newton', 'implicit'}
        What may be used; ``auto`` takes batched and newton.
    """

    def __init__(self, engine: CountingEngine, member: int, context: Context, mode: Mode) -> None:
        self._engine, self._member, self._context, self._mode = engine, member, context, mode
        self._n_relaxed = 0
        #: Largest energy, eV, by which a relaxation was predicted to lower that of the MLE's state.
        self.decrement = 0.0
        #: Ways that were used.
        self.ways: set[str] = set()
        #: Relaxations and saddles that fell back to brute force.
        self.fallbacks = 0

    @property
    def evaluations(self) -> int:
        """Force evaluations of the member's own potential."""
        return self._engine.evaluations

    def evaluate(self, structure: Structure) -> Evaluation:
        """Energy, forces and stress at fixed positions.

        Parameters
        ----------
        structure : Structure
            Any right-handed periodic cell.

        Returns
        -------
        Evaluation
            In the frame of the structure given.
        """
        found = None
        if self._mode != "newton":
            found = self._context.evaluate(structure, self._member)
        if found is None:
            self.ways.add("brute")
            return self._engine.evaluate(structure)
        self.ways.add("batched")
        return found

    def relax(
        self,
        structure: Structure,
        *,
        cell: CellFreedom | None = None,
        directions: Directions = "all",
        fmax: float = FMAX,
        smax: float = SMAX,
        max_evaluations: int = 1000,
    ) -> Relaxation:
        """Relax positions, and the cell if asked to.

        Parameters
        ----------
        structure : Structure
            Start.
        cell : {'isotropic', 'axes', 'full'} or None
            Freedom of the cell.
        directions : {'all', 'normal'}
            Which way atoms may move.
        fmax, smax : float
            Tolerances, eV/A and eV/A^3.
        max_evaluations : int
            Limit on force evaluations, where it comes to brute force.

        Returns
        -------
        Relaxation
            Converged, or what brute force gives.
        """
        number, before = self._n_relaxed, self._engine.evaluations
        self._n_relaxed += 1
        found = None
        known = self._context.match(number, structure, cell, directions)
        if known is not None:
            try:
                found = self._propagated(known, structure, fmax, smax)
            except SimulationError:
                # A step went astray; the member itself may be sound.
                found = None
        if found is None:
            self.ways.add("brute")
            self.fallbacks += 1
            return self._engine.relax(
                structure,
                cell=cell,
                directions=directions,
                fmax=fmax,
                smax=smax,
                max_evaluations=max_evaluations,
            )
        return Relaxation(*found, True, self._engine.evaluations - before)

    def saddle(self, first: Structure, last: Structure, search: Callable[[], Saddle]) -> Saddle:
        """Find the saddle that the MLE has between the same states.

        Parameters
        ----------
        first, last : Structure
            The member's states.
        search : callable
            Finds it by brute force.

        Returns
        -------
        Saddle
            With one negative mode.
        """
        try:
            found = self._propagated_saddle(first)
        except SimulationError:
            found = None
        if found is None:
            self.ways.add("brute")
            self.fallbacks += 1
            return search()
        return found

    def _propagated(
        self, known: Relaxed, start: Structure, fmax: float, smax: float
    ) -> tuple[Structure, Evaluation] | None:
        if self._mode != "newton" and is_rigid(known):
            found = self._rigid(known, start, fmax)
            if found is not None:
                self.ways.add("batched")
                return found
        if self._mode == "batched" or known.expansion < 0:
            return None
        # What kind of point a loose tolerance ends near does not matter.
        is_loose = fmax >= LOOSE
        target = known if is_loose else choose(self._context, known, self._member)
        if self._mode == "implicit":
            return None if target is None else self._implicit(target, start)
        found = None
        if target is not None:
            soft = self._context.soft_hessian(target.expansion, self._member)
            is_minimum = not is_loose and count_negative(soft) == 0
            found = self._stationary(target, start, fmax=fmax, smax=smax, is_minimum=is_minimum)
        return found or self._descended(known, start, fmax, smax)

    def _descended(
        self, known: Relaxed, start: Structure, fmax: float, smax: float
    ) -> tuple[Structure, Evaluation] | None:
        """From the member's own start, as by brute force but in fewer steps."""
        if known.cell is not None:
            return None
        near = {
            number: Valley(metric, self._context.soft_hessian(number, self._member))
            for number, metric in enumerate(self._context.record.expansions)
            if _is_alike(metric.degrees, start, known.directions)
        }
        nearest = min(near, key=lambda number: near[number].distance(start))
        start = self._settled(start, known.directions, nearest)
        degrees = Degrees(start, None, known.directions)
        found = descend(self._engine, degrees, list(near.values()), fmax=fmax, smax=smax)
        if found is None:
            return None
        self.ways.add("descent")
        return found.structure, found.evaluation

    def _settled(self, start: Structure, directions: Directions, number: int) -> Structure:
        """Relax what is stiff of a small displacement from a state of the MLE, by rows."""
        expansion = self._context.record.expansions[number]
        state = expansion.degrees.state
        known = Relaxed(state, state, None, directions, number)
        degrees = _in_cell(known, start)
        slope = self._slope(known, degrees) if isinstance(expansion, Expansion) else None
        if slope is None or not isinstance(expansion, Expansion) or distance(start, state) is None:
            return start
        return degrees.structure(expansion.settled(degrees.coordinates(start), slope))

    def _rigid(self, known: Relaxed, start: Structure, fmax: float) -> tuple[Structure, Evaluation] | None:
        """A crystal in which nothing moves but the scale, if it is free."""
        there = self._context.find(start)
        if there is None:
            return None
        (family, own), member = there, self._member
        if known.cell is None:
            found = family.evaluate(member, own)
            degrees = Degrees(start, None, known.directions)
            if found is None or not degrees.is_converged(found, fmax, 0.0):
                return None
            return start, degrees.masked(found)
        (shape, _), (_, at) = Shape.of(start), Shape.of(known.state)
        probe = family.evaluate(member, at + _PROBE)
        slope = step = 0.0
        for _ in range(_PRESSURE_STEPS):
            # Beyond, brute force has it run away.
            if abs(at - own) > np.log(LARGEST_VOLUME_RATIO) / 3.0:
                return None
            found = family.evaluate(member, at)
            if probe is None or found is None or float(np.linalg.norm(found.forces, axis=1).max()) > fmax:
                return None
            stress = float(found.stress[:3].mean())
            # One slope for all steps: interpolations of different order do not join to the last digit.
            slope = slope or (float(probe.stress[:3].mean()) - stress) / _PROBE
            if slope <= 0.0:
                return None
            step = -stress / slope
            if abs(step) <= _LENGTH:
                return shape.at(at), found
            at += step
        return None

    def _stationary(
        self,
        known: Relaxed,
        start: Structure,
        *,
        fmax: float = FMAX,
        smax: float = SMAX,
        is_minimum: bool = True,
    ) -> tuple[Structure, Evaluation] | None:
        """Quasi-Newton steps from the MLE's state, displaced to second order where rows give a slope."""
        curvature = self._context.curvature(known.expansion, self._member)
        degrees = _in_cell(known, start)
        slope = self._slope(known, degrees)
        q = np.zeros(degrees.n_free)
        if curvature is not None and slope is not None:
            q = (curvature.displacement(slope) or (-curvature.solve(slope),))[0]
        found = find_stationary(
            self._engine,
            degrees,
            curvature or self._context.record.expansions[known.expansion],
            q,
            fmax=fmax,
            smax=smax,
            is_minimum=is_minimum,
        )
        if found is None:
            return None
        self.ways.add("newton")
        return found.structure, found.evaluation

    def _implicit(self, known: Relaxed, start: Structure) -> tuple[Structure, Evaluation] | None:
        """Second-order positions and cell, third-order energy."""
        curvature = self._context.curvature(known.expansion, self._member)
        degrees = _in_cell(known, start)
        if curvature is None:
            return self._implicit_without_rows(self._context.record.expansions[known.expansion], degrees)
        at = self._context.at_state(known.state, degrees.state.cell, self._member)
        if at is None:
            return None
        zero = np.zeros(degrees.n_free)
        slope = degrees.slope(at, zero)
        displacement = curvature.displacement(slope)
        if displacement is None or not is_close(degrees, displacement[0]):
            return None
        q, bent = displacement
        self.decrement = max(self.decrement, 0.5 * abs(float(slope @ q)))
        # What is left of the forces is of third order; the stress follows the displacements to first order.
        energy = at.energy + 0.5 * float(slope @ q) - float(bent @ q) / 6.0
        stress = np.zeros(6)
        if known.cell is None:
            stress = at.stress
            if known.directions == "all":
                stress = stress + self._context.stress_response(known.expansion, self._member) @ q
        self.ways.add("implicit")
        return degrees.structure(q), Evaluation(energy, np.zeros_like(at.forces), stress)

    def _implicit_without_rows(
        self, expansion: Metric, degrees: Degrees
    ) -> tuple[Structure, Evaluation] | None:
        """First-order positions and cell, and what the potential itself says there."""
        zero = np.zeros(degrees.n_free)
        slope = degrees.slope(self._engine.evaluate(degrees.state), zero)
        q = -expansion.solve(slope)
        if not is_close(degrees, q):
            return None
        self.decrement = max(self.decrement, 0.5 * abs(float(slope @ q)))
        self.ways.add("implicit")
        structure = degrees.structure(q)
        return structure, degrees.masked(self._engine.evaluate(structure))

    def _slope(self, known: Relaxed, degrees: Degrees) -> Array | None:
        """Slope at the MLE's state in the member's cell, by rows; None where it takes an evaluation."""
        if self._mode == "newton" or not self._context.record.expansions[known.expansion].uses_rows:
            return None
        if not is_near(self._context.record.expansions[known.expansion].degrees.state, known.state):
            return None
        at = self._context.at_state(known.state, degrees.state.cell, self._member)
        return None if at is None else degrees.slope(at, np.zeros(degrees.n_free))

    def _propagated_saddle(self, first: Structure) -> Saddle | None:
        if self._mode == "batched":
            return None
        for guess in saddle_guesses(self._context, self._member):
            state = self._context.record.expansions[guess.expansion].degrees.state
            known = Relaxed(state, state, None, "all", guess.expansion)
            if self._mode == "implicit":
                found = self._implicit(known, first) if guess.is_sure else None
            else:
                found = self._stationary(known, first, is_minimum=False)
            if found is not None and (guess.is_sure or self._curves_down(guess.expansion, *found)):
                middle = self._context.record.expansions[self._context.record.saddles[0][1]]
                negative = guess.first_negative
                return Saddle(found[1].energy, 1, True, negative, found[0], middle.degrees.state)
        return None

    def _curves_down(self, number: int, state: Structure, found: Evaluation) -> bool:
        """Tell by one evaluation whether the energy falls along the softest mode."""
        degrees = Degrees(state, None, "all")
        mode = self._context.record.expansions[number].soft_modes()[0]
        q = mode * (PROBE / degrees.reach(mode))
        change = degrees.slope(self._engine.evaluate(degrees.structure(q)), q)
        return float((change - degrees.slope(found, np.zeros_like(q))) @ q) < 0.0


def _in_cell(known: Relaxed, start: Structure) -> Degrees:
    """Coordinates around the MLE's state: in the member's cell where it is fixed."""
    state = known.state
    if known.cell is None:
        positions = (fractional(state) + turns(start, known.start)) @ start.cell
        state = Structure(start.cell, positions, state.species)
    return Degrees(state, known.cell, known.directions)


def _is_alike(degrees: Degrees, start: Structure, directions: Directions) -> bool:
    """Tell whether coordinates are those of a relaxation in a fixed cell."""
    return (degrees.cell, degrees.directions, degrees.state.species) == (None, directions, start.species)
