"""What a run cost, as its report tells it: whatever is known, nothing that is not."""

from __future__ import annotations

from typing import Any

from sglr.report.costs import CostTable, cost_tables, kinds_of

from .conftest import modelled, summary


def table(title: str, content: dict[str, Any]) -> CostTable:
    return next(one for one in cost_tables(content) if one.title == title)


def test_the_three_ways_of_counting_stand_side_by_side() -> None:
    views = table("Bytes, counted three ways", summary(0.9, 5))
    assert views.columns == ("On the wire", "Broadcast", "Paper")
    assert views.rows[0] == ("All clients", ("19.3 MB", "13.0 MB", "18.6 MB"))
    assert dict(views.rows)["sent"] == ("12.3 MB", "12.3 MB", "–")
    assert any("(2−φ)|D|S(L) + S(L)" in note for note in views.notes)


def test_a_method_that_the_paper_has_no_formula_for_says_why() -> None:
    content = summary(0.9, 5)
    content["communication"]["views"]["paper"] = {"total_bytes": None, "formula": None, "reason": "no row for sflv2"}
    views = table("Bytes, counted three ways", content)
    assert views.rows[0][1][2] == "–"
    assert "The paper's formula: no row for sflv2." in views.notes


def test_operations_by_both_rules_and_what_was_not_counted() -> None:
    counted = table("Computation", summary(0.9, 5))
    assert counted.rows[0] == ("One client, mean", ("1.23 TFLOP", "1.30 TFLOP"))
    assert counted.rows[1] == ("One client, most", ("2.00 TFLOP", "–"))
    assert "Not counted, as they have no formula: max_pool2d, relu." in counted.notes


def test_modelled_and_measured_energy_are_never_mixed() -> None:
    parts = {
        "cpu": {"joules": 900.0, "how": "estimated", "by": "its thermal design power"},
        "gpu": {"joules": 2100.0, "how": "measured", "by": "a counter"},
    }
    measured = {"joules": 3000.0, "parts": parts, "unmeasured_seconds": 12.0}
    content = {"energy": {"modelled": modelled(), "measured": measured}}
    assert [one.title for one in cost_tables(content)] == ["Energy, modelled", "Energy of this machine"]
    here = table("Energy of this machine", content)
    assert here.rows == (
        ("Processor", ("900 J", "estimated")),
        ("GPU", ("2.10 kJ", "measured")),
        ("All together", ("3.00 kJ", "")),
    )
    assert "12.0 s of the run were not measured." in here.notes


def test_what_is_not_known_has_no_table() -> None:
    nothing = {"total_bytes": 0}
    assert cost_tables({}) == []
    assert cost_tables({"communication": {"views": {"point_to_point": nothing}}, "energy": None}) == []
    assert cost_tables({"computation": {"total_flops": None}}) == []


def test_kinds_are_ordered_by_their_bytes_in_all_ledgers() -> None:
    ledgers = [{"up": {"smashed": 5.0, "labels": 1.0}, "down": {}}, {"down": {"weights": 9.0}, "up": {"labels": 1.0}}]
    assert kinds_of(ledgers) == ["weights", "smashed", "labels"]
