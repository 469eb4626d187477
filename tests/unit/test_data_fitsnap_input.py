"""FitSNAP inputs: the same data, split and weights as FitSNAP itself, and none of its side effects."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snapuq.core.dataset import Dataset
from snapuq.core.potential import ReferencePair, reference_pair
from snapuq.data import read_dataset
from snapuq.errors import InputError
from snapuq.parallel import load_mpi
from snapuq.units import BAR_PER_EV_A3

pytest.importorskip("lammps", reason="fitsnap3 imports the lammps module")
pytest.importorskip("psutil", reason="fitsnap3 needs the packages of the extra 'fitsnap'")

INPUT = """\
[BISPECTRUM]
numTypes = 2
twojmax = 4 4
rcutfac = 4.8
rfac0 = 0.99
rmin0 = 0.1
wj = 1.0 0.9
radelem = 0.5 0.45
type = W Be
bzeroflag = 0
switchinnerflag = 1
sinner = 0.8 0.7
dinner = 0.2 0.1

[CALCULATOR]
calculator = LAMMPSSNAP
energy = 1
force = 1
stress = 1

[ESHIFT]
W = 1.5
Be = -0.25

[SOLVER]
solver = SVD

[SCRAPER]
scraper = JSON

[PATH]
dataPath = data

[OUTFILE]
metrics = metrics.md
potential = pot

[REFERENCE]
units = metal
atom_style = atomic
pair_style = hybrid/overlay zero 10.0 zbl 4.0 4.8
pair_coeff1 = * * zero
pair_coeff2 = 1 1 zbl 74 74
pair_coeff3 = 1 2 zbl 74 4
pair_coeff4 = 2 2 zbl 4 4

[GROUPS]
group_sections = name training_size testing_size eweight fweight vweight
group_types = str float float float float float
smartweights = 1
random_sampling = 0
alpha = 0.5 0.25 100.0 2.0 1e-8
beta  = 1.0 0.0  10.0  3.0 1e-9

[MEMORY]
override = 0
"""


def make_data(folder: Path, n: int = 12) -> None:
    """Two groups of skewed W-Be cells in no special orientation, with atoms outside the cell."""
    rng = np.random.default_rng(3)
    for group, count in (("alpha", n), ("beta", 5)):
        (folder / group).mkdir(parents=True)
        for i in range(count):
            turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
            turned *= np.sign(np.linalg.det(turned))
            cell = (4.0 * np.eye(3) + rng.uniform(-0.7, 0.7, (3, 3))) @ turned
            fractions = np.array([[0.1, -0.2, 0.3], [0.6, 0.4, 1.25], [2.6, 0.0, 0.8]])
            stress = 1e4 * rng.normal(size=(3, 3))
            entry = {
                "NumAtoms": 3,
                "AtomTypes": ["W", "Be", "W"],
                "Lattice": cell.tolist(),
                "Positions": (fractions @ cell).tolist(),
                "Energy": float(-20 + rng.normal()) / (27.2114 if group == "beta" else 1.0),
                "Forces": rng.normal(size=(3, 3)).tolist(),
                "Stress": (stress + stress.T).tolist(),
            }
            styles = {"EnergyStyle": "Hartree" if group == "beta" else "electronvolt", "StressStyle": "kB"}
            content = {"Dataset": {"Data": [entry], **styles}}
            (folder / group / f"{i}.json").write_text("# comment\n" + json.dumps(content))


def make(folder: Path, text: str = INPUT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data").exists():
        make_data(folder / "data")
    (folder / "fit.in").write_text(text)
    return folder / "fit.in"


def fitsnap_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Run FitSNAP 3.1.0.4 as its users do, in the input's folder; only the order of files is fixed."""
    load_mpi()  # FitSNAP starts LAMMPS, which needs the library
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fitsnap3lib import parallel_tools
        from fitsnap3lib.fitsnap import FitSnap
        from fitsnap3lib.io.sections.sections import Section
        from fitsnap3lib.scrapers import scrape

        monkeypatch.chdir(path.parent)
        monkeypatch.setattr(Section, "_infile_directory", None)
        monkeypatch.setattr(Section, "_outfile_directory", None)
        names = lambda folder: sorted(os.listdir(folder), key=lambda n: (len(n), n))  # noqa: E731, PTH208
        monkeypatch.setattr(scrape, "listdir", names)
        # FitSNAP draws a seed below the float 1e5, which Python 3.12 refuses.
        monkeypatch.setattr(parallel_tools, "randint", lambda low, high: random.randint(low, int(high)))
        fit = FitSnap(path.name, comm=None, arglist=["--overwrite"])
        fit.scrape_configs()
        return list(fit.data)


