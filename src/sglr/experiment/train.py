"""Train an experiment into a run folder, and resume it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from sglr.assembly.build import build, device_here
from sglr.assembly.cautions import cautions
from sglr.assembly.checks import check_installed
from sglr.assembly.kept_model import keep_model
from sglr.assembly.parts import PartOverrides, Training
from sglr.assembly.readable_tokens import readable_tokens
from sglr.assembly.run_checkpoints import frozen_weights, save_frozen
from sglr.assembly.task import given_task
from sglr.assembly.without_data import located, record_of
from sglr.core.engine import Engine
from sglr.core.errors import DivergedError, UsageError
from sglr.core.events import Event
from sglr.core.method import Method
from sglr.core.task import Task
from sglr.cost.meter import EnergyMeter
from sglr.cost.power_sources import power_sources
from sglr.cost.profiles import DeviceProfile, load_profile
from sglr.data.objects.options import Options
from sglr.data.objects.read import DataLike, read_objects
from sglr.experiment.callback import Callback, Callbacks
from sglr.experiment.client_classes import check_same_classes, record_classes
from sglr.experiment.describe import describe
from sglr.experiment.notebook_progress import shown
from sglr.experiment.recorder import Recorder
from sglr.experiment.tracking import Tracking, tell_finished
from sglr.inference.run import Run
from sglr.leakage.callback import LeakageCallback
from sglr.parties.spec import ClientSpec
from sglr.planner.cut_figures import share_of
from sglr.runs.config import Experiment
from sglr.runs.new_folder import create_run, make_run_folder, refuse_occupied
from sglr.runs.stop_file import StopRequest
from sglr.storage.lock import locked

log = logging.getLogger(__name__)

Observer = Callable[[Event], None]


def _ignore(event: Event) -> None:
    del event


def _never() -> bool:
    return False


def _silent(message: str) -> None:
    del message


def _unchanged(built: Training) -> None:
    del built


def tell_notes(built: Training) -> None:
    """Warn of what the user should know of the data."""
    for note in built.data.notes:
        log.warning("%s", note)


def execute(
    experiment: Experiment,
    out: Path | None = None,
    *,
    given: PartOverrides | None = None,
    observe: Observer = _ignore,
    stop: Callable[[], bool] = _never,
    ready: Callable[[Training], None] = tell_notes,
    warn: Callable[[str], None] = log.warning,
    callbacks: Sequence[Callback] = (),
    command: str = "",
) -> Run:
    """Train an experiment in a new run folder.

    Parameters
    ----------
    experiment
        The settings.
    out
        The folder; None is ``runs/<time>-<name>``.
    given
        Parts given as objects.
    observe
        Called with every event.
    stop
        Asked after every step; True ends the training with a checkpoint.
    ready
        Called with the built training before it begins; the default warns of what looks wrong with the data.
    warn
        Told of settings that are known to fail, before the training begins.
    callbacks
        The user's own code.
    command
        The command that was typed, for the report.

    Raises
    ------
    UsageError
        If anything about the settings is wrong, or another process works in the folder; nothing has been written then.
    DivergedError
        If the loss stops being a number.
    Interrupted
        If ``stop`` answered True.
    CallbackError
        If a callback raised an error.
    """
    called = Callbacks(callbacks)
    refuse_occupied(out, experiment)
    check_installed(experiment)
    tracking = Tracking.of(experiment.track)
    leakage = LeakageCallback.of(experiment)  # what is wrong with it shows before any work is done
    energy = _energy(experiment)
    built = build(experiment, given)
    experiment = with_cut_found(experiment, built)
    with _closing(built):
        if leakage is not None:
            leakage.check(built)
        ready(built)
        for caution in cautions(experiment, built.method, built.data):
            warn(caution)
        if not built.method.whole_model and (readable := readable_tokens(built.lower(0), built.data.train.inputs)):
            warn(readable)
        built.trainer.engine.open(None)
        path = make_run_folder(out, experiment)
        with locked(path), tracking:
            run = _begun(path, experiment, built, command)
            stop_or_file = StopRequest(run.path, stop)
            built.trainer.engine.attach(run.path, stop_or_file)
            return Recorder(
                run, experiment, built, observe, stop_or_file, *energy, _silent, callbacks=called, tracking=tracking
            ).train()


def with_cut_found(experiment: Experiment, built: Training) -> Experiment:
    """Return the settings with the names of cuts that were given as shares, and one cut where all are one."""
    if experiment.cuts is not None:
        found = {"cut": built.cut, "cuts": None} if built.cuts is None else {"cuts": built.cut}
        return experiment.model_copy(update=found)
    return experiment.model_copy(update={"cut": built.cut}) if share_of(experiment.cut) is not None else experiment


def _begun(path: Path, experiment: Experiment, built: Training, command: str) -> Run:
    """Write into a new run's folder what is known before it trains."""
    run = Run(create_run(path, experiment, command).path)
    run.record_choices(built.choices)
    run.record_data(record_of(experiment, built))
    save_frozen(run, built.frozen)
    record_classes(run, built.data)
    keep_model(run.path, experiment, built.data)
    return run


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
    observe: Observer = _ignore,
    stop: Callable[[], bool] = _never,
    ready: Callable[[Training], None] = _unchanged,
    say: Callable[[str], None] = _silent,
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
    observe: Observer = _ignore,
    stop: Callable[[], bool] = _never,
    ready: Callable[[Training], None] = _unchanged,
    say: Callable[[str], None] = _silent,
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
    tracking = Tracking.of(experiment.track if track is None else track)
    energy = _energy(experiment)
    built = build(located(run.as_chosen(experiment), run.data), given)
    check_same_classes(run, built.data)
    stop_or_file = StopRequest(run.path, stop)
    called = callbacks or Callbacks()
    recorder = Recorder(
        run, experiment, built, observe, stop_or_file, *energy, say, callbacks=called, tracking=tracking
    )
    with _closing(built), tracking:
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
    with _closing(built):
        built.trainer.engine.open(run.path)
        built.trainer.engine.attach(run.path, stop)


