"""Users' stories: several experiments at once are the runs that each would have been alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import sglr
from sglr.core.errors import DivergedError, Interrupted, UsageError
from sglr.core.events import EpochDone, Event, StepDone
from sglr.experiment.train import execute
from sglr.runs.config import Experiment
from sglr.runs.folder import Run
from sglr.storage.checkpoint import read_checkpoint
from sglr.studies.scheduler.trial_batching import execute_together, may_stack, rows_wanted

SETTINGS: dict[str, Any] = {
    "clients": 3,
    "samples_per_client": 20,
    "epochs": 2,
    "model": "mlp",
    "optimizer": "sgd:momentum=0.9",
    "lr": 0.05,
    "threads": 1,
}


def experiment(**settings: Any) -> Experiment:
    return Experiment.from_flat({**SETTINGS, **settings})


def assert_same_run(found: object, wanted: Run) -> None:
    """The same weights to rounding, the same traffic, and a whole run folder."""
    assert isinstance(found, Run)
    tensors, state = read_checkpoint(found.checkpoints[-1])
    others, other_state = read_checkpoint(wanted.checkpoints[-1])
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, others[name], atol=2e-5, rtol=1e-4, msg=lambda text, name=name: name + text)
    assert state["progress"]["steps"] == other_state["progress"]["steps"]
    assert found.summary["communication"] == wanted.summary["communication"]
    assert found.summary["test"]["accuracy"] == pytest.approx(wanted.summary["test"]["accuracy"], abs=0.01)
    assert [path.name for path in sorted(found.path.iterdir())] == [path.name for path in sorted(wanted.path.iterdir())]


@pytest.mark.slow
def test_trials_of_many_kinds_end_as_each_does_alone(tmp_path: Path) -> None:
    several = [
        experiment(method="psl"),
        experiment(method="sglr", alpha=1.0, phi=0.5, seed=1),
        experiment(method="sfl", clients=2, epochs=3),
        experiment(method="sflv1", label_prior="correct", partition="dirichlet", concentration=5.0, batch_size=2),
        experiment(method="fl", lr=0.01),
    ]
    seen: list[int] = []

    def observe(index: int, event: Event) -> None:
        seen.extend([index] if isinstance(event, EpochDone) else [])

    found = execute_together(several, [tmp_path / f"{i}" for i in range(5)], observe=observe)
    assert sorted(seen) == [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    for index, (own, run) in enumerate(zip(several, found, strict=True)):
        assert_same_run(run, execute(own, tmp_path / f"alone-{index}"))


def test_convolutions_with_batchnorm(tmp_path: Path) -> None:
    several = [experiment(model="resnet16", seed=seed, clients=2, epochs=1, alpha=float(seed)) for seed in range(2)]
    found = execute_together(several, [tmp_path / "0", tmp_path / "1"])
    for own, run in zip(several, found, strict=True):
        assert_same_run(run, execute(own, tmp_path / f"alone-{own.seed}"))


def test_stopped_together_it_goes_on_together_or_alone(tmp_path: Path) -> None:
    several = [experiment(seed=seed, epochs=2 + seed) for seed in range(3)]
    paths = [tmp_path / f"{i}" for i in range(3)]
    steps = [0]

    def observe(index: int, event: Event) -> None:
        steps[0] += isinstance(event, StepDone)

    with pytest.raises(Interrupted, match="3 of 3 trials"):
        execute_together(several, paths, observe=observe, stop=lambda: steps[0] >= 7)
    alone = sglr.resume(paths[0])
    finished = alone.path.joinpath("summary.json").stat().st_mtime_ns
    found = execute_together(several, paths)
    assert alone.path.joinpath("summary.json").stat().st_mtime_ns == finished
    for own, run in zip(several, found, strict=True):
        assert_same_run(run, execute(own, tmp_path / f"alone-{own.seed}"))


def test_a_trial_that_diverges_is_told_of_and_the_others_finish(tmp_path: Path) -> None:
    several = [experiment(seed=0), experiment(lr=1e30), experiment(seed=2)]
    first, second, third = execute_together(several, [tmp_path / f"{i}" for i in range(3)])
    assert isinstance(second, DivergedError)
    assert first.summary["status"] == third.summary["status"] == "done"


def test_an_error_of_one_trial_is_raised_when_the_others_have_finished(tmp_path: Path) -> None:
    def observe(index: int, event: Event) -> None:
        if index == 1:
            raise ValueError("the observer's own")

    with pytest.raises(ValueError, match="the observer's own"):
        execute_together([experiment(), experiment(seed=1)], [tmp_path / "0", tmp_path / "1"], observe=observe)
    assert Run.open(tmp_path / "0").summary is not None
    assert Run.open(tmp_path / "1").summary is None


@pytest.mark.slow
def test_models_that_draw_random_numbers_train_alone_and_say_so(tmp_path: Path, caplog) -> None:
    """Two with dropout beside two without: each as if alone, bit for bit for the former."""
    noisy = {"model": "alexnet", "clients": 1, "samples_per_client": 8, "epochs": 1, "image_size": 16}
    several = [experiment(), experiment(**noisy), experiment(seed=1), experiment(**noisy, seed=1)]
    with caplog.at_level(logging.INFO, logger="sglr.studies.scheduler.trial_batching"):
        found = execute_together(several, [tmp_path / f"{i}" for i in range(4)])
    assert [record.message.rpartition("/")[2].partition(" ")[0] for record in caplog.records] == ["1", "3"]
    assert all("draw random numbers" in record.message for record in caplog.records)
    for index in (1, 3):
        alone = execute(several[index], tmp_path / f"alone-{index}")
        assert found[index].summary["weights_sha256"] == alone.summary["weights_sha256"]


def test_folders_of_other_runs_are_refused_before_any_work(tmp_path: Path) -> None:
    execute(experiment(epochs=1), tmp_path / "1")
    with pytest.raises(UsageError, match="another configuration"):
        execute_together([experiment(), experiment(seed=1)], [tmp_path / "0", tmp_path / "1"])
    assert not (tmp_path / "0").exists()


@pytest.mark.parametrize(
    ("changed", "equal"),
    [
        ({"seed": 1}, True),
        ({"alpha": 2.0, "phi": 0.1}, True),
        ({"clients": 7, "epochs": 9, "lr": 1.0, "optimizer": "adam"}, True),
        ({"method": "sfl"}, True),
        ({"method": "fl"}, False),
        ({"model": "cnn"}, False),
        ({"cut": 1}, False),
        ({"batch_size": 4}, False),
        ({"image_size": 16}, False),
        ({"device": "cpu"}, False),
        ({"stacking": "looped"}, False),
    ],
    ids=str,
)
def test_what_may_be_stacked(changed: dict[str, Any], equal: bool) -> None:
    first, second = experiment(), experiment(**changed)
    assert may_stack(first, second) == may_stack(second, first) == equal
    assert not may_stack(experiment(stacking="looped"), experiment(stacking="looped"))


def test_a_device_wants_more_than_one_row() -> None:
    assert rows_wanted("cpu") == rows_wanted(torch.device("cpu")) > 1
    with pytest.raises(UsageError, match="device"):
        rows_wanted("abacus")
