"""SNAP rows of one structure from LAMMPS's ``compute snap``.

Linear rows are what LAMMPS gives for the structure. Quadratic rows follow by the product rule from the linear
descriptors of each centre and their derivatives by each of its neighbours. LAMMPS sums derivatives over
periodic images, and over centres of one type; so each centre is given to it with its neighbours as a
cluster of its own, far from all others. Forces and virials then come from one evaluation that costs about
as much as the linear descriptors of the structure, and nothing grows faster than the number of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from snapuq.core.dataset import Structure
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.errors import InputError, SimulationError, nearest
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.session import Session
from snapuq.units import BAR_PER_EV_A3

from .neighbours import Pairs, find_pairs, set_apart
from .quadratic import quadratic_derivatives, quadratic_energy

Array = NDArray[np.float64]

# Pairs times columns that are computed at a time; LAMMPS needs about 100 B for each, 200 MB for all.
MOST_DERIVATIVES = 2_000_000
# The zero pair style sets how far ghost atoms reach: just beyond the descriptors' cutoff is enough.
_BEYOND_CUTOFF = 1.0e-3
# Axes of position and force in LAMMPS's virial, in its order xx yy zz yz xz xy.
_POSITION, _FORCE = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)
# Where LAMMPS's pressure xx yy zz xy xz yz has the components of that order.
_TO_VOIGT = [0, 1, 2, 5, 4, 3]


@dataclass(frozen=True, eq=False)
class SnapRows:
    """Unweighted rows of one structure, in its own frame, without the reference pair style.

    Parameters
    ----------
    energy : ndarray, shape (P,)
        Row of the total energy, eV.
    forces : ndarray, shape (N, 3, P)
        Rows of the forces, eV/A.
    stress : ndarray, shape (6, P), or None
        Rows of the stress, eV/A^3, Voigt xx yy zz yz xz xy, tension positive.
    reference_energy : float
        Energy of the reference pair style, eV.
    reference_forces : ndarray, shape (N, 3)
        Its forces, eV/A.
    reference_stress : ndarray, shape (6,), or None
        Its stress, eV/A^3.
    """

    energy: Array
    forces: Array
    stress: Array | None
    reference_energy: float
    reference_forces: Array
    reference_stress: Array | None


class BispectrumCalculator:
    """Compute SNAP rows, exact to round-off.

    Parameters
    ----------
    session : Session
        The LAMMPS instance to use.
    settings : SnapSettings
        Hyperparameters.
    reference : ReferencePair or None
        Pair style that SNAP is added to.
    most_pairs : int, optional
        About so many pairs of neighbours are handled at a time; by default what 200 MB hold.
    """

    def __init__(
        self,
        session: Session,
        settings: SnapSettings,
        reference: ReferencePair | None = None,
        most_pairs: int | None = None,
    ) -> None:
        self._session = session
        self.settings = settings
        self.reference = reference
        width = len(settings.elements) * settings.n_linear
        self._most_pairs = most_pairs or max(1, MOST_DERIVATIVES // width)
        radii = np.array(settings.radelem)
        self._cutoffs = settings.rcutfac * (radii[:, None] + radii)

    def rows(self, structure: Structure, *, stress: bool = False) -> SnapRows:
        """Rows of one structure.

        Parameters
        ----------
        structure : Structure
            Any right-handed periodic cell.
        stress : bool
            Whether stress rows are wanted.

        Returns
        -------
        SnapRows
            In the frame of the structure.

        Raises
        ------
        InputError
            When the structure holds an element that the settings lack.
        SimulationError
            When LAMMPS fails or gives numbers that are not finite.
        """
        types = self._types(structure)
        if self.settings.quadraticflag:
            return self._quadratic(structure, types, stress)
        return self._linear(structure, types, stress)

    def _types(self, structure: Structure) -> NDArray[np.int32]:
        number = {element: i + 1 for i, element in enumerate(self.settings.elements)}
        for symbol in structure.species:
            if symbol not in number:
                raise InputError(
                    f"element '{symbol}' has no SNAP parameters",
                    expected="one of " + ", ".join(number),
                    hint=nearest(symbol, number),
                )
        return np.array([number[s] for s in structure.species], dtype=np.int32)

    def _run(self, group: str, options: str) -> Array:
        """LAMMPS's own array of ``compute snap`` for the centres of a group."""
        s = self.settings
        words = [f"{s.rcutfac:.17g} {s.rfac0:.17g} {s.twojmax}"]
        words += [f"{x:.17g}" for x in s.radelem + s.wj]
        words.append(
            f"rmin0 {s.rmin0:.17g} switchflag {int(s.switchflag)} bzeroflag {int(s.bzeroflag)} "
            f"bnormflag {int(s.bnormflag)} wselfallflag {int(s.wselfallflag)} {options}"
        )
        if s.chemflag:
            n = len(s.elements)
            words.append(f"chem {n} " + " ".join(str(i) for i in range(n)))
        if s.switchinnerflag:
            inner = " ".join(f"{x:.17g}" for x in s.sinner)
            width = " ".join(f"{x:.17g}" for x in s.dinner)
            words.append(f"switchinnerflag 1 sinner {inner} dinner {width}")
        self._session.command("neighbor 0.0 bin")
        self._session.command("neigh_modify one 20000 page 400000")
        self._session.command(f"compute rows {group} snap " + " ".join(words))
        self._session.command("run 0 post no")
        return self._session.compute_view("rows")

    def _quadratic(self, structure: Structure, types: NDArray[np.int32], stress: bool) -> SnapRows:
        """Quadratic rows from the linear descriptors of clusters and their derivatives."""
        n, s = len(types), self.settings
        batches = find_pairs(structure, types, self._cutoffs, self._most_pairs)
        rows = self._batch(batches[0], types, stress)
        for pairs in batches[1:]:
            rows += self._batch(pairs, types, stress)
        if s.has_constant:
            rows[0, :: s.n_per_element + 1] = np.bincount(types, minlength=len(s.elements) + 1)[1:]
        energy, forces, reference_stress = self._reference(structure, types)
        return SnapRows(
            energy=rows[0],
            forces=rows[1 : 3 * n + 1].reshape(n, 3, -1),
            # LAMMPS's virial and pressure are positive in compression, our stress in tension.
            stress=-rows[3 * n + 1 :] / structure.volume if stress else None,
            reference_energy=energy,
            reference_forces=forces,
            reference_stress=reference_stress if stress else None,
        )

    def _batch(self, pairs: Pairs, types: NDArray[np.int32], stress: bool) -> Array:
        """Rows of the energy, forces and, if wanted, virial of some centres; constant columns are zero."""
        n, k, s = len(types), self.settings.n_linear, self.settings
        bispectrum, derivatives = self._descriptors(pairs, types)
        virials = _virials(pairs, derivatives) if stress else None
        skip, width = int(s.has_constant), int(s.has_constant) + s.n_per_element
        rows = np.zeros((1 + 3 * n + 6 * stress, len(s.elements) * width))
        for e in range(len(s.elements)):
            mine = rows[:, e * width + skip : (e + 1) * width]
            columns, centres = slice(e * k, (e + 1) * k), types[pairs.atoms] == e + 1
            own, starts = bispectrum[:, columns], pairs.starts[e]
            run = slice(starts[0], starts[-1])
            mine[0] = quadratic_energy(own[centres])
            quadratic_derivatives(
                own[pairs.centre[run]],
                derivatives[run, :, columns],
                starts - starts[0],
                mine[1 : 3 * n + 1].reshape(n, 3, -1),
            )
            if virials is not None:
                everything = np.array([0, centres.sum()])
                part = virials[centres][..., columns]
                quadratic_derivatives(own[centres], part, everything, mine[None, 3 * n + 1 :])
            # A number that is not finite anywhere shows in the linear columns, which are sums.
            if not np.isfinite(mine[:, :k]).all():
                raise SimulationError("not_finite", "compute snap gave NaN or infinite numbers")
        return rows

    def _descriptors(self, pairs: Pairs, types: NDArray[np.int32]) -> tuple[Array, Array]:
        """Descriptors of the centres, and minus their derivatives by the position of each pair's mover.

        Centres that see the same are computed once.
        """
        standing = pairs.alike(types)
        chosen = np.unique(standing)
        n, place = len(chosen), np.searchsorted(chosen, standing)
        is_own = np.zeros(len(pairs), dtype=bool)
        is_own[pairs.own] = True
        kinds = types[pairs.mover[chosen]]
        array = self._clusters(pairs.centre[chosen], pairs.vectors[chosen], kinds, is_own[chosen])
        derivatives = array[n : 4 * n].reshape(n, 3, -1)
        return array[place[pairs.own]], derivatives if n == len(pairs) else derivatives[place]

    def _clusters(
        self, centre: NDArray[np.intp], vectors: Array, kinds: NDArray[np.int32], is_own: NDArray[np.bool_]
    ) -> Array:
        """LAMMPS's array for pairs, where every centre and its neighbours are a cluster."""
        session, cutoff = self._session, self.settings.cutoff
        positions, half = set_apart(centre, vectors, cutoff)
        session.clear()
        session.command("boundary f f f")
        sides = " ".join([f"{-half:.17g} {half:.17g}"] * 3)
        session.command(f"region cell block {sides}")
        session.command(f"create_box {len(self.settings.elements)} cell")
        # IDs are the order of the pairs, because LAMMPS gives its rows in the order of the IDs.
        own, others = np.flatnonzero(is_own), np.flatnonzero(~is_own)
        session.add_atoms(kinds[own], positions[own], own + 1)
        session.command("group centres id > 0")
        if len(others) > 0:
            session.add_atoms(kinds[others], positions[others], others + 1)
        session.command("mass * 1.0")
        session.command(f"pair_style zero {cutoff + _BEYOND_CUTOFF:.17g} full")
        session.command("pair_coeff * *")
        # Only the neighbours of centres are needed.
        session.command("group others subtract all centres")
        session.command("neigh_modify exclude group others others")
        return self._run("centres", "quadraticflag 0 bikflag 1")

    def _reference(self, structure: Structure, types: NDArray[np.int32]) -> tuple[float, Array, Array]:
        """Energy, forces and stress of the reference pair style, in the frame of the structure."""
        n = len(structure)
        if self.reference is None:
            return 0.0, np.zeros((n, 3)), np.zeros(6)
        session, frame = self._session, LammpsFrame.of(structure)
        session.clear()
        session.create(frame, types, len(self.settings.elements))
        session.command(f"pair_style {self.reference.pair_style}")
        for line in self.reference.pair_coeff:
            session.command(f"pair_coeff {line}")
        session.command("neighbor 0.0 bin")
        session.command("neigh_modify one 20000 page 400000")
        session.command("run 0 post no")
        lammps = session.raw
        energy = float(lammps.extract_compute("thermo_pe", 0, 0))
        forces = np.array(lammps.gather_atoms("f", 1, 3), dtype=np.float64).reshape(n, 3)
        pressure = np.array(lammps.extract_compute("thermo_press", 0, 1)[:6], dtype=np.float64)
        stress = -pressure[_TO_VOIGT] / BAR_PER_EV_A3
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise SimulationError("not_finite", "the reference pair style gave NaN or infinite numbers")
        return energy, frame.vectors_back(forces), frame.stress_back(stress)

    def _linear(self, structure: Structure, types: NDArray[np.int32], stress: bool) -> SnapRows:
        """Linear rows as ``compute snap`` gives them: energy, forces, virial."""
        n, session, frame = len(structure), self._session, LammpsFrame.of(structure)
        cutoff = self.settings.cutoff + _BEYOND_CUTOFF
        session.clear()
        session.create(frame, types, len(self.settings.elements))
        if self.reference is None:
            session.command(f"pair_style zero {cutoff:.17g}")
            session.command("pair_coeff * *")
        else:
            session.command(f"pair_style hybrid/overlay zero {cutoff:.17g} {self.reference.styles}")
            session.command("pair_coeff * * zero")
            for line in self.reference.overlay_coeff():
                session.command(f"pair_coeff {line}")
        array = self._run("all", "quadraticflag 0").copy()
        if not np.isfinite(array).all():
            raise SimulationError("not_finite", "compute snap gave NaN or infinite numbers")
        columns, reference = array[:, :-1], array[:, -1]
        rows = self._with_constant(columns, np.bincount(types, minlength=len(self.settings.elements) + 1)[1:])
        forces = rows[1 : 3 * n + 1].reshape(n, 3, -1)
        if not np.array_equal(frame.rotation, np.eye(3)):
            forces = np.einsum("ai,nip->nap", frame.rotation, forces)
        return SnapRows(
            energy=rows[0],
            forces=forces,
            stress=frame.stress_back(-rows[3 * n + 1 :] / structure.volume) if stress else None,
            reference_energy=float(reference[0]),
            reference_forces=frame.vectors_back(reference[1 : 3 * n + 1].reshape(n, 3)),
            reference_stress=frame.stress_back(-reference[3 * n + 1 :] / BAR_PER_EV_A3) if stress else None,
        )

    def _with_constant(self, rows: Array, counts: NDArray[np.int64]) -> Array:
        """Insert each element's constant column: its atom count in the energy row, zero elsewhere."""
        if not self.settings.has_constant:
            return rows
        n_elements = len(self.settings.elements)
        blocks = rows.reshape(len(rows), n_elements, -1)
        constant = np.zeros((len(rows), n_elements, 1))
        constant[0, :, 0] = counts
        return np.concatenate([constant, blocks], axis=2).reshape(len(rows), -1)


def _virials(pairs: Pairs, derivatives: Array) -> Array:
    """Virial of each centre's descriptors, shape (N, 6, columns), from (R, 3, columns) derivatives.

    The sum over neighbours of vector times force; it is symmetric, because descriptors do not turn.
    """
    n, n_pairs = len(pairs.atoms), len(pairs)
    order = np.argsort(pairs.centre, kind="stable")
    counts = np.tile(np.bincount(pairs.centre, minlength=n), 3)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    # Rows of this matrix are axis by axis of the vectors, then centres.
    vectors = csr_array((pairs.vectors[order].T.ravel(), np.tile(order, 3), bounds), shape=(3 * n, n_pairs))
    tensors = (vectors @ derivatives.reshape(n_pairs, -1)).reshape(3, n, 3, -1)
    return np.stack([tensors[a, :, b] for a, b in zip(_POSITION, _FORCE, strict=True)], axis=1)
