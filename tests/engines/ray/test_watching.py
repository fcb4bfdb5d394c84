"""Leakage is watched in clients that live in Ray as in those of this process, and changes nothing there either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sglr

SETTINGS: dict[str, Any] = {
    "model": "cnn",
    "clients": 4,
    "samples_per_client": 40,
    "epochs": 2,
    "device": "cpu",
    "threads": 1,
    "stacking": "stacked",
}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_watched_training_on_ray_is_the_one_that_is_not_watched(tmp_path: Path) -> None:
    on_ray = {**SETTINGS, "engine": "ray", "block_clients": 2}
    plain = sglr.train("sglr", **on_ray, out=tmp_path / "plain")
    watched = sglr.train("sglr", **on_ray, leakage="every=1,samples=64", out=tmp_path / "watched")
    here = sglr.train("sglr", **SETTINGS, leakage="every=1,samples=64", out=tmp_path / "here")
    assert plain.summary is not None and watched.summary is not None and here.summary is not None
    assert watched.summary["weights_sha256"] == plain.summary["weights_sha256"]
    assert watched.summary["leakage"] == pytest.approx(here.summary["leakage"], rel=1e-4)
