"""POPS posterior: time and memory against popsregression, scikit-learn and plain matrix products."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common import arguments, publish
from popsregression import POPSRegression
from scipy.linalg import blas
from sklearn.linear_model import BayesianRidge
from threadpoolctl import threadpool_limits

from snapuq.core.design import DesignBlock
from snapuq.reduction import SERIAL_REDUCER
from snapuq.uq.bayesian import bayesian_fit, maximise_evidence, ridge_fit
from snapuq.uq.estimator import POPSRegressor
from snapuq.uq.leastsquares import triangular_factor
from snapuq.uq.popsregression import POINT_RULES, choose_points, fit_points
from snapuq.uq.rows import Table, table_stream
from snapuq.uq.streaming import DesignStream

# Coefficients and corrections agree to 2e-7 of the largest at full size: popsregression multiplies with an
# explicit inverse, whose condition number is that of the design squared. Bounds along axes of nearly equal
# eigenvalues amplify that to 3e-6, where two forms of ours, in memory and streamed, agree to 6e-10.
AGREEMENT = 1.0e-5
RULE = "popsregression-0.4"
# Rows whose corrections are compared, and rows of a chunk of the file.
COMPARED = 500
# Who is compared with whom, and at what; the default posterior is another one, so its ratio is none.
PAIRS = (
    ("ours", "popsregression", "posterior"),
    ("streamed", "popsregression", "posterior, rows in a file"),
    ("ours_coefficients", "scikit_learn", "coefficients"),
    ("calibrated", "popsregression", "our default posterior"),
    ("ours", "floor", "posterior"),
)
FILE_ROWS = 2048
GIGABYTE = 1.0e9


def descriptors(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    """Positive, strongly correlated, of a power-law spectrum and of sizes over three orders of magnitude.

    So the design has the condition numbers of quadratic bispectrum rows: about 1e6 with scaled columns, 1e10
    without.
    """
    mixing = np.random.default_rng(1).normal(size=(k, k)) * np.arange(1.0, k + 1)[:, None] ** -1.5
    return np.exp(0.3 * rng.normal(size=(n, k)) @ mixing) * sizes(k)


def sizes(k: int) -> np.ndarray:
    """Typical sizes of the descriptors."""
    return np.logspace(0.0, -3.0, k)


def write_problem(folder: Path, n: int, p: int) -> None:
    """Quadratic rows [1, B_k, B_k B_l] and a target that no quadratic form can represent, in two formats."""
    k = next(k for k in range(1, p + 1) if 1 + k + k * (k + 1) // 2 >= p)
    first, second = np.triu_indices(k)
    rng = np.random.default_rng(0)
    direction = np.random.default_rng(2).normal(size=k) / k
    x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=np.float64, shape=(n, p))
    y = np.empty(n)
    with h5py.File(folder / "x.h5", "w") as file:
        dataset = file.create_dataset("x", (n, p), dtype="f8", chunks=(min(FILE_ROWS, n), p))
        for start in range(0, n, FILE_ROWS):
            part = slice(start, min(start + FILE_ROWS, n))
            b = descriptors(rng, part.stop - start, k)
            rows = np.column_stack([np.ones(len(b)), b, b[:, first] * b[:, second]])[:, :p]
            x[part] = rows
            dataset[part] = rows
            u = b / sizes(k)
            y[part] = np.tanh(u @ direction) + 0.1 * np.sin(3.0 * u[:, 0]) + 0.01 * np.abs(u[:, 1] - 1.0)
    np.save(folder / "y.npy", y)


@dataclass(frozen=True)
class FileBlocks(Sequence[DesignBlock]):
    """Rows of a file, read when they are asked for."""

    dataset: h5py.Dataset
    y: np.ndarray

    def __len__(self) -> int:
        return -(-len(self.y) // FILE_ROWS)

    def __getitem__(self, index: int) -> DesignBlock:
        part = slice(index * FILE_ROWS, (index + 1) * FILE_ROWS)
        n = len(self.y[part])
        if n == 0:
            raise IndexError(index)
        no, kind = np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int8)
        return DesignBlock(
            f"rows {index}", "", 0, self.dataset[part], self.y[part], np.zeros(n), np.ones(n), kind, no
        )


def ours(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """popsregression's posterior by this package."""
    model = POPSRegressor(posterior=RULE, random_state=0).fit(x, y)
    return {
        "coefficients": model.coef_,
        "support": model.hypercube_support_,
        "bounds": model.hypercube_bounds_,
        "hessian_inverse": model.alpha_ * model.sigma_,
    }


