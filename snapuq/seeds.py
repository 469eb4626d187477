"""One master seed, and from it one independent stream for each named purpose."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(master: int, *labels: object) -> int:
    """Seed of one purpose, independent of order, rank and chunking.

    Parameters
    ----------
    master : int
        The campaign's seed.
    *labels : object
        What the stream is for; their ``str`` is hashed.

    Returns
    -------
    int
        A 63-bit seed.
    """
    text = "\x1f".join([str(int(master)), *map(str, labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(master: int, *labels: object) -> np.random.Generator:
    """Random generator of one purpose.

    Parameters
    ----------
    master : int
        The campaign's seed.
    *labels : object
        What the stream is for.

    Returns
    -------
    numpy.random.Generator
        A PCG64 generator seeded by `derive_seed`.
    """
    return np.random.Generator(np.random.PCG64(derive_seed(master, *labels)))
