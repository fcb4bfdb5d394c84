"""Runs from anywhere as rows: what differs tells them apart, and nothing else does."""

from __future__ import annotations

from sglr.report.grouping import group_runs

from .conftest import Write


def test_seeds_of_equal_settings_are_one_row(write_run: Write) -> None:
    runs = [write_run(f"r{seed}", seed=seed, threads=seed + 1) for seed in (0, 1, 2)]
    rows = group_runs(runs)
    assert [(row.label, row.method, row.runs) for row in rows] == [("sglr", "sglr", tuple(run.path for run in runs))]


def test_a_parameter_of_one_method_is_told_only_where_it_differs(write_run: Write) -> None:
    runs = [write_run("a", method="psl"), write_run("b", phi=0.5), write_run("c", phi=1.0)]
    assert [row.label for row in group_runs(runs)] == ["psl", "sglr (phi=0.5)", "sglr (phi=1.0)"]


def test_what_all_have_is_told_of_all(write_run: Write) -> None:
    runs = [write_run("a", method="psl", clients=4), write_run("b", clients=8)]
    assert [row.label for row in group_runs(runs)] == ["psl (clients=4)", "sglr (clients=8)"]


def test_of_many_differences_only_those_that_are_needed_are_told(write_run: Write) -> None:
    runs = [write_run("a", method="psl", clients=4, lr=0.1, batch_size=4), write_run("b", clients=8, lr=0.2)]
    assert [row.label for row in group_runs(runs)] == ["psl", "sglr"]
    runs += [write_run("c", clients=9, lr=0.2, batch_size=3)]
    assert [row.label for row in group_runs(runs)] == ["psl (clients=4)", "sglr (clients=8)", "sglr (clients=9)"]


def test_a_name_that_was_given_is_the_label(write_run: Write) -> None:
    runs = [write_run("a", name="mine"), write_run("b", name="mine", seed=1), write_run("c", method="psl")]
    assert [row.label for row in group_runs(runs)] == ["mine", "psl"]


def test_a_second_run_of_the_same_seed_is_no_second_seed(write_run: Write) -> None:
    first, second = write_run("a"), write_run("b")
    assert [row.label for row in group_runs([first, second])] == ["sglr [a]", "sglr [b]"]
    assert len(group_runs([first, first])) == 1
