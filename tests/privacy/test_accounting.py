"""What noise guarantees: against closed forms, and only where there is a bound."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import sglr
from sglr.parties.defences import parse
from sglr.privacy.accounting import Guarantee, described, gaussian_epsilon, guarantee_of


def test_epsilon_of_one_release_against_the_literature() -> None:
    # Balle and Wang's analytic Gaussian mechanism, multiplier 1 and delta 1e-5.
    assert gaussian_epsilon(1.0, 1e-5) == pytest.approx(4.3772, abs=1e-3)


@pytest.mark.parametrize(
    ("multiplier", "delta", "exact"),
    [
        (4.0, 1e-5, 0.926341503998),
        (1.0, 1e-9, 6.17393504667),
        (0.5, 1e-5, 9.99725614643),
        (0.2165, 1e-5, 29.6606956103),  # clip:norm=10+noise:sigma=4.33
        (0.215, 1e-5, 29.9461787977),  # clip:norm=1+noise:sigma=0.43
        (0.05, 1e-5, 284.391849498),  # clip:norm=5+noise:sigma=0.5
        (0.001, 1e-9, 505996.810002),
    ],
)
def test_epsilon_of_one_release_is_exact_with_strong_and_with_weak_noise(multiplier, delta, exact) -> None:
    # By 200 bisections of ncdf(1 / (2 z) - e z) - exp(e) ncdf(-1 / (2 z) - e z) = delta in mpmath, with 80 digits.
    assert gaussian_epsilon(multiplier, delta) == pytest.approx(exact, rel=1e-11)


@given(multiplier=st.floats(0.3, 30), delta=st.floats(1e-8, 1e-3))
def test_epsilon_is_below_the_classical_bound(multiplier: float, delta: float) -> None:
    found = gaussian_epsilon(multiplier, delta)
    assert 0 <= found <= math.sqrt(2 * math.log(1.25 / delta)) / multiplier + 1 / (2 * multiplier**2)


def test_no_noise_guarantees_nothing() -> None:
    assert gaussian_epsilon(0.0, 1e-5) == math.inf
    told = described(parse("clip:norm=1+noise:sigma=0").named, 3)
    assert told is not None
    assert told["guarantee"] is None


@pytest.mark.parametrize(("sigma", "releases"), [(8.0, 1), (8.0, 20), (2.0, 5), (0.1, 4)])
def test_the_accountant_is_an_upper_bound_and_close(sigma: float, releases: int) -> None:
    guarantee = Guarantee(norm=1.0, sigma=sigma, releases=releases)
    # T Gaussian releases are one of sigma / sqrt(T).
    exact = gaussian_epsilon(guarantee.multiplier / math.sqrt(releases), guarantee.delta)
    assert exact <= guarantee.epsilon() <= 1.25 * exact


@pytest.mark.parametrize(
    "text", ["noise:sigma=1", "clip:norm=1", "clip:norm=1+quantize:bits=4+noise:sigma=1", "nopeek"]
)
def test_without_a_bound_before_noise_there_is_no_guarantee(text: str) -> None:
    told = described(parse(text).named, 10)
    assert told is not None
    assert guarantee_of(parse(text).named, 10) is None
    assert told["guarantee"] is None
    assert told["statement"].startswith("No formal guarantee")


def test_the_statement_names_both_epsilons_and_who_could_undo_the_noise() -> None:
    told = described(parse("quantize:bits=4+clip:norm=1+noise:sigma=8").named, 20)
    assert told is not None
    figures = told["guarantee"]
    assert figures["epsilon_per_release"] == pytest.approx(0.926, abs=1e-3)
    assert figures["epsilon"] == pytest.approx(5.38, abs=0.01)
    assert "(0.926, 1e-05)" in told["statement"]
    assert "(5.38, 1e-05)" in told["statement"]
    assert "seed" in told["statement"]
    assert "32 bits" in told["statement"]
    assert "Counted is one release in each epoch" in told["statement"]
    secret = described(parse("clip:norm=1+noise:sigma=8,secret=true").named, 20)
    assert secret is not None
    assert "seed" not in secret["statement"]


def test_there_is_no_guarantee_where_masks_cross_beside_the_noise() -> None:
    class Masked(nn.Module):
        default_cut = "enc"

        def __init__(self) -> None:
            super().__init__()
            self.emb, self.enc, self.head = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            there = (tokens != 0)[..., None]
            return self.head((self.enc(self.emb(tokens)) * there).sum(1))

    plain = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Flatten(), nn.Linear(20, 2))
    samples = torch.arange(120).reshape(24, 5) % 9, torch.arange(24) % 2
    settings: dict[str, Any] = {"defence": "clip:norm=1+noise:sigma=8", "clients": 2, "epochs": 1, "device": "cpu"}
    masked, alone = (
        (sglr.train("psl", dataset=samples, model=model, cut=cut, **settings).summary or {})["defences"]
        for model, cut in ((Masked(), "enc"), (plain, 2))
    )
    assert masked["guarantee"] is None
    assert "masks and token numbers are sent as they are" in masked["statement"]
    assert alone["guarantee"]["releases"] == 1


def test_nothing_is_told_without_defences() -> None:
    assert described(parse("none").named, 3) is None
