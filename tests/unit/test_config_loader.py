"""What a campaign file resolves to, its overrides, and the way back to YAML."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from snapuq.cli import workflows_folder
from snapuq.config import dump_config, load_config, run_differences, run_identity
from snapuq.core.potential import ReferencePair, SnapSettings

POTENTIAL = "potential: {rcutfac: 4.7, twojmax: 6, elements: {W: {}}}\n"
MINIMAL = "name: w\ndataset: {path: data}\n" + POTENTIAL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


def write(folder: Path, text: str, name: str = "campaign.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_of_a_minimal_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    config = load_config(write(folder, MINIMAL, "sub/c.yaml"), ["dataset.path=data"])
    assert config.output == folder / "runs" / "w"
    assert config.seed == 1
    assert (config.dataset.test.kind, config.dataset.test.fraction) == ("fraction", 0.3)
    weights = config.dataset.weights
    assert (weights.scheme, weights.energy, weights.force, weights.energy_ratio) == (
        "exponential",
        2,
        50,
        100,
    )
    assert config.fit.posterior == "block"
    assert config.fit.calibrate is not None
    assert (config.fit.calibrate.violation, config.fit.calibrate.folds) == (0.02, 5)
    assert config.ensemble.members == 500
    assert config.campaign.properties == ()
    assert config.reference is None


def test_a_configuration_cannot_be_changed(folder: Path) -> None:
    config = load_config(write(folder, MINIMAL))
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 2  # type: ignore[misc]


def test_calibration_is_off_for_the_published_form_unless_asked_for(folder: Path) -> None:
    path = write(folder, MINIMAL)
    assert load_config(path, ["fit.posterior=pointwise"]).fit.calibrate is None
    assert load_config(path, ["fit.calibrate=false"]).fit.calibrate is None
    asked = load_config(path, ["fit.posterior=pointwise", "fit.calibrate=true"]).fit.calibrate
    assert asked is not None and asked.folds == 5


def test_settings_keep_lammps_names_and_the_order_of_elements(folder: Path) -> None:
    text = MINIMAL.replace(
        "elements: {W: {}}",
        "elements: {W: {radelem: 0.5}, Be: {radelem: 0.417932, wj: 0.959049, sinner: 1, dinner: 0.2}}, "
        "chemflag: 1, bzeroflag: false, reference: {pair_style: zbl 4 4.8, pair_coeff: ['1 1 74 74']}",
    )
    path = write(folder, text)
    overrides = [
        "potential.switchinnerflag=1",
        "potential.elements.W.sinner=1.5",
        "potential.elements.W.dinner=0.25",
    ]
    section = load_config(path, overrides).potential
    assert section is not None
    assert section.to_settings() == SnapSettings(
        elements=("W", "Be"),
        rcutfac=4.7,
        twojmax=6,
        radelem=(0.5, 0.417932),
        wj=(1.0, 0.959049),
        chemflag=True,
        bzeroflag=False,
        switchinnerflag=True,
        sinner=(1.5, 1.0),
        dinner=(0.25, 0.2),
    )
    assert section.to_reference() == ReferencePair("zbl 4 4.8", ("1 1 74 74",))


def test_a_fitsnap_input_brings_split_weights_and_potential(folder: Path) -> None:
    (folder / "Ta.in").touch()
    config = load_config(write(folder, "name: ta\ndataset: {path: Ta.in, data_path: data}\n"))
    assert config.dataset.is_fitsnap_input
    assert config.potential is None
    assert config.dataset.test.kind == "given"
    assert config.dataset.weights.scheme == "fitsnap"
    assert config.dataset.data_path == folder / "data"


def test_paths_start_from_the_file_and_those_of_overrides_from_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = folder / "elsewhere"
    (here / "data").mkdir(parents=True)
    monkeypatch.chdir(here)
    path = write(folder, MINIMAL)
    assert load_config(path).dataset.path == folder / "data"
    assert load_config(path, ["dataset.path=data"]).dataset.path == here / "data"
    assert load_config(path, ["output=out"]).output == here / "out"
    assert load_config(path, output="mine").output == here / "mine"
    assert load_config(path, ["output=out"], output="mine").output == here / "mine"


def test_inputs_may_be_absent_when_only_the_report_is_wanted(folder: Path) -> None:
    path = write(folder, MINIMAL.replace("data}", "gone}"))
    assert load_config(path, need_inputs=False).dataset.path == folder / "gone"


def test_overrides_reach_lists_and_missing_sections_and_the_last_wins(folder: Path) -> None:
    path = write(folder, MINIMAL + "ensemble:\ncampaign: {properties: [eos: {structure: bcc}, vacancy: ]}\n")
    overrides = [
        "ensemble.members=5",
        "ensemble.members=50",
        "campaign.properties.0.eos.structure=fcc",
        "campaign.properties.1.vacancy.supercell=4",
        "reference.potential={pair_style: a, pair_coeff: [b]}",
    ]
    config = load_config(path, overrides)
    assert config.ensemble.members == 50
    assert config.campaign.properties[0].parameters["structure"] == "fcc"
    assert config.campaign.properties[1].params.supercell == 4
    assert config.reference is not None


def test_an_empty_override_removes_a_key(folder: Path) -> None:
    generate = "{elements: [W], label: {pair_style: eam/alloy, pair_coeff: ['* * W.eam W']}}"
    path = write(folder, f"name: w\ndataset: {{generate: {generate}}}\n" + POTENTIAL)
    config = load_config(path, ["dataset.generate=", f"dataset.path={folder / 'data'}"])
    assert config.dataset.generate is None


def test_the_labelling_potential_can_be_the_reference(folder: Path) -> None:
    generate = "{elements: [W], label: {pair_style: eam/alloy, pair_coeff: ['* * W.eam W']}}"
    text = f"name: w\ndataset: {{generate: {generate}}}\nreference: {{potential: dataset}}\n" + POTENTIAL
    config = load_config(write(folder, text))
    assert config.reference is not None and config.dataset.generate is not None
    assert config.reference.potential == config.dataset.generate.label


def test_anchors_and_merges_work(folder: Path) -> None:
    text = (
        "name: w\ndataset: {path: data}\n"
        "potential:\n  rcutfac: 4.7\n  twojmax: 6\n"
        "  elements:\n    W: &w {radelem: 0.5, wj: 0.9}\n    Be:\n      <<: *w\n      wj: 0.8\n"
    )
    section = load_config(write(folder, text)).potential
    assert section is not None
    assert [(s.radelem, s.wj) for s in section.elements.values()] == [(0.5, 0.9), (0.5, 0.8)]


@pytest.mark.parametrize("path", sorted(workflows_folder().glob("*.yaml")), ids=lambda p: p.stem)
def test_workflows_load_and_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    config = load_config(path, need_inputs=False)
    text = dump_config(config)
    again = load_config(write(tmp_path, text), need_inputs=False)
    assert again == config
    assert dump_config(again) == text
    assert run_identity(again) == run_identity(config)
    assert pickle.loads(pickle.dumps(config)) == config


@settings(max_examples=60, deadline=None)
@given(
    name=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    rcutfac=st.floats(1e-3, 1e6),
    seed=st.integers(0, 2**63 - 1),
    groups=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1), min_size=1
    ),
)
def test_any_value_survives_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, name: str, rcutfac: float, seed: int, groups: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "data").mkdir(exist_ok=True)
    base = load_config(write(folder, MINIMAL))
    assert base.potential is not None
    test = base.dataset.test.model_copy(update={"fraction": None, "groups": tuple(groups)})
    config = base.model_copy(
        update={
            "name": name,
            "seed": seed,
            "potential": base.potential.model_copy(update={"rcutfac": rcutfac}),
            "dataset": base.dataset.model_copy(update={"test": test}),
        }
    )
    assert load_config(write(folder, dump_config(config), "again.yaml")) == config


def test_the_identity_follows_content_and_not_location(folder: Path) -> None:
    text = MINIMAL.replace("path: data", "path: data, weights: {scheme: fitsnap, file: groups.csv}")
    (folder / "groups.csv").write_text("a\n")
    path = write(folder, text)
    first = run_identity(load_config(path))
    moved = folder / "moved"
    (moved / "data").mkdir(parents=True)
    (moved / "groups.csv").write_text("a\n")
    assert run_identity(load_config(write(moved, text), output="elsewhere")) == first
    assert run_identity(load_config(path, ["name=other"])) == first
    assert run_identity(load_config(path, ["campaign.properties=[eos: {structure: fcc}]"])) == first
    assert run_identity(load_config(path, ["seed=2"])) != first
    assert run_identity(load_config(path, ["fit.posterior=pointwise"])) != first
    (folder / "groups.csv").write_text("b\n")
    assert run_identity(load_config(path)) != first


def test_keys_that_make_another_run_are_named(folder: Path) -> None:
    path = write(folder, MINIMAL)
    first = dump_config(load_config(path))
    # A label, the number of members and where rows are cached make no other run.
    same = load_config(path, ["name=other", "ensemble.members=7", "fit.rows=elsewhere"])
    assert run_differences(same, first) == ()
    changed = load_config(path, ["seed=2", "fit.posterior=pointwise", "fit.calibrate={violation: 0.05}"])
    assert run_differences(changed, first) == (
        "seed: 1 in the folder, 2 in the file",
        "fit.posterior: block in the folder, pointwise in the file",
        "fit.calibrate.violation: 0.02 in the folder, 0.05 in the file",
    )
    for damaged in ("", "- a", "{", "fit: 3\nensemble: []\n", "\0"):
        assert any("fit.posterior" in line for line in run_differences(changed, damaged))


def test_potential_files_beside_the_campaign_file_are_found(folder: Path) -> None:
    pair = "{pair_style: eam/alloy, pair_coeff: ['* * own.eam.alloy W']}"
    text = MINIMAL + f"reference: {{potential: {pair}}}\n"
    path = write(folder, text)
    found = load_config(path).reference
    assert found is not None
    assert found.potential is not None
    assert found.potential.pair_coeff == ("* * own.eam.alloy W",)
    (folder / "own.eam.alloy").write_text("a")
    found = load_config(path).reference
    assert found is not None
    assert found.potential is not None
    assert found.potential.pair_coeff == (f"* * {folder}/own.eam.alloy W",)


def test_the_identity_follows_the_order_of_elements(folder: Path) -> None:
    one = write(folder, MINIMAL.replace("{W: {}}", "{W: {}, Be: {}}"))
    other = write(folder, MINIMAL.replace("{W: {}}", "{Be: {}, W: {}}"), "other.yaml")
    assert run_identity(load_config(one)) != run_identity(load_config(other))


def test_every_campaign_file_of_the_readme_loads(tmp_path: Path) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    blocks = re.findall(r"```yaml\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for text in blocks:
        load_config(write(tmp_path, text), need_inputs=False)


def test_a_reference_written_as_in_fitsnap_has_no_zero(tmp_path: Path) -> None:
    text = """
name: ta
dataset: {path: data.xyz}
potential:
  rcutfac: 4.7
  twojmax: 6
  elements: {Ta: {}}
  reference: {pair_style: hybrid/overlay zero 10.0 zbl 4.0 4.8, pair_coeff: ["* * zero", "* * zbl 73 73"]}
"""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    (tmp_path / "data.xyz").write_text("")
    potential = load_config(path).potential
    assert potential is not None
    assert potential.to_reference() == ReferencePair("zbl 4.0 4.8", ("* * 73 73",))
