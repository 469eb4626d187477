"""Messages between ranks while they work; free of MPI itself, which `snapuq.parallel` brings."""

from __future__ import annotations

from collections import deque
from typing import Any


class Mailbox:
    """Small messages between ranks without collectives, so that one slow rank holds up no other.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        Used for nothing else; None for a serial run.
    rank : int
        This rank.
    """

    def __init__(self, comm: Any, rank: int) -> None:
        self.rank = rank
        self._comm = comm
        self._own: deque[Any] = deque()
        self._under_way: list[Any] = []

    def send(self, message: object, rank: int) -> None:
        """Send without waiting for the receiver.

        Parameters
        ----------
        message : object
            Plain data.
        rank : int
            Who gets it; may be this rank.
        """
        if rank == self.rank:
            self._own.append(message)
            return
        self._under_way = [request for request in self._under_way if not request.Test()]
        self._under_way.append(self._comm.isend(message, dest=rank))

    def receive(self) -> Any | None:
        """Take the next message, if there is one.

        Returns
        -------
        object or None
            The message; messages of one sender come in order.
        """
        if self._own:
            return self._own.popleft()
        if self._comm is None:
            return None
        message = self._comm.improbe()
        return None if message is None else message.recv()

    @property
    def is_alone(self) -> bool:
        """Whether there are no other ranks."""
        return self._comm is None

    @property
    def has_own(self) -> bool:
        """Whether a message of this rank to itself is waiting."""
        return bool(self._own)

    def close(self) -> None:
        """Wait until everything that was sent has left; collective."""
        for request in self._under_way:
            request.Wait()
        if self._comm is not None:
            self._comm.Free()
