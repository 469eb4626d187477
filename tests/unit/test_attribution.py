"""Shares of configurations in error bars: the mathematics, the tables, the report and the command."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import snapuq
from snapuq import cli
from snapuq.analysis.attribution import Attribution, divide, whitened_gradients
from snapuq.analysis.linear_box import UnitBox
from snapuq.core.design import DesignBlock
from snapuq.errors import InputError
from snapuq.pipeline.linearising import same_gradients
from snapuq.reduction import SERIAL_REDUCER
from snapuq.report.html import render_report
from snapuq.report.influence import MOST_HEADLINES, headlines, influence_rows, main_quantities
from snapuq.report.inputs import ReportInputs
from snapuq.results.influence import (
    CONFIGURATION,
    GROUP,
    NOBODY,
    LinearisedQuantity,
    Share,
    read_linearised_csv,
    read_shares_csv,
    write_linearised_csv,
    write_shares_csv,
)
from snapuq.uq.envelope import conditional_mean, envelope
from snapuq.uq.leastsquares import LeastSquares, fold_factors, merge_all
from snapuq.uq.pops import ISOTROPIC_SHARE, SCATTER_POWER, Box, block_corrections, pointwise_corrections
from snapuq.uq.rules import RULES
from snapuq.uq.streaming import DesignStream

COLUMNS, CONFIGURATIONS = 6, 30
#: Sums of the same numbers in another order.
ROUNDING = 1.0e-9


def blocks(columns: int = COLUMNS, dependent: bool = False) -> list[DesignBlock]:
    """Energies and forces that no linear model meets; one configuration has no weight."""
    rng = np.random.default_rng(4)
    truth = rng.normal(size=columns)
    found = []
    for c in range(CONFIGURATIONS):
        n = 1 + 3 * int(rng.integers(1, 5))
        rows = rng.normal(size=(n, columns)) * np.geomspace(1.0, 1.0e-3, columns)
        if dependent:
            rows[:, -1] = 2.0 * rows[:, 0]
        target = rows @ truth + (0.1 + 0.3 * (c % 3 == 0)) * np.sin(7.0 * rows[:, 0])
        weight = np.full(n, 0.0 if c == 5 else 0.2 + rng.random())
        kind = np.array([0, *[1] * (n - 1)], dtype=np.int8)
        zeros = np.zeros(n)
        found.append(
            DesignBlock(
                f"c{c}", f"group {c % 3}", n // 3, rows, target, zeros, weight, kind, zeros.astype(bool)
            )
        )
    return found


def streamed(of: list[DesignBlock]) -> DesignStream:
    parts = {i: of[i::4] for i in range(4)}
    return DesignStream(parts, dict.fromkeys(parts, 0), SERIAL_REDUCER)


def fitted(rule: str, of: list[DesignBlock]) -> tuple[DesignStream, LeastSquares, Box]:
    stream = streamed(of)
    fit = RULES[rule].solve(stream, merge_all(list(fold_factors(stream).values())))
    return stream, fit, RULES[rule].box(stream, fit)


def share_of(found: Attribution, identifier: str) -> np.ndarray:
    return found.shares[:, found.identifiers.index(identifier)]


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("dependent", [False, True])
def test_shares_sum_to_one(rule: str, dependent: bool) -> None:
    stream, fit, box = fitted(rule, blocks(dependent=dependent))
    g = np.random.default_rng(0).normal(size=(3, COLUMNS))
    if dependent:
        g[:, -1] = 2.0 * g[:, 0]
    found = divide(stream, fit, rule, whitened_gradients(fit, box, rule, g @ box.axes))
    assert found.shares.shape == (3, CONFIGURATIONS)
    assert (found.shares >= 0).all()
    assert found.shares.sum(axis=1) + found.isotropic == pytest.approx(np.ones(3), rel=ROUNDING)
    groups = found.by_group()
    assert sorted(groups) == ["group 0", "group 1", "group 2"]
    assert sum(groups.values()) + found.isotropic == pytest.approx(np.ones(3), rel=ROUNDING)
    assert share_of(found, "c5") == pytest.approx(np.zeros(3), abs=0.0)
    assert (found.isotropic > 0).all() == (rule in ("block", "bayesian"))
    if rule == "bayesian":
        assert found.isotropic == pytest.approx(np.ones(3))


@pytest.mark.parametrize("dependent", [False, True])
def test_block_shares_are_what_the_variance_loses_without_a_term(dependent: bool) -> None:
    of = blocks(dependent=dependent)
    stream, fit, box = fitted("block", of)
    g = np.random.default_rng(0).normal(size=COLUMNS)
    g[-1] = 2.0 * g[0] if dependent else g[-1]
    found = divide(stream, fit, "block", whitened_gradients(fit, box, "block", (g @ box.axes)[None]))
    # The covariance term by term in the coefficients, as matrices.
    d = {b.identifier: block_corrections([b], fit)[0] for b in of if b.weight.any()}
    length = {name: np.linalg.norm(one) for name, one in d.items()}
    mean = np.mean([size**SCATTER_POWER for size in length.values()])
    parts = {
        name: np.outer(fit.whitener @ one, fit.whitener @ one) * mean / length[name] ** SCATTER_POWER / len(d)
        for name, one in d.items()
    }
    trace = sum(one @ one * mean / length[name] ** SCATTER_POWER for name, one in d.items()) / len(d)
    isotropic = ISOTROPIC_SHARE * trace / fit.rank * fit.whitener @ fit.whitener.T
    covariance = (1.0 - ISOTROPIC_SHARE) * np.sum(list(parts.values()), axis=0) + isotropic
    # It is that of the box, so that the shares are of the variance that the envelope has.
    variance = float(g @ covariance @ g)
    assert variance == pytest.approx(((g @ box.axes * box.high) ** 2).sum() / 3.0, rel=ROUNDING)
    for name, part in parts.items():
        without = float(g @ (covariance - (1.0 - ISOTROPIC_SHARE) * part) @ g)
        assert share_of(found, name)[0] == pytest.approx(1.0 - without / variance, abs=ROUNDING)
    assert found.isotropic[0] == pytest.approx(float(g @ isotropic @ g) / variance, rel=ROUNDING)


def test_pointwise_shares_are_those_of_the_corrections() -> None:
    of = blocks()
    stream, fit, box = fitted("pointwise", of)
    g = np.random.default_rng(0).normal(size=COLUMNS)
    found = divide(stream, fit, "pointwise", whitened_gradients(fit, box, "pointwise", (g @ box.axes)[None]))
    changes = {
        b.identifier: float(((pointwise_corrections([b], fit) @ fit.whitener.T @ g) ** 2).sum()) for b in of
    }
    for name, change in changes.items():
        assert share_of(found, name)[0] == pytest.approx(change / sum(changes.values()), rel=1.0e-6)


def test_without_influence_there_are_no_shares() -> None:
    stream, fit, _ = fitted("block", blocks())
    found = divide(stream, fit, "block", np.zeros((1, fit.rank)))
    assert not found.shares.any()
    assert not found.isotropic.any()


@pytest.mark.parametrize("rule", ["block", "pointwise"])
def test_the_unit_box_is_the_posterior(rule: str) -> None:
    _, fit, box = fitted(rule, blocks())
    # An axis without width, as of a single correction.
    still = replace(
        box,
        axes=np.hstack([box.axes, np.ones((COLUMNS, 1))]),
        low=np.append(box.low, 0.0),
        high=np.append(box.high, 0.0),
    )
    posterior: Any = SimpleNamespace(mle=fit.theta, box=still, scale=1.7)
    unit = UnitBox.of(posterior)
    g = np.random.default_rng(2).normal(size=(2, COLUMNS))
    slopes = g @ unit.directions
    expected = envelope(posterior, g, 50, probabilities=(0.05, 0.95))
    found = unit.envelope(g @ fit.theta, slopes, 50)
    for name in ("mle", "mean", "std", "quantiles", "expected_minimum", "expected_maximum"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1.0e-7), name
    worst = unit.at(slopes, found.expected_maximum - found.mle)
    assert worst == pytest.approx(conditional_mean(posterior, g, expected.expected_maximum), rel=1.0e-6)
    along = unit.along_axes(slopes)
    assert along[:, :-1] == pytest.approx(1.7 * g @ box.axes, rel=ROUNDING)
    assert not along[:, -1].any()


def test_quantities_with_one_gradient_share_their_worst_cases() -> None:
    first, side = same_gradients(np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 1.0e-4], [0.0, 1.0]]))
    assert first.tolist() == [0, 1, 0, 1]
    assert side.tolist() == [1, 1, -1, 1]
    # A fan, in which each is close to the next: none stands for one that it is not close to.
    angles = 0.01 * np.arange(8)
    fan = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    first, _ = same_gradients(fan)
    assert (np.abs(angles - angles[first]) <= 0.0142).all()
    assert (first[first] == first).all()


def quantity(label: str = "elastic-bcc", name: str = "C11", **changes: Any) -> LinearisedQuantity:
    known = LinearisedQuantity(label, name, "GPa", 500.0, 20.0, 467.0, 533.0, 440.0, 560.0, 441.0, 563.0, 500)
    return replace(known, **changes)


def shares_of(row: LinearisedQuantity, first: str = "bulk", second: str = "liquid") -> list[Share]:
    key = (row.label, row.quantity)
    return [
        Share(*key, GROUP, first, 0.6),
        Share(*key, GROUP, second, 0.3),
        Share(*key, NOBODY, "no configuration", 0.1),
        Share(*key, CONFIGURATION, f"{first}/7", 0.25),
    ]


def test_tables_are_read_back(tmp_path: Path) -> None:
    rows = (quantity(), quantity("vacancy", "formation, energy", exact_min=None))
    shares = tuple(s for row in rows for s in shares_of(row, 'a "b", c', "d\ne"))
    write_linearised_csv(tmp_path / "a.csv", rows)
    write_shares_csv(tmp_path / "b.csv", shares)
    assert read_linearised_csv(tmp_path / "a.csv") == rows
    assert read_shares_csv(tmp_path / "b.csv") == shares
    head, first, second = (tmp_path / "a.csv").read_text().splitlines()
    assert head.startswith(
        "property,quantity,unit,mle,std,q05,q95,expected_min,expected_max,exact_min,exact_max"
    )
    assert (first[-1], second[-1]) == ("0", "1")


@pytest.mark.parametrize("name", ["a.csv", "b.csv"])
def test_damaged_tables_are_one_line(tmp_path: Path, name: str) -> None:
    write_linearised_csv(tmp_path / "a.csv", [quantity()])
    write_shares_csv(tmp_path / "b.csv", shares_of(quantity()))
    read = read_linearised_csv if name == "a.csv" else read_shares_csv
    path = tmp_path / name
    text = path.read_text()
    path.write_text(text.replace("0.6", "much").replace("20.0", "many"))
    with pytest.raises(InputError, match=rf"{name}:2: malformed row"):
        read(path)
    path.write_text(text.replace("quantity", "quality"))
    with pytest.raises(InputError, match="has no column 'quantity'"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        # 10 % of the exact deviation from the MLE, on either side.
        ({"exact_max": 566.0}, False),
        ({"exact_max": 567.0}, True),
        ({"exact_min": 445.0}, False),
        ({"exact_min": 446.0}, True),
        ({"exact_max": 500.0}, True),
        ({"exact_min": None}, True),
    ],
)
def test_an_estimate_misses_by_a_tenth(changes: dict[str, Any], expected: bool) -> None:
    assert quantity(**changes).is_estimate is expected


def test_headlines_are_of_different_properties() -> None:
    labels = ["phase-bcc", "phase-fcc", "elastic-bcc", *[f"surface-{i}" for i in range(9)]]
    rows = [quantity(label, name) for label in labels for name in ("first", "second")]
    chosen = main_quantities(rows)
    assert len(chosen) == MOST_HEADLINES
    assert {r.quantity for r in chosen} == {"first"}
    assert [r.label for r in chosen[:4]] == ["phase-bcc", "phase-fcc", "elastic-bcc", "surface-0"]
    one = headlines([quantity()], shares_of(quantity()))
    assert one == ["elastic-bcc C11: 500 +- 20 GPa, set by bulk 60.0 %, liquid 30.0 %"]
    off = quantity(exact_max=None)
    assert headlines([off], shares_of(off)) == [
        "elastic-bcc C11: 500 +- 20 GPa (estimate), set by bulk 60.0 %, liquid 30.0 %"
    ]
    many = headlines(rows, [])
    assert (len(many), many[-1]) == (MOST_HEADLINES + 1, f"and {len(rows) - MOST_HEADLINES} more")
    row = influence_rows([quantity()], shares_of(quantity()))[0]
    assert (row.expected, row.exact, row.configurations) == ("440 to 560", "441 to 563", "bulk/7 25.0 %")


def test_the_report_shows_and_escapes_them(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> $x^$ {{ 7 * 7 }}"
    rows = [quantity(), quantity("vacancy", "formation_energy", unit="eV", exact_max=None)]
    shares = [s for row in rows for s in shares_of(row, hostile)]
    inputs = ReportInputs("run", {}, "", {}, 500, linearised=rows, shares=shares)
    text = render_report(inputs, tmp_path).read_text()
    assert "What sets the error bars" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $x^$ {{ 7 * 7 }} 60.0\N{NO-BREAK SPACE}%" in text
    assert "<script" not in text
    assert (tmp_path / "figures" / "attribution.svg").is_file()
    plain = render_report(replace(inputs, linearised=(), shares=()), tmp_path / "plain").read_text()
    assert "What sets the error bars" not in plain


def test_the_command_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    fake = SimpleNamespace(attribute=lambda config, labels, quiet: calls.append((config, labels, quiet)))
    monkeypatch.setitem(sys.modules, "snapuq.pipeline", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(snapuq, "pipeline", fake, raising=False)
    path = tmp_path / "campaign.yaml"
    path.write_text("name: w\ndataset: {path: .}\npotential: {rcutfac: 4.7, twojmax: 6, elements: {W: {}}}\n")
    assert cli.main(["attribute", str(path), "--set", "seed=3", "-o", str(tmp_path / "out")]) == 0
    assert cli.main(["attribute", str(path), "--properties", "elastic-bcc, eos-bcc", "-q"]) == 0
    (first, no_labels, loud), (_, labels, quiet) = calls
    assert (first.seed, Path(first.output), no_labels, loud) == (3, tmp_path / "out", (), False)
    assert (labels, quiet) == (("elastic-bcc", "eos-bcc"), True)


CAMPAIGN = """
name: small
seed: 3
dataset:
  generate:
    elements: [W]
    structures: [bcc, fcc]
    configurations: 60
    max_atoms: 9
    label: {pair_style: eam/alloy, pair_coeff: ["* * W_zhou.eam.alloy W"]}
  test: {fraction: 0.2, by: configuration}
