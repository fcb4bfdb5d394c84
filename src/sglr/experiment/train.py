"""Train an experiment into a run folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sglr.assembly.build import build
from sglr.assembly.cautions import cautions
from sglr.assembly.checks import check_installed
from sglr.assembly.kept_model import keep_model
from sglr.assembly.parts import PartOverrides, Training
from sglr.assembly.readable_tokens import readable_tokens
from sglr.assembly.run_checkpoints import save_frozen
from sglr.assembly.without_data import record_of
from sglr.core.events import Event
from sglr.core.method import Method
from sglr.core.task import Task
from sglr.data.objects.read import DataLike
from sglr.experiment.around import Observer, closing, energy_of, ignore, never, silent
from sglr.experiment.callback import Callback, Callbacks
from sglr.experiment.client_classes import record_classes
from sglr.experiment.describe import describe
from sglr.experiment.notebook_progress import shown
from sglr.experiment.recorder import Recorder
from sglr.experiment.tracking import Tracking
from sglr.inference.run import Run
from sglr.leakage.callback import LeakageCallback
from sglr.planner.share_of_cut import share_of
from sglr.runs.config import Experiment
from sglr.runs.new_folder import create_run, make_run_folder, refuse_occupied
from sglr.runs.stop_file import StopRequest
from sglr.storage.lock import locked

log = logging.getLogger(__name__)


def tell_notes(built: Training) -> None:
    """Warn of what the user should know of the data."""
    for note in built.data.notes:
        log.warning("%s", note)


def execute(
    experiment: Experiment,
    out: Path | None = None,
    *,
    given: PartOverrides | None = None,
    observe: Observer = ignore,
    stop: Callable[[], bool] = never,
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
    energy = energy_of(experiment)
    built = build(experiment, given)
    experiment = with_cut_found(experiment, built)
    with closing(built):
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
                run, experiment, built, observe, stop_or_file, *energy, silent, callbacks=called, tracking=tracking
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


def train(
    method: str | Method = "sglr2",
    *,
    model: str | nn.Module | Callable[..., nn.Module] = "cnn",
    dataset: str | DataLike = "digits",
    task: str | Task = "auto",
    out: str | Path | None = None,
    observe: Observer = ignore,
    stop: Callable[[], bool] = never,
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
    if observe is ignore or progress:
        observe = _both(observe, shown(progress))
    return execute(experiment, folder, given=given, observe=observe, stop=stop, callbacks=callbacks)


def _both(observe: Observer, also: Observer | None) -> Observer:
    if also is None:
        return observe

    def tell(event: Event) -> None:
        observe(event)
        also(event)

    return tell
