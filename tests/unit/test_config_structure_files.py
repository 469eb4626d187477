"""Structure files in a campaign file: found beside it, and part of the resolved campaign."""

from __future__ import annotations

from pathlib import Path

import ase.build
import pytest

from snapuq.campaign.plan import expand
from snapuq.config import dump_config, load_config
from snapuq.errors import InputError

CAMPAIGN = """name: w
dataset: {path: data}
potential: {rcutfac: 4.7, twojmax: 6, elements: {W: {}}}
campaign:
  properties:
    - phase: {structures: [bcc, cells/mine.cif]}
    - elastic: {structure: cells/mine.cif}
"""


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "cells").mkdir()
    ase.build.bulk("W", "hcp", a=2.8, c=4.5).write(tmp_path / "cells" / "mine.cif")
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN)
    return path


def test_found_beside_the_campaign_file_and_not_needed_later(campaign: Path) -> None:
    config = load_config(campaign)
    parts = expand(config.campaign.properties, ("W",))
    assert [p.label for p in parts] == ["phase-bcc", "phase-mine", "elastic-mine"]
    resolved = campaign.parent / "resolved.yaml"
    resolved.write_text(dump_config(config))
    (campaign.parent / "cells" / "mine.cif").unlink()
    again = load_config(resolved)
    assert again == config
    assert expand(again.campaign.properties, ("W",)) == parts


def test_an_edited_file_is_another_task(campaign: Path) -> None:
    before = expand(load_config(campaign).campaign.properties, ("W",))
    ase.build.bulk("W", "hcp", a=2.81, c=4.5).write(campaign.parent / "cells" / "mine.cif")
    after = expand(load_config(campaign).campaign.properties, ("W",))
    assert [a.params == b.params for a, b in zip(after, before, strict=True)] == [True, False, False]


def test_a_missing_file_is_one_line_at_its_key(campaign: Path) -> None:
    (campaign.parent / "cells" / "mine.cif").unlink()
    with pytest.raises(InputError) as caught:
        load_config(campaign)
    lines = str(caught.value).splitlines()
    assert any("campaign.properties.1.elastic.structure" in line and "no such file" in line for line in lines)
    assert "campaign.yaml:7" in str(caught.value)
