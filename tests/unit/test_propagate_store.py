"""What ranks share on the disk: whole, from nobody else, never unpickled, and computed once."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from linear_engine import MLE, LinearEngine, linear_rows

from snapuq.core.dataset import Structure
from snapuq.errors import SimulationError
from snapuq.propagate.degrees import Degrees
from snapuq.propagate.expansion import Expansion
from snapuq.propagate.record import Record, Relaxed
from snapuq.propagate.store import MOST_ATTEMPTS, Predictor, Store
from snapuq.properties.crystals import Crystal
from snapuq.provenance import digest

FCC = Crystal.parse("fcc:Cu@3.6").conventional(3.6, 3.6)
CELL = Structure(FCC.cell @ np.triu(np.ones((3, 3))), FCC.positions + 1.0 / 3.0, ("Cu", "Ag", "Cu", "Cu"))


def record(seed: int = 0) -> Record:
    """Every kind of content; numbers without an end in decimals, and matrices in both orders."""
    rng = np.random.default_rng(seed)

    def hessian(n: int) -> np.ndarray:
        half = rng.normal(size=(n, n))
        return half + half.T

    expansions = (
        Expansion(Degrees(CELL, "full", "all"), hessian(18)),
        Expansion(Degrees(FCC, None, "normal"), np.asfortranarray(hessian(4))),
    )
    moved = Structure(CELL.cell, CELL.positions + 1.0 / 7.0, CELL.species)
    relaxed = (Relaxed(moved, CELL, "full", "all", 0), Relaxed(CELL, moved, None, "normal", -1))
    return Record((FCC, CELL), relaxed, ((0, -1, 2), (1, 0, 0)), expansions)


def plain(found: Record) -> list[object]:
    """All that a record holds, to the last bit."""

    return [
        [s.digest for s in found.evaluated],
        [(r.start.digest, r.state.digest, r.cell, r.directions, r.expansion) for r in found.relaxed],
        found.saddles,
        [
            (d.state.digest, d.cell, d.directions, digest(e.hessian), e.hessian.flags.f_contiguous)
            for e in found.expansions
            for d in [e.degrees]
        ],
    ]


def never() -> Record:
    raise AssertionError("it is in the store")


def damages() -> dict[str, Callable[[Path], object]]:
    """What may happen to a file."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    def pickled(path: Path) -> None:
        marker = path.parent / "unpickled"
        array = np.array([_Trap(marker), 1], dtype=object)
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=True) if path.suffix == ".npy" else np.savez(buffer, heads=array)
        path.write_bytes(buffer.getvalue())

    def unsealed(path: Path) -> None:
        # A whole file of numbers, of the right shape even, that this package did not write.
        buffer = io.BytesIO()
        np.save(buffer, np.zeros((3, 19))) if path.suffix == ".npy" else np.savez(buffer, heads=np.zeros(3))
        path.write_bytes(buffer.getvalue())

    return {
        "cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
        "cut to a head": lambda path: path.write_bytes(path.read_bytes()[:20]),
        "empty": lambda path: path.write_bytes(b""),
        "zeros, as after a power failure": lambda path: path.write_bytes(bytes(path.stat().st_size)),
        "one bit": flip,
        "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        "text": lambda path: path.write_text("not an array\n"),
        "pickled": pickled,
        "foreign numbers": unsealed,
    }


class _Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_a_record_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    store, original = Store(tmp_path / "new" / "folder"), record()
    first = store.record("key", lambda: original)
    assert plain(first) == plain(original)
    assert plain(store.record("key", never)) == plain(original)
    assert plain(Store(tmp_path / "new" / "folder").record("key", never)) == plain(original)
    assert plain(store.record("none", Record)) == plain(Record())
    assert plain(Record.from_arrays(original.to_arrays())) == plain(original)