potential: {rcutfac: 4.7, twojmax: 4, elements: {W: {}}}
fit: {calibrate: false}
ensemble: {members: 40}
campaign:
  properties:
    - phase: {structures: [bcc]}
    - elastic: {structure: bcc}
"""


@pytest.mark.lammps
def test_a_real_fit_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "small.yaml", tmp_path / "run"
    path.write_text(CAMPAIGN)

    def run(*words: str) -> tuple[int, str]:
        status = cli.main([words[0], str(path), "-o", str(out), *words[1:]])
        said = capsys.readouterr()
        return status, said.out + said.err

    status, said = run("attribute")
    assert (status, "run 'snapuq fit' first" in said) == (2, True)
    assert run("fit", "-q")[0] == 0
    status, said = run("attribute")
    assert (status, "run 'snapuq sample' first" in said) == (2, True)
    assert run("sample", "-q")[0] == 0
    status, said = run("attribute", "--properties", "elastic-bbc")
    assert (status, "did you mean 'elastic-bcc'?" in said) == (2, True)
    assert said.count("snapuq: error:") == 1
    status, said = run("attribute")
    assert (status, "phase-bcc a: " in said) == (0, True)

    rows = read_linearised_csv(out / "linearised.csv")
    assert {r.label for r in rows} == {"phase-bcc", "elastic-bcc"}
    shares = read_shares_csv(out / "attribution.csv")
    for row in rows:
        mine = [s for s in shares if (s.label, s.quantity) == (row.label, row.quantity)]
        whole = sum(s.share for s in mine if s.kind != CONFIGURATION)
        assert whole == pytest.approx(1.0, rel=ROUNDING)
        assert sum(s.kind == CONFIGURATION for s in mine) == 10
        assert row.expected_min < row.mle < row.expected_max
        assert None not in (row.exact_min, row.exact_max)
    assert (out / "worst_case" / "potentials" / "members" / "W_0001.snapcoeff").is_file()

    # The members' own spread, within the error of 40 of them and what is not linear.
    assert run("campaign", "-q")[0] == 0
    from snapuq.results.table import read_summary_csv

    sampled = {(s.label, s.quantity): s for s in read_summary_csv(out / "summary.csv")}
    for row in rows:
        if row.quantity in ("a", "energy", "C11", "C44", "bulk_modulus"):
            known = sampled[row.label, row.quantity]
            assert row.mle == pytest.approx(known.mle, rel=1.0e-9)
            assert row.std == pytest.approx(known.std, rel=0.35), row

    # Again without anything to do; then without what may be removed.
    before = (out / "attribution.csv").read_text()
    status, said = run("attribute")
    assert (status, said.count("is there already")) == (0, 2)
    for name in ("rows", "propagation"):
        for file in (out / name).iterdir():
            file.unlink()
    (out / "attribution.csv").unlink()
    assert run("attribute", "-q")[0] == 0
    assert (out / "attribution.csv").read_text() == before
    assert cli.main(["report", str(out), "-q"]) == 0
    assert "What sets the error bars" in (out / "report.html").read_text()
