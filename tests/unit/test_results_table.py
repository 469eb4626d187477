"""Summaries by hand, and tables that survive a round trip to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.core.result import PropertyResult, Quantity
from snapuq.errors import InputError
from snapuq.results.reference import check_reference, read_reference_csv
from snapuq.results.table import (
    QUANTILES,
    read_results_csv,
    read_summary_csv,
    summarise,
    write_results_csv,
    write_summary_csv,
)


def one(member: int, value: float | None = None, label: str = "eos-bcc", **changes) -> PropertyResult:
    values = {} if value is None else {"volume": Quantity(value, "A^3/atom")}
    return PropertyResult(f"{label}{member}", label, member, values, **changes)


RESULTS = [
    one(-1, 15.5),
    one(0, 16.0),
    one(1, 15.0),
    one(2, failure="runaway", converged=False),
    one(3, 17.0, converged=False),
    one(4, 19.0, reconfigured=True),
    one(5, failure="runaway", converged=False, detail='by a factor of 3, "or more"'),
]


def test_against_numbers_worked_out_by_hand():
    (s,) = summarise(RESULTS)
    assert (s.mle, s.reference, s.minimum, s.maximum) == (16.0, 15.5, 15.0, 19.0)
    assert s.mean == 17.0
    assert s.std == pytest.approx(np.sqrt(8 / 3), rel=1e-15)
    assert s.quantiles[0.5] == 17.0
    assert (s.n_members, s.n_failed, s.n_unconverged, s.n_reconfigured) == (5, 2, 1, 1)
    assert s.failures == {"not_converged": (3,), "reconfigured": (4,), "runaway": (2, 5)}
    assert s.n_unsound == 4
    assert (s.sound_minimum, s.sound_maximum, s.sound_std) == (15.0, 15.0, 0.0)
    # Of three values one is kept, and one value has no width.
    assert s.narrowing == 1.0
    assert s.inside is True


def test_flagged_members_stay_in_the_envelope_and_are_left_out_of_the_sound_one():
    results = [one(m, float(v)) for m, v in enumerate((1, 2, 3, 4), 1)]
    results += [one(5, 9.0, converged=False, reconfigured=True), one(6, -9.0, reconfigured=True)]
    (s,) = summarise(results)
    assert (s.minimum, s.maximum, s.n_failed, s.narrowing) == (-9.0, 9.0, 0, 0.0)
    assert (s.sound_minimum, s.sound_maximum) == (1.0, 4.0)
    assert s.sound_std == pytest.approx(np.sqrt(1.25), rel=1e-15)
    assert s.failures == {"not_converged": (5,), "reconfigured": (5, 6)}
    assert (s.n_unsound, s.n_unconverged, s.n_reconfigured) == (2, 1, 2)


def test_failures_of_one_kind_are_counted_together_whatever_their_text():
    (s,) = summarise(
        [one(1, 1.0), one(2, failure="bug: KeyError: 'a'"), one(3, failure="bug: KeyError: 'b'")]
    )
    assert s.failures == {"bug": (2, 3)}


def test_without_flags_the_sound_envelope_is_the_envelope():
    (s,) = summarise([one(m, float(m)) for m in range(1, 6)])
    assert (s.sound_minimum, s.sound_maximum, s.sound_std) == (s.minimum, s.maximum, s.std)
    assert (s.n_unsound, s.failures) == (0, {})


def test_order_of_members_does_not_matter():
    assert summarise(RESULTS) == summarise(RESULTS[::-1])


def test_a_given_value_takes_precedence_and_its_unit_is_checked():
    (s,) = summarise(RESULTS, {("eos-bcc", "volume"): Quantity(20.0, "A^3/atom")})
    assert s.reference == 20.0
    assert s.inside is False
    with pytest.raises(InputError, match="another unit"):
        summarise(RESULTS, {("eos-bcc", "volume"): Quantity(20.0, "nm^3")})


def test_a_property_that_always_failed_does_not_vanish():
    (s,) = summarise([one(0, failure="bad_box"), one(1, failure="bad_box"), one(2, failure="lost_atoms")])
    assert (s.quantity, s.n_members, s.n_failed, s.mean, s.inside) == ("", 2, 2, None, None)
    assert s.failures == {"bad_box": (1,), "lost_atoms": (2,)}


def test_tables_survive_a_round_trip(tmp_path):
    results = [*RESULTS, one(1, 0.1 + 0.2, label="x"), one(2, 1 / 3, label="x", failure="")]
    write_results_csv(tmp_path / "results.csv", results)
    found = read_results_csv(tmp_path / "results.csv")
    assert list(found) == [replace(r, key="") for r in results]
    assert [r.detail for r in found] == [r.detail for r in results]
    summaries = summarise(results)
    write_summary_csv(tmp_path / "summary.csv", summaries)
    assert read_summary_csv(tmp_path / "summary.csv") == summaries
    assert summarise(found) == summaries


@given(values=st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=6))
def test_any_number_survives(values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("t")
    summaries = summarise(one(i, v) for i, v in enumerate(values, 1))
    write_summary_csv(folder / "s.csv", summaries)
    assert repr(read_summary_csv(folder / "s.csv")) == repr(summaries)


def test_no_timings_in_the_tables(tmp_path):
    for name, seconds in (("a", 0.1), ("b", 99.0)):
        slow = [replace(r, seconds=seconds) for r in RESULTS]
        write_results_csv(tmp_path / f"{name}r.csv", slow)
        write_summary_csv(tmp_path / f"{name}s.csv", summarise(slow))
    assert (tmp_path / "ar.csv").read_bytes() == (tmp_path / "br.csv").read_bytes()
    assert (tmp_path / "as.csv").read_bytes() == (tmp_path / "bs.csv").read_bytes()


def test_quantiles_are_those_of_numpy():
    values = np.random.default_rng(0).standard_normal(37)
    (s,) = summarise(one(i, float(v)) for i, v in enumerate(values, 1))
    assert s.quantiles == {q: float(np.quantile(values, q)) for q in QUANTILES}


def test_reference_table(tmp_path):
    path = tmp_path / "dft.csv"
    path.write_text(
        "property,quantity,value,unit\nelastic-bcc,C11,523.0,GPa\nvacancy-bcc,formation_energy,3.2,eV\n"
    )
    found = read_reference_csv(path)
    assert found["elastic-bcc", "C11"] == Quantity(523.0, "GPa")
    known = {("elastic-bcc", "C11"): "GPa", ("vacancy-bcc", "formation_energy"): "eV"}
    assert check_reference(path, known, never) == ()
    with pytest.raises(InputError, match="did you mean 'elastic-bcc C12'") as caught:
        check_reference(path, {("elastic-bcc", "C12"): "GPa"}, never)
    assert str(caught.value).startswith(f"{path}:2: elastic-bcc C11: ")
    with pytest.raises(InputError, match="wrong unit") as caught:
        check_reference(path, known | {("vacancy-bcc", "formation_energy"): "J"}, never)
    assert str(caught.value).startswith(f"{path}:3: vacancy-bcc formation_energy: ")
    path.write_text("property,quantity,value,unit\nelastic-bcc,C11,523.0,\n")
    with pytest.raises(InputError, match="wrong unit; found nothing; expected GPa"):
        check_reference(path, known, never)


def never(_: str) -> bool:
    return False


def test_rows_of_other_properties_are_counted_and_misspelt_ones_refused(tmp_path):
    path = tmp_path / "all.csv"
    path.write_text(
        "property,quantity,value,unit\nelastic-bcc,C11,523,GPa\nelastic-fcc,C11,1,GPa\nx,y,1,eV\n"
    )
    known = {("elastic-bcc", "C11"): "GPa"}
    # One letter from a label that is asked for, and a property of its own.
    assert check_reference(path, known, lambda label: label == "elastic-fcc") == ("elastic-fcc", "x")
    with pytest.raises(InputError, match=r"all\.csv:3: elastic-fcc: .* did you mean 'elastic-bcc'\?"):
        check_reference(path, known, never)


def test_reference_tables_of_spreadsheets(tmp_path):
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbfproperty,quantity,value,unit\r\nelastic-bcc,C11,523,GPa\r\n")
    assert read_reference_csv(path) == {("elastic-bcc", "C11"): Quantity(523.0, "GPa")}
    path.write_text("property;quantity;value;unit\nelastic-bcc;C11;523,0;GPa\n")
    with pytest.raises(InputError, match=r"excel\.csv:1: columns are separated by semicolons"):
        read_reference_csv(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("property,quantity,value\na,b,1\n", "has no column 'unit'"),
        ("property,quantity,value,unit\na,b,x,eV\n", "malformed row"),
        ("property,quantity,value,unit\na,b,nan,eV\n", "finite"),
        ("property,quantity,value,unit\na,b,1\n", "number of columns"),
        ("property,quantity,value,unit\na,b,1,eV,5\n", "number of columns"),
        ("property,quantity,value,unit\na,b,1,eV\na,b,2,eV\n", "twice"),
        ("", "has no column 'property'"),
    ],
)
def test_malformed_reference_tables(text, said, tmp_path):
    path = tmp_path / "r.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_reference_csv(path)
    assert str(caught.value).startswith(str(path))


def test_missing_and_malformed_tables_of_our_own(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_summary_csv(tmp_path / "none.csv")
    write_results_csv(tmp_path / "r.csv", RESULTS)
    text = (tmp_path / "r.csv").read_text()
    (tmp_path / "r.csv").write_text(text.replace("15.5", "1 5.5"))
    with pytest.raises(InputError, match="malformed row"):
        read_results_csv(tmp_path / "r.csv")


def test_a_table_of_an_earlier_version_is_refused(tmp_path):
    path = tmp_path / "s.csv"
    write_summary_csv(path, summarise(RESULTS))
    path.write_text(path.read_text().replace("sound_std", "x"))
    with pytest.raises(InputError, match="has no column 'sound_std'") as caught:
        read_summary_csv(path)
    assert "sound_std" in str(caught.value)
