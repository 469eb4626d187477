"""Cached design rows: read back to the bit, made again when anything is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from structures import random_structure

from snapuq.core.dataset import Configuration
from snapuq.core.potential import ReferencePair, SnapSettings
from snapuq.descriptors.assemble import RowSelection
from snapuq.descriptors.cache import RowCache, plan_cache

SETTINGS = SnapSettings(("W",), 4.7, 2, (0.5,), (1.0,), bzeroflag=False)
SELECTION = RowSelection()
ATOMS = (1, 5, 900, 2, 600, 40, 3)


@pytest.fixture(scope="module")
def configurations() -> list[Configuration]:
    return [
        Configuration(f"c{i}", "g", random_structure(n, ("W",), seed=i), -1.0, np.zeros((n, 3)))
        for i, n in enumerate(ATOMS)
    ]


def plan(folder: Path, configurations: Sequence[Configuration], **changes: object) -> RowCache:
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return plan_cache(folder, configurations, settings, None, SELECTION)


def compute(index: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(index)
    n = 1 + 3 * ATOMS[index]
    return rng.normal(size=(n, SETTINGS.n_columns)), rng.normal(size=n)


def filled(folder: Path, configurations: Sequence[Configuration]) -> RowCache:
    cache = plan(folder, configurations)
    for shard in range(len(cache.shards)):
        cache.make(shard, compute)
    return cache


def test_rows_come_back_to_the_bit(tmp_path: Path, configurations: list[Configuration]) -> None:
    cache = filled(tmp_path, configurations)
    assert len(cache.shards) > 1
    assert sorted(i for members in cache.shards for i in members) == list(range(len(ATOMS)))
    again = plan(tmp_path, configurations)
    for i in range(len(ATOMS)):
        for mine, stored in zip(compute(i), again.rows(i), strict=True):
            assert np.array_equal(mine, stored)
    assert all(again.is_sound(s) for s in range(len(again.shards)))
    assert not again.rows(0)[0].flags.writeable


@pytest.mark.parametrize("harm", ["missing", "cut short", "empty", "bit flip", "not HDF5", "other rows"])
def test_harmed_files_are_noticed_and_made_again(
    tmp_path: Path, configurations: list[Configuration], harm: str
) -> None:
    path = filled(tmp_path, configurations).path(0)
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "not HDF5":
        path.write_bytes(b"x" * len(content))
    elif harm == "bit flip":
        place = content.index(compute(1)[0].tobytes()) + 3
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["digest"] = "0" * 64
    cache = plan(tmp_path, configurations)
    assert not cache.is_sound(0)
    assert cache.is_sound(1)
    cache.make(0, compute)
    assert cache.is_sound(0)
    assert np.array_equal(cache.rows(1)[0], compute(1)[0])


def test_files_are_named_by_all_that_rows_depend_on(
    tmp_path: Path, configurations: list[Configuration]
) -> None:
    base = plan(tmp_path, configurations).keys
    assert plan(tmp_path, configurations, rcutfac=4.8).keys != base
    assert plan(tmp_path, configurations, bzeroflag=True).keys != base
    zbl = ReferencePair("zbl 4.0 4.8", ("* * 74 74",))
    assert plan_cache(tmp_path, configurations, SETTINGS, zbl, SELECTION).keys != base
    forces = RowSelection(energy=False)
    assert plan_cache(tmp_path, configurations, SETTINGS, None, forces).keys != base
    moved = [replace(configurations[0], structure=random_structure(1, ("W",), seed=99)), *configurations[1:]]
    assert plan(tmp_path, moved).keys[0] != base[0]
    assert plan(tmp_path, moved).keys[1:] == base[1:]
    relabelled = [replace(c, energy=-2.0, group="h", identifier=f"d{c.identifier}") for c in configurations]
    assert plan(tmp_path, relabelled).keys == base


def test_a_failure_leaves_no_file(tmp_path: Path, configurations: list[Configuration]) -> None:
    cache = plan(tmp_path, configurations)

    def fail(index: int) -> tuple[np.ndarray, np.ndarray]:
        raise ValueError(index)

    with pytest.raises(ValueError, match="0"):
        cache.make(0, fail)
    assert list(tmp_path.iterdir()) == []
