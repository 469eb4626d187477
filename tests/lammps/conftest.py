"""A LAMMPS session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snapuq.lammps.session import Session


@pytest.fixture(scope="session")
def session() -> Iterator[Session]:
    """One LAMMPS instance for all tests of this folder."""
    with Session() as opened:
        yield opened
