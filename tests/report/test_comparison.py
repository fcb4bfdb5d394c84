"""The report of a comparison: means and spreads over seeds, the best emphasised, lines that can be told apart."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.report.charts import Curve
from sglr.report.comparison import ComparisonRow, write_comparison_report
from sglr.report.comparison_chart import comparison_chart, mean_curve, spaced
from sglr.report.comparison_table import Compared
from sglr.report.cost_charts import bytes_chart, ledger_bars
from sglr.report.costs import MEANINGS
from sglr.report.palette import (
    DEEPEST_DARK,
    DEEPEST_LIGHT,
    INK,
    KINDS,
    LEAKING,
    OVER,
    SERIES,
    TRAINING,
    UNDER,
    VALIDATION,
    colour,
    dashes,
)
from sglr.report.run_report import write_run_report
from sglr.report.score_style import ScoreStyle

from .conftest import Page, Write, summary

pytestmark = pytest.mark.charts


def read(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def bold(page: Page) -> int:
    return sum(attributes.get("class") == "best" for _, attributes in page.tags)


@pytest.fixture
def two_rows(write_run: Write) -> list[ComparisonRow]:
    psl = tuple(write_run(f"psl-{seed}", method="psl", seed=seed, top=0.8 + 0.02 * seed).path for seed in (0, 1))
    sglr = tuple(write_run(f"sglr-{seed}", seed=seed, top=0.9 + 0.04 * seed).path for seed in (0, 1))
    return [ComparisonRow("psl", "psl", psl), ComparisonRow("sglr (phi=0.75)", "sglr", sglr, ("seed 2 at step 30",))]


def test_means_and_spreads_over_seeds(two_rows: list[ComparisonRow], tmp_path: Path) -> None:
    write_comparison_report(tmp_path, two_rows)
    page = read(tmp_path)
    assert "79.9 % ± 1.4" in page.text  # test: 0.789 and 0.809; sd with n - 1
    assert "90.9 % ± 2.8" in page.text
    assert "diverged: seed 2 at step 30" in page.text
    assert "4 runs of 2 methods, on digits" in page.text
    assert "Different between runs: alpha, average, method, phase, phi, seed." in page.text


def test_only_the_better_accuracy_is_emphasised(two_rows: list[ComparisonRow], tmp_path: Path) -> None:
    write_comparison_report(tmp_path, two_rows)
    page = read(tmp_path)
    assert bold(page) == 2  # test and validation accuracy; all else is equal and so nobody's merit
    assert '<span class="best">90.9 %</span>' in page.source


def test_mappings_do_as_rows(two_rows: list[ComparisonRow], tmp_path: Path) -> None:
    write_comparison_report(tmp_path, two_rows)
    as_rows = (tmp_path / "report.html").read_text(encoding="utf-8")
    mappings = [
        {"label": row.label, "method": row.method, "runs": list(row.runs), "diverged": list(row.diverged)}
        for row in two_rows
    ]
    write_comparison_report(tmp_path, mappings)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == as_rows


def test_the_plot_is_a_file_of_its_own_that_knows_light_and_dark(two_rows: list[ComparisonRow], tmp_path: Path) -> None:
    write_comparison_report(tmp_path, two_rows)
    text = (tmp_path / "accuracy.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)
    words = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert {"psl", "sglr (phi=0.75)", "epoch"} <= set(words)
    assert "prefers-color-scheme: dark" in text
    assert "DejaVu" not in text


def test_ten_methods_have_ten_different_lines(write_run: Write, tmp_path: Path) -> None:
    rows = [
        ComparisonRow(f"method {number}", "sglr", (write_run(f"m{number}", epochs=20, top=0.8 + number / 100).path,))
        for number in range(10)
    ]
    write_comparison_report(tmp_path, rows)
    page = read(tmp_path)
    for row in rows:
        assert page.text.count(row.label) >= 3  # in the table, at its line's end, in the key of the small chart
    assert len({(colour(number), dashes(number)) for number in range(35)}) == 35
    assert (tmp_path / "report.html").stat().st_size < 300_000


def test_a_run_that_broke_off_does_not_bend_the_curve(write_run: Write, tmp_path: Path) -> None:
    good, broken = write_run("good", top=0.9), write_run("broken", top=0.2, finished=False, seed=1)
    write_comparison_report(tmp_path, [ComparisonRow("a", "sglr", (good.path, broken.path), ("seed 1",))])
    page = read(tmp_path)
    assert "88.9 %" in page.text
    assert 'class="spread"' not in page.source
    assert "fill-opacity" not in (tmp_path / "accuracy.svg").read_text(encoding="utf-8")  # no band around one run


def test_nothing_validated_and_nothing_finished(write_run: Write, tmp_path: Path) -> None:
    unvalidated = write_run("a", validated=False)
    unfinished = write_run("b", finished=False, validated=False)
    write_comparison_report(
        tmp_path, [ComparisonRow("a", "sglr", (unvalidated.path,)), ComparisonRow("b", "sglr", (unfinished.path,))]
    )
    page = read(tmp_path)
    assert "seed 0 is unfinished, 4 of 5 epochs" in page.text
    assert "No run has validation samples." in page.text
    assert "86.4 %" in page.text
    assert "–" in page.text


def test_an_unfinished_method_is_shown_as_far_as_it_got_and_is_never_best(write_run: Write, tmp_path: Path) -> None:
    done, begun = write_run("done", top=0.6), write_run("begun", top=0.9, finished=False)
    write_comparison_report(
        tmp_path, [ComparisonRow("done", "sglr", (done.path,)), ComparisonRow("begun", "sglr", (begun.path,))]
    )
    page = read(tmp_path)
    assert "seed 0 is unfinished, 4 of 5 epochs" in page.text
    assert "89.0 %" in page.text  # its best validation so far
    assert bold(page) == 0
    assert "begun" in (tmp_path / "accuracy.svg").read_text(encoding="utf-8")


def test_costs_are_compared_where_they_are_known(write_run: Write, tmp_path: Path) -> None:
    cheap, dear = write_run("cheap", top=0.8), write_run("dear", top=0.9)
    content = summary(0.9, 5)
    content["communication"] |= {"up_bytes": 90_000_000, "by_kind": {"up": {"weights": 90_000_000}, "down": {}}}
    del content["energy"]
    dear.write_summary(content)
    write_comparison_report(
        tmp_path, [ComparisonRow("cheap", "psl", (cheap.path,)), ComparisonRow("dear", "fl", (dear.path,))]
    )
    page = read(tmp_path)
    for words in ("Both by broadcast", "Computation of a client", "1.23 TFLOP", "Energy, modelled", "46.1 kJ"):
        assert words in page.text, words
    assert "Energy of this machine" not in page.text
    labels = [attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg"]
    assert labels.count("test accuracy against bytes") == 2
    assert 'title="weights, to the server: 90.0 MB"' in page.source


def test_bars_are_shares_of_the_busiest_and_sums_are_kept(write_run: Write) -> None:
    rows = [ComparisonRow("a", "sglr", (write_run("a").path, write_run("b", seed=1).path))]
    bars = ledger_bars([Compared.read(row, number) for number, row in enumerate(rows)])
    assert bars is not None
    assert sum(part["share"] for part in bars["rows"][0]["parts"]) == pytest.approx(100)
    assert [part["kind"] for part in bars["rows"][0]["parts"]] == ["smashed", "labels", "average"]
    assert bars["rows"][0]["total"] == "19.3 MB"


def test_methods_that_send_the_same_have_no_chart_of_bytes(two_rows: list[ComparisonRow], tmp_path: Path) -> None:
    write_comparison_report(tmp_path, two_rows)
    assert "Test accuracy against bytes" not in read(tmp_path).text


def test_labels_and_folders_are_text_never_markup(write_run: Write, tmp_path: Path) -> None:
    evil = "<script>$\\frac&"
    run = write_run("a&<b> c")
    (run.path / "report.html").write_text("", encoding="utf-8")
    write_comparison_report(tmp_path, [ComparisonRow(evil, "sglr", (run.path,))], command="sglr compare --name '<b>'")
    page = read(tmp_path)
    assert page.count("script") == page.count("b") == 0
    assert evil in page.text
    assert "sglr compare --name '<b>'" in page.text
    assert "a%26%3Cb%3E%20c/report.html" in page.addresses()
    ET.parse(tmp_path / "accuracy.svg")


def test_the_mean_curve_by_hand() -> None:
    histories = [
        [{"epoch": 1, "x": 0.2}, {"epoch": 2, "x": 0.4}, {"epoch": 3, "x": 0.5}, {"epoch": 4}],
        [{"epoch": 1, "x": 0.4}, {"epoch": 2, "x": float("nan")}, {"epoch": 3, "x": 0.5}],
    ]
    curve = mean_curve("m", histories, "x")
    assert curve.epochs == (1, 3)
    assert curve.values == pytest.approx((0.3, 0.5))
    assert curve.spread == pytest.approx((0.02**0.5, 0.0))  # sd of two values: their distance over √2


def test_a_run_that_ended_early_bends_no_mean_curve() -> None:
    histories = [[{"epoch": 1, "x": 0.2}], [{"epoch": 1, "x": 0.4}, {"epoch": 2, "x": 0.9}]]
    assert mean_curve("m", histories, "x").epochs == (1,)


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.01, 0.2))
def test_labels_keep_their_order_and_their_distance(places: list[float], gap: float) -> None:
    moved = spaced(places, gap)
    order = sorted(range(len(places)), key=lambda index: places[index])
    assert all(moved[after] - moved[before] >= gap * 0.999 for before, after in itertools.pairwise(order))
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)


def test_labels_with_room_stay_where_they_are() -> None:
    assert spaced([0.5, 0.1, 0.9], 0.1) == pytest.approx([0.5, 0.1, 0.9])
    assert spaced([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


def test_all_epochs_are_within_the_chart() -> None:
    values = [{"epoch": epoch, "x": 0.1 if epoch < 4 else 0.8} for epoch in range(1, 21)]
    axes = comparison_chart([mean_curve("m", [values], "x")], ScoreStyle(), named=True).axes[0]
    assert axes.get_ylim()[0] < 0.1 < 0.8 < axes.get_ylim()[1]
    assert axes.get_xlim()[0] < 1 < 20 < axes.get_xlim()[1]


@pytest.mark.parametrize("places", [(2.60e6, 2.65e6, 2.67e6), (1e6, 2e6, 7e6), (1e3, 2e6, 4e8)])
def test_points_of_accuracy_against_bytes_use_the_width(places: tuple[float, ...]) -> None:
    axes = bytes_chart(
        [Curve(f"m{n}", (place,), (0.8 + n / 50,)) for n, place in enumerate(places)], ScoreStyle(), wide=True
    ).axes[0]
    drawn = [axes.transAxes.inverted().transform(axes.transData.transform((place, 0.8)))[0] for place in places]
    assert drawn[0] < 0.2
    assert drawn[-1] > 0.8
    labels = [axes.xaxis.get_major_formatter()(tick, 0) for tick in axes.get_xticks()]
    assert len(set(labels)) == len(labels)


def test_a_colour_has_one_meaning() -> None:
    known = [*KINDS.values(), *SERIES, TRAINING]
    assert len({one.light for one in known}) == len({one.dark for one in known}) == len(known)
    assert VALIDATION not in LEAKING
    assert TRAINING not in LEAKING
    assert KINDS.keys() == MEANINGS.keys()


def test_kinds_have_the_same_colour_in_every_ledger(write_run: Write, two_rows: list[ComparisonRow]) -> None:
    page = Page(write_run_report(write_run("alone")).read_text(encoding="utf-8"))
    write_comparison_report(two_rows[0].runs[0].parent, two_rows)
    both = read(two_rows[0].runs[0].parent)
    for shown in (page, both):
        marks = {attributes["class"] for _, attributes in shown.tags if "dot kind" in (attributes.get("class") or "")}
        assert marks == {"dot kind smashed", "dot kind labels", "dot kind average"}


@pytest.mark.parametrize("shade", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_text_on_shaded_cells_is_legible(shade: float) -> None:
    for over in (OVER, UNDER):
        assert contrast(INK.light, mixed(over.light, "#fefefe", shade * DEEPEST_LIGHT)) >= 4.5
        assert contrast(INK.dark, mixed(over.dark, "#182029", shade * DEEPEST_DARK)) >= 4.5


def mixed(over: str, under: str, opacity: float) -> str:
    pairs = [(int(over[at : at + 2], 16), int(under[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(a * opacity + b * (1 - opacity)):02x}" for a, b in pairs)


def test_every_series_is_legible_on_its_background() -> None:
    for one in (*SERIES, *KINDS.values(), TRAINING):
        assert contrast(one.light, "#fefefe") >= 3
        assert contrast(one.dark, "#182029") >= 3


def contrast(first: str, second: str) -> float:
    """WCAG 2.1's contrast ratio."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(hexadecimal: str) -> float:
    channels = [int(hexadecimal[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