@contextmanager
def _closing(built: Training) -> Iterator[None]:
    """Let the clients go when all is over, or went wrong."""
    done, diverged = False, ""
    try:
        yield
        done = True
    except DivergedError as error:
        diverged = error.what
        raise
    finally:
        built.trainer.engine.close(done=done, diverged=diverged)


def _require_objects(experiment: Experiment, given: PartOverrides) -> None:
    for name in ("method", "model", "dataset", "task"):
        value = str(getattr(experiment, name))
        if value.startswith("<") and getattr(given, name) is None:
            remedy = f"resume it in Python: sglr.resume(path, {name}=...)"
            raise UsageError(name, value, "was given as a Python object", remedy)
    if ":" in experiment.model and experiment.folder_naming("model") is not None and experiment.engine == "remote":
        problem = "clients in processes of their own import this code by its name, which only the run's folder tells"
        raise UsageError("model", experiment.model, problem, f"if you trust it: --model {experiment.model}")


def _energy(experiment: Experiment) -> tuple[DeviceProfile, EnergyMeter]:
    """Prepare what tells the energy, so that what is wrong or missing shows before any work is done."""
    profile = load_profile(experiment.energy_profile)
    return profile, EnergyMeter(power_sources(device_here(experiment)) if experiment.energy else [])


def train(
    method: str | Method = "sglr2",
    *,
    model: str | nn.Module | Callable[..., nn.Module] = "cnn",
    dataset: str | DataLike = "digits",
    task: str | Task = "auto",
    out: str | Path | None = None,
    observe: Observer = _ignore,
    stop: Callable[[], bool] = _never,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    **settings: Any,
) -> Run:
    """Train one network over many clients.

    Parameters
    ----------
    method
        A method's name, or a method object such as ``sglr.SGLR(alpha=0.5, phi=0.75)``.
    model
        A model's name, a module (give ``cut=``), or a function of (input_shape, classes) that returns one.
    dataset
        A data set's name; a `Dataset`; ``(X, y)`` of arrays or tensors; a torch data set of (input, label); a DataFrame
        (with ``label=``); a Hugging Face data set; ``{"train": …, "test": …}`` of these; or a list with one of them per
        client. See `sglr.data.objects.read.read_objects`; `sglr.data.objects.options.Options` has further options.
    out
        Folder of the run; default ``runs/<time>-<name>``.
    observe
        Called with every event.
    stop
        Asked after every step; True ends the training with a checkpoint.
    callbacks
        Objects of classes that derive from `sglr.Callback`.
    progress
        Whether to show epochs as they end: in a notebook below the cell, elsewhere as lines on standard error. None is
        True in a notebook, and False elsewhere or where ``observe`` is given.
    **settings
        Any setting of `Experiment` and parameters of the chosen parts, as on the command line.

    Returns
    -------
    Run
        The run's folder, with ``summary`` and ``history``.

    Examples
    --------
    >>> import sglr
    >>> run = sglr.train(sglr.SGLR(alpha=0.5, phi=0.75), clients=20, epochs=3)  # doctest: +SKIP
    >>> run.summary["test"]["accuracy"]  # doctest: +SKIP
    """
    experiment, given = describe(method, model=model, dataset=dataset, task=task, **settings)
    folder = Path(out) if out is not None else None
    if observe is _ignore or progress:
        observe = _both(observe, shown(progress))
    return execute(experiment, folder, given=given, observe=observe, stop=stop, callbacks=callbacks)


def _both(observe: Observer, also: Observer | None) -> Observer:
    if also is None:
        return observe

    def tell(event: Event) -> None:
        observe(event)
        also(event)

    return tell
