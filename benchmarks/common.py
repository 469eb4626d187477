"""What the benchmarks share: pinned threads, timing, a table and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from snapuq.provenance import versions

# One thread for us and for every peer.
threadpool_limits(1)


def arguments(description: str) -> argparse.ArgumentParser:
    """Options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="finish within 50 s on 2 cores")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the rows as JSON; - for standard output"
    )
    return parser


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Shortest wall time of each call, in turn, so that drifts of the machine hit all alike."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def row(
    case: str, peer: str, ours: float, theirs: float, agreement: float | None, tolerance: float
) -> dict[str, Any]:
    """One comparison of wall times; without agreement there is no ratio."""
    agrees = agreement is None or agreement <= tolerance
    return {
        "case": case,
        "peer": peer,
        "quantity": "wall_s",
        "ours": ours,
        "theirs": theirs,
        "ratio": theirs / ours if agrees else None,
        "agreement": agreement,
    }


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    return {"processor": platform.machine(), "cores": os.cpu_count(), **versions()}


def write_json(name: str, rows: list[dict[str, Any]], target: Path | None) -> None:
    """Write the rows as one JSON object to a file, or to standard output for -."""
    if target is None:
        return
    text = json.dumps({"benchmark": name, "machine": machine(), "rows": rows}, indent=1)
    if str(target) == "-":
        print(text)
    else:
        target.write_text(text + "\n")


def publish(name: str, rows: list[dict[str, Any]], target: Path | None) -> None:
    """Print a table, and JSON if asked to."""
    if str(target) != "-":
        table = Table(title=f"{name} (a ratio above 1: we are better)")
        for column in ("case", "peer", "quantity", "ours", "theirs", "ratio", "agreement"):
            table.add_column(column, justify="left" if column in ("case", "peer", "quantity") else "right")
        for r in rows:
            ratio = "" if r["ratio"] is None else f"{r['ratio']:.2f}"
            agreement = "" if r["agreement"] is None else f"{r['agreement']:.1e}"
            table.add_row(r["case"], r["peer"], *_with_unit(r), ratio or "no agreement", agreement)
        Console(width=130).print(table)
    write_json(name, rows, target)


def _with_unit(r: dict[str, Any]) -> tuple[str, str, str]:
    """Quantity and both values, wall times in ms."""
    if r["quantity"].endswith("_s"):
        return f"{r['quantity'][:-2]}, ms", f"{1e3 * r['ours']:.2f}", f"{1e3 * r['theirs']:.2f}"
    return r["quantity"], f"{r['ours']:.4g}", f"{r['theirs']:.4g}"
