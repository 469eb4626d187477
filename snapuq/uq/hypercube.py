"""The POPS posterior: a scaled box around the minimiser, sampled uniformly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snapuq.core.design import DesignBlock
from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair, SnapSettings, pair_from_json, pair_to_json
from snapuq.errors import InputError
from snapuq.provenance import atomic_hdf5, canonical_json, digest

from .calibrate import Calibration, calibrate, leave_groups_out
from .crossval import cross_validate, draw
from .leastsquares import Factor, LeastSquares
from .leverage import LeverageScale
from .pops import Box, softness
from .rules import Rule
from .streaming import DesignStream
from .trust import warnings_of

Array = NDArray[np.float64]

FORMAT = "snapuq posterior 2"
_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class HypercubePosterior:
    """Uniform distribution over theta* + scale * axes @ u, low <= u <= high.

    Parameters
    ----------
    rule : str
        Its name in `snapuq.uq.rules.RULES`.
    settings : SnapSettings
        Hyperparameters.
    reference : ReferencePair or None
        Reference pair style.
    fit : LeastSquares
        Minimiser of the loss and the whitener that gives leverages.
    leverage : LeverageScale
        Leverages of the training set.
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
    leverage: LeverageScale
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
            Exactly `n` members; those of a larger ensemble begin with the same ones, to the bit.

        Raises
        ------
        InputError
            When `n` is less than 1.
        """
        if n < 1:
            raise InputError(
                "an ensemble needs members", key="ensemble.members", found=n, expected="1 or more"
            )
        points = np.zeros((-(-n // _AT_ONCE) * _AT_ONCE, self.box.axes.shape[1]))
        points[:n] = draw(self.box, n, seed, "members")
        # Products of one fixed shape: the first members have the same bits whatever n is.
        parts = [points[i : i + _AT_ONCE] @ self.box.axes.T for i in range(0, len(points), _AT_ONCE)]
        coefficients = self.mle + self.scale * np.concatenate(parts)[:n]
        return Ensemble(self.settings, self.reference, self.mle, self.mean, coefficients, seed, self.digest)

    def save(self, path: str | Path) -> None:
        """Write to HDF5.

        Parameters
        ----------
        path : str or Path
            The file.
        """
        with atomic_hdf5(path) as file:
            file.attrs["format"] = FORMAT
            file.attrs["rule"] = self.rule
            file.attrs["scale"] = self.scale
            file.attrs["digest"] = self.digest
            file.attrs["settings"] = canonical_json(self.settings.as_dict())
            file.attrs["reference"] = pair_to_json(self.reference)
            file.attrs["diagnostics"] = canonical_json(dict(self.diagnostics))
            file.attrs["n_rows"] = self.fit.n_rows
            file.attrs["condition"] = self.fit.condition
            file.attrs["leverage"] = canonical_json(asdict(self.leverage))
            if self.fit.noise is not None:
                file.attrs["noise"] = self.fit.noise
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
                        float(file.attrs["noise"]) if "noise" in file.attrs else None,
                    ),
                    leverage=LeverageScale(
                        **{name: tuple(v) for name, v in json.loads(file.attrs["leverage"]).items()}
                    ),
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
    rule: Rule,
    settings: SnapSettings,
    reference: ReferencePair | None,
    leverage: LeverageScale,
    violation: float | None,
    seed: int,
    factors: Mapping[int, Factor] | None = None,
    groups: tuple[DesignStream, Mapping[int, str]] | None = None,
) -> HypercubePosterior:
    """Make the posterior of a training set.

    Parameters
    ----------
    stream : DesignStream
        The training set, in folds.
    fit : LeastSquares
        Its fit.
    rule : Rule
        How the box is made.
    settings : SnapSettings
        Hyperparameters, stored with it.
    reference : ReferencePair or None
        Reference pair style, stored with it.
    leverage : LeverageScale
        Leverages of the training set, stored with it.
    violation : float or None
        Target of the calibration; None leaves the scale at 1, as published.
    seed : int
        Seed of the calibration.
    factors : Mapping, optional
        Triangular factors of the folds, where they are known already.
    groups : tuple of DesignStream and Mapping, optional
        The training set with groups as folds, and the groups (fold to name) to leave out in turn.

    Returns
    -------
    HypercubePosterior
        With diagnostics and warnings.
    """
    box = rule.box(stream, fit)
    calibration: Calibration | None = None
    left_out: Sequence[Any] = ()
    if violation is not None:
        calibration = calibrate(cross_validate(stream, rule, seed, factors), violation)
        if groups is not None:
            by_group, names = groups
            held = cross_validate(by_group, rule, seed, held_out=tuple(names), extrapolation=True)
            left_out = leave_groups_out(held, names, calibration.scale)
    scale = 1.0 if calibration is None else calibration.scale
    n_configurations, n_roundoff = _counts(stream)
    width = box.high - box.low
    diagnostics: dict[str, Any] = {
        "rule": rule.name,
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
        "left_out_groups": [asdict(group) for group in left_out],
    }
    if rule.name == "block":
        diagnostics["tau"] = softness(fit)
    else:
        diagnostics["n_zero_rows"] = fit.n_rows - box.n_corrections
    diagnostics["warnings"] = warnings_of(diagnostics, settings)
    # Plain data, as they are read back from the file.
    diagnostics = json.loads(canonical_json(diagnostics))
    return HypercubePosterior(rule.name, settings, reference, fit, leverage, box, scale, diagnostics)


def _counts(stream: DesignStream) -> tuple[int, int]:
    """Configurations of non-zero weight, and rows of round-off."""

    def leaf(blocks: Sequence[DesignBlock]) -> Array:
        weighted = sum(bool(block.weight.any()) for block in blocks)
        return np.array([weighted, sum(int(block.is_roundoff.sum()) for block in blocks)])

    n_configurations, n_roundoff = stream.reduce(leaf, np.add)
    return int(n_configurations), int(n_roundoff)
