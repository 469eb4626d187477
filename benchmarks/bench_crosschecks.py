"""Every family of properties against an independent code: both numbers, their difference and the tolerance.

Ours are properties as a campaign runs them. The others are in `independent_codes` and `independent_lammps`,
which import nothing of snapuq: their own lattice search, cells and optimisers. `posterior_members` compares
both ways of the barrier on members of a posterior. The exit status is 1 when a number is out of tolerance.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import independent_codes as peers
import independent_lammps as plain
from common import arguments, write_json
from crosscheck_table import Row, print_table, summary, write_page
from independent_codes import POTENTIALS, Potential, potential_folder
from posterior_members import both_ways

from snapuq.lammps.engine import LammpsEngine, PotentialFiles
from snapuq.lammps.templates import Workspace
from snapuq.properties import PROPERTIES, bind, build_params
from snapuq.seeds import generator

# What is asked for: constants as a share, frequencies in THz, energies in eV and J/m^2.
ELASTIC, FREQUENCY, ENERGY, SURFACE, BARRIER = 5.0e-3, 0.02, 1.0e-4, 1.0e-4, 2.0e-3
# Fits to the same curve by two programs: the volume as a share, the derivative of the modulus itself.
VOLUME, DERIVATIVE = 1.0e-4, 0.02
# Frequencies, THz, that a crystal's symmetry makes equal.
DEGENERATE = 1.0e-3


class Ours:
    """Our properties on one LAMMPS session."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self._workspace, self._folder = workspace, folder

    def task(self, p: Potential, name: str, **data: Any) -> tuple[dict[str, float], str]:
        """Numbers of the last of the tasks that the parameters mean, and their flag."""
        params = bind(build_params(name, data), (p.element,))
        part = PROPERTIES[name].expand(params)[-1]
        output = PROPERTIES[name].run(self._engine(p), part, generator(1, p.name, name))
        flag = "reconfigured" if output.reconfigured else "" if output.converged else "not converged"
        return {key: quantity.value for key, quantity in output.values.items()}, flag

    def _engine(self, p: Potential) -> LammpsEngine:
        """The potential's files in a folder of their own, as a run has them."""
        folder = self._folder / p.name.replace(" ", "_")
        if not folder.exists():
            folder.mkdir()
            for file in p.files:
                (folder / file).write_bytes((potential_folder() / file).read_bytes())
            lines = (line.format(folder="${snapdir}") for line in p.commands)
            (folder / "potential.mod").write_text("\n".join(lines) + "\n")
        return LammpsEngine(PotentialFiles(folder / "potential.mod", (p.element,)), self._workspace)


def elastic(ours: Ours, p: Potential) -> Iterator[Row]:
    """Elastic constants, ions relaxed."""
    found, flag = ours.task(p, "elastic", structure=p.crystal)
    for name, value in plain.elastic_constants(p).items():
        numbers = (found[name], value, "LAMMPS ELASTIC", ELASTIC)
        yield Row("elastic", p.name, name, "GPa", *numbers, relative=True, flag=flag)


def phonon(ours: Ours, p: Potential) -> Iterator[Row]:
    """Lowest and highest branch at waves that fit into the supercells of both other codes."""
    found, flag = ours.task(p, "phonon", structure=p.crystal)
    codes = {
        "phonopy, ASE forces": peers.phonopy_frequencies(p, 2),
        "dynamical_matrix": plain.dynamical_matrix(p),
    }
    for code, points in codes.items():
        for point, values in points.items():
            # The acoustic branches of the zone centre are zero.
            first, last = 3 if point == "GAMMA" else 0, len(values) - 1
            for k in (first, last) if values[last] - values[first] > DEGENERATE else (first,):
                name = f"f_{point}_{k + 1}"
                yield Row("phonon", p.name, name, "THz", found[name], values[k], code, FREQUENCY, flag=flag)


def eos(ours: Ours, p: Potential) -> Iterator[Row]:
    """Birch-Murnaghan fit and both ends of the curve."""
    found, flag = ours.task(p, "eos", structure=p.crystal)
    kinds = {
        "volume": ("A^3/atom", VOLUME, True),
        "bulk_modulus": ("GPa", ELASTIC, True),
        "bulk_modulus_derivative": ("", DERIVATIVE, False),
    }
    for name, value in peers.equation_of_state(p).items():
        unit, tolerance, relative = kinds.get(name, ("eV/atom", ENERGY, False))
        yield Row("eos", p.name, name, unit, found[name], value, "ASE", tolerance, relative, flag)


