"""Figure of migration barriers: the barriers, and how the members are spread over them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from snapuq.analysis.calibration import finite
from snapuq.report.family_figures import key
from snapuq.report.figures import Drawing
from snapuq.report.labels import crystal_name, property_name
from snapuq.report.row_panels import DIFFERENCE, Column, Group, Row, rows_figure
from snapuq.report.spreads import Spreads
from snapuq.report.style import BLUE, GREEN, GREY, ORANGE, add_legend, plain

_LABEL = re.compile(r"(.+?)((?:-(?:basal|pyramidal))?(?:-neb)?)")
_QUANTITIES = {"barrier": "barrier", "reverse_barrier": "reverse barrier"}
_COLOURS = (BLUE, GREEN, ORANGE, GREY)
_COLUMNS = (Column("energy", "energy (eV)"), Column("energy", "difference\nfrom MLE (eV)", DIFFERENCE))


def barrier_drawings(spreads: Spreads) -> Iterator[Drawing]:
    """Draw the barriers of vacancy hops.

    Parameters
    ----------
    spreads : Spreads
        All quantities.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`; none without a barrier.
    """
    found = {}
    for label in spreads.labels:
        match = _LABEL.fullmatch(label.partition("-")[2])
        if property_name(label) == "barrier" and match is not None:
            group = _group(spreads, label, match.group(1), match.group(2))
            if group is not None:
                found[label] = group
    if not found:
        return
    groups = list(found.values())
    figure, axes = rows_figure(groups, _COLUMNS, aside=1)
    _shares(axes[-1], spreads, {label: group.name for label, group in found.items()})
    add_legend(figure)
    yield Drawing(
        "barriers",
        f"Vacancy hop: {groups[0].name}" if len(groups) == 1 else "Vacancy hops",
        "Left: barriers of a vacancy that changes places with a neighbour, both ways, and the vacancy's "
        "formation energy where it was computed; middle: the same as differences from the MLE. Right: share "
        "of the members below a barrier, with the MLE (line) and the reference (dashed). Hollow: members "
        "whose first band came to rest on a point that is no saddle, and was searched again. "
        f"{key(groups, _COLUMNS)} {spreads.losses(found)}",
        figure,
    )


def _group(spreads: Spreads, label: str, crystal: str, hop: str) -> Group | None:
    rows: list[Row] = []
    for quantity, name in _QUANTITIES.items():
        spread = spreads.spread(label, quantity)
        if spread is not None:
            rows.append(Row(name, {"energy": spread}))
    if not rows:
        return None
    vacancy = f"vacancy-{crystal}"
    formed = spreads.spread(vacancy, "formation_energy")
    if formed is not None:
        rows.append(Row("vacancy formation", {"energy": formed}, spreads.remark(vacancy)))
    return Group(f"{crystal_name(crystal)}{hop.replace('-', ' ')}", tuple(rows), spreads.remark(label))


def _shares(ax: Any, spreads: Spreads, names: dict[str, str]) -> None:
    for i, (label, name) in enumerate(names.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        points = sorted(
            (r.values["barrier"].value, _is_saddle(r.values))
            for r in spreads.results(label)
            if r.member > 0 and "barrier" in r.values
        )
        spread = spreads.spread(label, "barrier")
        if spread is not None:
            for value, style in ((spread.mle, "-"), (spread.reference, "--")):
                if np.isfinite(value):
                    ax.axvline(
                        value, color=colour if style == "-" else "black", linestyle=style, linewidth=0.9
                    )
        if not points:
            continue
        x, saddles = (np.array(v) for v in zip(*points, strict=True))
        y = (np.arange(len(x)) + 1.0) / len(x)
        who = "member" if len(names) == 1 else plain(name, 20)
        mark: dict[str, Any] = {"linestyle": "", "markersize": 3.2, "color": colour, "zorder": 3}
        ax.plot(x[saddles], y[saddles], "o", label=who, **mark)
        if not saddles.all():
            again = "member, searched again" if len(names) == 1 else None
            ax.plot(x[~saddles], y[~saddles], "o", markerfacecolor="white", label=again, **mark)
    ax.set(ylim=(0.0, 1.03), xlabel="barrier of a member (eV)", ylabel="share of members")


def _is_saddle(values: Any) -> bool:
    """Whether the first band came to rest on a saddle of first order."""
    first = values.get("negative_modes_first")
    return first is None or finite(first.value) == 1.0
