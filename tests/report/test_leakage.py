"""What leaks, in a run's report and on the page about several runs: what is there is told, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sglr.report.leakage import attack_row, conditions, interval, leakage_section, measure_rows
from sglr.report.leakage_comparison import leakage_page, mean_point
from sglr.report.run_report import write_run_report
from sglr.runs.folder import Run

from .conftest import Page, Write, record
from .leaking import attack, estimate, leaking, picture, write_leakage

pytestmark = pytest.mark.charts


def page_of(run: Run) -> Page:
    return Page(write_run_report(run).read_text(encoding="utf-8"))


def test_a_run_that_was_not_looked_at_has_no_section(write_run: Write) -> None:
    assert leakage_section({}, []) is None
    assert "What leaks" not in page_of(write_run()).text


def test_a_run_that_was_looked_at_tells_sentences_figures_pictures_and_attacks(write_run: Write) -> None:
    page = page_of(write_leakage(write_run(), leaking()))
    for told in (
        "What leaks",
        "Images can be recognised from what the clients send.",
        "Distance correlation",
        "5.24 or more",
        "17 dB",
        "42.0 %",
        "Means over clients 0, 3; 95 % intervals; seed 7.",
        "Images at client 0",
        "probe",
        "succeeds",
        "Mean rank: 1.5",
        "Somebody, 2020",
    ):
        assert told in page.text, told
    assert page.count("img") >= 10 + 10 + 1 + 2
    assert all(address.startswith(("#", "data:")) for address in page.addresses())


def test_what_could_not_be_measured_is_told_with_the_reason(write_run: Write) -> None:
    page = page_of(write_leakage(write_run(), leaking(missing={"mutual_information": "too few samples"})))
    assert "Not measured: mutual information: too few samples." in page.text


def test_attacks_alone_make_a_section(write_run: Write) -> None:
    alone = {"conditions": {"clients": [0], "seed": 0}, "attacks": [attack()], "reading": ["It succeeds."]}
    page = page_of(write_leakage(write_run(), alone))
    assert "It succeeds." in page.text
    assert "Distance correlation" not in page.text


def test_leakage_that_was_watched_is_drawn_over_epochs(write_run: Write) -> None:
    history: list[dict[str, Any]] = [
        {**record(epoch, 0.5), "leakage_explained": 0.6, "leakage_distance_correlation": 0.7} for epoch in (1, 2, 3)
    ]
    section = leakage_section({}, history)
    assert section is not None
    assert 'aria-label="leakage over epochs"' in section["chart"]


def test_intervals_say_which_end_is_open() -> None:
    assert interval(estimate(0.5)) == "0.49 to 0.51"
    assert interval(estimate(0.5, "share")) == "49 to 51"
    assert interval(estimate(5.0, high=None)) == "4.99 or more"
    assert interval(estimate(5.0, low=None)) == "5.01 or less"
    assert interval(estimate(5.0, low=None, high=None)) == ""


def test_only_measures_that_are_there_have_rows_with_the_baseline_where_there_is_one() -> None:
    rows = measure_rows({"distance_correlation": estimate(0.5), "reconstruction": {"mse": estimate(0.02)}})
    assert [row["name"] for row in rows] == ["Error of reconstructed images", "Distance correlation"]
    error = measure_rows(leaking()["leakage"])[0]
    assert error["baseline"] == "0.1"


@pytest.mark.parametrize(
    ("succeeds", "verdict", "mark"),
    [(2, "succeeds", "fails"), (1, "succeeds at 1 of 2", "undecided"), (0, "fails", "holds")],
)
def test_an_attack_that_succeeds_is_marked_as_bad_news(succeeds: int, verdict: str, mark: str) -> None:
    row = attack_row(attack(succeeds=succeeds))
    assert (row["verdict"], row["mark"]) == (verdict, mark)


def test_originals_are_not_shown_twice_if_an_attack_was_on_the_same_images(write_run: Write) -> None:
    shown = {"originals": [picture()] * 10, "white box": [picture()] * 10}
    same = leakage_section(leaking(attacks=[attack(pictures=shown)]), [])
    other = leakage_section(leaking(attacks=[attack(pictures=shown | {"originals": [picture()] * 3})]), [])
    assert same is not None and other is not None
    assert [len(section["pictures"]) for section in (same, other)] == [3, 4]


def test_one_client_is_told_without_means() -> None:
    assert conditions({"clients": [5], "seed": 1}) == "Measured at client 5; seed 1."
    assert conditions({}) == ""


def test_students_interval_of_a_mean() -> None:
    point = mean_point([1.0, 3.0])
    assert point is not None
    assert (point.value, round(point.half, 2)) == (2.0, 12.71)
    assert mean_point([]) is None
    assert mean_point([4.0]).half == 0  # type: ignore[union-attr]


def test_several_runs_are_rows_with_frontiers_and_originals_told_once(write_run: Write, tmp_path: Path) -> None:
    runs = [
        write_leakage(write_run(method, top=0.8, method=method), leaking(mse))
        for method, mse in (("psl", 0.01), ("sglr", 0.03))
    ]
    page = Page(leakage_page(tmp_path, runs, "sglr leak psl sglr"))
    for told in ("What 2 ways of training leak", "Accuracy against distance correlation", "sglr leak psl sglr", "0.03"):
        assert told in page.text, told
    assert page.text.count("originals") == 1
    assert {"psl/report.html", "sglr/report.html"} <= set(page.addresses())
    assert page.count("img") == 3 * 10


def test_seeds_are_one_row(write_run: Write, tmp_path: Path) -> None:
    runs = [write_leakage(write_run(f"s{seed}", seed=seed), leaking(0.01 * (seed + 1))) for seed in (0, 1)]
    page = leakage_page(tmp_path, runs)
    body = re.search(r'<table class="methods leaking">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body is not None
    assert body[1].count("<tr>") == 1
    assert "0.015" in body[1]  # the mean over seeds and clients
    assert "Accuracy against" not in page  # a single point is no frontier
    assert all(page.count(f", seed {seed}</td>") == 1 for seed in (0, 1))  # attacks are told run by run
