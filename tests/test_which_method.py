"""The study of docs/results/which-method.md: all methods are in it, it can be planned, ten rows of it are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sglr.studies.sweeps.grid import Grid

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
SMALL = ["--scale", "smoke", "--data", "digits", "--divisions", "iid,shards-2", "--seeds", "1"]
SMALL += ["--methods", "psl", "sglr", "sglr:label_prior=pooled", "sfl", "sglr:merge=epoch"]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import which_method

    return which_method


def test_every_registered_method_is_in_the_study(study: Any) -> None:
    assert study.missing_methods() == []


def test_the_whole_study_can_be_planned_and_only_the_ceiling_is_trained_once(study: Any, tmp_path: Path) -> None:
    sweeps = [(part, part.plan(tmp_path)) for part in study.parts(study.Choice())]
    assert len(sweeps) == 4 * len(study.ORDER)
    for part, sweep in sweeps:
        assert [one.label for one in sweep.configurations] == list(part.methods)
        assert ("cl" in part.methods) == (part.division == "iid")
    independent = [method for part, _ in sweeps if part.data == "fashion-cnn" for method in part.methods]
    assert independent.count("sglr:init=independent") == 4


@pytest.mark.parametrize("name", ["table4-cnn", "table4-alexnet", "table2-six-clients"])
def test_the_papers_length_is_that_of_the_paper(name: str) -> None:
    for one in Grid.read(BENCHMARKS / "paper_length" / f"{name}.toml", {}).configurations(100):
        assert {(own.epochs, own.samples_per_client, own.batch_size) for own in one.experiments} == {(200, 1000, 8)}
        assert len(one.seeds) >= 2


def test_ten_rows_are_trained_once_and_the_same_command_goes_on(
    study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "--out", str(tmp_path / "runs"), *SMALL]
    study.main([*train, "--hours", "0"])
    assert "stopped; the same command goes on" in capsys.readouterr().out
    study.main(train)
    told = capsys.readouterr().out
    assert "0 of 10 runs were done before" in told
    assert "[10/10] digits/shards-2: sglr:merge=epoch, seed 0: " in told
    study.main(train)
    assert capsys.readouterr().out == "10 of 10 runs were done before\n"
