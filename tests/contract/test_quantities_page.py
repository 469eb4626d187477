"""The page that lists the names of quantities against what the properties give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snapuq.properties import PROPERTIES

PAGE = (Path(__file__).parents[2] / "docs_src" / "quantities.rst").read_text(encoding="utf-8")
#: What the page shows of each property: its labels, then its quantities.
SECTIONS = {
    name: (labels, quantities)
    for name, labels, quantities in re.findall(
        r"\* - ``(\w+)``\n     - (.*?)\n     - (.*?)(?=\n   \* |\Z)", PAGE, re.S
    )
}
CRYSTALS = {name: ["bcc", "fcc", "hcp"] for name in SECTIONS} | {"path": ["bcc"]}


def pattern(name: str) -> str:
    """``f_<point>_<branch>`` as a regular expression."""
    return "".join(".+" if part.startswith("<") else re.escape(part) for part in re.split(r"(<[^>]+>)", name))


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_every_quantity_is_on_the_page(name: str):
    cls, (labels, quantities) = PROPERTIES[name], SECTIONS[name]
    listed = re.compile("|".join(pattern(text) for text in re.findall(r"``(.+?)``", quantities)))
    found = set()
    for crystal in CRYSTALS[name]:
        params = cls.Params(structures=(crystal, "A15")) if name == "phase" else cls.Params(structure=crystal)
        for part in cls.expand(params):
            found.add(cls.label(part))
            for quantity, unit in cls.outputs(part).items():
                assert listed.fullmatch(quantity), f"{cls.label(part)}: {quantity}"
                assert f"({unit})" in quantities or not unit or quantity.startswith("curve_"), unit
    shown = re.findall(r"``([^`]+)``", labels)
    # Surfaces other than the usual ones, and compounds, are examples.
    assert any(label in found for label in shown)


def test_the_page_knows_all_properties():
    assert set(SECTIONS) == {name for name in PROPERTIES if PROPERTIES[name].__module__.startswith("snapuq.")}
