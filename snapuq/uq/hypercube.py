"""The POPS posterior: a scaled box around the minimiser, sampled uniformly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair, SnapSettings, pair_from_json, pair_to_json
from snapuq.errors import InputError
from snapuq.provenance import atomic_path, canonical_json, digest

from .calibrate import calibrate, draw
from .pops import RULES, Box, fit_box, softness
from .streaming import DesignStream, LeastSquares

Array = NDArray[np.float64]

FORMAT = "snapuq posterior 1"
# Below this many configurations cross-validation cannot tell a violation of a few per cent.
FEW_CONFIGURATIONS = 100
# A scale far from 1 means that the corrections do not describe the errors of unseen data.
TRUSTED_SCALES = (0.5, 2.0)


@dataclass(frozen=True, eq=False)
class HypercubePosterior:
    """Uniform distribution over theta* + scale * axes @ u, low <= u <= high.

    Parameters
    ----------
    rule : str
        ``block`` (soft, by configuration) or ``pointwise`` (row by row, as published).
    settings : SnapSettings
        Hyperparameters.
    reference : ReferencePair or None
        Reference pair style.
    fit : LeastSquares
        Minimiser of the loss and the whitener that gives leverages.
    mean_leverages : Mapping
        `RowKind` to the mean leverage of the unweighted rows of that kind in the training set.
    box : Box
        Axes and unscaled bounds.
    scale : float
        Factor on the bounds; 1 as published.
    diagnostics : Mapping
        Plain data that tell how far the fit can be trusted.
    """

    rule: str
    settings: SnapSettings
    reference: ReferencePair | None
    fit: LeastSquares
    mean_leverages: Mapping[int, float]
    box: Box
    scale: float
    diagnostics: Mapping[str, Any]

    @property
    def mle(self) -> Array:
        """Minimiser of the loss, shape (P,)."""
        return self.fit.theta

    @property
    def mean(self) -> Array:
        """Mean of the distribution, shape (P,)."""
        return np.asarray(self.mle + self.box.axes @ (0.5 * self.scale * (self.box.low + self.box.high)))

    @cached_property
    def digest(self) -> str:
        """Hash of everything that `sample` depends on."""
        box, pair = self.box, pair_to_json(self.reference)
        return digest(
            self.rule, self.settings.as_dict(), pair, self.mle, box.axes, box.low, box.high, self.scale
        )

    def sample(self, n: int, seed: int) -> Ensemble:
        """Draw members.

        Parameters
        ----------
        n : int
            How many.
        seed : int
            Seed.

        Returns
        -------
        Ensemble
            Exactly `n` members.

        Raises
        ------
        InputError
            When `n` is less than 1.
        """
        if n < 1:
            raise InputError(
                "an ensemble needs members", key="ensemble.members", found=n, expected="1 or more"
            )
        shifts = draw(self.box, n, seed, "members") @ self.box.axes.T
        coefficients = self.mle + self.scale * shifts
        return Ensemble(self.settings, self.reference, self.mle, self.mean, coefficients, seed, self.digest)

    def save(self, path: str | Path) -> None:
        """Write to HDF5.

        Parameters
        ----------
        path : str or Path
            The file.
        """
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["rule"] = self.rule
            file.attrs["scale"] = self.scale
            file.attrs["digest"] = self.digest
            file.attrs["settings"] = canonical_json(self.settings.as_dict())
            file.attrs["reference"] = pair_to_json(self.reference)
            file.attrs["diagnostics"] = canonical_json(dict(self.diagnostics))
            file.attrs["n_rows"] = self.fit.n_rows
            file.attrs["condition"] = self.fit.condition
            file.attrs["mean_leverages"] = canonical_json(
                {str(kind): value for kind, value in self.mean_leverages.items()}
            )
            file.attrs["dropped_variance"] = self.box.dropped_variance
            file.attrs["n_corrections"] = self.box.n_corrections
            arrays = {"mle": self.mle, "mean": self.mean, "whitener": self.fit.whitener}
            bounds = {"axes": self.box.axes, "low": self.box.low, "high": self.box.high}
            for name, array in {**arrays, **bounds}.items():
                file.create_dataset(name, data=array, track_times=False)

    @classmethod
    def load(cls, path: str | Path) -> HypercubePosterior:
        """Read from HDF5.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        HypercubePosterior
            What `save` wrote.

        Raises
        ------
        InputError
            When it is no posterior of this package, or was cut short.
        """
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT:
                    raise InputError("not a snapuq posterior", file=path, expected=FORMAT)
                posterior = cls(
                    rule=str(file.attrs["rule"]),
                    settings=SnapSettings.from_dict(json.loads(file.attrs["settings"])),
                    reference=pair_from_json(file.attrs["reference"]),
                    fit=LeastSquares(
                        file["mle"][()],
                        file["whitener"][()],
                        int(file.attrs["n_rows"]),
                        float(file.attrs["condition"]),
                    ),
                    mean_leverages={
                        int(kind): value for kind, value in json.loads(file.attrs["mean_leverages"]).items()
                    },
                    box=Box(
                        file["axes"][()],
                        file["low"][()],
                        file["high"][()],
                        float(file.attrs["dropped_variance"]),
                        int(file.attrs["n_corrections"]),
                    ),
                    scale=float(file.attrs["scale"]),
                    diagnostics=json.loads(file.attrs["diagnostics"]),
                )
                stored = file.attrs["digest"]
        except (OSError, KeyError) as error:
            raise InputError(f"cannot be read ({error})", file=path, expected=FORMAT) from error
        if posterior.digest != stored:
            raise InputError("its content does not match its digest", file=path, hint="run 'fit' again")
        return posterior


def fit_hypercube(
    stream: DesignStream,
    fit: LeastSquares,
    *,
    rule: str,
    settings: SnapSettings,
    reference: ReferencePair | None,
    mean_leverages: Mapping[int, float],
    violation: float | None,
    seed: int,
) -> HypercubePosterior:
    """Make the POPS posterior of a training set.

    Parameters
    ----------
    stream : DesignStream
        The training set, in folds.
    fit : LeastSquares
        Its fit.
    rule : str
        ``block`` or ``pointwise``.
    settings : SnapSettings
        Hyperparameters, stored with it.
    reference : ReferencePair or None
        Reference pair style, stored with it.
    mean_leverages : Mapping
        From `snapuq.uq.streaming.mean_leverages`, stored with it.
    violation : float or None
        Target of the calibration; None leaves the scale at 1, as published.
    seed : int
        Seed of the calibration.

    Returns
    -------
    HypercubePosterior
        With diagnostics and warnings.
    """
    box = fit_box(stream, fit, RULES[rule])
    calibration = None if violation is None else calibrate(stream, RULES[rule], violation, seed)
    scale = 1.0 if calibration is None else calibration.scale
    n_configurations = int(
        stream.reduce(lambda blocks: np.array([sum(bool(b.weight.any()) for b in blocks)]), np.add)[0]
    )
    n_roundoff = int(
        stream.reduce(lambda blocks: np.array([sum(int(b.is_roundoff.sum()) for b in blocks)]), np.add)[0]
    )
    width = box.high - box.low
    diagnostics: dict[str, Any] = {
        "rule": rule,
        "scale": scale,
        "n_configurations": n_configurations,
        "n_rows": fit.n_rows,
        "n_columns": settings.n_columns,
        "rank": fit.rank,
        "condition_number": fit.condition,
        "box_rank": int((width > 1.0e-8 * width.max(initial=0.0)).sum()),
        "n_corrections": box.n_corrections,
        "dropped_variance": box.dropped_variance,
        "n_roundoff_rows": n_roundoff,
        "calibration": None if calibration is None else asdict(calibration),
    }
    if rule == "block":
        diagnostics["tau"] = softness(fit)
    else:
        diagnostics["n_zero_rows"] = fit.n_rows - box.n_corrections
    diagnostics["warnings"] = _warnings(diagnostics)
    if settings.chemflag and len(settings.elements) > 1:
        diagnostics["warnings"].append(
            "chemflag with several elements: the forces of LAMMPS's pair_style snap are not the derivative "
            "of its energy unless coefficients are symmetric in the three elements; rows and fit are right, "
            "relaxations with the exported potential are not"
        )
    return HypercubePosterior(rule, settings, reference, fit, mean_leverages, box, scale, diagnostics)


def _warnings(found: Mapping[str, Any]) -> list[str]:
    """What the user must know before trusting the posterior."""
    texts = []
    configurations, columns = found["n_configurations"], found["n_columns"]
    if configurations < columns:
        texts.append(
            f"{configurations} training configurations for {columns} coefficients: directions outside "
            "the box carry no uncertainty; add data, or use a smaller twojmax or linear SNAP"
        )
    if found["rank"] < columns:
        texts.append(
            f"the design has rank {found['rank']} of {columns}: "
            "some coefficients are not determined by the data"
        )
    if found["calibration"] is not None:
        if configurations < FEW_CONFIGURATIONS:
            texts.append(
                f"calibrated on {configurations} configurations: below {FEW_CONFIGURATIONS} the "
                "cross-validated scale is uncertain"
            )
        if not TRUSTED_SCALES[0] <= found["scale"] <= TRUSTED_SCALES[1]:
            texts.append(
                f"the calibrated scale {found['scale']:.4g} is outside {TRUSTED_SCALES[0]} to "
                f"{TRUSTED_SCALES[1]}: the corrections do not describe the errors on unseen data well"
            )
    elif found["rule"] == "pointwise":
        texts.append(
            "row-by-row POPS as published: rows that vanish by symmetry can make its envelope too wide to use"
        )
    return texts
