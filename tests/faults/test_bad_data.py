"""Bad data: one clear line that names the file and the key, never a traceback, never a guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snapuq.data import read_dataset
from snapuq.errors import InputError

ENTRY: dict[str, Any] = {
    "NumAtoms": 2,
    "AtomTypes": ["W", "W"],
    "Lattice": [[3.2, 0, 0], [0, 3.2, 0], [0, 0, 3.2]],
    "Positions": [[0, 0, 0], [1.6, 1.6, 1.6]],
    "Energy": -17.8,
    "Forces": [[0.1, 0, 0], [-0.1, 0, 0]],
    "Stress": [[10.0, 1.0, 2.0], [1.0, 20.0, 3.0], [2.0, 3.0, 30.0]],
}
STYLES = {"EnergyStyle": "electronvolt", "StressStyle": "bar"}


def text_of(styles: dict[str, Any] | None = None, drop: str = "", **changes: Any) -> str:
    entry = {k: v for k, v in {**ENTRY, **changes}.items() if k != drop}
    return "# comment\n" + json.dumps({"Dataset": {"Data": [entry], **STYLES, **(styles or {})}})


def refused(folder: Path, text: str | bytes, name: str = "bad/1.json") -> str:
    """Read a folder with one bad file among good ones; give the message after checking its form."""
    for group in ("good", "more"):
        (folder / group).mkdir(parents=True)
        for i in range(2):
            (folder / group / f"{i}.json").write_text(text_of(Energy=-17.8 + 0.01 * i))
    bad = folder / name
    bad.parent.mkdir(exist_ok=True)
    bad.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read_dataset(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    return message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # malformed, with the line as an editor counts it: the comment is line 1
        (text_of().replace('"NumAtoms": 2', '"NumAtoms": 2;'), [":2: malformed JSON", "column"]),
        (text_of().replace(', "Energy"', ',\n"Energy"').replace("-17.8", "-17.8.8"), [":3: malformed JSON"]),
        ("[1, 2]", ["Dataset: not a FitSNAP JSON file"]),
        ('{"dataset": {}}', ["Dataset: not a FitSNAP JSON file"]),
        ('{"Dataset": {"Data": []}}', ["Dataset.Data: no configuration"]),
        ('{"Dataset": {"Data": 3}}', ["Dataset.Data: no configuration", "found int"]),
        ('{"Dataset": {"Data": [1]}}', ["Dataset.Data: no configuration"]),
        ('{"Dataset": {"Data": [{}]}, "Other": 1}', ["Other: more than one object"]),
        # truncated
        (text_of()[:200], ["truncated file"]),
        (text_of()[:-1], [":2: truncated file"]),
        (text_of()[:15], ["truncated file"]),
        ("# comment\n", ["empty file"]),
        ("", ["empty file"]),
        (b"\xff\xfe\x00PK", ["not a text file"]),
        # numbers that are not
        (text_of(Energy=float("nan")), ["Data[0].Energy: not a finite number; found nan"]),
        (text_of(Energy="-17.8"), ['Data[0].Energy: not a number; found "-17.8"']),
        (text_of(Energy=None), ["Data[0].Energy: not a number; found null"]),
        (text_of(Energy=[-17.8]), ["Data[0].Energy: wrong count"]),
        (text_of(Forces=[[0, 0, 0], [0, float("inf"), 0]]), ["Data[0].Forces[1][1]: not a finite number"]),
        (
            text_of(Positions=[[0, 0, 0], [1, float("nan"), 0]]),
            ["Data[0].Positions[1][1]: not a finite number"],
        ),
        (text_of(Stress=[[float("-inf"), 0, 0], [0] * 3, [0] * 3]), ["Data[0].Stress[0][0]: not a finite"]),
        (text_of().replace("-17.8", "-1e999"), ["Data[0].Energy: not a finite number; found -inf"]),
        (
            text_of(Lattice=[[3, 0, 0], [0, 3, 0], [0, 0, None]]),
            ["Data[0].Lattice: not a number; found null"],
        ),
        # counts
        (text_of(NumAtoms=3), ["Data[0].NumAtoms: wrong count; found 3; expected 2, the rows of Positions"]),
        (text_of(NumAtoms="2"), ["Data[0].NumAtoms: wrong count"]),
        (text_of(AtomTypes=["W"]), ["Data[0].AtomTypes: wrong count; found 1 symbols; expected 2"]),
        (
            text_of(Forces=[[0, 0, 0]]),
            ["Data[0].Forces: wrong count; found shape (1, 3); expected shape (2, 3)"],
        ),
        (text_of(Forces=[[0, 0, 0], [0, 0]]), ["Data[0].Forces: rows of different length"]),
        (text_of(Positions=[[0, 0], [1, 1]]), ["Data[0].Positions: wrong count; found shape (2, 2)"]),
        (text_of(Lattice=[3.2, 3.2, 3.2]), ["Data[0].Lattice: wrong count; found shape (3,)"]),
        (text_of(Stress=[1, 2, 3, 4, 5, 6]), ["Data[0].Stress: wrong count; found shape (6,)"]),
        (text_of(Stress=[[1, 9, 0], [0, 1, 0], [0, 0, 1]]), ["Data[0].Stress: the stress is not symmetric"]),
        (text_of(NumAtoms=0, AtomTypes=[], Positions=[], Forces=[]), ["Data[0].Positions: "]),
        # missing keys
        (text_of(drop="Forces"), ["Data[0].Forces: missing key"]),
        (text_of(drop="Forces", forces=[]), ["Data[0].Forces: missing key; did you mean 'forces'?"]),
        (text_of(drop="Energy"), ["Data[0].Energy: missing key"]),
        (text_of(drop="Lattice"), ["Data[0].Lattice: missing key"]),
        (text_of(drop="Positions"), ["Data[0].Positions: missing key"]),
        (text_of(drop="AtomTypes"), ["Data[0].AtomTypes: missing key"]),
        (text_of(drop="NumAtoms"), ["Data[0].NumAtoms: missing key"]),
        # cells
        (
            text_of(Lattice=[[3, 0, 0], [0, 3, 0], [3, 3, 0]]),
            ["Data[0].Lattice: singular cell, the three vectors span 0 A^3"],
        ),
        (
            text_of(Lattice=[[0, 3, 0], [3, 0, 0], [0, 0, 3]]),
            ["Data[0].Lattice: left-handed cell", "swap two"],
        ),
        # elements
        (text_of(AtomTypes=["W", "Wo"]), ["Data[0].AtomTypes: unknown element; found Wo"]),
        (text_of(AtomTypes=["W", "w"]), ["found w; did you mean 'W'?"]),
        (text_of(AtomTypes=["W", "TA"]), ["found TA; did you mean 'Ta'?"]),
        (text_of(AtomTypes=["W", "X"]), ["Data[0].AtomTypes: unknown element; found X"]),
        (text_of(AtomTypes=["W", 74]), ["Data[0].AtomTypes: not a list of chemical symbols; found 74"]),
        (text_of({"AtomTypeStyle": "number"}), ["Dataset.AtomTypeStyle: unknown style; found number"]),
        # units
        (
            text_of({"EnergyStyle": "furlong"}),
            ["Dataset.EnergyStyle: unknown unit of energy; found furlong", "hartree"],
        ),
        (text_of({"EnergyStyle": "bar"}), ["Dataset.EnergyStyle: unknown unit of energy; found bar"]),
        (text_of({"EnergyStyle": 1}), ["Dataset.EnergyStyle: unknown unit of energy"]),
        (
            text_of({"EnergyStyle": "eV/atom"}),
            ["Dataset.EnergyStyle", "must be the total energy of the cell"],
        ),
        (text_of({"StressStyle": "electronvolt"}), ["Dataset.StressStyle: unknown unit of stress", "kbar"]),
        (text_of({"ForcesStyle": "electronvolt"}), ["Dataset.ForcesStyle: unknown unit of force"]),
        (text_of({"PositionsStyle": "fractional"}), ["Dataset.PositionsStyle: unknown unit of length"]),
        # energies in another unit than declared, found by their size
        (text_of({"EnergyStyle": "hartree"}), ["bad/1.json: energy: -242.181 eV/atom lies -233.3", "unit"]),
        (text_of(Energy=-17.8 * 96.485), ["bad/1.json: energy", "from the median of its composition"]),
        (text_of(Energy=1e4), ["bad/1.json: energy", "lies +5009 eV/atom"]),
        (text_of(Energy=-1e9), ["Data[0].Energy: -5e+08 eV/atom is beyond the total energy of any atom"]),
        # atoms
        (text_of(Positions=[[0, 0, 0], [0, 0, 0.05]]), ["Data[0].Positions: atoms 0 and 1 are 0.05 A apart"]),
        (text_of(Positions=[[0, 0, 0], [3.2, 6.4, -3.2]]), ["Data[0].Positions: atoms 0 and 1 are"]),
        (
            text_of(Lattice=[[3, 0, 0], [0, 3, 0], [0, 0, 0.04]]),
            ["Data[0].Lattice: a cell vector is"],
        ),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path: Path, text: str | bytes, words: list[str]) -> None:
    message = refused(tmp_path, text)
    for word in words:
        assert word in message


def test_an_entry_of_several_is_named(tmp_path: Path) -> None:
    two = {"Dataset": {"Data": [ENTRY, {**ENTRY, "Forces": [[0, 0, 0]]}], **STYLES}}
    assert "Data[1].Forces: wrong count" in refused(tmp_path, json.dumps(two))


def test_an_empty_group_is_named(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "1.json").write_text(text_of())
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "notes.txt").write_text("to come")
    with pytest.raises(InputError, match=r"hollow: empty group: the folder holds no \.json file"):
        read_dataset(tmp_path)


def test_an_empty_folder_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder holds no file"):
        read_dataset(tmp_path)
    with pytest.raises(InputError, match=r"no such file or folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no \.json file in this folder"):
        read_dataset(tmp_path, reader="fitsnap_json")


def test_an_element_that_the_potential_has_not(tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "1.json").write_text(text_of(AtomTypes=["W", "Be"]))
    with pytest.raises(
        InputError, match=r"g/1\.json: element Be is not one of the potential's; expected W or Ta"
    ):
        read_dataset(tmp_path, elements=["W", "Ta"])
    assert len(read_dataset(tmp_path, elements=["W", "Be"])) == 1


def test_readers_and_options_are_checked(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(text_of())
    with pytest.raises(InputError, match=r"unknown reader 'fitsnap_jsn'; did you mean 'fitsnap_json'\?"):
        read_dataset(tmp_path, reader="fitsnap_jsn")
    with pytest.raises(InputError, match=r"data_path: unknown option of reader 'fitsnap_json'; it has none"):
        read_dataset(tmp_path, data_path=tmp_path)


def test_a_link_back_up_ends(tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "1.json").write_text(text_of())
    (tmp_path / "g" / "up").symlink_to(tmp_path)
    assert [c.identifier for c in read_dataset(tmp_path).configurations] == ["g/1.json"]


def test_deep_nesting_is_no_recursion_error(tmp_path: Path) -> None:
    assert "nested too deeply" in refused(tmp_path, '{"Dataset": ' + "[" * 100_000)


def test_a_huge_integer_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, text_of().replace("-17.8", "1" * 400))
    assert "Data[0].Energy" in message


@pytest.mark.data
@pytest.mark.parametrize("damage", ["truncate", "nan", "swap"])
def test_one_damaged_file_in_a_real_set(dft_data: Path, tmp_path: Path, damage: str) -> None:
    source = dft_data / "tungsten-beryllium" / "EOS"
    group = tmp_path / "EOS"
    group.mkdir()
    for file in source.iterdir():
        (group / file.name).write_bytes(file.read_bytes())
    victim = sorted(group.iterdir())[7]
    header, _, body = victim.read_text().partition("\n")
    if damage == "truncate":
        victim.write_text(header + "\n" + body[: len(body) // 2])
    else:
        content = json.loads(body)
        entry = content["Dataset"]["Data"][0]
        if damage == "nan":
            entry["Forces"][0][0] = float("nan")
        else:
            lattice = np.array(entry["Lattice"])
            entry["Lattice"] = lattice[[1, 0, 2]].tolist()
        victim.write_text(json.dumps(content))
    expected = {
        "truncate": "truncated file",
        "nan": "Forces[0][0]: not a finite",
        "swap": "Lattice: left-handed",
    }
    with pytest.raises(InputError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value).startswith(str(victim))
    assert expected[damage] in str(caught.value)
