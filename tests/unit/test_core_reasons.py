"""Every reason that the code gives for a failure has a sentence for people."""

from __future__ import annotations

import re
from pathlib import Path

import snapuq
from snapuq.core.reasons import REASONS
from snapuq.lammps import session
from snapuq.results.journal import BUG


def test_every_reason_in_the_code_is_explained():
    source = "\n".join(p.read_text(encoding="utf-8") for p in Path(snapuq.__file__).parent.rglob("*.py"))
    found = set(re.findall(r'SimulationError\(\s*"(\w+)"', source)) | set(session._REASONS.values()) | {BUG}
    assert {"lost_atoms", "not_converged", "bad_box"} <= found
    assert sorted(found - set(REASONS)) == []


def test_explanations_are_one_sentence_each():
    assert all(text.endswith(".") and text.count(".") == 1 and "\n" not in text for text in REASONS.values())
    assert len(set(REASONS.values())) == len(REASONS)
