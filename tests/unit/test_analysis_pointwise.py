"""Predictions of an ensemble and the file that keeps them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.analysis import pointwise
from snapuq.analysis.pointwise import concatenate, envelope_violation, load_pointwise, predict, save_pointwise
from snapuq.core.design import DesignBlock, RowKind
from snapuq.core.ensemble import Ensemble
from snapuq.core.pointwise import PointwiseTable
from snapuq.core.potential import SnapSettings
from snapuq.errors import InputError

SETTINGS = SnapSettings(elements=("W",), rcutfac=4.7, twojmax=2, radelem=(0.5,), wj=(1.0,))
P = SETTINGS.n_columns
FIELDS = list(PointwiseTable.__dataclass_fields__)


def ensemble(members: int, rng: np.random.Generator, spread: float = 0.1) -> Ensemble:
    mle = rng.normal(size=P)
    coefficients = mle + spread * rng.normal(size=(members, P))
    return Ensemble(SETTINGS, None, mle, coefficients.mean(axis=0), coefficients, 1, "fit")


def block(n_atoms: int, rng: np.random.Generator, name: str = "g/1") -> DesignBlock:
    n = 1 + 3 * n_atoms
    kind = np.array([RowKind.ENERGY] + [RowKind.FORCE] * (n - 1), dtype=np.int8)
    return DesignBlock(
        name, "g", n_atoms, rng.normal(size=(n, P)), rng.normal(size=n), rng.normal(size=n), np.ones(n), kind,
        np.arange(n) == n - 1,
    )  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 17, 10**6])
def test_predict_equals_a_plain_loop(chunk, monkeypatch):
    rng = np.random.default_rng(3)
    members, rows = ensemble(7, rng), block(5, rng)
    monkeypatch.setattr(pointwise, "_CHUNK_ENTRIES", chunk)
    table = predict(rows, members)
    for i in range(len(rows.target)):
        values = np.array([float(rows.rows[i] @ theta) + rows.baseline[i] for theta in members.coefficients])
        expected = {
            "truth": rows.target[i] + rows.baseline[i],
            "mle": float(rows.rows[i] @ members.mle) + rows.baseline[i],
            "mean": values.mean(),
            "std": np.sqrt(np.mean((values - values.mean()) ** 2)),
            "minimum": values.min(),
            "maximum": values.max(),
        }
        for name, value in expected.items():
            # A sum of P products of order one, rounded in another order.
            assert getattr(table, name)[i] == pytest.approx(value, rel=1e-12, abs=1e-12)
    assert list(table.identifier) == ["g/1"] * len(table)
    assert np.isnan(table.leverage).all()
    known = np.linspace(0.0, 2.0, len(table))
    assert np.array_equal(predict(rows, members, known).leverage, known)
    assert (table.kind == rows.kind).all()
    assert (table.is_roundoff == rows.is_roundoff).all()


def test_a_tiny_spread_on_a_large_prediction_keeps_its_digits():
    rows = block(1, np.random.default_rng(0))
    big = np.full(P, 1024.0)
    shifts = np.outer([-1.0, 1.0], np.full(P, 2.0**-40))
    members = Ensemble(SETTINGS, None, big, big, big + shifts, 1, "fit")
    exact = np.abs(rows.rows.sum(axis=1)) * 2.0**-40
    table = predict(rows, members)
    # Prediction about 1e3, spread about 1e-12: subtracting predictions would leave one digit.
    np.testing.assert_allclose(table.std, exact, rtol=1e-10)


def test_two_ensembles_in_turn_are_not_mixed_up():
    rng = np.random.default_rng(5)
    rows, first, second = block(2, rng), ensemble(4, rng), ensemble(6, rng)
    once, other, again = predict(rows, first), predict(rows, second), predict(rows, first)
    assert (once.std == again.std).all()
    assert not np.allclose(once.std, other.std)


def test_predict_refuses_what_does_not_fit():
    rng = np.random.default_rng(1)
    rows = block(1, rng)
    narrow = DesignBlock("g/2", "g", 1, rows.rows[:, 1:], rows.target, rows.baseline, rows.weight, rows.kind,
                         rows.is_roundoff)  # fmt: skip
    with pytest.raises(InputError, match=r"g/2.*number of columns"):
        predict(narrow, ensemble(3, rng))
    with pytest.raises(InputError, match="no member"):
        predict(rows, Ensemble(SETTINGS, None, np.zeros(P), np.zeros(P), np.zeros((0, P)), 1, "fit"))


def test_violation_is_strictly_outside():
    one = np.ones(4)
    truth = np.array([-1.1, -1.0, 1.0, 1.1])
    table = PointwiseTable(
        np.array(["a"] * 4),
        np.array(["g"] * 4),
        np.zeros(4, np.int8),
        truth,
        0 * one,
        0 * one,
        one,
        -one,
        one,
        one,
        np.zeros(4, bool),
    )
    assert envelope_violation(table).tolist() == [True, False, False, True]


def joined() -> PointwiseTable:
    rng = np.random.default_rng(9)
    members = ensemble(5, rng)
    return concatenate(
        predict(block(n, rng, name), members) for n, name in ((1, "Größe/ü.json"), (3, "b"), (2, "a"))
    )


def test_concatenate_keeps_the_order():
    table = joined()
    assert len(table) == 4 + 10 + 7
    assert list(dict.fromkeys(table.identifier)) == ["Größe/ü.json", "b", "a"]
    assert len(concatenate([])) == 0


def test_round_trip_is_exact_and_the_bytes_repeat(tmp_path: Path):
    table = joined()
    save_pointwise(tmp_path / "a.h5", table)
    save_pointwise(tmp_path / "b.h5", table)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    back = load_pointwise(tmp_path / "a.h5")
    for name in FIELDS:
        assert np.array_equal(getattr(back, name), getattr(table, name), equal_nan=name == "leverage"), name
        assert getattr(back, name).dtype.kind == getattr(table, name).dtype.kind


def test_an_empty_table_survives(tmp_path: Path):
    save_pointwise(tmp_path / "a.h5", concatenate([]))
    assert len(load_pointwise(tmp_path / "a.h5")) == 0


def _other_format(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "something else"


def _bad_index(path: Path) -> None:
    save_pointwise(path, joined())
    with h5py.File(path, "r+") as file:
        file["group_index"][0] = 99


def _missing(path: Path) -> None:
    save_pointwise(path, joined())
    with h5py.File(path, "r+") as file:
        del file["std"]


def _short(path: Path) -> None:
    save_pointwise(path, joined())
    with h5py.File(path, "r+") as file:
        del file["std"]
        file["std"] = np.zeros(3)


def _truncated(path: Path) -> None:
    save_pointwise(path, joined())
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize("damage", [_other_format, _bad_index, _missing, _short, _truncated])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, damage):
    path = tmp_path / "pointwise.h5"
    damage(path)
    with pytest.raises(InputError, match=r"pointwise\.h5") as caught:
        load_pointwise(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.h5.*no such file"):
        load_pointwise(tmp_path / "none.h5")


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12), max_size=8
    )
)
def test_any_name_survives_the_file(tmp_path_factory, names):
    n = len(names)
    zero = np.zeros(n)
    table = PointwiseTable(
        np.array(names, dtype=np.str_),
        np.array(names[::-1], dtype=np.str_),
        np.zeros(n, np.int8),
        zero,
        zero,
        zero,
        zero,
        zero,
        zero,
        zero,
        np.zeros(n, bool),
    )
    path = tmp_path_factory.mktemp("names") / "t.h5"
    save_pointwise(path, table)
    assert load_pointwise(path).identifier.tolist() == names
