"""Presets and defaults: what is set where nothing is given, and what wins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sglr
from sglr.core.errors import UsageError
from sglr.core.registry import METHODS
from sglr.runs import presets
from sglr.runs.config import SETTINGS, Experiment
from sglr.runs.folder import Run
from sglr.studies.sweeps.grid import Grid

TINY: dict[str, Any] = {"clients": 3, "samples_per_client": 16, "epochs": 1, "model": "mlp"}
CHOSEN_BY_THE_USER = {"method", "model", "dataset", "partition", "clients", "seed", "name", "engine", "device"}


@pytest.mark.parametrize("method", METHODS.names())
def test_client_segments_start_alike_unless_told_otherwise(method: str) -> None:
    assert Experiment.from_flat({"method": method}).init == "common"


def test_the_papers_preset_is_what_the_paper_says() -> None:
    paper = Experiment.from_flat({"preset": "paper"})
    assert (paper.init, paper.schedule, paper.batch_size) == ("independent", "step", 8)
    assert (paper.lr, paper.server_lr, paper.optimizer) == (1e-3, None, "adam")
    assert paper.label_prior == "ignore"


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_says_how_to_train_and_no_more(name: str) -> None:
    settings = presets.settings(name)
    assert settings.keys() <= SETTINGS - CHOSEN_BY_THE_USER
    assert Experiment.from_flat(settings).flat() == Experiment.from_flat({"preset": name}).flat()


def test_what_is_given_wins_over_the_preset_in_every_order() -> None:
    for settings in ({"preset": "paper", "init": "common"}, {"init": "common", "preset": "paper"}):
        assert Experiment.from_flat(settings).init == "common"


def test_a_preset_on_the_command_line_wins_over_a_file_and_flags_win_over_both(call, tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text('init = "common"\nbatch_size = 4\n')
    assert Experiment.from_toml(file, {"preset": "paper"}).batch_size == 8
    assert Experiment.from_toml(file, {"preset": "paper", "batch_size": 2}).batch_size == 2
    file.write_text('preset = "paper"\nbatch_size = 4\n')
    assert Experiment.from_toml(file).init == "independent"
    assert Experiment.from_toml(file).batch_size == 4
    assert Experiment.from_toml(file, {"init": "common"}).init == "common"
    assert Experiment.from_toml(file, {"preset": None}).batch_size == 4
    words = ["--methods", "psl", "--config", file, "--lr", "0.01", "--clients", "3", "--samples-per-client", "16"]
    assert call("compare", *words, "--epochs", "1", "--out", tmp_path / "c", "--quiet").code == 0
    compared = Run.open(tmp_path / "c" / "psl-seed0").experiment
    assert (compared.init, compared.batch_size, compared.lr) == ("independent", 4, 0.01)


def test_a_run_folder_holds_the_resolved_settings(tmp_path: Path) -> None:
    run = sglr.train(preset="paper", **TINY, out=tmp_path / "r")
    text = (run.path / "config.toml").read_text()
    assert 'init = "independent"' in text
    assert "preset" not in text
    assert Run.open(run.path).experiment == run.experiment
    same = Experiment.from_flat({**TINY, **presets.settings("paper")})
    assert same.fingerprint() == run.experiment.fingerprint()


def test_a_run_that_began_independently_goes_on_so(tmp_path: Path) -> None:
    """Its config.toml says it, whatever the default is by then."""
    steps: list[object] = []
    settings = {**TINY, "epochs": 2, "init": "independent"}
    whole = sglr.train(**settings, out=tmp_path / "whole")
    with pytest.raises(sglr.Interrupted):
        sglr.train(**settings, out=tmp_path / "r", observe=steps.append, stop=lambda: len(steps) > 3)
    resumed = sglr.resume(tmp_path / "r")
    assert resumed.summary is not None
    assert whole.summary is not None
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_a_sweep_takes_a_preset_for_all_and_compares_presets(tmp_path: Path) -> None:
    shared = {"preset": "paper", "clients": 3, "grid": {"lr": [0.1, 0.001]}}
    found = [one.experiments[0] for one in Grid.read(shared, {}).configurations(10)]
    assert [(one.init, one.lr) for one in found] == [("independent", 0.1), ("independent", 0.001)]
    varied = {"clients": 3, "grid": {"preset": ["none", "paper"], "method": ["psl"]}}
    labels = {one.label: one.experiments[0].init for one in Grid.read(varied, {}).configurations(10)}
    assert labels == {"preset=none": "common", "preset=paper": "independent"}
    flag = [
        one.experiments[0].init
        for one in Grid.read(varied | {"grid": {"lr": [0.1]}}, {"preset": "paper"}).configurations(9)
    ]
    assert flag == ["independent"]


def test_an_unknown_preset_is_refused_with_the_nearest(call, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"preset = papr: no such preset; did you mean 'paper'"):
        Experiment.from_flat({"preset": "papr"})
    answer = call("train", "--preset", "papr", "--out", tmp_path / "r")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "r").exists()


def test_presets_are_listed_with_what_they_set(call) -> None:
    (listed,) = json.loads(call("list", "presets", "--verbose", "--json").out)
    assert listed["name"] == "paper"
    assert {one["name"]: one["value"] for one in listed["settings"]} == presets.settings("paper")
    assert "--init independent" in " ".join(call("list", "presets", "--verbose").out.split())
