"""Members without a sound value are named, with what their reason means."""

from __future__ import annotations

from snapuq.core.result import PropertyResult, PropertySummary, Quantity
from snapuq.report.failures import failure_rows
from snapuq.results.table import summarise


def result(member: int, **changes) -> PropertyResult:
    values = {} if "failure" in changes else {"energy": Quantity(float(member), "eV")}
    return PropertyResult(f"vacancy{member}", "vacancy", member, values, **changes)


RESULTS = [
    result(0),
    result(1, failure="lost_atoms: 3 of 53"),
    result(2, failure="lost_atoms: 1 of 53"),
    result(3, converged=False),
    result(4, reconfigured=True, detail="one atom moved by 2.1 A"),
    result(5, converged=False, reconfigured=True),
    result(7, failure="not_converged", converged=False, detail="5000 evaluations"),
    result(8, failure="gremlins", converged=False),
]


def test_failures_are_named_with_their_members():
    rows = failure_rows(RESULTS, summarise(RESULTS))
    assert [(r.label, r.outcome, r.reason, r.count, r.members) for r in rows] == [
        ("vacancy", "no value", "lost_atoms", 2, "1–2"),
        ("vacancy", "flagged", "not_converged", 2, "3, 5"),
        ("vacancy", "flagged", "reconfigured", 2, "4–5"),
        ("vacancy", "no value", "not_converged", 1, "7"),
        ("vacancy", "no value", "gremlins", 1, "8"),
    ]
    assert [r.details for r in rows] == [
        "first: 3 of 53",
        "",
        "first: one atom moved by 2.1 A",
        "first: 5000 evaluations",
        "",
    ]


def test_final_states_are_counted():
    found = [("crowdion", 12), ("dumbbell_110", 3), ("octahedral", 1), ("", 1)]
    texts = [f"relaxed to {kind}" if kind else "" for kind, n in found for _ in range(n)]
    results = [result(m, reconfigured=True, detail=text) for m, text in enumerate(texts, 1)]
    (row,) = failure_rows([result(18, detail="relaxed to dumbbell_111"), *results[::-1]], ())
    assert row.count == 17
    assert row.details == "relaxed to crowdion (12), relaxed to dumbbell_110 (3), others (2)"
    many = [result(m, reconfigured=True, detail=f"c/a is 1.{m // 2}") for m in range(2, 16)]
    (row,) = failure_rows(many, ())
    assert row.details == "c/a is 1.1 (2), c/a is 1.2 (2), c/a is 1.3 (2), c/a is 1.4 (2), others (6)"


def test_a_known_reason_is_explained_and_an_unknown_one_shown_as_it_is():
    meaning = {r.reason: r.meaning for r in failure_rows(RESULTS, ())}
    assert meaning["lost_atoms"] == "Atoms left the simulation cell."
    assert meaning["gremlins"] == "–"


def test_a_property_without_results_is_taken_from_its_summary():
    failures = {"unstable": (1, 2, 9), "reconfigured": (4,)}
    summary = PropertySummary("e", "C11", "GPa", *[None] * 5, {}, None, 9, 3, 0, 1, failures)
    rows = failure_rows(RESULTS[:1], [summary, summary])
    assert [(r.outcome, r.reason, r.count, r.members) for r in rows] == [
        ("no value", "unstable", 3, "1–2, 9"),
        ("flagged", "reconfigured", 1, "4"),
    ]


def test_a_long_list_of_members_is_cut_and_its_count_is_not():
    (row,) = failure_rows([result(m, failure="crashed", converged=False) for m in range(1, 400, 2)], ())
    assert row.count == 200
    assert row.members == "1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, …"
