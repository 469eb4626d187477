"""End with the process that started this one, whatever ends it.

``python -m snapuq.campaign.lifeline PARENT COMMAND ...`` does so for any command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends; other systems than Linux cannot.

    Parameters
    ----------
    parent : int
        Process id that the parent must have; if it has gone already, so does this process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
