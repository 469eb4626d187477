"""Campaigns: what supervision costs, how they scale, and whether one rank 0 can feed ten thousand.

Real LAMMPS tasks run in a campaign and in bare loops of as many processes, which share the tasks out
beforehand, keep no journal and die with their first bad task. The span is the time from the start of the
first task to the end of the last and leaves out the start of processes; the shortest of the repeats counts.
The efficiency on N ranks is that per core when there are fewer cores. `campaign_simulation` does the rest,
with messages timed between two real ranks, and task times of this machine or as stated.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from campaign_simulation import MIX, Costs, alike, mixed, simulate, without_cost
from common import arguments, publish

from snapuq.campaign.messages import Assignment, Finished
from snapuq.campaign.plan import PropertySpec, expand, plan
from snapuq.campaign.recipe import EngineRecipe
from snapuq.campaign.remember import remembering
from snapuq.campaign.run import run_campaign
from snapuq.campaign.worker import execute
from snapuq.core.ensemble import Ensemble
from snapuq.core.potential import ReferencePair
from snapuq.core.result import PropertyResult
from snapuq.core.task import PropertyTask
from snapuq.lammps.library import find_potential_file
from snapuq.lammps.member_engines import open_engines
from snapuq.lammps.snapfiles import write_ensemble
from snapuq.lammps.snapformat import read_potential
from snapuq.parallel import world
from snapuq.progress import Progress
from snapuq.properties import build_params
from snapuq.results.journal import load_results, result_from_plain, result_to_plain
from snapuq.stopping import StopRequest

# The requirements: time between two tasks of a worker, efficiency of two ranks and of ten thousand.
LARGEST_COST, LEAST_EFFICIENCY, LEAST_SIMULATED = 1.0e-3, 0.95, 0.9
# Results of both ways agree to the last bit.
TOLERANCE = 0.0
# A linear SNAP potential that comes with LAMMPS, and the relative spread of its members' coefficients.
POTENTIAL, PAIR, SPREAD = "W_2940_2017_2", ReferencePair("zbl 4.0 4.8", ("* * 74 74",)), 1.0e-3
MEMBERS = 500
LIMIT = 600.0
# Tasks of about 0.02 s, where a cost shows, and of about 0.1 s.
PROPERTIES = {
    "phase": build_params("phase", {"structures": ["bcc"]}),
    "surface": build_params("surface", {"miller": [[1, 0, 0]], "thickness": 25.0}),
}
# Of the simulation.
TASKS_PER_RANK = 10
# Messages in flight at a time, and how many are timed.
BURST, BURSTS = 32, 60


def write_potentials(folder: Path) -> None:
    """A tungsten potential and members around it, whose properties differ by about a percent."""
    files = (find_potential_file(f"{POTENTIAL}.{kind}") for kind in ("snapcoeff", "snapparam"))
    best = read_potential(*files, PAIR)
    theta = best.coefficients
    members = theta * (1.0 + SPREAD * np.random.default_rng(0).normal(size=(MEMBERS, len(theta))))
    write_ensemble(Ensemble(best.settings, PAIR, theta, theta, members, 0, "benchmark"), folder, "W")


def recipe(folder: Path) -> EngineRecipe:
    """Engines of `write_potentials`."""
    known = {"name": "W", "members": MEMBERS, "elements": ["W"], "reference": None, "options": []}
    return EngineRecipe(
        "snapuq.lammps.member_engines:open_engines", {"folder": str(folder / "potentials"), **known}
    )


def make_tasks(name: str, n: int) -> tuple[PropertyTask, ...]:
    """One property of n potentials."""
    parts = expand([PropertySpec(name, PROPERTIES[name])], ("W",))
    return plan(parts, {member: f"{member:064d}" for member in range(n)}, 1, engine={})


# What runs in processes of its own


def run_bare(folder: Path, tasks: Sequence[PropertyTask], share: slice) -> None:
    """A share of the tasks in a plain loop, from a word on standard input on."""
    with open_engines(recipe(folder).arguments) as make_engine:
        make = remembering(make_engine)
        print("ready", flush=True)
        sys.stdin.readline()
        start = time.time()
        results = [execute(task, make) for task in tasks[share]]
        end = time.time()
    print(json.dumps({"start": start, "end": end, "results": [result_to_plain(r) for r in results]}))


def run_ours(folder: Path, tasks: Sequence[PropertyTask]) -> None:
    """A campaign; each rank leaves the processor time of its supervisor."""
    ranks = world()
    before = resource.getrusage(resource.RUSAGE_SELF)
    silent = Progress("campaign", len(tasks), silent=True)
    with StopRequest() as stop:
        outcome = run_campaign(tasks, recipe(folder), folder / "journal", ranks, silent, stop, LIMIT)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (folder / "journal" / f"cpu_{ranks.rank}").write_text(str(cpu))
    if not outcome.is_complete:
        raise SystemExit(f"not complete: {outcome.reason}")


def run_messages(task: PropertyTask) -> None:
    """Processor time of rank 0 for messages as in a campaign."""
    ranks = world()
    mailbox = ranks.mailbox()
    out = Assignment(1, task.to_plain(), 1, LIMIT)
    back = Finished(1, 1, task.label, 0.1, "")
    spent = dict.fromkeys(("send", "receive", "probe"), 0.0)

    def timed(what: str, call: Callable[[], Any]) -> Any:
        start = time.thread_time()
        value = call()
        spent[what] += (time.thread_time() - start) / (BURST * BURSTS)
        return value

    def wait() -> Any:
        while (message := mailbox.receive()) is None:
            time.sleep(1.0e-4)
        return message

    for _ in range(BURSTS):
        for _ in range(BURST):
            if ranks.is_root:
                timed("send", lambda: mailbox.send(out, 1))
            else:
                wait()
        if ranks.is_root:
            wait()
            # The rest has come, too, by then.
            time.sleep(2.0e-3)
            for _ in range(BURST):
                timed("receive", mailbox.receive)
            for _ in range(BURST):
                timed("probe", mailbox.receive)
        else:
            for _ in range(BURST + 1):
                mailbox.send(back, 0)
    mailbox.close()
    if ranks.is_root:
        print(json.dumps(spent))


# What starts them


@dataclasses.dataclass(frozen=True)
class Run:
    """Wall times and results of one way to run the tasks; ``cpu`` is that of all supervisors."""

    wall: float
    span: float
    results: dict[str, PropertyResult]
    cpu: float = 0.0


def command(part: str, folder: Path, name: str, n: int, *more: str) -> list[str]:
    """This script as one of the processes above."""
    known = ["--part", part, "--folder", str(folder), "--property", name, "--tasks", str(n)]
    return [sys.executable, str(Path(__file__).resolve()), *known, *more]


def bare(folder: Path, name: str, n: int, processes: int) -> Run:
    """Bare loops in processes that start together."""
    begin = time.perf_counter()
    shares = [command("bare", folder, name, n, "--share", f"{i}/{processes}") for i in range(processes)]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(share, stdin=pipe, stdout=pipe, text=True) for share in shares]
    for process in started:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the bare loop did not start")
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [json.loads(process.communicate()[0]) for process in started]
    wall = time.perf_counter() - begin
    results = [result_from_plain(r) for f in found for r in f["results"]]
    span = max(f["end"] for f in found) - min(f["start"] for f in found)
    return Run(wall, span, {r.key: r for r in results})


def ours(folder: Path, name: str, n: int, n_ranks: int) -> Run:
    """A campaign on so many ranks, by mpirun if they are several."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        work = Path(own)
        (work / "potentials").symlink_to(folder / "potentials")
        launcher = ["mpirun", "-n", str(n_ranks)] if n_ranks > 1 else []
        begin = time.perf_counter()
        subprocess.run([*launcher, *command("ours", work, name, n)], stdin=subprocess.DEVNULL, check=True)
        wall = time.perf_counter() - begin
        content = load_results(work / "journal")
        cpu = sum(float(path.read_text()) for path in (work / "journal").glob("cpu_*"))
    begins = [entry.written - entry.result.seconds for entry in content.entries]
    span = max(entry.written for entry in content.entries) - min(begins)
    return Run(wall, span, dict(content.results), cpu)


