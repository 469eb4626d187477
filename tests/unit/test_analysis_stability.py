"""Elastic constants and stability from energies whose constants are known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from ase.build import bulk
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from snapuq.analysis.stability import (
    CubicConstants,
    cubic_constants,
    nearest_minimum,
    summarise_stability,
    volume_conserving,
)
from snapuq.units import GPA_PER_EV_A3

# Second differences over five points 1.7 % apart: round-off of 1e-16 over the square of the step.
EXACT = 1.0e-8
# Energy differences of 1e-5 eV out of 10 eV.
MODULUS_ROUNDOFF = 1.0e-8
# A strain of 1e-3 changes the modulus by 1e-6 times the ratio of the fourth derivative to the second.
TRUNCATION = 1.0e-4
GRID = np.linspace(2.9, 3.4, 31)
STRAIN = 1.0e-3


def birch_murnaghan(a: np.ndarray, a0: float, bulk_modulus: float, slope: float) -> np.ndarray:
    """Energy per atom of a bcc crystal, eV; bulk modulus in GPa."""
    eta = (a0 / a) ** 2
    scale = 9.0 * (a0**3 / 2.0) * bulk_modulus / GPA_PER_EV_A3 / 16.0
    return -10.0 + scale * ((eta - 1.0) ** 3 * slope + (eta - 1.0) ** 2 * (6.0 - 4.0 * eta))


def known_energies(members: list[tuple[float, float, float, float, float]]) -> np.ndarray:
    """Members by a0, B, B', shear modulus and C44 at a0; the moduli soften linearly in a^-2."""
    energies = np.empty((3, len(GRID), len(members)))
    for column, (a0, bulk_modulus, slope, shear, c44) in enumerate(members):
        energies[0, :, column] = birch_murnaghan(GRID, a0, bulk_modulus, slope)
        for row, modulus in ((1, shear), (2, c44)):
            softened = modulus * (1.0 + 3.0 * ((a0 / GRID) ** 2 - 1.0)) / GPA_PER_EV_A3
            energies[row, :, column] = energies[0, :, column] + GRID**3 * softened * STRAIN**2
    return energies


def found(members: list[tuple[float, float, float, float, float]]) -> CubicConstants:
    return cubic_constants(GRID, known_energies(members), 2, STRAIN, 16)


@given(
    a0=st.floats(2.93, 3.37),
    bulk_modulus=st.floats(20.0, 400.0),
    slope=st.floats(2.0, 6.0),
    shear=st.floats(-100.0, 200.0),
    c44=st.floats(-100.0, 200.0),
)
def test_known_constants_are_recovered(
    a0: float, bulk_modulus: float, slope: float, shear: float, c44: float
) -> None:
    c = found([(3.165, 310.0, 4.0, 160.0, 160.0), (a0, bulk_modulus, slope, shear, c44)])
    assert c.energy[1] == pytest.approx(-10.0, rel=EXACT)
    assert c.lattice_constant[1] == pytest.approx(a0, rel=EXACT)
    assert c.bulk_modulus[1] == pytest.approx(bulk_modulus, rel=EXACT)
    noise = MODULUS_ROUNDOFF * 400.0
    assert c.shear_modulus[1] == pytest.approx(shear, abs=noise)
    assert c.c44[1] == pytest.approx(c44, abs=noise)
    # The Born conditions in terms of the constants: C11 - C12 > 0, C11 + 2 C12 > 0 and C44 > 0.
    assert c.c11[1] - c.c12[1] == pytest.approx(2.0 * c.shear_modulus[1])
    assert c.c11[1] + 2.0 * c.c12[1] == pytest.approx(3.0 * c.bulk_modulus[1])
    if min(abs(shear), abs(c44)) > noise:
        assert c.is_stable[1] == (shear > 0 and c44 > 0)


def test_a_member_without_a_minimum_is_unstable() -> None:
    good = (3.165, 310.0, 4.0, 160.0, 160.0)
    c = found([good, (3.5, 310.0, 4.0, 160.0, 160.0), (2.8, 310.0, 4.0, 160.0, 160.0)])
    assert np.isnan(c.lattice_constant).tolist() == [False, True, True]
    assert c.is_stable.tolist() == [True, False, False]


def test_deformations_are_exponentials_of_the_strain() -> None:
    strains = np.zeros((3, 3, 3))
    strains[1, 0, 0], strains[1, 1, 1] = 0.02, -0.02
    strains[2, 0, 1] = strains[2, 1, 0] = 0.02
    for deformation, strain in zip(volume_conserving(0.02), strains, strict=True):
        assert np.allclose(deformation, scipy.linalg.expm(strain), rtol=0, atol=1e-15)
        assert np.linalg.det(deformation) == pytest.approx(1.0, abs=1e-14)


