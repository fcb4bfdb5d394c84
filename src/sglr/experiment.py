"""Train an experiment into a run folder, and resume it."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sglr.build import Built, Given, build, pick_device
from sglr.config import Experiment
from sglr.core.checkpoint import DamagedCheckpoint, read_checkpoint
from sglr.core.data import Dataset
from sglr.core.disk import write_patiently
from sglr.core.engine import Engine, LostClients, MissingSnapshot, Scores, Setting
from sglr.core.errors import Interrupted, UsageError
from sglr.core.memory import keep_freed_memory
from sglr.core.method import Method
from sglr.core.registry import METHODS
from sglr.core.train import Hooks, Progress
from sglr.core.types import EpochDone, Event
from sglr.cost.communication import Ledger
from sglr.cost.meter import EnergyMeter
from sglr.cost.paper_view import paper_view
from sglr.cost.power_sources import power_sources
from sglr.cost.profiles import DeviceProfile, load_profile
from sglr.data.plot import classes_per_client
from sglr.report.run_report import write_run_report
from sglr.run import Run, write_text
from sglr.summary import summarise, weights_digest
from sglr.version import __version__

log = logging.getLogger(__name__)

Observer = Callable[[Event], None]


def _ignore(event: Event) -> None:
    del event


def _never() -> bool:
    return False


def _silent(message: str) -> None:
    del message


def _unchanged(built: Built) -> None:
    del built


def execute(
    experiment: Experiment,
    out: Path | None = None,
    *,
    given: Given | None = None,
    observe: Observer = _ignore,
    stop: Callable[[], bool] = _never,
    ready: Callable[[Built], None] = _unchanged,
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
        Called with the built training before it begins.
    command
        The command that was typed, for the report.

    Raises
    ------
    UsageError
        If anything about the settings is wrong; nothing has been written then.
    DivergedError
        If the loss stops being a number.
    Interrupted
        If ``stop`` answered True.
    """
    Run.refuse_occupied(out, experiment)
    energy = _energy(experiment)
    built = build(experiment, given)
    with _closing(built):
        ready(built)
        run = Run.create(out, experiment, command)
        if len(built.data.train):
            counts = {"classes": list(built.data.classes), "counts": classes_per_client(built.data).tolist()}
            write_text(run.path / "classes.json", json.dumps(counts) + "\n")
        built.trainer.engine.settle(run.path)
        return _Recorder(run, experiment, built, observe, stop, *energy).train()


def resume(
    path: str | Path,
    *,
    method: Method | None = None,
    model: nn.Module | Callable[..., nn.Module] | None = None,
    dataset: Dataset | None = None,
    engine: Callable[[Setting], Engine] | None = None,
    observe: Observer = _ignore,
    stop: Callable[[], bool] = _never,
    ready: Callable[[Built], None] = _unchanged,
    say: Callable[[str], None] = _silent,
) -> Run:
    """Continue a run from its newest whole checkpoint; a finished run is returned as it is.

    Parameters
    ----------
    path
        The run's folder.
    method, model, dataset
        Parts that were given as objects when the run began; they must be given again.
    engine
        Makes the engine, if it is not the one that the settings name.
    observe, stop, ready
        As for `execute`.
    say
        Told what the user should know, such as a damaged checkpoint that was passed over.

    Raises
    ------
    UsageError
        If the folder is no run, or no checkpoint in it is whole.
    """
    run = Run.open(Path(path))
    given = Given(method, model, dataset, engine)
    experiment = run.experiment
    if run.summary is not None:
        say(f"{path} is finished; nothing to do")
        if engine is not None:
            _tell_clients(run, given, stop)
        return run
    _require_objects(experiment, given)
    energy = _energy(experiment)
    built = build(experiment, given)
    recorder = _Recorder(run, experiment, built, observe, stop, *energy, say=say)
    with _closing(built):
        ready(built)
        built.trainer.engine.stopping = stop
        built.trainer.engine.settle(run.path)
        if not run.checkpoints:
            say(f"{path} has no checkpoint yet; training starts from the beginning")
            run.keep_records(0)
        else:
            recorder.go_back_until_it_works()
        return recorder.train()


def _tell_clients(run: Run, given: Given, stop: Callable[[], bool]) -> None:
    """Let an engine that has clients elsewhere tell those who have not heard that the training is over."""
    built = build(run.experiment, given)
    with _closing(built):
        built.trainer.engine.stopping = stop
        built.trainer.engine.settle(run.path)


