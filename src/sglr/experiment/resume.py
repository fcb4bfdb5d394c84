"""Resume a run: continue it from its newest whole checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sglr.assembly.build import build
from sglr.assembly.kept_model import check_folder
from sglr.assembly.parts import PartOverrides, Training
from sglr.assembly.run_checkpoints import frozen_weights, save_frozen
from sglr.assembly.task import given_task
from sglr.assembly.without_data import located
from sglr.core.engine import Engine
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.task import Task
from sglr.data.objects.options import Options
from sglr.data.objects.read import DataLike, read_objects
from sglr.experiment.around import Observer, closing, energy_of, ignore, never, silent
from sglr.experiment.callback import Callback, Callbacks
from sglr.experiment.client_classes import check_same_classes
from sglr.experiment.recorder import Recorder
from sglr.experiment.tracking import Tracking, tell_finished
from sglr.inference.run import Run
from sglr.parties.spec import ClientSpec
from sglr.runs.config import Experiment
from sglr.runs.folder import FOLDERS
from sglr.runs.stop_file import StopRequest
from sglr.storage.lock import locked


def _unchanged(built: Training) -> None:
    del built


def resume(
    path: str | Path,
    *,
    method: Method | None = None,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    dataset: DataLike | None = None,
    task: str | Task | None = None,
    metrics: Sequence[str] = (),
    engine: Callable[[ClientSpec], Engine] | None = None,
    track: str | None = None,
    observe: Observer = ignore,
    stop: Callable[[], bool] = never,
    ready: Callable[[Training], None] = _unchanged,
    say: Callable[[str], None] = silent,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Run:
    """Continue a run from its newest whole checkpoint; a finished run is returned as it is.

    Trackers that missed any of a finished run are told.

    Parameters
    ----------
    path
        The run's folder.
    method, model, dataset, task
        Parts that were given as objects when the run began; they must be given again. A model or task
        that is ``package.module:name`` and not installed must be named again.
    metrics
        The user's own metrics of the run, ``package.module:Name`` each, if they are not installed.
    engine
        Makes the engine, if it is not the one that the settings name.
    track
        The trackers that are told, if not those of the run's settings; ``"none"`` is none.
    observe, stop, ready, callbacks
        As for `execute`.
    say
        Told what the user should know, such as a damaged checkpoint that was passed over.
    **options
        Options that the data set was given with, such as ``label``.

    Raises
    ------
    UsageError
        If the folder is no run, another process works in it, no checkpoint in it is whole, or an object that was given
        is missing or another.
    """
    called = Callbacks(callbacks)
    named = model if isinstance(model, str) else None
    run = Run.open(Path(path), named, ("metrics",) if metrics else ())
    if metrics:
        run.experiment.require("metrics", tuple(name for name in metrics if ":" in name))
    if run.summary is not None and engine is None:
        tell_finished(run, track, say)
        return run
    data = None if dataset is None else read_objects(dataset, Options.of(options))
    with locked(run.path, "run"):
        given = PartOverrides(
            method, None if isinstance(model, str) else model, data, engine, given_task(run.experiment, task)
        )
        return go_on(run, given, track=track, observe=observe, stop=stop, ready=ready, say=say, callbacks=called)


def go_on(
    run: Run,
    given: PartOverrides,
    *,
    track: str | None = None,
    observe: Observer = ignore,
    stop: Callable[[], bool] = never,
    ready: Callable[[Training], None] = _unchanged,
    say: Callable[[str], None] = silent,
    callbacks: Callbacks | None = None,
) -> Run:
    """Continue a run as `resume` does, in a folder that the caller has locked."""
    given = dataclasses.replace(given, frozen=frozen_weights(run))
    experiment = run.experiment
    if run.summary is not None:
        tell_finished(run, track, say)
        if given.engine is not None:
            _tell_clients(run, given, stop)
        return run
    _require_objects(experiment, given)
    chosen = located(run.as_chosen(experiment), run.data)
    if run.model is not None and run.model.startswith(FOLDERS):
        chosen = chosen.model_copy(update={"model": run.model})
    check_folder(run.path, chosen)
    tracking = Tracking.of(experiment.track if track is None else track)
    energy = energy_of(experiment)
    built = build(chosen, given)
    check_same_classes(run, built.data)
    stop_or_file = StopRequest(run.path, stop)
    called = callbacks or Callbacks()
    recorder = Recorder(
        run, experiment, built, observe, stop_or_file, *energy, say, callbacks=called, tracking=tracking
    )
    with closing(built), tracking:
        ready(built)
        built.trainer.engine.open(run.path)
        built.trainer.engine.attach(run.path, stop_or_file)
        run.tidy()
        if not run.checkpoints:
            say(f"{run.path} has no checkpoint yet; training starts from the beginning")
            run.keep_records(0)
            save_frozen(run, built.frozen)
        else:
            recorder.rollback_until_it_works()
        return recorder.train()


def _tell_clients(run: Run, given: PartOverrides, stop: Callable[[], bool]) -> None:
    """Let an engine that has clients elsewhere tell those who have not heard that the training is over."""
    built = build(located(run.experiment, run.data), given)
    with closing(built):
        built.trainer.engine.open(run.path)
        built.trainer.engine.attach(run.path, stop)


def _require_objects(experiment: Experiment, given: PartOverrides) -> None:
    for name in ("method", "model", "dataset", "task"):
        value = str(getattr(experiment, name))
        if value.startswith("<") and getattr(given, name) is None:
            remedy = f"resume it in Python: sglr.resume(path, {name}=...)"
            raise UsageError(name, value, "was given as a Python object", remedy)
    if ":" in experiment.model and experiment.folder_naming("model") is not None and experiment.engine == "remote":
        problem = "clients in processes of their own import this code by its name, which only the run's folder tells"
        raise UsageError("model", experiment.model, problem, f"if you trust it: --model {experiment.model}")
