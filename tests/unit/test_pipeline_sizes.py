"""Cutoffs against the data, and the cells of properties against the cutoff."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from json_data import write_data

from snapuq.config import PropertyRequest, load_config
from snapuq.core.dataset import Configuration, Dataset, Structure
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.pipeline.inspect import check, dry_run
from snapuq.pipeline.sizes import cell_warnings, cutoff_warnings, reference_cutoff, typical_neighbour
from snapuq.properties import PROPERTIES, bind, build_params
from snapuq.properties.divacancy import Divacancy

#: Twice the cutoff of these settings is 10 A.
SETTINGS = SnapSettings(("W",), 5.0, 2, (0.5,), (1.0,))
BCC, HCP = "bcc:W@3.0", "hcp:W@3.0,1.7"


def told(
    name: str, settings: SnapSettings = SETTINGS, pair: ReferencePair | None = None, **data
) -> list[str]:
    return cell_warnings([PropertyRequest(name, build_params(name, data))], settings, pair)


@pytest.mark.parametrize("name", ["vacancy", "divacancy", "interstitial", "barrier"])
def test_supercells_of_defects(name):
    (line,) = told(name, structure=BCC, supercell=3)
    expected = "supercell 3 makes 9 A, less than twice the cutoff of 5 A; 4 would do"
    assert line == f"{name} of bcc-W: {expected}"
    assert told(name, structure=BCC, supercell=4) == []


def test_the_narrowest_way_across_a_cell_counts():
    """Hexagonal cells are narrower than their edges: 3 A * sqrt(3)/2 between the prismatic faces."""
    (line,) = told("vacancy", structure=HCP, supercell=3)
    assert "supercell 3 makes 7.79 A," in line
    assert line.endswith("; 4 would do")
    assert told("vacancy", structure=HCP, supercell=4) == []


def test_supercells_of_phonons():
    """Whole cells are repeated, so the length is at least what was asked for."""
    assert told("phonon", structure=BCC, supercell_length=9.5) == []
    (line,) = told("phonon", structure=BCC, supercell_length=8.0)
    assert line.endswith("supercell_length 8 A makes 9 A, less than twice the cutoff of 5 A; 10 would do")
    assert told("phonon", structure=BCC) == []


@pytest.mark.parametrize("name", ["surface", "gamma_line"])
def test_slabs_and_the_space_between_them(name):
    assert told(name, structure=BCC, thickness=10.0, vacuum=5.0) == []
    (line,) = told(name, structure=BCC, thickness=9.9, vacuum=4.9)
    thickness, vacuum, *_ = line.split("would do")
    assert thickness.endswith("thickness 9.9 A is less than twice the cutoff of 5 A; 10 ")
    assert vacuum == "; vacuum 4.9 A is less than the cutoff of 5 A; 5 "
    assert told(name, structure=BCC) == []


def test_a_thickness_that_was_not_given_is_the_usual_one():
    short = replace(SETTINGS, rcutfac=9.0)
    (line,) = told("surface", short, structure=BCC, vacuum=20.0)
    # Seven times the cube root of half of 27 A^3.
    assert "thickness 16.7 A is less than twice the cutoff of 9 A; 18 would do" in line


def test_properties_of_the_crystals_own_cell_ask_for_nothing():
    longest = replace(SETTINGS, rcutfac=50.0)
    for name in ("elastic", "eos", "phase", "path"):
        assert told(name, longest) == []


@pytest.mark.parametrize("cutoff", [3.3, 4.8, 5.0, 6.01, 11.7])
def test_what_would_do_does(cutoff):
    settings = replace(SETTINGS, rcutfac=cutoff)
    tasks = (("vacancy", {}), ("phonon", {}), ("surface", {"vacuum": 1.0}), ("gamma_line", {"vacuum": 1.0}))
    for name, data in tasks:
        small = {"supercell": 2} if name == "vacancy" else {}
        small = {"supercell_length": 2.0} if name == "phonon" else small
        small = small or {"thickness": 3.0, **data}
        params = bind(build_params(name, {"structure": HCP, **small}), ("W",))
        enough = {x.key: x.enough(cutoff) for x in PROPERTIES[name].cell_lengths(params)}
        assert told(name, settings, structure=HCP, **small)
        assert told(name, settings, structure=HCP, **{**small, **enough}) == []


def test_one_line_for_each_property_not_for_each_task():
    params = Divacancy.Params(structure=BCC, supercell=3, shells=(1, 2))
    assert len(cell_warnings([PropertyRequest("divacancy", params)], SETTINGS, None)) == 1


@pytest.mark.parametrize(
    ("style", "coefficients", "cutoff"),
    [
        ("zbl 4.0 5.8", "* * 74 74", 5.8),
        ("lj/cut 6.5", "* * 0.1 2.0", 6.5),
        ("hybrid/overlay zbl 4.0 4.8 lj/cut 7.0", "* * zbl 74 74", 7.0),
        ("eam/alloy", "* * W.eam.alloy W", None),
        ("zbl 4.0", "* * 74 74", None),
        ("hybrid/overlay coul/dsf 0.05 zbl inner outer", "* * zbl 74 74", None),
    ],
)
def test_cutoffs_of_reference_pair_styles(style, coefficients, cutoff):
    assert reference_cutoff(ReferencePair(style, (coefficients,))) == cutoff
    assert reference_cutoff(None) is None


def test_the_longer_cutoff_counts():
    shorter, longer = (ReferencePair(f"zbl 4.0 {outer}", ("* * 74 74",)) for outer in (4.9, 6.5))
    assert told("vacancy", structure=BCC, supercell=4, pair=shorter) == []
    (line,) = told("vacancy", structure=BCC, supercell=4, pair=longer)
    assert line.endswith("less than twice the cutoff of 6.5 A; 5 would do")


def crystals(*lengths: float) -> Dataset:
    """Simple cubic tungsten."""
    cells = [Structure(a * np.eye(3), np.zeros((1, 3)), ("W",)) for a in lengths]
    found = [Configuration(f"c{i}", "crystal", s, -8.0, np.zeros((1, 3))) for i, s in enumerate(cells)]
    return Dataset(tuple(found), "made for tests")


@pytest.mark.parametrize(
    ("rcutfac", "part"),
    [
        (2.6, ""),
        (7.4, ""),
        (7.6, "is 3.0 times the distance of nearest neighbours in the data, 2.50 A"),
    ],
)
def test_a_wrong_cutoff_is_told(rcutfac, part):
    # One molecule far from all and one collision do not make the typical distance.
    dataset = crystals(2.4, 2.5, 2.6, 25.0, 1.2)
    assert typical_neighbour(dataset) == pytest.approx(2.5)
    lines = cutoff_warnings(dataset, replace(SETTINGS, rcutfac=rcutfac))
    assert len(lines) == bool(part)
    assert part in "".join(lines)


def test_elements_without_data_are_told():
    settings = SnapSettings(("W", "Be", "Ta"), 5.0, 2, (0.5,) * 3, (1.0,) * 3)
    (line,) = cutoff_warnings(crystals(2.5), settings)
    assert line.startswith("the data hold no Be, Ta: nothing determines the coefficients")
    assert "potential.elements.Ta" in line


def test_check_and_dry_run_warn(tmp_path: Path) -> None:
    write_data(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text("""name: small
dataset: {path: data, test: {fraction: 0.25}}
potential: {rcutfac: 4.7, twojmax: 2, elements: {W: {}}}
campaign:
  properties:
    - vacancy: {structure: bcc, supercell: 2}
    - elastic: {structure: bcc}
""")
    told = "supercell 2 makes 6.32 A, less than twice the cutoff of 4.7 A; 3 would do"
    warning = f"warning: vacancy of bcc-W: {told}"
    for describe in (check, dry_run):
        lines = describe(load_config(path)).splitlines()
        assert lines.count(warning) == 1
        assert not any("neighbours" in line for line in lines)
    lines = check(load_config(path, ["potential.rcutfac=9"])).splitlines()
    assert any("usual are 1.5 to 2.5" in line for line in lines)
