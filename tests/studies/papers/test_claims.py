"""Claims are judged by paired differences, and stay undecided where these don't decide."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.studies.papers.claims import judge
from sglr.studies.papers.declared import Claim

ROWS, SEEDS = ("1", "4", "8"), (0, 1)


def claim(test: str, *, margin: float = 0.0, rows: str = "several", target: float | None = None) -> Claim:
    less = {} if target is not None else {"rows": [rows], "columns": ["low"]}
    return Claim("high beats low", test, {"rows": [rows], "columns": ["high"]}, less, margin, target)


def figures(differences: dict[tuple[str, int], float], base: float = 50.0) -> dict[tuple[str, str, int], float]:
    found = {}
    for (row, seed), difference in differences.items():
        found[row, "low", seed] = base + seed
        found[row, "high", seed] = base + seed + difference
    return found


def everywhere(*values: float) -> dict[tuple[str, int], float]:
    places = [(row, seed) for row in ROWS for seed in SEEDS]
    return dict(zip(places, [0.0, 0.0, *values], strict=True))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [((2, 3, 2, 3), "holds"), ((-2, -3, -2, -3), "fails"), ((2, -3, 3, -2), "undecided")],
)
def test_a_mean_is_judged_by_its_interval(values: tuple[float, ...], verdict: str) -> None:
    assert judge(claim("mean"), figures(everywhere(*values))).verdict == verdict


def test_the_interval_is_the_t_interval_by_hand() -> None:
    found = judge(claim("mean"), figures(everywhere(1, 2, 3, 4)))
    mean, deviation = 2.5, math.sqrt((1.5**2 + 0.5**2 + 0.5**2 + 1.5**2) / 3)
    half = 3.182446 * deviation / 2  # t of 3 degrees of freedom at 97.5 %
    assert f"{mean:+.4g}" in found.evidence
    assert f"{mean - half:+.4g} to {mean + half:+.4g}" in found.evidence
    assert "4 pairs" in found.evidence


def test_columns_of_one_row_and_seed_count_as_one_pair() -> None:
    """They share data and weights: counting each would feign certainty."""
    both = Claim("", "mean", {"rows": ["8"], "columns": ["a", "b"]}, {"rows": ["8"], "columns": ["low", "low"]})
    values = {("8", "low", seed): 0.0 for seed in SEEDS} | {("8", "a", 0): 1.0, ("8", "b", 0): 3.0}
    values |= {("8", "a", 1): 2.0, ("8", "b", 1): 2.0}
    assert "2 pairs" in judge(both, values).evidence
    assert judge(both, values).verdict == "holds"  # both means are 2


@pytest.mark.parametrize(("values", "verdict"), [((11, 12), "holds"), ((1, 2), "fails"), ((11, 2), "undecided")])
def test_every_pair_must_exceed_the_margin(values: tuple[float, float], verdict: str) -> None:
    given_figures = figures({("1", 0): 0.0, ("8", 0): values[0], ("8", 1): values[1]})
    assert judge(claim("every", margin=10, rows="last"), given_figures).verdict == verdict


@pytest.mark.parametrize(("values", "verdict"), [((11, 12), "holds"), ((11, 2), "fails")])
def test_one_exception_is_enough_against_exact_figures(values: tuple[float, float], verdict: str) -> None:
    given_figures = figures({("8", 0): values[0], ("8", 1): values[1]})
    assert judge(claim("all", margin=10, rows="last"), given_figures).verdict == verdict


@pytest.mark.parametrize(("target", "verdict"), [(88.61, "holds"), (88.7, "fails")])
def test_a_figure_is_held_against_a_target(target: float, verdict: str) -> None:
    found = judge(claim("equal", margin=0.05, rows="all", target=target), {("8", "high", 0): 88.6})
    assert found.verdict == verdict


@pytest.mark.parametrize("test", ["mean", "every", "all", "equal"])
def test_nothing_is_decided_without_figures(test: str) -> None:
    assert judge(claim(test), {}).verdict == "undecided"
    assert judge(claim("mean", rows="last"), figures({("8", 0): 99.0})).verdict == "undecided"


def test_a_claim_about_many_clients_is_not_judged_with_few() -> None:
    many = Claim(
        "", "every", {"rows": ["last"], "columns": ["high"]}, {"rows": ["last"], "columns": ["low"]}, from_clients=15
    )
    few = judge(many, figures({("8", 0): 5.0}))
    assert few.verdict == "undecided"
    assert "from 15 clients on" in few.evidence
    assert judge(many, figures({("8", 0): -5.0, ("20", 0): 5.0})).verdict == "holds"


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_turning_a_claim_round_never_keeps_a_verdict_that_was_decided(values: list[float]) -> None:
    turned = {"holds": "fails", "fails": "holds", "undecided": "undecided"}
    there = judge(claim("mean"), figures(everywhere(*values))).verdict
    back = judge(claim("mean"), figures(everywhere(*(-value for value in values)))).verdict
    assert back == turned[there]
