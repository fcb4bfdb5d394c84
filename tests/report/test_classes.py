"""What a run's report says of single classes."""

from __future__ import annotations

import pytest

from sglr.report.classes import CELLS, SHOWN, classes_section
from sglr.report.run_report import write_run_report

from .conftest import Page, Write, by_class


def test_classes_come_before_costs(write_run: Write) -> None:
    page = Page(write_run_report(write_run()).read_text(encoding="utf-8"))
    order = [
        page.text.index(word) for word in ("Balanced accuracy", "Confusion matrix", "Each class", "Ledger:", "Bytes,")
    ]
    assert order == sorted(order)
    assert "majority 43.2 %" in page.text
    assert "macro F1 71.2 %" in page.text


def test_a_cell_is_the_share_of_its_true_class() -> None:
    test = by_class(["a", "b"]) | {"confusion": [[3, 1], [0, 0]]}
    found = classes_section(test)
    assert found is not None
    assert found["cells"] == [("a", [("75", 0.75), ("25", 0.25)]), ("b", [("", 0.0), ("", 0.0)])]


@pytest.mark.parametrize("number", [CELLS, CELLS + 1, SHOWN + 5, 100])
def test_many_classes_are_a_picture_and_the_worst_come_first(number: int) -> None:
    found = classes_section(by_class([f"class {n}" for n in range(number)]))
    assert found is not None
    assert bool(found["cells"]) == (number <= CELLS)
    assert (found["picture"] is not None) == (number > CELLS)
    assert len(found["rows"]) + len(found["more"]) == number
    if found["more"]:
        recalls = [float(row[2].split()[0]) for row in [*found["rows"], *found["more"]]]
        assert recalls == sorted(recalls)


@pytest.mark.parametrize("test", [{}, {"accuracy": 0.5, "per_class": None, "confusion": None}])
def test_nothing_is_shown_where_nothing_is_known(test: dict[str, object]) -> None:
    assert classes_section(test) is None


def test_a_model_no_better_than_the_majority_is_warned_of(write_run: Write) -> None:
    run = write_run()
    summary = dict(run.summary or {})
    run.write_summary({**summary, "test": {**summary["test"], "majority_share": summary["test"]["accuracy"]}})
    page = Page(write_run_report(run).read_text(encoding="utf-8"))
    assert "does not exceed that of always predicting the most frequent class" in page.text
    assert "does not exceed" not in Page(write_run_report(write_run("fine")).read_text(encoding="utf-8")).text
