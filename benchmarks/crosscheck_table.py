"""One table of cross-checks: a row for each number by two codes, as text and as reStructuredText."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from textwrap import fill
from typing import Any

from rich.console import Console
from rich.table import Table

from snapuq.provenance import versions, write_text

COLUMNS = (
    "potential",
    "quantity",
    "unit",
    "ours",
    "independent",
    "code",
    "difference",
    "tolerance",
    "ok",
    "flag",
)

#: Line length of the page.
WIDTH = 118
TITLE = "Cross-checks against independent codes"
HEAD = (
    "Every family of properties beside the same number from a code that shares nothing with snapuq but "
    "the potential and the force routine of LAMMPS: plain ASE scripts (ASE's cells, slabs, optimisers, "
    "band and fit; forces from its LAMMPSlib), plain LAMMPS scripts (the procedure of "
    "``examples/ELASTIC``, ``dynamical_matrix`` and ``neb``, in cells of its ``lattice`` command), and "
    "phonopy with forces from ASE. They find their own lattice constants and import nothing of snapuq; "
    "ours are properties as a campaign runs them.",
    "``benchmarks/bench_crosschecks.py --rst docs_src/crosschecks.rst`` wrote this page; its exit status "
    "is 1 when a number is out of tolerance, and ``tests/lammps/test_crosschecks.py`` runs the cheap "
    "part. Tolerances in percent are shares of the number. All potentials come with LAMMPS: EAM of Zhou "
    "(W) and Mishin (Cu), SNAP of Wood and Thompson (W) and of Thompson et al. (Ta), linear and quadratic "
    "SNAP of Zuo et al. 2020 (Mo, Si).",
)


@dataclass(frozen=True)
class Row:
    """One number by two codes; None where a side failed, then `failures` holds both reasons."""

    family: str
    potential: str
    quantity: str
    unit: str
    ours: float | None
    theirs: float | None
    code: str
    tolerance: float
    #: Whether the tolerance is a share of the number.
    relative: bool = False
    #: Flag of our result, such as "not converged".
    flag: str = ""
    failures: tuple[str, str] = ("", "")

    @property
    def difference(self) -> float | None:
        """Ours minus theirs, as a share if the tolerance is one."""
        if self.ours is None or self.theirs is None:
            return None
        difference = self.ours - self.theirs
        return difference / abs(self.theirs) if self.relative else difference

    @property
    def ok(self) -> bool:
        """Whether both numbers agree; two failures do when they have the same reason."""
        if self.difference is None:
            return bool(self.failures[0]) and self.failures[0] == self.failures[1]
        return bool(abs(self.difference) <= self.tolerance)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "difference": self.difference, "ok": self.ok}

    def cells(self) -> tuple[str, ...]:
        """What the table shows, in the order of `COLUMNS`."""
        # Shares in percent; both in as few digits as tell them apart.
        scale, sign = (100.0, " %") if self.relative else (1.0, "")
        ours = self.failures[0] if self.ours is None else f"{self.ours:.6g}"
        theirs = self.failures[1] if self.theirs is None else f"{self.theirs:.6g}"
        difference = "" if self.difference is None else f"{scale * self.difference:+.1e}{sign}"
        limit = f"{scale * self.tolerance:g}{sign}"
        verdict = "yes" if self.ok else "NO"
        return (
            self.potential,
            self.quantity,
            self.unit,
            ours,
            theirs,
            self.code,
            difference,
            limit,
            verdict,
            self.flag,
        )


def print_table(rows: Iterable[Row]) -> None:
    """Print all rows."""
    table = Table(title="cross-checks")
    for column in ("family", *COLUMNS):
        is_number = column in ("ours", "independent", "difference", "tolerance")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(row.family, *row.cells())
    Console(width=180).print(table)


def summary(rows: Sequence[Row]) -> str:
    """Count what agrees, and what could not be compared."""
    bad = [row for row in rows if not row.ok]
    failed = [row for row in rows if row.difference is None]
    text = f"{len(rows) - len(bad)} of {len(rows)} numbers agree"
    if failed:
        names = ", ".join(f"{row.potential}, {row.quantity}: {row.failures[0]}" for row in failed)
        text += f"; {len(failed)} without a number ({names})"
    return text


def write_page(path: Path, rows: Sequence[Row], notes: dict[str, str]) -> None:
    """Write the page of the manual: a section and a table for each family.

    `notes` says for each family what is compared, in the order of the page.
    """
    # A site's own LAMMPS may be no package.
    known = {**versions(), "phonopy": version("phonopy")}
    names = [f"{name} {known[name]}" for name in ("lammps", "ase", "phonopy", "snapuq") if name in known]
    text = f"{TITLE}\n{'=' * len(TITLE)}\n\n"
    for paragraph in (*HEAD, f"{', '.join(names)}: {summary(rows)}."):
        text += fill(paragraph, WIDTH) + "\n\n"
    for family, note in notes.items():
        own = [row for row in rows if row.family == family]
        text += f"{family}\n{'-' * len(family)}\n{fill(note, WIDTH)}\n\n.. csv-table::\n"
        text += "   :header: " + ", ".join(f'"{name}"' for name in COLUMNS) + "\n\n"
        text += "".join("   " + ", ".join(f'"{cell}"' for cell in row.cells()) + "\n" for row in own) + "\n"
    write_text(path, text.rstrip() + "\n")
