"""Barriers by two bands against each other, against ASE's own band, and what happens when a replica fails."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.eam import EAM
from ase.filters import FrechetCellFilter
from ase.mep import NEB
from ase.optimize import BFGS

import snapuq.lammps.engine
from snapuq.campaign.remember import remembering
from snapuq.core.dataset import Structure
from snapuq.core.engine import BandEngine
from snapuq.core.potential import ReferencePair
from snapuq.errors import EnvironmentProblem, SimulationError
from snapuq.lammps.engine import LammpsEngine, PotentialFiles, data_text
from snapuq.lammps.frame import LammpsFrame
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.neb import coordinate_text, run_band
from snapuq.lammps.snapfiles import write_reference
from snapuq.lammps.templates import Workspace, template_folder
from snapuq.properties import PROPERTIES, bind, build_params
from snapuq.properties.band import straight_band
from snapuq.properties.defects import DefectParams, Host, without
from snapuq.seeds import generator

pytestmark = pytest.mark.lammps

BARRIER = PROPERTIES["barrier"]
#: Agreement of both ways, eV. Saddles are settled to 1e-4 eV/A on curvatures above 0.01 eV/A^2.
BOTH_WAYS = 1.0e-4
#: Agreement with ASE, eV: its band ends at 1e-2 eV/A, and its EAM interpolates the tables otherwise.
AGAINST_ASE = 2.0e-3


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    with Workspace() as opened:
        yield opened


def eam_engine(workspace: Workspace, folder: Path, element: str, file: str, style: str = "eam/alloy"):
    pair = ReferencePair(style, (f"* * {file} {element}",))
    return LammpsEngine(write_reference(pair, (element,), folder), workspace)


def snap_engine(workspace: Workspace, folder: Path, noise: float = 0.0) -> LammpsEngine:
    """The published molybdenum SNAP, or a member made up by random changes of its coefficients."""
    rng = np.random.default_rng(3)

    def changed(line: str) -> str:
        number = re.fullmatch(r"\s*(-?[0-9.]+(?:e[-+]?\d+)?)\s*", line)
        return line if number is None else repr(float(number[1]) * (1 + noise * rng.standard_normal()))

    for end in ("snapcoeff", "snapparam"):
        lines = find_potential_file(f"Mo_Zuo_JPCA2020.{end}").read_text().splitlines()
        kept = lines if end == "snapparam" else [changed(line) for line in lines]
        (folder / f"Mo.{end}").write_text("\n".join(kept) + "\n")
    (folder / "Mo.mod").write_text(
        "pair_style snap\npair_coeff * * ${snapdir}/Mo.snapcoeff ${snapdir}/Mo.snapparam Mo\n"
    )
    return LammpsEngine(PotentialFiles(folder / "Mo.mod", ("Mo",)), workspace)


def run(engine, **data):
    (params,) = BARRIER.expand(bind(build_params("barrier", data), engine.files.elements))
    return BARRIER.run(engine, params, generator(1, "barrier"))


def both_ways(engine, **data):
    outputs = [run(engine, **data, method=method) for method in ("band", "neb")]
    for output in outputs:
        assert output.converged
        assert not output.reconfigured
        values = {name: quantity.value for name, quantity in output.values.items()}
        assert values["negative_modes"] == 1
        assert values["reverse_barrier"] == pytest.approx(values["barrier"], abs=1e-6)
    mine, theirs = (output.values["barrier"].value for output in outputs)
    assert mine == pytest.approx(theirs, abs=BOTH_WAYS)
    return mine, [output.values["negative_modes_first"].value for output in outputs]


def test_both_ways_where_the_symmetric_midpoint_is_a_minimum(workspace, tmp_path):
    """The EAM for W has two humps in a cell of 15 atoms, and both bands come to rest between them."""
    engine = eam_engine(workspace, tmp_path, "W", "W_zhou.eam.alloy")
    barrier, first = both_ways(engine, structure="bcc", supercell=2, images=5)
    assert first == [0, 0]
    assert barrier == pytest.approx(2.3344, abs=1e-3)


def test_both_ways_where_the_symmetric_midpoint_is_a_saddle_of_second_order(workspace, tmp_path):
    engine = eam_engine(workspace, tmp_path, "Zr", "Zr_mm.eam.fs", "eam/fs")
    _, first = both_ways(engine, structure="hcp", hop="pyramidal", supercell=3, images=5)
    assert first == [2, 2]


@pytest.mark.parametrize("noise", [0.0, 0.03], ids=["published", "made up"])
def test_both_ways_with_snap(noise, workspace, tmp_path):
    both_ways(snap_engine(workspace, tmp_path, noise), structure="bcc", supercell=2, images=5)


def ase_barrier(element: str, kind: str, a: float, file: str, bend: float) -> float:
    """Climbing-image band of ASE with ASE's EAM, no snapuq code in it; `bend` leaves the symmetry."""
    potential = str(find_potential_file(file))
    unit = ase.build.bulk(element, kind, a=a)
    unit.calc = EAM(potential=potential)
    BFGS(FrechetCellFilter(unit, hydrostatic_strain=True), logfile=None).run(fmax=1.0e-4)
    a = float(np.cbrt(unit.get_volume() * {"bcc": 2, "fcc": 4}[kind]))
    perfect = ase.build.bulk(element, kind, a=a, cubic=True).repeat(2)
    distances = perfect.get_distances(0, range(len(perfect)), mic=True)
    distances[0] = np.inf
    j = int(np.argmin(distances))
    way = perfect.get_distance(0, j, mic=True, vector=True)
    ends: list[Atoms] = []
    for share in (0.0, 1.0):
        atoms = perfect.copy()
        atoms.positions[j] -= share * way
        del atoms[0]
        atoms.calc = EAM(potential=potential)
        BFGS(atoms, logfile=None).run(fmax=1.0e-3)
        ends.append(atoms)
    images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
    for image in images[1:-1]:
        image.calc = EAM(potential=potential)
    band = NEB(images, k=1.0, climb=True, method="improvedtangent")
    band.interpolate()
    for k, image in enumerate(images):
        if 0 < k < 4:
            image.positions[j - 1] -= bend * np.sin(np.pi * k / 4) * way
    BFGS(band, logfile=None, maxstep=0.05).run(fmax=1.0e-2, steps=100)
    energies = [image.get_potential_energy() for image in images]
    top = images[int(np.argmax(energies))]
    assert np.linalg.norm(top.get_forces(), axis=1).max() < 2.0e-2
    return max(energies) - energies[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("element", "kind", "a", "file", "bend"),
    [("W", "bcc", 3.16, "W_zhou.eam.alloy", 0.15), ("Cu", "fcc", 3.615, "Cu_mishin1.eam.alloy", 0.0)],
)
def test_against_ase_with_its_own_eam(element, kind, a, file, bend, workspace, tmp_path):
    truth = ase_barrier(element, kind, a, file, bend)
    engine = eam_engine(workspace, tmp_path, element, file)
    output = run(engine, structure=kind, supercell=2, images=5)
    assert output.values["barrier"].value == pytest.approx(truth, abs=AGAINST_ASE)