def assert_same(dataset: Dataset, truth: list[dict[str, Any]]) -> None:
    assert len(dataset) == len(truth)
    assert dataset.is_test is not None
    for got, is_test, want in zip(dataset.configurations, dataset.is_test, truth, strict=True):
        assert got.identifier == f"{want['Group']}/{want['File']}"
        assert is_test == bool(want["test_bool"])
        # The same numbers by the same code: equal, but for the unused triangle of the cell.
        assert got.energy == want["Energy"]
        np.testing.assert_array_equal(got.structure.positions, want["Positions"])
        np.testing.assert_array_equal(got.forces, want["Forces"])
        np.testing.assert_allclose(got.structure.cell, want["Lattice"].T, rtol=0, atol=1e-13)
        assert (np.triu(got.structure.cell, 1) == 0).all()
        # Our stress row, weighted as we weight it, is FitSNAP's weighted row: target^2 * weight agrees.
        assert got.weights is not None
        assert got.stress is not None
        voigt = want["Stress"][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        np.testing.assert_allclose(
            -got.stress * np.sqrt(got.weights.stress), voigt * want["vweight"], rtol=1e-14
        )
        assert got.weights.energy == want["eweight"] ** 2
        assert got.weights.force == want["fweight"] ** 2


@pytest.mark.lammps
def test_data_split_and_weights_are_fitsnaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path)
    dataset = read_dataset(path)
    assert_same(dataset, fitsnap_itself(path, monkeypatch))
    assert sum(dataset.is_test or ()) == 3
    # smartweights: 100 / 6 training configurations; 2 / 6 / (3 atoms * 3) / 6, as FitSNAP has it.
    weights = dataset.configurations[0].weights
    assert weights is not None
    assert weights.energy == pytest.approx((100 / 6) ** 2, rel=1e-14)
    assert weights.force == pytest.approx((2 / 6 / 9 / 6) ** 2, rel=1e-14)