def phase(ours: Ours, p: Potential) -> Iterator[Row]:
    """Other crystals above the ground state."""
    others = {"bcc": ("fcc", "hcp", "A15"), "fcc": ("bcc", "hcp"), "diamond": ("fcc", "sc")}
    for other in others[p.crystal]:
        found, flag = ours.task(p, "phase", structures=[p.crystal, other])
        value = peers.phase_energy(p, other) - peers.ground(p)[1]
        numbers = (found[f"energy_above_{p.crystal}"], value, "ASE", ENERGY)
        yield Row("phase", p.name, f"{other} above {p.crystal}", "eV/atom", *numbers, flag=flag)


def vacancy(ours: Ours, p: Potential) -> Iterator[Row]:
    """Formation energy of a vacancy."""
    n = 2 if p.crystal == "diamond" else 3
    found, flag = ours.task(p, "vacancy", structure=p.crystal, supercell=n)
    numbers = (found["formation_energy"], peers.vacancy(p, n), "ASE", ENERGY)
    yield Row("vacancy", p.name, "formation_energy", "eV", *numbers, flag=flag)


#: Dumbbells that are minima, and the vector from the site to one of its atoms, in lattice constants. With the
#: SNAP of Ta no kind of them is one in this cell: two low states, 1.4 meV apart, lie between the kinds.
DUMBBELLS = {
    "W EAM": ("dumbbell_110", (0.25, 0.25, 0.0)),
    "Cu EAM": ("dumbbell_100", (0.3, 0.0, 0.0)),
    "W SNAP": ("dumbbell_110", (0.25, 0.25, 0.0)),
    "Mo SNAP": ("dumbbell_110", (0.25, 0.25, 0.0)),
    "Mo quadratic SNAP": ("dumbbell_111", (0.2, 0.2, 0.2)),
}


def interstitial(ours: Ours, p: Potential) -> Iterator[Row]:
    """Formation energy of a dumbbell."""
    kind, half = DUMBBELLS[p.name]
    found, flag = ours.task(p, "interstitial", structure=p.crystal, supercell=3, kinds=[kind])
    numbers = (found["formation_energy"], peers.dumbbell(p, 3, half), "ASE", ENERGY)
    yield Row("interstitial", p.name, kind, "eV", *numbers, flag=flag)


def surface(ours: Ours, p: Potential) -> Iterator[Row]:
    """Surface energies; ours get as many layers as ASE's slabs have, the vacuum is another."""
    # In diamond, ASE cuts the other planes between other layers.
    for index in ((1, 1, 0),) if p.crystal == "diamond" else ((1, 0, 0), (1, 1, 0), (1, 1, 1)):
        value, thickness = peers.surface(p, index, 17.0)
        # Ours is at the first guess of the crystal's size: a little less, but by no layer.
        data = {"structure": p.crystal, "miller": [index], "thickness": 0.98 * thickness}
        found, flag = ours.task(p, "surface", **data)
        numbers = (found["surface_energy"], value, "ASE", SURFACE)
        yield Row("surface", p.name, f"surface ({''.join(map(str, index))})", "J/m^2", *numbers, flag=flag)


def barrier(ours: Ours, p: Potential) -> Iterator[Row]:
    """Vacancy hop by both of our ways against both of theirs."""
    ends = peers.hop_ends(p, 2)
    # With the EAM of W a minimum lies half-way, and there the middle image of a plain band would stay.
    images = 6 if p.name == "W EAM" else 5
    theirs = {
        "ASE NEB": peers.ase_barrier(p, ends, images),
        "LAMMPS neb": plain.lammps_barrier(p, ends, images),
    }
    for method in ("band", "neb"):
        data = {"structure": p.crystal, "supercell": 2, "images": 5, "method": method}
        found, flag = ours.task(p, "barrier", **data)
        for code, value in theirs.items():
            numbers = (found["barrier"], value, code, BARRIER)
            yield Row("barrier", p.name, f"method: {method}", "eV", *numbers, flag=flag)


def members() -> Iterator[Row]:
    """Our band against our use of LAMMPS's ``neb``, for members of a posterior."""
    for member, band, neb in both_ways():
        half_way = {band.negative_half_way, neb.negative_half_way} - {None}
        quantity = f"negative modes half-way: {' or '.join(map(str, sorted(half_way))) or '?'}"
        yield Row(
            "members",
            f"W member {member}",
            quantity,
            "eV",
            band.barrier,
            neb.barrier,
            "method: neb",
            BARRIER,
            flag=band.flag or neb.flag,
            failures=(band.failure, neb.failure),
        )


