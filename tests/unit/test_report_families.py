"""One figure for each family of properties, and the general one for a user's own property."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from snapuq.core.result import PropertyResult, PropertySummary, Quantity
from snapuq.properties import PROPERTIES
from snapuq.report.labels import FAMILIES, line_name, site_name, surface_names
from snapuq.report.property_figures import property_drawings
from snapuq.report.row_panels import Group, Row, split_groups
from snapuq.report.style import WIDTH, save_figure, styled
from snapuq.report.ways import way_rows
from snapuq.results.table import summarise

MEMBERS = 20


def results(label, values, spread=0.01, reference=None, **changes):
    """One result for the reference, the MLE and each member, whose values are spread about the MLE's."""
    rng = np.random.default_rng(len(label))
    found = []
    for member in range(-1 if reference is not None else 0, MEMBERS + 1):
        shift = 0.0 if member == 0 else reference if member < 0 else spread * rng.uniform(-1, 1)
        quantities = {name: Quantity(value + shift, unit) for name, (value, unit) in values.items()}
        one = changes.get("at", {}).get(member, {})
        found.append(
            PropertyResult(f"{label}{member}", label, member, {} if "failure" in one else quantities, **one)
        )
    return found


def drawn(*parts):
    found = [result for part in parts for result in part]
    with styled():
        return {d.name: d for d in property_drawings(summarise(found), found)}


def names(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def marks(ax, label):
    """Where the marks of a kind are."""
    return [
        float(x) for line in ax.lines if line.get_label() == label for x in np.atleast_1d(line.get_xdata())
    ]


def phase(crystal, energy, volume=16.0, base="bcc", **changes):
    values = {"volume": (volume, "A^3/atom"), "energy": (energy - 8.0, "eV/atom")}
    if base:
        values[f"energy_above_{base}"] = (energy, "eV/atom")
    return results(f"phase-{crystal}", values, **changes)


def surface(crystal, index, energy=3.0, **changes):
    return results(f"surface-{crystal}-{index}", {"surface_energy": (energy, "J/m^2")}, **changes)


def defect(label, energy, volume=20.0, **changes):
    values = {"formation_energy": (energy, "eV"), "relaxation_volume": (volume, "A^3")}
    if label.startswith("divacancy"):
        values["binding_energy"] = (0.4, "eV")
    return results(label, values, **changes)


def barrier(crystal="bcc", first=1.0, **changes):
    values = {
        "barrier": (1.9, "eV"),
        "reverse_barrier": (1.9, "eV"),
        "negative_modes": (1.0, ""),
        "negative_modes_first": (first, ""),
    }
    return results(f"barrier-{crystal}", values, spread=0.0, **changes)


def elastic(crystal="bcc"):
    values = {"C11": 520.0, "C12": 200.0, "bulk_modulus": 310.0, "shear_modulus_voigt": 160.0}
    return results(f"elastic-{crystal}", {name: (v, "GPa") for name, v in values.items()}, spread=9.0)


def eos():
    values = {f"energy_at_{r:.3f}": (4.0 * (r - 1.0) ** 2, "eV/atom") for r in (0.94, 0.97, 1.03, 1.06)}
    return results("eos-bcc", {"bulk_modulus": (310.0, "GPa"), **values})


def path(name):
    return results(f"path-bcc-{name}", {f"curve_path_{x:.3f}": (x - 1.0, "eV/atom") for x in (1.2, 1.4)})


def own(**changes):
    return results("pressure-bcc-0.95", {"pressure": (14.0, "GPa")}, **changes)


def test_each_family_has_one_figure_in_the_order_of_the_paper():
    found = drawn(
        own(),
        barrier(),
        surface("bcc", "110"),
        defect("vacancy-bcc", 3.5),
        defect("divacancy-bcc-1", 6.6),
        defect("interstitial-bcc-crowdion", 10.0),
        elastic(),
        eos(),
        path("tetragonal"),
        phase("bcc", 0.0, base=""),
        phase("fcc", 0.2),
    )
    assert list(found) == [
        "phases",
        "equations_of_state",
        "elastic",
        "paths",
        "defects",
        "surfaces",
        "barriers",
        "properties",
    ]


def test_every_property_of_the_package_belongs_to_a_family():
    assert set(FAMILIES) == {name for name in PROPERTIES if PROPERTIES[name].__module__.startswith("snapuq.")}


@pytest.mark.parametrize("reference", [None, 0.002, 1.0])
def test_a_users_own_property_gets_the_general_figure(reference):
    found = drawn(own(reference=reference), surface("bcc", "110"))
    assert list(found) == ["surfaces", "properties"]
    ax = found["properties"].figure.axes[0]
    assert names(ax) == ["pressure-bcc-0.95: pressure"]
    texts = {text.get_text() for text in found["properties"].figure.legends[0].get_texts()}
    assert ("reference, inside" in texts) == (reference == 0.002)
    # An arrow stands for one that lies far beyond the axis.
    assert any(line.get_marker() == ">" for line in ax.lines) == (reference == 1.0)


def test_phases_are_in_the_order_of_their_energy():
    found = drawn(
        phase("bcc", 0.0, base="", reference=0.0),
        phase("sc", 2.2, reference=5.0),
        phase("A15", -0.05, reference=0.001),
        phase("fcc", 0.2, reference=0.001),
    )
    energy, difference, volume, _ = found["phases"].figure.axes
    assert names(energy) == ["A15", "bcc", "fcc", "sc"]
    assert marks(energy, "MLE") == pytest.approx([-0.05, 0.0, 0.2, 2.2])
    assert marks(difference, "MLE") == pytest.approx([0.0] * 4, abs=1e-9)
    assert marks(difference, "reference, inside") == pytest.approx([1.0, 1.0])
    assert len(marks(volume, "MLE")) == 4
    assert "bcc" in energy.get_xlabel()
    assert [ax.get_xlabel().count("eV/atom") for ax in (energy, difference)] == [1, 1]
    assert "Å³/atom" in volume.get_xlabel()


def test_phases_of_several_elements_are_compared_with_their_own():
    found = drawn(
        phase("bcc-W", 0.0, base=""),
        phase("fcc-W", 0.4),
        phase("hcp-Be", 0.0, base=""),
        phase("bcc-Be", 0.1, base="hcp"),
        phase("C14-W-Be", 0.0, base=""),
    )
    ax = found["phases"].figure.axes[0]
    assert names(ax) == [
        "above bcc W",
        "bcc W",
        "fcc W",
        "above hcp Be",
        "hcp Be",
        "bcc Be",
        "not compared",
        "C14 W-Be",
    ]


def test_phases_alone_show_their_energy():
    found = drawn(phase("bcc", 0.0, base=""))
    assert marks(found["phases"].figure.axes[0], "MLE") == [-8.0]


def test_elastic_constants_and_moduli_are_drawn_for_each_crystal():
    found = drawn(elastic("bcc-W"), elastic("C14-W-Be"))
    rows = ["C₁₁", "C₁₂", "bulk modulus"]
    assert names(found["elastic"].figure.axes[0]) == ["bcc W", *rows, "C14 W-Be", *rows]


def test_surfaces_are_named_by_their_index():
    found = drawn(surface("bcc-W", "110"), surface("hcp-Be", "1_-1_0"), surface("my-file-100", "111"))
    ax = found["surfaces"].figure.axes[0]
    assert names(ax) == ["bcc W", "(110)", "hcp Be", "(1 −1 0)", "my-file-100", "(111)"]
    assert "J/m²" in ax.get_xlabel()
    assert surface_names("surface-bcc--1_1_0") == ("bcc", "(−1 1 0)")
    assert surface_names("surface-odd") == ("odd", "")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("dumbbell_110", "⟨110⟩ dumbbell"),
        ("basal_octahedral", "basal octahedral"),
        ("none of the kinds, nearest to dumbbell_111", "near ⟨111⟩ dumbbell"),
        ("2 empty and 1 shared sites", "2 empty and 1 shared sites"),
    ],
)
def test_sites_are_named_in_words(kind, name):
    assert site_name(kind) == name


