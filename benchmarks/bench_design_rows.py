"""Quadratic energy and force rows: the product rule against LAMMPS's own rows and the bare descriptors."""

from __future__ import annotations

import numpy as np
from common import arguments, interleaved, publish, row

from snapuq.core.dataset import Structure
from snapuq.core.potential import SnapSettings
from snapuq.descriptors.bispectrum import BispectrumCalculator
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.session import Session

# Rows of two ways agree to this fraction of the largest entry, or no ratio is printed.
TOLERANCE = 1.0e-12
LATTICE = 3.18  # A, bcc tungsten


def tungsten(n: int, seed: int = 0) -> Structure:
    """About n atoms of hot bcc tungsten."""
    counts = {2: (1, 1, 1), 16: (2, 2, 2), 54: (3, 3, 3), 128: (4, 4, 4), 250: (5, 5, 5)}[n]
    cells = np.stack(np.meshgrid(*[np.arange(c) for c in counts], indexing="ij"), axis=-1).reshape(-1, 3)
    positions = np.concatenate([cells, cells + 0.5]) * LATTICE
    positions = positions + 0.1 * np.random.default_rng(seed).normal(size=positions.shape)
    return Structure(np.diag(counts) * LATTICE, positions, ("W",) * len(positions))


def lammps_rows(
    session: Session, s: SnapSettings, structure: Structure, options: str, setup: str
) -> np.ndarray:
    """``compute snap`` with a zero pair style of given reach and a given neighbour search."""
    cutoff, neighbours = setup.split()
    session.clear()
    session.create(LammpsFrame.of(structure), np.ones(len(structure), dtype=np.int32), 1)
    session.command(f"pair_style zero {cutoff}")
    session.command("pair_coeff * *")
    session.command(f"neighbor 1.0e-20 {neighbours}")
    session.command("neigh_modify one 20000 page 400000")
    session.command(
        f"compute rows all snap {s.rcutfac} {s.rfac0} {s.twojmax} 0.5 1.0 rmin0 0.0 bzeroflag 1 {options}"
    )
    session.command("run 0 post no")
    return session.compute_array("rows")


def measure(session: Session, twojmax: int, n: int, rounds: int) -> list[dict]:
    """All comparisons of one size."""
    s = SnapSettings(("W",), 4.73442, twojmax, (0.5,), (1.0,), quadraticflag=True)
    structure = tungsten(n)
    calculator = BispectrumCalculator(session, s)
    tight = f"{s.cutoff + 1e-3} bin"
    ours = calculator.rows(structure)
    theirs = lammps_rows(session, s, structure, "quadraticflag 1", tight)[: 3 * n + 1, :-1]
    error = np.abs(np.vstack([ours.energy, ours.forces.reshape(3 * n, -1)]) - theirs).max()
    agreement = float(error / np.abs(theirs).max())
    quadratic = "quadraticflag 1"
    linear = "quadraticflag 0 bikflag 1 dgradflag 1"
    times = interleaved(
        {
            "ours": lambda: calculator.rows(structure),
            "LAMMPS quadratic, as FitSNAP sets it": lambda: lammps_rows(
                session, s, structure, quadratic, "10.0 nsq"
            ),
            "LAMMPS quadratic, tight cutoff": lambda: lammps_rows(session, s, structure, quadratic, tight),
            "bare linear descriptors (floor)": lambda: lammps_rows(session, s, structure, linear, tight),
        },
        rounds,
    )
    case = f"twojmax {twojmax}, {n} atoms"
    return [
        row(case, peer, times["ours"], t, None if "floor" in peer else agreement, TOLERANCE)
        for peer, t in times.items()
        if peer != "ours"
    ]


def main() -> None:
    """Run all sizes."""
    options = arguments(__doc__ or "").parse_args()
    sizes = (2, 16, 54, 128) if options.quick else (2, 16, 54, 128, 250)
    with Session() as session:
        rows = [r for t in (6, 8) for n in sizes for r in measure(session, t, n, 5 if options.quick else 15)]
    publish("bench_design_rows", rows, options.json)


if __name__ == "__main__":
    main()
