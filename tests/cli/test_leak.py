"""``sglr leak``: what a user learns of a trained run, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CHEAP = ("--clients", "2", "--measures", "distance_correlation,label_inference_accuracy")


def test_a_run_is_measured_attacked_and_reported(call, run_folder: Path) -> None:
    answer = call("leak", run_folder, *CHEAP, "--attack", "label-direction", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    for name in ("distance_correlation", "label_inference_accuracy"):
        assert set(told["leakage"][name]) == {"value", "low", "high", "estimator", "unit", "samples"}
    assert len(told["clients"]) == 2
    assert told["attacks"][0]["attack"] == "label-direction"
    assert told == json.loads((run_folder / "leakage.json").read_text(encoding="utf-8"))
    assert "What leaks" in (run_folder / "report.html").read_text(encoding="utf-8")
    again = call("leak", run_folder, *CHEAP)
    assert "Cut-layer gradients" in again.out
    assert "label-direction" in again.out  # what was found before stays


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--samples", "100"), "256 samples"),
        (("--measures", "distance_correlatoin"), "did you mean 'distance_correlation'"),
        (("--attack", "label-directoin"), "did you mean 'label-direction'"),
        (("--attack", "label-direction:sampels=5"), "did you mean 'samples'"),
        (("--measures", "none", "--attack", "label-direction", "--attacker", "client"), "does not show it"),
        (("--clients", "0"), "1 or more"),
    ],
)
def test_what_cannot_be_had_is_told(call, run_folder: Path, flags: tuple[str, ...], told: str) -> None:
    answer = call("leak", run_folder, *flags)
    assert answer.code == 2
    assert told in answer.err
    assert not (run_folder / "leakage.json").exists()


def test_a_run_without_checkpoints_is_refused(call, run_folder: Path) -> None:
    for checkpoint in (run_folder / "checkpoints").iterdir():
        checkpoint.unlink()
    answer = call("leak", run_folder, *CHEAP)
    assert answer.code == 2
    assert "no checkpoint" in answer.err


def test_several_runs_share_a_page(call, run_folder: Path, finished: Path, tmp_path: Path) -> None:
    import shutil

    other = shutil.copytree(finished, tmp_path / "other")
    answer = call("leak", run_folder, other, *CHEAP, "--out", tmp_path / "page")
    assert answer.code == 0, answer.err
    page = (tmp_path / "page" / "leakage.html").read_text(encoding="utf-8")
    assert "Accuracy against distance correlation" in page


@pytest.mark.charts
@pytest.mark.slow
@pytest.mark.parametrize("spec", ["backdoor", "fsha:samples=16"])
def test_an_attack_that_takes_part_in_training_is_played_through(call, run_folder: Path, spec: str) -> None:
    answer = call("leak", run_folder, "--measures", "none", "--clients", "2", "--attack", spec)
    assert answer.code == 0, answer.err
    (attack,) = json.loads((run_folder / "leakage.json").read_text(encoding="utf-8"))["attacks"]
    assert attack["attack"] == spec.partition(":")[0]
    assert len(attack["clients"]) == 1  # each is a training of its own
    assert f"The attack {attack['attack']} by the {attack['attacker']}" in answer.out
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert attack["attack"] in page[page.index("<h2>Attacks</h2>") :]
