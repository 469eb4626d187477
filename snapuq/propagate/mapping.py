"""Arrays in files, mapped into memory without a descriptor that stays open."""

from __future__ import annotations

import ctypes
import io
import mmap
import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def mapped_array(path: Path, head: bytes) -> NDArray[np.float64]:
    """Map an array into memory, so that processes of one node share it.

    `numpy.memmap` keeps a descriptor for each array, as `mmap.mmap` must before Python 3.13, and a process of
    a campaign maps more arrays than the 1024 that are commonly allowed.

    Parameters
    ----------
    path : Path
        File that starts as `numpy.save` writes it.
    head : bytes
        Its content, or as much of it as holds the header.

    Returns
    -------
    ndarray
        Read-only; the mapping ends with it.

    Raises
    ------
    OSError
        When the file cannot be mapped.
    """
    stream = io.BytesIO(head)
    np.lib.format.read_magic(stream)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        address = _LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    memory = (ctypes.c_char * size).from_address(address)
    weakref.finalize(memory, _LIBC.munmap, address, size)
    count = int(np.prod(shape))
    flat = np.frombuffer(memoryview(memory), dtype, count, stream.tell())
    # The pages are: without this, writing would end the process.
    flat.flags.writeable = False
    found: NDArray[np.float64] = flat.reshape(shape, order="F" if is_fortran else "C")
    return found
