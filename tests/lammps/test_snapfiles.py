"""Exported potentials: read back, run by LAMMPS, and refused when malformed."""

from __future__ import annotations

import shutil
from dataclasses import replace

import ase.build
import numpy as np
import pytest

from snapuq.core.dataset import Structure
from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.errors import InputError
from snapuq.lammps.engine import LammpsEngine
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.snapfiles import member_files, write_ensemble, write_reference
from snapuq.lammps.snapformat import read_potential, snapcoeff_text
from snapuq.lammps.templates import Workspace

pytestmark = pytest.mark.lammps

ZBL = ReferencePair("zbl 4.0 4.8", ("* * 74 74",))
ONE = SnapSettings(("W",), 4.73442, 4, (0.5,), (1.0,), quadraticflag=True)
TWO = SnapSettings(
    ("W", "Be"), 4.8123, 4, (0.5, 0.417932), (1.0, 0.959049), bzeroflag=False, rmin0=0.1, chemflag=False
)
INNER = replace(TWO, switchinnerflag=True, sinner=(1.1, 1.0), dinner=(0.3, 0.2), bnormflag=True)
CHEM = replace(TWO, chemflag=True, bnormflag=True, wselfallflag=True, twojmax=2)


def ensemble(settings: SnapSettings, reference: ReferencePair | None, n: int = 3) -> Ensemble:
    rng = np.random.default_rng(0)
    theta = 1e-3 * rng.standard_normal((n + 1, settings.n_columns))
    return Ensemble(settings, reference, theta[0], theta.mean(axis=0), theta[1:], 7, "f" * 64)


@pytest.fixture(scope="module")
def workspace():
    with Workspace() as opened:
        yield opened


@pytest.mark.parametrize("settings", [ONE, TWO, INNER, CHEM], ids=["quadratic", "two", "inner", "chem"])
def test_round_trip_to_the_last_bit(settings, tmp_path):
    written = ensemble(settings, None)
    write_ensemble(written, tmp_path, "X")
    for index in range(4):
        files = member_files(tmp_path, "X", index, 3, settings.elements)
        coeff = tmp_path / files.variables["snapcoeff"]
        found = read_potential(coeff, tmp_path / "X.snapparam")
        assert found.settings == settings
        assert found.digest == written.member(index).digest


def test_names_headers_and_number_of_files(tmp_path):
    write_ensemble(ensemble(ONE, ZBL), tmp_path, "W")
    names = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    members = [f"members/W_000{i}.snapcoeff" for i in (1, 2, 3)]
    assert names == sorted(["W.mod", "W.snapcoeff", "W.snapparam", *members])
    for path in tmp_path.rglob("*.*"):
        assert "f" * 64 in path.read_text().splitlines()[0]
    assert "member 2 of 3" in (tmp_path / "members" / "W_0002.snapcoeff").read_text().splitlines()[0]


def test_writing_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_ensemble(ensemble(TWO, None), tmp_path / name, "WBe")
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.parametrize("settings", [ONE, TWO, INNER, CHEM], ids=["quadratic", "two", "inner", "chem"])
def test_lammps_runs_members_and_they_differ(settings, workspace, tmp_path):
    write_ensemble(ensemble(settings, None), tmp_path, "X")
    atoms = ase.build.bulk("W", "bcc", a=3.0, cubic=True)
    species = ("W", settings.elements[-1])
    s = Structure(atoms.cell.array, atoms.positions + np.array([[0, 0, 0], [0.1, 0.2, 0]]), species)
    energies = [
        LammpsEngine(member_files(tmp_path, "X", i, 3, settings.elements), workspace).evaluate(s).energy
        for i in range(4)
    ]
    assert len(set(energies)) == 4


def test_energy_is_linear_in_the_coefficients(workspace, tmp_path):
    """MLE + (member - MLE) / 2 lies half-way; independent of the rows that snapuq assembles."""
    e = ensemble(ONE, ZBL, 2)
    middle = Ensemble(
        ONE, ZBL, e.mle, e.mean, np.stack([e.coefficients[0], 0.5 * (e.mle + e.coefficients[0])]), 1, "0"
    )
    write_ensemble(middle, tmp_path, "W")
    s = Structure(3.1 * np.eye(3), np.array([[0.0, 0, 0], [1.4, 1.7, 1.5]]), ("W", "W"))
    mle, member, half = (
        LammpsEngine(member_files(tmp_path, "W", i, 2, ("W",)), workspace).evaluate(s) for i in (0, 1, 2)
    )
    assert half.energy == pytest.approx(0.5 * (mle.energy + member.energy), abs=1e-10)
    assert half.forces == pytest.approx(0.5 * (mle.forces + member.forces), abs=1e-10)