def test_reconfigured_defects_are_marked_and_named():
    at = {m: {"reconfigured": True, "detail": "relaxed to dumbbell_110"} for m in (-1, 0, 3, 4)}
    at[5] = {"failure": "lost_atoms: 2"}
    found = drawn(
        defect("vacancy-bcc", 3.5),
        defect("divacancy-bcc-1", 6.5, volume=-1.0),
        defect("interstitial-bcc-octahedral", 12.0, reference=0.001, at=at),
        defect("interstitial-bcc-dumbbell_110", 10.0),
    )["defects"]
    energy, difference, volume = found.figure.axes[:3]
    assert names(energy) == ["vacancy", "divacancy 1NN", "binding 1NN", "⟨110⟩ dumbbell", "octahedral"]
    # The binding energy has no volume.
    assert len(marks(volume, "MLE")) + len(marks(volume, "MLE, flagged")) == 4
    assert len(marks(energy, "member, flagged")) == 2
    assert marks(energy, "MLE, flagged") == [12.0]
    assert marks(difference, "reference, inside (flagged)") == pytest.approx([0.001])
    remarks = [t.get_text() for child in volume.child_axes for t in child.get_yticklabels()]
    assert remarks[:4] == [""] * 4
    assert remarks[4].replace("\N{NO-BREAK SPACE}", " ").split("\n") == [
        "reconfigured: 2 of 20",
        "no value: 1 of 20",
        "→ ⟨110⟩ dumbbell (2)",
        "MLE, reference → ⟨110⟩ dumbbell",
    ]
    assert "without a value: interstitial-bcc-octahedral (1)" in found.caption
    assert "reconfigured: interstitial-bcc-octahedral (2)" in found.caption


