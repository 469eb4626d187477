"""An engine that remembers relaxed cells, so that properties share a potential's crystals."""

from __future__ import annotations

from collections.abc import Callable

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX, SMAX, CellFreedom, Engine, Evaluation, Relaxation
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
        return self._engine.evaluate(structure)

    def relax(
        self,
        structure: Structure,
        *,
        cell: CellFreedom | None = None,
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
                structure, cell=cell, fmax=fmax, smax=smax, max_evaluations=max_evaluations
            )

        if cell is None:
            return work()
        key = (structure.digest, cell, fmax, smax, max_evaluations)
        if key not in self._known:
            try:
                self._known[key] = work()
            except SimulationError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, SimulationError):
            raise found
        return found


def remembering(make_engine: Callable[[int], Engine]) -> Callable[[int], Engine]:
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
    engines: dict[int, Engine] = {}

    def make(member: int) -> Engine:
        if member not in engines:
            engines[member] = RememberingEngine(make_engine(member))
        return engines[member]

    return make
