"""One figure for each family of properties: phases, elastic constants, defects, surfaces."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from snapuq.report.figures import Drawing
from snapuq.report.labels import crystal_name, crystal_of, property_name, site_name, surface_names
from snapuq.report.row_panels import (
    DIFFERENCE,
    KEY,
    KEY_FLAGGED,
    KEY_LOG,
    PERCENT,
    Column,
    Group,
    Row,
    is_uneven,
    rows_figure,
    split_groups,
)
from snapuq.report.spreads import Spread, Spreads
from snapuq.report.style import add_legend

_ABOVE = "energy_above_"
_MILLI = 1.0e3
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_ZERO = Spread(0.0, low=0.0, high=0.0)
_MODULI = {
    "bulk_modulus": "bulk modulus",
    "shear_modulus": "shear modulus",
    "born_min_eigenvalue": "least eigenvalue",
}


def family_figure(
    name: str, title: str, caption: str, groups: Sequence[Group], columns: Sequence[Column], losses: str
) -> Iterator[Drawing]:
    """Draw the rows of a family, in several figures where they are many.

    Parameters
    ----------
    name, title, caption : str
        Of the figure.
    groups : sequence of Group
        All rows.
    columns : sequence of Column
        The panels.
    losses : str
        Count of the members without a sound value.

    Yields
    ------
    Drawing
        None without rows.
    """
    parts = split_groups(groups)
    for i, part in enumerate(parts):
        figure, _ = rows_figure(part, columns)
        add_legend(figure)
        told = [caption, key(part, columns), losses]
        number = f" ({i + 1} of {len(parts)})" if len(parts) > 1 else ""
        yield Drawing(f"{name}_{i + 1}" if number else name, title + number, " ".join(told), figure)


def key(groups: Sequence[Group], columns: Sequence[Column]) -> str:
    """Tell how panels of rows are read.

    Parameters
    ----------
    groups : sequence of Group
        What is drawn.
    columns : sequence of Column
        The panels.

    Returns
    -------
    str
        For the caption.
    """
    has_flagged = any(s.flagged for g in groups for row in g.rows for s in row.spreads.values())
    return KEY + (KEY_LOG if is_uneven(groups, columns) else "") + (KEY_FLAGGED if has_flagged else "")


def _of(spreads: Spreads, *names: str) -> list[str]:
    return [label for label in spreads.labels if property_name(label) in names]


def _known(**found: Spread | None) -> dict[str, Spread]:
    return {name: spread for name, spread in found.items() if spread is not None}


def _energy(row: Row) -> float:
    value = row.spreads["energy"].mle if "energy" in row.spreads else math.nan
    return math.inf if math.isnan(value) else value


def phase_drawings(spreads: Spreads) -> Iterator[Drawing]:
    """Draw energies and volumes of crystal structures, in the order of their energy.

    Parameters
    ----------
    spreads : Spreads
        All quantities.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`.
    """
    labels = _of(spreads, "phase")
    members: dict[str, list[str]] = {}
    for label in labels:
        above = next((q for q in spreads.quantities(label) if q.startswith(_ABOVE)), None)
        base = label if above is None else _base(label, above.removeprefix(_ABOVE), [*members])
        members.setdefault(base, []).append(label)
    # Structures that were asked for by themselves have no energy to compare with.
    alone = [base for base, own in members.items() if len(own) == 1]
    compared = {base: own for base, own in members.items() if len(own) > 1}
    groups = [
        Group(
            f"above {crystal_of(base)}",
            tuple(sorted((_phase(spreads, x, x == base) for x in own), key=_energy)),
        )
        for base, own in compared.items()
    ]
    single = tuple(_phase(spreads, base, False) for base in alone)
    if single:
        groups.append(Group("not compared", single))
    above = f"above {crystal_of(next(iter(compared)))}" if len(compared) == 1 else "above that named"
    columns = [
        Column("energy", f"energy\n{above}\n(eV/atom)"),
        Column("energy", "difference\nfrom MLE\n(meV/atom)", DIFFERENCE, _MILLI),
        Column("volume", "volume\n(Å³/atom)"),
        Column("volume", "difference\nfrom MLE\n(%)", PERCENT),
    ]
    if not compared:
        columns[0] = Column("energy", "energy\n(eV/atom)")
        groups = [Group("", tuple(_phase(spreads, base, False, "energy") for base in alone))]
    groups = [Group(g.name, tuple(row for row in g.rows if row.spreads)) for g in groups]
    groups = [g for g in groups if g.rows]
    caption = (
        "Relaxed energies and volumes in the order of the MLE's energy, which is zero by definition for the "
        "structure that the others are measured from. Beside each, the same as a difference from the MLE."
    )
    yield from family_figure("phases", "Phases", caption, groups, columns, spreads.losses(labels))


def _base(label: str, prototype: str, seen: Sequence[str]) -> str:
    """Label of the structure that an energy is measured from: with the same elements, or the last before."""
    elements = label.split("-")[2:]
    exact = "-".join(["phase", prototype, *elements])
    return (
        exact if exact in seen else next((s for s in reversed(seen) if s.split("-")[1] == prototype), exact)
    )


def _phase(spreads: Spreads, label: str, is_base: bool, energy: str = "") -> Row:
    name = energy or next((q for q in spreads.quantities(label) if q.startswith(_ABOVE)), "")
    found = _known(energy=spreads.spread(label, name), volume=spreads.spread(label, "volume"))
    if is_base and found:
        found["energy"] = _ZERO
    return Row(crystal_of(label), found, spreads.remark(label))


def elastic_drawings(spreads: Spreads) -> Iterator[Drawing]:
    """Draw elastic constants and moduli.

    Parameters
    ----------
    spreads : Spreads
        All quantities.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`.
    """
    groups, labels = [], _of(spreads, "elastic")
    for label in labels:
        rows: list[Row] = []
        for quantity in spreads.quantities(label):
            spread = spreads.spread(label, quantity)
            is_constant = re.fullmatch(r"C\d\d", quantity) is not None
            if spread is not None and (is_constant or quantity in _MODULI):
                name = quantity.translate(_SUBSCRIPTS) if is_constant else _MODULI[quantity]
                rows.append(Row(name, {"value": spread}))
        if rows:
            groups.append(Group(crystal_of(label), tuple(rows), spreads.remark(label)))
    title = f"Elastic constants: {groups[0].name}" if len(groups) == 1 else "Elastic constants"
    columns = (
        Column("value", "constant or modulus (GPa)"),
        Column("value", "difference from MLE (GPa)", DIFFERENCE),
    )
    caption = (
        "Elastic constants, Hill's bulk and shear moduli, and the least eigenvalue of the elastic tensor, "
        "which is negative where the crystal is unstable. Right: the same as differences from the MLE."
    )
    yield from family_figure("elastic", title, caption, groups, columns, spreads.losses(labels))


def surface_drawings(spreads: Spreads) -> Iterator[Drawing]:
    """Draw surface energies by Miller index.

    Parameters
    ----------
    spreads : Spreads
        All quantities.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`.
    """
    found: dict[str, list[Row]] = {}
    labels = _of(spreads, "surface")
    for label in labels:
        spread = spreads.spread(label, "surface_energy")
        crystal, plane = surface_names(label)
        if spread is not None:
            row = Row(plane, {"energy": spread}, spreads.remark(label))
            found.setdefault(crystal, []).append(row)
    groups = [Group(crystal, tuple(rows)) for crystal, rows in found.items()]
    title = f"Surfaces: {groups[0].name}" if len(groups) == 1 else "Surfaces"
    columns = (
        Column("energy", "surface energy (J/m²)"),
        Column("energy", "difference from MLE (J/m²)", DIFFERENCE),
    )
    caption = "Energies of relaxed surfaces by Miller index. Right: the same as differences from the MLE."
    yield from family_figure("surfaces", title, caption, groups, columns, spreads.losses(labels))


def defect_drawings(spreads: Spreads) -> Iterator[Drawing]:
    """Draw formation energies and relaxation volumes of point defects.

    Parameters
    ----------
    spreads : Spreads
        All quantities.

    Yields
    ------
    Drawing
        Inside `snapuq.report.style.styled`.
    """
    labels = _of(spreads, "vacancy", "divacancy", "interstitial")
    found: dict[str, dict[str, list[Row]]] = {}
    for label in labels:
        kind, _, crystal = label.partition("-")
        which = ""
        if kind != "vacancy":
            crystal, _, which = crystal.rpartition("-")
        own = found.setdefault(
            crystal_name(crystal), {name: [] for name in ("vacancy", "divacancy", "interstitial")}
        )
        own[kind] += _defect(spreads, label, kind, which)
    groups = [
        Group(crystal, (*own["vacancy"], *own["divacancy"], *sorted(own["interstitial"], key=_energy)))
        for crystal, own in found.items()
        if any(own.values())
    ]
    title = f"Point defects: {groups[0].name}" if len(groups) == 1 else "Point defects"
    columns = (
        Column("energy", "formation\nenergy (eV)"),
        Column("energy", "difference\nfrom MLE (eV)", DIFFERENCE),
        Column("volume", "relaxation\nvolume (Å³)"),
    )
    has_pairs = any(own["divacancy"] for own in found.values())
    binding = " Of a divacancy (shell of its neighbours), also the energy that binds it." if has_pairs else ""
    caption = (
        "Formation energies of relaxed defects, the same as differences from the MLE, relaxation volumes; "
        f"interstitials by the site where they start, in the order of the MLE's energy.{binding} Beside a "
        "row, how many members left the site and what they became (→)."
    )
    yield from family_figure("defects", title, caption, groups, columns, spreads.losses(labels))


def _defect(spreads: Spreads, label: str, kind: str, which: str) -> list[Row]:
    names = {"vacancy": "vacancy", "divacancy": f"divacancy {which}NN", "interstitial": site_name(which)}
    volume = spreads.spread(label, "relaxation_volume")
    rows = []
    formed = _known(energy=spreads.spread(label, "formation_energy"), volume=volume)
    if formed:
        rows.append(Row(names[kind], formed, spreads.remark(label)))
    bound = spreads.spread(label, "binding_energy")
    if bound is not None:
        rows.append(Row(f"binding {which}NN", {"energy": bound}))
    return rows
