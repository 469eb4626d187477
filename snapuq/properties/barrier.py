"""Energy barrier of a vacancy hop."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from snapuq.core.dataset import Structure
from snapuq.core.engine import FMAX, Band, BandEngine, Engine, Relaxation, Saddle, SaddleEngine
from snapuq.core.reasons import RECONFIGURED
from snapuq.errors import InputError, SimulationError
from snapuq.properties.band import relax_band
from snapuq.properties.base import PROPERTIES, PropertyOutput, quantities
from snapuq.properties.checks import check_choice, check_crystals, check_positive, check_within
from snapuq.properties.crystals import Crystal
from snapuq.properties.defects import SUPERCELLS, DefectParams, Host, Occupation, PointDefect, without
from snapuq.properties.saddle import Solver, find_saddle

#: Displacement of each coordinate before the end states are relaxed, A: one that is held by its symmetry
#: alone gives way.
RATTLE = 0.02
#: Difference of the energies of end states that symmetry makes equal, eV, beyond which one of them is another
#: state: ten times what forces of 1e-4 eV/A leave undecided at the softest modes.
EQUAL_ENERGIES = 1.0e-4
#: Difference of two lengths that are the same, in nearest-neighbour distances.
EQUAL_LENGTHS = 1.0e-3
_CRYSTALS = ("bcc", "fcc", "hcp")


@PROPERTIES.register("barrier")
class Barrier(PointDefect):
    """E(saddle) - E(initial minimum) of a vacancy that changes places with a nearest neighbour.

    Both minima are relaxed from rattled sites; the path between them by a nudged elastic band with a climbing
    image, in this process (``method: band``) or by LAMMPS's ``neb`` (``method: neb``). The saddle is
    verified: the Hessian of all atoms there has exactly one negative mode, by Lanczos iteration, which
    takes 15 to 25 force evaluations beside 70 to 200 of a band, and it is settled from there in less than
    10. A band that hangs over a symmetric point that is no saddle is searched again, see
    `snapuq.properties.saddle.find_saddle`; where that fails, so does the task, with the reason
    ``no_saddle``. In hcp there are two hops: basal and pyramidal.

    Notes
    -----
    Barriers in 3, 4, 5 and 6 conventional cells along each axis: W (EAM, Zhou) 1.981, 1.910, 1.895,
    1.892 eV; Mo (SNAP, Zuo) 1.487, 1.497, 1.501; Ta (SNAP, Thompson) 1.124, 1.070, 1.065; Cu (EAM,
    Mishin) 0.689, 0.689, 0.690; Mg (EAM, basal) 0.609, 0.627, 0.632, 0.634. The default of 4 is within
    1.2 % of the largest.

    References
    ----------
    Henkelman, Uberuaga and Jonsson, J. Chem. Phys. 113, 9901 (2000), doi:10.1063/1.1329672.
    """

    version = 2

    @dataclass(frozen=True)
    class Params:
        """Crystal, supercell, hop and band.

        Parameters
        ----------
        structure : str
            bcc, fcc or hcp crystal of one element.
        kind : {'vacancy_hop'}
            What moves.
        hop : {'nearest', 'basal', 'pyramidal'}
            Neighbour that the vacancy changes places with; the last two in hcp alone, where ``nearest``
            stands for both.
        method : {'band', 'neb'}
            In-process band, or LAMMPS's own, which takes a process for each image.
        supercell : int
            Repetitions of the conventional cell along each axis.
        images : int
            Images of the band, both ends included; odd, so that one of them climbs.
        fmax : float
            Largest force on an atom of the end states, eV/A.
        band_fmax : float
            Largest force of the band on an atom, eV/A.
        """

        structure: str = "bcc"
        kind: Literal["vacancy_hop"] = "vacancy_hop"
        hop: Literal["nearest", "basal", "pyramidal"] = "nearest"
        method: Literal["band", "neb"] = "band"
        supercell: int = 4
        images: int = 7
        fmax: float = FMAX
        band_fmax: float = 1.0e-2

        def __post_init__(self) -> None:
            check_crystals("structure", self.structure)
            prototype = Crystal.parse(self.structure).prototype
            if prototype not in _CRYSTALS:
                raise ValueError(f"structure: expected one of {', '.join(_CRYSTALS)}, got {prototype}")
            check_choice(self, "kind", ("vacancy_hop",))
            check_choice(
                self, "hop", ("nearest", "basal", "pyramidal") if prototype == "hcp" else ("nearest",)
            )
            check_choice(self, "method", ("band", "neb"))
            check_within(self, "supercell", *SUPERCELLS)
            check_within(self, "images", 3, 51, odd=True)
            check_positive(self, "fmax", "band_fmax")

    @staticmethod
    def expand(params: Params) -> tuple[Params, ...]:
        """Split into hops.

        Parameters
        ----------
        params : Params
            What the user asked for.

        Returns
        -------
        tuple of Params
            Both hops of hcp, or the only one.
        """
        if Crystal.parse(params.structure).prototype != "hcp" or params.hop != "nearest":
            return (params,)
        return (dataclasses.replace(params, hop="basal"), dataclasses.replace(params, hop="pyramidal"))

    @staticmethod
    def label(params: Params) -> str:
        """Name the crystal, the hop and LAMMPS's method.

        Parameters
        ----------
        params : Params
            The parameters.

        Returns
        -------
        str
            For example ``barrier-bcc`` or ``barrier-hcp-basal-neb``.
        """
        words = ["barrier", Crystal.parse(params.structure).label]
        words += [] if params.hop == "nearest" else [params.hop]
        return "-".join(words + ([] if params.method == "band" else [params.method]))

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Barriers both ways, and negative modes of the Hessian.

        Parameters
        ----------
        params : Params
            The parameters.

        Returns
        -------
        Mapping
            Quantity name to unit. ``negative_modes`` is counted at the saddle, ``negative_modes_first`` where
            the first band came to rest: 0 for a minimum half-way, more than 1 for a saddle of higher order.
        """
        return {"barrier": "eV", "reverse_barrier": "eV", "negative_modes": "", "negative_modes_first": ""}

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Relax both states, find the saddle between them and verify it.

        Parameters
        ----------
        engine : Engine
            The potential.
        params : Params
            The parameters.
        rng : numpy.random.Generator
            For the rattled starts and the directions of the search.

        Returns
        -------
        PropertyOutput
            The quantities of `outputs`; reconfigured when the end states differ in energy.

        Raises
        ------
        SimulationError
            ``reconfigured`` when a vacancy leaves its site, ``no_saddle`` when there is none between.
        InputError
            When the method is ``neb`` and the engine has none.
        """
        solve = _solver(engine, params)
        host = Host.of(engine, DefectParams(params.structure, params.supercell))
        first, last = _end_states(engine, host, params, rng)
        ends = (first.structure, last.structure)

        def search() -> Saddle:
            return find_saddle(engine, solve, *ends, images=params.images, fmax=params.band_fmax, rng=rng)

        saddle = engine.saddle(*ends, search) if isinstance(engine, SaddleEngine) else search()
        energies = (first.evaluation.energy, last.evaluation.energy)
        values = {
            "barrier": saddle.energy - energies[0],
            "reverse_barrier": saddle.energy - energies[1],
            "negative_modes": saddle.negative,
            "negative_modes_first": saddle.first_negative,
        }
        return PropertyOutput(
            quantities(values, Barrier.outputs(params)),
            first.converged and last.converged and saddle.converged,
            abs(energies[0] - energies[1]) > EQUAL_ENERGIES,
        )


def _solver(engine: Engine, params: Barrier.Params) -> Solver:
    if params.method == "band":
        return lambda images: relax_band(engine, images, fmax=params.band_fmax)
    if not isinstance(engine, BandEngine):
        raise InputError("this engine has no band of its own", found="method: neb", expected="method: band")
    own = engine

    def solve(images: Sequence[Structure]) -> Band:
        return own.neb(images, fmax=params.band_fmax)

    return solve


def _end_states(
    engine: Engine, host: Host, params: Barrier.Params, rng: np.random.Generator
) -> tuple[Relaxation, Relaxation]:
    """Relax the vacancy on both sites, and see that it stays there."""
    site, way = _neighbour(host, params.hop)
    perfect = host.perfect
    moved = perfect.positions.copy()
    moved[site] -= way
    states = []
    for positions, vacant in ((perfect.positions, 0), (moved, site)):
        start = without(Structure(perfect.cell, positions, perfect.species), {0})
        noise = RATTLE * rng.standard_normal(start.positions.shape)
        # No drift: both states stay aligned.
        noise -= noise.mean(axis=0)
        relaxed = engine.relax(
            Structure(start.cell, start.positions + noise, start.species), fmax=params.fmax
        )
        if not Occupation.of(relaxed.structure, perfect).is_vacant_at({vacant}, host.neighbour):
            raise SimulationError(RECONFIGURED, "the vacancy left its site before the hop")
        states.append(relaxed)
    return states[0], states[1]


def _neighbour(host: Host, hop: str) -> tuple[int, np.ndarray]:
    """Site of the first neighbour of site 0 for a hop, and the vector to it."""
    perfect = host.perfect
    fractional = (perfect.positions - perfect.positions[0]) @ np.linalg.inv(perfect.cell)
    vectors = (fractional - np.rint(fractional)) @ perfect.cell
    lengths = np.linalg.norm(vectors, axis=1)
    axis = perfect.cell[2] / np.linalg.norm(perfect.cell[2])
    in_plane = np.abs(vectors @ axis) < EQUAL_LENGTHS * host.neighbour
    allowed = {"nearest": lengths > 0.0, "basal": in_plane & (lengths > 0.0), "pyramidal": ~in_plane}[hop]
    shortest = lengths[allowed].min()
    same = allowed & (lengths < shortest + EQUAL_LENGTHS * host.neighbour)
    site = int(np.flatnonzero(same)[0])
    return site, vectors[site]