def test_the_reference_is_under_snap(workspace, tmp_path):
    """With all coefficients zero, only the reference is left."""
    zero = np.zeros(ONE.n_columns)
    e = Ensemble(ONE, ZBL, zero, zero, zero[None], 1, "0")
    mle = write_ensemble(e, tmp_path, "W")
    s = Structure(12.0 * np.eye(3), np.array([[0.0, 0, 0], [1.0, 0, 0]]), ("W", "W"))
    # One pair at 1 A: the universal screening function (Ziegler, Biersack and Littmark, 1985).
    x = 2 * 74**0.23 / 0.46850
    decay = np.array([3.19980, 0.94229, 0.40290, 0.20162])
    pair = 14.399645 * 74**2 * np.dot([0.18175, 0.50986, 0.28022, 0.02817], np.exp(-x * decay))
    found = LammpsEngine(mle, workspace).evaluate(s).energy
    # The switch at 4.0 A shifts the energy by about 0.1 eV of 300 eV.
    assert found == pytest.approx(pair, rel=2e-3)
    alone = LammpsEngine(write_reference(ZBL, ("W",), tmp_path), workspace)
    assert found == pytest.approx(alone.evaluate(s).energy, rel=1e-14)


def test_potential_files_of_the_reference_travel_with_the_folder(workspace, tmp_path):
    eam = ReferencePair("eam/alloy", ("* * W_zhou.eam.alloy W",))
    write_ensemble(ensemble(ONE, eam), tmp_path / "here", "W")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert (tmp_path / "there" / "W_zhou.eam.alloy").is_file()
    files = member_files(tmp_path / "there", "W", 1, 3, ("W",))
    s = Structure(3.1 * np.eye(3), np.zeros((1, 3)), ("W",))
    assert np.isfinite(LammpsEngine(files, workspace).evaluate(s).energy)


def test_hybrid_overlay_reference(workspace, tmp_path):
    pair = ReferencePair("hybrid/overlay zbl 4.0 4.8", ("* * zbl 74 74",))
    found = []
    for name, reference in (("a", pair), ("b", ZBL)):
        files = write_ensemble(ensemble(ONE, reference), tmp_path / name, "W")
        s = Structure(2.8 * np.eye(3), np.zeros((1, 3)), ("W",))
        found.append(LammpsEngine(files, workspace).evaluate(s).energy)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["a b", "../W", "W;x", "", ".W", "$x"])
def test_names_that_lammps_could_misread_are_refused(name, tmp_path):
    with pytest.raises(InputError, match="not allowed"):
        write_ensemble(ensemble(ONE, None), tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_elements_must_be_elements(tmp_path):
    with pytest.raises(InputError, match="not a chemical element"):
        write_ensemble(ensemble(replace(ONE, elements=("Qq",)), None), tmp_path, "W")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["W_2940_2017_2", "Ta06A", "WBe_Wood_PRB2019", "Cu_Zuo_JPCA2020.quadratic"])
def test_published_potentials_round_trip(name, tmp_path):
    files = [find_potential_file(f"{name}.{e}") for e in ("snapcoeff", "snapparam")]
    read = read_potential(*files)
    e = Ensemble(read.settings, None, read.coefficients, read.coefficients, read.coefficients[None], 0, "0")
    write_ensemble(e, tmp_path, "X")
    assert read_potential(tmp_path / "X.snapcoeff", tmp_path / "X.snapparam").digest == read.digest


@pytest.mark.parametrize(
    ("suffix", "change", "said"),
    [
        ("snapcoeff", lambda t: t[: len(t) // 2], "truncated"),
        ("snapcoeff", lambda t: t.replace("W 0.5", "Q 0.5"), "not a chemical element"),
        ("snapcoeff", lambda t: t.replace("W 0.5 1", "W 0.5"), "ELEMENT RADIUS WEIGHT"),
        ("snapcoeff", lambda t: "\n".join([*t.split("\n")[:6], "nan", *t.split("\n")[7:]]), "a number"),
        ("snapcoeff", lambda t: "", "malformed"),
        ("snapparam", lambda t: t.replace("twojmax 4", "twojmax 6"), "coefficients per element"),
        ("snapparam", lambda t: t.replace("twojmax", "twojmx"), "unknown keyword"),
        ("snapparam", lambda t: t.replace("twojmax 4", ""), "missing keyword"),
        ("snapparam", lambda t: t.replace("twojmax 4", "twojmax 4.5"), "one value"),
        ("snapparam", lambda t: t.replace("rcutfac 4", "rcutfac x4"), "number"),
    ],
)
def test_malformed_files_are_refused_in_one_line(suffix, change, said, tmp_path):
    write_ensemble(ensemble(ONE, None), tmp_path, "W")
    path = tmp_path / f"W.{suffix}"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError) as caught:
        read_potential(tmp_path / "W.snapcoeff", tmp_path / "W.snapparam")
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "W.snap"))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"W\.snapparam"):
        read_potential(tmp_path / "W.snapcoeff", tmp_path / "W.snapparam")


def test_constant_is_zero_where_it_is_not_fitted():
    text = snapcoeff_text(ONE, np.arange(1.0, ONE.n_columns + 1))
    lines = text.split("\n")
    assert lines[3:6] == ["0", "1", "2"]
