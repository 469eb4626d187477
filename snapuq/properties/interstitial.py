"""Formation energy and relaxation volume of self-interstitials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snapuq.core.engine import Engine
from snapuq.properties.base import PROPERTIES, PropertyOutput, quantities
from snapuq.properties.checks import check_items
from snapuq.properties.crystals import Crystal
from snapuq.properties.defects import UNITS, DefectParams, Host, PointDefect, relax_defect
from snapuq.properties.interstitial_sites import OTHER, SITES, classify, perturb, place, same_family, unlike

#: Largest force, eV/A, at which the symmetric start counts as settled.
SETTLED = 0.02


@PROPERTIES.register("interstitial")
class Interstitial(PointDefect):
    """E(N + 1) - (N + 1) e_bulk of an extra atom at the potential's own lattice, and the relaxation volume.

    The symmetric site is relaxed roughly, then its atoms are displaced at random, so that the final
    relaxation does not stop on a stationary point that is no minimum. The kind is told again afterwards, and
    another one than was asked for is flagged as reconfigured; the energy is then that of the other.
    Crowdion and dumbbell of one close-packed row (<111> in bcc, <110> in fcc, <11-20> in hcp) count as the
    same. Dumbbells that come to rest between two of the kinds, such as <11x> in bcc, are none of them. A
    saddle that pushes these small displacements away with less than `fmax` is not noticed.

    Notes
    -----
    Strain fields of periodic images are felt, too much energy at constant volume and too little at constant
    pressure. The <110> dumbbell of bcc W (EAM of Zhou) with 3, 4, 5, 6 and 8 cells along an edge: 10.19,
    9.86, 9.77, 9.74, 9.71 eV at constant volume, 9.58, 9.61, 9.64, 9.66, 9.68 eV at constant pressure; with
    the SNAP of Wood and Thompson (3 to 5) 10.59, 10.00, 9.83 and 9.48, 9.54, 9.59 eV; the <100> dumbbell of
    fcc Cu (EAM of Mishin, 3 to 6) 3.201, 3.123, 3.099, 3.088 and 3.038, 3.055, 3.064, 3.068 eV. The default
    of 4 (129 atoms in bcc) is so 1 to 4 % from the limit, and its relaxation volume within 3 %. Differences
    between kinds converge sooner: <111> above <100> dumbbell of fcc Al (EAM of Mendelev, 3 to 5) 0.313,
    0.304, 0.301 eV.

    References
    ----------
    Nguyen-Manh, Horsfield and Dudarev, Phys. Rev. B 73, 020101 (2006), doi:10.1103/PhysRevB.73.020101; hcp:
    Johnson and Beeler, in Interatomic Potentials and Crystalline Defects (AIME, 1981).
    """

    ranked = ("formation_energy",)
    split_by = "kinds"

    @dataclass(frozen=True)
    class Params(DefectParams):
        """Crystal, kinds, supercell and boundary condition.

        Parameters
        ----------
        structure : str
            bcc, fcc or hcp.
        supercell : int
            Repetitions of the conventional cell along each axis.
        constant : {'volume', 'pressure'}
            Whether the cell stays that of the perfect crystal, or relaxes to zero pressure, shape included.
        fmax : float
            Largest force at the end, eV/A.
        kinds : tuple of str
            bcc and fcc: dumbbell_100, dumbbell_110, dumbbell_111, crowdion, octahedral, tetrahedral; hcp:
            octahedral, tetrahedral, basal_octahedral, basal_tetrahedral, basal_split, c_split, crowdion,
            basal_crowdion. By default all of the crystal.
        """

        CRYSTALS = tuple(SITES)

        kinds: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            super().__post_init__()
            known = SITES[Crystal.parse(self.structure).prototype]
            if not self.kinds:
                object.__setattr__(self, "kinds", tuple(known))
            check_items("kinds", "kind", self.kinds, known)

    @staticmethod
    def outputs(params: Params) -> Mapping[str, str]:
        """Formation energy and relaxation volume.

        Parameters
        ----------
        params : Params
            Of one task.

        Returns
        -------
        Mapping
            Quantity name to unit.
        """
        return UNITS

    @staticmethod
    def run(engine: Engine, params: Params, rng: np.random.Generator) -> PropertyOutput:
        """Add one atom, break the symmetry, relax and classify.

        Parameters
        ----------
        engine : Engine
            The potential.
        params : Params
            Of one task.
        rng : numpy.random.Generator
            For the displacements.

        Returns
        -------
        PropertyOutput
            The quantities of `outputs`.
        """
        crystal = Crystal.parse(params.structure).prototype
        host = Host.of(engine, params)
        symmetric = engine.relax(place(host, crystal, params.kinds[0]), fmax=max(SETTLED, params.fmax))
        found = relax_defect(engine, host, perturb(symmetric.structure, host, rng), params)
        kind = classify(found.structure, host, crystal)
        return PropertyOutput(
            quantities(found.values, UNITS),
            found.converged,
            not same_family(crystal, kind, params.kinds[0]),
            f"relaxed to {kind if kind != OTHER else unlike(found.structure, host, crystal)}",
        )
