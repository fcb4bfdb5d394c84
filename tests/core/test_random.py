"""Every draw depends on what it is for, and on nothing else."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.random import generator, key, normals_of, seed_layers

WORDS = st.sampled_from(["order", "step", "cohorts", "participants", "layers"])
INDICES = st.lists(st.integers(0, 50), max_size=3).map(tuple)


@given(st.tuples(st.integers(0, 9), WORDS, INDICES), st.tuples(st.integers(0, 9), WORDS, INDICES))
def test_keys_differ_whenever_anything_differs(first, second) -> None:
    a, b = (key(seed, purpose, *indices) for seed, purpose, indices in (first, second))
    assert (a == b) == (first == second)


@given(st.integers(-(2**70), 2**70), WORDS, INDICES)
def test_keys_fit_torch_and_numpy_seeds(seed: int, purpose: str, indices: tuple[int, ...]) -> None:
    assert 0 <= key(seed, purpose, *indices) < 2**63


def test_a_key_is_pinned() -> None:
    """A change here changes every run of every user, and what becomes of their checkpoints when resumed."""
    assert key(0, "order", 3, 1) == 68199010791823011


@pytest.mark.slow
def test_keys_are_the_same_in_another_process() -> None:
    """Unlike Python's own hash of a text."""
    code = "from sglr.core.random import key; print(key(5, 'step', 1, 2, 3))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(out.stdout) == key(5, "step", 1, 2, 3)


def test_generators_of_one_purpose_draw_the_same() -> None:
    assert np.array_equal(generator(1, "step", 2).random(5), generator(1, "step", 2).random(5))
    assert not np.array_equal(generator(1, "step", 2).random(5), generator(1, "step", 3).random(5))


def test_layers_are_seeded_as_torch_would() -> None:
    seed_layers(key(1, "layers"))
    drawn = torch.rand(5)
    torch.manual_seed(key(1, "layers"))
    assert torch.equal(drawn, torch.rand(5))


def test_secret_draws_are_normal_and_depend_on_every_bit_of_the_secret() -> None:
    drawn = normals_of(b"a secret", 40_000)
    assert drawn.dtype == torch.float64
    assert torch.equal(drawn[:100], normals_of(b"a secret", 100))
    # Moments 0, 1, 0 and 3 of the standard normal distribution.
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert float((drawn**power).mean()) == pytest.approx(moment, abs=0.15)
    assert not torch.isinf(drawn).any()
    one, other = normals_of(bytes(64), 100), normals_of(bytes(63) + b"\1", 100)
    assert not (one == other).any()
