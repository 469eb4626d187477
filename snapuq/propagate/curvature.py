"""A member's own curvature near a state of the MLE, where rows tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from snapuq.propagate.expansion import Expansion
from snapuq.propagate.family import Prediction

Array = NDArray[np.float64]
#: A displacement, and all potentials on both sides of the state.
BothSides = tuple[Array, tuple[Array, Array]]

#: Displacement along a direction whose curvature is wanted: its square is the energy, eV, at the typical
#: curvature. Third derivatives make the curvature wrong by less than a percent.
STEP = 2.0e-3
#: The first members, which tell the directions in which all move, so that these do not depend on how many
#: there are. Fewer would not repay the rows.
N_PILOT = 64
#: Directions whose curvature is followed, at most: one costs as much as two or three force evaluations.
MOST_DIRECTIONS = 32
#: Directions along which third derivatives are followed: those in which members move farthest.
N_BENT = 3
#: Stages in which third derivatives are turned on, rounds in which a displacement settles in each, the change
#: at which it has (1 is a typical displacement), and the determinant of its equations that tells of a fold.
_STAGES, _ROUNDS, _SETTLED, _FOLD = 8, 20, 1.0e-8, 0.1


@dataclass(frozen=True, eq=False)
class Bend:
    """Third derivatives of a member's energy along a few directions.

    Parameters
    ----------
    expansion : Expansion
        Of the MLE.
    axes : ndarray, shape (r, D)
        The directions in balanced coordinates, by the size of the displacements that the differences are of.
    differences : ndarray, shape (r, r, D)
        Second differences of the slope.
    """

    expansion: Expansion
    axes: Array
    differences: Array

    @classmethod
    def none(cls, expansion: Expansion) -> Bend:
        """Neglect third derivatives.

        Parameters
        ----------
        expansion : Expansion
            Of the MLE.

        Returns
        -------
        Bend
            Along no direction.
        """
        n = expansion.degrees.n_free
        return cls(expansion, np.zeros((0, n)), np.zeros((0, 0, n)))

    def along(self, q: Array) -> Array:
        """Turn coordinates into those along the axes.

        Parameters
        ----------
        q : ndarray, shape (..., D)
            Displacement.

        Returns
        -------
        ndarray, shape (..., r)
            1 where the displacement has the size that the differences are of.
        """
        return self.expansion.balanced(q) @ self.axes.T


class Curvature:
    """The Hessian of the MLE, replaced by that of a member along some directions.

    The symmetric matrix nearest to the MLE's which does to the directions what the member's does (Powell's
    symmetric Broyden update for several directions).

    Parameters
    ----------
    expansion : Expansion
        Of the MLE.
    directions : ndarray, shape (r, D)
        Displacements, orthonormal in the units of `Expansion.soft_modes`.
    changes : ndarray, shape (r, D)
        The member's Hessian times each of them.
    bend : Bend
        How it changes along a few of them.

    References
    ----------
    Schnabel, Quasi-Newton methods using multiple secant equations, CU-CS-247-83 (1983).
    """

    #: Rows tell the curvature.
    probe = None

    def __init__(self, expansion: Expansion, directions: Array, changes: Array, bend: Bend) -> None:
        self._expansion, self._bend = expansion, bend
        self._duals = expansion.dual(directions)
        difference = changes - directions @ expansion.hessian
        along = difference @ directions.T
        self._inner = 0.5 * (along + along.T)
        self._beyond = difference - along @ self._duals

    @classmethod
    def of_mle(cls, expansion: Expansion) -> Curvature:
        """Take the Hessian of the MLE as it is.

        Parameters
        ----------
        expansion : Expansion
            Of the MLE.

        Returns
        -------
        Curvature
            Without third derivatives.
        """
        nothing = np.zeros((0, expansion.degrees.n_free))
        return cls(expansion, nothing, nothing, Bend.none(expansion))

    @cached_property
    def _correction(self) -> tuple[Array, Array]:
        """Solutions for the vectors that the correction is made of, and what couples them (Woodbury)."""
        vectors = np.concatenate([self._duals, self._beyond])
        solved = self._expansion.solve(vectors)
        one, nothing = np.eye(len(self._duals)), np.zeros_like(self._inner)
        inverse = np.block([[nothing, one], [one, -self._inner]]) + vectors @ solved.T
        return solved, np.linalg.inv(inverse)

    def solve(self, slope: Array) -> Array:
        """Apply the inverse Hessian, zero modes left out.

        Parameters
        ----------
        slope : ndarray, shape (..., D)
            Derivative of the energy.

        Returns
        -------
        ndarray, shape (..., D)
            Coordinates; without a drift of all atoms.
        """
        found = self._expansion.solve(slope)
        if not len(self._duals):
            return found
        solved, between = self._correction
        return found - (slope @ solved.T) @ between @ solved

    def displacement(self, slope: Array) -> tuple[Array, Array] | None:
        """Find where the slope vanishes.

        Parameters
        ----------
        slope : ndarray, shape (D,)
            Derivative of the member's energy at the state of the MLE.

        Returns
        -------
        q : ndarray, shape (D,)
            Displacement, of second order in the difference of the potentials.
        bent : ndarray, shape (D,)
            What the third derivatives add to the slope there; None instead of both where they are so large
            that it vanishes nowhere near.
        """
        straight = -self.solve(slope)
        differences = self._bend.differences
        curved = -0.5 * self.solve(differences)
        along = _follow(self._bend.along(straight), self._bend.along(curved))
        if along is None:
            return None
        weights = np.outer(along, along)
        bent = 0.5 * np.tensordot(weights, differences, axes=2)
        return straight + np.tensordot(weights, curved, axes=2), bent


def _follow(straight: Array, curved: Array) -> Array | None:
    """Solve x = a + sum_ij x_i x_j b_ij for the solution that starts at a when b grows from nothing.

    Parameters
    ----------
    straight : ndarray, shape (r,)
        The vector a.
    curved : ndarray, shape (r, r, r)
        The vectors b_ij, symmetric in i and j.

    Returns
    -------
    ndarray, shape (r,) or None
        None where that solution ceases to exist on the way.
    """
    x, one = straight, np.eye(len(straight))
    for share in np.linspace(0.0, 1.0, _STAGES + 1)[1:]:
        for _ in range(_ROUNDS):
            jacobian = one - 2.0 * share * np.einsum("j,ijk->ki", x, curved)
            if np.linalg.det(jacobian) < _FOLD:
                return None
            step = np.linalg.solve(jacobian, straight + share * np.einsum("i,j,ijk->k", x, x, curved) - x)
            x = x + step
            if float(np.abs(step).max(initial=0.0)) <= _SETTLED:
                break
        else:
            return None
    return x


class Curvatures:
    """Those of all potentials near one state of the MLE.

    Parameters
    ----------
    expansion : Expansion
        There.
    predict : callable
        A structure's energy, forces and stress for all potentials.
    """

    def __init__(self, expansion: Expansion, predict: Prediction) -> None:
        self._expansion, self._predict = expansion, predict
        self._rest = predict(expansion.degrees.state)
        self._modes = expansion.soft_modes()
        #: Member to its `Curvature`.
        self.of = lru_cache(maxsize=2)(self._of)

    def soft(self, member: int) -> Array:
        """Hessian of a member in the softest modes.

        Parameters
        ----------
        member : int
            Which potential.

        Returns
        -------
        ndarray, shape (k, k)
            In units of the typical curvature.
        """
        found = self._changes(self._modes, self._soft, member) @ self._modes.T
        symmetric: Array = 0.5 * (found + found.T)
        return symmetric

    def _of(self, member: int) -> Curvature:
        directions, displaced = self._answers
        directions = np.concatenate([self._modes, directions])
        changes = self._changes(directions, [*self._soft, *displaced], member)
        return Curvature(self._expansion, directions, changes, self._bend(member))

    def _bend(self, member: int) -> Bend:
        axes, displaced = self._bends
        rest = self._slopes(self._rest[member], self._zero)
        found = np.zeros((len(axes), len(axes), len(rest)))
        for pair, (q, (ahead, behind)) in displaced.items():
            found[pair] = self._slopes(ahead[member], q) + self._slopes(behind[member], -q) - 2.0 * rest
        for i, j in combinations(range(len(axes)), 2):
            found[i, j] = found[j, i] = 0.5 * (found[i, j] - found[i, i] - found[j, j])
        return Bend(self._expansion, axes, found)

    @cached_property
    def _soft(self) -> list[Array]:
        return [self._displaced(STEP * q) for q in self._modes]

    @cached_property
    def _answers(self) -> tuple[Array, list[Array]]:
        """Directions in which members move from the state, and all potentials there."""
        directions = self._expansion.responses(self._pilot, MOST_DIRECTIONS)
        return directions, [self._displaced(STEP * q) for q in directions]

    @cached_property
    def _bends(self) -> tuple[Array, dict[tuple[int, int], BothSides]]:
        """Directions in which members move farthest, and all potentials displaced by one or two of them."""
        axes, sizes = self._expansion.farthest(self._pilot, N_BENT)
        moves = [size * self._expansion.from_balanced(axis) for axis, size in zip(axes, sizes, strict=True)]
        displaced: dict[tuple[int, int], BothSides] = {}
        for i, j in combinations_with_replacement(range(len(axes)), 2):
            q = moves[i] if i == j else moves[i] + moves[j]
            displaced[i, j] = q, (self._displaced(q), self._displaced(-q))
        return axes / sizes[:, None], displaced

    @property
    def _pilot(self) -> Array:
        """Slopes of the first members at the state; none where there are too few."""
        first = self._rest[1 : N_PILOT + 1]
        return self._slopes(first, self._zero) if len(first) == N_PILOT else self._zero[None, :][:0]

    @property
    def _zero(self) -> Array:
        return np.zeros(self._expansion.degrees.n_free)

    def _displaced(self, q: Array) -> Array:
        return self._predict(self._expansion.degrees.structure(q))

    def _changes(self, directions: Array, displaced: Sequence[Array], member: int) -> Array:
        """A member's Hessian times directions, from how its slope changes along them."""
        rest = self._slopes(self._rest[member], self._zero)
        found = [
            self._slopes(everything[member], STEP * q) - rest
            for q, everything in zip(directions, displaced, strict=True)
        ]
        return np.array(found).reshape(-1, len(rest)) / STEP

    def _slopes(self, everything: Array, q: Array) -> Array:
        forces = everything[..., 1:-6].reshape(*everything.shape[:-1], -1, 3)
        return self._expansion.degrees.slopes(forces, everything[..., -6:], q)
