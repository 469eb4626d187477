"""The rendered report: complete, self-contained, escaped; and its figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from snapuq.core.pointwise import PointwiseTable
from snapuq.core.result import PropertyResult, PropertySummary, Quantity
from snapuq.report.figures import pointwise_drawings
from snapuq.report.fit_tables import diagnostic_rows
from snapuq.report.html import render_report
from snapuq.report.inputs import ReportInputs
from snapuq.report.property_figures import PANEL_ROWS, property_drawings
from snapuq.report.style import label_log_axis, new_figure, save_figure, styled
from snapuq.results.failures import failure_warnings
from snapuq.results.table import summarise

HOSTILE = "<script>alert(1)</script> $x^$ & \"'\x07\n{{ 7 * 7 }}"


def table(n: int, seed: int = 0, groups: tuple[str, ...] = ("bulk", "liquid")) -> PointwiseTable:
    rng = np.random.default_rng(seed)
    kind = np.arange(n, dtype=np.int64) % 3
    std = 0.05 * np.exp(rng.normal(0, 0.5, n))
    truth = rng.normal(0, 1.5, n)
    mle = truth - std * rng.normal(size=n)
    return PointwiseTable(
        identifier=np.array([f"c{i // 10}" for i in range(n)]),
        group=np.array([groups[i % len(groups)] for i in range(n)], dtype=np.str_),
        kind=kind.astype(np.int8),
        truth=truth,
        mle=mle,
        mean=mle + 0.1 * std,
        std=std,
        minimum=mle - 2.9 * std,
        maximum=mle + 3.1 * std,
        leverage=rng.random(n),
        is_roundoff=rng.random(n) < 0.02,
    )


def summaries(n: int, label: str = "squeeze") -> list[PropertySummary]:
    return [
        PropertySummary(
            label,
            f"energy_{i}",
            "J/m^2",
            3.2,
            3.3,
            0.1,
            2.9,
            3.6,
            {},
            3.25 if i % 5 else 9.0,
            100,
            1,
            0,
            0,
            {"lost_atoms": (7,)},
        )
        for i in range(n)
    ]


def curve(label: str = "eos bcc") -> list[PropertySummary]:
    return [
        PropertySummary(
            label, f"energy_at_{r:.3f}", "eV", e, e, 0.01, e - 0.02, e + 0.02, {}, e + 0.01, 100, 0, 0, 0, {}
        )
        for r in np.linspace(0.9, 1.1, 7)
        for e in [4.0 * (r - 1.0) ** 2]
    ]


def inputs(**changes) -> ReportInputs:
    values = {
        "name": "tungsten",
        "versions": {"snapuq": "0.1.0"},
        "config_text": "name: tungsten\n",
        "diagnostics": {
            "rule": "block",
            "scale": 1.1,
            "box": {"rank": 400},
            "warnings": ["mind the gap", "few data"],
        },
        "n_members": 100,
        "potential_stem": "W",
        "summaries": [*summaries(3), *curve()],
        "pointwise": table(120),
        "results": [PropertyResult("k", "squeeze", 7, {}, failure="lost_atoms: 2 of 24")],
    }
    return ReportInputs(**{**values, **changes})


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [
            value or "" for key, value in attrs if key in ("src", "href", "srcset", "data", "action")
        ]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return render_report(
        inputs(warnings=["mind the gap"], timings={"fit": 1.25}), tmp_path_factory.mktemp("run")
    )


def test_report_holds_every_section(report: Path):
    text = Page(report.read_text(encoding="utf-8")).text
    for part in (
        "holds 2 of 3 reference values",
        "2 warnings",
        "few data",
        "mind the gap",
        "squeeze",
        "lost_atoms",
        "2 of 24",
        "7 of 7 references inside",
        "Envelope violation",
        "include W.mod",
        "-var snapcoeff members/W_0001.snapcoeff",
        "box · rank",
        "1.2 s",
        "name: tungsten",
    ):
        assert part in text, part


def expected(violation: float, by_members: list[list[float]]) -> dict[str, object]:
    spread = {"low": 0.5 * violation, "high": 2.0 * violation}
    return {
        "violation": violation,
        **spread,
        "ratio": 0.8,
        "n_rows": 900,
        "unscaled": 0.3,
        "by_members": by_members,
    }


CALIBRATION = {
    "scale": 2e7,
    "target": 0.02,
    "members": 500,
    "folds": 5,
    "fold_scales": [1.0, 3e7],
    "energy": expected(0.01, [[20, 0.1], [100, 0.04], [500, 0.01], [2000, 0.005]]),
    "force": None,
}
GROUP = {"n_configurations": 40, "ratio_energy": 1.0, "ratio_force": None, "violation_force": None}
CALIBRATED = {
    "rule": "block",
    "scale": 2e7,
    "n_configurations": 300,
    "n_columns": 60,
    "n_rows": 2000,
    "n_roundoff_rows": 500,
    "rank": 60,
    "box_rank": 59,
    "condition_number": 1e4,
    "calibration": CALIBRATION,
    "left_out_groups": [
        {"group": "bulk", **GROUP, "violation_energy": 0.01, "extrapolates": 0.0},
        {"group": "melt", **GROUP, "violation_energy": 0.2, "extrapolates": 0.0},
        {"group": "far", **GROUP, "violation_energy": 0.0, "extrapolates": 0.6},
    ],
}


def test_fit_section_sets_finding_beside_expectation(tmp_path: Path):
    page = render_report(inputs(diagnostics=CALIBRATED), tmp_path).read_text(encoding="utf-8")
    text = Page(page).text
    for part in (
        "each of 5 parts of the training set",
        "on the held-out test configurations",
        "never changes it",
        "100 4.0 % this run",
        "Expected shares are those of 100 members",
        "> 10⁶",
        "5.0 (300 / 60)",
        "25.0 % (500 of 2,000)",
        "59 of 60",
        "Groups in colour are not covered",
        "what dominates the mean error",
    ):
        assert part in text, part
    assert page.count('<tr class="mark">') == 1
    # Of the left-out groups, the one that misses and the one that extrapolates.
    section = page[page.index("Whole groups left out") : page.index("The fit in numbers")]
    assert section.count('<tr class="outside">') == 2
    assert "calibration ·" not in text


def test_training_data_are_no_test_of_the_expectation(tmp_path: Path):
    seen = inputs(diagnostics=CALIBRATED, is_unseen=False)
    text = Page(render_report(seen, tmp_path).read_text(encoding="utf-8")).text
    assert "no unseen configuration was evaluated" in text
    assert "Calibration:" not in text


def test_groups_beyond_the_training_data_are_named(tmp_path: Path):
    part = table(120)
    far = replace(part, leverage=np.where(part.group == "liquid", 2.0, 0.5))
    # Every group has rows of every configuration here, so that configurations are told apart by group.
    far = replace(far, identifier=np.char.add(far.identifier, far.group))
    text = Page(render_report(inputs(pointwise=far), tmp_path).read_text(encoding="utf-8")).text
    assert "test group 'liquid' lies beyond the training data in 100 % of its configurations" in text
    assert "test group 'bulk'" not in text


def test_members_without_a_sound_value_are_warned_of_and_explained(tmp_path: Path):
    def one(member: int, **changes) -> PropertyResult:
        values = {} if "failure" in changes else {"energy": Quantity(3.0 + 0.01 * member, "eV")}
        return PropertyResult(f"v{member}", "vacancy", member, values, **changes)

    results = [one(0, converged=False), *(one(m) for m in range(1, 19))]
    results += [one(19, reconfigured=True), one(20, failure="time_limit", converged=False)]
    summaries = summarise(results)
    run = inputs(summaries=summaries, results=results, n_members=20, pointwise=None)
    text = Page(render_report(run, tmp_path).read_text(encoding="utf-8")).text
    for part in (
        "the best fit itself did not converge or was reconfigured in vacancy",
        "of 20 property calculations of members, 1 gave no value",
        "and 1 did not converge or were reconfigured; their values are kept",
        *failure_warnings(summaries),
        "3.190 3.180",
        "no value time_limit The task took longer than its time limit. 1 20",
        "flagged reconfigured Atoms left the configuration that was asked about. 1 19",
        "flagged not_converged A relaxation stopped above its tolerance. 1 MLE",
    ):
        assert part in text, part
    assert "3 warnings" in text


def test_report_needs_no_other_file(report: Path):
    text = report.read_text(encoding="utf-8")
    page = Page(text)
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_every_figure_is_a_readable_file_with_ink(report: Path):
    names = {p.stem for p in (report.parent / "figures").iterdir()}
    assert {
        "properties",
        "equations_of_state",
        "parity_force",
        "error_distribution_energy",
        "predicted_errors",
        "group_violations",
    } <= names
    for name in names:
        image = imread(report.parent / "figures" / f"{name}.png")
        assert image.shape[1] > 1000
        assert 0.01 < float((image[..., :3].min(axis=2) < 0.95).mean()) < 0.9, name
        root = ElementTree.parse(report.parent / "figures" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")
    assert not list(report.parent.rglob(".*"))


def test_the_same_inputs_give_the_same_bytes(report: Path, tmp_path: Path):
    again = render_report(inputs(warnings=["mind the gap"], timings={"fit": 1.25}), tmp_path)
    assert again.read_bytes() == report.read_bytes()
    for first in sorted((report.parent / "figures").iterdir()):
        assert (tmp_path / "figures" / first.name).read_bytes() == first.read_bytes(), first.name


def test_hostile_text_is_shown_not_run(tmp_path: Path):
    bad = inputs(
        name=HOSTILE,
        potential=HOSTILE,
        potential_stem=HOSTILE,
        config_text=HOSTILE,
        versions={HOSTILE: HOSTILE},
        diagnostics={HOSTILE: {HOSTILE: HOSTILE, "list": [HOSTILE]}},
        pointwise=table(60, groups=(HOSTILE, "b")),
        summaries=[*summaries(2, HOSTILE), *curve(HOSTILE)],
        warnings=[HOSTILE],
        timings={HOSTILE: 1.0},
        results=[PropertyResult("k", HOSTILE, 3, {}, failure=HOSTILE)],
        pointwise_source=HOSTILE,
    )
    path = render_report(bad, tmp_path)
    page = Page(path.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    for svg in (tmp_path / "figures").glob("*.svg"):
        assert not [e for e in ElementTree.parse(svg).iter() if e.tag.endswith("script")]


NOTHING = PropertySummary(
    "phase", "e", "eV", None, None, None, None, None, {}, 0.3, 5, 5, 0, 0, {"unstable": (1, 2)}
)
NAN = PropertySummary("phase", "v", "A^3", *[float("nan")] * 5, {}, float("nan"), 5, 0, 0, 0, {})


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"pointwise": table(0)}, "No pointwise prediction was made."),
        ({"summaries": [], "results": []}, "No property was computed."),
        (
            {"summaries": [summaries(2)[1].__class__(**{**vars(summaries(2)[1]), "reference": None})]},
            "No reference value is known",
        ),
        ({"summaries": [NOTHING], "results": []}, "holds 0 of 1 reference values"),
        ({"summaries": [NAN], "results": []}, "no reference value is known"),
        ({"diagnostics": {}, "versions": {}}, "No diagnostic was recorded."),
        ({"results": [], "summaries": curve()}, "every property of every member ended as asked"),
        ({"summaries": [], "results": [], "pointwise": None, "n_members": 0}, "No pointwise prediction"),
    ],
)
def test_missing_parts_are_said_in_words(tmp_path: Path, changes, part):
    path = render_report(inputs(**{"pointwise": None, **changes}), tmp_path)
    assert part in Page(path.read_text(encoding="utf-8")).text


def flat(part: PointwiseTable) -> PointwiseTable:
    """A table whose members all agree with each other and with the truth."""
    zero = np.zeros(len(part))
    return PointwiseTable(
        part.identifier, part.group, part.kind, zero, zero, zero, zero, zero, zero, zero, part.is_roundoff
    )


# The single row of table(1, seed=1) is no round-off row.
@pytest.mark.parametrize("part", [table(1, seed=1), flat(table(30)), flat(table(3000))])
def test_degenerate_tables_draw_without_warnings(tmp_path: Path, part):
    with styled():
        names = [save_figure(d.figure, tmp_path, d.name)[0].name for d in pointwise_drawings(part)]
    assert "group_violations.png" in names


@pytest.mark.parametrize("limits", [(31.6, 316.0), (10.0, 100.0), (0.1, 31.6), (1e-4, 10.0)])
def test_labels_of_a_short_logarithmic_axis_do_not_run_into_each_other(limits):
    with styled():
        figure, axes = new_figure(2.0, 1, 3)
        ax = axes[0, 0]
        ax.set(xscale="log", xlim=limits)
        label_log_axis(ax.xaxis, limits)
        figure.canvas.draw()
        labels = [*ax.get_xticklabels(), *ax.get_xticklabels(minor=True)]
        boxes = [
            t.get_window_extent()
            for t in labels
            if t.get_text() and limits[0] <= t.get_position()[0] <= limits[1]
        ]
    assert len(boxes) >= 2
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_table_of_roundoff_rows_draws_nothing():
    part = table(30)
    roundoff = PointwiseTable(**{**vars(part), "is_roundoff": np.ones(30, bool)})
    assert list(pointwise_drawings(roundoff)) == []


def test_many_quantities_are_split_into_readable_panels():
    with styled():
        drawings = list(property_drawings(summaries(2 * PANEL_ROWS + 1)))
    assert [d.name for d in drawings] == ["properties_1", "properties_2", "properties_3"]
    assert sum(len(d.figure.axes[0].get_yticks()) for d in drawings) == 2 * PANEL_ROWS + 1


def test_the_callers_matplotlib_settings_are_left_alone():
    before = dict(matplotlib.rcParams)
    with styled():
        list(property_drawings(summaries(2)))
    assert dict(matplotlib.rcParams) == before


def test_diagnostics_of_any_shape_become_rows():
    data = {
        "a": {"b_c": 1.5, "none": None, "flag": True},
        "empty": [],
        "parts": [{"x": 1}, {"x": 2}],
        "long": list(range(100)),
        "rank": 12345,
    }
    rows: Iterator[tuple[str, str, str]] = diagnostic_rows(data)
    found = {name: value for name, value, _ in rows}
    assert found["a · b c"] == "1.500"
    assert (found["a · none"], found["a · flag"], found["empty"]) == ("–", "yes", "none")
    assert (found["parts · 1 · x"], found["parts · 2 · x"], found["rank"]) == ("1", "2", "12,345")
    assert found["long"].endswith("(100 in all)")