@pytest.fixture(scope="module")
def hop(workspace, tmp_path_factory) -> tuple[LammpsEngine, tuple[Structure, ...]]:
    """Molybdenum SNAP and a straight band of three images in 15 atoms."""
    engine = snap_engine(workspace, tmp_path_factory.mktemp("hop"))
    host = Host.of(engine, DefectParams("bcc:Mo", 2))
    # The neighbour beyond the faces of the cell: images are wrapped otherwise than the first one.
    way = host.perfect.cell.sum(axis=0) / 4
    moved = host.perfect.positions.copy()
    corner = int(np.argmin(np.linalg.norm(moved - 3 * way, axis=1)))
    moved[corner] += way
    ends = [
        engine.relax(without(Structure(host.perfect.cell, x, host.perfect.species), {0})).structure
        for x in (host.perfect.positions, moved)
    ]
    return engine, straight_band(*ends, 3)


def test_images_come_back_where_they_were_in_any_frame(hop):
    engine, images = hop
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    q *= np.sign(np.linalg.det(q))
    turned = [Structure(s.cell @ q, s.positions @ q + 0.7, s.species) for s in images]
    plain, other = engine.neb(images, fmax=1.0e-2), engine.neb(turned, fmax=1.0e-2)
    assert plain.residual <= 1.0e-2
    assert plain.evaluations % 3 == 0
    for a, b in zip(plain.images, other.images, strict=True):
        # The last bits of the rotated start grow along the way; the tolerance on forces bounds the rest.
        assert b.positions == pytest.approx(a.positions @ q + 0.7, abs=5.0e-3)
    # End states stay.
    assert plain.images[0].positions == pytest.approx(images[0].positions, abs=1.0e-3)
    assert plain.images[-1].positions == pytest.approx(images[-1].positions, abs=1.0e-3)


