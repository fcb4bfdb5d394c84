"""The rule of thumb on accuracy that a plan ends with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sglr.planner.advice import SAFE_FACTOR, suggested_alpha
from sglr.planner.request import Request
from sglr.planner.words import paragraphs

EXAMPLE = Request(clients=100, samples=50_000, phi=0.5, cut_mb=0.024, model_mb=200, client_mb=67)


@given(clients=st.integers(1, 10**6))
def test_the_advised_alpha_keeps_the_servers_rate_within_what_was_measured(clients: int) -> None:
    alpha = suggested_alpha(clients)
    assert 0 < alpha <= 1
    assert clients**alpha <= SAFE_FACTOR + 1e-9
    assert alpha == 1 or clients ** (alpha + 0.1) > SAFE_FACTOR


def test_advice_bears_on_the_plan() -> None:
    advice = " ".join(paragraphs(EXAMPLE.plan())["advice"])
    assert "α = 0.4 (the server's rate × 6.31)" in advice  # 100 clients
    assert "13.4 GB more per epoch" in advice  # 2 |C| S(w_c) of the worked example
