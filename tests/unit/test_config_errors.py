"""Every mistake in a campaign file gives one line with file, line, key and the nearest valid key."""

from __future__ import annotations

import pickle
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from snapuq.config import CampaignConfig, InputErrors, load_config
from snapuq.errors import InputError

GOOD = """\
name: tungsten
seed: 1
dataset:
  path: data
  test: {fraction: 0.3, by: configuration}
  weights: {scheme: exponential, energy: 2.0, force: 50.0, energy_ratio: 100}
potential:
  rcutfac: 4.73442
  twojmax: 6
  quadraticflag: 1
  elements: {W: {radelem: 0.5, wj: 1.0}}
  reference: {pair_style: zbl 4.0 4.8, pair_coeff: ["* * 74 74"]}
fit:
  posterior: block
  calibrate: {violation: 0.02, folds: 5}
ensemble: {members: 500, sample: hypercube}
campaign:
  properties:
    - eos: {structure: bcc}
    - surface: {miller: [[1, 0, 0]]}
"""


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    path = tmp_path / "campaign.yaml"
    path.write_text(GOOD)
    return path


def error_of(path: Path, *overrides: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_config(path, overrides)
    return caught.value


# What is replaced, by what, and where the error is located and what it says.
MISTAKES = [
    ("seed: 1", "sed: 1", 2, "sed", "did you mean 'seed'?"),
    ("twojmax: 6", "twojmx: 6", 9, "potential.twojmx", "did you mean 'twojmax'?"),
    ("twojmax: 6", "twojmax: 6.5", 9, "potential.twojmax", "found 6.5; expected an integer"),
    ("twojmax: 6", "twojmax: '6'", 9, "potential.twojmax", "found '6'; expected an integer"),
    ("twojmax: 6", "twojmax: true", 9, "potential.twojmax", "found true; expected an integer"),
    ("twojmax: 6", "twojmax: 60", 9, "potential.twojmax", "found 60; expected a number <= 20"),
    ("rcutfac: 4.73442", "rcutfac: -1", 8, "potential.rcutfac", "expected a number > 0"),
    ("rcutfac: 4.73442", "rcutfac: .nan", 8, "potential.rcutfac", "expected a finite number"),
    ("rcutfac: 4.73442", "rcutfac: .inf", 8, "potential.rcutfac", "expected a finite number"),
    ("rcutfac: 4.73442", "rmin0: 4.7", 7, "potential.rcutfac", "the key is missing"),
    ("quadraticflag: 1", "rmin0: 4.9", 10, "potential.rmin0", "expected a length from 0 to the cutoff"),
    ("quadraticflag: 1", "quadraticflag: 2", 10, "potential.quadraticflag", "expected true or false"),
    ("{W: {radelem", "{Ww: {radelem", 11, "potential.elements.Ww", "unknown element 'Ww'; did you mean 'W'?"),
    ("wj: 1.0", "wi: 1.0", 11, "potential.elements.W.wi", "did you mean 'wj'?"),
    ("wj: 1.0", "sinner: 1.0", 11, "potential.elements", "unused unless switchinnerflag is 1"),
    ("zbl 4.0 4.8,", "zbl 4.0; shell rm,", 12, "potential.reference.pair_style", "not allowed"),
    ('["* * 74 74"]', "'* * 74 74'", 12, "potential.reference.pair_coeff", "expected a list"),
    ('["* * 74 74"]', "[74]", 12, "potential.reference.pair_coeff.0", "found 74; expected text"),
    ("posterior: block", "posterior: blok", 14, "fit.posterior", "did you mean 'block'?"),
    ("folds: 5", "folds: 1", 15, "fit.calibrate.folds", "expected a number >= 2"),
    ("folds: 5", "fold: 5", 15, "fit.calibrate.fold", "did you mean 'folds'?"),
    ("members: 500", "members: many", 16, "ensemble.members", "found 'many'; expected an integer"),
    ("{fraction: 0.3", "{fraction: 1.3", 5, "dataset.test.fraction", "expected a number < 1"),
    ("{fraction: 0.3", "{fraction: 0", 5, "dataset.test.fraction", "a very small fraction holds out one"),
    ("{fraction: 0.3", "{groups: [a], fraction: 0.3", 5, "dataset.test", "exactly one of"),
    ("scheme: exponential", "scheme: fitsnap", 6, "dataset.weights.energy", "belongs to scheme exponential"),
    ("path: data", "path: nowhere", 4, "dataset.path", "no such file or folder: /"),
    ("path: data", "reader: ase", 3, "dataset", "found neither"),
    ("path: data", "path: data\n  reader: fitsnap", 5, "dataset.reader", "did you mean 'fitsnap_json'?"),
    ("name: tungsten", "name: a/b", 1, "name", "expected letters, digits"),
    ("name: tungsten", "output: runs", 1, "name", "the key is missing"),
    (
        "{structure: bcc}",
        "{structur: bcc}",
        19,
        "campaign.properties.0.eos.structur",
        "did you mean 'structure'?",
    ),
    ("{structure: bcc}", "{structure: bccc}", 19, "campaign.properties.0.eos.structure", "unknown crystal"),
    ("{structure: bcc}", "{points: 4}", 19, "campaign.properties.0.eos.points", "odd number"),
    ("{structure: bcc}", "{points: x}", 19, "campaign.properties.0.eos.points", "expected an integer"),
    ("- eos:", "- eoss:", 19, "campaign.properties.0.eoss", "did you mean 'eos'? known: barrier, "),
    ("- eos: {structure: bcc}", "- eos", 19, "campaign.properties.0", "name: {parameters}"),
    ("[[1, 0, 0]]", "[[1, 0]]", 20, "campaign.properties.1.surface.miller.0.2", "list item is missing"),
    ("[[1, 0, 0]]", "[[1, 0, x]]", 20, "campaign.properties.1.surface.miller.0.2", "found 'x'"),
    ("[[1, 0, 0]]", "[[1, 0, 0, 1]]", 20, "campaign.properties.1.surface.miller.0", "three indices h, k, l"),
    ("[[1, 0, 0]]", "[1, 0, 0]", 20, "campaign.properties.1.surface.miller", "a list of lists, [[1, 0, 0]]"),
    (
        "{structure: bcc}",
        '{structure: "fcc:Ni"}',
        19,
        "campaign.properties.0.eos.structure",
        "the potential has no Ni; found fcc:Ni; expected W",
    ),
    ("- surface: {miller: [[1, 0, 0]]}", "- eos: {}", 20, "campaign.properties.1", "asked for twice"),
]


@pytest.mark.parametrize(("old", "new", "line", "key", "text"), MISTAKES)
def test_a_mistake_is_located(campaign: Path, old: str, new: str, line: int, key: str, text: str) -> None:
    assert GOOD.count(old) == 1
    campaign.write_text(GOOD.replace(old, new))
    error = error_of(campaign)
    assert not isinstance(error, InputErrors)
    assert "\n" not in str(error)
    assert str(error).startswith(f"{campaign}:{line}: {key}: ")
    assert text in str(error)
    assert (error.file, error.line, error.key) == (str(campaign), line, key)


def test_every_crystal_of_an_alloy_says_its_elements(campaign: Path) -> None:
    campaign.write_text(GOOD.replace("wj: 1.0}}", "wj: 1.0}, Ta: {}}"))
    for n, line in enumerate(str(error_of(campaign)).splitlines()):
        name = ("eos", "surface")[n]
        assert line.startswith(f"{campaign}:{19 + n}: campaign.properties.{n}.{name}.structure: does not say")
        assert "found bcc; expected for example bcc:W" in line


def test_unknown_keys_are_found_even_when_empty(campaign: Path) -> None:
    campaign.write_text(GOOD + "ensembel:\n")
    assert "did you mean 'ensemble'?" in str(error_of(campaign))


def test_all_problems_are_told_at_once_in_file_order(campaign: Path) -> None:
    campaign.write_text(GOOD.replace("seed: 1", "seed: -1").replace("eos:", "eoss:").replace("wj:", "wi:"))
    error = error_of(campaign)
    assert isinstance(error, InputErrors)
    lines = str(error).splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{campaign}:{n}" for n in (2, 11, 19)]


def test_errors_travel_between_ranks(campaign: Path) -> None:
    campaign.write_text(GOOD.replace("seed: 1", "seed: -1").replace("wj:", "wi:"))
    error = error_of(campaign)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# Text of the file, line of the error (None: the file as a whole), what it says.
BROKEN = [
    ("", None, "is empty"),
    ("# only a comment\n", None, "is empty"),
    ("- a\n- b\n", 1, "is not a campaign file"),
    ("just text\n", 1, "is not a campaign file"),
    ("name: x\nseed:\n\t- 1\n", 3, "a tab character cannot indent YAML; use spaces"),
    ("name: x\nseed: [1\n", 3, "is not valid YAML"),
    ("name: x\nseed: 1\nname: y\n", 3, "name: the key is given twice"),
    ("name: x\ndataset:\n  path: a\n  path: b\n", 4, "dataset.path: the key is given twice"),
    ("name: !!python/object/apply:os.system ['true']\n", 1, "tag"),
    ("name: !secret x\n", 1, "the tag '!secret' is not allowed"),
    ("name: *missing\n", 1, "undefined alias"),
    ("name: &a [*a]\n", 1, "an alias refers to a section that holds it"),
    ("name: x\n---\nname: y\n", 2, "single document"),
    ('name: "\\0"\n', 1, "control character"),
    ("? [a, b]\n: 1\n", 1, "a key must be a word"),
    ("a: " + "[" * 5000, None, "nested too deeply"),
]


@pytest.mark.parametrize(("text", "line", "message"), BROKEN)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    error = error_of(path)
    assert message in str(error)
    assert "\n" not in str(error)
    assert str(path) in str(error)
    if line is not None:
        assert f"{path}:{line}:" in str(error)


def test_missing_folder_binary_and_huge_files_are_refused(tmp_path: Path) -> None:
    assert "No such file" in str(error_of(tmp_path / "nothing.yaml"))
    assert "is a folder" in str(error_of(tmp_path))
    path = tmp_path / "campaign.yaml"
    path.write_bytes(b"name: x\nseed: \xff\n")
    assert f"{path}:2: is not UTF-8 text" in str(error_of(path))
    path.write_bytes(b"#" * 1_000_001)
    assert "below 1 MB" in str(error_of(path))


def test_aliases_cannot_exhaust_memory(tmp_path: Path) -> None:
    levels = "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    merges = "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))
    for text in ("a0: &a0 [x]\n" + levels, "a0: &a0 {x: 1}\n" + merges):
        path = tmp_path / "campaign.yaml"
        path.write_text(text)
        assert "holds more than 100000 values" in str(error_of(path))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ensemble.members", "--set ensemble.members: is not an override; expected key=value"),
        ("a..b=1", "--set a..b=1: is not an override"),
        (
            "ensemble.membres=5",
            "--set ensemble.membres=5: ensemble.membres: unknown key; did you mean 'members'?",
        ),
        ("ensemble.members=x", "--set ensemble.members=x: ensemble.members: wrong type; found 'x'"),
        ("seed.x=1", "--set seed.x=1: seed: is not a section; found 1"),
        ("campaign.properties.7.eos.points=5", "expected a list position from 0 to 1"),
        (
            "campaign.properties.0.eos.structure=bca",
            "eos.structure: unknown crystal 'bca'; did you mean 'bcc'?",
        ),
        ("fit.posterior=[", "--set fit.posterior=[: is not valid YAML"),
        ("dataset.path=elsewhere", "--set dataset.path=elsewhere: dataset.path: no such file or folder"),
        ("reference.potential=dataset", "set dataset.generate.label"),
    ],
)
def test_errors_of_overrides_name_the_override(campaign: Path, override: str, message: str) -> None:
    assert message in str(error_of(campaign, override))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