METALS = ("Cu EAM", "W SNAP", "Mo SNAP", "Mo quadratic SNAP", "Ta SNAP", "W EAM")
#: Families, their potentials, and how many of these are cheap.
FAMILIES: dict[str, tuple[Callable[[Ours, Potential], Iterator[Row]], tuple[str, ...], int]] = {
    "elastic": (elastic, tuple(POTENTIALS), 6),
    "phonon": (phonon, tuple(POTENTIALS), 3),
    "eos": (eos, tuple(POTENTIALS), 8),
    "phase": (phase, tuple(POTENTIALS), 3),
    "vacancy": (vacancy, tuple(POTENTIALS), 3),
    "interstitial": (interstitial, tuple(DUMBBELLS), 3),
    "surface": (surface, tuple(POTENTIALS), 3),
    "barrier": (barrier, METALS, 3),
}
#: What is compared, for the manual, in the order of its page.
NOTES = {
    "elastic": "``elastic`` with its defaults; LAMMPS: strains of 1e-4 both ways by ``change_box``, relaxed.",
    "phonon": "``phonon`` with its defaults, supercells of 14 A; the others use two conventional cells along "
    "each edge, where all these waves fit in. In ours, N and P of bcc and L and W of Si do not, and are "
    "interpolated. Lowest and highest branch of each.",
    "eos": "``eos`` with its defaults; ASE's ``EquationOfState`` through seven energies of ASE within 3 % of "
    "the volume. With the SNAP of Ta the energies do not lie on such a curve, and our flag says so.",
    "phase": "``phase``; ASE's ``FrechetCellFilter`` and BFGS.",
    "vacancy": "``vacancy`` in 53 (bcc), 107 (fcc) or 63 (diamond) atoms at constant volume; ASE's BFGS.",
    "interstitial": "``interstitial`` in 55 (bcc) or 109 (fcc) atoms at constant volume; ASE's BFGS from a "
    "rattled start.",
    "surface": "``surface`` with as many layers as ASE's ``surface`` gives from 17 A on, and another vacuum.",
    "barrier": "``barrier`` in 15 (bcc) or 31 (fcc) atoms, by both methods, against ASE's ``NEB`` with "
    "improved tangents and a climbing image, and against LAMMPS's ``neb`` in a plain script between ends "
    "relaxed by ASE.",
    "members": "Ten members of the posterior of the demo (``workflows/quickstart.yaml``) in 53 atoms: ours "
    "is ``method: band``, independent is LAMMPS's ``neb`` by ``method: neb``. No negative mode half-way "
    "means that the symmetric point is a minimum between two saddles; the search goes on from there. A "
    "member without a saddle would be listed with the reason, which must be the same both ways.",
}


@contextmanager
def opened() -> Iterator[Ours]:
    """Open LAMMPS for our side."""
    with Workspace() as workspace, tempfile.TemporaryDirectory() as folder:
        yield Ours(workspace, Path(folder))


def compare(ours: Ours, family: str, quick: bool) -> Iterator[Row]:
    """All rows of a family, or those of its cheap potentials."""
    call, names, cheap = FAMILIES[family]
    for name in names[: cheap if quick else None]:
        yield from call(ours, POTENTIALS[name])


def wanted(only: Sequence[str] | None, quick: bool) -> list[str]:
    """Families to run; the fit for the members and their bands take a minute."""
    if only:
        return [family for family in NOTES if family in only]
    return [family for family in NOTES if family != "members" or not quick]


def main(words: Sequence[str] | None = None) -> int:
    """Run, print, write; gives the exit status."""
    parser = arguments(" ".join(str(__doc__).split("\n\n")[0].split()))
    parser.add_argument("--only", action="append", choices=list(NOTES), help="this family; may be repeated")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the page of the manual")
    given = parser.parse_args(words)
    if given.rst and (given.quick or given.only):
        parser.error("--rst writes the whole page: not with --quick or --only")
    rows: list[Row] = []
    with opened() as ours:
        for family in wanted(given.only, given.quick):
            rows += members() if family == "members" else compare(ours, family, given.quick)
    if str(given.json) != "-":
        print_table(rows)
        print(summary(rows))
    write_json("crosschecks", [row.plain() for row in rows], given.json)
    if given.rst:
        write_page(given.rst, rows, NOTES)
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