def test_the_lmp_command_gives_the_same_barrier(hop, tmp_path):
    lmp = Path(sys.executable).with_name("lmp")
    mpirun = shutil.which("mpirun", path=str(lmp.parent)) or shutil.which("mpirun")
    if not lmp.exists() or mpirun is None:
        pytest.skip("no lmp or mpirun")
    engine, images = hop
    frame = LammpsFrame.of(images[0])
    (tmp_path / "initial.data").write_text(data_text(frame, np.ones(15, dtype=int), ("Mo",)))
    last = images[-1].positions @ frame.rotation - frame.shifts @ frame.cell
    (tmp_path / "final.coords").write_text(coordinate_text(last))
    folder = engine.files.include.parent
    command = [mpirun, "-n", "3", lmp, "-partition", "3x1", "-in", str(template_folder() / "neb.lmp")]
    for name, value in {"data": "initial.data", "potential": folder / "Mo.mod", "snapdir": folder}.items():
        command += ["-var", name, str(value)]
    subprocess.run(
        command, cwd=tmp_path, check=True, timeout=100, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    lines = (tmp_path / "log.lammps").read_text().splitlines()
    header = next(line for line in reversed(lines) if "EBF" in line).split()
    forward = float(lines[-1].split()[header.index("EBF")])
    found = engine.neb(images, fmax=1.0e-2)
    energies = [engine.evaluate(image).energy for image in found.images]
    # Straight lines between rounded coordinates, and ten digits in the log.
    assert energies[1] - energies[0] == pytest.approx(forward, abs=1.0e-5)


def test_the_engines_of_a_campaign_pass_the_band_on(hop):
    engine, images = hop
    wrapped = remembering(lambda member: engine)(0)
    assert isinstance(wrapped, BandEngine)
    assert wrapped.neb(images, fmax=1.0e-2).residual <= 1.0e-2
    assert not isinstance(remembering(lambda member: object())(0), BandEngine)


def replicas() -> set[int]:
    """Replicas that run on this machine, and their launchers."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"snapuq.lammps.replica" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


def gone(before: set[int], patience: float = 10.0) -> bool:
    """Whether all replicas that were not there before end in time."""
    end = time.monotonic() + patience
    while replicas() - before and time.monotonic() < end:
        time.sleep(0.05)
    return not replicas() - before


def wait_for_ranks(before: set[int]) -> set[int]:
    """Wait until all three replicas are inside LAMMPS."""
    end = time.monotonic() + 60.0
    while time.monotonic() < end:
        inside = set()
        for process in replicas() - before:
            with suppress(OSError):
                if "liblammps" in Path(f"/proc/{process}/maps").read_text():
                    inside.add(process)
        if len(inside) == 3:
            # The first steps of the band.
            time.sleep(0.5)
            return inside
        time.sleep(0.05)
    raise AssertionError("no replicas")


#: A band that takes far longer than any test.
ENDLESS = {"fmax": 1.0e-30, "max_steps": 10_000_000}


def test_a_band_is_killed_at_its_limit(hop, monkeypatch):
    engine, images = hop
    before = replicas()
    monkeypatch.setattr(snapuq.lammps.engine, "run_band", partial(run_band, time_limit=3.0))
    with pytest.raises(SimulationError, match="time_limit"):
        engine.neb(images, **ENDLESS)
    assert gone(before)
    monkeypatch.undo()
    assert engine.neb(images, fmax=1.0e-2).residual <= 1.0e-2


def test_one_replica_that_dies_ends_the_band_alone(hop):
    engine, images = hop
    before = replicas()

    def kill_one() -> None:
        os.kill(max(wait_for_ranks(before)), signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(SimulationError, match="crashed"):
        engine.neb(images, **ENDLESS)
    killer.join()
    assert gone(before)


def test_a_band_ends_with_the_process_that_asked_for_it(hop, tmp_path):
    engine, images = hop
    np.save(tmp_path / "positions.npy", [s.positions for s in images])
    script = f"""
        import numpy as np
        from pathlib import Path
        from snapuq.core.dataset import Structure
        from snapuq.lammps.engine import LammpsEngine, PotentialFiles
        from snapuq.lammps.templates import Workspace
        files = PotentialFiles(Path({str(engine.files.include)!r}), ("Mo",))
        cell = np.array({images[0].cell.tolist()!r})
        with Workspace() as workspace:
            images = [Structure(cell, x, ("Mo",) * 15) for x in np.load("positions.npy")]
            LammpsEngine(files, workspace).neb(images, fmax=1e-30, max_steps=10_000_000)
    """
    before = replicas()
    (tmp_path / "parent.py").write_text(textwrap.dedent(script))
    parent = subprocess.Popen([sys.executable, "parent.py"], cwd=tmp_path, stdin=subprocess.DEVNULL)
    try:
        wait_for_ranks(before)
    finally:
        parent.kill()
        parent.wait()
    assert gone(before)


def test_failures_of_lammps_have_their_reasons(hop, workspace, tmp_path):
    _, images = hop
    (tmp_path / "Mo.mod").write_text("pair_style snap\nno_such_command\n")
    with pytest.raises(SimulationError, match=r"lammps_error: .*no_such_command"):
        LammpsEngine(PotentialFiles(tmp_path / "Mo.mod", ("Mo",)), workspace).neb(images, fmax=1.0e-2)
    (tmp_path / "Mo.mod").write_text("pair_style snap\npair_coeff * * ${snapdir}/a ${snapdir}/b Mo\n")
    with pytest.raises(SimulationError, match=r"missing_file|bad_potential"):
        LammpsEngine(PotentialFiles(tmp_path / "Mo.mod", ("Mo",)), workspace).neb(images, fmax=1.0e-2)


def test_without_mpirun_the_remedy_is_named(hop, monkeypatch):
    engine, images = hop
    monkeypatch.setattr("snapuq.lifeline.shutil.which", lambda *_, **__: None)
    with pytest.raises(EnvironmentProblem, match="mpirun"):
        engine.neb(images, fmax=1.0e-2)
