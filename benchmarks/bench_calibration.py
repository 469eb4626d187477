"""Are the error bars right on data that the fit never saw? For any data set, rule and split.

    python benchmarks/bench_calibration.py --dataset data/W data/Ta --rules block pointwise --splits 5
    python benchmarks/bench_calibration.py --dataset data/W --by group

Without --dataset a small set is generated and labelled by a LAMMPS potential. Design rows are computed once
for all rules and splits. Of each rule: the share of test rows outside the envelope of the members (rows of
pure round-off left out, and with them), mean |error| / mean std, miscalibration area, Spearman correlation of
predicted and actual error, the violation that cross-validation expected, and the scale.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from common import arguments, write_json
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from snapuq.analysis.calibration import metrics
from snapuq.config import CampaignConfig, load_config
from snapuq.core.design import RowKind
from snapuq.data.reader import read_dataset
from snapuq.data.split import group_split
from snapuq.parallel import world
from snapuq.pipeline.prepare import Prepared, prepare
from snapuq.pipeline.training import fit_posterior, predict_unseen
from snapuq.uq.calibrate import SMALLEST_GROUP
from snapuq.uq.rules import RULES

NAMES = {RowKind.ENERGY: "energy", RowKind.FORCE: "force"}
GENERATED = {
    "elements": ["W"],
    "structures": ["bcc", "fcc"],
    "configurations": 240,
    "max_atoms": 16,
    "label": {"pair_style": "eam/alloy", "pair_coeff": ["* * W_zhou.eam.alloy W"]},
}


def options() -> argparse.Namespace:
    """Options of the command line."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", default=[None], metavar="PATH", help="any data set")
    parser.add_argument("--rules", nargs="+", choices=sorted(RULES), default=sorted(RULES))
    parser.add_argument("--splits", type=int, default=5, help="random splits of each set")
    parser.add_argument("--by", choices=("configuration", "group"), default="configuration")
    parser.add_argument("--fraction", type=float, default=0.3, help="share held out at random")
    parser.add_argument("--members", type=int, default=500)
    parser.add_argument("--twojmax", type=int, default=6)
    parser.add_argument("--rcutfac", type=float, default=4.7)
    parser.add_argument("--linear", action="store_true", help="linear SNAP instead of quadratic")
    parser.add_argument(
        "--exclude", type=float, metavar="EV", help="leave out energies this far above the lowest"
    )
    parser.add_argument("--rows", type=Path, metavar="FOLDER", help="keep the design rows here")
    return parser.parse_args()


def campaign(
    path: str | None, chosen: argparse.Namespace, folder: Path, rule: str, seed: int
) -> CampaignConfig:
    """Campaign of one rule and split, with the default weights."""
    elements = GENERATED["elements"] if path is None else list(read_dataset(Path(path)).elements)
    numbers = {e: atomic_numbers[e] for e in elements}
    pairs = [
        f"{i} {j} {numbers[a]} {numbers[b]}"
        for i, a in enumerate(elements, 1)
        for j, b in enumerate(elements, 1)
        if i <= j
    ]
    data: dict[str, Any] = {
        "name": "calibration",
        "seed": seed,
        "dataset": {"test": {"fraction": chosen.fraction, "by": "configuration"}},
        "potential": {
            "rcutfac": chosen.rcutfac,
            "twojmax": 4 if path is None else chosen.twojmax,
            "quadraticflag": int(not chosen.linear),
            "elements": {e: {} for e in elements},
            "reference": {"pair_style": "zbl 4.0 4.8", "pair_coeff": pairs},
        },
        "fit": {"posterior": rule},
    }
    if rule == "block":
        data["fit"]["calibrate"] = {"groups": False}  # not looked at here
    data["dataset"] |= {"generate": GENERATED} if path is None else {"path": str(Path(path).resolve())}
    if chosen.exclude is not None:
        data["dataset"]["exclude"] = {"max_energy_above_minimum": chosen.exclude}
    file = folder / "campaign.yaml"
    with file.open("w") as stream:
        YAML(typ="safe").dump(data, stream)
    return load_config(file, output=folder / "run")