@contextmanager
def _closing(built: Built) -> Iterator[None]:
    """Let the clients go when all is over, or went wrong."""
    done = False
    try:
        yield
        done = True
    finally:
        built.trainer.engine.close(done=done)


def _require_objects(experiment: Experiment, given: Given) -> None:
    for name in ("method", "model", "dataset"):
        value = str(getattr(experiment, name))
        if value.startswith("<") and getattr(given, name) is None:
            remedy = f"resume it in Python: sglr.resume(path, {name}=...)"
            raise UsageError(name, value, "was given as a Python object", remedy)


def _energy(experiment: Experiment) -> tuple[DeviceProfile, EnergyMeter]:
    """Prepare what tells the energy, so that what is wrong or missing shows before any work is done."""
    profile = load_profile(experiment.energy_profile)
    return profile, EnergyMeter(power_sources(pick_device(experiment.device)) if experiment.energy else [])


@dataclass
class _Recorder:
    """Trains, and writes into the run's folder what there is to keep."""

    run: Run
    experiment: Experiment
    built: Built
    observe: Observer
    stop: Callable[[], bool]
    profile: DeviceProfile
    meter: EnergyMeter
    say: Callable[[str], None] = _silent
    ledger: Ledger = field(init=False)
    wall_seconds: float = 0.0
    records: int = 0

    def __post_init__(self) -> None:
        self.ledger = Ledger(len(self.built.trainer.sizes))

    def go_back(self) -> None:
        """Go on from the newest checkpoint that is whole, with clients that still hold their part of it.

        Raises
        ------
        UsageError
            If there is none.
        """
        complaint: DamagedCheckpoint | None = None
        newer: list[Path] = []
        for path in reversed(self.run.checkpoints):
            if complaint is not None:
                self.say(f"{complaint}; going back to the checkpoint before it")
            try:
                self._take_up(*read_checkpoint(path))
            except DamagedCheckpoint as error:
                complaint = error
                newer.append(path)
            else:
                # They are of steps that will be taken again.
                for passed_over in newer:
                    passed_over.unlink(missing_ok=True)
                return
        if isinstance(complaint, MissingSnapshot):
            problem = f"no checkpoint is left that all clients hold: {complaint}"
            remedy = (
                "start that client with the folder it had, go on without its work (--step-deadline), or train again"
            )
            raise UsageError("run", self.run.path, problem, remedy)
        raise UsageError("run", self.run.path, f"all checkpoints are damaged ({complaint})", "train again")

    def _take_up(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        if state["fingerprint"] != self.experiment.fingerprint():
            raise UsageError("run", self.run.path, "its checkpoints are of another configuration", "train again")
        self.built.trainer.restore(tensors, Progress(**state["progress"]))
        self.ledger.restore(state["ledger"], tensors)
        self.meter.restore(state.get("energy"))
        self.wall_seconds, self.records = state["wall_seconds"], state["records"]
        self._write(lambda: self.run.keep_records(self.records))

    def train(self) -> Run:
        """Train to the end, test, and write the summary and the report."""
        if self.built.device.type == "cpu":
            keep_freed_memory()
        self._started = time.perf_counter() - self.wall_seconds
        trainer = self.built.trainer
        trainer.hooks = Hooks(self._note, self._save, self.stop, self._last_checkpoint)
        with self.meter, torch.random.fork_rng([self.built.device] if self.built.device.type == "cuda" else []):
            trainer.engine.stopping = self.stop
            if trainer.engine.loses_clients and not self.run.checkpoints:
                self._save(False)
            try:
                self._run()
            except Interrupted as error:
                raise Interrupted(f"{error}; continue with: sglr resume {self.run.path}") from None
        return self.run

    def _run(self) -> None:
        """Train and test; where clients lose their work, go back to the newest checkpoint that all hold."""
        while True:
            try:
                self.built.trainer.run()
                return self._finish()
            except LostClients as loss:
                log.warning("%s", loss)
                self.go_back_until_it_works()

    def go_back_until_it_works(self) -> None:
        """Go back, and again if clients lose their work meanwhile."""
        while True:
            try:
                return self.go_back()
            except LostClients as loss:
                log.warning("%s", loss)

    def _note(self, event: Event) -> None:
        self.ledger(event)
        if isinstance(event, EpochDone):
            event = dataclasses.replace(event, record={**event.record, **self.ledger.record()})
            record = event.record
            self._write(lambda: self.run.append(record))
            self.records += 1
        self.observe(event)

    def _save(self, best: bool) -> None:
        trainer = self.built.trainer
        state = {
            "progress": dataclasses.asdict(trainer.progress),
            "ledger": self.ledger.state(),
            "records": self.records,
            "wall_seconds": time.perf_counter() - self._started,
            "energy": self.meter.state(),
            "fingerprint": self.experiment.fingerprint(),
            "version": __version__,
        }
        keep = self.experiment.keep_checkpoints
        tensors = trainer.state(best)
        trainer.refuse_bad_weights(tensors)
        tensors |= self.ledger.tensors()
        self._write(lambda: self.run.save(trainer.progress.steps, tensors, state, best=best, keep=keep))

    def _write(self, write: Callable[[], None]) -> None:
        """Write; where others wait for this process, again and again while the disk is full."""
        if self.built.trainer.engine.loses_clients:
            write_patiently(write, self.stop, log.warning)
        else:
            write()

    def _last_checkpoint(self) -> str:
        return str(self.run.checkpoints[-1]) if self.run.checkpoints else "none"

    def _finish(self) -> None:
        weights = weights_digest(self.built)
        scores, epoch = self._test()
        seconds = time.perf_counter() - self._started
        paper = paper_view(self.experiment.method, self.built.trainer, self.ledger.sample_bytes)
        summary = summarise(
            self.experiment,
            self.built,
            self.run.history,
            scores,
            tested_epoch=epoch,
            communication=self.ledger.summary(paper),
            profile=self.profile,
            measured=self.meter.summary(seconds),
            seconds=seconds,
            weights_sha256=weights,
        )
        self._write(lambda: self.run.write_summary(summary))
        write_run_report(self.run)

    def _test(self) -> tuple[Scores, int]:
        """Score the test samples with the weights of the best validation epoch, or the last where none is known."""
        trainer, last = self.built.trainer, self.experiment.epochs
        epoch = trainer.progress.best_epoch or last
        if epoch != last:
            try:
                tensors, state = self.run.best()
                progress = Progress(**state["progress"])
                if progress.best_epoch != epoch:
                    raise DamagedCheckpoint(f"the best checkpoint is of epoch {progress.best_epoch}")  # noqa: TRY301
                trainer.restore(tensors, progress)
            except DamagedCheckpoint as error:
                log.warning("%s; testing the weights of the last epoch instead of epoch %d", error, epoch)
                epoch = last
                # Some clients may hold the best weights by now, and others not.
                self.go_back()
        return trainer.evaluate(self.built.data.test, self.experiment.test_clients), epoch


def train(
    method: str | Method = "sglr",
    *,
    model: str | nn.Module | Callable[..., nn.Module] = "cnn",
    dataset: str | Dataset = "digits",
    out: str | Path | None = None,
    observe: Observer = _ignore,
    stop: Callable[[], bool] = _never,
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
        A data set's name, or a `Dataset`.
    out
        Folder of the run; default ``runs/<time>-<name>``.
    observe
        Called with every event.
    stop
        Asked after every step; True ends the training with a checkpoint.
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
    experiment, given = describe(method, model=model, dataset=dataset, **settings)
    return execute(experiment, Path(out) if out is not None else None, given=given, observe=observe, stop=stop)


def describe(
    method: str | Method,
    *,
    model: str | nn.Module | Callable[..., nn.Module] = "cnn",
    dataset: str | Dataset = "digits",
    **settings: Any,
) -> tuple[Experiment, Given]:
    """Return the settings of an experiment whose parts are names or objects, and the objects."""
    flat = dict(settings)
    given = Given(
        method=method if isinstance(method, Method) else None,
        model=model if not isinstance(model, str) else None,
        dataset=dataset if isinstance(dataset, Dataset) else None,
    )
    flat["method"] = method if isinstance(method, str) else _method_name(method)
    if given.method is not None and not flat["method"].startswith("<"):
        flat |= dataclasses.asdict(given.method)
    flat["model"] = model if isinstance(model, str) else f"<{getattr(model, '__name__', type(model).__name__)}>"
    flat["dataset"] = dataset if isinstance(dataset, str) else f"<{dataset.name}>"
    return Experiment.from_flat(flat), given


def _method_name(method: Method) -> str:
    for name in METHODS.names():
        if METHODS.load(name) is type(method):
            return name
    return f"<{type(method).__name__}>"
