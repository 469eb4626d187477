"""What a user must know before trusting a posterior, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snapuq.core.potential import SnapSettings

# Below this many configurations cross-validation cannot tell a violation of a few per cent.
FEW_CONFIGURATIONS = 100
# Scales of different folds this far apart mean that a few configurations decide.
FOLD_SPREAD = 3.0
# A group with more of its energies or forces outside, or of its configurations beyond the others' leverage,
# is one that the envelope of the others does not cover.
DOUBTFUL_VIOLATION = 0.1
DOUBTFUL_EXTRAPOLATION = 0.5


def warnings_of(found: Mapping[str, Any], settings: SnapSettings) -> list[str]:
    """Warnings that follow from the diagnostics of a fit.

    Parameters
    ----------
    found : Mapping
        Diagnostics of a posterior.
    settings : SnapSettings
        Its hyperparameters.

    Returns
    -------
    list of str
        One sentence each.
    """
    texts = _about_data(found)
    if found["calibration"] is not None:
        texts += _about_calibration(found)
    elif found["rule"] == "pointwise":
        texts.append(
            "row-by-row POPS as published: rows that vanish by symmetry can make its envelope too wide to use"
        )
    elif found["rule"] == "bayesian":
        texts.append("Bayesian regression ignores misspecification: expect envelopes that are far too narrow")
    if settings.chemflag and len(settings.elements) > 1:
        texts.append(
            "chemflag with several elements: the forces of LAMMPS's pair_style snap are not the derivative "
            "of its energy unless coefficients are symmetric in the three elements; rows and fit are right, "
            "relaxations with the exported potential are not"
        )
    return texts


def is_doubtful(group: Mapping[str, Any]) -> bool:
    """Tell whether a fit to the other groups fails to cover a group.

    Parameters
    ----------
    group : Mapping
        A `snapuq.uq.calibrate.GroupExpected` as plain data.

    Returns
    -------
    bool
        True when too much of it is outside the envelope, or beyond the others' leverage.
    """
    outside = max(group["violation_energy"] or 0.0, group["violation_force"] or 0.0)
    return outside > DOUBTFUL_VIOLATION or bool(group["extrapolates"] > DOUBTFUL_EXTRAPOLATION)


def _about_data(found: Mapping[str, Any]) -> list[str]:
    texts = []
    configurations, columns = found["n_configurations"], found["n_columns"]
    if configurations < columns:
        texts.append(
            f"{configurations} training configurations for {columns} coefficients: combinations of "
            "coefficients that no configuration corrects carry next to no uncertainty; add data, or use a "
            "smaller twojmax or linear SNAP"
        )
    if found["rank"] < columns:
        texts.append(
            f"the design has rank {found['rank']} of {columns}: "
            "some coefficients are not determined by the data"
        )
    return texts


def _about_calibration(found: Mapping[str, Any]) -> list[str]:
    texts = []
    configurations, alone = found["n_configurations"], found["calibration"]["fold_scales"]
    if configurations < FEW_CONFIGURATIONS:
        texts.append(
            f"calibrated on {configurations} configurations: below {FEW_CONFIGURATIONS} the "
            "cross-validated scale is uncertain"
        )
    if max(alone) > FOLD_SPREAD * max(min(alone), 1e-300):
        texts.append(
            f"the folds of the cross-validation alone would ask for scales of {min(alone):.3g} to "
            f"{max(alone):.3g}: a few configurations decide, and the envelope may be too wide for the others"
        )
    doubtful = [group["group"] for group in found["left_out_groups"] if is_doubtful(group)]
    if doubtful:
        texts.append(
            f"left out in turn, these groups are not covered by a fit to the others: {', '.join(doubtful)}; "
            "expect the same of new kinds of structures"
        )
    return texts
