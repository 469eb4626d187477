"""SNAP descriptors of one structure from LAMMPS's ``compute snap``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Structure
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.errors import InputError, SimulationError, nearest
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.session import Session
from snapuq.units import BAR_PER_EV_A3

from .quadratic import quadratic_energy, quadratic_forces

Array = NDArray[np.float64]

# Above this many atoms per bispectrum component LAMMPS's own quadratic rows are faster than the product
# rule, whose derivative array grows as the square of the number of atoms. Measured: about 80 atoms at
# twojmax 6 (30 components) and 140 at twojmax 8 (55).
CROSSOVER_ATOMS_PER_COMPONENT = 2.5
# The zero pair style sets how far ghost atoms reach: just beyond the descriptors' cutoff is enough.
_BEYOND_CUTOFF = 1.0e-3


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
    """Compute SNAP rows, choosing the faster exact way for each structure.

    Parameters
    ----------
    session : Session
        The LAMMPS instance to use.
    settings : SnapSettings
        Hyperparameters.
    reference : ReferencePair or None
        Pair style that SNAP is added to.
    crossover : int, optional
        Number of atoms above which LAMMPS's own quadratic rows are used; by default from the measured
        crossover.
    """

    def __init__(
        self,
        session: Session,
        settings: SnapSettings,
        reference: ReferencePair | None = None,
        crossover: int | None = None,
    ) -> None:
        self._session = session
        self.settings = settings
        self.reference = reference
        measured = int(CROSSOVER_ATOMS_PER_COMPONENT * settings.n_linear)
        self.crossover = measured if crossover is None else crossover

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
        frame = LammpsFrame.of(structure)
        self._prepare(frame, types)
        by_product = self.settings.quadraticflag and not stress and len(structure) <= self.crossover
        rows = self._product_rule(types) if by_product else self._direct(structure, stress)
        return self._to_frame(rows, frame)

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

    def _prepare(self, frame: LammpsFrame, types: NDArray[np.int32]) -> None:
        session, cutoff = self._session, self.settings.cutoff + _BEYOND_CUTOFF
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
        session.command("neighbor 0.0 bin")
        session.command("neigh_modify one 20000 page 400000")

    def _compute(self, options: str) -> Array:
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
        self._session.command("compute rows all snap " + " ".join(words))
        self._session.command("run 0 post no")
        array = self._session.compute_array("rows")
        if not np.isfinite(array).all():
            raise SimulationError("not_finite", "compute snap gave NaN or infinite numbers")
        return array

    def _direct(self, structure: Structure, stress: bool) -> SnapRows:
        """Rows as ``compute snap`` gives them: energy, forces, virial."""
        n = len(structure)
        array = self._compute(f"quadraticflag {int(self.settings.quadraticflag)}")
        columns, reference = array[:, :-1], array[:, -1]
        counts = np.array([structure.species.count(e) for e in self.settings.elements], dtype=float)
        rows = self._with_constant(columns, counts)
        # LAMMPS's virial and pressure are positive in compression, our stress in tension.
        return SnapRows(
            energy=rows[0],
            forces=rows[1 : 3 * n + 1].reshape(n, 3, -1),
            stress=-rows[3 * n + 1 :] / structure.volume if stress else None,
            reference_energy=float(reference[0]),
            reference_forces=reference[1 : 3 * n + 1].reshape(n, 3).copy(),
            reference_stress=-reference[3 * n + 1 :] / BAR_PER_EV_A3 if stress else None,
        )

    def _product_rule(self, types: NDArray[np.int32]) -> SnapRows:
        """Quadratic rows from per-atom linear descriptors and their derivatives."""
        n, k = len(types), self.settings.n_linear
        array = self._compute("quadraticflag 0 bikflag 1 dgradflag 1")
        bispectrum = array[:n, 3:]
        # Derivative rows come moved atom by moved atom, then centre by centre, then axis.
        by_mover = array[n : n + 3 * n * n, 3:].reshape(n, n, 3, k)
        gradient = np.ascontiguousarray(np.swapaxes(by_mover, 1, 2)).reshape(3 * n, n, k)
        energy, forces = [], []
        for element in range(1, len(self.settings.elements) + 1):
            centres = np.flatnonzero(types == element)
            whole = len(centres) == n
            energy.append(quadratic_energy(bispectrum[centres]))
            forces.append(quadratic_forces(bispectrum[centres], gradient if whole else gradient[:, centres]))
        rows = np.concatenate([np.concatenate(energy)[None], np.concatenate(forces, axis=1)])
        counts = np.bincount(types, minlength=len(self.settings.elements) + 1)[1:].astype(float)
        rows = self._with_constant(rows, counts)
        return SnapRows(
            energy=rows[0],
            forces=rows[1:].reshape(n, 3, -1),
            stress=None,
            reference_energy=float(array[-1, 0]),
            reference_forces=array[:n, :3].copy(),
            reference_stress=None,
        )

    def _with_constant(self, rows: Array, counts: Array) -> Array:
        """Insert each element's constant column: its atom count in the energy row, zero elsewhere."""
        if not self.settings.has_constant:
            return rows
        n_elements = len(self.settings.elements)
        blocks = rows.reshape(len(rows), n_elements, -1)
        constant = np.zeros((len(rows), n_elements, 1))
        constant[0, :, 0] = counts
        return np.concatenate([constant, blocks], axis=2).reshape(len(rows), -1)

    @staticmethod
    def _to_frame(rows: SnapRows, frame: LammpsFrame) -> SnapRows:
        if np.array_equal(frame.rotation, np.eye(3)):
            return rows
        turned = np.einsum("ai,nip->nap", frame.rotation, rows.forces)
        return SnapRows(
            energy=rows.energy,
            forces=turned,
            stress=None if rows.stress is None else frame.stress_back(rows.stress),
            reference_energy=rows.reference_energy,
            reference_forces=frame.vectors_back(rows.reference_forces),
            reference_stress=None
            if rows.reference_stress is None
            else frame.stress_back(rows.reference_stress),
        )