def difference(a: Run, b: Run) -> float:
    """Largest relative difference of any quantity; infinite when a task failed or is missing."""
    if a.results.keys() != b.results.keys() or any(r.failure for r in a.results.values()):
        return float("inf")
    pairs = [(r.values, b.results[key].values) for key, r in a.results.items()]
    if any(x.keys() != y.keys() for x, y in pairs):
        return float("inf")
    return max(
        abs(q.value - y[name].value) / max(abs(q.value), 1e-300) for x, y in pairs for name, q in x.items()
    )


def shortest(runs: Sequence[Run]) -> Run:
    """The run with the shortest span, with the shortest wall time of all."""
    best = min(runs, key=lambda run: run.span)
    return dataclasses.replace(best, wall=min(run.wall for run in runs))


def row(
    case: str, peer: str, quantity: str, values: tuple[float, float], agreement: float | None = None
) -> dict[str, Any]:
    """One comparison; of efficiencies the larger is the better, of times the smaller."""
    mine, theirs = values
    better = mine / theirs if quantity == "efficiency" else theirs / mine if mine > 0 else None
    agrees = agreement is None or agreement <= TOLERANCE
    known = {"case": case, "peer": peer, "quantity": quantity, "ours": mine, "theirs": theirs}
    return {**known, "ratio": better if agrees else None, "agreement": agreement}


