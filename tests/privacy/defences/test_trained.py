"""What defences do in a real training: the same run with and without one, looked at as `sglr leak` does."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

import sglr
from sglr.leakage.measure_clients import MeasuredLeakage, Wanted, measure_client
from sglr.leakage.open_run import open_run

pytestmark = pytest.mark.slow

CLIENTS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("defended")


@cache
def leaks(folder: Path, defence: str) -> tuple[list[MeasuredLeakage], float]:
    """Train on digits; return what each client leaks, and the test accuracy."""
    settings = {"dataset": "digits", "model": "mlp", "clients": CLIENTS, "epochs": 8, "threads": 1, "seed": 3}
    run = sglr.train("sglr", **settings, defence=defence, out=folder / defence.partition(":")[0])
    opened, wanted = open_run(run), Wanted(("distance_correlation", "reconstruction"), samples=600, strict=True)
    assert run.summary is not None
    return [measure_client(opened.target(client), wanted) for client in range(CLIENTS)], run.summary["test"]["accuracy"]


def test_nopeek_lowers_distance_correlation_at_every_client(folder: Path) -> None:
    plain, defended = leaks(folder, "none"), leaks(folder, "nopeek:weight=1")
    for one, other in zip(plain[0], defended[0], strict=True):
        without, with_it = one.figures["distance_correlation"], other.figures["distance_correlation"]
        assert with_it.high < without.low, (without, with_it)
    assert defended[1] > plain[1] - 0.1


def test_noise_makes_the_decoder_err_more_at_every_client(folder: Path) -> None:
    plain, defended = leaks(folder, "none"), leaks(folder, "clip:norm=5+noise:sigma=1")
    for one, other in zip(plain[0], defended[0], strict=True):
        without, with_it = one.figures["reconstruction.mse"], other.figures["reconstruction.mse"]
        assert with_it.low > without.high, (without, with_it)
