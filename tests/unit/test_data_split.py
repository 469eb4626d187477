"""Train/test splits: sizes, seeds, groups and leaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapuq.core.dataset import Configuration, Dataset, Structure
from snapuq.data.split import given_split, group_split, join, random_split, structure_numbers
from snapuq.errors import InputError


def made(n: int, first: float = 0.0, prefix: str = "") -> Dataset:
    return Dataset(tuple(one(f"{prefix}{i}", f"g{i % 3}", first + i) for i in range(n)), "made")


def one(name: str, group: str, number: float) -> Configuration:
    """One atom in a cube; the number sets the edge and the energy."""
    structure = Structure((3.0 + 1.0e-3 * number) * np.eye(3), np.zeros((1, 3)), ("W",))
    return Configuration(name, group, structure, number, np.zeros((1, 3)))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 200), fraction=st.floats(0.0, 0.99), seed=st.integers(0, 2**40))
def test_random_split_has_the_right_size_and_can_be_repeated(n: int, fraction: float, seed: int) -> None:
    dataset = made(n)
    expected = 0 if fraction == 0 else max(1, round(fraction * n))
    if expected == n:
        with pytest.raises(InputError, match="nothing is left to train on"):
            random_split(dataset, fraction, seed)
        return
    is_test = random_split(dataset, fraction, seed)
    assert is_test.shape == (n,)
    assert is_test.dtype == np.bool_
    assert is_test.sum() == expected
    np.testing.assert_array_equal(is_test, random_split(dataset, fraction, seed))


@settings(max_examples=60, deadline=None)
@given(numbers=st.lists(st.integers(0, 12), min_size=4, max_size=60), seed=st.integers(0, 2**40))
def test_twins_are_held_out_together(numbers: list[int], seed: int) -> None:
    dataset = Dataset(tuple(one(str(i), "g", n) for i, n in enumerate(numbers)), "made")
    # The label differs, as where a code was run again; the rows are the same.
    assert structure_numbers(dataset).tolist() == [list(dict.fromkeys(numbers)).index(n) for n in numbers]
    if len(set(numbers)) == 1:
        return
    is_test = random_split(dataset, 0.4, seed)
    held_out = {n for n, t in zip(numbers, is_test, strict=True) if t}
    assert len(held_out) == max(1, round(0.4 * len(set(numbers))))
    assert [n in held_out for n in numbers] == is_test.tolist()


def test_random_split_is_unbiased_and_depends_on_the_seed() -> None:
    dataset = made(40)
    masks = np.array([random_split(dataset, 0.25, seed) for seed in range(400)])
    assert len({m.tobytes() for m in masks}) == 400
    # Each of 40 means of 400 draws has standard deviation 0.022; 5 of them is 1e-5 for all.
    assert np.abs(masks.mean(axis=0) - 0.25).max() < 0.11


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0, float("nan")])
def test_impossible_fractions(fraction: float) -> None:
    with pytest.raises(InputError, match=r"test\.fraction: impossible value"):
        random_split(made(4), fraction, 1)


def test_one_configuration_cannot_be_split() -> None:
    assert not random_split(made(1), 0.0, 1).any()
    with pytest.raises(InputError, match="nothing is left to train on"):
        random_split(made(1), 0.5, 1)


def test_group_split() -> None:
    assert group_split(made(5), ["g1"]).tolist() == [False, True, False, False, True]
    with pytest.raises(InputError, match=r"test\.groups: unknown group 'G1'; did you mean 'g1'\?"):
        group_split(made(5), ["G1"])
    with pytest.raises(InputError, match="nothing is left to train on"):
        group_split(made(5), ["g0", "g1", "g2"])


def test_given_split() -> None:
    dataset = replace(made(3), is_test=(False, True, False))
    assert given_split(dataset).tolist() == [False, True, False]
    with pytest.raises(InputError, match="without a train/test split"):
        given_split(made(3))
    with pytest.raises(InputError, match="nothing is left to train on"):
        given_split(replace(made(2), is_test=(True, True)))


def test_join() -> None:
    both = join(made(2), made(3, first=100.0, prefix="t"))
    assert [c.identifier for c in both.configurations] == ["0", "1", "t0", "t1", "t2"]
    assert given_split(both).tolist() == [False, False, True, True, True]
    clash = join(made(2), made(2, first=100.0))
    assert [c.identifier for c in clash.configurations] == ["train:0", "train:1", "test:0", "test:1"]


def test_join_refuses_a_leak() -> None:
    with pytest.raises(InputError, match="made: t0: the same calculation is in the training set as 1"):
        join(made(2), made(1, first=1.0, prefix="t"))
