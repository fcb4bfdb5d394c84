"""The report of a sweep: which picture is drawn of what, and that table and picture say what the record says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sglr.report.score_style import ScoreStyle
from sglr.report.sweep import sweep_page, write_sweep_report
from sglr.report.sweep_figure import MOST_POINTS, heat_map, lines, lines_figure, points

from .conftest import Write
from .made_up import sweep_row as row

pytestmark = pytest.mark.charts

accuracies = st.floats(0, 1)
spreads = st.none() | st.floats(0, 0.3)


def record(rows, runs: list[str]) -> dict:
    rows = [{**one, "runs": runs, "seeds": list(range(len(runs))), "accuracies": [0.5] * len(runs)} for one in rows]
    return {"keys": list(rows[0]["values"]), "best": rows[0]["label"], "rows": rows}


def test_one_number_is_a_line_over_its_values_in_their_order() -> None:
    found = lines([row(0.5, 0.01, lr=0.01), row(0.7, 0.02, lr=0.001), row(0.6, 0.03, lr=0.1)], ScoreStyle())
    assert found is not None
    (series,) = found.chart["series"]
    assert (found.axis, found.chart["log_x"]) == ("lr", True)
    assert series["x"] == [0.001, 0.01, 0.1]
    assert series["y"] == pytest.approx([70, 50, 60])
    assert series["spread"] == pytest.approx([2, 1, 3])
    assert [text.get_text() for text in lines_figure(found, (4, 3)).axes[0].get_xticklabels()] == [
        "0.001",
        "0.01",
        "0.1",
    ]


def test_evenly_spaced_numbers_are_drawn_evenly() -> None:
    found = lines([row(0.5, phi=phi) for phi in (0.0, 0.25, 0.5, 0.75)], ScoreStyle())
    assert found is not None
    assert not found.chart["log_x"]


def test_another_setting_makes_lines_and_a_case_without_the_number_runs_from_edge_to_edge() -> None:
    rows = [row(0.5, method=method, clients=clients) for method in ("psl", "sfl") for clients in (1, 5, 10)]
    found = lines([*rows, row(0.9, method="cl", clients=None)], ScoreStyle())
    assert found is not None
    assert [one["label"] for one in found.chart["series"]] == ["psl", "sfl", "cl"]
    assert found.chart["series"][2]["x"] == [1, 10]
    marks = [line.get_marker() for line in lines_figure(found, (4, 3)).axes[0].lines]
    assert marks == ["o", "o", "none"]


def test_a_configuration_that_diverged_leaves_a_gap() -> None:
    found = lines([row(0.5, lr=0.1), row(None, lr=0.2), row(0.6, lr=0.3)], ScoreStyle())
    assert found is not None
    assert len(lines_figure(found, (4, 3)).axes[0].lines[0].get_xdata()) == 2
    everything = lines([row(None, lr=lr) for lr in (0.1, 0.2, 0.3)], ScoreStyle())
    assert everything is not None
    assert len(lines_figure(everything, (4, 3)).axes[0].lines) == 0


def test_two_numbers_with_many_values_are_a_map() -> None:
    rows = [row(0.5 + a * p / 200, alpha=a, phi=p) for a in range(9) for p in range(9)]
    assert lines(rows, ScoreStyle()) is None
    found = heat_map(rows, ScoreStyle())
    assert found is not None
    assert (found["row_title"], found["column_title"], found["low"], found["high"]) == (
        "alpha",
        "phi",
        "50.0 %",
        "82.0 %",
    )
    shades = [[cell["shade"] for cell in line["cells"]] for line in found["rows"]]
    assert (shades[0][0], shades[8][8]) == (0, 1)
    assert [cell["best"] for line in found["rows"] for cell in line["cells"]].count(True) == 1
    assert heat_map([row(0.5, method=m, phi=p) for m in "ab" for p in range(9)], ScoreStyle()) is None


@given(st.lists(st.tuples(accuracies, spreads), min_size=1, max_size=MOST_POINTS))
@example([(0.7, None)])  # a tick itself, to rounding
def test_every_point_and_its_bar_lie_on_the_scale(figures) -> None:
    found = points(
        [row(accuracy, spread, method=f"m{n}") for n, (accuracy, spread) in enumerate(figures)], ScoreStyle()
    )
    ticks = [tick["place"] for tick in found["ticks"]]
    assert ticks == sorted(ticks)
    assert (ticks[0], ticks[-1], len(ticks) <= 6) == (pytest.approx(0), pytest.approx(100), True)
    for one in found["rows"]:
        assert -1e-6 <= one["start"] <= one["place"] + 1e-6
        assert one["place"] <= one["start"] + one["width"] + 1e-6 <= 100 + 2e-6


def test_of_very_many_the_best_are_shown_in_their_order() -> None:
    found = points([row(n / 100, method=f"m{n}") for n in range(60)], ScoreStyle())
    assert [one["label"] for one in found["rows"]] == [f"m{n}" for n in range(20, 60)]
    assert found["left_out"] == 20


@pytest.mark.parametrize("values", [[{"lr": n / 10} for n in (1, 2, 3)], [{"method": m} for m in ("psl", "<b>&")]])
def test_the_page_tells_all_configurations_and_links_their_runs(write_run: Write, tmp_path: Path, values) -> None:
    runs = [write_run("first").path.name, write_run("second").path.name]
    (tmp_path / "first" / "report.html").write_text("")
    rows = [row(0.5 + n / 10, 0.01, **one) for n, one in enumerate(values)]
    rows[-1]["diverged"] = ["seed 1: the loss is nan"]
    write_sweep_report(tmp_path, record(rows, runs), "sglr sweep x.toml")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "accuracy.svg").is_file() == ("lr" in values[0])
    assert page.count('href="first/report.html"') == len(rows)
    assert 'href="second/report.html"' not in page
    assert "the loss is nan" in page
    assert "<b>&" not in page
    for n in range(len(rows)):
        assert f"{50 + n * 10}.0 %" in page
    assert 'href="../first/report.html"' in sweep_page(tmp_path / "x", tmp_path, record(rows, runs))