def splits(prepared: Prepared, chosen: argparse.Namespace) -> Iterator[tuple[str, NDArray[np.bool_] | None]]:
    """Name of each split and its test set; None is the random split of the seed."""
    if chosen.by == "configuration":
        yield from ((f"random {seed}", None) for seed in range(1, chosen.splits + 1))
        return
    for group in prepared.dataset.groups:
        test = group_split(prepared.dataset, [group])
        if test.sum() >= SMALLEST_GROUP:
            yield f"without {group}", test


def figures(prepared: Prepared, config: CampaignConfig, rows: Path, members: int) -> dict[str, float | None]:
    """Everything that is measured of one rule on one split."""
    posterior = fit_posterior(prepared, config, rows, world(), quiet=True)
    ensemble = posterior.sample(members, config.seed)
    table = predict_unseen(prepared, posterior, ensemble, rows, world(), quiet=True)
    found: dict[str, float | None] = {"scale": posterior.scale}
    calibration = posterior.diagnostics["calibration"] or {}
    for m in metrics(table):
        if m.kind not in NAMES:
            continue
        name = NAMES[m.kind]
        found |= {
            f"violation_{name}": m.violation,
            f"violation_all_{name}": m.violation_all,
            f"ratio_{name}": m.error_over_std,
            f"miscalibration_{name}": m.miscalibration_area,
            f"spearman_{name}": m.spearman,
            f"rows_{name}": float(m.count),
            f"expected_{name}": (calibration.get(name) or {}).get("violation"),
        }
    return found


def measure(path: str | None, chosen: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Rows of all rules and splits of one data set; ours is the default rule."""
    rows = chosen.rows or folder / "rows"
    name = "generated" if path is None else Path(path).name
    collected = []
    first = prepare(campaign(path, chosen, folder, "block", 1))
    for seed, (split, test) in enumerate(splits(first, chosen), 1):
        by_rule: dict[str, dict[str, float | None]] = {}
        for rule in dict.fromkeys(["block", *chosen.rules]):
            config = campaign(path, chosen, folder, rule, seed)
            if test is not None:
                held = ",".join(
                    {c.group for c, t in zip(first.dataset.configurations, test, strict=True) if t}
                )
                config = load_config(
                    folder / "campaign.yaml", [f"dataset.test={{groups: [{held}]}}"], output=folder / "run"
                )
            by_rule[rule] = figures(prepare(config), config, rows, chosen.members)
        for rule, found in by_rule.items():
            for quantity, value in found.items():
                collected.append(
                    {
                        "case": f"{name}/{split}",
                        "peer": rule,
                        "quantity": quantity,
                        "ours": by_rule["block"].get(quantity),
                        "theirs": value,
                        "ratio": None,
                        "agreement": None,
                    }
                )
    return collected


def show(rows: list[dict[str, Any]]) -> None:
    """A line per split, rule and kind of rows."""
    columns = ("violation", "violation_all", "expected", "ratio", "miscalibration", "spearman", "rows")
    table = Table(title="calibration on unseen data (violations in %)")
    for column in ("case", "rule", "scale", "kind", *columns):
        table.add_column(column, justify="left" if column in ("case", "rule", "kind") else "right")
    values = {(r["case"], r["peer"], r["quantity"]): r["theirs"] for r in rows}

    def text(case: str, rule: str, quantity: str) -> str:
        value = values.get((case, rule, quantity))
        percent = quantity.startswith(("violation", "expected"))
        return "" if value is None else f"{100 * value:.2f}" if percent else f"{value:.4g}"

    for case, rule in dict.fromkeys((r["case"], r["peer"]) for r in rows):
        for kind in NAMES.values():
            cells = [text(case, rule, f"{c}_{kind}") for c in columns]
            table.add_row(case, rule, text(case, rule, "scale"), kind, *cells)
    Console(width=150).print(table)


def main() -> None:
    """Measure and show."""
    chosen = options()
    if chosen.quick:
        chosen.splits, chosen.rules = 1, [r for r in chosen.rules if r in ("block", "pointwise", "bayesian")]
    collected: list[dict[str, Any]] = []
    for path in chosen.dataset:
        with TemporaryDirectory() as folder:
            collected += measure(path, chosen, Path(folder))
    if world().is_root:
        if str(chosen.json) != "-":
            show(collected)
        write_json("calibration", collected, chosen.json)


if __name__ == "__main__":
    main()
