"""Times with their units, as people and batch systems write them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.units import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 s", 10.0),
        ("10s", 10.0),
        ("0.5 s", 0.5),
        ("2. min", 120.0),
        ("10 min", 600.0),
        ("3 h 30 min", 12600.0),
        ("3h30min", 12600.0),
        (" 1 d  2 h\t3 min 4 s ", 93784.0),
        ("30 min 3 h", 12600.0),
        ("2 d", 172800.0),
        ("0:00:01", 1.0),
        ("3:30:00", 12600.0),
        ("100:00:00", 360000.0),
        (" 00:10:00 ", 600.0),
    ],
)
def test_a_time_is_read(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "10",
            "s",
            "min",
            "10 m",
            "10 sec",
            "10 minutes",
            "1 H",
            "ten s",
            "1,5 h",
            "1.5.2 s",
            ".5 h",
        ),
        *(
            "-5 min",
            "- 5 min",
            "+5 min",
            "1e3 s",
            "inf s",
            "nan s",
            "0x10 s",
            "3 h 30",
            "3 h, 30 min",
            "5 h ?",
        ),
        *("90:00", "1:60:00", "1:00:60", "1:0:0", "1-00:00:00", "-1:00:00", "1:00:00 h", "1:00:00.5"),
        *("0 s", "0 h 0 min", "0:00:00", "9" * 400 + " d", "9" * 400 + ":00:00"),
    ],
)
def test_anything_else_is_refused_and_named(text):
    with pytest.raises(ValueError, match="expected a time") as caught:
        seconds(text)
    assert text in str(caught.value)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_a_clock_and_its_parts_agree(h, m, s):
    if h + m + s:
        assert seconds(f"{h}:{m:02d}:{s:02d}") == seconds(f"{h} h {m} min {s} s") == 3600 * h + 60 * m + s


@given(st.text(max_size=12) | st.text("0123456789 .:-+esmindhx", max_size=12))
def test_any_text_is_a_time_or_a_value_error(text):
    with suppress(ValueError):
        assert seconds(text) > 0.0