def calibrated(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The default posterior: soft, with cross-validation."""
    return {"coefficients": POPSRegressor(random_state=0).fit(x, y).coef_}


def ours_coefficients(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Coefficients and epistemic covariance alone, as scikit-learn's BayesianRidge has them."""
    factor = triangular_factor(table_stream(Table(x, y, np.ones(len(y)), constant=False)))
    evidence = maximise_evidence(factor, len(y), y.var())
    whitener = ridge_fit(factor, evidence.ridge).whitener
    return {"coefficients": evidence.theta, "sigma": whitener @ whitener.T / evidence.noise_precision}


def popsregression(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The peer as it comes."""
    model = POPSRegression().fit(x, y)
    return {
        "coefficients": model.coef_,
        "support": model._hypercube_support,
        "bounds": np.stack(model._hypercube_bounds),
        "corrections": model._pointwise_correction[compared(y)],
    }


def scikit_learn(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Bayesian ridge regression, which has no misspecification uncertainty."""
    return {"coefficients": BayesianRidge(fit_intercept=False).fit(x, y).coef_}


def floor(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """As many operations as the fit needs, in plain products with a P x P matrix.

    The fit: QR 2, whitening 1 and for the chosen half 1/2, their moment 1/2 and bounds 1, in units of N P^2.
    """
    square = np.asfortranarray(np.eye(x.shape[1]))
    done = 0
    while done < 2.5 * len(x):
        start = done % len(x)
        rows = x[start : start + FILE_ROWS]
        blas.dgemm(1.0, square, rows.T)
        done += len(rows)
    return {}


def streamed(folder: Path) -> dict[str, Any]:
    """popsregression's posterior of rows that stay in a file."""
    y = np.load(folder / "y.npy")
    with h5py.File(folder / "x.h5") as file:
        blocks = FileBlocks(file["x"], y)
        stream = DesignStream({0: blocks}, {0: 0}, SERIAL_REDUCER)
        fit, _ = bayesian_fit(stream, triangular_factor(stream))
        rule = POINT_RULES[RULE]
        box = fit_points(choose_points(stream, fit, rule), fit, rule)
    return {"coefficients": fit.theta, "support": box.axes, "bounds": np.stack([box.low, box.high])}


def compared(y: np.ndarray) -> np.ndarray:
    """Rows whose corrections are compared."""
    return np.linspace(0, len(y) - 1, min(COMPARED, len(y))).astype(int)


WORKERS = {
    w.__name__: w
    for w in (ours, calibrated, ours_coefficients, popsregression, scikit_learn, floor, streamed)
}


def work(name: str, folder: Path, threads: int) -> None:
    """Run one peer in this process; print its wall time and memory, keep its numbers for comparison."""
    with threadpool_limits(threads):
        arrays = () if name == "streamed" else (np.load(folder / "x.npy"), np.load(folder / "y.npy"))
        forget_peak()
        before = memory("VmRSS") if arrays else 0.0
        start, cpu = time.perf_counter(), time.process_time()
        found = WORKERS[name](*(arrays or (folder,)))
        measured = {
            "wall_s": time.perf_counter() - start,
            "cpu_s": time.process_time() - cpu,
            "memory_GB": memory("VmHWM") - before,
        }
        if name == "ours":
            x, y = arrays
            which = compared(y)
            direction = x[which] @ found.pop("hessian_inverse")
            leverage = np.einsum("ip,ip->i", direction, x[which])
            found["corrections"] = (
                direction * ((y[which] - x[which] @ found["coefficients"]) / leverage)[:, None]
            )
    np.savez(folder / f"{name}.npz", **found)
    print(json.dumps(measured))


def memory(name: str) -> float:
    """Memory of this process, GB: ``VmRSS`` now, ``VmHWM`` the largest since `forget_peak`."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name))
    return int(line.split()[1]) * 1024 / GIGABYTE


def forget_peak() -> None:
    """Start the largest memory anew, so that reading and importing do not hide what the fit needs."""
    Path("/proc/self/clear_refs").write_text("5")


def run(name: str, folder: Path, threads: int) -> dict[str, float]:
    """One peer in a process of its own."""
    command = [sys.executable, __file__, "--worker", name, "--folder", str(folder), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def agreement(folder: Path, mine: str, peer: str) -> float:
    """Largest relative difference of two peers, over all numbers that both have."""
    a, b = np.load(folder / f"{mine}.npz"), np.load(folder / f"{peer}.npz")
    differences = [
        relative(a[name], b[name]) for name in ("coefficients", "corrections") if name in a and name in b
    ]
    if "bounds" in a and "bounds" in b:
        differences.append(bounds_difference(a, b))
    return max(differences)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference as a fraction of the largest number."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def bounds_difference(a: Any, b: Any) -> float:
    """Largest difference of the bounds along the axes that both have, which may point either way."""
    k = min(a["support"].shape[1], b["support"].shape[1])
    mine, theirs = (z["bounds"][:, -k:] for z in (a, b))
    overlap = np.einsum("pk,pk->k", a["support"][:, -k:], b["support"][:, -k:])
    mine = np.where(overlap < 0, -mine[::-1], mine)
    return relative(mine, theirs)


def compare(n: int, p: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """All comparisons at one size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_problem(folder, n, p)
        best: dict[str, dict[str, float]] = {}
        for _ in range(rounds):
            for worker in WORKERS:
                measured = run(worker, folder, threads)
                kept = best.setdefault(worker, measured)
                best[worker] = {quantity: min(kept[quantity], measured[quantity]) for quantity in kept}
        return [
            row for pair in PAIRS for row in rows_of(folder, best, *pair, f"{n} x {p}, {threads} threads")
        ]


def rows_of(
    folder: Path, best: dict[str, dict[str, float]], mine: str, peer: str, what: str, case: str
) -> list[dict[str, Any]]:
    """Time and memory of two peers; a ratio needs agreement, or the floor as peer."""
    floor_of = peer == "floor"
    found = None if floor_of or mine == "calibrated" else agreement(folder, mine, peer)
    agrees = floor_of or (found is not None and found <= AGREEMENT)
    rows = []
    for quantity in ("wall_s", "cpu_s") if floor_of else ("wall_s", "cpu_s", "memory_GB"):
        ours, theirs = best[mine][quantity], best[peer][quantity]
        rows.append(
            {
                "case": f"{case}: {what}",
                "peer": peer,
                "quantity": quantity,
                "ours": ours,
                "theirs": theirs,
                "ratio": theirs / ours if agrees and ours > 0 else None,
                "agreement": found,
            }
        )
    return rows


def main() -> None:
    """Compare at one size."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, help="number of rows")
    parser.add_argument("--columns", type=int, help="number of columns")
    parser.add_argument("--threads", type=int, default=1, help="BLAS threads of every peer")
    parser.add_argument("--worker", choices=sorted(WORKERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.folder, options.threads)
        return
    n, p = (12_000, 400) if options.quick else (129_853, 1596)
    rows = compare(options.rows or n, options.columns or p, options.threads, 2 if options.quick else 1)
    publish("bench_pops_fit", rows, options.json)


if __name__ == "__main__":
    main()
