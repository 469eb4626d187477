"""How a worker opens its engines: plain data, because a worker is a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from snapuq.core.engine import Engine
from snapuq.propagate.store import Predictor


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
    predictor : str
        The same for a function that takes `arguments` and returns a context manager that yields a `Predictor`
        of all
        members; needed by tasks that start from the MLE.
    """

    factory: str
    arguments: Mapping[str, Any]
    ranks: int = 1
    predictor: str = ""

    def open(self) -> AbstractContextManager[Callable[[int], Engine]]:
        """Call the function.

        Returns
        -------
        context manager
            Yields a callable from member to `Engine`.
        """
        opened: AbstractContextManager[Callable[[int], Engine]] = _named(self.factory)(self.arguments)
        return opened

    def open_predictor(self) -> AbstractContextManager[Predictor | None]:
        """Call the function that predicts all members.

        Returns
        -------
        context manager
            Yields a `Predictor`, or None where there is no such function.
        """
        if not self.predictor:
            return nullcontext()
        opened: AbstractContextManager[Predictor] = _named(self.predictor)(self.arguments)
        return opened


def _named(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function
