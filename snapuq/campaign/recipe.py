"""How a worker opens its engines: plain data, because a worker is a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from snapuq.core.engine import Engine


@dataclass(frozen=True)
class EngineRecipe:
    """A function by name, and what it is given.

    Parameters
    ----------
    factory : str
        ``package.module:function``; the function takes `arguments` and returns a context manager that yields
        a callable from member to `Engine`.
    arguments : Mapping
        Plain data.
    ranks : int
        MPI ranks of each worker, on which the same code runs in step.
    """

    factory: str
    arguments: Mapping[str, Any]
    ranks: int = 1

    def open(self) -> AbstractContextManager[Callable[[int], Engine]]:
        """Call the function.

        Returns
        -------
        context manager
            Yields a callable from member to `Engine`.
        """
        module, _, name = self.factory.partition(":")
        opened: AbstractContextManager[Callable[[int], Engine]] = getattr(import_module(module), name)(
            self.arguments
        )
        return opened
