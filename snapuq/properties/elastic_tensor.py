"""Elastic tensors in Voigt notation: symmetry of the crystal, independent constants, averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Pairs of Cartesian directions in Voigt's order xx yy zz yz xz xy.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_UPPER = tuple((i, j) for i in range(6) for j in range(i, 6))
# Voigt's shear stresses times sqrt 2 are components in an orthonormal basis of symmetric tensors (Mandel).
_MANDEL = np.sqrt(np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]))
# A smaller singular value is a linear dependence.
_RANK = 1.0e-6


@dataclass(frozen=True, eq=False)
class ElasticSymmetry:
    """What a point group leaves of the 21 elastic constants.

    Parameters
    ----------
    names : tuple of str
        Independent constants, for example ``C11``, ``C12`` and ``C44``, in the usual choice: the first
        of each set that symmetry relates.
    patterns : ndarray, shape (k, 6, 6)
        Voigt matrix with one of the constants 1 and the others 0.
    strains : tuple of int
        Voigt strains that are enough to find all of them.

    References
    ----------
    Nye, Physical Properties of Crystals (Oxford, 1957), chapter VIII.
    """

    names: tuple[str, ...]
    patterns: Array
    strains: tuple[int, ...]

    @classmethod
    def of(cls, rotations: Array) -> ElasticSymmetry:
        """Find the independent constants of a point group.

        Parameters
        ----------
        rotations : ndarray, shape (n, 3, 3)
            All its operations in Cartesian coordinates; inversion makes no difference.

        Returns
        -------
        ElasticSymmetry
            In these coordinates.
        """
        units = np.zeros((len(_UPPER), 6, 6))
        for unit, (i, j) in zip(units, _UPPER, strict=True):
            unit[i, j] = unit[j, i] = 1.0
        kept = project(units, rotations)
        upper = tuple(np.array(_UPPER).T)
        u, s, _ = np.linalg.svd(kept[:, upper[0], upper[1]].T)
        # Columns span the invariant tensors, rows are the 21 constants.
        basis = u[:, : int((s > _RANK).sum())]
        chosen = _independent_rows(basis, range(len(_UPPER)))
        coefficients = basis @ np.linalg.inv(basis[chosen])
        patterns = np.tensordot(coefficients.T, units, axes=1)
        patterns[np.abs(patterns) < _RANK] = 0.0
        names = tuple(f"C{_UPPER[at][0] + 1}{_UPPER[at][1] + 1}" for at in chosen)
        return cls(names, patterns, _enough_strains(patterns))

    def stiffness(self, constants: Array) -> Array:
        """Voigt matrix of given constants.

        Parameters
        ----------
        constants : ndarray, shape (k,)
            In the order of `names`.

        Returns
        -------
        ndarray, shape (6, 6)
            In the same unit.
        """
        return np.tensordot(constants, self.patterns, axes=1)

    def fit(self, columns: Array) -> Array:
        """Find the constants from the stress that each of `strains` causes.

        Parameters
        ----------
        columns : ndarray, shape (len(strains), 6)
            Voigt stress per strain.

        Returns
        -------
        ndarray, shape (k,)
            Least-squares solution, in the order of `names`.
        """
        design = self.patterns[:, :, list(self.strains)].transpose(2, 1, 0).reshape(-1, len(self.names))
        return np.asarray(np.linalg.lstsq(design, columns.reshape(-1), rcond=None)[0])


def _independent_rows(matrix: Array, order: range) -> list[int]:
    """First rows that are linearly independent."""
    chosen: list[int] = []
    for row in order:
        if np.linalg.matrix_rank(matrix[[*chosen, row]], tol=_RANK) > len(chosen):
            chosen.append(row)
    return chosen


def _enough_strains(patterns: Array) -> tuple[int, ...]:
    strains: list[int] = []
    rank = 0
    for strain in range(6):
        seen = patterns[:, :, [*strains, strain]].reshape(len(patterns), -1)
        found = int(np.linalg.matrix_rank(seen, tol=_RANK))
        if found > rank:
            strains.append(strain)
            rank = found
    return tuple(strains)


def project(stiffness: Array, rotations: Array) -> Array:
    """Average elastic tensors over a point group.

    Parameters
    ----------
    stiffness : ndarray, shape (..., 6, 6)
        Voigt matrices.
    rotations : ndarray, shape (n, 3, 3)
        All operations of the group, Cartesian.

    Returns
    -------
    ndarray, shape (..., 6, 6)
        The nearest tensors that have its symmetry.
    """
    basis = np.zeros((6, 3, 3))
    for tensor, (i, j), norm in zip(basis, VOIGT, _MANDEL, strict=True):
        tensor[i, j] = tensor[j, i] = 1.0 / norm
    turned = np.einsum("aij,rik,bkl,rjl->rab", basis, rotations, basis, rotations, optimize=True)
    scale = np.outer(_MANDEL, _MANDEL)
    mandel = np.einsum("rab,...bc,rdc->...ad", turned, stiffness * scale, turned, optimize=True)
    return np.asarray(mandel / len(rotations) / scale)


@dataclass(frozen=True)
class Averages:
    """Isotropic moduli of a polycrystal, in the unit of the tensor.

    Parameters
    ----------
    bulk_voigt, bulk_reuss : float
        Bulk modulus at equal strain and at equal stress of all grains.
    shear_voigt, shear_reuss : float
        Shear modulus likewise.
    """

    bulk_voigt: float
    bulk_reuss: float
    shear_voigt: float
    shear_reuss: float

    @property
    def bulk(self) -> float:
        """Hill's mean of the bulk moduli."""
        return 0.5 * (self.bulk_voigt + self.bulk_reuss)

    @property
    def shear(self) -> float:
        """Hill's mean of the shear moduli."""
        return 0.5 * (self.shear_voigt + self.shear_reuss)


def averages(stiffness: Array) -> Averages:
    """Voigt's and Reuss's averages.

    Parameters
    ----------
    stiffness : ndarray, shape (6, 6)
        Voigt matrix.

    Returns
    -------
    Averages
        Reuss's are NaN for a singular matrix.

    References
    ----------
    Hill, Proc. Phys. Soc. A 65, 349 (1952), doi:10.1088/0370-1298/65/5/307.
    """
    c = stiffness
    try:
        s = np.asarray(np.linalg.inv(c), dtype=np.float64)
    except np.linalg.LinAlgError:
        s = np.full((6, 6), np.nan)

    def parts(m: Array) -> tuple[float, float, float]:
        return float(np.trace(m[:3, :3])), float(m[0, 1] + m[0, 2] + m[1, 2]), float(np.trace(m[3:, 3:]))

    (cd, co, cs), (sd, so, ss) = parts(c), parts(s)
    return Averages(
        bulk_voigt=(cd + 2.0 * co) / 9.0,
        bulk_reuss=1.0 / (sd + 2.0 * so),
        shear_voigt=(cd - co + 3.0 * cs) / 15.0,
        shear_reuss=15.0 / (4.0 * (sd - so) + 3.0 * ss),
    )
