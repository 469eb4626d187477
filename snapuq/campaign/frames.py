"""Messages over a pipe between a supervisor and its worker: JSON, with its length ahead."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

_HEADER = struct.Struct("<Q")
_CHUNK = 1 << 16
#: No message is longer; a longer one means that something else has written to the pipe.
LARGEST = 1 << 28


class Frames:
    """Both directions of a pipe.

    Parameters
    ----------
    reading, writing : int
        File descriptors, which stay open until `close`.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading
        self._writing: int | None = writing
        self._buffer = bytearray()

    def write(self, message: dict[str, Any]) -> None:
        """Send a message.

        Parameters
        ----------
        message : dict
            Plain data; numbers keep all their digits.

        Raises
        ------
        BrokenPipeError
            When the other side has gone.
        """
        if self._writing is None:
            raise BrokenPipeError("closed")
        data = json.dumps(message, allow_nan=False).encode()
        view = memoryview(_HEADER.pack(len(data)) + data)
        while view:
            view = view[os.write(self._writing, view) :]

    def fill(self) -> bool:
        """Read what is there; blocks if nothing is.

        Returns
        -------
        bool
            False at the end: the other side has gone.
        """
        data = os.read(self.reading, _CHUNK)
        self._buffer += data
        return bool(data)

    def take(self) -> dict[str, Any] | None:
        """Take the next message out of what was read.

        Returns
        -------
        dict or None
            The message; None when it is not complete yet.

        Raises
        ------
        ValueError
            When it is no message.
        """
        if len(self._buffer) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._buffer)
        if length > LARGEST:
            raise ValueError(f"a message of {length} bytes")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        message = json.loads(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        if not isinstance(message, dict):
            raise ValueError("not a message")
        return message

    def next(self) -> dict[str, Any] | None:
        """Wait for the next message.

        Returns
        -------
        dict or None
            The message; None when the other side has gone.
        """
        while True:
            message = self.take()
            if message is not None:
                return message
            if not self.fill():
                return None

    def stop_writing(self) -> None:
        """Close the writing end: the other side reads the end after the last message."""
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def close(self) -> None:
        """Close both ends."""
        self.stop_writing()
        os.close(self.reading)