def compare_cost(folder: Path, n: int, rounds: int) -> tuple[list[dict[str, Any]], float]:
    """What supervision adds to short tasks on one rank; also the time from one task to the next, s."""
    turns = [(ours(folder, "phase", n, 1), bare(folder, "phase", n, 1)) for _ in range(rounds)]
    mine, theirs = (shortest(runs) for runs in zip(*turns, strict=True))
    agreement = difference(mine, theirs)
    case = f"{n} tasks of {1e3 * theirs.span / n:.0f} ms, one rank"
    outside = [run.wall - run.span for run in (mine, theirs)]
    pause = min((m.span - sum(r.seconds for r in m.results.values())) / n for m, _ in turns)
    return [
        row(f"{case}: a task", "bare loop", "wall_s", (mine.span / n, theirs.span / n), agreement),
        row(f"{case}: between two tasks", "required", "wall_s", (pause, LARGEST_COST), agreement),
        row(f"{case}: supervisor's processor time", "the task", "cpu_s", (mine.cpu / n, theirs.span / n)),
        row(f"{case}: start and end", "bare loop", "wall_s", (outside[0], outside[1])),
    ], pause


def compare_efficiency(
    folder: Path, n: int, rounds: int, numbers: Sequence[int]
) -> tuple[list[dict[str, Any]], list[PropertyResult]]:
    """Several ranks against one, with tasks of 0.1 s; also the results of one rank."""
    turns = [
        (
            {k: ours(folder, "surface", n, k) for k in numbers},
            {k: bare(folder, "surface", n, k) for k in numbers},
        )
        for _ in range(rounds)
    ]
    mine, theirs = ({k: shortest([turn[i][k] for turn in turns]) for k in numbers} for i in (0, 1))
    mean = float(np.mean([r.seconds for r in mine[1].results.values()]))
    rows = []
    for k in numbers[1:]:
        cores = min(k, os.cpu_count() or 1)
        agreement = difference(mine[k], theirs[k])
        case = f"{n} tasks of {mean:.2f} s, {k} ranks on {cores} cores"
        spans = tuple(runs[1].span / (cores * runs[k].span) for runs in (mine, theirs))
        walls = tuple(runs[1].wall / (cores * runs[k].wall) for runs in (mine, theirs))
        rows += [
            row(case, "bare loops", "efficiency", spans, agreement),
            row(f"{case}, with start", "bare loops", "efficiency", walls, agreement),
            row(f"{case}: supervisors' processor time", "the task", "cpu_s", (mine[k].cpu / n, mean)),
        ]
        if k == 2:
            rows.append(row(case, "required", "efficiency", (spans[0], LEAST_EFFICIENCY), agreement))
    return rows, list(mine[1].results.values())