@pytest.mark.data
@pytest.mark.lammps
def test_tantalum_is_fitsnaps(dft_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dft_data / "tantalum" / "Ta-linear.in"
    dataset = read_dataset(path)
    assert len(dataset) == 363
    truth = fitsnap_itself(path, monkeypatch)
    by_name = {f"{d['Group']}/{d['File']}": d for d in truth}
    assert_same(dataset, [by_name[c.identifier] for c in dataset.configurations])
    # The weights that FitSNAP itself wrote: one a row, all energies, then all forces, then all stresses.
    written = np.load(path.parent / "reference-linear" / "Weights.npy")
    rows = [c.weights for c in dataset.configurations if c.weights is not None]
    counts = [3 * len(c) for c in dataset.configurations]
    ours = np.sqrt(
        np.concatenate(
            [
                [w.energy for w in rows],
                np.repeat([w.force for w in rows], counts),
                np.repeat([w.stress for w in rows], 6) / BAR_PER_EV_A3**2,
            ]
        )
    )
    # Squared, converted and back: a few ulps.
    np.testing.assert_allclose(ours, written, rtol=1e-14)


@pytest.mark.data
def test_missing_data_folder_is_one_clear_error_and_can_be_overridden(dft_data: Path) -> None:
    path = dft_data / "tantalum" / "Ta-quadratic.in"
    with pytest.raises(InputError) as caught:
        read_dataset(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:33: [PATH] dataPath: no such folder; found ")
    assert "Ta_Linear_JCP2014/JSON" in message
    dataset = read_dataset(path, data_path=dft_data / "tantalum" / "JSON")
    assert len(dataset) == 363
    assert dataset.recipe is not None
    assert dataset.recipe.settings.n_columns == 1595


def test_recipe(tmp_path: Path) -> None:
    recipe = read_dataset(make(tmp_path)).recipe
    assert recipe is not None
    settings = recipe.settings
    assert settings.elements == ("W", "Be")
    assert (settings.twojmax, settings.rcutfac, settings.rfac0, settings.rmin0) == (4, 4.8, 0.99, 0.1)
    assert (settings.radelem, settings.wj) == ((0.5, 0.45), (1.0, 0.9))
    assert (settings.sinner, settings.dinner) == ((0.8, 0.7), (0.2, 0.1))
    assert (settings.switchflag, settings.switchinnerflag) == (True, True)
    flags = (settings.bzeroflag, settings.quadraticflag, settings.chemflag, settings.bnormflag)
    assert flags == (False, False, False, False)
    assert recipe.reference == ReferencePair("zbl 4.0 4.8", ("1 1 74 74", "1 2 74 4", "2 2 4 4"))
    assert (recipe.use_energy, recipe.use_forces, recipe.use_stress) == (True, True, True)


def test_energy_shift_comes_before_the_unit(tmp_path: Path) -> None:
    """As FitSNAP: shifts are in the unit of the data, and FitSNAP's hartree is 27.2114 eV."""
    path = make(tmp_path)
    shifted = read_dataset(path)
    plain = read_dataset(make(tmp_path, INPUT.replace("W = 1.5", "W = 0").replace("Be = -0.25", "Be = 0")))
    for a, b in zip(shifted.configurations, plain.configurations, strict=True):
        unit = 27.2114 if a.group == "beta" else 1.0
        # Two W and one Be: 2 * 1.5 - 0.25; differences of numbers near 500 lose 3 digits.
        assert a.energy - b.energy == pytest.approx(2.75 * unit, rel=1e-12)


def test_random_sampling_is_that_of_python_3_10(tmp_path: Path) -> None:
    """``random.seed(7); random.shuffle(list(range(12)), random.random)``, run with Python 3.10."""
    shuffled = [7, 11, 10, 5, 9, 8, 2, 4, 0, 6, 1, 3]
    text = INPUT.replace("random_sampling = 0", "random_sampling = 1\nrandom_seed = 7")
    dataset = read_dataset(make(tmp_path, text))
    flags = dataset.is_test or ()
    got = [
        (c.identifier, t) for c, t in zip(dataset.configurations, flags, strict=True) if c.group == "alpha"
    ]
    # FitSNAP drops the last three, takes the next three from the end for testing, and trains on the rest.
    want = [(f"alpha/{i}.json", False) for i in shuffled[:6]] + [
        (f"alpha/{i}.json", True) for i in shuffled[8:5:-1]
    ]
    assert got == want


def test_sampling_without_a_seed_can_be_repeated(tmp_path: Path) -> None:
    path = make(tmp_path, INPUT.replace("random_sampling = 0", "random_sampling = 1"))
    first, second = read_dataset(path), read_dataset(path)
    assert first.digest == second.digest
    assert first.is_test == second.is_test


@pytest.mark.parametrize("section", ["[BISPECTRUM]", "[GROUPS]"])
def test_boltzmann_weights(tmp_path: Path, section: str) -> None:
    """FitSNAP's formula: exp((eweight - E/N) / kT), times the other weights."""
    text = INPUT.replace(section, f"{section}\nBOLTZ = 30000").replace("smartweights = 1", "smartweights = 0")
    for c in read_dataset(make(tmp_path, text)).configurations:
        eweight, fweight = (100.0, 2.0) if c.group == "alpha" else (10.0, 3.0)
        boltzmann = np.exp((eweight - c.energy / 3) / (8.617333262145e-5 * 30000))
        assert c.weights is not None
        # An exponent near 40 amplifies round-off; FitSNAP gives k with 13 digits.
        assert c.weights.energy == pytest.approx(boltzmann**2, rel=1e-10)
        assert c.weights.force == pytest.approx((boltzmann * fweight) ** 2, rel=1e-10)


def test_group_file(tmp_path: Path) -> None:
    table, inline = INPUT.split("alpha = ")[0], read_dataset(make(tmp_path))
    rest = "\n[MEMORY]\noverride = 0\n"
    (tmp_path / "groups.in").write_text(
        "# name ...\nalpha 0.5 0.25 100.0 2.0 1e-8\n\nbeta 1.0 0.0 10.0 3.0 1e-9 # x\n"
    )
    path = make(tmp_path, table.replace("dataPath = data", "dataPath = data\ngroupFile = groups.in") + rest)
    from_file = read_dataset(path)
    assert from_file.digest == inline.digest
    assert [c.weights for c in from_file.configurations] == [c.weights for c in inline.configurations]


@pytest.mark.parametrize(
    ("kind", "alpha", "beta", "train", "test"),
    [
        # A fraction in the column "size": FitSNAP tests on whatever it does not train on.
        ("float", "0.5", "0.4", [6, 2], [6, 3]),
        # A number: it leaves the rest out.
        ("int", "7", "2", [7, 2], [0, 0]),
    ],
)
def test_size_column(
    tmp_path: Path, kind: str, alpha: str, beta: str, train: list[int], test: list[int]
) -> None:
    text = INPUT.replace("training_size testing_size eweight", "size eweight")
    text = text.replace("str float float float float float", f"str {kind} float float float")
    text = text.replace("0.5 0.25 100.0", f"{alpha} 100.0").replace("1.0 0.0  10.0", f"{beta} 10.0")
    dataset = read_dataset(make(tmp_path, text))
    counts = {False: [0, 0], True: [0, 0]}
    for configuration, is_test in zip(dataset.configurations, dataset.is_test or (), strict=True):
        counts[is_test][configuration.group == "beta"] += 1
    assert counts == {False: train, True: test}


def test_too_large_sizes_are_reported(tmp_path: Path) -> None:
    path = make(tmp_path, INPUT.replace("alpha = 0.5 0.25", "alpha = 0.9 0.5"))
    with pytest.warns(UserWarning, match="FitSNAP: WARNING: alpha train size 11"):
        read_dataset(path)
    # 0.55 and 0.45 of 10 are rounded to 6 and 5: FitSNAP's correction by one is no news.
    make_data(tmp_path / "ten" / "data", n=10)
    dataset = read_dataset(make(tmp_path / "ten", INPUT.replace("alpha = 0.5 0.25", "alpha = 0.55 0.45")))
    assert (len(dataset), sum(dataset.is_test or ())) == (15, 4)


def test_no_side_effects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from fitsnap3lib.io.sections.sections import Section
    from fitsnap3lib.scrapers import scrape

    text = INPUT.replace("random_sampling = 0", "random_sampling = 1\nrandom_seed = 7")
    path = make(tmp_path / "project", text)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # An output file of FitSNAP's, and arguments that its command line takes for a build of its manual.
    (elsewhere / "metrics.md").write_text("mine")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "argv", ["snapuq", "build", "html"])
    before = (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002 - the state that must stay
    state = (dict(Section.sections), Section._infile_directory, scrape.shuffle, scrape.listdir, scrape.seed)
    first = read_dataset(path)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    assert (
        dict(Section.sections),
        Section._infile_directory,
        scrape.shuffle,
        scrape.listdir,
        scrape.seed,
    ) == state
    assert [p.name for p in elsewhere.iterdir()] == ["metrics.md"]
    assert (elsewhere / "metrics.md").read_text() == "mine"
    assert sorted(p.name for p in path.parent.iterdir()) == ["data", "fit.in"]
    assert capfd.readouterr() == ("", "")
    # The same from another folder, by another path, after another input: no state is left behind.
    read_dataset(make(tmp_path / "other"))
    monkeypatch.chdir(path.parent)
    assert read_dataset("fit.in").digest == first.digest


def test_torch_is_not_needed_and_mpi_is_not_started(tmp_path: Path) -> None:
    path = make(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from snapuq.data import read_dataset\n"
        "assert 'fitsnap3lib' not in sys.modules\n"
        f"read_dataset({str(path)!r})\n"
        "assert 'mpi4py.MPI' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("style", "coefficients", "expected"),
    [
        ("zero 10.0", ["* *"], None),
        ("hybrid/overlay zero 10.0", ["* * zero"], None),
        ("hybrid/overlay zero 10.0 nocoeff zbl 4 4.8", ["* * zbl 73 73"], ("zbl 4 4.8", ("* * 73 73",))),
        ("hybrid/overlay zbl 4 4.8 zero 10.0", ["* * zero", "* * zbl 73 73"], ("zbl 4 4.8", ("* * 73 73",))),
        ("zbl 4 4.8", ["* * 73 73"], ("zbl 4 4.8", ("* * 73 73",))),
        (
            "hybrid/overlay zero 10.0 zbl 4 4.8 coul/cut 9",
            ["* * zero", "* * zbl 73 73", "* * coul/cut"],
            ("hybrid/overlay zbl 4 4.8 coul/cut 9", ("* * zbl 73 73", "* * coul/cut")),
        ),
    ],
)
def test_zero_is_dropped_from_the_reference(
    style: str, coefficients: list[str], expected: tuple[str, tuple[str, ...]] | None
) -> None:
    got = reference_pair(style.split(), [line.split() for line in coefficients])
    assert got == (None if expected is None else ReferencePair(*expected))


@pytest.mark.parametrize(
    ("old", "new", "where", "words"),
    [
        ("units = metal", "units = real", "[REFERENCE] units", ["real", "metal"]),
        ("atom_style = atomic", "atom_style = charge", "[REFERENCE] atom_style", ["charge", "atomic"]),
        ("twojmax = 4 4", "twojmax = 4 6", "[BISPECTRUM] twojmax", ["4 6", "one value for all elements"]),
        ("twojmax = 4 4", "twojmax = 4", "[BISPECTRUM] twojmax", ["1 values", "2, as numTypes says"]),
        ("twojmax = 4 4", "twojmaxx = 4 4", "[BISPECTRUM] twojmax", ["wrong count"]),
        ("rcutfac = 4.8", "rcutfac = wide", "[BISPECTRUM] rcutfac", ["wide"]),
        (
            "rcutfac = 4.8",
            "rcutfak = 4.8",
            "[BISPECTRUM] rcutfak",
            ["unknown key", "did you mean 'rcutfac'?"],
        ),
        ("numTypes = 2", "numTypes = two", "[BISPECTRUM] numTypes", ["two", "an integer"]),
        ("bzeroflag = 0", "bzeroflag = maybe", "[BISPECTRUM] bzeroflag", ["maybe"]),
        ("wj = 1.0 0.9", "wj = 1.0 heavy", "[BISPECTRUM] wj", ["heavy"]),
        ("solver = SVD", "sover = SVD", "[SOLVER] sover", ["unknown key", "did you mean 'solver'?"]),
        (
            "atom_style = atomic",
            "atom_stile = atomic",
            "[REFERENCE] atom_stile",
            ["did you mean 'atom_style'?"],
        ),
        ("Be = -0.25", "be = -0.25", "[ESHIFT] be", ["unknown key", "did you mean 'Be'?"]),
        ("dataPath = data", "datapath = data", "[PATH] datapath", ["did you mean 'dataPath'?"]),
        ("[SCRAPER]", "[SCRAPPER]", "[SCRAPPER]", ["unknown section", "did you mean 'SCRAPER'?"]),
        ("[SCRAPER]\nscraper = JSON", "", "[SCRAPER]", ["missing section"]),
        ("scraper = JSON", "scraper = XYZ", "[SCRAPER] scraper", ["XYZ", "'ase'"]),
        ("calculator = LAMMPSSNAP", "calculator = LAMMPSPACE", "[CALCULATOR] calculator", ["LAMMPSPACE"]),
        ("stress = 1", "stress = 1\nnonlinear = 1", "[CALCULATOR] nonlinear", ["not supported"]),
        ("alpha =", "alhpa =", "[GROUPS] alhpa", ["no such group folder", "did you mean 'alpha'?"]),
        ("0.25 100.0 2.0 1e-8", "0.25 100.0 2.0", "[GROUPS] alpha", ["found 4", "expected 5 (training_size"]),
        ("0.25 100.0 2.0 1e-8", "0.25 100.0 2,0 1e-8", "[GROUPS] alpha.fweight", ["2,0", "a float"]),
        ("smartweights = 1", "smartweight = 1", "[GROUPS] smartweight", ["did you mean 'smartweights'?"]),
        ("str float float float float float", "str float", "[GROUPS] group_types", ["2", "6, one for each"]),
        ("smartweights = 1", "smartweights = 1\nrandom_seed = 0.5", "[GROUPS] random_seed", ["an integer"]),
        ("rmin0 = 0.1", "rmin0 = 0.1\nrmin0 = 0.2", "[BISPECTRUM] rmin0", ["occurs twice"]),
        ("4.0 4.8\n", "4.0 4.8; shell ls\n", "[REFERENCE] pair_style", ["not allowed"]),
        ("rcutfac = 4.8", "rcutfac = -4.8", "[BISPECTRUM]", ["positive"]),
        ("100.0 2.0 1e-8", "100.0 nan 1e-8", "[GROUPS] alpha", ["not finite"]),
        ("= 0.5 0.25", "= 1.5 0", "[GROUPS]", ["FitSNAP cannot split", "integers"]),
    ],
)
def test_a_bad_input_is_one_clear_line(
    tmp_path: Path, old: str, new: str, where: str, words: list[str]
) -> None:
    assert old in INPUT
    path = make(tmp_path, INPUT.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        read_dataset(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "fit.in" in message or ".json" in message
    assert where in message
    for word in words:
        assert word in message


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text().partition("\n")[2])
    for key, value in changes.items():
        owner = content["Dataset"] if key.endswith("Style") else content["Dataset"]["Data"][0]
        if value is None:
            del owner[key]
        else:
            owner[key] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"EnergyStyle": "furlong"}, ["Dataset.EnergyStyle: unknown unit; found furlong", "Hartree"]),
        ({"Stress": None}, ["Data[0].Stress: missing key"]),
        ({"Forces": None}, ["Data[0].Forces: missing key"]),
        ({"AtomTypes": ["W", "Be", "Fe"]}, ["Data[0].AtomTypes: element Fe is not in [BISPECTRUM] type"]),
        ({"Lattice": [[0, 4, 0], [4, 0, 0], [0, 0, 4]]}, ["Data[0].Lattice: singular or left-handed"]),
        ({"Energy": float("nan")}, ["Data[0].Energy: not a finite number"]),
    ],
)
def test_a_bad_data_file_is_named(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    path = make(tmp_path)
    bad = tmp_path / "data" / "alpha" / "1.json"
    edit(bad, **changes)
    with pytest.raises(InputError) as caught:
        read_dataset(path)
    message = str(caught.value)
    assert message.startswith(str(bad))
    for word in words:
        assert word in message


def test_an_empty_group_is_named(tmp_path: Path) -> None:
    path = make(tmp_path)
    for file in (tmp_path / "data" / "beta").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"\[GROUPS\] beta: empty group"):
        read_dataset(path)


def test_without_forces_and_stress_rows(tmp_path: Path) -> None:
    """The data stay in one frame with the cell, whatever FitSNAP leaves unrotated."""
    full = read_dataset(make(tmp_path))
    part = read_dataset(
        make(tmp_path, INPUT.replace("force = 1", "force = 0").replace("stress = 1", "stress = 0"))
    )
    assert part.recipe is not None
    assert (part.recipe.use_forces, part.recipe.use_stress) == (False, False)
    for a, b in zip(full.configurations, part.configurations, strict=True):
        np.testing.assert_allclose(a.forces, b.forces, rtol=1e-15)
        assert b.stress is None
