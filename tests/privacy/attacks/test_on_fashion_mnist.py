"""Each passive attack, as it is by default, on Fashion-MNIST: it beats its baseline, and its defence weakens it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import sglr
from sglr.core.registry import ATTACKS
from sglr.leakage.open_run import open_run
from sglr.privacy.attack import AttackResult
from sglr.runs.folder import Run

from ..conftest import SETTINGS

DATA = os.environ.get("SGLR_DATA_DIR")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DATA is None, reason="Fashion-MNIST is not here: SGLR_DATA_DIR names no folder"),
]

Trained = Callable[[str, str], Run]


@pytest.fixture(scope="module")
def trained(once: Callable[[str, Callable[[Path], object]], Path]) -> Trained:
    def train(method: str, defence: str) -> Run:
        sizes = {"samples_per_client": 500, "validation": 2000, "epochs": 3, "test_clients": 1}
        settings = {"dataset": "fashion-mnist", "data_dir": DATA, "defence": defence, **SETTINGS, "seed": 0, **sizes}
        return Run.open(once(f"fashion-{method}-{defence}", lambda out: sglr.train(method, out=out, **settings)))

    return train


def attacked(trained: Trained, name: str, method: str, defence: str) -> AttackResult:
    attack = ATTACKS.load(name)
    return attack()(open_run(trained(method, defence)).target(0, attack.attacker))


@pytest.mark.parametrize(
    ("name", "method", "defence"),
    [
        ("decoder", "psl", "noise:sigma=2"),
        ("white-box", "sfl", "noise:sigma=2"),
        ("unsplit", "psl", "noise:sigma=2"),
        ("probe", "psl", "noise:sigma=2"),
        ("label-direction", "psl", "marvell"),
        ("label-clusters", "psl", "marvell"),
    ],
)
def test_it_beats_its_baseline_and_is_weakened(trained: Trained, name: str, method: str, defence: str) -> None:
    plain = attacked(trained, name, method, "none")
    assert plain.succeeds
    hidden = attacked(trained, name, method, defence)
    better, worse = (plain.score, hidden.score) if plain.more_leaks else (hidden.score, plain.score)
    assert better.low is not None
    assert worse.high is not None
    assert better.low > worse.high


def test_federated_learning_is_inverted(trained: Trained) -> None:
    assert attacked(trained, "gradient-inversion", "fl", "none").succeeds
