"""A supervisor's handle on its worker: start, send, wait, kill."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from snapuq.campaign.frames import Frames
from snapuq.campaign.recipe import EngineRecipe
from snapuq.errors import EnvironmentProblem
from snapuq.lifeline import child_environment, launch_command

#: Largest output of a worker, bytes, that is kept until it ends.
_LARGEST_LOG = 1 << 20
_PIPE_SIZE = 1 << 20
#: Seconds for the end of a process that was killed; it may hang in the kernel on a lost file system.
_BURIAL = 20.0


class Worker:
    """A process that runs tasks, in a process group of its own.

    Parameters
    ----------
    recipe : EngineRecipe
        Its engines, and its ranks.

    Raises
    ------
    EnvironmentProblem
        When it needs several ranks and there is no ``mpirun``.
    """

    def __init__(self, recipe: EngineRecipe) -> None:
        self.is_ready = False
        # Never the supervisor's own output, which a simulation must not fill.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the worker lives
        theirs, to_worker = os.pipe()
        from_worker, their_answers = os.pipe()
        with suppress(OSError):
            # The next task waits in the pipe, whatever structure it brings along.
            fcntl.fcntl(to_worker, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._frames = Frames(from_worker, to_worker)
        try:
            self._process = subprocess.Popen(
                _command(recipe, theirs, their_answers),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=child_environment(os.environ),
                pass_fds=(theirs, their_answers),
                start_new_session=True,
            )
        except OSError as error:
            self._frames.close()
            self._log.close()
            raise EnvironmentProblem(f"a worker process cannot be started ({error.strerror})") from error
        finally:
            os.close(theirs)
            os.close(their_answers)
        self.pid = self._process.pid
        self.send(asdict(recipe))

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; if the worker has gone, `messages` will tell.

        Parameters
        ----------
        message : Mapping
            Plain data.
        """
        with suppress(BrokenPipeError):
            self._frames.write(dict(message))

    def messages(self, wait: float) -> tuple[list[dict[str, Any]], bool]:
        """Wait for messages.

        Parameters
        ----------
        wait : float
            Seconds.

        Returns
        -------
        messages : list of dict
            What has come, in order.
        alive : bool
            False when the worker has ended, or sends what is no message.
        """
        if not select.select([self._frames.reading], [], [], wait)[0]:
            return [], True
        alive = self._frames.fill()
        found = []
        try:
            while (message := self._frames.take()) is not None:
                found.append(message)
        except ValueError:
            alive = False
        size = os.fstat(self._log.fileno()).st_size
        if size > _LARGEST_LOG:
            os.ftruncate(self._log.fileno(), 0)
        return found, alive

    def kill(self) -> None:
        """End it at once, its whole process group included."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_BURIAL)
        with suppress(OSError):
            # What MPICH has made for a single process, if it was killed before it could unlink it.
            Path(f"/dev/shm/mpich_shm_{self.pid:x}_0").unlink(missing_ok=True)
        self._frames.close()
        self._log.close()

    def epitaph(self) -> str:
        """Say how it ended: signal or status, and its last words. Also ends what is left of it.

        Returns
        -------
        str
            One line.
        """
        with suppress(subprocess.TimeoutExpired):
            # Its end of the pipe closes a moment before the process has a status.
            self._process.wait(1.0)
        code = self._process.poll()
        size = os.fstat(self._log.fileno()).st_size
        self._log.seek(max(0, size - 400))
        words = " ".join(self._log.read().decode("utf-8", "replace").split())[-200:]
        self.kill()
        if code is None:
            how = "closed its pipe"
        elif code < 0:
            named = {s.value: s.name for s in signal.Signals}
            how = f"killed by {named.get(-code, f'signal {-code}')}"
        else:
            how = f"exit status {code}"
        return f"worker {how}" + (f": {words}" if words else "")

    def dismiss(self, patience: float = 2.0) -> None:
        """Let it end by itself, and kill it if it does not.

        Parameters
        ----------
        patience : float
            Seconds.
        """
        self._frames.stop_writing()
        end = time.monotonic() + patience
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        self.kill()


def _command(recipe: EngineRecipe, reading: int, writing: int) -> list[str]:
    own = str(os.getpid())
    worker = [sys.executable, "-m", "snapuq.campaign.worker", str(reading), str(writing)]
    if recipe.ranks == 1:
        return [*worker, own]
    return launch_command(recipe.ranks, [*worker, "-"])
