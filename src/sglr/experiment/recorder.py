"""What a run does beside training: checkpoints, records, going back to a checkpoint, the final test, the summary."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sglr.assembly.parts import Training
from sglr.assembly.run_checkpoints import best_checkpoint, save_checkpoint
from sglr.assembly.summary import summarise, weights_digest
from sglr.core.engine import LostClients, MissingSnapshot
from sglr.core.errors import DamagedCheckpoint, Interrupted, UsageError
from sglr.core.events import EpochDone, Event, Hooks, LateValidation, StepDone
from sglr.core.plan import Progress
from sglr.core.scores import Scores
from sglr.core.task import Task
from sglr.cost.communication import Ledger
from sglr.cost.meter import EnergyMeter
from sglr.cost.paper_view import paper_view
from sglr.cost.profiles import DeviceProfile
from sglr.experiment.callback import Callbacks
from sglr.experiment.examples import write_examples
from sglr.experiment.progress_file import ProgressFile
from sglr.experiment.tracking import Tracking
from sglr.inference.run import Run
from sglr.leakage.callback import LeakageCallback, watched_summary
from sglr.report.run_report import write_run_report
from sglr.runs.config import Experiment
from sglr.runs.folder import METRICS, damage_explained
from sglr.runs.stop_file import StopRequest
from sglr.storage.checkpoint import read_checkpoint
from sglr.storage.json_files import WRONG
from sglr.storage.retry import write_patiently
from sglr.system.allocator import keep_freed_memory
from sglr.version import __version__

log = logging.getLogger(__name__)


FEWEST_PARTS, MOST_PARTS, SUMS_KEPT = 20, 100, 5000
"""Parts of a test, and how many of them over all clients: binary tasks keep 6 kB for each."""


MOST_CLIENTS = 5000
"""Clients whose bytes are told while the run trains."""


class AheadOfRecords(DamagedCheckpoint):
    """Epochs before the checkpoint have no record, as in a folder that was copied while its run went on."""


@dataclass
class Recorder:
    """Trains, and writes into the run's folder what there is to keep.

    Parameters
    ----------
    run, experiment, built
        What is trained, and where it is kept.
    observe
        Called with every event.
    stop
        Asked after every step; True ends the training with a checkpoint.
    profile, meter
        What tells the energy.
    say
        Told what the user should know.
    callbacks
        The user's own code.
    tracking
        The trackers that are told of the run.
    """

    run: Run
    experiment: Experiment
    built: Training
    observe: Callable[[Event], None]
    stop: StopRequest
    profile: DeviceProfile
    meter: EnergyMeter
    say: Callable[[str], None]
    callbacks: Callbacks = field(default_factory=Callbacks)
    tracking: Tracking = field(default_factory=Tracking)
    ledger: Ledger = field(init=False)
    wall_seconds: float = 0.0
    records: int = 0
    leakage_callback: LeakageCallback | None = field(init=False)
    progress_file: ProgressFile = field(init=False)

    def __post_init__(self) -> None:
        self.progress_file = ProgressFile(self.run.path, self._so_far)
        self.ledger = Ledger(len(self.built.trainer.sizes))
        self.leakage_callback = LeakageCallback.of(self.experiment)

    def rollback(self) -> None:
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
        if isinstance(complaint, AheadOfRecords):
            problem = f"none of its checkpoints can be gone on from: {complaint}"
            raise UsageError("run", self.run.path, problem, "copy the folder again while nobody trains in it")
        raise UsageError("run", self.run.path, f"all checkpoints are damaged ({complaint})", "train again")

    def _take_up(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        with damage_explained(self.run.path, wrong=(*WRONG, RuntimeError)):
            if state["fingerprint"] != self.experiment.fingerprint():
                raise UsageError("run", self.run.path, "its checkpoints are of another configuration", "train again")
            if state["records"] > (there := len(self.run.history)):
                raise AheadOfRecords(
                    f"{METRICS} ends after epoch {there}, the checkpoint is of epoch {state['records']}"
                )
            self.built.trainer.restore(tensors, Progress.of(state["progress"]))
            self.ledger.restore(state["ledger"], tensors)
            if self.built.clock is not None:
                self.built.clock.restore(state["clock"], tensors)
            self.meter.restore(state.get("energy"))
            self.wall_seconds, self.records = float(state["wall_seconds"]), int(state["records"])
        self._write(lambda: self.run.keep_records(self.records))

    def train(self) -> Run:
        """Train to the end, test, and write the summary and the report."""
        if self.built.device.type == "cpu":
            keep_freed_memory()
        self.tracking.begin(self.run)  # it may take seconds, which are none of the training's
        self._started = time.perf_counter() - self.wall_seconds
        trainer = self.built.trainer
        with self.meter, torch.random.fork_rng([self.built.device] if self.built.device.type == "cuda" else []):
            if trainer.engine.loses_clients and not self.run.checkpoints:
                self._save(False)
            try:
                with self.progress_file:
                    self._run()
            except Interrupted as error:
                self.callbacks.check(self.run)
                raise Interrupted(f"{error}; continue with: sglr resume {self.run.path}") from None
        return self.run

    def _run(self) -> None:
        """Train and test; where clients lose their work, go back to the newest checkpoint that all hold."""
        self.callbacks.begin(self.run)
        hooks = Hooks(self._note, self._save, self._stop, self._last_checkpoint, lambda: self.callbacks.reason)
        while True:
            try:
                self.built.trainer.run(hooks)
                self.callbacks.check(self.run)
                self._finish()
                self.tracking.end(self.run)
                return self.callbacks.end(self.run)
            except (LostClients, DamagedCheckpoint) as loss:
                # What is damaged may show as late as when a client that rested is needed again.
                log.warning("%s", loss)
                self.rollback_until_it_works()

    def rollback_until_it_works(self) -> None:
        """Go back, and again if clients lose their work meanwhile."""
        while True:
            try:
                return self.rollback()
            except LostClients as loss:
                log.warning("%s", loss)

    def _note(self, event: Event) -> None:
        self.ledger(event)
        clock = self.built.clock
        if clock is not None:
            clock(event)
        if isinstance(event, EpochDone):
            modelled = {} if clock is None else clock.record()
            record = {**event.record, **self.ledger.record(), **modelled, **self._leaked(event)}
            event = dataclasses.replace(event, record=record)
            self._write(lambda: self.run.append(record))
            self.records += 1
            self.tracking.epoch(self.run, record)
            self.stop.end_epoch()
            self.callbacks.epoch(record)
        elif isinstance(event, LateValidation):
            self._write(lambda: self.run.amend(event.record))
            self.tracking.amend(self.run, event.record)
        elif isinstance(event, StepDone):
            self.progress_file.step(event)
            self.callbacks.step(event)
        self.observe(event)

    def _so_far(self) -> dict[str, Any]:
        """Return what the run has cost up to now."""
        seconds = time.perf_counter() - self._started
        cost = {**self.ledger.record(), "seconds": seconds, "joules": self.meter.joules}
        return {**cost, "stops_after": self.stop.after, "clients": self.ledger.up_and_down(MOST_CLIENTS)}

    def _stop(self) -> bool:
        return self.stop() or self.callbacks.error is not None

    def _leaked(self, event: EpochDone) -> dict[str, float]:
        """Return what is measured of leakage after this epoch."""
        if self.leakage_callback is None or not self.leakage_callback.due(event.epoch + 1, event.epochs):
            return {}
        return self.leakage_callback.measure(self.experiment, self.built)

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
        if self.built.clock is not None:
            state["clock"] = self.built.clock.state()
            tensors |= self.built.clock.tensors()
        self._write(lambda: save_checkpoint(self.run, trainer.progress.steps, tensors, state, best=best, keep=keep))

    def _write(self, write: Callable[[], None]) -> None:
        """Write; where others wait for this process, again and again while the disk is full."""
        if self.built.trainer.engine.loses_clients:
            write_patiently(write, self.stop, log.warning)
        else:
            write()

    def _last_checkpoint(self) -> str:
        return str(self.run.checkpoints[-1]) if self.run.checkpoints else "none"

    def _finish(self) -> None:
        self.progress_file.test()
        weights, work = weights_digest(self.built), self.built.trainer.server.work
        modelled = None if self.built.clock is None else self.built.clock.summary()
        scores, epoch = self._test()
        seconds = time.perf_counter() - self._started
        sample, labels_stay = self.ledger.sample_bytes, self.built.tail is not None
        paper = paper_view(self.experiment.method, self.built.trainer, sample, labels_stay=labels_stay)
        summary = summarise(
            self.experiment,
            self.built,
            self.run.history,
            scores,
            tested_epoch=epoch,
            communication=self.ledger.summary(paper),
            work=work,
            profile=self.profile,
            measured=self.meter.summary(seconds),
            seconds=seconds,
            weights_sha256=weights,
        )
        if modelled is not None:
            summary["modelled_time"] = modelled
        if self.leakage_callback is not None:
            summary["leakage"] = watched_summary(self.leakage_callback, self.run.history)
        self._write(lambda: write_examples(self.run, self.built))
        self._write(lambda: self.run.write_summary(summary))
        with damage_explained(self.run.path):  # records of before may be
            write_run_report(self.run)

    def _test(self) -> tuple[Scores, int]:
        """Score the test samples with the weights of the best validation epoch, or the last where none is known."""
        trainer, last = self.built.trainer, self.built.trainer.epochs
        epoch = trainer.progress.best_epoch or last
        if epoch != last:
            try:
                tensors, state = best_checkpoint(self.run)
                progress = Progress.of(state["progress"])
                if progress.best_epoch != epoch:
                    raise DamagedCheckpoint(f"the best checkpoint is of epoch {progress.best_epoch}")  # noqa: TRY301
                trainer.restore(tensors, progress)
            except DamagedCheckpoint as error:
                log.warning("%s; testing the weights of the last epoch instead of epoch %d", error, epoch)
                epoch = last
                # Some clients may hold the best weights by now, and others not.
                self.rollback()
        self._calibrate()
        scores = trainer.evaluate(self.built.data.test, self.experiment.test_clients, parts_of_test)
        return Scores.of(self.built.task, scores.loss, scores.parts) if scores.parts else scores, epoch

    def _calibrate(self) -> None:
        """Choose by the validation what the task leaves open, such as a threshold."""
        trainer, task = self.built.trainer, self.built.task
        if trainer.validation is None or type(task).calibrated is Task.calibrated:
            return
        scores = trainer.evaluate(trainer.validation, self.experiment.eval_clients)
        if scores.parts:
            self.built = dataclasses.replace(self.built, task=task.calibrated(scores.sums))


def parts_of_test(clients: int) -> int:
    """Return of how many parts of the test samples sums are kept apart, for intervals: fewer for many clients."""
    return max(FEWEST_PARTS, min(MOST_PARTS, SUMS_KEPT // clients))
