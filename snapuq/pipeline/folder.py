"""The output folder: what is in it, and whose run it holds."""

from __future__ import annotations

import errno
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from snapuq.config import CampaignConfig, dump_config, run_differences, run_identity
from snapuq.errors import InputError
from snapuq.parallel import Ranks
from snapuq.provenance import canonical_json, sweep_unfinished, write_text

_IDENTITY = "run.json"
# Keys that are named where a folder holds another run.
_MOST_NAMED = 3


@dataclass(frozen=True)
class RunFolder:
    """Paths inside the output folder of one run.

    Parameters
    ----------
    path : Path
        The folder.
    """

    path: Path

    posterior = property(lambda self: self.path / "posterior.h5", doc="The fit.")
    ensemble = property(lambda self: self.path / "ensemble.h5", doc="The members.")
    pointwise = property(lambda self: self.path / "pointwise.h5", doc="Predictions on unseen data.")
    pointwise_metrics = property(lambda self: self.path / "pointwise_metrics.csv", doc="Their errors.")
    potentials = property(lambda self: self.path / "potentials", doc="Files for LAMMPS.")
    journal = property(lambda self: self.path / "journal", doc="Finished tasks.")
    results = property(lambda self: self.path / "results.csv", doc="A row a (member, property, quantity).")
    summary = property(lambda self: self.path / "summary.csv", doc="A row a (property, quantity).")
    config = property(lambda self: self.path / "config.yaml", doc="The resolved configuration.")
    record = property(lambda self: self.path / "summary.yaml", doc="Versions, seeds, timings, counts.")
    propagation = property(
        lambda self: self.path / "propagation", doc="What members start from; may be removed."
    )
    linearised = property(
        lambda self: self.path / "linearised.csv", doc="Error bars to first order, and worst-case members."
    )
    attribution = property(lambda self: self.path / "attribution.csv", doc="What sets the error bars.")
    worst_case = property(lambda self: self.path / "worst_case", doc="The worst-case members.")
    rows = property(lambda self: self.path / "rows", doc="Design rows; may be removed.")
    dataset = property(lambda self: self.path / "dataset.xyz", doc="Generated data.")

    @property
    def is_claimed(self) -> bool:
        """Whether the folder holds a run."""
        return (self.path / _IDENTITY).is_file()

    def check(self, config: CampaignConfig) -> None:
        """Refuse a folder that holds something else; writes nothing.

        Parameters
        ----------
        config : CampaignConfig
            The configuration of this run.

        Raises
        ------
        InputError
            When the folder holds another run or other files.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError("the output is a file", file=self.path, expected="a folder")
        if self.is_claimed:
            if self._identity().get("settings") != run_identity(config):
                raise InputError(
                    f"the output folder already holds another run ({self._differences(config)})",
                    file=self.path,
                    hint="choose another --output, or remove the folder",
                )
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise InputError(
                "the output folder is not empty and holds no snapuq run",
                file=self.path,
                hint="choose another --output",
            )

    def _differences(self, config: CampaignConfig) -> str:
        text = self.config.read_text(encoding="utf-8", errors="replace") if self.config.is_file() else ""
        found = run_differences(config, text) if text else ()
        if not found:
            return "a file that both name has another content" if text else "its settings are not known"
        return "; ".join(found[:_MOST_NAMED]) + ("; and more" if len(found) > _MOST_NAMED else "")

    def claim(self, config: CampaignConfig) -> None:
        """Take a checked folder for this run.

        Parameters
        ----------
        config : CampaignConfig
            The configuration of this run.

        Raises
        ------
        InputError
            When the folder cannot be written.
        """
        marker = self.path / _IDENTITY
        try:
            if not marker.is_file():
                write_text(marker, canonical_json({"settings": run_identity(config)}) + "\n")
            write_text(self.config, dump_config(config))
        except OSError as error:
            raise InputError(f"cannot be written ({error.strerror})", file=self.path, key="output") from error

    def check_data(self, data_digest: str) -> None:
        """Refuse data that an earlier stage of this run did not use; writes nothing.

        Parameters
        ----------
        data_digest : str
            Digest of data, split and weights.

        Raises
        ------
        InputError
            When they differ.
        """
        if self.is_claimed and self._identity().get("data", data_digest) != data_digest:
            raise InputError(
                "the output folder already holds another run (the data have changed since)",
                file=self.path,
                hint="choose another --output, or remove the folder",
            )

    @contextmanager
    def locked(self, ranks: Ranks) -> Iterator[None]:
        """Keep other runs out of the folder.

        Parameters
        ----------
        ranks : Ranks
            Rank 0 holds the lock.

        Yields
        ------
        None
            Nothing.

        Raises
        ------
        InputError
            When another run is working here.
        """
        with (self.path / ".lock").open("w") if ranks.is_root else nullcontext() as handle:

            def take() -> None:
                assert handle is not None
                try:
                    # The system lets go of it when the process ends, however it ends.
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise InputError(
                        "another run is working in this folder",
                        file=self.path,
                        hint="wait, or choose another",
                    ) from None
                except OSError as error:
                    if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                        raise
                    print("snapuq: warning: this file system has no locks; run one job at a time here")
                sweep_unfinished(self.path)

            ranks.from_root(take)
            yield

    def note(self, **entries: Any) -> None:
        """Write something down about a claimed folder, for example the digest of its data.

        Parameters
        ----------
        **entries : object
            Plain data.
        """
        identity = self._identity()
        if any(identity.get(key) != value for key, value in entries.items()):
            write_text(self.path / _IDENTITY, canonical_json({**identity, **entries}) + "\n")

    def noted(self, key: str) -> Any:
        """Read what `note` has written down.

        Parameters
        ----------
        key : str
            Its name.

        Returns
        -------
        object or None
            Plain data; None where there is nothing.
        """
        return self._identity().get(key) if self.is_claimed else None

    def known_data(self, recipe: str) -> str:
        """Digest of the data that a recipe gave in this folder.

        Parameters
        ----------
        recipe : str
            Hash of all that decides generated data.

        Returns
        -------
        str
            Empty when it is not known.
        """
        found = self.noted("data") if self.noted("generated") == recipe else None
        return found if isinstance(found, str) else ""

    def _identity(self) -> dict[str, Any]:
        marker = self.path / _IDENTITY
        try:
            identity = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"cannot be read ({error})", file=marker, hint="remove the folder") from error
        if not isinstance(identity, dict):
            raise InputError("is damaged", file=marker, hint="remove the folder")
        return identity

    def seal(self, path: Path) -> None:
        """Remember the content of a finished file, so that damage is noticed.

        Parameters
        ----------
        path : Path
            The file.
        """
        seals = {**(self.noted("files") or {}), path.name: sha256(path.read_bytes()).hexdigest()}
        self.note(files=seals)

    def is_sound(self, path: Path) -> bool:
        """Tell whether a file is there as it was sealed.

        Parameters
        ----------
        path : Path
            The file.

        Returns
        -------
        bool
            False when it is missing, unfinished or damaged.
        """
        if not path.is_file() or not self.is_claimed:
            return False
        return sha256(path.read_bytes()).hexdigest() == self._identity().get("files", {}).get(path.name)

    def need(self, path: Path, stage: str) -> Path:
        """Return a file that an earlier stage must have written.

        Parameters
        ----------
        path : Path
            The file.
        stage : str
            Command that writes it.

        Returns
        -------
        Path
            The same path.

        Raises
        ------
        InputError
            When it is missing or damaged.
        """
        if not path.exists():
            raise InputError("is missing", file=path, hint=f"run 'snapuq {stage}' first")
        if not self.is_sound(path):
            raise InputError("is damaged or unfinished", file=path, hint=f"run 'snapuq {stage}' again")
        return path