def message_costs(folder: Path, between: float) -> Costs:
    """Measure messages between two ranks."""
    launch = ["mpirun", "-n", "2", *command("messages", folder, "surface", 1)]
    done = subprocess.run(launch, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return Costs(**json.loads(done.stdout), between=between)


def simulated(
    kind: str,
    made: tuple[list[PropertyTask], list[float]],
    example: PropertyResult,
    n_ranks: int,
    costs: Costs,
) -> list[dict[str, Any]]:
    """Efficiency of many ranks, and the time of rank 0 for each task against the time that it has."""
    tasks, seconds = made
    found = simulate(tasks, seconds, example, n_ranks, costs)
    work = sum(seconds)
    in_order = [
        s for _, s in sorted(zip(tasks, seconds, strict=True), key=lambda x: -MIX.get(x[0].label, 0.0))
    ]
    ideal = work / (n_ranks * without_cost(in_order, n_ranks))
    efficiency = work / (n_ranks * found.wall)
    case = f"simulated, {kind}, {n_ranks} ranks"
    rows = [row(case, "dispatch without cost", "efficiency", (efficiency, ideal), float(found.wrong))]
    if n_ranks > 1:
        a_task = found.busy / len(tasks), work / len(tasks) / n_ranks
        rows.append(row(f"{case}: rank 0, a task", "time between tasks", "wall_s", a_task))
    if kind == "5 s" and n_ranks == 10_000:
        rows.append(row(case, "required", "efficiency", (efficiency, LEAST_SIMULATED), float(found.wrong)))
    return rows


def simulate_all(results: Sequence[PropertyResult], costs: Costs, quick: bool) -> list[dict[str, Any]]:
    """All kinds of tasks at all numbers of ranks."""
    times = [r.seconds for r in results]
    rows = []
    for n_ranks in (1, 10, 100, 1000, 10_000):
        n = TASKS_PER_RANK * n_ranks
        kinds = {"5 s": lambda n=n: alike(make_tasks("surface", n), [5.0])}
        if n_ranks < 10_000 or not quick:
            kinds |= {
                f"{np.mean(times):.2f} s": lambda n=n: alike(make_tasks("surface", n), times),
                "mixed": lambda n=n: mixed(make_tasks("surface", max(2, round(n / len(MIX))))),
            }
        for kind, make in kinds.items():
            rows += simulated(kind, make(), results[0], n_ranks, costs)
    return rows


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Options; those of the processes that this script starts are not for people."""
    parser.add_argument("--part", choices=["ours", "bare", "messages"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--property", choices=PROPERTIES, help=argparse.SUPPRESS)
    parser.add_argument("--tasks", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--share", default="0/1", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, then simulate."""
    options = parse(arguments(__doc__ or ""))
    if options.part is not None:
        tasks = make_tasks(options.property, options.tasks)
        if options.part == "bare":
            first, step = map(int, options.share.split("/"))
            run_bare(options.folder, tasks, slice(first, None, step))
        elif options.part == "ours":
            run_ours(options.folder, tasks)
        else:
            run_messages(tasks[0])
        return
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_potentials(folder / "potentials")
        rows, pause = compare_cost(folder, *((100, 2) if options.quick else (MEMBERS, 5)))
        found, results = compare_efficiency(folder, *((40, 1) if options.quick else (300, 3)), (1, 2, 4))
        costs = message_costs(folder, pause)
        rows += found + simulate_all(results, costs, options.quick)
    publish("bench_campaign", rows, options.json)


if __name__ == "__main__":
    main()
