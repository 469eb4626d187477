"""Formation and binding energy of two vacancies near each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snapuq.core.engine import Engine
from snapuq.properties.base import PROPERTIES, PropertyOutput, quantities
from snapuq.properties.checks import check_items
from snapuq.properties.crystals import Crystal
from snapuq.properties.defects import (
    UNITS,
    DefectParams,
    Host,
    Occupation,
    PointDefect,
    relax_defect,
    repeated,
    without,
)

#: Shells further out than these hold neighbours that are equally far but not equivalent.
LARGEST_SHELL = 6
# Cells in each direction that hold all these shells.
_REACH = 3


@PROPERTIES.register("divacancy")
class Divacancy(PointDefect):
    """Two vacancies, one a neighbour of the other in a given shell.

    Formation energy E(N - 2) - (N - 2) e_bulk; binding energy 2 E_f(vacancy) - E_f(divacancy), with the
    single vacancy in the same supercell, positive when vacancies attract each other.

    Notes
    -----
    Binding energies of shells 1 and 2 with 3, 4 and 5 cells along an edge: 0.388, 0.369, 0.369 and 0.417,
    0.453, 0.460 eV (bcc W, EAM of Zhou); 0.139, 0.143, 0.144 and 0.010, 0.013, 0.014 eV (fcc Cu, EAM of
    Mishin). The default of 4 is within 0.01 eV of the limit. Vacancies further apart than half the
    supercell would see each other's images, and are refused.

    References
    ----------
    Derlet, Nguyen-Manh and Dudarev, Phys. Rev. B 76, 054107 (2007), doi:10.1103/PhysRevB.76.054107.
    """

    split_by = "shells"

    @dataclass(frozen=True)
    class Params(DefectParams):
        """Crystal, shells, supercell and boundary condition.

        Parameters
        ----------
        structure : str
            bcc, fcc, hcp, sc or diamond.
        supercell : int
            Repetitions of the conventional cell along each axis.
        constant : {'volume', 'pressure'}
            Whether the cell stays that of the perfect crystal, or relaxes to zero pressure, shape included.
        fmax : float
            Largest force at the end, eV/A.
        shells : tuple of int
            Neighbour shells, 1 the nearest, counted at the first guess of c/a. In hcp, neighbours whose
            heights differ are separate shells even where they are equally far (1: in the basal plane, 2: out
            of it).
        """

        CRYSTALS = ("bcc", "fcc", "hcp", "sc", "diamond")

        shells: tuple[int, ...] = (1, 2)

        def __post_init__(self) -> None:
            super().__post_init__()
            check_items("shells", "shell", self.shells)
            for shell in self.shells:
                if not 1 <= shell <= LARGEST_SHELL:
                    raise ValueError(f"shells: expected 1 to {LARGEST_SHELL}, got {shell}")
                reach = float(np.abs(shell_vector(Crystal.parse(self.structure), shell)).max())
                # At half the supercell the second vacancy would be its own mirror image.
                if 2.0 * reach > self.supercell - 1.0e-6:
                    needed = int(2.0 * reach + 1.0e-6) + 1
                    raise ValueError(f"shells: shell {shell} needs a supercell of {needed} or more")

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Formation energy, relaxation volume and binding energy.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        return {**UNITS, "binding_energy": "eV"}

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Remove one atom, then its neighbour too, and relax the others each time.

        Parameters
        ----------
        engine : Engine
            The potential.
        params : Params
            Of one task.
        rng : numpy.random.Generator
            Not used.

        Returns
        -------
        PropertyOutput
            The quantities of `outputs`.
        """
        host = Host.of(engine, params)
        vector = shell_vector(Crystal.parse(params.structure), params.shells[0])
        pair = {0, neighbour_site(host, vector)}
        found, departures = [], []
        for name, sites in (("vacancy", {0}), ("divacancy", pair)):
            defect = relax_defect(engine, host, without(host.perfect, sites), params)
            departure = Occupation.of(defect.structure, host.perfect).departure(sites, host.neighbour)
            departures += [f"{name}: {departure}"] if departure else []
            found.append(defect)
        single, double = found
        binding = 2.0 * single.formation_energy - double.formation_energy
        return PropertyOutput(
            quantities({**double.values, "binding_energy": binding}, Divacancy.outputs(params)),
            single.converged and double.converged,
            bool(departures),
            ", ".join(departures),
        )


def shell_vector(crystal: Crystal, shell: int) -> NDArray[np.float64]:
    """Find a neighbour of the first atom.

    Parameters
    ----------
    crystal : Crystal
        Which crystal; its elements do not matter.
    shell : int
        Neighbour shell, from 1.

    Returns
    -------
    ndarray, shape (3,)
        From the first atom to one of the shell, in conventional lattice vectors.
    """
    plain = replace(crystal, elements=("X",), lattice_constant=1.0)
    unit = plain.conventional(*plain.size_guess())
    vectors = repeated(unit, 2 * _REACH + 1).positions - unit.positions[0] - _REACH * unit.cell.sum(axis=0)
    heights = np.zeros(len(vectors)) if crystal.kind.system == "cubic" else np.abs(vectors[:, 2])
    # Rounded, so that neighbours alike but for round-off or a c/a of 1.633 count as equally far.
    keys = np.round(np.column_stack([np.linalg.norm(vectors, axis=1), heights]), 3)
    shells = sorted(set(map(tuple, keys.tolist())))
    members = np.flatnonzero((keys == np.array(shells[shell])).all(axis=1))
    fractional: NDArray[np.float64] = vectors[members[-1]] @ np.linalg.inv(unit.cell)
    return fractional


def neighbour_site(host: Host, vector: NDArray[np.float64]) -> int:
    """Find the site at a vector from the first one.

    Parameters
    ----------
    host : Host
        The perfect crystal.
    vector : ndarray, shape (3,)
        In conventional lattice vectors.

    Returns
    -------
    int
        Index of the site in the supercell.
    """
    target = host.perfect.positions[0] + vector @ host.unit.cell
    delta = (host.perfect.positions - target) @ np.linalg.inv(host.perfect.cell)
    delta -= np.rint(delta)
    return int(np.argmin(np.linalg.norm(delta @ host.perfect.cell, axis=1)))