def test_barriers_show_members_whose_band_was_searched_again():
    found = drawn(
        barrier("hcp-Be-basal-neb"),
        results("vacancy-hcp-Be", {"formation_energy": (3.5, "eV")}),
        barrier("bcc-W", first=0.0),
    )["barriers"]
    left, _, right = [ax for ax in found.figure.axes if ax.get_xlabel()][:3]
    assert names(left) == [
        "hcp Be basal neb",
        "barrier",
        "reverse barrier",
        "vacancy formation",
        "bcc W",
        "barrier",
        "reverse barrier",
    ]
    hollow = [line for line in right.lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [MEMBERS]


def test_a_wild_member_does_not_set_the_axis():
    calm = surface("bcc", "110")
    wild = surface("bcc", "100", at={7: {}})
    wild[7] = PropertyResult("wild", "surface-bcc-100", 7, {"surface_energy": Quantity(-649.0, "J/m^2")})
    ax, difference = drawn(calm, wild)["surfaces"].figure.axes[:2]
    assert ax.get_xlim()[0] > 2.0
    assert any(line.get_marker() == "<" for line in ax.lines)
    assert difference.get_xscale() == "symlog"
    assert difference.get_xlim()[0] < -649.0


def test_properties_without_any_value_are_left_out():
    at = {m: {"failure": "unstable"} for m in range(MEMBERS + 1)}
    parts = (surface("bcc", "110", at=at), phase("bcc", 0.0, base="", at=at), barrier(at=at), own(at=at))
    assert drawn(*parts) == {}


def test_only_the_mle_is_drawn_without_warnings(tmp_path):
    parts = [surface("bcc", "110"), phase("bcc", 0.0, base=""), phase("fcc", 0.1), elastic(), barrier()]
    found = [r for part in parts for r in part if r.member == 0]
    with styled():
        drawings = list(property_drawings(summarise(found), found))
        for d in drawings:
            save_figure(d.figure, tmp_path, d.name)
    assert [d.name for d in drawings] == ["phases", "elastic", "surfaces", "barriers"]
    assert all("No member was computed." in d.caption for d in drawings)


def test_legends_and_names_stay_within_the_figure():
    at = {m: {"reconfigured": True, "detail": "relaxed to dumbbell_110"} for m in (-1, 0, 3, 4)}
    parts = [
        defect(f"interstitial-{'x' * 60}-{k}", 9.0, reference=r, at=at) for k, r in (("a", 0.0), ("b", 3.0))
    ]
    figure = drawn(defect("vacancy-bcc", 3.0, reference=0.0), *parts)["defects"].figure
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    # A tenth of an inch for marks that are wider than the point they stand for.
    assert box.x0 > -0.1
    assert box.x1 < WIDTH + 0.1
    axis_names = sorted((ax.xaxis.label.get_window_extent() for ax in figure.axes), key=lambda b: b.x0)
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(axis_names))
    labels = [t.get_window_extent() for t in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 > lower.y1 - 1.0 for upper, lower in itertools.pairwise(labels))


def test_long_families_are_split_and_keep_every_row():
    row = Row("r", {})
    parts = split_groups([Group(name, (row,) * n) for name, n in (("a", 5), ("b", 50), ("c", 3))], most=20)
    assert [[(g.name, len(g.rows)) for g in part] for part in parts] == [
        [("a", 5), ("b", 13)],
        [("b", 19)],
        [("b", 18)],
        [("c", 3)],
    ]
    found = drawn(*[phase(f"own{i}", 0.01 * i) for i in range(80)])
    assert list(found) == ["phases_1", "phases_2", "phases_3"]


def test_lines_are_named_in_words():
    assert line_name("gamma_line-bcc-110-1_-1_1") == "bcc (110) [1 −1 1]"
    assert line_name("path-bcc-W-tetragonal") == "bcc W, tetragonal"
    assert line_name("mine-bcc") == "mine-bcc"


def test_ways_are_counted_from_the_cheapest():
    def one(member, way, **changes):
        return PropertyResult(f"k{member}", "eos-bcc", member, {}, propagation=way, **changes)

    found = [one(0, "brute", evaluations=9), one(1, "brute+batched", fallbacks=1), one(2, "batched+newton")]
    (row,) = way_rows(found)
    assert row.ways == "batched (2), newton (1), brute (1)"
    assert (row.mle, row.fallbacks, row.which) == ("9", 1, "1")
    many = [one(0, "brute"), *(one(m, "brute", fallbacks=m % 2) for m in range(1, 101)), one(101, "newton")]
    assert way_rows(many)[0].which.endswith("…")


def test_summaries_without_results_are_drawn():
    summary = PropertySummary(
        "surface-bcc-110", "surface_energy", "J/m^2", 3.0, 3.0, 0.1, 2.8, 3.2, {}, math.nan, 20, 0, 0, 0, {}
    )
    with styled():
        (drawing,) = property_drawings([summary])
    assert marks(drawing.figure.axes[0], "MLE") == [3.0]