PATHS = st.sampled_from(
    [
        "name",
        "seed",
        "output",
        "dataset",
        "dataset.path",
        "dataset.test",
        "dataset.generate",
        "dataset.generate.label",
        "dataset.weights",
        "potential",
        "potential.rcutfac",
        "potential.elements",
        "potential.elements.W",
        "potential.reference",
        "fit",
        "fit.calibrate",
        "ensemble",
        "campaign.properties",
        "campaign.properties.0",
        "campaign.properties.0.eos",
        "campaign.properties.1.surface.miller",
        "reference",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, value=JUNK)
def test_no_value_gives_anything_but_a_configuration_or_input_errors(
    campaign: Path, path: str, value: object
) -> None:
    stream = StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = True
    writer.width = 1_000_000
    writer.dump(value, stream)
    text = stream.getvalue().removesuffix("...\n").strip()
    try:
        assert isinstance(load_config(campaign, [f"{path}={text}"]), CampaignConfig)
    except InputError as error:
        assert str(error).strip()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.binary(max_size=60)
    | st.text(alphabet="ab:-[]{}&*!?|>'\"%@#\n\t ,<01.~_", max_size=60).map(lambda t: t.encode())
)
def test_no_bytes_give_anything_but_a_configuration_or_input_errors(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "junk.yaml"
    path.write_bytes(raw)
    with pytest.raises(InputError):
        load_config(path)