def pair_energy(cell: np.ndarray) -> float:
    """Morse energy of one atom per cell, eV; at the cutoff a pair has 1e-11 of it."""
    d = primitive_neighbor_list("d", [True] * 3, cell, np.zeros((1, 3)), 12.0)
    return float(0.5 * (np.exp(-6.0 * (d - 2.9)) - 2.0 * np.exp(-3.0 * (d - 2.9))).sum())


def test_constants_of_a_pair_potential_are_its_lattice_sums() -> None:
    """At zero pressure C_abcd = sum (phi'' - phi' / d) d_a d_b d_c d_d / (2 V d^2), so that C12 = C44."""
    grid = np.linspace(4.03, 4.13, 11)
    unit = np.array(bulk("Cu", "fcc", a=1.0).cell)
    energies = np.array([[[pair_energy(a * unit @ f)] for a in grid] for f in volume_conserving(STRAIN)])
    c = cubic_constants(grid, energies, 4, STRAIN, 5)
    a = float(c.lattice_constant[0])
    d, vectors = primitive_neighbor_list("dD", [True] * 3, a * unit, np.zeros((1, 3)), 12.0)
    e1, e2 = np.exp(-3.0 * (d - 2.9)), np.exp(-6.0 * (d - 2.9))
    first, second = 6.0 * (e1 - e2), 36.0 * e2 - 18.0 * e1
    weight = (second - first / d) / d**2 / (2.0 * a**3 / 4.0) * GPA_PER_EV_A3
    c11, c12 = (weight * vectors[:, 0] ** 4).sum(), (weight * vectors[:, 0] ** 2 * vectors[:, 1] ** 2).sum()
    # No pressure: the virial vanishes at the minimum.
    assert (first * d).sum() == pytest.approx(0.0, abs=1e-5 * np.abs(first * d).sum())
    assert [c.c11[0], c.c12[0], c.c44[0]] == pytest.approx([c11, c12, c12], rel=TRUNCATION)


def test_nearest_of_several_minima() -> None:
    x = np.arange(12)
    curve = np.cos(0.5 * np.pi * x)
    rising = x.astype(float)
    curves = np.stack([curve, rising, -rising], axis=1)
    assert nearest_minimum(curves, 1).tolist() == [2, -1, -1]
    assert nearest_minimum(curves, 7).tolist() == [6, -1, -1]
    assert nearest_minimum(curves, 11).tolist() == [10, -1, -1]


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 5, got 4"):
        cubic_constants(GRID[:4], np.zeros((3, 4, 1)), 2, STRAIN, 1)


def test_summary_counts_the_members_without_the_mle() -> None:
    moduli = (300.0, 310.0, 320.0)
    members = [(3.165, b, 4.0, 160.0, 160.0) for b in moduli]
    stable = summarise_stability("bcc W", found([(3.165, 305.0, 4.0, 160.0, 160.0), *members]))
    assert stable.text == "bcc W: 3 of 3 members elastically stable; B = 310 +- 8 GPa (2.6 %)"
    assert stable.warnings == ()
    assert stable.mle["bulk_modulus"] == pytest.approx(305.0)
    assert stable.spread == pytest.approx(np.std(moduli) / 310.0)
    assert stable.std["C11"] == pytest.approx(np.std(moduli))
    assert stable.std["C44"] == pytest.approx(0.0, abs=1e-5)


def test_summary_warns() -> None:
    soft, hard = (3.165, 100.0, 4.0, 10.0, 20.0), (3.165, 200.0, 4.0, 10.0, 20.0)
    sheared, nothing = (3.165, 150.0, 4.0, 10.0, -5.0), (3.6, 150.0, 4.0, 10.0, 20.0)
    worst = summarise_stability("bcc W", found([hard, soft, hard, sheared, nothing]))
    assert (worst.n_members, worst.n_stable, worst.is_mle_stable) == (4, 2, True)
    members, spread = worst.warnings
    assert "2 of 4 members" in members
    assert "spread by 27 %" in spread


def test_members_are_not_blamed_for_a_crystal_that_the_mle_finds_unstable() -> None:
    sheared = (3.165, 150.0, 4.0, -10.0, 5.0)
    fcc = summarise_stability("fcc W", found([sheared, sheared, sheared]))
    assert (fcc.n_stable, fcc.is_mle_stable) == (0, False)
    (warning,) = fcc.warnings
    assert "the MLE is elastically unstable in fcc W" in warning


def test_summary_without_any_minimum_says_so() -> None:
    none = summarise_stability(
        "bcc W", found([(3.165, 310.0, 4.0, 160.0, 160.0), (3.6, 310.0, 4.0, 1.0, 1.0)])
    )
    assert none.text == "bcc W: 0 of 1 members elastically stable"
    assert none.as_dict()["spread"] is None
    assert len(none.warnings) == 1
