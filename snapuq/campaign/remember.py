"""An engine that remembers relaxed cells, so that properties share a potential's crystals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from snapuq.core.dataset import Structure
from snapuq.core.engine import (
    FMAX,
    SMAX,
    Band,
    BandEngine,
    CellFreedom,
    Directions,
    Engine,
    Evaluation,
    Relaxation,
)
from snapuq.errors import SimulationError


class RememberingEngine:
    """Wrap an engine; cell relaxations asked for again are not run again.

    An engine's answer is a function of its arguments alone, so this changes no result.

    Parameters
    ----------
    engine : Engine
        The potential.
    """

    def __init__(self, engine: Engine) -> None:
        #: Force evaluations that everything asked for so far takes.
        self.evaluations = 0
        self._engine = engine
        self._known: dict[tuple[object, ...], Relaxation | SimulationError] = {}

    def evaluate(self, structure: Structure) -> Evaluation:
        """Energy, forces and stress at fixed positions.

        Parameters
        ----------
        structure : Structure
            Any right-handed periodic cell.

        Returns
        -------
        Evaluation
            What the engine gives.
        """
        self.evaluations += 1
        return self._engine.evaluate(structure)

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
            Limit on force evaluations.

        Returns
        -------
        Relaxation
            What the engine gives, or gave.

        Raises
        ------
        SimulationError
            What the engine raises, or raised.
        """

        def work() -> Relaxation:
            return self._engine.relax(
                structure,
                cell=cell,
                directions=directions,
                fmax=fmax,
                smax=smax,
                max_evaluations=max_evaluations,
            )

        if cell is None:
            return self._counted(work())
        key = (structure.digest, cell, directions, fmax, smax, max_evaluations)
        if key not in self._known:
            try:
                self._known[key] = work()
            except SimulationError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, SimulationError):
            raise found
        return self._counted(found)

    def _counted(self, relaxation: Relaxation) -> Relaxation:
        # What was remembered counts as well: the cost of a task must not depend on what ran before.
        self.evaluations += relaxation.evaluations
        return relaxation


class RememberingBandEngine(RememberingEngine):
    """The same for an engine with a nudged elastic band of its own.

    Parameters
    ----------
    engine : BandEngine
        The potential.
    """

    def __init__(self, engine: BandEngine) -> None:
        super().__init__(engine)
        self._band_engine = engine

    def neb(self, images: Sequence[Structure], *, fmax: float, max_steps: int = 500) -> Band:
        """Relax a band with a climbing image.

        Parameters
        ----------
        images : sequence of Structure
            Start.
        fmax : float
            Tolerance, eV/A.
        max_steps : int
            Limit on steps.

        Returns
        -------
        Band
            What the engine gives.
        """
        band = self._band_engine.neb(images, fmax=fmax, max_steps=max_steps)
        self.evaluations += band.evaluations
        return band


def remembering(make_engine: Callable[[int], Engine]) -> Callable[[int], RememberingEngine]:
    """Make each member's engine once and let it remember.

    Parameters
    ----------
    make_engine : callable
        Member to its potential.

    Returns
    -------
    callable
        The same, with one engine for each member.
    """
    engines: dict[int, RememberingEngine] = {}

    def make(member: int) -> RememberingEngine:
        if member not in engines:
            engine = make_engine(member)
            engines[member] = (
                RememberingBandEngine(engine) if isinstance(engine, BandEngine) else RememberingEngine(engine)
            )
        return engines[member]

    return make