def test_solutions_do_not_depend_on_whether_a_record_was_read(tmp_path: Path) -> None:
    original = record()
    found = Store(tmp_path).record("key", lambda: original)
    slope = np.random.default_rng(1).normal(size=18)
    for one, other in zip(original.expansions, found.expansions, strict=True):
        n = one.degrees.n_free
        assert np.array_equal(one.solve(slope[:n]), other.solve(slope[:n]))
        assert one.n_negative == other.n_negative


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_or_foreign_record_is_computed_anew(damage: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep("key", record())
    damages()[damage](tmp_path / "key.npz")
    built = []
    found = store.record("key", lambda: built.append(1) or record(2))
    assert built == [1]
    assert plain(found) == plain(record(2))
    assert plain(store.record("key", never)) == plain(record(2))
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_or_foreign_array_is_computed_anew(damage: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    right, other = np.random.default_rng(0).normal(size=(2, 3, 19))
    store.array("name", lambda: other)
    damages()[damage](tmp_path / "name.npy")
    assert np.array_equal(store.array("name", lambda: right), right)
    assert not (tmp_path / "unpickled").exists()


def test_a_file_under_another_name_is_not_taken(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep("one", record(1))
    store.array("one", lambda: np.ones((3, 19)))
    for suffix in (".npz", ".npy"):
        (tmp_path / f"two{suffix}").write_bytes((tmp_path / f"one{suffix}").read_bytes())
    assert plain(store.record("two", lambda: record(2))) == plain(record(2))
    assert np.array_equal(store.array("two", lambda: np.zeros((3, 19))), np.zeros((3, 19)))


def test_arrays_are_mapped_and_computed_once(tmp_path: Path) -> None:
    store, built = Store(tmp_path), []

    def build() -> np.ndarray:
        built.append(1)
        return np.arange(6.0).reshape(2, 3)

    found = [store.array("name", build) for _ in range(3)]
    assert built == [1]
    assert all(np.array_equal(f, np.arange(6.0).reshape(2, 3)) for f in found)
    assert [p.name for p in tmp_path.iterdir()] == ["name.npy"]


def test_mapped_arrays_hold_no_descriptors_and_cannot_be_written(tmp_path: Path) -> None:
    """A process of a campaign maps thousands, and may commonly have 1024 descriptors."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = Store(tmp_path)
    found = [store.array(f"array {k}", lambda k=k: np.full((3, 7), float(k))) for k in range(20)]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert str(tmp_path) in Path("/proc/self/maps").read_text()
    assert all(np.array_equal(f, np.full((3, 7), float(k))) for k, f in enumerate(found))
    with pytest.raises(ValueError, match="read-only"):
        found[0][0, 0] = 1.0
    # A view keeps the whole; without any, the mapping ends.
    part = found[3][1]
    del found
    gc.collect()
    assert np.array_equal(part, np.full(7, 3.0))
    assert Path("/proc/self/maps").read_text().count(str(tmp_path)) == 1
    del part
    gc.collect()
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert np.array_equal(store.array("columns", lambda: columns), columns)


def test_an_array_that_cannot_be_computed_leaves_no_file(tmp_path: Path) -> None:
    def fails() -> np.ndarray:
        raise SimulationError("not_finite", "no rows")

    with pytest.raises(SimulationError):
        Store(tmp_path).array("name", fails)
    assert list(tmp_path.iterdir()) == []


def test_predictions_are_those_of_the_potentials_and_of_no_others(tmp_path: Path) -> None:
    theta = MLE * np.array([[1.0], [1.01], [0.99]])
    calls = []

    def rows(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
        calls.append(structure)
        return linear_rows(structure)

    found = Predictor(rows, theta, Store(tmp_path))(FCC)
    for numbers, one in zip(found, theta, strict=True):
        exact = LinearEngine(one).evaluate(FCC)
        expected = [exact.energy, *exact.forces.ravel(), *exact.stress]
        # Round-off.
        assert numbers == pytest.approx(expected, abs=1.0e-12)
    assert np.array_equal(Predictor(rows, theta, Store(tmp_path))(FCC), found)
    assert len(calls) == 1
    # Another ensemble in the same folder.
    other = Predictor(rows, theta[:2] * 1.5, Store(tmp_path))(FCC)
    assert other == pytest.approx(1.5 * found[:2])
    assert len(calls) == 2


def test_two_threads_of_control_compute_a_record_once(tmp_path: Path) -> None:
    built, found = [], []

    def build() -> Record:
        built.append(1)
        time.sleep(0.3)
        return record()

    threads = [
        threading.Thread(target=lambda: found.append(plain(Store(tmp_path).record("key", build))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [1]
    assert found == [plain(record())] * 3


def test_members_wait_for_the_task_of_the_mle(tmp_path: Path) -> None:
    store, found = Store(tmp_path), []
    with store.building("key"):
        waiting = threading.Thread(target=lambda: found.append(Store(tmp_path).record("key", never)))
        waiting.start()
        time.sleep(0.2)
        assert found == []
        store.keep("key", record())
    waiting.join()
    assert plain(found[0]) == plain(record())


DIES = """
import os, sys
from pathlib import Path
from snapuq.propagate.store import Store
Store(Path(sys.argv[1])).record("key", lambda: os._exit(9))
"""


def test_a_record_whose_computation_ends_the_process_is_given_up(tmp_path: Path) -> None:
    """Or every member would be lost by what the MLE's potential does to LAMMPS."""
    for _ in range(MOST_ATTEMPTS):
        done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False, timeout=60)
        assert done.returncode == 9
    assert plain(Store(tmp_path).record("key", never)) == plain(Record())


def test_one_death_is_forgiven_and_success_starts_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(2 * MOST_ATTEMPTS):
        # As when the process is killed.
        with store.building("key"):
            pass
        assert plain(store.record("key", lambda seed=seed: record(seed))) == plain(record(seed))
        (tmp_path / "key.npz").unlink()


def test_a_record_keeps_that_the_mle_was_reconfigured() -> None:
    for reconfigured in (False, True):
        assert Record.from_arrays(Record(reconfigured=reconfigured).to_arrays()).reconfigured is reconfigured
