"""Train/test splits and the union of two data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snapuq.core.dataset import Configuration, Dataset
from snapuq.errors import InputError, nearest
from snapuq.seeds import generator

Mask = NDArray[np.bool_]


def structure_numbers(dataset: Dataset) -> NDArray[np.int64]:
    """Number the distinct structures: configurations with one cell, positions and species share a number.

    Parameters
    ----------
    dataset : Dataset
        Configurations.

    Returns
    -------
    ndarray of int, shape (C,)
        From 0, in order of first appearance; 0 to C - 1 where no structure occurs twice.
    """
    first: dict[str, int] = {}
    return np.array([first.setdefault(c.structure.digest, len(first)) for c in dataset.configurations])


def random_split(dataset: Dataset, fraction: float, seed: int) -> Mask:
    """Hold out structures at random; configurations of one structure stay together.

    A twin in the training set would make the errors of the test set look small.

    Parameters
    ----------
    dataset : Dataset
        Configurations.
    fraction : float
        Fraction of the distinct structures held out, from 0 (no test set) to below 1; at least one
        otherwise.
    seed : int
        The campaign's seed.

    Returns
    -------
    ndarray of bool, shape (C,)
        True for the test set.

    Raises
    ------
    InputError
        When the fraction is impossible or leaves nothing to train on.
    """
    if not 0 <= fraction < 1:
        raise InputError(
            "impossible value", key="test.fraction", found=fraction, expected="0 or more, below 1"
        )
    of = structure_numbers(dataset)
    n = int(of.max()) + 1
    held_out = np.zeros(n, dtype=bool)
    if fraction > 0:
        held_out[generator(seed, "random_split").permutation(n)[: n_held_out(n, fraction)]] = True
    return _with_both(held_out[of], dataset, "test.fraction")


def n_held_out(n: int, fraction: float) -> int:
    """Count the structures that `random_split` holds out.

    Parameters
    ----------
    n : int
        Distinct structures.
    fraction : float
        Fraction held out, above 0.

    Returns
    -------
    int
        At least one.
    """
    return max(1, round(fraction * n))


def group_split(dataset: Dataset, groups: Sequence[str]) -> Mask:
    """Hold out whole groups.

    Parameters
    ----------
    dataset : Dataset
        Configurations.
    groups : sequence of str
        Names of the groups held out.

    Returns
    -------
    ndarray of bool, shape (C,)
        True for the test set.

    Raises
    ------
    InputError
        When a group does not exist, or nothing is left to train on.
    """
    for group in groups:
        if group not in dataset.groups:
            hint = nearest(group, dataset.groups)
            raise InputError(f"unknown group '{group}'", file=dataset.source, key="test.groups", hint=hint)
    is_test = np.array([c.group in groups for c in dataset.configurations], dtype=bool)
    return _with_both(is_test, dataset, "test.groups")


def given_split(dataset: Dataset) -> Mask:
    """Take the split that the data came with.

    Parameters
    ----------
    dataset : Dataset
        Configurations.

    Returns
    -------
    ndarray of bool, shape (C,)
        True for the test set.

    Raises
    ------
    InputError
        When the data came without one, or with nothing to train on.
    """
    if dataset.is_test is None:
        raise InputError(
            "these data come without a train/test split",
            file=dataset.source,
            key="test",
            hint="give a fraction, groups or a path",
        )
    return _with_both(np.array(dataset.is_test, dtype=bool), dataset, "test")


def join(train: Dataset, test: Dataset) -> Dataset:
    """Put a training set and a separate test set into one data set.

    Parameters
    ----------
    train, test : Dataset
        The two; identifiers get the prefixes ``train:`` and ``test:`` if one occurs in both.

    Returns
    -------
    Dataset
        With `is_test` set, and the recipe of the training set.

    Raises
    ------
    InputError
        When one configuration is in both: a test set that was trained on proves nothing.
    """
    trained = {c.digest: c.identifier for c in train.configurations}
    for configuration in test.configurations:
        if configuration.digest in trained:
            raise InputError(
                f"the same calculation is in the training set as {trained[configuration.digest]}",
                file=test.source,
                key=configuration.identifier,
            )
    names = {c.identifier for c in train.configurations}
    clash = any(c.identifier in names for c in test.configurations)

    def named(dataset: Dataset, prefix: str) -> tuple[Configuration, ...]:
        if not clash:
            return dataset.configurations
        return tuple(replace(c, identifier=f"{prefix}:{c.identifier}") for c in dataset.configurations)

    return Dataset(
        named(train, "train") + named(test, "test"),
        f"{train.source} + {test.source}",
        (False,) * len(train) + (True,) * len(test),
        train.recipe,
    )


def _with_both(is_test: Mask, dataset: Dataset, key: str) -> Mask:
    if is_test.all():
        raise InputError(
            "nothing is left to train on",
            file=dataset.source,
            key=key,
            found=f"{len(dataset)} configurations",
        )
    return is_test
