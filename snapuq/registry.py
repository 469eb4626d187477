"""A named collection that plugins join with one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from snapuq.errors import InputError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Map names to plugins of one kind.

    Parameters
    ----------
    kind : str
        What is registered, for error messages: ``property``, ``reader``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Register the decorated object.

        Parameters
        ----------
        name : str
            Its name in the configuration file.

        Returns
        -------
        callable
            A decorator that returns its argument unchanged.
        """

        def add(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._items[name] = item
            return item

        return add

    def __getitem__(self, name: str) -> T:
        """Look a plugin up, naming the nearest one if it is unknown."""
        try:
            return self._items[name]
        except KeyError:
            raise InputError(f"unknown {self.kind} '{name}'", hint=nearest(name, self._items)) from None

    def name_of(self, item: T) -> str:
        """Find the name of a plugin.

        Parameters
        ----------
        item : object
            What was registered.

        Returns
        -------
        str
            Its name in the configuration file.

        Raises
        ------
        KeyError
            When it is not registered.
        """
        for name, known in self._items.items():
            if known is item:
                return name
        raise KeyError(f"no {self.kind}: {item!r}")

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)
