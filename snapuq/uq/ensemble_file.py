"""Ensembles in HDF5."""

from __future__ import annotations

import json
from pathlib import Path

import h5py

from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import SnapSettings, pair_from_json, pair_to_json
from snapuq.errors import InputError
from snapuq.provenance import atomic_hdf5, canonical_json

FORMAT = "snapuq ensemble 1"


def save_ensemble(path: str | Path, ensemble: Ensemble) -> None:
    """Write an ensemble.

    Parameters
    ----------
    path : str or Path
        The file.
    ensemble : Ensemble
        What to write.
    """
    with atomic_hdf5(path) as file:
        file.attrs["format"] = FORMAT
        file.attrs["seed"] = ensemble.seed
        file.attrs["fit_digest"] = ensemble.fit_digest
        file.attrs["digest"] = ensemble.digest
        file.attrs["settings"] = canonical_json(ensemble.settings.as_dict())
        file.attrs["reference"] = pair_to_json(ensemble.reference)
        for name in ("mle", "mean", "coefficients"):
            file.create_dataset(name, data=getattr(ensemble, name), track_times=False)


def load_ensemble(path: str | Path) -> Ensemble:
    """Read an ensemble.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Ensemble
        What `save_ensemble` wrote.

    Raises
    ------
    InputError
        When it is no ensemble of this package, or was cut short.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise InputError("not a snapuq ensemble", file=path, expected=FORMAT)
            ensemble = Ensemble(
                SnapSettings.from_dict(json.loads(file.attrs["settings"])),
                pair_from_json(file.attrs["reference"]),
                file["mle"][()],
                file["mean"][()],
                file["coefficients"][()],
                int(file.attrs["seed"]),
                str(file.attrs["fit_digest"]),
            )
            stored = file.attrs["digest"]
    except (OSError, KeyError) as error:
        raise InputError(f"cannot be read ({error})", file=path, expected=FORMAT) from error
    if ensemble.digest != stored:
        raise InputError("its content does not match its digest", file=path, hint="run 'sample' again")
    return ensemble
